//! Throw-away copies of the target: on a scratch server started for the purpose, or as a database of a server the user named.
//!
//! A scratch server is a folder, `<base>/dbd-sandbox-<id>`, with everything in it: `data/`, `s/` (the socket), `server.log`, and
//! `owner.json`, which says whose it is. Nothing in it is meant to survive a crash of the machine, so nothing is synced. Its server
//! ends with dbd on Linux, even by SIGKILL, unless it is to persist; what stays behind all the same is found by [`Sandboxes::gc`].

mod configured;
mod folder;
mod port;
mod scratch;

pub use configured::database_of;
pub use port::SandboxPlace;

use configured::{host, host_and_port};
use folder::{found_in, remove_folder};

use super::support::child::{self, Cancel, ChildSpec, last_lines};
use super::support::files;
use super::support::os_user::RunAs;
use super::support::pg_bin::Programs;
use super::support::process::{self, Process, wait_until};
use super::support::psql::{query_as, quote_ident, quote_literal};
use crate::domain::code::Code;
use crate::domain::connection::ConnectionUrl;
use crate::domain::failure::Failure;
use crate::ports::boundary::{Boundary, passed};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// How every sandbox's folder begins.
const FOLDER_PREFIX: &str = "dbd-sandbox-";
/// How a folder begins that is not a sandbox yet.
const STAGING_PREFIX: &str = ".dbd-sandbox-new-";
/// How every sandbox's database begins.
const DATABASE_PREFIX: &str = "dbd_sandbox_";
/// The longest socket path that every system takes: macOS has 104 bytes for it, the last one a NUL.
const SOCKET_LIMIT: usize = 103;
const SOCKET_NAME: &str = ".s.PGSQL.5432";
/// The longest name PostgreSQL keeps.
const NAME_LIMIT: usize = 63;
/// The superuser of every scratch server.
const SUPERUSER: &str = "postgres";
/// How long a server may take to start; one that was killed has to recover first.
const START_LIMIT: Duration = Duration::from_secs(120);
/// How long a server may take to end when told to do so at once.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// How long sessions may take to be gone after they were terminated.
const FENCE_LIMIT: Duration = Duration::from_secs(30);

/// What sandboxes are made with and where.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Server programs, for scratch servers; the target's own major version gives the truest copy.
    pub server: Option<Programs>,
    /// Client programs.
    pub client: Programs,
    /// Who scratch servers run as, if not as dbd's own user.
    pub run_as: Option<RunAs>,
    /// The folder scratch servers live in; each user on the way to it must be let through. The system's temporary folder, usually.
    pub base: PathBuf,
    /// Where prepared data folders are kept between runs.
    pub cache: PathBuf,
    /// The server the user named for sandboxes, by any of its databases.
    pub configured: Option<ConnectionUrl>,
    /// Whose sandboxes these are, the project and its host: two projects that share a server may begin runs in the same millisecond.
    pub whose: String,
}

/// Makes, finds and removes sandboxes.
#[derive(Clone, Debug)]
pub struct Sandboxes {
    settings: Settings,
}

/// What a sandbox is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SandboxKind {
    /// A server of its own, started by dbd.
    Scratch,
    /// A database of the server the user named.
    Configured,
}

/// How a database sorts and encodes; as `pg_database` says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Locale {
    /// `pg_encoding_to_char(encoding)`: `UTF8`.
    pub encoding: String,
    /// `datcollate`.
    pub collate: String,
    /// `datctype`.
    pub ctype: String,
    /// `datlocprovider`: `c` (libc), `i` (ICU), `b` (built in). Servers before 15 have `c` only.
    pub provider: Option<char>,
    /// `datlocale`, before 17 `daticulocale`: the locale of ICU or the built-in provider.
    pub locale: Option<String>,
}

