//! The composition root: the only place that names concrete adapters.

use crate::adapters::audit_key::KeyFile;
use crate::adapters::commands::Shell as UserShell;
use crate::adapters::files::{MigrationCommand, MigrationsFolder, RunFolder};
use crate::adapters::git::GitTree;
use crate::adapters::http_health::HttpHealth;
use crate::adapters::journal::SqliteJournal;
use crate::adapters::pg_tools::PgTools;
use crate::adapters::postgres::Postgres;
use crate::adapters::postgres::capture::{Pooler, PostgresCaptures};
use crate::adapters::sandbox::SandboxPlace;
use crate::adapters::support::pg_bin::{Need, Programs, Search, Version, find, known_places};
use crate::adapters::system::{SystemClock, host, user};
use crate::config::{Config, Environment, SandboxServer};
use crate::domain::code::Code;
use crate::domain::connection::ConnectionUrl;
use crate::domain::failure::Failure;
use crate::domain::ids::EnvironmentName;
use crate::domain::migration::FormatChoice;
use crate::engine::World;
use crate::ports::capture::Captures;
use crate::ports::clock::Clock;
use crate::ports::database::Database;
use crate::ports::files::Files;
use crate::ports::sandbox::Sandboxes;
use crate::ports::source::Migrations;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The journal, whichever adapter keeps it: what commands name, so that they name no adapter.
pub type OpenJournal = SqliteJournal;

/// What time it is.
#[must_use]
pub fn now_ms() -> i64 {
    SystemClock.now_ms()
}

/// The machine's name.
#[must_use]
pub fn host_name() -> String {
    host()
}

/// The name of the user this process runs as.
#[must_use]
pub fn user_name() -> Option<String> {
    user()
}

/// The journal, for writing; made if it is not there.
///
/// # Errors
/// A [`Failure`] with a code of 08xx.
pub fn journal(config: &Config) -> Result<OpenJournal, Failure> {
    let journal = SqliteJournal::open(&config.journal.path, &host(), std::process::id(), now_ms())?;
    // A folder of dbd's own belongs in no repository, and must not make every working tree look changed.
    if let Some(folder) =
        config.journal.path.parent().filter(|folder| folder.file_name().is_some_and(|name| name == ".dbd"))
    {
        crate::adapters::files::ignore_folder(folder)?;
    }
    Ok(journal)
}

/// The journal, for reading; `None` if there is none.
///
/// # Errors
/// A [`Failure`] with a code of 08xx.
pub fn journal_for_reading(config: &Config) -> Result<Option<OpenJournal>, Failure> {
    SqliteJournal::open_read_only(&config.journal.path, &host())
}

/// The event of a run, from how it stands in a journal or an evidence bundle.
///
/// # Errors
/// A sentence that says why this version cannot read it.
pub fn recorded(entry: dbd_journal::Seen<'_>) -> Result<crate::domain::event::Recorded, String> {
    crate::adapters::journal::recorded(entry)
}

/// The event of the audit stream, from how it stands in a journal or an evidence bundle.
///
/// # Errors
/// A sentence that says why this version cannot read it.
pub fn audit_recorded(entry: &dbd_journal::Entry) -> Result<crate::domain::audit::AuditRecorded, String> {
    crate::adapters::journal::audit_recorded(entry)
}

/// The file of the key that signs evidence.
#[must_use]
pub fn audit_key_file(config: &Config) -> KeyFile {
    KeyFile::new(&config.journal.audit_key_file)
}

/// PostgreSQL over the wire.
#[must_use]
pub fn database() -> Box<dyn Database> {
    Box::new(Postgres::default())
}

/// The migrations folder.
///
/// # Errors
/// A [`Failure`] for a format that is not supported. A folder that is missing is an error of reading it.
pub fn migrations(config: &Config) -> Result<Box<dyn Migrations>, Failure> {
    if config.migrations.format == "command" {
        return match &config.migrations.command {
            Some(command) => Ok(Box::new(MigrationCommand(command.clone()))),
            None => Err(Failure::new(Code::BadValue, "`migrations.format` is \"command\", and there is no command")
                .hint("set it, like `command = \"npm run db:migrate\"` under `[migrations]`")),
        };
    }
    let dir = config.migrations_dir();
    let shown = dir.as_ref().map_or_else(|_| "migrations".to_owned(), |dir| config.shown(dir));
    Ok(Box::new(MigrationsFolder {
        root: config.root.clone(),
        dir,
        shown,
        choice: FormatChoice::parse(&config.migrations.format)?,
        said: said(config)?,
        table: config.migrations.table.clone(),
    }))
}

/// What the tools that own migration folders are told elsewhere than by dbd.
fn said(config: &Config) -> Result<BTreeMap<String, String>, Failure> {
    // One that is not to be had now says nothing.
    let urls: Vec<(EnvironmentName, ConnectionUrl)> = config
        .environments()
        .into_iter()
        .filter_map(|name| config.environment(name.as_str()).ok().map(|one| (name, one.database_url)))
        .collect();
    crate::config::owners::said(&config.root, |name| config.variable(name), &urls)
}

