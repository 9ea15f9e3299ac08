//! Every key of `dbd.toml`, once: what it may hold, what it is when left out, what it means.
//!
//! The reader, `docs/config.md` and the file that `dbd init` writes all follow this table, so they cannot disagree.

use super::duration;
use super::env;
use crate::domain::connection::ConnectionUrl;
use crate::domain::secret::Secret;
use std::time::Duration;

/// What a key may hold.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Any text that is not blank.
    Text,
    /// A file or folder, relative to the project's root.
    Path,
    /// A command line for `sh -c`, run in the project's root.
    Command,
    /// One of a few words; `later` are words that are promised and not yet there.
    Word {
        /// The words it may be.
        allowed: &'static [&'static str],
        /// The words that will be allowed one day.
        later: &'static [&'static str],
    },
    /// `true` or `false`.
    Flag,
    /// A whole number.
    Count {
        /// The least it may be.
        min: i64,
        /// The most it may be.
        max: i64,
    },
    /// A duration, both bounds in milliseconds.
    Duration {
        /// The least it may be.
        min_ms: u64,
        /// The most it may be.
        max_ms: u64,
    },
    /// An `http` or `https` address of an application.
    WebUrl,
    /// A token, a password, or a URL that holds one.
    Secret,
    /// The connection URL of a PostgreSQL database.
    DatabaseUrl,
    /// `auto`, or the connection URL of a PostgreSQL server.
    Server,
    /// A key that is promised and not yet there.
    Later,
}

/// What a key is when nothing sets it.
#[derive(Clone, Copy, Debug)]
pub enum Default {
    /// This value, written as in TOML without the quotes.
    Is(&'static str),
    /// No value; the words say what that means.
    None(&'static str),
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Where it stands: `journal.path`; `*` stands for an environment's name.
    pub path: &'static str,
    /// What it may hold.
    pub kind: Kind,
    /// What it is when nothing sets it.
    pub default: Default,
    /// The variable that sets it when the file does not; `<NAME>` stands for an environment's name in capitals.
    pub variable: Option<&'static str>,
    /// A value to show, written as in TOML.
    pub example: &'static str,
    /// What it means, in a sentence or two.
    pub doc: &'static str,
    /// The version that first knew it.
    pub since: &'static str,
}

/// One section, with what `docs/config.md` and `dbd init` say above its keys.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// Its name: `journal`; `*` stands for an environment's name.
    pub path: &'static str,
    /// What it is about, in a sentence.
    pub doc: &'static str,
    /// Whether dbd does something with it yet. What is only kept is in the reference and not in a fresh file.
    pub in_use: bool,
}

const fn section(path: &'static str, doc: &'static str) -> Section {
    Section { path, doc, in_use: true }
}

const fn kept(path: &'static str, doc: &'static str) -> Section {
    Section { path, doc, in_use: false }
}

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

const fn span(min_ms: u64, max_ms: u64) -> Kind {
    Kind::Duration { min_ms, max_ms }
}

const fn key(path: &'static str, kind: Kind, default: Default, example: &'static str, doc: &'static str) -> Key {
    Key { path, kind, default, variable: None, example, doc, since: "0.1.0" }
}

impl Key {
    const fn or_variable(mut self, name: &'static str) -> Self {
        self.variable = Some(name);
        self
    }

    /// The section it stands in.
    #[must_use]
    pub fn section(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(section, _)| section)
    }

    /// Its own name, without the section.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.path.rsplit_once('.').map_or(self.path, |(_, name)| name)
    }
}

