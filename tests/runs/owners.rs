//! The tool that owns the folder agrees: run on a target that dbd deployed to, it finds nothing to do.
//!
//! Needs programs of other people, so it runs only where `DBD_TEST_OWNERS` names a folder that has them, as `.ci/owners FOLDER` makes
//! it and `.ci/run` uses it. An owner that is not there is passed over, with a word about it.

use super::histories::everything;
use crate::support::pg;
use crate::support::project::{Project, files};
use std::path::{Path, PathBuf};
use std::process::Command;

#[allow(clippy::disallowed_methods, reason = "tests read the environment themselves")]
pub(super) fn owners() -> Option<PathBuf> {
    std::env::var_os("DBD_TEST_OWNERS").map(PathBuf::from)
}

/// The program, unless it is not there.
#[allow(clippy::print_stderr, reason = "whoever switched this on should know what was passed over")]
fn there(path: PathBuf) -> Option<PathBuf> {
    let found = path.exists();
    if !found {
        eprintln!("{} is not there; its owner was not asked", path.display());
    }
    found.then_some(path)
}

/// A program that cargo builds, as quickly as it goes or as people have it.
fn built(owners: &Path, name: &str) -> Option<PathBuf> {
    let as_people_have_it = owners.join("cargo/bin").join(name);
    if as_people_have_it.exists() { Some(as_people_have_it) } else { there(owners.join("quick/bin").join(name)) }
}

/// Runs an owner to its end; what it printed.
#[track_caller]
fn ask(project: &Project, program: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .envs(variables.iter().copied())
        .current_dir(project.root())
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{} {arguments:?}: {text}", program.display());
    text
}

/// A project of this format with these files, deployed by dbd.
fn deployed(format: &str, files: &[(&str, &str)]) -> Project {
    let mut project = Project::empty();
    project.with_sandboxes_on_the_server();
    project.config(&format!("[migrations]\ndir = \"migrations\"\nformat = \"{format}\"\n"));
    for (path, text) in files {
        project.write(&format!("migrations/{path}"), text);
    }
    project.start().expect(0).outcome("succeeded");
    project
}

/// Where the owner of the format is to be had: where dbd was it has nothing to do, and from nothing it makes what dbd made. `unable` are those
/// that cannot run these migrations.
pub(super) fn as_its_owner_does(project: &Project, format: &str, unable: &[&str]) -> bool {
    let before = project.snapshot();
    if migrate(project, format, &project.url()).is_none() {
        return false;
    }
    assert_eq!(project.snapshot(), before, "{format}");
    if unable.contains(&format) {
        return true;
    }
    let by_owner = format!("{}_by_owner", project.database);
    project.elsewhere(&format!("create database {by_owner} template template0 owner {}", pg::DEPLOYER));
    migrate(project, format, &project.url().replace(&project.database, &by_owner));
    // The rows were made at other times, and a function that finds its own only by a search path stops a dump of them.
    let (ours, theirs) = (everything(&project.database, "--schema-only"), everything(&by_owner, "--schema-only"));
    assert_eq!(ours, theirs, "{format}");
    project.elsewhere(&format!("drop database {by_owner}"));
    true
}

/// Everything the owner could have changed.
fn whole(project: &Project, table: &str) -> (Vec<String>, String) {
    (project.rows(&format!("select * from {table} order by 1")), project.snapshot().schema)
}

/// The URL for a program that knows no sockets but those of the network: what comes in is handed on.
fn over_tcp(url: &str) -> String {
    let (address, folder) = url.split_once("?host=").unwrap();
    let socket = PathBuf::from(folder).join(".s.PGSQL.5432");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for incoming in listener.incoming().map_while(Result::ok) {
            let server = std::os::unix::net::UnixStream::connect(&socket).unwrap();
            let (mut from, mut to) = (incoming.try_clone().unwrap(), server.try_clone().unwrap());
            // Whoever hangs up is gone for the other side, too: the server would keep a lock for a session that nobody has.
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(std::net::Shutdown::Both);
            });
            let (mut from, mut to) = (server, incoming);
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    address.replace("@localhost/", &format!("@127.0.0.1:{port}/"))
}