/// The migrations folder, to make files in: where there is none yet, the configured one or `migrations`.
///
/// # Errors
/// A [`Failure`] for a format that is not supported.
pub fn migrations_to_make(config: &Config) -> Result<Box<dyn Migrations>, Failure> {
    if config.migrations.format == "command" {
        return migrations(config);
    }
    let dir = config
        .migrations_dir()
        .unwrap_or_else(|_| config.migrations.dir.clone().unwrap_or_else(|| config.root.join("migrations")));
    let shown = config.shown(&dir);
    let choice = FormatChoice::parse(&config.migrations.format)?;
    Ok(Box::new(MigrationsFolder {
        root: config.root.clone(),
        dir: Ok(dir),
        shown,
        choice,
        said: said(config)?,
        table: config.migrations.table.clone(),
    }))
}

/// A folder of migrations that the command line named.
///
/// # Errors
/// As [`migrations`].
pub fn migrations_in(config: &Config, dir: &std::path::Path) -> Result<Box<dyn Migrations>, Failure> {
    let choice = FormatChoice::parse(&config.migrations.format)?;
    Ok(Box::new(MigrationsFolder {
        dir: Ok(dir.to_owned()),
        shown: config.shown(dir),
        choice,
        root: config.root.clone(),
        said: said(config)?,
        table: config.migrations.table.clone(),
    }))
}

/// The folder of a run's files.
#[must_use]
pub fn files(config: &Config, run: &str) -> RunFolder {
    RunFolder::new(&config.root, &config.artifacts.dir, run)
}

/// Where PostgreSQL's programs are looked for.
#[must_use]
pub fn programs(config: &Config) -> Search {
    Search {
        explicit: config.tools.pg_bin.clone(),
        pg_bin: config.variable("PG_BIN").map(PathBuf::from),
        path: config.variable("PATH").map(Into::into),
        places: known_places(),
    }
}

/// The newest PostgreSQL of this machine that a scratch server can be started from: client programs that fit it, and its version.
///
/// # Errors
/// [`ToolsMissing`](crate::domain::code::Code::ToolsMissing) with how to get them,
/// [`ToolsTooOld`](crate::domain::code::Code::ToolsTooOld) if the client programs are older than the server's.
pub async fn newest_postgresql(config: &Config) -> Result<(Programs, Version), Failure> {
    let search = programs(config);
    let server = find(&search, Need::Server, None).await?;
    let client = find(&search, Need::Client, Some(server.version.major)).await?;
    Ok((client, server.version))
}

/// Sandboxes.
///
/// # Errors
/// A [`Failure`] if the server named for them cannot be read.
pub fn sandboxes(config: &Config) -> Result<Box<dyn Sandboxes>, Failure> {
    let configured = match config.sandbox_server()? {
        SandboxServer::Scratch => None,
        SandboxServer::Given(url) => Some(url),
    };
    Ok(Box::new(SandboxPlace {
        search: programs(config),
        user: config.sandbox.user.clone(),
        sudo_uid: config.variable("SUDO_UID").map(str::to_owned),
        base: config.sandbox.dir.clone(),
        cache: config.cache_dir(),
        configured,
        whose: whose(&config.root),
    }))
}

/// Whose the sandboxes of the project in `root` are.
#[must_use]
pub fn whose(root: &Path) -> String {
    format!("{}:{}", host(), root.display())
}

/// PostgreSQL's programs, working in the folder of one run.
#[must_use]
pub fn backups(config: &Config, run: &str) -> PgTools {
    PgTools { search: programs(config), work_dir: files(config, run).path(".work") }
}

/// Captures of writes.
#[must_use]
pub fn captures(config: &Config, environment: &Environment, run: &str) -> Box<dyn Captures> {
    let pooler = environment.pooler.as_ref().map(|pooler| Pooler {
        admin: pooler.admin_url.clone(),
        database: pooler.database.clone().unwrap_or_else(|| environment.database_url.database()),
    });
    Box::new(PostgresCaptures { backups: Box::new(backups(config, run)), search: programs(config), pooler })
}

/// Everything outside, for one run against one environment.
///
/// # Errors
/// A [`Failure`] about the configuration.
pub fn world(config: &Config, environment: &Environment, run: &str) -> Result<World, Failure> {
    let files = files(config, run);
    let work_dir = files.path(".work");
    Ok(World {
        database: database(),
        backups: Box::new(backups(config, run)),
        captures: captures(config, environment, run),
        sandboxes: sandboxes(config)?,
        commands: Box::new(UserShell { root: config.root.clone(), work_dir, secrets: config.secrets() }),
        health: Box::new(HttpHealth),
        source: Box::new(GitTree { root: config.root.clone() }),
        migrations: migrations(config)?,
        files: Box::new(files),
        clock: Box::new(SystemClock),
        target: environment.database_url.clone(),
        comparison_json: crate::cli::render::comparison::json,
        waivers: config.check_allowance()?,
        app_url: environment.app_url.clone(),
        health_url: environment.health.as_ref().map(|health| health.url.clone()),
        host: host(),
        pid: std::process::id(),
    })
}
