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
             auth_file = {at}/users\npool_mode = transaction\nignore_startup_parameters = extra_float_digits,options\n",
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
