//! A project in a temporary folder, the real binary, and the target it deploys to.
//!
//! The environment is hermetic: nothing of the person who runs the tests reaches dbd, and everything dbd writes stays below one folder.
//! The role that deploys is no superuser, and its password is looked for afterwards in everything that was written or printed.

use super::pg::{self, DEPLOYER, PASSWORD, Server};
use super::room;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio_postgres::{Client, SimpleQueryMessage};

/// How long anything is waited for before the test fails. Nothing is measured by it.
pub const DEADLINE: Duration = Duration::from_secs(180);

/// A small shop with what a restore can get wrong: keys, an identity and a plain sequence, a view on a view, a trigger, a comment, a grant.
pub const SHOP: &str = "
create table customers (id bigint generated always as identity primary key, name text not null, note text);
create table orders (id serial primary key, customer bigint not null references customers, price numeric(10, 2), old_note text);
comment on table orders is 'what was ordered';
create index orders_customer on orders (customer);
create view dear as select * from orders where price > 50;
create view dearest as select * from dear where price > 90;
create function stamp() returns trigger language plpgsql as $$ begin new.note := coalesce(new.note, 'new'); return new; end $$;
create trigger stamped before insert on customers for each row execute function stamp();
create table empty_one (id int primary key, nothing text);
grant select on orders to reader;
insert into customers (name) select 'name ' || n from generate_series(1, 40) n;
insert into orders (customer, price, old_note) select n % 40 + 1, n, 'note ' || n from generate_series(1, 120) n;
";

/// Where a target is.
#[derive(Clone, Copy)]
enum At {
    Shared,
    Own(&'static Server),
}

/// A project, its target, and everything dbd may write to.
pub struct Project {
    /// The temporary folder, with `project/`, `tmp/` and `home/` in it.
    folder: tempfile::TempDir,
    /// The database of the target.
    pub database: String,
    at: At,
    environment: BTreeMap<String, String>,
    runtime: tokio::runtime::Runtime,
}

/// How a process of dbd ended, and what it printed.
#[derive(Clone)]
pub struct Output {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// The standard output.
    pub stdout: String,
    /// The standard error.
    pub stderr: String,
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit {:?}\n--- stdout\n{}\n--- stderr\n{}", self.code, self.stdout, self.stderr)
    }
}

impl Output {
    /// Fails the test unless the process ended like this.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "another exit code was expected\n{self:?}");
        self
    }

    /// The document on stdout, which holds nothing else.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("stdout is no JSON document: {error}\n{self:?}"))
    }

    /// The first reason of a run, or the error of a command that made none, with message, causes and hints as one text.
    #[track_caller]
    pub fn reason(&self) -> (String, String) {
        let document = self.json();
        let failure =
            if document["error"].is_object() { document["error"].clone() } else { document["reasons"][0].clone() };
        assert!(failure.is_object(), "no reason was given\n{self:?}");
        let has_hint = |value: &Value| value["hints"].as_array().is_some_and(|hints| !hints.is_empty());
        assert!(has_hint(&failure) || has_hint(&document), "nobody is told what to do\n{self:?}");
        (failure["code"].as_str().unwrap_or_default().to_owned(), failure.to_string())
    }

    /// Fails the test unless the run came out so.
    #[track_caller]
    pub fn outcome(self, outcome: &str) -> Self {
        assert_eq!(self.json()["outcome"], outcome, "{self:?}");
        self
    }

    /// Fails the test unless that is why, and the explanation says all of `words`.
    #[track_caller]
    pub fn because(self, code: &str, words: &[&str]) -> Self {
        let (found, text) = self.reason();
        assert_eq!(found, code, "another reason was expected\n{self:?}");
        for word in words {
            assert!(text.contains(word), "`{word}` is not said\n{self:?}");
        }
        self
    }

    /// The id of the run.
    #[track_caller]
    pub fn run(&self) -> String {
        self.json()["run"].as_str().unwrap_or_else(|| panic!("there is no run\n{self:?}")).to_owned()
    }
}

/// A project at one moment: its files and its databases.
pub struct Kept {
    files: tempfile::TempDir,
    /// Each database with the one that it is a copy of, its owner and its comment.
    databases: Vec<[String; 4]>,
}