/// Has the owner of a format migrate a database by the project's folder; what it said. `None` where it is not to be had.
pub(super) fn migrate(project: &Project, format: &str, url: &str) -> Option<String> {
    let owners = owners()?;
    let modules = owners.join("node_modules");
    Some(match format {
        "drizzle" => {
            let package = if project.root().join("migrations/meta").exists() { "drizzle-orm" } else { "drizzle-1" };
            there(modules.join(package))?;
            by_node(project, &modules, "migrate.mjs", &DRIZZLE.replace("drizzle-orm", package), url)
        }
        "prisma" => {
            there(modules.join("@prisma/schema-engine-wasm"))?;
            by_node(project, &modules, "prisma.mjs", include_str!("../support/prisma.mjs"), &over_tcp(url))
        }
        "dbmate" => {
            let dbmate = there(modules.join("@dbmate/linux-x64/bin/dbmate"))?;
            let arguments = ["--no-dump-schema", "-d", "migrations", "migrate"];
            ask(project, &dbmate, &arguments, &[("DATABASE_URL", &dbmates(url))])
        }
        "sqlx" => {
            let sqlx = built(&owners, "sqlx")?;
            ask(project, &sqlx, &["migrate", "run", "--no-dotenv"], &[("DATABASE_URL", url)])
        }
        "refinery" => {
            let refinery = built(&owners, "refinery")?;
            let arguments = ["migrate", "-e", "DATABASE_URL", "-p", "migrations"];
            ask(project, &refinery, &arguments, &[("DATABASE_URL", &over_tcp(url))])
        }
        "sqitch" => {
            let sqitch = there(PathBuf::from("/usr/bin/sqitch"))?;
            let folder = project.root().join("migrations");
            project.write("migrations/sqitch.conf", SQITCH);
            let target = over_tcp(url).replace("postgres://", "db:pg://");
            let output =
                Command::new(sqitch).args(["-C", folder.to_str().unwrap(), "deploy", &target]).output().unwrap();
            let said =
                format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            // With nothing to do it says so and ends with 1.
            assert!(output.status.success() || said.contains("up-to-date"), "{said}");
            said
        }
        _ => return None,
    })
}

/// Runs a script where Node finds the owners' packages.
fn by_node(project: &Project, modules: &Path, name: &str, script: &str, url: &str) -> String {
    let link = project.root().join("node_modules");
    if !link.exists() {
        std::os::unix::fs::symlink(modules, link).unwrap();
    }
    project.write(name, script);
    ask(project, Path::new("node"), &[name, "migrations"], &[("DATABASE_URL", url)])
}

/// A URL as dbmate wants it.
fn dbmates(url: &str) -> String {
    url.replace("@localhost/", "@/").replace("?host=", "?sslmode=disable&socket=")
}

const DRIZZLE: &str = "import { drizzle } from 'drizzle-orm/node-postgres'; import { migrate } from 'drizzle-orm/node-postgres/migrator'; \
    import pg from 'pg'; const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL }); \
    await migrate(drizzle({ client: pool }), { migrationsFolder: 'migrations' }); await pool.end();";

const SQITCH: &str = "[core]\n\tengine = pg\n[user]\n\tname = Marge O’Vera\n\temail = marge@example.com\n";

const TWO: &[(&str, &str)] = &[
    ("20240131120000_init.sql", "create table a (id int primary key);\ninsert into a values (1);\n"),
    ("20240201120000_more.sql", "alter table a add column b text not null default 'ü''x';\n"),
];

#[test]
fn drizzle_finds_nothing_to_do() {
    if owners().is_none() {
        return;
    }
    let journal = r#"{"version": "7", "dialect": "postgresql", "entries": [
        {"idx": 0, "version": "7", "when": 1727000000111, "tag": "0000_a", "breakpoints": true},
        {"idx": 1, "version": "7", "when": 1727000000222, "tag": "0001_b", "breakpoints": true}]}"#;
    let project = deployed(
        "drizzle",
        &[
            ("meta/_journal.json", journal),
            (
                "0000_a.sql",
                "CREATE TABLE \"a\" (\"id\" serial PRIMARY KEY);\n--> statement-breakpoint\nCREATE INDEX ON \"a\" (\"id\");",
            ),
            ("0001_b.sql", "ALTER TABLE \"a\" ADD COLUMN \"b\" text;"),
        ],
    );
    let before = whole(&project, "drizzle.__drizzle_migrations");
    migrate(&project, "drizzle", &project.url());
    assert_eq!(whole(&project, "drizzle.__drizzle_migrations"), before);
}

