//! The configuration as the rest of dbd sees it: typed, complete, with every default filled in.

use super::env::{self, Variables};
use super::file::{Found, Placed, Settings, Source, misfit};
use super::keys::{self, Default, Key, Value};
use super::{FILE_NAME, below, discover, list, nearest, shown};
use crate::domain::budget::Budget;
use crate::domain::code::Code;
use crate::domain::connection::ConnectionUrl;
use crate::domain::copying::Sample;
use crate::domain::failure::{Failure, Place};
use crate::domain::finding::Allowance;
use crate::domain::ids::EnvironmentName;
use crate::domain::secret::Secret;
use crate::domain::way::CaptureWay;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Everything that was configured. Its `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct Config {
    /// The project's root, canonical.
    pub root: PathBuf,
    /// The configuration file that was read, if there is one.
    pub file: Option<PathBuf>,
    /// `[migrations]`.
    pub migrations: Migrations,
    /// `[journal]`.
    pub journal: Journal,
    /// `[artifacts]`.
    pub artifacts: Artifacts,
    /// `[rollback]`.
    pub rollback: Rollback,
    /// `[sandbox]`, without the server: [`Config::sandbox_server`].
    pub sandbox: Sandbox,
    /// `[tools]`.
    pub tools: Tools,
    /// `[alerts]`.
    pub alerts: Alerts,
    /// `[loki]`, `[neon]`, `[vercel]`, `[github]`.
    pub integrations: Integrations,
    /// What is odd about the configuration and does not stop anything, like a secret in the file.
    pub warnings: Vec<Failure>,
    reader: Reader,
}

/// `[migrations]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migrations {
    /// The folder that was configured, absolute. [`Config::migrations_dir`] also looks in the usual places.
    pub dir: Option<PathBuf>,
    /// `auto`, or one of [`keys::FORMATS`].
    pub format: String,
    /// The table the tool keeps track in, if it was renamed.
    pub table: Option<String>,
    /// The user's own tool, if the format is `command`.
    pub command: Option<String>,
}

/// `[journal]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal {
    /// The journal's file, absolute.
    pub path: PathBuf,
    /// The key that signs evidence, if it does not come from a file.
    pub audit_key: Option<Secret>,
    /// The file of that key, absolute.
    pub audit_key_file: PathBuf,
}

/// `[artifacts]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifacts {
    /// The folder that holds a folder per run, absolute.
    pub dir: PathBuf,
    /// How long a run's artifacts are kept.
    pub retention: Duration,
}

/// `[rollback]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollback {
    /// Whether steps may go back in place.
    pub in_place: bool,
    /// Whether tables that a step drops are set aside instead.
    pub soft_drop: bool,
    /// How writes may be captured for a swap.
    pub capture: Vec<CaptureWay>,
    /// Who is left to watch an open window.
    pub watch: Watching,
    /// How often it looks.
    pub watch_interval: Duration,
    /// How much of its log the server may keep for a slot, in bytes.
    pub slot_bytes: u64,
}

/// Whether a deployment leaves a process that watches its rollback window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watching {
    /// Unless it is a CI job.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// `[sandbox]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    /// What is copied.
    pub data: SandboxData,
    /// Where scratch servers keep their data; the folder for temporary files if nothing is configured. Absolute.
    pub dir: PathBuf,
    /// The ordinary user that runs a scratch server when dbd is root.
    pub user: Option<String>,
    /// How much of each table a sample holds.
    pub sample: Sample,
    /// Columns that are masked while they are copied, with what stands instead.
    pub masks: BTreeMap<String, String>,
}

/// What a sandbox holds of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SandboxData {
    /// Schema and rows.
    Full,
    /// The schema without rows.
    Schema,
    /// Some of the rows, and what they refer to.
    Sample,
}

impl SandboxData {
    /// The word of the configuration.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Schema => "schema",
            Self::Sample => "sample",
        }
    }
}

/// Where sandboxes live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SandboxServer {
    /// On a scratch server, started from the installed PostgreSQL.
    Scratch,
    /// As databases of this server.
    Given(ConnectionUrl),
}

/// A command of the user's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The command line for `sh -c`, run in the root.
    pub command: String,
    /// How long it may take.
    pub timeout: Duration,
    /// Whether it may be run again when nobody knows whether it ran.
    pub repeatable: bool,
}