/// One sandbox to be made.
#[derive(Clone, Debug)]
pub struct CreateOrder {
    /// The run it is for, or any other name of letters, digits, `-` and `_`.
    pub id: String,
    /// Where.
    pub kind: SandboxKind,
    /// The target's database, whose name a scratch server's gets as well.
    pub database: String,
    /// The target's encoding and collation; kept where the sandbox's machine has them.
    pub locale: Locale,
    /// Settings of the target that change what statements do (`TimeZone`, `default_text_search_config`, ...). Scratch servers only.
    pub server_settings: Vec<(String, String)>,
    /// Whether it outlives this process.
    pub persistent: bool,
}

/// Where a sandbox is: enough to find it again from another process. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SandboxLocation {
    /// A scratch server.
    Scratch {
        /// Its folder.
        folder: PathBuf,
    },
    /// A database of the configured server.
    Configured {
        /// The database.
        database: String,
        /// `host:port` of the server it was made on.
        server: String,
    },
}

/// An empty database to work in.
#[derive(Clone, Debug)]
pub struct Sandbox {
    /// The name it was ordered by.
    pub id: String,
    /// What it is.
    pub kind: SandboxKind,
    /// Where to find it again.
    pub location: SandboxLocation,
    /// How to connect.
    pub url: ConnectionUrl,
    /// The major version of its server.
    pub server_major: u32,
    /// What is not as in the target, in sentences.
    pub notes: Vec<String>,
}

/// A sandbox that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The name it was ordered by; empty if that is not known any more.
    pub id: String,
    /// Where it is.
    pub location: SandboxLocation,
    /// Whether it is to outlive the process that made it.
    pub persistent: bool,
    /// Whether that process still runs; unknown for another machine's.
    pub owner_alive: Option<bool>,
}

/// Whose a scratch server is; `owner.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Owner {
    id: String,
    owner: Process,
    postmaster: Option<Process>,
    persistent: bool,
    database: String,
    server_major: u32,
    server_settings: Vec<(String, String)>,
    /// Whether it writes its log, and waits for the disk, as the target does.
    #[serde(default)]
    logs: bool,
}

/// Whose a database is; its comment.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Comment {
    dbd_sandbox: String,
    host: String,
    owner: Process,
    persistent: bool,
}