/// Everything of a target that a deployment may change, dbd's own schema apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// `pg_dump --schema-only`.
    pub schema: String,
    /// Each table with the number of its rows and their digest.
    pub rows: Vec<String>,
    /// Each sequence with its value.
    pub sequences: Vec<String>,
}

/// A process of dbd at work.
pub struct Running<'p> {
    project: &'p Project,
    child: Child,
    streams: [PathBuf; 2],
}

impl Project {
    /// A project whose target holds [`SHOP`].
    pub fn new() -> Self {
        let project = Self::empty();
        project.sql(SHOP);
        project
    }

    /// A project with an empty target.
    pub fn empty() -> Self {
        Self::on(At::Shared)
    }

    /// As [`Project::new`], on a server of its own.
    pub fn on_own_server(server: &'static Server) -> Self {
        let project = Self::on(At::Own(server));
        project.sql(SHOP);
        project
    }

    fn on(at: At) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        // The server's user has to come through.
        let folder = room::folder("run");
        let open = |path: &Path, mode| fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        for (name, mode) in
            [("project", 0o755), ("project/migrations", 0o755), ("tmp", 0o1777), ("home", 0o755), ("out", 0o755)]
        {
            fs_err::create_dir(folder.path().join(name)).unwrap();
            open(&folder.path().join(name), mode);
        }
        let mut project = Self { folder, database: String::new(), at, environment: BTreeMap::new(), runtime };
        project.database = project.create_database();
        let url = project.url();
        let text = |path: PathBuf| path.to_str().expect("a plain path").to_owned();
        for (name, value) in [
            ("PATH", inherited("PATH").unwrap_or_default()),
            ("HOME", text(project.folder.path().join("home"))),
            ("TMPDIR", text(project.tmp())),
            // Prepared once for all tests; what is in it does not depend on the project.
            ("XDG_CACHE_HOME", text(Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"))),
            ("DBD_ACTOR", "tester".to_owned()),
            ("DEV_POSTGRES_URL", url),
        ] {
            project.environment.insert(name.to_owned(), value);
        }
        if let Some(folder) = inherited("PG_BIN") {
            project.environment.insert("PG_BIN".to_owned(), folder);
        }
        project
    }

    fn server(&self) -> &'static Server {
        match self.at {
            At::Shared => pg::server(),
            At::Own(server) => server,
        }
    }

    fn create_database(&self) -> String {
        self.runtime.block_on(async {
            let name = match self.at {
                At::Shared => pg::create_database().await,
                At::Own(server) => {
                    let admin = pg::connect_to(server, "postgres").await;
                    admin.batch_execute("create database target template template0").await.unwrap();
                    "target".to_owned()
                }
            };
            let admin = pg::connect_to(self.server(), "postgres").await;
            admin.batch_execute(&format!("alter database {name} owner to {DEPLOYER}")).await.unwrap();
            name
        })
    }

    // ---------------------------------------------------------------------------------------------------------------- the folder

