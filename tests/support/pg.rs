//! A throw-away PostgreSQL server, started by the first test that asks and gone with the test process.
//!
//! How it goes: a shell waits on a pipe whose other end this process holds and never writes to. However the process ends, even by
//! `kill -9`, the pipe closes, and the shell stops the server and removes its folder. No test has to clean up.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio_postgres::{Client, NoTls};

/// The server of this test process. Every test takes a [`database`] of its own.
pub struct Server {
    /// The folder of the socket.
    pub socket: PathBuf,
    /// The folder of the programs.
    pub bin: PathBuf,
    /// The user the programs run as, when this process is root: PostgreSQL refuses to run as root.
    pub user: Option<(u32, u32)>,
    /// The server lives as long as this is open.
    _alive: ChildStdin,
}

impl Server {
    /// Stops the server at once, as a crash would, and waits until it is down.
    pub fn crash(&self) {
        self.pg_ctl(&["--mode", "immediate", "stop"]);
    }

    /// Starts the server after [`Server::crash`] and waits until it takes connections.
    pub fn recover(&self) {
        self.pg_ctl(&["--log", "log", "start"]);
    }

    fn pg_ctl(&self, arguments: &[&str]) {
        let mut command = Command::new(self.bin.join("pg_ctl"));
        command.args(["--pgdata", "data", "--wait"]).args(arguments).current_dir(&self.socket);
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        // Not `output()`: the server would keep a pipe open.
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        assert!(status.expect("pg_ctl can be run").success(), "pg_ctl {arguments:?} failed");
    }
}

/// The superuser of the test server.
pub const USER: &str = "postgres";

/// An ordinary role that may log in and has to say its [`PASSWORD`]; everybody else is trusted.
pub const DEPLOYER: &str = "deployer";

/// What [`DEPLOYER`] has to say. It holds what must be percent-encoded in a URL.
pub const PASSWORD: &str = "Xq7/tr0mbone@9:k";

/// The server, started at the first call.
///
/// # Panics
/// If PostgreSQL's programs are not installed, or the server does not start; the message holds its own words.
pub fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| start("pg"))
}

/// A server of its own, for a test that stops it. `label` tells it from the others of this process.
pub fn another(label: &str) -> Server {
    start(label)
}

/// A new, empty database, and a connection to it.
pub async fn database() -> Client {
    connect(&create_database().await).await
}

/// Creates an empty database and tells its name.
pub async fn create_database() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let admin = connect("postgres").await;
    admin
        .batch_execute(&format!("create database {name} template template0"))
        .await
        .expect("a database can be created");
    name
}

/// Drops a database and the copies that were kept of it, if the server lets it: the room is not without end.
pub async fn drop_databases(name: &str) {
    let Ok((client, connection)) = as_superuser(server(), "postgres").connect(NoTls).await else { return };
    tokio::spawn(connection);
    let list = format!("select datname from pg_database where datname = '{name}' or datname like '{name}\\_kept\\_%'");
    for row in client.query(&list, &[]).await.unwrap_or_default() {
        let _ = client.batch_execute(&format!("drop database {} with (force)", row.get::<_, String>(0))).await;
    }
}

/// Connects to one of the server's databases as its superuser.
pub async fn connect(database: &str) -> Client {
    connect_to(server(), database).await
}

/// Connects to a database of `server` as its superuser.
pub async fn connect_to(server: &Server, database: &str) -> Client {
    let (client, connection) =
        as_superuser(server, database).connect(NoTls).await.expect("the test server takes connections");
    tokio::spawn(connection);
    client
}

fn as_superuser(server: &Server, database: &str) -> tokio_postgres::Config {
    let mut config = tokio_postgres::Config::new();
    config.host_path(&server.socket).user(USER).dbname(database).application_name("dbd tests");
    config
}

