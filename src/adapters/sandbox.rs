//! Throw-away copies of the target: on a scratch server started for the purpose, or as a database of a server the user named.
//!
//! A scratch server is a folder, `<base>/dbd-sandbox-<id>`, with everything in it: `data/`, `s/` (the socket), `server.log`, and
//! `owner.json`, which says whose it is. Nothing in it is meant to survive a crash of the machine, so nothing is synced. Its server
//! ends with dbd on Linux, even by SIGKILL, unless it is to persist; what stays behind all the same is found by [`Sandboxes::gc`].

mod port;

pub use port::SandboxPlace;

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
                self.drop_database(self.server_of(location)?, database, cancel).await
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
        self.drop_database(server, &name, cancel).await
    }

    /// Every sandbox of this user in the base folder, and every one on the configured server.
    ///
    /// # Errors
    /// Those of a connection, for the configured server.
    pub async fn list(&self, cancel: &Cancel) -> Result<Vec<Found>, Failure> {
        let mut found: Vec<Found> = self.folders().into_iter().map(|folder| found_in(&folder)).collect();
        if let Some(server) = &self.settings.configured {
            let pattern = DATABASE_PREFIX.replace('_', "\\_");
            let sql = format!("SELECT datname FROM pg_catalog.pg_database WHERE datname LIKE '{pattern}%' ORDER BY 1");
            for name in self.ask(server, "dbd", &sql, cancel).await? {
                let comment = self.comment_of(server, &name, cancel).await?;
                // A database without our comment merely has such a name: it is nobody's to remove.
                let Some(comment) = comment else { continue };
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
                location @ SandboxLocation::Configured { .. } => self.drop(location, cancel).await?,
            }
            removed.push(sandbox);
        }
        Ok(removed)
    }

    // ------------------------------------------------------------------------------------------------------ scratch servers

    async fn create_scratch(&self, order: &CreateOrder, cancel: &Cancel) -> Result<Sandbox, Failure> {
        let programs = self.server_programs()?;
        let folder = self.folder_of(&order.id)?;
        self.check_reachable()?;
        if folder.exists() {
            self.check_folder(&folder)?;
            let found = found_in(&folder);
            if found.owner_alive == Some(true) && !owned_by_us(&folder) {
                return Err(Failure::new(
                    Code::Busy,
                    format!("the sandbox `{}` is in use by another process", order.id),
                )
                .hint("wait for it to end, or remove the sandbox with `dbd sandbox drop`"));
            }
            remove_folder(&folder).await?;
        }
        let owner = Owner {
            id: order.id.clone(),
            owner: Process::current(),
            postmaster: None,
            persistent: order.persistent,
            database: scratch_database(&order.database).to_owned(),
            server_major: programs.version.major,
            server_settings: order.server_settings.clone(),
        };
        self.make_folder(&folder, &owner)?;
        passed(Boundary::SandboxFolder, "");
        match self.fill(order, &folder, owner, cancel).await {
            Ok(sandbox) => Ok(sandbox),
            Err(failure) => {
                // The failure at hand says more than one of cleaning up; `gc` finds what stays.
                let _ = remove_folder(&folder).await;
                Err(failure)
            }
        }
    }

    async fn fill(
        &self,
        order: &CreateOrder,
        folder: &Path,
        owner: Owner,
        cancel: &Cancel,
    ) -> Result<Sandbox, Failure> {
        let from_cache = self.copy_from_cache(folder).await?;
        if !from_cache {
            self.init(folder, cancel).await?;
            self.keep_in_cache(folder).await;
        }
        let owner = match self.start(folder, owner.clone()).await {
            // The cached folder may be damaged, by a crash of the machine for instance: see whether a new one does better.
            Err(_) if from_cache => {
                let data = folder.join("data");
                stop(&data, None).await?;
                remove_tree(&data).await?;
                self.init(folder, cancel).await?;
                let owner = self.start(folder, owner).await?;
                tracing::warn!("the cached data folder of scratch servers is damaged and was removed");
                remove_tree(&self.cache_entry()?).await?;
                owner
            }
            result => result?,
        };
        passed(Boundary::SandboxStarted, "");
        let maintenance = socket_url(folder, SUPERUSER)?;
        let notes = self
            .create_database(&maintenance, &owner.database, "dbd", owner.server_major, &order.locale, cancel)
            .await?;
        passed(Boundary::SandboxCreated, "scratch server");
        sandbox_in(folder, &owner, notes)
    }

    async fn open_scratch(&self, folder: &Path) -> Result<Option<Sandbox>, Failure> {
        self.check_folder(folder)?;
        let Some(owner) = read_owner(folder) else { return Ok(None) };
        if owner.owner.is_alive() && !owner.persistent && owner.owner != Process::current() {
            return Err(Failure::new(Code::Busy, format!("the sandbox `{}` is in use by another process", owner.id)));
        }
        let running = owner.postmaster.as_ref().is_some_and(Process::is_alive) && is_ready(&folder.join("data"));
        let owner = if running {
            let owner = Owner { owner: Process::current(), ..owner };
            write_owner(folder, &owner)?;
            owner
        } else {
            let programs = self.server_programs()?;
            if programs.version.major != owner.server_major {
                return Err(Failure::new(
                    Code::ToolsMissing,
                    format!(
                        "the sandbox `{}` needs the server programs of PostgreSQL {}",
                        owner.id, owner.server_major
                    ),
                ));
            }
            stop(&folder.join("data"), owner.postmaster.as_ref()).await?;
            // Left by a server that was killed; it would take any process with that pid for its own.
            files::remove_if_there(&folder.join("data/postmaster.pid"))
                .map_err(|error| files::unwritable(folder, &error))?;
            self.start(folder, Owner { owner: Process::current(), ..owner }).await?
        };
        sandbox_in(folder, &owner, Vec::new()).map(Some)
    }

    fn server_programs(&self) -> Result<&Programs, Failure> {
        self.settings.server.as_ref().ok_or_else(|| {
            Failure::new(
                Code::ToolsMissing,
                "PostgreSQL's server programs, which a scratch server needs, were not found",
            )
            .hint("Debian, Ubuntu: apt-get install postgresql")
            .hint("or name a server for sandboxes: `[sandbox] server = { env = \"SANDBOX_POSTGRES_URL\" }`")
        })
    }

    /// The folder of a sandbox, short enough for the socket in it.
    fn folder_of(&self, id: &str) -> Result<PathBuf, Failure> {
        // The server and its clients may work in other folders than we do.
        let base =
            std::path::absolute(&self.settings.base).map_err(|error| files::unreadable(&self.settings.base, &error))?;
        let short = &blake3::hash(id.as_bytes()).to_hex()[..12];
        [id, short]
            .iter()
            .map(|name| base.join(format!("{FOLDER_PREFIX}{name}")))
            .find(|folder| folder.join("s").join(SOCKET_NAME).as_os_str().len() <= SOCKET_LIMIT)
            .ok_or_else(|| {
                Failure::new(
                    Code::SandboxFailed,
                    format!("the folder for sandboxes is too long for a socket: {}", base.display()),
                )
                .hint("set TMPDIR to a shorter path, `/tmp` for instance")
            })
    }

    /// Whether the user the server runs as can come to the base folder at all.
    fn check_reachable(&self) -> Result<(), Failure> {
        let Some(user) = &self.settings.run_as else { return Ok(()) };
        for folder in self.settings.base.ancestors().filter(|folder| !folder.as_os_str().is_empty()) {
            let Ok(metadata) = fs_err::metadata(folder) else { continue };
            let bit = match () {
                () if metadata.uid() == user.uid => 0o100,
                () if metadata.gid() == user.gid => 0o010,
                () => 0o001,
            };
            if metadata.mode() & bit == 0 {
                let message = format!(
                    "the user `{}`, whom the scratch server runs as, may not enter {}",
                    user.name,
                    folder.display()
                );
                return Err(Failure::new(Code::SandboxFailed, message)
                    .hint("set TMPDIR to a folder everybody may enter, `/tmp` for instance"));
            }
        }
        Ok(())
    }

    /// Whether `folder` could be a sandbox of ours; what a location says is not believed blindly, as it is going to be removed.
    fn check_folder(&self, folder: &Path) -> Result<(), Failure> {
        let named = folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with(FOLDER_PREFIX));
        if !named || !folder.is_absolute() {
            return Err(Failure::new(Code::Bug, format!("not the folder of a sandbox: {}", folder.display())));
        }
        match fs_err::symlink_metadata(folder) {
            Ok(metadata) if !metadata.is_dir() || metadata.uid() != rustix::process::geteuid().as_raw() => {
                Err(Failure::new(
                    Code::SandboxFailed,
                    format!("the sandbox's folder belongs to somebody else: {}", folder.display()),
                )
                .hint("set TMPDIR to a folder of your own"))
            }
            _ => Ok(()),
        }
    }

    /// The folders in the base folder that are sandboxes, or were going to be or to have been.
    fn folders(&self) -> Vec<PathBuf> {
        let Ok(entries) = std::path::absolute(&self.settings.base).map_or_else(Err, fs_err::read_dir) else {
            return Vec::new();
        };
        let ours = rustix::process::geteuid().as_raw();
        let mut folders: Vec<PathBuf> = entries
            .flatten()
            .filter(|entry| {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                name.starts_with(FOLDER_PREFIX) || name.starts_with(STAGING_PREFIX)
            })
            .map(|entry| entry.path())
            .filter(|path| {
                fs_err::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == ours)
            })
            .collect();
        folders.sort();
        folders
    }

    /// Makes the folder with its owner in it, at once: nobody may see it without.
    fn make_folder(&self, folder: &Path, owner: &Owner) -> Result<(), Failure> {
        static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let staging = folder.with_file_name(format!("{STAGING_PREFIX}{}-{count}", owner.owner.pid));
        let made = (|| {
            if staging.exists() {
                fs_err::remove_dir_all(&staging)?;
            }
            std::fs::DirBuilder::new().mode(0o700).create(&staging)?;
            for name in ["data", "s"] {
                let part = staging.join(name);
                std::fs::DirBuilder::new().mode(0o700).create(&part)?;
                self.hand_over(&part)?;
            }
            if self.settings.run_as.is_some() {
                // The server's user has to pass through, no more; `owner.json` is not theirs to write.
                fs_err::set_permissions(&staging, std::fs::Permissions::from_mode(0o711))?;
            }
            Ok(())
        })();
        made.map_err(|error| files::unwritable(&staging, &error))?;
        write_owner(&staging, owner)?;
        fs_err::rename(&staging, folder).map_err(|error| {
            let _ = fs_err::remove_dir_all(&staging);
            files::unwritable(folder, &error)
        })
    }

    fn hand_over(&self, path: &Path) -> std::io::Result<()> {
        match &self.settings.run_as {
            Some(user) => std::os::unix::fs::lchown(path, Some(user.uid), Some(user.gid)),
            None => Ok(()),
        }
    }

    /// Fills `data` from the cache; `false`, with nothing in it, if there is nothing to be had.
    async fn copy_from_cache(&self, folder: &Path) -> Result<bool, Failure> {
        let (data, cached) = (folder.join("data"), self.cache_entry()?);
        if !cached.is_dir() {
            return Ok(false);
        }
        match copy_tree(&cached, &data, self.settings.run_as.as_ref()).await {
            Ok(()) => Ok(true),
            Err(error) if files::is_disk_full(&error) => Err(files::disk_full(&data).source(&error)),
            Err(error) => {
                // Another process may have removed it meanwhile.
                tracing::debug!(%error, "the cached data folder of scratch servers could not be copied");
                remove_tree(&data).await?;
                Ok(false)
            }
        }
    }

    /// Makes `data` by initdb.
    async fn init(&self, folder: &Path, cancel: &Cancel) -> Result<(), Failure> {
        let data = folder.join("data");
        if !data.exists() {
            std::fs::DirBuilder::new()
                .mode(0o700)
                .create(&data)
                .and_then(|()| self.hand_over(&data))
                .map_err(|error| files::unwritable(&data, &error))?;
        }
        let mut spec = ChildSpec::new(self.server_programs()?.path("initdb"), "initdb")
            .args(["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", "--username", SUPERUSER, "--pgdata"])
            .args([&data])
            .env([("LC_ALL".to_owned(), "C".to_owned())]);
        spec.cwd = Some(data.clone());
        spec.clear_pg_env = true;
        spec.run_as.clone_from(&self.settings.run_as);
        spec.timeout = Some(START_LIMIT);
        let done = child::run(spec, cancel).await?;
        if !done.status.success() {
            let mut failure =
                Failure::new(Code::SandboxFailed, "initdb could not make the scratch server's data folder");
            failure.causes.extend(last_lines(&done.stderr, 5));
            return Err(failure);
        }
        Ok(())
    }

    /// Puts a copy of `data` into the cache, if that can be done.
    async fn keep_in_cache(&self, folder: &Path) {
        let Ok(cached) = self.cache_entry() else { return };
        if let Err(error) = keep_in_cache(&folder.join("data"), &cached).await {
            // Only the next start is slower.
            tracing::warn!(%error, cache = %cached.display(), "the scratch server's data folder could not be cached");
        }
    }

    /// Where the prepared data folder of these server programs is, or is going to be. All collations come with each database.
    fn cache_entry(&self) -> Result<PathBuf, Failure> {
        let programs = self.server_programs()?;
        let build = blake3::hash(programs.dir.as_os_str().as_encoded_bytes()).to_hex();
        let user = rustix::process::geteuid().as_raw();
        Ok(self.settings.cache.join(format!("scratch-{user}")).join(format!(
            "{}-utf8-c-{}",
            programs.version,
            &build[..8]
        )))
    }

    /// Starts the server in `folder`, waits until it takes connections, and writes down who it is.
    async fn start(&self, folder: &Path, mut owner: Owner) -> Result<Owner, Failure> {
        let (data, log) = (folder.join("data"), folder.join("server.log"));
        let log_file = files::create_private(&log).map_err(|error| files::unwritable(&log, &error))?.into_file();
        let for_stderr = log_file.try_clone().map_err(|error| files::unwritable(&log, &error))?;
        let programs = self.server_programs()?;
        let mut command = Command::new(programs.path("postgres"));
        for name in child::LIBPQ_VARIABLES {
            command.env_remove(name);
        }
        command.arg("-D").arg(&data);
        for (name, value) in
            server_settings(programs.version.major, &folder.join("s")).into_iter().chain(owner.server_settings.clone())
        {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        command
            .env("LC_ALL", "C")
            .current_dir(&data)
            .stdin(Stdio::null())
            .stdout(log_file)
            .stderr(for_stderr)
            .process_group(0);
        if let Some(user) = &self.settings.run_as {
            command.uid(user.uid).gid(user.gid);
        }
        if !owner.persistent {
            // QUIT, not KILL: the server then takes its other processes and its shared memory along.
            child::end_with_parent(&mut command, Signal::QUIT);
        }
        let failed = |why: &str| {
            let mut failure = Failure::new(Code::SandboxFailed, format!("the scratch server {why}"));
            failure.causes.extend(last_lines(&fs_err::read_to_string(&log).unwrap_or_default(), 8));
            failure
        };
        let mut server = command.spawn().map_err(|error| failed("could not be started").source(&error))?;
        let pid = server.id().and_then(|pid| i32::try_from(pid).ok());
        owner.postmaster = pid.and_then(Process::of);
        write_owner(folder, &owner)?;

        let mut ended = None;
        let ready = wait_until(START_LIMIT, || {
            ended = server.try_wait().ok().flatten();
            ended.is_some() || is_ready(&data)
        })
        .await;
        match ended {
            Some(status) => Err(failed(&format!("ended at once, with {status}"))),
            None if !ready => {
                let _ = stop(&data, owner.postmaster.as_ref()).await;
                Err(failed(&format!("took no connections within {} s", START_LIMIT.as_secs())))
            }
            // The server is let go here: tokio reaps it when it ends, and its record is what ends it.
            None => Ok(owner),
        }
    }

    // ------------------------------------------------------------------------------------------------- the configured server

    async fn create_configured(&self, order: &CreateOrder, cancel: &Cancel) -> Result<Sandbox, Failure> {
        let server = self.configured()?;
        let name = self.database_of(&order.id);
        if let Some(comment) = self.comment_of(server, &name, cancel).await?
            && (comment.dbd_sandbox != order.id
                || (comment.owner != Process::current() && comment.host == host() && comment.owner.is_alive()))
        {
            return Err(Failure::new(
                Code::Busy,
                format!(
                    "the sandbox `{}` on {} is in use by another process",
                    comment.dbd_sandbox,
                    host_and_port(server)
                ),
            ));
        }
        self.drop_database(server, &name, cancel).await?;
        let server_major = self.server_major(server, cancel).await?;
        // Sessions carry the database's name, so that whatever outlives us is found and ended by the next attempt.
        let notes = self.create_database(server, &name, &name, server_major, &order.locale, cancel).await?;
        passed(Boundary::SandboxCreated, "configured server");
        let comment = Comment {
            dbd_sandbox: order.id.clone(),
            host: host(),
            owner: Process::current(),
            persistent: order.persistent,
        };
        let text = serde_json::to_string(&comment)
            .map_err(|error| Failure::new(Code::Bug, "a sandbox's comment cannot be written as JSON").source(&error))?;
        let sql = format!("COMMENT ON DATABASE {} IS {};\n", quote_ident(&name), quote_literal(&text));
        if let Err(failure) = self.ask(server, &name, &sql, cancel).await {
            let _ = self.drop_database(server, &name, &Cancel::never()).await;
            return Err(failure);
        }
        Ok(Sandbox {
            id: order.id.clone(),
            kind: SandboxKind::Configured,
            url: server.with_database(&name),
            location: SandboxLocation::Configured { database: name, server: host_and_port(server) },
            server_major,
            notes,
        })
    }

    /// The database of sandbox `id` on the configured server.
    #[must_use]
    pub fn database_of(&self, id: &str) -> String {
        database_of(id, &self.settings.whose)
    }

    fn configured(&self) -> Result<&ConnectionUrl, Failure> {
        self.settings.configured.as_ref().ok_or_else(|| {
            Failure::new(Code::SandboxFailed, "no server for sandboxes is configured")
                .hint("set `[sandbox] server = { env = \"SANDBOX_POSTGRES_URL\" }`, and that variable")
        })
    }

    /// The configured server, if it is the one the location is on.
    fn server_of(&self, location: &SandboxLocation) -> Result<&ConnectionUrl, Failure> {
        let server = self.configured()?;
        match location {
            SandboxLocation::Configured { database, server: made_on } if *made_on != host_and_port(server) => {
                Err(Failure::new(
                    Code::SandboxFailed,
                    format!("the sandbox `{database}` is on {made_on}, but {} is configured", host_and_port(server)),
                )
                .hint("configure that server again, or drop the database there by hand"))
            }
            _ => Ok(server),
        }
    }

    async fn comment_of(
        &self,
        server: &ConnectionUrl,
        database: &str,
        cancel: &Cancel,
    ) -> Result<Option<Comment>, Failure> {
        let sql = format!(
            "SELECT pg_catalog.shobj_description(oid, 'pg_database') FROM pg_catalog.pg_database WHERE datname = {}",
            quote_literal(database)
        );
        let rows = self.ask(server, "dbd", &sql, cancel).await?;
        Ok(rows.first().and_then(|comment| serde_json::from_str(comment).ok()))
    }

    /// Ends what an earlier attempt may still be doing on the server, then drops the database with all its sessions.
    async fn drop_database(&self, server: &ConnectionUrl, name: &str, cancel: &Cancel) -> Result<(), Failure> {
        let fence = format!(
            "SELECT pid, pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity \
             WHERE (application_name = {0} OR datname = {0}) AND pid <> pg_catalog.pg_backend_pid()",
            quote_literal(name)
        );
        let started = std::time::Instant::now();
        let mut pause = Duration::from_millis(5);
        while !self.ask(server, "dbd", &fence, cancel).await?.is_empty() {
            if started.elapsed() > FENCE_LIMIT {
                return Err(Failure::new(
                    Code::SandboxFailed,
                    format!("the sessions of the sandbox `{name}` do not end"),
                ));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(500));
        }
        let force = if self.server_major(server, cancel).await? >= 13 { " WITH (FORCE)" } else { "" };
        self.ask(server, name, &format!("DROP DATABASE IF EXISTS {}{force};\n", quote_ident(name)), cancel)
            .await
            .map(drop)
    }

    // ------------------------------------------------------------------------------------------------------------ either one

    /// Makes an empty database with the target's encoding and collation, or the nearest this server has; says what differs.
    async fn create_database(
        &self,
        server: &ConnectionUrl,
        name: &str,
        application_name: &str,
        server_major: u32,
        locale: &Locale,
        cancel: &Cancel,
    ) -> Result<Vec<String>, Failure> {
        let mut first_failure = None;
        for (options, note) in locale_choices(locale, server_major) {
            let sql = format!("CREATE DATABASE {} TEMPLATE template0{options};\n", quote_ident(name));
            match self.ask(server, application_name, &sql, cancel).await {
                Ok(_) => return Ok(note.into_iter().collect()),
                // Anything but a refused statement would fail the same way again.
                Err(failure) if failure.code != Code::QueryFailed => return Err(failure),
                Err(failure) => first_failure = first_failure.or(Some(failure)),
            }
        }
        let causes = first_failure.map(|failure| failure.causes).unwrap_or_default();
        let mut failure =
            Failure::new(Code::SandboxFailed, format!("the sandbox's database `{name}` could not be made"));
        failure.causes = causes;
        Err(failure)
    }

    async fn server_major(&self, server: &ConnectionUrl, cancel: &Cancel) -> Result<u32, Failure> {
        let rows = self.ask(server, "dbd", "SHOW server_version_num", cancel).await?;
        let number: Option<u32> = rows.first().and_then(|text| text.parse().ok());
        number.map(|number| number / 10_000).ok_or_else(|| {
            Failure::new(
                Code::QueryFailed,
                format!("the version of the server {} cannot be read", host_and_port(server)),
            )
        })
    }

    async fn ask(
        &self,
        server: &ConnectionUrl,
        application_name: &str,
        sql: &str,
        cancel: &Cancel,
    ) -> Result<Vec<String>, Failure> {
        query_as(&self.settings.client, server, application_name, sql, cancel).await
    }
}