/// Every section, in the order the reference lists them.
pub const SECTIONS: &[Section] = &[
    section("migrations", "Where the migrations are, and who wrote them."),
    section("environments.*", "One target. The section's name is the environment's name, as in `dbd start prod`."),
    section("environments.*.verify", "Run after the deployment, against the target; any failure takes the run back."),
    section(
        "environments.*.health",
        "Asked after the deployment; an application that is not healthy takes the run back.",
    ),
    section(
        "environments.*.budget",
        "How long a deployment may keep others waiting; a forecast over it refuses the run, unless it is allowed.",
    ),
    section(
        "environments.*.pooler",
        "The PgBouncer that the application comes through: its clients wait while a rollback changes names, instead of being turned away.",
    ),
    section("tests", "Run in the sandbox, after the migrations; any failure refuses the run."),
    section("check", "What `dbd check` and the rehearsal find about migrations."),
    section("sandbox", "The throw-away copy of the target on which a run is rehearsed."),
    section("sandbox.sample", "How much a sample holds. What its rows refer to comes along."),
    section(
        "rollback",
        "The ways back a run may take. The gentlest that provably works is chosen before anything is deployed.",
    ),
    section("journal", "The record of every run."),
    section("artifacts", "What a run leaves behind for people: log, backup, comparison, report."),
    section("tools", "Programs dbd calls."),
    kept("alerts", "Who is told about a run. Read and kept; nothing is sent yet."),
    kept("loki", "Grafana Loki. Read and kept; not used yet."),
    kept("neon", "Neon. Read and kept; not used yet."),
    kept("vercel", "Vercel. Read and kept; not used yet."),
    kept("github", "GitHub. Read and kept; not used yet."),
];

/// The words `migrations.format` may be.
pub const FORMATS: &[&str] = &[
    "auto",
    "sql",
    "drizzle",
    "prisma",
    "flyway",
    "sqlx",
    "dbmate",
    "goose",
    "golang-migrate",
    "refinery",
    "sqitch",
    "command",
];

/// The words `rollback.capture` may be.
pub const CAPTURES: &[&str] = &["auto", "slot", "triggers", "off"];

/// The words `rollback.watch` may be.
pub const WATCHES: &[&str] = &["auto", "always", "never"];

