//! Scratch servers: made from a prepared data folder, started, found again.

use super::folder::{
    copy_tree, found_in, keep_in_cache, owned_by_us, read_owner, remove_folder, remove_tree, write_owner,
};
use super::*;

impl Sandboxes {
    pub(super) async fn create_scratch(&self, order: &CreateOrder, cancel: &Cancel) -> Result<Sandbox, Failure> {
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
            logs: false,
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

    pub(super) async fn fill(
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

    pub(super) async fn open_scratch(&self, folder: &Path) -> Result<Option<Sandbox>, Failure> {
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

    /// Starts the server of a sandbox that is filled anew so that it logs what it writes and waits until that is on the disk, as every server
    /// does whose data somebody would miss. Filling goes faster without; a statement that is to foretell how long it takes elsewhere must not.
    ///
    /// # Errors
    /// [`Code::SandboxFailed`] if it does not end or start; [`Code::ToolsMissing`].
    pub async fn log_everything(&self, folder: &Path) -> Result<(), Failure> {
        self.check_folder(folder)?;
        let Some(mut owner) = read_owner(folder) else { return Ok(()) };
        let data = folder.join("data");
        // Not at once: what was not logged has to be written out first.
        if let Some(postmaster) = owner.postmaster.as_ref().filter(|postmaster| postmaster.is_alive()) {
            postmaster.signal(Signal::INT);
            let gone = || !postmaster.is_alive() && process::working_in(&data).is_empty();
            if !wait_until(START_LIMIT, gone).await {
                return Err(Failure::new(
                    Code::SandboxFailed,
                    format!("the scratch server in {} does not end", data.display()),
                ));
            }
        }
        owner.logs = true;
        self.start(folder, owner).await.map(drop)
    }

    pub(super) fn server_programs(&self) -> Result<&Programs, Failure> {
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
    pub(super) fn folder_of(&self, id: &str) -> Result<PathBuf, Failure> {
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
    pub(super) fn check_reachable(&self) -> Result<(), Failure> {
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
    pub(super) fn check_folder(&self, folder: &Path) -> Result<(), Failure> {
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
    pub(super) fn folders(&self) -> Vec<PathBuf> {
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
    pub(super) fn make_folder(&self, folder: &Path, owner: &Owner) -> Result<(), Failure> {
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

    pub(super) fn hand_over(&self, path: &Path) -> std::io::Result<()> {
        match &self.settings.run_as {
            Some(user) => std::os::unix::fs::lchown(path, Some(user.uid), Some(user.gid)),
            None => Ok(()),
        }
    }

    /// Fills `data` from the cache; `false`, with nothing in it, if there is nothing to be had.
    pub(super) async fn copy_from_cache(&self, folder: &Path) -> Result<bool, Failure> {
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
    pub(super) async fn init(&self, folder: &Path, cancel: &Cancel) -> Result<(), Failure> {
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
    pub(super) async fn keep_in_cache(&self, folder: &Path) {
        let Ok(cached) = self.cache_entry() else { return };
        if let Err(error) = keep_in_cache(&folder.join("data"), &cached).await {
            // Only the next start is slower.
            tracing::warn!(%error, cache = %cached.display(), "the scratch server's data folder could not be cached");
        }
    }

    /// Where the prepared data folder of these server programs is, or is going to be. All collations come with each database.
    pub(super) fn cache_entry(&self) -> Result<PathBuf, Failure> {
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
    pub(super) async fn start(&self, folder: &Path, mut owner: Owner) -> Result<Owner, Failure> {
        let (data, log) = (folder.join("data"), folder.join("server.log"));
        let log_file = files::create_private(&log).map_err(|error| files::unwritable(&log, &error))?.into_file();
        let for_stderr = log_file.try_clone().map_err(|error| files::unwritable(&log, &error))?;
        let programs = self.server_programs()?;
        let mut command = Command::new(programs.path("postgres"));
        for name in child::LIBPQ_VARIABLES {
            command.env_remove(name);
        }
        command.arg("-D").arg(&data);
        let ours = server_settings(programs.version.major, &folder.join("s"));
        for (name, value) in ours.into_iter().chain(like_the_target(&owner.server_settings, owner.logs)) {
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
}

/// Settings of a server whose data nobody will miss.
pub(super) fn server_settings(major: u32, socket_folder: &Path) -> Vec<(String, String)> {
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

/// How a server logs what it writes.
const LOGGING: [(&str, &str); 4] =
    [("wal_level", "replica"), ("fsync", "on"), ("full_page_writes", "on"), ("wal_compression", "off")];

/// The target's settings, those of its log only if the sandbox `logs` like it; then the usual ones where the target's are not known.
pub(super) fn like_the_target(target: &[(String, String)], logs: bool) -> Vec<(String, String)> {
    let of_log = |name: &str| LOGGING.iter().any(|(one, _)| *one == name);
    let mut settings: Vec<(String, String)> = target.iter().filter(|(name, _)| !of_log(name)).cloned().collect();
    if logs {
        settings.extend(LOGGING.iter().map(|(name, usual)| {
            let found = target.iter().find(|(one, _)| one == name).map_or(*usual, |(_, value)| value);
            let value = match (*name, found) {
                // Not every server is built with every way to compress.
                ("wal_compression", found) if found != "off" => "on",
                // Nobody decodes it.
                ("wal_level", "logical") => usual,
                (_, found) => found,
            };
            ((*name).to_owned(), value.to_owned())
        }));
    }
    settings
}

/// The name of the target's database, if a new one can have it.
pub(super) fn scratch_database(target: &str) -> &str {
    if target.is_empty() || ["postgres", "template0", "template1"].contains(&target) { "sandbox" } else { target }
}

pub(super) fn socket_url(folder: &Path, database: &str) -> Result<ConnectionUrl, Failure> {
    let socket = folder.join("s");
    let text = socket.to_str().ok_or_else(|| {
        Failure::new(Code::SandboxFailed, format!("the folder for sandboxes is not valid UTF-8: {}", folder.display()))
    })?;
    Ok(ConnectionUrl::of_socket(text, SUPERUSER, database))
}

pub(super) fn sandbox_in(folder: &Path, owner: &Owner, notes: Vec<String>) -> Result<Sandbox, Failure> {
    Ok(Sandbox {
        id: owner.id.clone(),
        kind: SandboxKind::Scratch,
        location: SandboxLocation::Scratch { folder: folder.to_owned() },
        url: socket_url(folder, &owner.database)?,
        server_major: owner.server_major,
        notes,
    })
}

/// Whether the server in `data` takes connections, by the status it keeps in `postmaster.pid`; what `pg_ctl` waits for as well.
pub(super) fn is_ready(data: &Path) -> bool {
    fs_err::read_to_string(data.join("postmaster.pid"))
        .is_ok_and(|text| text.lines().nth(7).is_some_and(|status| status.trim() == "ready"))
}

/// Ends the server in `data`, if any, and waits until all its processes are gone.
pub(super) async fn stop(data: &Path, postmaster: Option<&Process>) -> Result<(), Failure> {
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