#[test]
fn dbmate_finds_nothing_to_do() {
    let Some(owners) = owners() else { return };
    let Some(dbmate) = there(owners.join("node_modules/@dbmate/linux-x64/bin/dbmate")) else { return };
    let marked: Vec<(&str, String)> =
        TWO.iter().map(|(path, text)| (*path, format!("-- migrate:up\n{text}\n-- migrate:down\n"))).collect();
    let marked: Vec<(&str, &str)> = marked.iter().map(|(path, text)| (*path, text.as_str())).collect();
    let project = deployed("dbmate", &marked);
    let before = whole(&project, "schema_migrations");
    let url = dbmates(&project.url());
    let arguments = |command: &'static str| ["--no-dump-schema", "-d", "migrations", command];
    let status = ask(&project, &dbmate, &arguments("status"), &[("DATABASE_URL", &url)]);
    assert!(status.contains("Pending: 0") && status.contains("Applied: 2"), "{status}");
    ask(&project, &dbmate, &arguments("migrate"), &[("DATABASE_URL", &url)]);
    assert_eq!(whole(&project, "schema_migrations"), before);
}

#[test]
fn sqlx_finds_nothing_to_do() {
    let Some(owners) = owners() else { return };
    let Some(sqlx) = built(&owners, "sqlx") else { return };
    let project = deployed("sqlx", TWO);
    let before = whole(&project, "_sqlx_migrations");
    let url = project.url();
    let info = ask(&project, &sqlx, &["migrate", "info", "--no-dotenv"], &[("DATABASE_URL", &url)]);
    assert_eq!(info.matches("/installed").count(), 2, "{info}");
    assert!(!info.contains("different checksum"), "{info}");
    ask(&project, &sqlx, &["migrate", "run", "--no-dotenv"], &[("DATABASE_URL", &url)]);
    assert_eq!(whole(&project, "_sqlx_migrations"), before);
}

#[test]
fn refinery_finds_nothing_to_do() {
    let Some(owners) = owners() else { return };
    let Some(refinery) = built(&owners, "refinery") else { return };
    let project = deployed(
        "refinery",
        &[("V1__initial.sql", TWO[0].1), ("U7__a_late_one.sql", TWO[1].1), ("V3__third.sql", "create table c ();")],
    );
    let before = whole(&project, "refinery_schema_history");
    let arguments = ["migrate", "-e", "DATABASE_URL", "-p", "migrations"];
    ask(&project, &refinery, &arguments, &[("DATABASE_URL", &over_tcp(&project.url()))]);
    assert_eq!(whole(&project, "refinery_schema_history"), before);
}

#[test]
fn sqitch_finds_nothing_to_do_and_verifies_what_is_there() {
    if owners().is_none() || there(PathBuf::from("/usr/bin/sqitch")).is_none() {
        return;
    }
    let plan = "%syntax-version=1.0.0\n%project=shop\n\n\
        first 2024-01-31T12:00:00Z Marge O’Vera <marge@example.com> # The first.\n\
        second [first] 2024-02-01T12:00:00Z Marge O’Vera <marge@example.com>\n\
        @v1 2024-02-01T12:30:00Z Marge O’Vera <marge@example.com> # A tag.\n";
    let project = deployed(
        "sqitch",
        &[
            ("sqitch.plan", plan),
            ("deploy/first.sql", "BEGIN;\ncreate table a (id int primary key);\nCOMMIT;\n"),
            ("revert/first.sql", "BEGIN;\ndrop table a;\nCOMMIT;\n"),
            ("verify/first.sql", "BEGIN;\nselect id from a where false;\nROLLBACK;\n"),
            ("deploy/second.sql", "alter table a add column b text;\n"),
            ("revert/second.sql", "alter table a drop column b;\n"),
            ("verify/second.sql", "select b from a where false;\n"),
        ],
    );
    project.write("migrations/sqitch.conf", SQITCH);
    let before = whole(&project, "sqitch.changes");
    let folder = project.root().join("migrations");
    let target = over_tcp(&project.url()).replace("postgres://", "db:pg://");
    let tell = |command: &str| {
        let output = Command::new("sqitch")
            .args(["-C", folder.to_str().unwrap(), command, &target])
            .output()
            .expect("sqitch runs");
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    };
    for (command, answer) in [
        ("status", "Nothing to deploy (up-to-date)"),
        ("deploy", "Nothing to deploy (up-to-date)"),
        ("verify", "Verify successful"),
    ] {
        let said = tell(command);
        assert!(said.contains(answer), "{command}: {said}");
    }
    assert_eq!(whole(&project, "sqitch.changes"), before);
}