    /// The project's root.
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("project")
    }

    /// The folder for temporary files, where sandboxes are.
    pub fn tmp(&self) -> PathBuf {
        self.folder.path().join("tmp")
    }

    /// The journal.
    pub fn journal(&self) -> PathBuf {
        self.root().join(".dbd/journal.db")
    }

    /// A file among the artifacts of `run`.
    pub fn artifact(&self, run: &str, name: &str) -> PathBuf {
        self.root().join(".deployments").join(run).join(name)
    }

    /// Writes a file of the project.
    pub fn write(&self, name: &str, text: &str) -> &Self {
        let path = self.root().join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
        self
    }

    /// Writes a migration; `name` is like `0001_prices`.
    pub fn migration(&self, name: &str, sql: &str) -> &Self {
        self.write(&format!("migrations/{name}.sql"), sql)
    }

    /// Writes `dbd.toml`.
    pub fn config(&self, text: &str) -> &Self {
        self.write("dbd.toml", text)
    }

    /// Has sandboxes made as databases of the test server, which costs less than a server for each.
    pub fn with_sandboxes_on_the_server(&mut self) -> &mut Self {
        let url = format!("postgres://{}@localhost/postgres?host={}", pg::USER, self.server().socket.display());
        self.set("SANDBOX_POSTGRES_URL", &url)
    }

    /// Sets a variable of dbd's environment.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    // ---------------------------------------------------------------------------------------------------------------- the target

    /// The target's URL, with the password.
    pub fn url(&self) -> String {
        self.url_with(PASSWORD, &self.database)
    }

    /// As [`Project::url`], with another password or database.
    pub fn url_with(&self, password: &str, database: &str) -> String {
        format!(
            "postgres://{DEPLOYER}:{}@localhost/{database}?host={}",
            encoded(password),
            self.server().socket.display()
        )
    }

    /// The role's password as a URL holds it.
    pub fn password() -> String {
        encoded(PASSWORD)
    }

    /// The target's URL for the server's superuser, who needs no password.
    pub fn superuser_url(&self) -> String {
        format!("postgres://{}@localhost/{}?host={}", pg::USER, self.database, self.server().socket.display())
    }

    /// Runs statements on the target, as the role that owns it.
    #[track_caller]
    pub fn sql(&self, sql: &str) {
        let text = format!("set role {DEPLOYER}; {sql}");
        self.runtime
            .block_on(async { self.client().await.batch_execute(&text).await })
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// The rows of a query, the columns parted by `|`, read by a superuser.
    #[track_caller]
    pub fn rows(&self, sql: &str) -> Vec<String> {
        let messages = self.runtime.block_on(async { self.client().await.simple_query(sql).await });
        let messages = messages.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let row = |message: &SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|column| row.get(column).unwrap_or("null")).collect::<Vec<_>>().join("|"))
            }
            _ => None,
        };
        messages.iter().filter_map(row).collect()
    }

    /// Runs a statement in another database of the server, as its superuser.
    #[track_caller]
    pub fn elsewhere(&self, sql: &str) {
        let done =
            self.runtime.block_on(async { pg::connect_to(self.server(), "postgres").await.batch_execute(sql).await });
        done.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// Waits until this test's own sessions in the target are gone, whose backends take a moment to notice: while a superuser is in it, the
    /// role that deploys could not empty it for a swap, and the plan would have none.
    pub fn quiet(&self) {
        self.elsewhere(&format!(
            "do $$ begin for i in 1..2500 loop perform pg_stat_clear_snapshot(); \
             exit when not exists (select from pg_stat_activity where datname = '{}' and application_name = 'dbd tests'); \
             perform pg_sleep(0.002); end loop; end $$",
            self.database
        ));
    }

    /// The one value of a query.
    #[track_caller]
    pub fn value(&self, sql: &str) -> String {
        let rows = self.rows(sql);
        assert_eq!(rows.len(), 1, "{sql}: {rows:?}");
        rows[0].clone()
    }

    /// Whether a query finds anything; `false` also while the server is away.
    pub fn finds(&self, sql: &str) -> bool {
        self.value(&format!("select count(*) from ({sql}) found")) != "0"
    }

    async fn client(&self) -> Client {
        pg::connect_to(self.server(), &self.database).await
    }

    /// A session of somebody else's.
    pub fn session(&self) -> Session<'_> {
        Session { project: self, client: self.runtime.block_on(self.client()) }
    }

    /// Everything of the target that a deployment may change. What tools keep about migrations is told by [`Project::tracking`].
    pub fn snapshot(&self) -> Snapshot {
        let dump = pg_dump(self.server(), &self.database);
        let tables = self.rows(
            "select format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace \
             where c.relkind in ('r', 'm') and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'dbd', 'dbd_keep', 'drizzle') order by 1",
        );
        let digest = |table: String| {
            let sql =
                format!("select count(*), md5(coalesce(string_agg(t::text, ',' order by t::text), '')) from {table} t");
            format!("{table}|{}", self.value(&sql))
        };
        Snapshot {
            schema: dump,
            rows: tables.into_iter().map(digest).collect(),
            sequences: self.rows(
                "select schemaname, sequencename, last_value from pg_sequences where schemaname not in ('dbd', 'dbd_keep', 'drizzle') order by 1, 2",
            ),
        }
    }

    /// The ids of the migrations dbd keeps as applied, oldest first.
    pub fn tracking(&self) -> Vec<String> {
        match self.value("select to_regclass('dbd.migration') is not null").as_str() {
            "t" => self.rows("select id from dbd.migration order by applied_at, id"),
            _ => Vec::new(),
        }
    }

    // ------------------------------------------------------------------------------------------------------------ kept, put back

    /// Keeps files, target and sandboxes as they are; no dbd may be at work.
    pub fn keep(&self) -> Kept {
        let files = room::folder("run");
        for name in PARTS {
            copy(&self.folder.path().join(name), &files.path().join(name));
        }
        let mut databases = Vec::new();
        for (at, row) in self.own_databases().into_iter().enumerate() {
            let [name, owner, comment] = row;
            let copy = format!("{}_kept_{at}", self.database);
            self.elsewhere(&format!("create database {copy} template {name}"));
            databases.push([name, copy, owner, comment]);
        }
        Kept { files, databases }
    }

    /// Makes files, target and sandboxes as they were.
    pub fn put_back(&self, kept: &Kept) {
        for name in PARTS.into_iter().chain(["out"]) {
            let folder = self.folder.path().join(name);
            fs_err::remove_dir_all(&folder).unwrap();
            let before = kept.files.path().join(name);
            if before.exists() { copy(&before, &folder) } else { fs_err::create_dir(&folder).unwrap() }
        }
        for [name, ..] in self.own_databases() {
            self.elsewhere(&format!("drop database {name}"));
        }
        for [name, copy, owner, comment] in &kept.databases {
            self.elsewhere(&format!("create database {name} template {copy} owner {owner}"));
            if !comment.is_empty() {
                self.elsewhere(&format!("comment on database {name} is '{}'", comment.replace('\'', "''")));
            }
        }
    }

    /// The database that is the sandbox of a run of this project, on a server that was named for sandboxes.
    pub fn sandbox_of(&self, run: &str) -> String {
        dbd::adapters::sandbox::database_of(run, &dbd::wire::whose(&self.root()))
    }

    /// The target and the sandboxes of its runs on its server, each with its owner and its comment. The sessions of a process that was
    /// killed are ended: a database cannot be copied while it has any.
    fn own_databases(&self) -> Vec<[String; 3]> {
        let journal = dbd_journal::Journal::open_read_only(self.journal());
        let runs = journal.map(|journal| journal.runs().unwrap_or_default()).unwrap_or_default();
        // Not by the run's id alone: two projects may begin a run in the same millisecond.
        let ours: Vec<String> =
            runs.iter().map(|run| format!("or datname ~ '^{}'", self.sandbox_of(&run.run))).collect();
        // What a swap made of the target goes with it.
        let condition = format!("datname ~ '^{}(__dbd_[sxf]_.*)?$' {}", self.database, ours.join(" "));
        let client = self.runtime.block_on(pg::connect_to(self.server(), "postgres"));
        let end = format!("select pg_terminate_backend(pid) from pg_stat_activity where {condition}");
        let list = format!(
            "select datname, datdba::regrole, coalesce(shobj_description(oid, 'pg_database'), '') from pg_database where {condition}"
        );
        let messages = self.runtime.block_on(async { client.simple_query(&format!("{end}; {list}")).await }).unwrap();
        let row = |message| match message {
            SimpleQueryMessage::Row(row) if row.len() == 3 => {
                Some([0, 1, 2].map(|column| row.get(column).unwrap_or_default().to_owned()))
            }
            _ => None,
        };
        messages.into_iter().filter_map(row).collect()
    }

    // ----------------------------------------------------------------------------------------------------------------------- dbd

    /// Runs dbd to its end.
    #[track_caller]
    pub fn dbd(&self, arguments: &[&str]) -> Output {
        self.spawn(arguments).wait()
    }

    /// `dbd start dev --json` to its end.
    #[track_caller]
    pub fn start(&self) -> Output {
        self.dbd(&["start", "dev", "--json"])
    }

    /// Runs dbd as a crash drill: through every gap, or up to the one it kills itself in. Gives how it ended and the gaps it passed, each
    /// with its name and what it is about.
    #[track_caller]
    pub fn drill(&self, at: Option<usize>, arguments: &[&str]) -> (Output, Vec<(String, String)>) {
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let log = self.folder.path().join(format!("out/{number}.drill"));
        self.quiet();
        let mut command = Command::new("/usr/bin/env");
        command.arg(format!("DBD_CRASH_LOG={}", log.display()));
        command.args(at.map(|at| format!("DBD_CRASH_AT={at}"))).arg(env!("CARGO_BIN_EXE_dbd"));
        let output = self.spawn_by(command, arguments).wait();
        let text = fs_err::read_to_string(&log).unwrap_or_default();
        let passed = text.lines().map(|line| {
            let mut parts = line.splitn(3, '\t').skip(1).map(str::to_owned);
            (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
        });
        (output, passed.collect())
    }

    /// Starts dbd.
    pub fn spawn(&self, arguments: &[&str]) -> Running<'_> {
        self.spawn_by(Command::new(env!("CARGO_BIN_EXE_dbd")), arguments)
    }

    /// Starts dbd by `command`, which has to hand its arguments on.
    pub fn spawn_by(&self, mut command: Command, arguments: &[&str]) -> Running<'_> {
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let streams = ["stdout", "stderr"].map(|name| self.folder.path().join(format!("out/{number}.{name}")));
        let [stdout, stderr] =
            streams.each_ref().map(|path| Stdio::from(fs_err::File::create(path).unwrap().into_parts().0));
        command.args(arguments).current_dir(self.root()).env_clear().envs(&self.environment);
        let child = command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).spawn().expect("dbd can be started");
        Running { project: self, child, streams }
    }

    /// What every process of dbd has written to its standard error so far.
    pub fn said(&self) -> String {
        let streams = files(&self.folder.path().join("out"));
        let errors = streams.iter().filter(|path| path.extension().is_some_and(|ending| ending == "stderr"));
        errors.map(|path| fs_err::read_to_string(path).unwrap_or_default()).collect()
    }

    /// The kinds of events in the journal so far, in order; none while there is no journal.
    pub fn events(&self) -> Vec<Event> {
        let mut events = Vec::new();
        let Ok(journal) = dbd_journal::Journal::open_read_only(self.journal()) else { return events };
        let _ = journal.scan(1, |entry| {
            let body = serde_json::from_str(entry.body.get()).unwrap_or_default();
            events.push(Event {
                kind: entry.kind,
                body,
                seq: entry.seq,
                hash: dbd_journal::chain::printed(&entry.hash),
            });
            std::ops::ControlFlow::Continue(())
        });
        events
    }

    /// The id of the newest run in the journal.
    #[track_caller]
    pub fn run_in_journal(&self) -> String {
        let journal = dbd_journal::Journal::open_read_only(self.journal()).expect("there is a journal");
        journal.runs().unwrap().last().expect("there is a run").run.clone()
    }

    /// Fails the test unless the journal verifies, nothing temporary is left, and the password is nowhere.
    #[track_caller]
    pub fn assert_sound(&self) {
        let verdict = self.dbd(&["audit", "verify", "--json"]).expect(0).json();
        assert_eq!(verdict["sound"], true, "{verdict}");
        self.assert_tidy();
        self.assert_secret();
    }

    /// Fails the test unless nothing temporary is left: no sandbox, no half-written file, no session, no lock.
    #[track_caller]
    pub fn assert_tidy(&self) {
        let sandboxes = files(&self.tmp());
        assert!(sandboxes.is_empty(), "left behind: {sandboxes:?}");
        let odd: Vec<_> =
            files(&self.root()).into_iter().filter(|path| path.to_string_lossy().contains("partial")).collect();
        assert!(odd.is_empty(), "left behind: {odd:?}");
        // On a server that was named for sandboxes, a sandbox is a database called after its run and its project.
        let runs =
            dbd_journal::Journal::open_read_only(self.journal()).map(|journal| journal.runs().unwrap_or_default());
        for run in runs.unwrap_or_default() {
            let sql = format!("select datname from pg_database where datname ~ '^{}'", self.sandbox_of(&run.run));
            assert!(self.rows(&sql).is_empty(), "left behind: {:?}", self.rows(&sql));
        }
        let sessions = || {
            self.rows(&format!(
                "select application_name, state, query from pg_stat_activity where datname = '{}' and application_name like 'dbd%' \
                 and application_name <> 'dbd tests'",
                self.database
            ))
        };
        let captures = self.rows(&format!(
            "select datname from pg_database where datname ~ '^{0}__dbd_[sf]_' \
             union all select slot_name from pg_replication_slots where database = '{0}' \
             union all select nspname from pg_namespace where nspname in ('dbd_capture', 'dbd_shadow')",
            self.database
        ));
        assert!(captures.is_empty(), "left behind: {captures:?}");
        // A session that was told goodbye is gone once its backend came round to it.
        let gone = (0..250).any(|_| sessions().is_empty() || self.rows("select pg_sleep(0.02)").is_empty());
        assert!(gone, "left behind: {:?}", sessions());
    }

    /// Fails the test if the password is in a file of the project or in anything that was printed.
    #[track_caller]
    pub fn assert_secret(&self) {
        for path in files(self.folder.path()) {
            let bytes = fs_err::read(&path).unwrap_or_default();
            for secret in secrets() {
                assert!(!contains(&bytes, secret.as_bytes()), "{} holds the password", path.display());
            }
        }
    }
}