/// Settings of a server whose data nobody will miss.
fn server_settings(major: u32, socket_folder: &Path) -> Vec<(String, String)> {
    // A list: an element in double quotes may hold blanks and commas.
    let sockets = format!("\"{}\"", socket_folder.display().to_string().replace('"', "\"\""));
    let mut settings = vec![
        ("listen_addresses", String::new()),
        ("unix_socket_directories", sockets),
        ("port", "5432".to_owned()),
        ("fsync", "off".to_owned()),
        ("full_page_writes", "off".to_owned()),
        // A table filled in the transaction that made it is not logged at all then.
        ("wal_level", "minimal".to_owned()),
        ("max_wal_senders", "0".to_owned()),
        ("max_wal_size", "4GB".to_owned()),
        ("checkpoint_timeout", "1h".to_owned()),
        // Its locks would be taken for the rehearsed migration's.
        ("autovacuum", "off".to_owned()),
        // Said to the session that watches a statement.
        ("log_temp_files", "0".to_owned()),
        ("logging_collector", "off".to_owned()),
        ("log_destination", "stderr".to_owned()),
    ];
    if major >= 14 {
        // A killed client's statement ends too.
        settings.push(("client_connection_check_interval", "1s".to_owned()));
    }
    settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Options of `CREATE DATABASE` to be tried in turn, each with what it leaves different.
fn locale_choices(locale: &Locale, server_major: u32) -> Vec<(String, Option<String>)> {
    let option = |name: &str, value: &str| {
        if value.is_empty() { String::new() } else { format!(" {name} {}", quote_literal(value)) }
    };
    let encoding = option("ENCODING", &locale.encoding);
    let libc = format!("{}{}", option("LC_COLLATE", &locale.collate), option("LC_CTYPE", &locale.ctype));
    let exact = match (locale.provider, &locale.locale) {
        (Some('i'), Some(name)) if server_major >= 15 => {
            format!("{libc} LOCALE_PROVIDER icu{}", option("ICU_LOCALE", name))
        }
        (Some('b'), Some(name)) if server_major >= 17 => {
            format!("{libc} LOCALE_PROVIDER builtin{}", option("BUILTIN_LOCALE", name))
        }
        (Some(_), _) if server_major >= 15 => format!("{libc} LOCALE_PROVIDER libc"),
        _ => libc.clone(),
    };
    let wanted = match (&locale.locale, locale.collate.as_str()) {
        (Some(name), _) => name.clone(),
        (None, collate) => collate.to_owned(),
    };
    let note = |used: &str| {
        Some(format!("the sandbox sorts by the collation `{used}`: its server does not have the target's, `{wanted}`"))
    };
    let plain = if server_major >= 15 { " LOCALE_PROVIDER libc" } else { "" };
    vec![
        (format!("{encoding}{exact}"), None),
        (format!("{encoding} LC_COLLATE 'C.UTF-8' LC_CTYPE 'C.UTF-8'{plain}"), note("C.UTF-8")),
        (format!("{encoding} LC_COLLATE 'C' LC_CTYPE 'C'{plain}"), note("C")),
    ]
}

/// The name of the target's database, if a new one can have it.
fn scratch_database(target: &str) -> &str {
    if target.is_empty() || ["postgres", "template0", "template1"].contains(&target) { "sandbox" } else { target }
}

/// The database of a sandbox on the configured server: its id, and a hash of it and of whose it is, if that is told.
fn database_of(id: &str, whose: &str) -> String {
    let name = format!("{DATABASE_PREFIX}{}", id.replace('-', "_").to_ascii_lowercase());
    if whose.is_empty() && name.len() <= NAME_LIMIT {
        return name;
    }
    let hash = &blake3::hash(format!("{whose}\0{id}").as_bytes()).to_hex()[..12];
    format!("{}_{hash}", &name[..name.len().min(NAME_LIMIT - 13)])
}

fn host_and_port(url: &ConnectionUrl) -> String {
    format!("{}:{}", url.host(), url.port())
}

/// The name of this machine, as the owner of a database on a server that other machines use too.
fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn socket_url(folder: &Path, database: &str) -> Result<ConnectionUrl, Failure> {
    let socket = folder.join("s");
    let text = socket.to_str().ok_or_else(|| {
        Failure::new(Code::SandboxFailed, format!("the folder for sandboxes is not valid UTF-8: {}", folder.display()))
    })?;
    Ok(ConnectionUrl::of_socket(text, SUPERUSER, database))
}

fn sandbox_in(folder: &Path, owner: &Owner, notes: Vec<String>) -> Result<Sandbox, Failure> {
    Ok(Sandbox {
        id: owner.id.clone(),
        kind: SandboxKind::Scratch,
        location: SandboxLocation::Scratch { folder: folder.to_owned() },
        url: socket_url(folder, &owner.database)?,
        server_major: owner.server_major,
        notes,
    })
}

fn write_owner(folder: &Path, owner: &Owner) -> Result<(), Failure> {
    let text = serde_json::to_vec_pretty(owner)
        .map_err(|error| Failure::new(Code::Bug, "a sandbox's owner cannot be written as JSON").source(&error))?;
    files::write_durably(&folder.join("owner.json"), &text)
}

fn read_owner(folder: &Path) -> Option<Owner> {
    serde_json::from_slice(&fs_err::read(folder.join("owner.json")).ok()?).ok()
}

fn owned_by_us(folder: &Path) -> bool {
    read_owner(folder).is_some_and(|owner| owner.owner == Process::current())
}

fn found_in(folder: &Path) -> Found {
    let location = SandboxLocation::Scratch { folder: folder.to_owned() };
    match read_owner(folder) {
        Some(owner) => {
            let alive = owner.owner.is_alive();
            Found { id: owner.id, location, persistent: owner.persistent, owner_alive: Some(alive) }
        }
        // Without its owner a folder is on its way out, or was never finished; the latter says by whom.
        None => {
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let maker = name.strip_prefix(STAGING_PREFIX).and_then(|rest| rest.split('-').next()?.parse().ok());
            Found {
                id: String::new(),
                location,
                persistent: false,
                owner_alive: Some(maker.is_some_and(|pid| Process::of(pid).is_some())),
            }
        }
    }
}

/// Whether the server in `data` takes connections, by the status it keeps in `postmaster.pid`; what `pg_ctl` waits for as well.
fn is_ready(data: &Path) -> bool {
    fs_err::read_to_string(data.join("postmaster.pid"))
        .is_ok_and(|text| text.lines().nth(7).is_some_and(|status| status.trim() == "ready"))
}

/// Ends the server in `data`, if any, and waits until all its processes are gone.
async fn stop(data: &Path, postmaster: Option<&Process>) -> Result<(), Failure> {
    // Also finds a server that was started a moment before its dbd was killed, and so was never written down.
    let gone = || postmaster.is_none_or(|process| !process.is_alive()) && process::working_in(data).is_empty();
    if gone() {
        return Ok(());
    }
    for signal in [Signal::QUIT, Signal::KILL] {
        if let Some(process) = postmaster {
            process.signal(signal);
        }
        for process in process::working_in(data) {
            process.signal(signal);
        }
        if wait_until(STOP_LIMIT, gone).await {
            return Ok(());
        }
    }
    Err(Failure::new(Code::SandboxFailed, format!("the scratch server in {} does not end", data.display())))
}

async fn remove_folder(folder: &Path) -> Result<(), Failure> {
    let owner = read_owner(folder);
    stop(&folder.join("data"), owner.as_ref().and_then(|owner| owner.postmaster.as_ref())).await?;
    remove_tree(folder).await
}

async fn remove_tree(path: &Path) -> Result<(), Failure> {
    let owned = path.to_owned();
    let removed = tokio::task::spawn_blocking(move || match fs_err::remove_dir_all(&owned) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    });
    match removed.await {
        Ok(result) => result.map_err(|error| files::unwritable(path, &error)),
        Err(error) => Err(Failure::new(Code::Bug, "removing a sandbox was interrupted").source(&error)),
    }
}

