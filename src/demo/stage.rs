//! Where the story plays: a folder with a project, a scratch server with a shop, and children that see nothing else.

use crate::adapters::support::child::{self, Cancel, ChildSpec, LIBPQ_VARIABLES};
use crate::adapters::support::pg_bin::Programs;
use crate::adapters::support::process::Process;
use crate::adapters::support::psql;
use crate::cli::Context;
use crate::config::{self, Config, env};
use crate::domain::code::Code;
use crate::domain::connection::ConnectionUrl;
use crate::domain::event::ServerFacts;
use crate::domain::evolve::fold;
use crate::domain::failure::Failure;
use crate::domain::run::Run;
use crate::ports::journal::Journal;
use crate::ports::sandbox::Sandboxes;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The one environment of the sample project.
pub(super) const ENVIRONMENT: &str = "demo";
/// The variable that holds its target.
pub(super) const VARIABLE: &str = "DEMO_POSTGRES_URL";
/// The database of the shop.
const DATABASE: &str = "shop";
/// How long one command may take before the story is given up.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long a child that was killed may take to be gone.
const LINGERING: Duration = Duration::from_secs(10);

/// The sample project, without the migrations, which come one act at a time.
const FILES: &[(&str, &str)] = &[
    ("dbd.toml", include_str!("sample/dbd.toml")),
    ("tests.sh", include_str!("sample/tests.sh")),
    ("smoke.sh", include_str!("sample/smoke.sh")),
];
/// What the shop holds before the first act.
const SHOP: &str = include_str!("sample/shop.sql");

/// The variables of dbd's that children do get: who and where somebody is, none that leads to a server or a service.
const KEPT: &[&str] = &[
    env::PG_BIN,
    env::COLUMNS,
    env::DBD_ACTOR,
    env::SUDO_USER,
    env::USER,
    env::LOGNAME,
    env::NO_COLOR,
    env::TERM,
    env::CI,
    env::TMPDIR,
    env::HOME,
    env::XDG_CACHE_HOME,
    env::PATH,
];

/// Where the story plays.
pub(super) struct Stage {
    folder: tempfile::TempDir,
    config: Config,
    sandboxes: Box<dyn Sandboxes>,
    /// What the sandbox that is the target is called.
    name: String,
    client: Programs,
    server: String,
    server_major: u32,
    binary: PathBuf,
    hidden: Vec<String>,
    path: String,
    target: Option<ConnectionUrl>,
}

impl Stage {
    /// Looks for PostgreSQL and writes the project. Starts nothing, says nothing.
    ///
    /// # Errors
    /// [`Code::ToolsMissing`] with how to get them; [`Code::FileUnwritable`].
    pub(super) async fn find(context: &Context) -> Result<Self, Failure> {
        let hidden: Vec<String> = context.variables.keys().filter(|name| is_hidden(name)).cloned().collect();
        let variables: BTreeMap<String, String> = context
            .variables
            .iter()
            .filter(|(name, _)| !is_hidden(name))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        let temp =
            variables.get(env::TMPDIR).map(String::as_str).filter(|dir| !dir.trim().is_empty()).unwrap_or("/tmp");
        let folder = tempfile::Builder::new()
            .prefix("dbd-demo-")
            .tempdir_in(temp)
            .map_err(|error| unwritable(Path::new(temp), &error).hint("set TMPDIR to a folder of your own"))?;
        for (name, text) in FILES {
            write(folder.path(), name, text)?;
        }
        fs_err::create_dir(folder.path().join("migrations")).map_err(|error| unwritable(folder.path(), &error))?;
        let config = config::load(folder.path(), None, None, &variables)?;
        let (client, server) = crate::wire::newest_postgresql(&config).await?;
        let binary = std::env::current_exe().map_err(|error| {
            Failure::new(Code::FileUnreadable, "the program that runs cannot be found again").source(&error)
        })?;
        // The project's own scripts call psql, which need not be where the shell looks.
        let path = match variables.get(env::PATH) {
            Some(path) if !path.is_empty() => format!("{}:{path}", client.dir.display()),
            _ => client.dir.display().to_string(),
        };
        Ok(Self {
            sandboxes: crate::wire::sandboxes(&config)?,
            name: format!("demo-{}", std::process::id()),
            server: server.to_string(),
            server_major: server.major,
            target: None,
            folder,
            config,
            client,
            binary,
            hidden,
            path,
        })
    }

    /// Starts the server, fills the shop, and tells the project where its target is.
    ///
    /// # Errors
    /// Those of making a sandbox and of a query.
    pub(super) async fn open(&mut self) -> Result<(), Failure> {
        // Not to persist: the server ends with this process, however that ends.
        let sandbox = self.sandboxes.create(&self.name, &like(self.server_major), false).await?;
        psql::run_sql(&self.client, &sandbox.url, SHOP, &Cancel::never()).await?;
        self.write(".env.local", &format!("{VARIABLE}='{}'\n", sandbox.url.expose()))?;
        self.target = Some(sandbox.url);
        Ok(())
    }

    /// The project's folder.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The version of the server.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    /// Where the target is, for people.
    pub(super) fn place(&self) -> String {
        self.target.as_ref().map(ConnectionUrl::place).unwrap_or_default()
    }