/// `[tools]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tools {
    /// The folder of PostgreSQL's programs, absolute; else they are looked for.
    pub pg_bin: Option<PathBuf>,
}

/// `[alerts]`: kept, not used yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alerts {
    /// A Slack incoming webhook.
    pub slack_webhook_url: Option<Secret>,
    /// The address that gets mail.
    pub email: Option<String>,
    /// The mail server.
    pub smtp_host: Option<String>,
    /// The mail server's port.
    pub smtp_port: u16,
    /// The user at the mail server.
    pub smtp_user: Option<String>,
    /// The password at the mail server.
    pub smtp_password: Option<Secret>,
    /// An address that gets each alert as JSON.
    pub webhook_url: Option<Secret>,
    /// The routing key of a PagerDuty integration.
    pub pagerduty_routing_key: Option<Secret>,
}

/// Services dbd can talk to: kept, not used yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Integrations {
    /// Where log lines are pushed to.
    pub loki_url: Option<Secret>,
    /// The key for Neon's API.
    pub neon_api_key: Option<Secret>,
    /// The token for Vercel's API.
    pub vercel_token: Option<Secret>,
    /// The token for GitHub's API.
    pub github_token: Option<Secret>,
}

/// One environment, complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// Its name.
    pub name: EnvironmentName,
    /// The target.
    pub database_url: ConnectionUrl,
    /// The address of the application. May hold a password: for requests and a child's environment.
    pub app_url: Option<Secret>,
    /// Whether a run waits for an approval.
    pub approval: bool,
    /// How long the whole migration may take.
    pub migration_timeout: Duration,
    /// How long one statement may take; `None` for no limit of its own.
    pub statement_timeout: Option<Duration>,
    /// How long one attempt at a lock waits.
    pub lock_timeout: Duration,
    /// How long all attempts of a statement may take together.
    pub lock_budget: Duration,
    /// Whether uncommitted changes refuse a run.
    pub require_clean_tree: bool,
    /// Whether a run that cannot be taken back without loss is refused.
    pub require_reverse: bool,
    /// How long writes stay captured after a success.
    pub rollback_window: Duration,
    /// The verification command, if there is one.
    pub verify: Option<Command>,
    /// The health check, if there is an address to ask.
    pub health: Option<Health>,
    /// How long others may be kept waiting.
    pub budget: Budget,
    /// The pooler that clients come through, if dbd may hold them back there.
    pub pooler: Option<Pooler>,
}

/// A PgBouncer before the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pooler {
    /// Its console.
    pub admin_url: ConnectionUrl,
    /// What clients call the target there, if not as the server does.
    pub database: Option<String>,
}

/// How the application is asked whether it is well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// What is asked. May hold a password.
    pub url: Secret,
    /// How long one answer may take.
    pub timeout: Duration,
    /// How often it is asked again.
    pub retries: u32,
}