/// Copies what is in `from` into `to`, which may be there and empty, and gives it to `owner`. A file system that can share blocks
/// between files is asked to.
async fn copy_tree(from: &Path, to: &Path, owner: Option<&RunAs>) -> std::io::Result<()> {
    let (from, to, owner) = (from.to_owned(), to.to_owned(), owner.map(|user| (user.uid, user.gid)));
    tokio::task::spawn_blocking(move || copy_folder(&from, &to, owner)).await?
}

fn copy_folder(from: &Path, to: &Path, owner: Option<(u32, u32)>) -> std::io::Result<()> {
    let give = |path: &Path| match owner {
        Some((uid, gid)) => std::os::unix::fs::lchown(path, Some(uid), Some(gid)),
        None => Ok(()),
    };
    match std::fs::DirBuilder::new().mode(0o700).create(to) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
        _ => give(to)?,
    }
    for entry in fs_err::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target, owner)?;
        } else {
            fs_err::copy(entry.path(), &target)?;
            give(&target)?;
        }
    }
    Ok(())
}

/// Puts a copy of `data` into the cache, whole or not at all.
async fn keep_in_cache(data: &Path, cached: &Path) -> std::io::Result<()> {
    let (data, cached) = (data.to_owned(), cached.to_owned());
    tokio::task::spawn_blocking(move || {
        let folder = cached.parent().unwrap_or(Path::new("."));
        let ours = rustix::process::geteuid();
        std::fs::DirBuilder::new().mode(0o700).recursive(true).create(folder)?;
        let partial = tempfile::Builder::new().prefix(".partial-").tempdir_in(folder)?;
        let copy = partial.path().join("data");
        copy_folder(&data, &copy, Some((ours.as_raw(), rustix::process::getegid().as_raw())))?;
        // Unlike a sandbox, the cache is to survive a crash of the machine.
        #[cfg(target_os = "linux")]
        rustix::fs::syncfs(fs_err::File::open(&copy)?)?;
        #[cfg(not(target_os = "linux"))]
        rustix::fs::sync();
        match fs_err::rename(&copy, &cached) {
            // Another process was first: as good.
            Err(_) if cached.is_dir() => Ok(()),
            result => result,
        }
    })
    .await?
}

#[cfg(test)]
mod tests {
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
    fn a_socket_folder_with_blanks_and_commas_is_one_element() {
        let settings = server_settings(15, Path::new("/tmp/a b, c/s"));
        let (_, value) = settings.iter().find(|(name, _)| name == "unix_socket_directories").unwrap();
        assert_eq!(value, "\"/tmp/a b, c/s\"");
    }
}