/// Every key, in the order the reference lists them; the keys of a section stand together.
pub const KEYS: &[Key] = &[
    key(
        "migrations.dir",
        Kind::Path,
        Default::None("the first that exists of: `out` in `drizzle.config.*`, `drizzle/`, `migrations/`, `prisma/migrations/`, `db/migrations/`, `supabase/migrations/`"),
        "\"migrations\"",
        "The folder of migrations, relative to the project's root.",
    ),
    key(
        "migrations.format",
        Kind::Word { allowed: FORMATS, later: &[] },
        Default::Is("auto"),
        "\"auto\"",
        "The tool that wrote them; `auto` looks at the folder; `command` runs `migrations.command`.",
    ),
    key(
        "migrations.table",
        Kind::Text,
        Default::None("what the tool's own files, variables and URLs say (docs/guides/migrations.md has the list), else its usual one"),
        "\"app.schema_history\"",
        "The table the tool keeps track in, where it was renamed: `table` or `schema.table`; Sqitch's registry as `registry.changes`.",
    ),
    key(
        "migrations.command",
        Kind::Text,
        Default::None("none; `format = \"command\"` needs one"),
        "\"npm run db:migrate\"",
        "Your own migration tool, for folders dbd cannot read: run on the sandbox, then on the target. Gets `DATABASE_URL` and `DBD_RUN_ID`.",
    ),
    key(
        "environments.*.database_url",
        Kind::DatabaseUrl,
        Default::None("none; a run needs one"),
        "{ env = \"PROD_POSTGRES_URL\" }",
        "The target: the database migrations are deployed to.",
    )
    .or_variable("<NAME>_POSTGRES_URL"),
    key(
        "environments.*.app_url",
        Kind::WebUrl,
        Default::None("none"),
        "\"https://shop.example.com\"",
        "The application that uses the target: `APP_URL` of the verification command, and what health checks ask.",
    )
    .or_variable("<NAME>_URL"),
    key(
        "environments.*.approval",
        Kind::Flag,
        Default::None("`true` for `prod`, `false` elsewhere"),
        "true",
        "Wait for `dbd approve`, or for an interactive yes, before the target is touched.",
    ),
    key(
        "environments.*.migration_timeout",
        span(10, 7 * DAY),
        Default::Is("5m"),
        "\"5m\"",
        "How long the whole migration may take on the target; a longer one is taken back.",
    ),
    key(
        "environments.*.statement_timeout",
        span(1, 7 * DAY),
        Default::None("no limit but `migration_timeout`"),
        "\"2m\"",
        "How long one statement may take on the target.",
    ),
    key(
        "environments.*.lock_timeout",
        span(1, 10 * MINUTE),
        Default::Is("500ms"),
        "\"500ms\"",
        "How long a statement waits for a lock before it steps back and tries again. Whoever comes after it waits too, so keep it short.",
    ),
    key(
        "environments.*.lock_budget",
        span(0, DAY),
        Default::Is("60s"),
        "\"60s\"",
        "How long a statement goes on trying for its locks, all attempts and pauses together.",
    ),
    key(
        "environments.*.require_clean_tree",
        Kind::Flag,
        Default::Is("false"),
        "true",
        "Refuse a run while the Git working tree has uncommitted changes.",
    ),
    key(
        "environments.*.require_reverse",
        Kind::Flag,
        Default::Is("false"),
        "true",
        "Refuse a run unless the sandbox showed that every step can be taken back without losing what was written since.",
    ),
    key(
        "environments.*.rollback_window",
        span(0, 30 * DAY),
        Default::Is("0s"),
        "\"2h\"",
        "How long writes stay captured after a success, so that `dbd rollback` loses none of them. Only of runs that go back by a swap.",
    ),
    key(
        "environments.*.verify.command",
        Kind::Command,
        Default::None("none"),
        "\"./smoke.sh\"",
        "A command run with `sh -c` in the project's root. It gets `DATABASE_URL` (the target), `APP_URL` and `DBD_RUN_ID`; a status other than 0 takes the run back.",
    ),
    key(
        "environments.*.verify.timeout",
        span(100, DAY),
        Default::Is("2m"),
        "\"2m\"",
        "How long the command may take.",
    ),
    key(
        "environments.*.verify.repeatable",
        Kind::Flag,
        Default::Is("true"),
        "false",
        "Whether the command may be run again when dbd was killed while it ran. `false` for one that changes something: then a person is asked, by `dbd resume <id> --ruling applied`.",
    ),
    key(
        "environments.*.health.url",
        Kind::WebUrl,
        Default::None("`app_url`"),
        "\"https://shop.example.com/health\"",
        "What is asked; an answer of 200 to 299 is healthy.",
    ),
    key(
        "environments.*.health.timeout",
        span(100, HOUR),
        Default::Is("10s"),
        "\"10s\"",
        "How long one answer may take.",
    ),
    key(
        "environments.*.health.retries",
        Kind::Count { min: 0, max: 1000 },
        Default::Is("5"),
        "5",
        "How often it is asked again before the application counts as not healthy.",
    ),
    key(
        "environments.*.budget.blocked_reads",
        span(1, DAY),
        Default::None("no limit"),
        "\"500ms\"",
        "How long reads of one table may wait at a stretch, by the forecast.",
    ),
    key(
        "environments.*.budget.blocked_writes",
        span(1, DAY),
        Default::None("no limit"),
        "\"2s\"",
        "How long writes to one table, or to rows of it, may wait at a stretch, by the forecast.",
    ),
    key(
        "environments.*.budget.duration",
        span(1, 7 * DAY),
        Default::None("no limit"),
        "\"5m\"",
        "How long all migrations may take together, by the forecast.",
    ),
    key(
        "environments.*.pooler.admin_url",
        Kind::DatabaseUrl,
        Default::None("none; clients of a pooler are turned away for a moment"),
        "{ env = \"PROD_POOLER_URL\" }",
        "PgBouncer's console, `postgres://admin:password@host:6432/pgbouncer`, as one of its `admin_users`. `database_url` goes past the pooler all the same.",
    ),
    key(
        "environments.*.pooler.database",
        Kind::Text,
        Default::None("the name of the target's database"),
        "\"shop\"",
        "What the application calls the target at the pooler.",
    ),
    key(
        "tests.command",
        Kind::Command,
        Default::None("none"),
        "\"npm test\"",
        "A command run with `sh -c` in the project's root. It gets `DATABASE_URL` (the sandbox) and `DBD_RUN_ID`; a status other than 0 refuses the run.",
    ),
    key(
        "tests.previous",
        Kind::Command,
        Default::None("none"),
        "\"npm --prefix ../released test\"",
        "The tests of the application that still runs, against the migrated sandbox: it has to live with the new schema until it is replaced. A status other than 0 refuses the run.",
    ),
    key("tests.timeout", span(100, DAY), Default::Is("10m"), "\"10m\"", "How long the command may take."),
    key(
        "check.allow",
        Kind::Text,
        Default::None("none"),
        "\"index_not_concurrent, wide_lock_window\"",
        "Codes of hazards that are let pass everywhere, parted by commas; `check.reason` says why, and the record of each run names both.",
    ),
    key(
        "check.reason",
        Kind::Text,
        Default::None("none; `check.allow` needs one"),
        "\"deployments run at night, with the shop closed\"",
        "Why `check.allow` lets them pass.",
    ),
    key(
        "sandbox.server",
        Kind::Server,
        Default::Is("auto"),
        "{ env = \"SANDBOX_POSTGRES_URL\" }",
        "Where sandboxes live: `auto` starts a scratch server from the installed PostgreSQL; a connection URL makes each sandbox a database of that server.",
    )
    .or_variable(env::SANDBOX_POSTGRES_URL),
    key(
        "sandbox.data",
        Kind::Word { allowed: &["full", "schema", "sample"], later: &[] },
        Default::Is("full"),
        "\"full\"",
        "What is copied: everything, the schema without rows, or a sample of the rows that all foreign keys hold for.",
    ),
    key(
        "sandbox.dir",
        Kind::Path,
        Default::None("the folder for temporary files (`TMPDIR`)"),
        "\"/var/tmp\"",
        "Where scratch servers keep their data. It needs room for a copy of the target.",
    ),
    key(
        "sandbox.user",
        Kind::Text,
        Default::None("whoever called `sudo`, else `postgres`, else `nobody`"),
        "\"postgres\"",
        "The ordinary user that runs the scratch server when dbd runs as root, as PostgreSQL refuses to run as root.",
    ),
    key(
        "sandbox.sample.rows",
        Kind::Count { min: 0, max: 1_000_000_000 },
        Default::Is("1000"),
        "1000",
        "About so many rows of each table at least, with `data = \"sample\"`; a table with fewer is copied whole.",
    ),
    key(
        "sandbox.sample.percent",
        Kind::Count { min: 0, max: 100 },
        Default::Is("1"),
        "1",
        "And at least this part of each table, in percent.",
    ),
    key(
        "rollback.in_place",
        Kind::Flag,
        Default::Is("true"),
        "false",
        "Take steps back where they were done, by statements the sandbox proved; what they overwrite is kept in the schema `dbd_keep`.",
    ),
    key(
        "rollback.soft_drop",
        Kind::Flag,
        Default::Is("false"),
        "true",
        "Set tables aside instead of dropping them, so that taking a step back is a rename. They go for good after `artifacts.retention`, with `dbd backup prune`.",
    ),
    key(
        "rollback.capture",
        Kind::Word { allowed: CAPTURES, later: &[] },
        Default::Is("auto"),
        "\"triggers\"",
        "How writes are captured where a step does not go back in place: by a logical replication slot, by triggers, by what the target allows, or not at all.",
    ),
    key(
        "rollback.watch",
        Kind::Word { allowed: WATCHES, later: &[] },
        Default::Is("auto"),
        "\"always\"",
        "Whether a deployment that leaves a rollback window open leaves a process that watches it, as `dbd watch <id>` does: always, never, or unless it is a CI job, whose processes end with it.",
    ),
    key(
        "rollback.watch_interval",
        span(100, DAY),
        Default::Is("10s"),
        "\"1m\"",
        "How often that process replays what was written, and looks whether the way back still loses nothing.",
    ),
    key(
        "rollback.slot_limit_mb",
        Kind::Count { min: 1, max: 1_048_576 },
        Default::Is("16384"),
        "65536",
        "How many megabytes of its log the server may keep for the replication slot. A slot that holds more is dropped, and the way back by a swap with it.",
    ),
    key(
        "journal.path",
        Kind::Path,
        Default::Is(".dbd/journal.db"),
        "\".dbd/journal.db\"",
        "The journal's file, on a local disk; `--journal` wins over it.",
    ),
    key(
        "journal.url",
        Kind::Later,
        Default::None("none"),
        "{ env = \"JOURNAL_POSTGRES_URL\" }",
        "A journal that a team shares, in PostgreSQL. Not available yet.",
    ),
    key(
        "journal.audit_key",
        Kind::Secret,
        Default::None("the key in `journal.audit_key_file`"),
        "{ env = \"DBD_AUDIT_KEY\" }",
        "The private key that signs evidence bundles, as `PRIVATE+KEY+...`; where it is set, no file is read or written.",
    )
    .or_variable(env::DBD_AUDIT_KEY),
    key(
        "journal.audit_key_file",
        Kind::Path,
        Default::Is(".dbd/audit.key"),
        "\".dbd/audit.key\"",
        "The file of that key, readable by its owner alone; made when it is first needed.",
    ),
    key(
        "artifacts.dir",
        Kind::Path,
        Default::Is(".deployments"),
        "\".deployments\"",
        "The folder for artifacts; each run has a folder of its own in it.",
    ),
    key(
        "artifacts.retention",
        span(HOUR, 3650 * DAY),
        Default::Is("30d"),
        "\"30d\"",
        "How long artifacts, backups among them, are kept before they may be pruned.",
    ),
    key(
        "tools.pg_bin",
        Kind::Path,
        Default::None("looked for in `PATH`, `/usr/lib/postgresql/*/bin` and Homebrew's folders"),
        "\"/usr/lib/postgresql/18/bin\"",
        "The folder of PostgreSQL's programs.",
    )
    .or_variable(env::PG_BIN),
    key("alerts.slack_webhook_url", Kind::Secret, Default::None("none"), "{ env = \"SLACK_WEBHOOK_URL\" }", "A Slack incoming webhook.")
        .or_variable(env::SLACK_WEBHOOK_URL),
    key("alerts.email", Kind::Text, Default::None("none"), "\"dba@example.com\"", "The address that gets mail.")
        .or_variable(env::ALERT_EMAIL),
    key("alerts.smtp_host", Kind::Text, Default::None("none"), "\"smtp.example.com\"", "The mail server.")
        .or_variable(env::SMTP_HOST),
    key("alerts.smtp_port", Kind::Count { min: 1, max: 65_535 }, Default::Is("587"), "587", "The mail server's port.")
        .or_variable(env::SMTP_PORT),
    key("alerts.smtp_user", Kind::Text, Default::None("none"), "\"dbd\"", "The user at the mail server.")
        .or_variable(env::SMTP_USER),
    key("alerts.smtp_password", Kind::Secret, Default::None("none"), "{ env = \"SMTP_PASSWORD\" }", "The password at the mail server.")
        .or_variable(env::SMTP_PASSWORD),
    key("alerts.webhook_url", Kind::Secret, Default::None("none"), "{ env = \"ALERT_WEBHOOK_URL\" }", "An address that gets each alert as JSON.")
        .or_variable(env::ALERT_WEBHOOK_URL),
    key("alerts.pagerduty_routing_key", Kind::Secret, Default::None("none"), "{ env = \"PAGERDUTY_ROUTING_KEY\" }", "The routing key of a PagerDuty integration.")
        .or_variable(env::PAGERDUTY_ROUTING_KEY),
    key("loki.url", Kind::Secret, Default::None("none"), "{ env = \"LOKI_URL\" }", "Where log lines are pushed to.")
        .or_variable(env::LOKI_URL),
    key("neon.api_key", Kind::Secret, Default::None("none"), "{ env = \"NEON_API_KEY\" }", "The key for Neon's API.")
        .or_variable(env::NEON_API_KEY),
    key("vercel.token", Kind::Secret, Default::None("none"), "{ env = \"VERCEL_TOKEN\" }", "The token for Vercel's API.")
        .or_variable(env::VERCEL_TOKEN),
    key("github.token", Kind::Secret, Default::None("none"), "{ env = \"GITHUB_TOKEN\" }", "The token for GitHub's API.")
        .or_variable(env::GITHUB_TOKEN),
];