impl Config {
    pub(super) fn new(
        root: PathBuf,
        file: Option<PathBuf>,
        settings: Settings,
        variables: Variables,
        journal: Option<PathBuf>,
    ) -> Result<Self, Failure> {
        let warnings = settings.warnings.clone();
        let read = Reader { settings, variables };
        let path = |key: &str| read.text(key).map(|text| text.map(|text| below(&root, &text)));
        let temp = PathBuf::from(read.variables.get(env::TMPDIR).unwrap_or("/tmp"));
        let data = match read.required(read.text("sandbox.data")?, "sandbox.data")?.as_str() {
            "schema" => SandboxData::Schema,
            "sample" => SandboxData::Sample,
            _ => SandboxData::Full,
        };
        Ok(Self {
            migrations: Migrations {
                dir: path("migrations.dir")?,
                format: read.required(read.text("migrations.format")?, "migrations.format")?,
                table: read.text("migrations.table")?,
                command: read.text("migrations.command")?,
            },
            journal: Journal {
                path: match journal {
                    Some(path) => path,
                    None => read.required(path("journal.path")?, "journal.path")?,
                },
                audit_key: read.secret("journal.audit_key")?,
                audit_key_file: read.required(path("journal.audit_key_file")?, "journal.audit_key_file")?,
            },
            artifacts: Artifacts {
                dir: read.required(path("artifacts.dir")?, "artifacts.dir")?,
                retention: read.required(read.duration("artifacts.retention")?, "artifacts.retention")?,
            },
            sandbox: Sandbox {
                data,
                dir: path("sandbox.dir")?.unwrap_or(temp),
                user: read.text("sandbox.user")?,
                sample: Sample {
                    rows: read.count("sandbox.sample.rows")?,
                    percent: read.count("sandbox.sample.percent")?,
                },
                masks: read.settings.masks.clone(),
            },
            rollback: Rollback {
                in_place: read.flag("rollback.in_place")?.unwrap_or(true),
                soft_drop: read.flag("rollback.soft_drop")?.unwrap_or(false),
                capture: match read.required(read.text("rollback.capture")?, "rollback.capture")?.as_str() {
                    "slot" => vec![CaptureWay::Slot],
                    "triggers" => vec![CaptureWay::Triggers],
                    "off" => Vec::new(),
                    _ => vec![CaptureWay::Slot, CaptureWay::Triggers],
                },
                watch: match read.required(read.text("rollback.watch")?, "rollback.watch")?.as_str() {
                    "always" => Watching::Always,
                    "never" => Watching::Never,
                    _ => Watching::Auto,
                },
                watch_interval: read.required(read.duration("rollback.watch_interval")?, "rollback.watch_interval")?,
                slot_bytes: read.count::<u64>("rollback.slot_limit_mb")?.saturating_mul(1024 * 1024),
            },
            tools: Tools { pg_bin: path("tools.pg_bin")? },
            alerts: Alerts {
                slack_webhook_url: read.secret("alerts.slack_webhook_url")?,
                email: read.text("alerts.email")?,
                smtp_host: read.text("alerts.smtp_host")?,
                smtp_port: read.count("alerts.smtp_port")?,
                smtp_user: read.text("alerts.smtp_user")?,
                smtp_password: read.secret("alerts.smtp_password")?,
                webhook_url: read.secret("alerts.webhook_url")?,
                pagerduty_routing_key: read.secret("alerts.pagerduty_routing_key")?,
            },
            integrations: Integrations {
                loki_url: read.secret("loki.url")?,
                neon_api_key: read.secret("neon.api_key")?,
                vercel_token: read.secret("vercel.token")?,
                github_token: read.secret("github.token")?,
            },
            warnings,
            root,
            file,
            reader: read,
        })
    }

    /// Every environment there is, in order: those with a section, and those whose `<NAME>_POSTGRES_URL` is set.
    #[must_use]
    pub fn environments(&self) -> Vec<EnvironmentName> {
        let mut names: Vec<_> = self.reader.settings.environments.keys().cloned().collect();
        for variable in self.reader.variables.names() {
            if variable == env::SANDBOX_POSTGRES_URL || names.iter().any(|name| database_variable(name) == variable) {
                continue;
            }
            let name =
                variable.strip_suffix(env::DATABASE_URL_SUFFIX).filter(|prefix| *prefix == prefix.to_ascii_uppercase());
            names.extend(name.and_then(|name| EnvironmentName::parse(&name.to_ascii_lowercase())));
        }
        names.sort();
        names
    }