/// What a project consists of, beside what was printed.
const PARTS: [&str; 3] = ["project", "home", "tmp"];

/// Copies a folder with all that is in it.
fn copy(from: &Path, to: &Path) {
    fs_err::create_dir(to).unwrap();
    fs_err::set_permissions(to, fs_err::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs_err::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs_err::copy(entry.path(), &to).unwrap();
        }
    }
}

impl Drop for Project {
    /// A test that failed half-way must not leave servers: they work in folders that are about to go.
    fn drop(&mut self) {
        for entry in fs_err::read_dir(self.tmp()).into_iter().flatten().flatten() {
            for process in dbd::adapters::support::process::working_in(&entry.path().join("data")) {
                process.signal(rustix::process::Signal::KILL);
            }
        }
        if matches!(self.at, At::Shared) {
            self.runtime.block_on(pg::drop_databases(&self.database));
        }
    }
}

/// An event of the journal.
#[derive(Clone)]
pub struct Event {
    /// Its kind, like `step.intended`.
    pub kind: String,
    /// What it says.
    pub body: Value,
    /// Its place in the journal.
    pub seq: u64,
    /// The journal's head with it.
    pub hash: String,
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.body["effect"])
    }
}

impl Event {
    /// Whether it is the intent of an effect: `migrate`, `dump`, ...
    pub fn intends(&self, effect: &str) -> bool {
        self.kind == "step.intended" && self.body["effect"]["do"] == effect
    }
}