/// A value that was held against its key's kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// Of `Text`, `Path`, `Command` and `Word`.
    Text(String),
    /// Of `Flag`.
    Flag(bool),
    /// Of `Count`.
    Count(i64),
    /// Of `Duration`.
    Duration(Duration),
    /// Of `Secret`, `DatabaseUrl`, `Server` and `WebUrl`.
    Secret(Secret),
}

impl Kind {
    /// What it may hold, as the end of the sentence "it must be ...".
    #[must_use]
    pub fn allowed(self) -> String {
        match self {
            Self::Text => "a text that is not empty".to_owned(),
            Self::Path => "a path, relative to the project's root".to_owned(),
            Self::Command => "a command line for `sh`".to_owned(),
            Self::Word { allowed, .. } => {
                let words: Vec<_> = allowed.iter().map(|word| format!("`{word}`")).collect();
                words.split_last().map_or(String::new(), |(last, rest)| format!("{} or {last}", rest.join(", ")))
            }
            Self::Flag => "`true` or `false`".to_owned(),
            Self::Count { min, max } => format!("a whole number from {min} to {max}"),
            Self::Duration { min_ms, max_ms } => {
                let [min, max] = [min_ms, max_ms].map(|millis| duration::show(Duration::from_millis(millis)));
                format!("a duration from `{min}` to `{max}`")
            }
            Self::WebUrl => "a URL that starts with `http://` or `https://`".to_owned(),
            Self::Secret => "a text that is not empty, best named by `{ env = \"NAME\" }`".to_owned(),
            Self::DatabaseUrl => "a URL like `postgres://user:password@host:5432/database`".to_owned(),
            Self::Server => "`auto`, or a URL like `postgres://user:password@host:5432/postgres`".to_owned(),
            Self::Later => "left out; it is not available yet".to_owned(),
        }
    }