    /// The environment `name`, with every default filled in.
    ///
    /// # Errors
    /// [`Code::UnknownEnvironment`], [`Code::NoDatabaseUrl`], [`Code::BadDatabaseUrl`], [`Code::BadValue`] if a variable that a key
    /// names does not fit it.
    pub fn environment(&self, name: &str) -> Result<Environment, Failure> {
        let name = self.known(name)?;
        let read = &self.reader;
        let key = |key: &str| format!("environments.{name}.{key}");
        let database_url = match read.url(&key("database_url"))? {
            Some(url) => url,
            None => return Err(self.no_database_url(&name)),
        };
        let app_url = read.secret(&key("app_url"))?;
        let health = match read.secret(&key("health.url"))?.or_else(|| app_url.clone()) {
            None => None,
            Some(url) => Some(Health {
                url,
                timeout: read.required(read.duration(&key("health.timeout"))?, "health.timeout")?,
                retries: read.count(&key("health.retries"))?,
            }),
        };
        let duration = |path: &str| read.required(read.duration(&key(path))?, path);
        Ok(Environment {
            database_url,
            app_url,
            approval: read.flag(&key("approval"))?.unwrap_or(name.as_str() == "prod"),
            migration_timeout: duration("migration_timeout")?,
            statement_timeout: read.duration(&key("statement_timeout"))?,
            lock_timeout: duration("lock_timeout")?,
            lock_budget: duration("lock_budget")?,
            require_clean_tree: read.flag(&key("require_clean_tree"))?.unwrap_or(false),
            require_reverse: read.flag(&key("require_reverse"))?.unwrap_or(false),
            rollback_window: duration("rollback_window")?,
            verify: read.command(&key("verify"))?,
            health,
            pooler: match read.url(&key("pooler.admin_url"))? {
                Some(admin_url) => Some(Pooler { admin_url, database: read.text(&key("pooler.database"))? }),
                None => None,
            },
            budget: {
                let limit = |path: &str| {
                    let limit = read.duration(&key(path))?;
                    Ok::<_, Failure>(limit.map(|limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)))
                };
                Budget {
                    blocked_reads_ms: limit("budget.blocked_reads")?,
                    blocked_writes_ms: limit("budget.blocked_writes")?,
                    duration_ms: limit("budget.duration")?,
                }
            },
            name,
        })
    }

    /// Where sandboxes live.
    ///
    /// # Errors
    /// [`Code::BadDatabaseUrl`]; [`Code::BadValue`] if `sandbox.server` names a variable that is not set, as falling back to a
    /// scratch server would rehearse somewhere else than was asked for.
    pub fn sandbox_server(&self) -> Result<SandboxServer, Failure> {
        let path = "sandbox.server";
        if let Some(failure) = self.reader.unset(path) {
            return Err(failure.hint("or write `server = \"auto\"` for a scratch server"));
        }
        if self.reader.secret(path)?.is_none_or(|text| text.expose() == "auto") {
            return Ok(SandboxServer::Scratch);
        }
        Ok(self.reader.url(path)?.map_or(SandboxServer::Scratch, SandboxServer::Given))
    }

    /// `[tests]`, if there is a command.
    ///
    /// # Errors
    /// [`Code::BadValue`] if `tests.command` names a variable that is not set: the run would go on without its tests.
    pub fn tests(&self) -> Result<Option<Command>, Failure> {
        self.reader.command("tests")
    }

    /// `tests.previous`, with the limit of `[tests]`, if there is a command.
    ///
    /// # Errors
    /// As [`Config::tests`].
    pub fn previous_tests(&self) -> Result<Option<Command>, Failure> {
        let read = &self.reader;
        if let Some(failure) = read.unset("tests.previous") {
            return Err(failure.hint("or take the key out, to do without the command"));
        }
        let Some(command) = read.text("tests.previous")? else { return Ok(None) };
        let timeout = read.required(read.duration("tests.timeout")?, "tests.timeout")?;
        Ok(Some(Command { command, timeout, repeatable: true }))
    }

    /// `[check]`: the codes of hazards that are let pass, and why; `None` if there are none.
    ///
    /// # Errors
    /// [`Code::BadValue`] if no reason is given.
    pub fn check_allowance(&self) -> Result<Option<Allowance>, Failure> {
        let Some(codes) = self.reader.text("check.allow")? else { return Ok(None) };
        let Some(reason) = self.reader.text("check.reason")? else {
            return Err(Failure::new(
                Code::BadValue,
                "`check.allow` lets findings pass and `check.reason` does not say why",
            )
            .hint("add `reason = \"...\"` to the section `[check]`: the record of each run names it"));
        };
        let codes = codes.split([',', ' ']).filter(|code| !code.is_empty()).map(str::to_owned).collect();
        Ok(Some(Allowance { codes, reason: Some(reason) }))
    }

    /// The folder of migrations, absolute: the configured one, else the first that exists of the usual places.
    ///
    /// # Errors
    /// [`Code::NoMigrations`] if there is none, [`Code::FileUnreadable`].
    pub fn migrations_dir(&self) -> Result<PathBuf, Failure> {
        if let Some(dir) = &self.migrations.dir {
            if dir.is_dir() {
                return Ok(dir.clone());
            }
            let failure = Failure::new(
                Code::NoMigrations,
                format!("the folder of migrations `{}` does not exist", self.shown(dir)),
            )
            .hint("correct `migrations.dir`, which is relative to the project's root");
            let place = self.reader.settings.found.get("migrations.dir").map(|found| found.place.clone());
            return Err(Failure { place, ..failure });
        }
        let found = discover::migrations(&self.root)?;
        found.into_iter().next().map(|candidate| self.root.join(candidate.dir)).ok_or_else(|| {
            Failure::new(Code::NoMigrations, format!("no folder of migrations was found in `{}`", self.root.display()))
                .cause(format!(
                    "looked for `out` in `drizzle.config.*`, then for {}",
                    list(discover::USUAL_PLACES, "and")
                ))
                .hint(format!("name it in `{FILE_NAME}`:\n[migrations]\ndir = \"path/to/migrations\""))
                .hint("or start elsewhere with `-C DIR`")
        })
    }

    /// What the project folder tells by itself, for `dbd init`.
    ///
    /// # Errors
    /// [`Code::FileUnreadable`].
    pub fn discovered(&self) -> Result<discover::Discovered, Failure> {
        discover::project(&self.root, self.environments())
    }

    /// A path as a person should see it: relative to the root if it lies below it.
    #[must_use]
    pub fn shown(&self, path: &Path) -> String {
        shown(&self.root, path)
    }

    /// A variable, from the environment or a `.env` file; `None` if it is not set or blank.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.reader.variables.get(name)
    }

    /// Who runs dbd: `DBD_ACTOR`, else the person behind `sudo`, else the user; `unknown` if nothing tells.
    #[must_use]
    pub fn actor(&self) -> String {
        let names = [env::DBD_ACTOR, env::SUDO_USER, env::USER, env::LOGNAME];
        names.iter().find_map(|name| self.variable(name)).unwrap_or("unknown").trim().to_owned()
    }

    /// Where dbd may keep what it can make again.
    #[must_use]
    pub fn cache_dir(&self) -> PathBuf {
        let absolute = |name: &str| self.variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        match (absolute(env::XDG_CACHE_HOME), absolute(env::HOME)) {
            (Some(cache), _) => cache.join("dbd"),
            (None, Some(home)) => home.join(".cache").join("dbd"),
            (None, None) => self.temp_dir().join("dbd-cache"),
        }
    }

    /// The folder for temporary files.
    #[must_use]
    pub fn temp_dir(&self) -> PathBuf {
        PathBuf::from(self.variable(env::TMPDIR).unwrap_or("/tmp"))
    }

    /// Whether nobody is there to answer a question.
    #[must_use]
    pub fn is_ci(&self) -> bool {
        self.variable(env::CI).is_some_and(|value| value != "false" && value != "0")
    }

    /// Every secret that is configured, longest first: what must be taken out of a child's output before it is kept.
    ///
    /// A connection URL counts as a whole, and its password also by itself, as it is and percent-encoded. Anything shorter than
    /// four characters is left out: it would tear ordinary words apart.
    #[must_use]
    pub fn secrets(&self) -> Vec<Secret> {
        let mut texts = Vec::new();
        let paths = self.environments().into_iter().flat_map(|name| {
            ["database_url", "app_url", "health.url", "pooler.admin_url"]
                .map(|key| format!("environments.{name}.{key}"))
        });
        for path in paths.chain(keys::KEYS.iter().filter(|key| !key.path.contains('*')).map(|key| key.path.to_owned()))
        {
            let Some(key) = keys::find(&path).filter(|key| key.kind.is_secret()) else { continue };
            // A value that does not fit its key cannot be used, and so cannot come back in an output.
            let text = match self.reader.value(&path, key) {
                Ok(Some(Value::Secret(secret))) => secret.expose().to_owned(),
                _ => continue,
            };
            if text == "auto" {
                continue;
            }
            let url = url::Url::parse(&text).ok();
            let encoded = url.as_ref().and_then(|url| url.password()).map(str::to_owned);
            if let Some(url) = self.reader.connection(&text).ok().and_then(|url| url.password().cloned()) {
                texts.push(url.expose().to_owned());
            }
            // The address of an application is no secret by itself.
            if !matches!(key.kind, keys::Kind::WebUrl) || encoded.is_some() {
                texts.push(text);
            }
            texts.extend(encoded);
        }
        texts.retain(|text| text.chars().count() >= 4);
        texts.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        texts.dedup();
        texts.into_iter().map(Secret::new).collect()
    }

    /// The name, if there is such an environment.
    fn known(&self, name: &str) -> Result<EnvironmentName, Failure> {
        let read = &self.reader;
        if let Some(parsed) = EnvironmentName::parse(name)
            && parsed.as_str() != "sandbox"
            && (read.settings.environments.contains_key(&parsed)
                || read.variables.get(&database_variable(&parsed)).is_some())
        {
            return Ok(parsed);
        }
        let known = self.environments();
        let mut failure = Failure::new(Code::UnknownEnvironment, format!("there is no environment `{name}`"));
        if let Some(near) = nearest(name, known.iter().map(EnvironmentName::as_str)) {
            failure = failure.hint(format!("did you mean `{near}`?"));
        }
        if !known.is_empty() {
            failure = failure.hint(format!("known environments: {}", list(known.iter(), "and")));
        }
        match EnvironmentName::parse(name) {
            Some(parsed) if known.is_empty() => {
                let variable = database_variable(&parsed);
                Err(failure
                    .hint(format!("set `{variable}`, in the environment or in `.env.local`, to the target's URL"))
                    .hint(format!(
                        "or add to `{FILE_NAME}`:\n[environments.{name}]\ndatabase_url = {{ env = \"{variable}\" }}"
                    )))
            }
            Some(_) => Err(failure),
            None => Err(failure.hint("a name starts with a letter and has lower-case letters, digits, `-` and `_`")),
        }
    }

    fn no_database_url(&self, name: &EnvironmentName) -> Failure {
        let found = self.reader.settings.found.get(&format!("environments.{name}.database_url"));
        let place = found.map(|found| &found.place).or_else(|| self.reader.settings.environments.get(name));
        let variable = match found {
            Some(Found { source: Source::Variable(variable), .. }) => variable.clone(),
            _ => database_variable(name),
        };
        let failure = Failure::new(Code::NoDatabaseUrl, format!("the environment `{name}` has no database URL"))
            .cause(format!("the variable `{variable}` is not set"))
            .hint(format!("set `{variable}`, in the environment or in `.env.local`, to the target's URL"));
        Failure { place: place.cloned(), ..failure }
    }
}