impl Sandboxes {
    /// With these settings. Touches nothing yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    /// Makes a sandbox with an empty database.
    ///
    /// Safe to repeat: what an earlier attempt for the same id left is removed first, unless another process that still runs holds it.
    ///
    /// # Errors
    /// [`Code::Busy`] if another process holds it; [`Code::ToolsMissing`] without server programs; [`Code::SandboxFailed`] with the
    /// end of the server's log; those of a connection for the configured server; [`Code::DiskFull`].
    pub async fn create(&self, order: &CreateOrder, cancel: &Cancel) -> Result<Sandbox, Failure> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if order.id.is_empty() || !order.id.bytes().all(plain) {
            return Err(Failure::new(Code::BadArgument, format!("`{}` cannot be the name of a sandbox", order.id))
                .hint("use letters, digits, `-` and `_`"));
        }
        match order.kind {
            SandboxKind::Scratch => self.create_scratch(order, cancel).await,
            SandboxKind::Configured => self.create_configured(order, cancel).await,
        }
    }

    /// Finds a sandbox again, and starts its server if that does not run. `None` if there is none.
    ///
    /// A scratch server belongs to this process afterwards.
    ///
    /// # Errors
    /// Those of [`Sandboxes::create`].
    pub async fn open(&self, location: &SandboxLocation, cancel: &Cancel) -> Result<Option<Sandbox>, Failure> {
        match location {
            SandboxLocation::Scratch { folder } => self.open_scratch(folder).await,
            SandboxLocation::Configured { database, .. } => {
                let server = self.server_of(location)?;
                let Some(comment) = self.comment_of(server, database, cancel).await? else { return Ok(None) };
                Ok(Some(Sandbox {
                    id: comment.dbd_sandbox,
                    kind: SandboxKind::Configured,
                    location: location.clone(),
                    url: server.with_database(database),
                    server_major: self.server_major(server, cancel).await?,
                    notes: Vec::new(),
                }))
            }
        }
    }

    /// Removes a sandbox with all its sessions; one that is not there is as good as removed.
    ///
    /// # Errors
    /// [`Code::SandboxFailed`] if its server does not end; [`Code::FileUnwritable`]; those of a connection.
    pub async fn drop(&self, location: &SandboxLocation, cancel: &Cancel) -> Result<(), Failure> {
        match location {
            SandboxLocation::Scratch { folder } => {
                self.check_folder(folder)?;
                remove_folder(folder).await
            }
            SandboxLocation::Configured { database, .. } => {
                if !database.starts_with(DATABASE_PREFIX) {
                    return Err(Failure::new(
                        Code::Bug,
                        format!("`{database}` is not the name of a sandbox's database"),
                    ));
                }
                self.drop_database(self.server_of(location)?, database, cancel).await.map(drop)
            }
        }
    }

    /// Removes the database of sandbox `id` on the configured server that was made by a process killed before it could say whose it is.
    /// One that says that it is somebody else's is left alone.
    ///
    /// # Errors
    /// Those of a connection.
    pub async fn drop_unclaimed(&self, id: &str, cancel: &Cancel) -> Result<(), Failure> {
        let Some(server) = &self.settings.configured else { return Ok(()) };
        let name = self.database_of(id);
        let sql = format!(
            "SELECT 1 FROM pg_catalog.pg_database WHERE datname = {} AND pg_catalog.shobj_description(oid, 'pg_database') IS NULL",
            quote_literal(&name)
        );
        if self.ask(server, "dbd", &sql, cancel).await?.is_empty() {
            return Ok(());
        }
        self.drop_database(server, &name, cancel).await.map(drop)
    }

    /// Every sandbox of this user in the base folder, and every one on the configured server.
    ///
    /// # Errors
    /// Those of a connection, for the configured server.
    pub async fn list(&self, cancel: &Cancel) -> Result<Vec<Found>, Failure> {
        let mut found: Vec<Found> = self.folders().into_iter().map(|folder| found_in(&folder)).collect();
        if let Some(server) = &self.settings.configured {
            let pattern = DATABASE_PREFIX.replace('_', "\\_");
            // As JSON: a comment of somebody else's may hold anything, line breaks too.
            let sql = format!(
                "SELECT pg_catalog.json_build_array(datname, pg_catalog.shobj_description(oid, 'pg_database')) \
                 FROM pg_catalog.pg_database WHERE datname LIKE '{pattern}%' ORDER BY datname"
            );
            for row in self.ask(server, "dbd", &sql, cancel).await? {
                let (name, comment): (String, Option<String>) = serde_json::from_str(&row).map_err(|error| {
                    Failure::new(Code::QueryFailed, "the list of sandboxes is no JSON").source(&error)
                })?;
                // A database without our comment merely has such a name: it is nobody's to remove.
                let Some(comment) = comment.and_then(|text| serde_json::from_str::<Comment>(&text).ok()) else {
                    continue;
                };
                found.push(Found {
                    id: comment.dbd_sandbox,
                    location: SandboxLocation::Configured { database: name, server: host_and_port(server) },
                    persistent: comment.persistent,
                    owner_alive: (comment.host == host()).then(|| comment.owner.is_alive()),
                });
            }
        }
        Ok(found)
    }

    /// Removes the sandboxes nobody needs: not persistent, made by a process of this machine that has ended, and not `live`,
    /// which is asked with the id. Returns what was removed.
    ///
    /// # Errors
    /// Those of [`Sandboxes::list`] and [`Sandboxes::drop`]; what was removed before stays removed.
    pub async fn gc(
        &self,
        live: &(dyn Fn(&str) -> bool + Send + Sync),
        cancel: &Cancel,
    ) -> Result<Vec<Found>, Failure> {
        let mut removed = Vec::new();
        for sandbox in self.list(cancel).await? {
            if sandbox.persistent || sandbox.owner_alive != Some(false) || live(&sandbox.id) {
                continue;
            }
            match &sandbox.location {
                SandboxLocation::Scratch { folder } => remove_folder(folder).await?,
                location @ SandboxLocation::Configured { database, .. } => {
                    let server = self.server_of(location)?;
                    let Some(gone) = self.set_aside(server, database, cancel).await? else { continue };
                    self.drop_database(server, &gone, cancel).await?;
                }
            }
            removed.push(sandbox);
        }
        Ok(removed)
    }
}