    /// Writes a file of the project.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<(), Failure> {
        write(self.folder(), name, text)
    }

    /// Removes a file of the project.
    pub(super) fn remove(&self, name: &str) -> Result<(), Failure> {
        let path = self.folder().join(name);
        fs_err::remove_file(&path).map_err(|error| unwritable(&path, &error))
    }

    /// This very program, with `args`, in the project; what it says on both streams is one stream.
    pub(super) fn dbd(&self, args: &[&str]) -> ChildSpec {
        let mut spec = ChildSpec::new(&self.binary, format!("dbd {}", args.join(" "))).args(args);
        spec.cwd = Some(self.folder().to_owned());
        spec.env_remove.clone_from(&self.hidden);
        spec.clear_pg_env = true;
        spec.merge_stderr = true;
        spec.timeout = Some(PATIENCE);
        spec.env([(env::PATH.to_owned(), self.path.clone())])
    }

    /// `psql` with one command, on the target.
    pub(super) fn psql(&self, sql: &str) -> Result<ChildSpec, Failure> {
        let mut spec = psql::psql_spec(&self.client, self.target()?, "dbd demo", None).args(["-c", sql]);
        spec.merge_stderr = true;
        spec.timeout = Some(PATIENCE);
        Ok(spec)
    }

    /// The rows a query of the target gives, `|` between the columns.
    pub(super) async fn ask(&self, sql: &str) -> Result<Vec<String>, Failure> {
        psql::query_as(&self.client, self.target()?, "dbd demo", sql, &Cancel::never()).await
    }

    fn target(&self) -> Result<&ConnectionUrl, Failure> {
        self.target.as_ref().ok_or_else(|| Failure::new(Code::Bug, "the stage of the demo is not open"))
    }

    /// The runs of the project's journal, oldest first; read-only, so that it may be asked while a child writes.
    pub(super) fn runs(&self) -> Result<Vec<Run>, Failure> {
        let Some(journal) = crate::wire::journal_for_reading(&self.config)? else { return Ok(Vec::new()) };
        let mut runs = Vec::new();
        for head in journal.runs()? {
            let events = journal.read(&head.run)?;
            runs.push(fold(&head.run, &events).map_err(|misfit| {
                Failure::new(Code::IllegalHistory, format!("{}: its history is not legal", head.run)).source(&misfit)
            })?);
        }
        Ok(runs)
    }

    /// Stops the server and removes everything, or all but the project's folder; where that is if it was kept.
    ///
    /// # Errors
    /// [`Code::SandboxFailed`] if the server does not end; [`Code::FileUnwritable`], naming what is left.
    pub(super) async fn clear(self, keep: bool) -> Result<Option<PathBuf>, Failure> {
        let runs = self.runs().unwrap_or_default();
        for run in runs.iter().filter(|run| !run.state.is_settled()) {
            // Killed a moment ago, if at all: what it was doing ends before it is looked for.
            let pid = run.lease.as_ref().and_then(|lease| i32::try_from(lease.pid).ok());
            if let Some(process) = pid.and_then(Process::of) {
                process.wait_gone(LINGERING).await;
            }
        }
        let ours = |run: &str| run == self.name || runs.iter().any(|known| known.id.as_str() == run);
        for sandbox in self.sandboxes.list().await? {
            if ours(&sandbox.run) {
                self.sandboxes.remove(&sandbox.run).await?;
            }
        }
        if keep {
            return Ok(Some(self.folder.keep()));
        }
        let path = self.folder.path().to_owned();
        self.folder.close().map_err(|error| unwritable(&path, &error))?;
        Ok(None)
    }
}

/// Whether a variable stays out of the story: everything that names a server, a service or a secret of the user's.
fn is_hidden(name: &str) -> bool {
    let known = env::ALL.iter().any(|variable| variable.name == name) && !KEPT.contains(&name);
    let leads_elsewhere = name.ends_with(env::DATABASE_URL_SUFFIX) || name == "DEMO_URL";
    known || leads_elsewhere || LIBPQ_VARIABLES.contains(&name)
}

/// A server with nothing of its own.
fn like(major: u32) -> ServerFacts {
    ServerFacts {
        version_num: major * 10_000,
        version: String::new(),
        system_identifier: None,
        database: DATABASE.to_owned(),
        role: String::new(),
        superuser: true,
        size_bytes: 0,
        encoding: "UTF8".to_owned(),
        collate: "C".to_owned(),
        ctype: "C".to_owned(),
        locale_provider: "c".to_owned(),
        locale: None,
        has_public: true,
        server_settings: Vec::new(),
        read_only: false,
        pooled: false,
        owns_database: true,
        member_of: Vec::new(),
        session_settings: Vec::new(),
        roles: Vec::new(),
    }
}

fn write(folder: &Path, name: &str, text: &str) -> Result<(), Failure> {
    let path = folder.join(name);
    fs_err::write(&path, text).map_err(|error| unwritable(&path, &error))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Code::FileUnwritable, format!("{} cannot be written", path.display())).source(error)
}

/// Runs a child; its output goes to `on_output` as it comes.
pub(super) async fn run(spec: ChildSpec, on_output: &mut dyn FnMut(&[u8])) -> Result<child::Finished, Failure> {
    child::run_watched(spec, &Cancel::never(), &mut |_, bytes| on_output(bytes)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_see_nothing_that_leads_to_a_server_or_a_service() {
        for name in [
            "PROD_POSTGRES_URL",
            "DEMO_POSTGRES_URL",
            "SANDBOX_POSTGRES_URL",
            "DEMO_URL",
            "PGHOST",
            "PGSERVICE",
            "SLACK_WEBHOOK_URL",
        ] {
            assert!(is_hidden(name), "{name}");
        }
        for name in ["PATH", "HOME", "PG_BIN", "DBD_ACTOR", "LANG"] {
            assert!(!is_hidden(name), "{name}");
        }
    }
}