fn database_variable(name: &EnvironmentName) -> String {
    format!("{}{}", name.variable_prefix(), env::DATABASE_URL_SUFFIX)
}

/// Answers what a key holds, wherever it comes from.
#[derive(Clone, Debug)]
struct Reader {
    settings: Settings,
    variables: Variables,
}

impl Reader {
    /// What `path` holds: from the file, else from its variable, else its default.
    fn value(&self, path: &str, key: &Key) -> Result<Option<Value>, Failure> {
        let found = self.settings.found.get(path);
        let variable = match found {
            Some(Found { source: Source::Value(value), .. }) => return Ok(Some(value.clone())),
            Some(Found { source: Source::Variable(variable), .. }) => Some(variable.clone()),
            None => key.variable.map(|variable| expand(variable, path)),
        };
        if let Some(variable) = &variable
            && let Some(text) = self.variables.get(variable)
        {
            return key.kind.read_text(text).map(Some).map_err(|why| {
                // What a variable holds is never shown: the wrong one may have been named.
                let failure = misfit(path, key, why, None).cause(format!("it comes from the variable `{variable}`"));
                Failure { place: found.map(|found| found.place.clone()), hints: Vec::new(), ..failure }
                    .hint(format!("correct `{variable}`, in the environment or in `.env.local`"))
            });
        }
        match key.default {
            Default::Is(text) => key.kind.read_text(text).map(Some).map_err(|_| bug(path)),
            Default::None(_) => Ok(None),
        }
    }