#[cfg(test)]
mod tests {
    use super::configured::{database_of, locale_choices};
    use super::scratch::{like_the_target, scratch_database, server_settings};
    use super::*;

    #[test]
    fn a_database_name_fits_and_stays_apart() {
        let name = database_of("deploy-dev-1728149445123", "one");
        assert!(name.starts_with("dbd_sandbox_deploy_dev_1728149445123_"), "{name}");
        assert_ne!(name, database_of("deploy-dev-1728149445123", "other"), "of the same millisecond, elsewhere");
        let long = format!("deploy-{}-1728149445123", "e".repeat(40));
        let other = format!("deploy-{}-1728149445124", "e".repeat(40));
        assert_eq!(database_of(&long, "").len(), NAME_LIMIT);
        assert_ne!(database_of(&long, ""), database_of(&other, ""));
    }

    #[test]
    fn a_new_database_never_gets_the_name_of_one_that_is_always_there() {
        assert_eq!(scratch_database("shop"), "shop");
        assert_eq!(scratch_database("postgres"), "sandbox");
    }

    #[test]
    fn the_targets_collation_is_asked_for_first_and_the_nearest_after() {
        let mut locale = Locale {
            encoding: "UTF8".to_owned(),
            collate: "de_DE.utf8".to_owned(),
            ctype: "de_DE.utf8".to_owned(),
            provider: Some('i'),
            locale: Some("de-AT".to_owned()),
        };
        let choices = locale_choices(&locale, 16);
        let (first, note) = &choices[0];
        assert_eq!(
            first,
            " ENCODING 'UTF8' LC_COLLATE 'de_DE.utf8' LC_CTYPE 'de_DE.utf8' LOCALE_PROVIDER icu ICU_LOCALE 'de-AT'"
        );
        assert_eq!(*note, None);
        assert!(choices[1].1.as_ref().unwrap().contains("de-AT"));
        locale.provider = Some('c');
        assert!(!locale_choices(&locale, 14)[0].0.contains("PROVIDER"), "servers before 15 know no providers");
    }

    #[test]
    fn a_location_tells_a_later_process_where_and_nothing_else() {
        let location =
            SandboxLocation::Configured { database: "dbd_sandbox_x".to_owned(), server: "db:5432".to_owned() };
        let text = serde_json::to_string(&location).unwrap();
        assert_eq!(text, r#"{"kind":"configured","database":"dbd_sandbox_x","server":"db:5432"}"#);
        assert_eq!(serde_json::from_str::<SandboxLocation>(&text).unwrap(), location);
    }

    #[test]
    fn a_server_that_foretells_logs_like_the_target_and_one_that_is_filled_does_not() {
        let target = [("fsync", "off"), ("wal_level", "logical"), ("wal_compression", "zstd"), ("work_mem", "4096")];
        let target = target.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let of = |logs| -> Vec<String> {
            like_the_target(&target, logs).into_iter().map(|(name, value)| format!("{name}={value}")).collect()
        };
        assert_eq!(of(false), ["work_mem=4096"]);
        let logging = ["wal_level=replica", "fsync=off", "full_page_writes=on", "wal_compression=on"];
        assert_eq!(of(true), [&["work_mem=4096"], logging.as_slice()].concat());
    }

    #[test]
    fn a_socket_folder_with_blanks_and_commas_is_one_element() {
        let settings = server_settings(15, Path::new("/tmp/a b, c/s"));
        let (_, value) = settings.iter().find(|(name, _)| name == "unix_socket_directories").unwrap();
        assert_eq!(value, "\"/tmp/a b, c/s\"");
    }
}
