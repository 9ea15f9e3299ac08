//! PgBouncer in transaction mode before the test server, where it is installed.

use super::pg::{self, DEPLOYER, PASSWORD, USER};
use super::room;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A pooler, for as long as this lives.
pub struct Bouncer {
    folder: tempfile::TempDir,
    child: Child,
}

impl Bouncer {
    /// A pooler before the test server; `None`, and says so, where there is no PgBouncer.
    pub fn before_the_server() -> Option<Self> {
        let Some(program) = program() else {
            #[allow(clippy::print_stderr, reason = "whoever looks for the test has to find out why it did nothing")]
            {
                eprintln!("skipped: pgbouncer is not installed (Debian: apt-get install pgbouncer)");
            }
            return None;
        };
        let server = pg::server();
        let folder = room::folder("run");
        let at = folder.path().display();
        let settings = format!(
            "[databases]\n* = host={}\n[pgbouncer]\nlisten_addr =\nunix_socket_dir = {at}\nlisten_port = 6432\nauth_type = trust\n\
             auth_file = {at}/users\npool_mode = transaction\nadmin_users = {USER}\nlogfile = {at}/log\nserver_login_retry = 1\nignore_startup_parameters = extra_float_digits,options\n",
            server.socket.display()
        );
        fs_err::write(folder.path().join("settings"), settings).unwrap();
        fs_err::write(folder.path().join("users"), format!("\"{DEPLOYER}\" \"{PASSWORD}\"\n\"{USER}\" \"\"\n"))
            .unwrap();
        let mut command = Command::new(program);
        if let Some((uid, gid)) = server.user {
            // Like PostgreSQL, it refuses to run as root.
            std::os::unix::fs::chown(folder.path(), Some(uid), Some(gid)).unwrap();
            command.uid(uid).gid(gid);
        }
        command.arg("--quiet").arg(folder.path().join("settings")).current_dir("/");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let bouncer = Self { folder, child };
        let deadline = Instant::now() + super::project::DEADLINE;
        while !bouncer.socket().join(".s.PGSQL.6432").exists() {
            assert!(Instant::now() < deadline, "pgbouncer did not start");
            std::thread::sleep(Duration::from_millis(2));
        }
        Some(bouncer)
    }

    /// Its console.
    pub fn admin_url(&self) -> String {
        format!("postgres://{USER}:pooler_password@localhost:6432/pgbouncer?host={}", self.socket().display())
    }

    /// How to connect through it: to a database as the deployer, who may end such sessions, to the console as its administrator.
    pub fn config(&self, database: &str) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        let user = if database == "pgbouncer" { USER } else { DEPLOYER };
        config.host_path(self.socket()).port(6432).user(user).password(PASSWORD).dbname(database);
        config
    }

    /// Runs a command in its console; the rows of what it answers, by column.
    pub fn console(&self, command: &str) -> Vec<tokio_postgres::SimpleQueryRow> {
        self.sql("pgbouncer", command)
    }

    /// Runs a statement through it.
    pub fn sql(&self, database: &str, sql: &str) -> Vec<tokio_postgres::SimpleQueryRow> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let config = self.config(database);
        runtime.block_on(async {
            let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
            tokio::spawn(connection);
            let messages = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
            let rows = messages.into_iter().filter_map(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => Some(row),
                _ => None,
            });
            rows.collect()
        })
    }

    /// Its log.
    pub fn said(&self) -> String {
        fs_err::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Whether it holds the clients of `database` back.
    pub fn is_paused(&self, database: &str) -> bool {
        self.console("SHOW DATABASES")
            .iter()
            .any(|row| row.get("name") == Some(database) && row.get("paused") == Some("1"))
    }

    /// The folder of its socket; its port is 6432.
    pub fn socket(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[allow(clippy::disallowed_methods, reason = "tests read the environment themselves")]
fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian has it among the programs of the administrator.
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join("pgbouncer")).find(|program| program.is_file())
}