    /// The failure of a key that names a variable which is not set, for keys where leaving it out would be less safe than was asked.
    fn unset(&self, path: &str) -> Option<Failure> {
        let Some(Found { source: Source::Variable(variable), place }) = self.settings.found.get(path) else {
            return None;
        };
        self.variables.get(variable).is_none().then(|| {
            Failure::new(Code::BadValue, format!("`{path}` names the variable `{variable}`, which is not set"))
                .hint(format!("set `{variable}`, in the environment or in `.env.local`"))
                .placed(place.clone())
        })
    }

    fn get(&self, path: &str) -> Result<Option<Value>, Failure> {
        self.value(path, keys::find(path).ok_or_else(|| bug(path))?)
    }

    fn text(&self, path: &str) -> Result<Option<String>, Failure> {
        match self.get(path)? {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(bug(path)),
        }
    }

    fn secret(&self, path: &str) -> Result<Option<Secret>, Failure> {
        match self.get(path)? {
            None => Ok(None),
            Some(Value::Secret(secret)) => Ok(Some(secret)),
            Some(_) => Err(bug(path)),
        }
    }

    fn flag(&self, path: &str) -> Result<Option<bool>, Failure> {
        match self.get(path)? {
            None => Ok(None),
            Some(Value::Flag(flag)) => Ok(Some(flag)),
            Some(_) => Err(bug(path)),
        }
    }