/// A session on the target.
pub struct Session<'p> {
    project: &'p Project,
    client: Client,
}

impl Session<'_> {
    /// Runs statements.
    #[track_caller]
    pub fn sql(&self, sql: &str) {
        self.project
            .runtime
            .block_on(self.client.batch_execute(sql))
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }
}

impl Drop for Session<'_> {
    /// The server is told: nothing polls the connection by itself.
    fn drop(&mut self) {
        let end = self.client.batch_execute("select pg_terminate_backend(pg_backend_pid())");
        let _ = self.project.runtime.block_on(end);
    }
}

impl Running<'_> {
    /// Waits for its end.
    #[track_caller]
    pub fn wait(mut self) -> Output {
        let deadline = Instant::now() + DEADLINE;
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if Instant::now() > deadline => {
                    self.kill();
                    let output = self.output(None);
                    panic!("dbd did not come to its end\n{output:?}\n{:#?}", self.project.events());
                }
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        let output = self.output(Some(status));
        for secret in secrets() {
            assert!(
                !output.stdout.contains(secret.as_str()) && !output.stderr.contains(secret.as_str()),
                "the password was printed\n{output:?}"
            );
        }
        output
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it is still at work.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until `happened`, or for the end of the process, whichever comes first; says whether it happened.
    #[track_caller]
    pub fn until(&mut self, what: &str, happened: impl Fn() -> bool) -> bool {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let running = self.is_running();
            if happened() {
                return true;
            }
            if !running {
                return false;
            }
            assert!(
                Instant::now() < deadline,
                "waited in vain for {what}\n{:?}\n{:#?}",
                self.output(None),
                self.project.events()
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until the journal holds an event that is `wanted`.
    #[track_caller]
    pub fn until_event(&mut self, what: &str, wanted: impl Fn(&Event) -> bool) {
        let project = self.project;
        let there = || project.events().iter().any(&wanted);
        // Reading a journal costs what the run under test then lacks: only after an event, which the file beside it tells.
        let head = dbd_journal::witness_path(&project.journal());
        let seen = std::cell::RefCell::new(None);
        let news = || {
            let now = fs_err::read(&head).ok();
            now != seen.replace(now.clone()) && there()
        };
        let found = self.until(what, news) || there();
        assert!(found, "dbd ended without {what}\n{:?}\n{:#?}", self.output(None), self.project.events());
    }

    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let _ = rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal);
    }

    /// Kills it with SIGKILL and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn output(&self, status: Option<ExitStatus>) -> Output {
        let [stdout, stderr] = self.streams.each_ref().map(|path| fs_err::read_to_string(path).unwrap_or_default());
        Output { code: status.and_then(|status| status.code()), stdout, stderr }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Who looks at all command lines, and who runs a command of a user that shows the password on its own.
static COMMAND_LINES: RwLock<()> = RwLock::new(());

/// Until it is dropped, a user's command may show the password: nobody looks at command lines meanwhile.
#[must_use]
pub fn showing_the_password() -> impl Drop {
    COMMAND_LINES.read().unwrap_or_else(PoisonError::into_inner)
}

/// The command lines of every process of this machine, where they can be read, searched for the password while `work` goes on.
pub fn watching_command_lines<T>(work: impl FnOnce() -> T) -> T {
    let _alone = COMMAND_LINES.write().unwrap_or_else(PoisonError::into_inner);
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut seen = 0_u64;
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                for entry in fs_err::read_dir("/proc").into_iter().flatten().flatten() {
                    let Ok(line) = fs_err::read(entry.path().join("cmdline")) else { continue };
                    seen += u64::from(contains(&line, b"pg_dump") || contains(&line, b"pg_restore"));
                    // The shell that made the test server was told the password, and nobody else may be.
                    let told = contains(&line, b"supervise");
                    let found = secrets().iter().any(|secret| contains(&line, secret.as_bytes()));
                    assert!(told || !found, "a process shows the password: {}", String::from_utf8_lossy(&line));
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            seen
        });
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        let seen = watcher.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        assert!(
            seen > 0 || !Path::new("/proc/self/cmdline").exists(),
            "no child was seen at work: nothing was looked at"
        );
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// `pg_dump --schema-only` without what differs from one dump to the next.
fn pg_dump(server: &Server, database: &str) -> String {
    let output = Command::new(server.bin.join("pg_dump"))
        .args([
            "--schema-only",
            "--exclude-schema=dbd",
            "--exclude-schema=dbd_keep",
            "--exclude-schema=drizzle",
            "--username",
            pg::USER,
            "--host",
        ])
        .arg(&server.socket)
        .args(["--dbname", database])
        .output()
        .expect("pg_dump can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let random = |line: &&str| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict");
    text.lines().filter(random).collect::<Vec<_>>().join("\n")
}

/// Every file below `folder`; what goes while it is looked at is left out.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files(&path)),
            Ok(_) => found.push(path),
            Err(_) => {}
        }
    }
    found
}

/// The password as it might be written somewhere.
fn secrets() -> &'static [String; 2] {
    static SECRETS: OnceLock<[String; 2]> = OnceLock::new();
    SECRETS.get_or_init(|| [PASSWORD.to_owned(), encoded(PASSWORD)])
}

fn encoded(password: &str) -> String {
    password
        .bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

#[allow(clippy::disallowed_methods, reason = "tests read the environment themselves")]
fn inherited(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