    /// Whether its text must never be repeated.
    #[must_use]
    pub fn is_secret(self) -> bool {
        matches!(self, Self::Secret | Self::DatabaseUrl | Self::Server | Self::WebUrl | Self::Later)
    }

    /// Whether `text`, written into the file itself, gives a secret away.
    pub(super) fn betrays(self, text: &str) -> bool {
        match self {
            Self::Secret => true,
            // A URL without a password says where, not how to get in. One that does not read is refused anyway.
            Self::DatabaseUrl | Self::Server => {
                ConnectionUrl::parse_with_default_user(text, Some("nobody")).is_ok_and(|url| url.password().is_some())
            }
            Self::WebUrl => url::Url::parse(text).is_ok_and(|url| url.password().is_some()),
            _ => false,
        }
    }

    /// Holds a text against the kind; `Err` says why it does not fit, without repeating a secret.
    ///
    /// Whether a connection URL reads is left to whoever needs it: a URL that is not used now must not stop a command.
    pub(super) fn read_text(self, text: &str) -> Result<Value, Misfit> {
        let plain = text.trim();
        if plain.is_empty() || plain.contains('\0') {
            return Err(Misfit::Wrong);
        }
        match self {
            Self::Text | Self::Path => Ok(Value::Text(plain.to_owned())),
            Self::Command => Ok(Value::Text(text.to_owned())),
            Self::Word { allowed, .. } if allowed.contains(&plain) => Ok(Value::Text(plain.to_owned())),
            Self::Word { later, .. } if later.contains(&plain) => Err(Misfit::NotYet),
            Self::Word { .. } => Err(Misfit::Wrong),
            Self::Flag => plain.parse().map(Value::Flag).map_err(|_| Misfit::Wrong),
            Self::Count { .. } => plain.parse().map_err(|_| Misfit::Wrong).and_then(|number| self.read_count(number)),
            Self::Duration { min_ms, max_ms } => match duration::parse(plain) {
                Ok(value) if (u128::from(min_ms)..=u128::from(max_ms)).contains(&value.as_millis()) => {
                    Ok(Value::Duration(value))
                }
                _ => Err(Misfit::Wrong),
            },
            Self::WebUrl => match url::Url::parse(plain) {
                Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(Value::Secret(Secret::new(plain))),
                _ => Err(Misfit::Wrong),
            },
            Self::Secret | Self::DatabaseUrl | Self::Server => Ok(Value::Secret(Secret::new(plain))),
            Self::Later => Err(Misfit::NotYet),
        }
    }