    fn duration(&self, path: &str) -> Result<Option<Duration>, Failure> {
        match self.get(path)? {
            None => Ok(None),
            Some(Value::Duration(duration)) => Ok(Some(duration)),
            Some(_) => Err(bug(path)),
        }
    }

    fn count<T: TryFrom<i64>>(&self, path: &str) -> Result<T, Failure> {
        match self.get(path)? {
            Some(Value::Count(number)) => T::try_from(number).map_err(|_| bug(path)),
            _ => Err(bug(path)),
        }
    }

    fn command(&self, section: &str) -> Result<Option<Command>, Failure> {
        let path = format!("{section}.command");
        if let Some(failure) = self.unset(&path) {
            return Err(failure.hint("or take the key out, to do without the command"));
        }
        let Some(command) = self.text(&path)? else { return Ok(None) };
        let timeout = format!("{section}.timeout");
        let repeatable = format!("{section}.repeatable");
        // What is run in a sandbox may always be: the sandbox is made anew.
        let repeatable = keys::find(&repeatable).is_none() || self.flag(&repeatable)?.unwrap_or(true);
        Ok(Some(Command { command, timeout: self.required(self.duration(&timeout)?, &timeout)?, repeatable }))
    }

    /// A connection URL; an error names the key, the variable and the place, and repeats nothing of the URL.
    fn url(&self, path: &str) -> Result<Option<ConnectionUrl>, Failure> {
        let Some(text) = self.secret(path)? else { return Ok(None) };
        let found = self.settings.found.get(path);
        self.connection(text.expose()).map(Some).map_err(|failure| {
            let variable = match found {
                Some(Found { source: Source::Variable(variable), .. }) => Some(variable.clone()),
                Some(_) => None,
                None => keys::find(path).and_then(|key| key.variable).map(|variable| expand(variable, path)),
            };
            let place: Option<Place> = found.map(|found| found.place.clone());
            let from = variable
                .map_or_else(|| format!("it is `{path}`"), |name| format!("it comes from the variable `{name}`"));
            Failure { place, ..failure.cause(from) }
        })
    }

    fn connection(&self, text: &str) -> Result<ConnectionUrl, Failure> {
        let user = [env::PGUSER, env::USER, env::LOGNAME].iter().find_map(|name| self.variables.get(name));
        ConnectionUrl::parse_with_default_user(text, user)
    }

    fn required<T>(&self, value: Option<T>, path: &str) -> Result<T, Failure> {
        value.ok_or_else(|| bug(path))
    }
}

/// `<NAME>` in a variable's name, filled in from a path like `environments.eu-west.app_url`.
fn expand(variable: &str, path: &str) -> String {
    let name = path.split('.').nth(1).and_then(EnvironmentName::parse);
    name.map_or_else(|| variable.to_owned(), |name| variable.replace("<NAME>", &name.variable_prefix()))
}

/// The table of keys and this file disagree; a test reads every key, so that nobody gets to see this.
fn bug(path: &str) -> Failure {
    Failure::new(Code::Bug, format!("the key `{path}` is read as something it is not"))
        .hint("please report this, with the `dbd.toml` that led to it")
}