#[test]
fn prisma_and_dbd_go_on_from_each_other() {
    if owners().is_none_or(|owners| there(owners.join("node_modules/@prisma/schema-engine-wasm")).is_none()) {
        return;
    }
    let ask = |project: &Project| {
        let said = migrate(project, "prisma", &project.url()).unwrap();
        serde_json::from_str::<serde_json::Value>(said.lines().last().unwrap_or_default())
            .unwrap_or_else(|_| panic!("{said}"))
    };
    let project = deployed(
        "prisma",
        &[
            ("migration_lock.toml", "provider = \"postgresql\"\n"),
            (
                "20240131120000_init/migration.sql",
                "CREATE TABLE \"User\" (\"id\" TEXT NOT NULL,\r\nPRIMARY KEY (\"id\"));\r\n",
            ),
            ("20240201120000_more/migration.sql", TWO[0].1),
        ],
    );
    let before = whole(&project, "_prisma_migrations");
    let nothing = serde_json::json!({"edited": [], "failed": [], "table": true, "history": null, "applied": []});
    assert_eq!(ask(&project), nothing);
    assert_eq!(whole(&project, "_prisma_migrations"), before);
    // Prisma goes on, then dbd.
    project.write("migrations/20240301120000_by_prisma/migration.sql", "create table p (id int);\n");
    assert_eq!(ask(&project)["applied"], serde_json::json!(["20240301120000_by_prisma"]));
    assert_eq!(project.start().expect(0).json()["migrations"], serde_json::json!([]));
    // What failed under Prisma and was settled as it wants it settled.
    project.write("migrations/20240401120000_bad/migration.sql", "create table a (id int);\n");
    let modules = owners().unwrap().join("node_modules");
    let failed = std::panic::catch_unwind(|| {
        by_node(&project, &modules, "prisma.mjs", include_str!("../support/prisma.mjs"), &over_tcp(&project.url()))
    });
    assert!(failed.is_err());
    project.start().expect(3).because("DBD-0213", &["20240401120000_bad", "resolve"]);
    project.sql("update _prisma_migrations set rolled_back_at = now() where finished_at is null");
    project.write("migrations/20240401120000_bad/migration.sql", "create table b (id int);\n");
    project.start().expect(0).outcome("succeeded");
    assert_eq!(ask(&project), nothing);
}

/// The whole public histories, where `DBD_TEST_HISTORIES` names a folder of them, as `.ci/histories FOLDER` makes it: each with its migrations in
/// a folder of its own.
#[allow(clippy::disallowed_methods, reason = "tests read the environment themselves")]
fn histories() -> Vec<PathBuf> {
    let Some(folder) = std::env::var_os("DBD_TEST_HISTORIES") else { return Vec::new() };
    let mut all: Vec<PathBuf> = fs_err::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}

/// A project with the files of a public history, and the history's format.
fn project_of(history: &Path) -> (Project, String) {
    let mut project = Project::empty();
    project.with_sandboxes_on_the_server();
    for file in files(history) {
        let name = file.strip_prefix(history).unwrap();
        if !name.starts_with("expected") {
            project.write(name.to_str().unwrap(), &fs_err::read_to_string(&file).unwrap());
        }
    }
    let list = project.dbd(&["migrations", "list", "--json"]).expect(0).json();
    let format = list["format"].as_str().unwrap().to_owned();
    (project, format)
}

/// Starts a run; what it does to those who use the target is another matter.
fn start_whatever_it_does(project: &Project) -> crate::support::project::Output {
    project.dbd(&["start", "dev", "--allow", "all", "--reason", "a history", "--json"])
}