    pub(super) fn read_flag(self, flag: bool) -> Result<Value, Misfit> {
        if matches!(self, Self::Flag) { Ok(Value::Flag(flag)) } else { Err(Misfit::Wrong) }
    }

    pub(super) fn read_count(self, number: i64) -> Result<Value, Misfit> {
        match self {
            Self::Count { min, max } if (min..=max).contains(&number) => Ok(Value::Count(number)),
            _ => Err(Misfit::Wrong),
        }
    }
}

/// Why a value does not fit its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misfit {
    /// It is not one of what the key may hold.
    Wrong,
    /// It will be, one day.
    NotYet,
}

/// The key at `path`, a full path with an environment's name in it.
#[must_use]
pub fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| matches(key.path, path))
}

/// Whether some key stands below `path`, a full path with an environment's name in it.
#[must_use]
pub fn is_section(path: &str) -> bool {
    KEYS.iter().any(|key| {
        let mut prefix = key.path;
        while let Some((shorter, _)) = prefix.rsplit_once('.') {
            if matches(shorter, path) {
                return true;
            }
            prefix = shorter;
        }
        false
    })
}

/// The names that may stand directly in the section `path`; an environment's name is not among them.
#[must_use]
pub fn names_in(path: &str) -> Vec<&'static str> {
    let depth = if path.is_empty() { 0 } else { path.split('.').count() };
    let mut names = Vec::new();
    for key in KEYS {
        let segments: Vec<_> = key.path.split('.').collect();
        if segments.len() > depth && (depth == 0 || matches(&segments[..depth].join("."), path)) {
            let name = segments[depth];
            if name != "*" && !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}

fn matches(pattern: &str, path: &str) -> bool {
    let mut segments = path.split('.');
    pattern.split('.').all(|wanted| segments.next().is_some_and(|segment| wanted == "*" || wanted == segment))
        && segments.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_fits_its_own_key() {
        for key in KEYS {
            if let Default::Is(text) = key.default {
                assert!(key.kind.read_text(text).is_ok(), "{}", key.path);
            }
        }
    }

    #[test]
    fn every_key_has_a_section_and_a_known_variable() {
        let known: Vec<_> = env::ALL.iter().chain(env::BY_ENVIRONMENT).map(|variable| variable.name).collect();
        let mut before = "";
        let mut seen = Vec::new();
        for key in KEYS {
            assert!(SECTIONS.iter().any(|section| section.path == key.section()), "{}", key.path);
            assert!(key.variable.is_none_or(|name| known.contains(&name)), "{}", key.path);
            assert!(key.doc.ends_with('.'), "{}", key.path);
            if key.section() != before {
                assert!(!seen.contains(&key.section()), "the keys of {} stand apart", key.section());
                seen.push(key.section());
                before = key.section();
            }
        }
    }

    #[test]
    fn an_environment_name_fits_the_star() {
        assert_eq!(find("environments.eu-west.lock_timeout").map(|key| key.path), Some("environments.*.lock_timeout"));
        assert!(find("environments.lock_timeout").is_none());
        assert!(is_section("environments") && is_section("environments.dev") && is_section("environments.dev.verify"));
        assert!(!is_section("journal.path") && !is_section("jurnal"));
        assert_eq!(names_in("journal"), ["path", "url", "audit_key", "audit_key_file"]);
        assert_eq!(names_in("environments.dev.verify"), ["command", "timeout", "repeatable"]);
        assert_eq!(names_in("")[..2], ["migrations", "environments"]);
    }

    #[test]
    fn bounds_are_inclusive() {
        let kind = Kind::Duration { min_ms: 1000, max_ms: 2000 };
        assert!(kind.read_text("1s").is_ok() && kind.read_text("2s").is_ok());
        assert_eq!(kind.read_text("2001ms"), Err(Misfit::Wrong));
        assert_eq!(kind.read_text("999ms"), Err(Misfit::Wrong));
        assert_eq!(Kind::Count { min: 0, max: 3 }.read_text("3"), Ok(Value::Count(3)));
        assert_eq!(Kind::Count { min: 0, max: 3 }.read_text("4"), Err(Misfit::Wrong));
    }
}