/// Runs one of PostgreSQL's client programs against the server and gives what it wrote to stdout.
pub fn program(name: &str, arguments: &[&str]) -> String {
    let server = server();
    let output = Command::new(server.bin.join(name))
        .arg("--host")
        .arg(&server.socket)
        .args(["--username", USER])
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{name} cannot be run: {error}"));
    assert!(output.status.success(), "{name} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("its output is UTF-8")
}

#[allow(clippy::zombie_processes, reason = "the shell outlives this process, which is what it is for")]
fn start(label: &str) -> Server {
    let bin = programs();
    let home = super::room::room().join(format!("dbd-test-{label}-{}", std::process::id()));
    fs_err::create_dir_all(&home).expect("the temporary folder can be written");

    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(SUPERVISE).arg("supervise").arg(&bin).arg(&home).args([USER, DEPLOYER, PASSWORD, fsync()]);
    let mut user = None;
    if rustix::process::geteuid().is_root() {
        // PostgreSQL refuses to run as root.
        let (uid, gid) = ordinary_user();
        std::os::unix::fs::chown(&home, Some(uid), Some(gid)).expect("root can give a folder away");
        shell.uid(uid).gid(gid);
        user = Some((uid, gid));
    }
    let mut child = shell
        .current_dir("/")
        // Ctrl-C at the terminal then reaches this process alone, and the pipe tells the shell.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a shell can be started");
    let stdout = child.stdout.take().expect("it was piped");
    let alive = child.stdin.take().expect("it was piped");
    // The shell says `ready` once the server is, and ends its output if it could not be started.
    let ready = BufReader::new(stdout).lines().map_while(Result::ok).any(|line| line == "ready");
    let log = || fs_err::read_to_string(home.join("log")).unwrap_or_default();
    assert!(ready, "the test server did not start:\n{}", log());
    Server { socket: home, bin, user, _alive: alive }
}

/// Measurements want the disk to be waited for: `DBD_TEST_FSYNC=on`.
#[allow(clippy::disallowed_methods, reason = "tests read the environment themselves")]
fn fsync() -> &'static str {
    if std::env::var("DBD_TEST_FSYNC").is_ok_and(|value| value == "on") { "on" } else { "off" }
}

/// `$1` the programs, `$2` the folder, `$3` the superuser, `$4` and `$5` the role that has a password, `$6` whether the disk is waited for.
const SUPERVISE: &str = r#"
trap '' INT TERM HUP
umask 077
cd "$2" || exit 1
end() {
  [ -f data/postmaster.pid ] && "$1/pg_ctl" --pgdata data --mode immediate --wait stop >>log 2>&1
  cd / && rm -rf "$2"
}
"$1/initdb" --pgdata data --username "$3" --auth trust --encoding UTF8 --locale C --no-sync >log 2>&1 &&
{ echo "local all $4 scram-sha-256"; cat data/pg_hba.conf; } >hba && mv hba data/pg_hba.conf &&
cat >>data/postgresql.conf <<EOF &&
listen_addresses = ''
unix_socket_directories = '$2'
fsync = $6
full_page_writes = off
synchronous_commit = off
jit = off
max_connections = 200
wal_level = logical
max_prepared_transactions = 10
EOF
"$1/pg_ctl" --pgdata data --wait --log log start >>log 2>&1 </dev/null &&
echo "create role $4 login createdb password '$5'; create role reader; grant reader to $4" |
"$1/psql" --host "$2" --username "$3" --dbname postgres --quiet --set ON_ERROR_STOP=1 >>log 2>&1 &&
echo ready || exec >&-
while read -r _; do :; done
end "$1" "$2"
"#;

/// The uid and gid of `postgres`, else of `nobody`.
fn ordinary_user() -> (u32, u32) {
    let users = fs_err::read_to_string("/etc/passwd").expect("the machine has users");
    let find = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let fields: Vec<&str> = line.split(':').collect();
        Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
    };
    find("postgres").or_else(|| find("nobody")).expect("an ordinary user to run the server as")
}

/// The folder of `initdb`: `PG_BIN`, else on the PATH, else the newest under `/usr/lib/postgresql`.
#[allow(clippy::disallowed_methods, reason = "tests read the environment themselves")]
fn programs() -> PathBuf {
    let has_server = |folder: &PathBuf| ["initdb", "pg_ctl", "pg_dump"].iter().all(|name| folder.join(name).is_file());
    if let Some(folder) = std::env::var_os("PG_BIN").map(PathBuf::from) {
        assert!(has_server(&folder), "PG_BIN is {}, where there is no initdb", folder.display());
        return folder;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    // A link on the PATH (as Debian's wrappers have) leads to the folder where all programs are together.
    let linked = |folder: PathBuf| Some(fs_err::canonicalize(folder.join("initdb")).ok()?.parent()?.to_path_buf());
    if let Some(folder) = std::env::split_paths(&path).filter_map(linked).find(has_server) {
        return folder;
    }
    let versions = fs_err::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path().join("bin"))))
        .filter(|(_, folder)| has_server(folder))
        .max();
    newest.map(|(_, folder)| folder).expect("PostgreSQL's programs are not installed; set PG_BIN to their folder")
}