/// With `expected/schema.sql`, it is known how the owning tool leaves the schema; else the tool is asked. With `expected/missing-extension` the
/// history wants an extension that this server has not.
#[test]
fn whole_histories_deploy_to_the_schema_the_owner_makes() {
    for history in histories() {
        let (project, format) = project_of(&history);
        if let Ok(extension) = fs_err::read_to_string(history.join("expected/missing-extension")) {
            let extension = extension.trim();
            let there = format!("select count(*) from pg_available_extensions where name = '{extension}'");
            if project.value(&there) == "0" {
                let before = project.snapshot();
                start_whatever_it_does(&project)
                    .expect(3)
                    .outcome("refused")
                    .because("DBD-0401", &[extension, "is not available"]);
                assert_eq!(project.snapshot(), before, "{}", history.display());
                continue;
            }
        }
        start_whatever_it_does(&project).expect(0).outcome("succeeded");
        if let Ok(expected) = fs_err::read_to_string(history.join("expected/schema.sql")) {
            let kept = |text: &str| -> Vec<String> {
                let told = |line: &&str| !line.starts_with("--") && !line.trim().is_empty() && !line.starts_with("\\");
                text.lines().filter(told).map(str::to_owned).collect()
            };
            let ours: std::collections::BTreeSet<String> = kept(&project.snapshot().schema).into_iter().collect();
            let missing: Vec<String> =
                kept(&expected).into_iter().filter(|line| !ours.contains(line) && !line.contains("drizzle")).collect();
            assert_eq!(missing, Vec::<String>::new(), "{}", history.display());
        } else if owners().is_some() {
            let asked = as_its_owner_does(&project, &format, &["refinery"]);
            assert!(asked, "{}: its owner is not to be had", history.display());
        }
        let again = project.start().expect(0).outcome("succeeded");
        assert_eq!(again.json()["migrations"], serde_json::json!([]), "{again:?}");
    }
}

/// Takes the second half of the migrations out of the folder; what they were.
fn cut_in_half(project: &Project) -> Vec<(String, String)> {
    let list = project.dbd(&["migrations", "list", "--json"]).expect(0).json();
    let of: Vec<String> =
        list["migrations"].as_array().unwrap().iter().map(|one| one["file"].as_str().unwrap().to_owned()).collect();
    let mut taken = Vec::new();
    for file in &of[of.len() / 2..] {
        let whole = project.root().join(file);
        taken.push((file.clone(), fs_err::read_to_string(&whole).unwrap()));
        fs_err::remove_file(&whole).unwrap();
        if file.ends_with("/migration.sql") {
            fs_err::remove_dir_all(whole.parent().unwrap()).unwrap();
        }
        let down = file.replace(".up.sql", ".down.sql");
        if down != *file && project.root().join(&down).exists() {
            taken.push((down.clone(), fs_err::read_to_string(project.root().join(&down)).unwrap()));
            fs_err::remove_file(project.root().join(&down)).unwrap();
        }
    }
    let journal = "migrations/meta/_journal.json";
    if let Ok(text) = fs_err::read_to_string(project.root().join(journal)) {
        let mut first: serde_json::Value = serde_json::from_str(&text).unwrap();
        first["entries"].as_array_mut().unwrap().truncate(of.len() / 2);
        project.write(journal, &first.to_string());
        taken.push((journal.to_owned(), text));
    }
    taken
}

#[test]
#[ignore = "minutes, since the way back of each migration is tried on a schema that is there: .ci/histories says how to run it"]
fn whole_histories_go_on_where_their_owner_stopped() {
    for history in histories().iter().filter(|history| !history.join("expected").exists()) {
        let (project, format) = project_of(history);
        let rest = cut_in_half(&project);
        assert!(migrate(&project, &format, &project.url()).is_some(), "{}", history.display());
        for (path, text) in &rest {
            project.write(path, text);
        }
        let output = start_whatever_it_does(&project).expect(0).outcome("succeeded");
        let done = output.json()["migrations"].as_array().map(Vec::len);
        let sql = rest.iter().filter(|(path, _)| path.ends_with(".sql") && !path.ends_with(".down.sql")).count();
        assert_eq!(done, Some(sql), "{}", history.display());
        assert!(as_its_owner_does(&project, &format, &["refinery"]), "{}", history.display());
    }
}
