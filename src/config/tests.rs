//! Whole configurations: a folder, a file, an environment, and what comes out.

use super::*;
use crate::domain::copying::Sample;
use crate::domain::secret::Secret;
use std::collections::BTreeMap;
use std::time::Duration;

/// A project folder with the given files, and the configuration read in it.
struct Project {
    folder: tempfile::TempDir,
    variables: BTreeMap<String, String>,
}

impl Project {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        }
        Self { folder, variables: BTreeMap::new() }
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    fn root(&self) -> PathBuf {
        fs_err::canonicalize(self.folder.path()).unwrap()
    }

    fn load(&self) -> Config {
        load(self.folder.path(), None, None, &self.variables).unwrap()
    }
}

fn told(failure: &Failure) -> String {
    let mut out = format!("{failure}");
    for cause in &failure.causes {
        out += &format!("\n  because {cause}");
    }
    if let Some(place) = &failure.place {
        out += &format!("\n  at {}:{}:{}", place.file, place.line, place.column);
    }
    for hint in &failure.hints {
        out += &format!("\n  hint {hint}");
    }
    out
}

#[test]
fn one_variable_is_enough() {
    let project =
        Project::new(&[]).with("DEV_POSTGRES_URL", "postgres://me:pw@h/shop").with("DEV_URL", "https://shop.test");
    let config = project.load();
    assert_eq!((&config.root, &config.file), (&project.root(), &None));
    assert_eq!(config.journal.path, project.root().join(".dbd/journal.db"));
    assert_eq!(config.artifacts.dir, project.root().join(".deployments"));
    assert_eq!(config.artifacts.retention, Duration::from_secs(30 * 86_400));
    assert_eq!(config.migrations, Migrations { dir: None, format: "auto".to_owned(), table: None, command: None });
    assert_eq!(config.sandbox_server(), Ok(SandboxServer::Scratch));
    assert_eq!(config.sandbox.data, SandboxData::Full);
    assert_eq!((config.tests(), config.alerts.smtp_port), (Ok(None), 587));

    let dev = config.environment("dev").unwrap();
    assert_eq!(dev.database_url.to_string(), "me@h:5432/shop");
    assert_eq!(dev.app_url, Some(Secret::new("https://shop.test")));
    assert_eq!((dev.approval, dev.require_clean_tree, dev.statement_timeout), (false, false, None));
    assert_eq!(dev.migration_timeout, Duration::from_secs(300));
    assert_eq!((dev.lock_timeout, dev.lock_budget), (Duration::from_millis(500), Duration::from_secs(60)));
    let health = dev.health.unwrap();
    assert_eq!(
        (health.url.expose(), health.timeout, health.retries),
        ("https://shop.test", Duration::from_secs(10), 5)
    );
}

#[test]
fn every_key_is_read_as_what_it_is() {
    let file = r#"
        migrations = { dir = "sql", format = "sql" }
        tools.pg_bin = "/opt/pg/bin"
        [journal]
        path = "/var/lib/dbd/journal.db"
        [artifacts]
        dir = "./out"
        retention = "2w"
        [sandbox]
        server = { env = "SCRATCH" }
        data = "schema"
        dir = "scratch"
        user = "pg"
        sample = { rows = 50, percent = 2 }
        mask = { "people.email" = "email" }
        [tests]
        command = "npm test"
        timeout = "1m"
        [environments.prod]
        database_url = "postgres://h/shop"
        app_url = "https://shop.test"
        migration_timeout = "10m"
        statement_timeout = "1m"
        lock_timeout = "50ms"
        lock_budget = "5s"
        require_clean_tree = true
        verify = { command = "./smoke.sh", timeout = "30s" }
        health.url = "https://shop.test/health"
        health.timeout = "1s"
        health.retries = 0
        [alerts]
        slack_webhook_url = { env = "SLACK" }
        email = "dba@shop.test"
        smtp_host = "mail"
        smtp_port = 25
        smtp_user = "dbd"
        smtp_password = { env = "MAIL_PW" }
        webhook_url = { env = "HOOK" }
        pagerduty_routing_key = { env = "PD" }
        [loki]
        url = { env = "LOKI" }
        [neon]
        api_key = { env = "NEON" }
        [vercel]
        token = { env = "VERCEL" }
        [github]
        token = { env = "GITHUB" }
    "#;
    let mut project =
        Project::new(&[("dbd.toml", file)]).with("USER", "me").with("SCRATCH", "postgres://pg@s/postgres");
    for name in ["SLACK", "MAIL_PW", "HOOK", "PD", "LOKI", "NEON", "VERCEL", "GITHUB"] {
        project = project.with(name, &format!("{name}-secret"));
    }
    let config = project.load();
    let root = project.root();
    assert_eq!(config.warnings, []);
    assert_eq!(
        config.migrations,
        Migrations { dir: Some(root.join("sql")), format: "sql".to_owned(), table: None, command: None }
    );
    assert_eq!(config.tools.pg_bin, Some(PathBuf::from("/opt/pg/bin")));
    assert_eq!(config.journal.path, PathBuf::from("/var/lib/dbd/journal.db"));
    assert_eq!(
        (config.artifacts.dir.clone(), config.artifacts.retention),
        (root.join("out"), Duration::from_secs(14 * 86_400))
    );
    assert_eq!(
        config.sandbox,
        Sandbox {
            data: SandboxData::Schema,
            dir: root.join("scratch"),
            user: Some("pg".to_owned()),
            sample: Sample { rows: 50, percent: 2 },
            masks: BTreeMap::from([("people.email".to_owned(), "email".to_owned())]),
        }
    );
    assert_eq!(
        config.tests(),
        Ok(Some(Command { command: "npm test".to_owned(), timeout: Duration::from_secs(60), repeatable: true }))
    );
    let secret = |name: &str| Some(Secret::new(format!("{name}-secret")));
    let expected = Alerts {
        slack_webhook_url: secret("SLACK"),
        email: Some("dba@shop.test".to_owned()),
        smtp_host: Some("mail".to_owned()),
        smtp_port: 25,
        smtp_user: Some("dbd".to_owned()),
        smtp_password: secret("MAIL_PW"),
        webhook_url: secret("HOOK"),
        pagerduty_routing_key: secret("PD"),
    };
    assert_eq!(config.alerts, expected);
    let expected = Integrations {
        loki_url: secret("LOKI"),
        neon_api_key: secret("NEON"),
        vercel_token: secret("VERCEL"),
        github_token: secret("GITHUB"),
    };
    assert_eq!(config.integrations, expected);

    let config = project.load();
    assert!(matches!(config.sandbox_server(), Ok(SandboxServer::Given(url)) if url.host() == "s"));
    let prod = config.environment("prod").unwrap();
    assert_eq!(prod.database_url.to_string(), "me@h:5432/shop", "USER fills in the user");
    assert!(prod.approval, "prod waits for an approval unless told otherwise");
    assert!(prod.require_clean_tree);
    assert_eq!(prod.statement_timeout, Some(Duration::from_secs(60)));
    assert_eq!((prod.migration_timeout, prod.lock_timeout), (Duration::from_secs(600), Duration::from_millis(50)));
    assert_eq!(prod.lock_budget, Duration::from_secs(5));
    assert_eq!(
        prod.verify,
        Some(Command { command: "./smoke.sh".to_owned(), timeout: Duration::from_secs(30), repeatable: true })
    );
    let health = prod.health.unwrap();
    assert_eq!(
        (health.url.expose(), health.timeout, health.retries),
        ("https://shop.test/health", Duration::from_secs(1), 0)
    );
}

#[test]
fn the_nearest_file_upward_makes_the_root() {
    let project = Project::new(&[("dbd.toml", ""), ("a/b/c.txt", ""), ("a/other.toml", "[journal]\npath = \"j\"\n")]);
    let start = project.root().join("a/b");
    let config = load(&start, None, None, &BTreeMap::new()).unwrap();
    assert_eq!(config.root, project.root());
    assert_eq!(config.shown(&config.journal.path), ".dbd/journal.db");

    let config = load(&start, Some(Path::new("../other.toml")), None, &BTreeMap::new()).unwrap();
    assert_eq!(config.root, project.root(), "another file leaves the root where it is");
    assert_eq!(config.journal.path, project.root().join("j"));

    let config = load(&start, None, Some(Path::new("mine.db")), &BTreeMap::new()).unwrap();
    assert_eq!(config.journal.path, start.join("mine.db"), "a flag is relative to where it was typed");
}

#[test]
fn what_cannot_be_loaded_is_named() {
    let project = Project::new(&[("file", "")]);
    let none = BTreeMap::new();
    let load = |dir: &str, config, journal: Option<&str>| {
        super::load(&project.root().join(dir), config, journal.map(Path::new), &none).unwrap_err().code
    };
    assert_eq!(load("nowhere", None, None), Code::FileUnreadable);
    assert_eq!(load("file", None, None), Code::FileUnreadable);
    assert_eq!(load("", Some(Path::new("nowhere.toml")), None), Code::FileUnreadable);
    assert_eq!(load("", None, Some("postgres://h/db")), Code::BadArgument);
}

#[test]
fn the_real_environment_wins_over_env_local_over_env() {
    let project = Project::new(&[
        (".env", "A_POSTGRES_URL=postgres://me@env/db\nB_POSTGRES_URL=postgres://me@env/db\nC_POSTGRES_URL=postgres://me@env/db\nHOST=base\n"),
        (".env.local", "B_POSTGRES_URL=postgres://me@local/db\nC_POSTGRES_URL=postgres://me@local/db\nD_POSTGRES_URL=postgres://me@${HOST}/db\n"),
    ])
    .with("C_POSTGRES_URL", "postgres://me@real/db");
    let config = project.load();
    let hosts = ["a", "b", "c", "d"].map(|name| config.environment(name).unwrap().database_url.host());
    assert_eq!(hosts, ["env", "local", "real", "base"]);
}

#[test]
fn a_python_environment_called_env_is_not_a_file_to_read() {
    let project = Project::new(&[(".env/bin/activate", "")]);
    assert_eq!(project.load().environments(), []);
}

#[test]
fn a_key_wins_over_its_variable_and_names_another_if_it_likes() {
    let file = "[environments.dev]\ndatabase_url = { env = \"OTHER\" }\n[alerts]\nsmtp_host = \"file\"\nsmtp_port = { env = \"PORT\" }\n";
    let project = Project::new(&[("dbd.toml", file)])
        .with("DEV_POSTGRES_URL", "postgres://me@own/db")
        .with("OTHER", "postgres://me@other/db")
        .with("SMTP_HOST", "variable")
        .with("PORT", "2525");
    let config = project.load();
    assert_eq!(config.environment("dev").unwrap().database_url.host(), "other");
    assert_eq!(config.alerts.smtp_host.as_deref(), Some("file"));
    assert_eq!(config.alerts.smtp_port, 2525);
}

#[test]
fn environments_come_from_sections_and_variables() {
    let file = "[environments.eu-west]\n[environments.prod]\n";
    let project = Project::new(&[("dbd.toml", file)])
        .with("EU_WEST_POSTGRES_URL", "postgres://me@h/db")
        .with("UAT_POSTGRES_URL", "postgres://me@h/db")
        .with("SANDBOX_POSTGRES_URL", "postgres://me@h/db")
        .with("EMPTY_POSTGRES_URL", "")
        .with("Odd_POSTGRES_URL", "postgres://me@h/db")
        .with("_POSTGRES_URL", "postgres://me@h/db");
    let config = project.load();
    let names: Vec<_> = config.environments().iter().map(ToString::to_string).collect();
    assert_eq!(names, ["eu-west", "prod", "uat"]);
    assert!(config.environment("eu-west").is_ok() && config.environment("uat").is_ok());
    assert!(matches!(config.sandbox_server(), Ok(SandboxServer::Given(_))), "the variable counts without a key");
}

#[test]
fn an_unknown_environment_is_told_what_there_is() {
    let config = Project::new(&[]).load();
    insta::assert_snapshot!(told(&config.environment("dev").unwrap_err()), @r#"
    there is no environment `dev` (DBD-0004)
      hint set `DEV_POSTGRES_URL`, in the environment or in `.env.local`, to the target's URL
      hint or add to `dbd.toml`:
    [environments.dev]
    database_url = { env = "DEV_POSTGRES_URL" }
    "#);
    let file = "[environments.prod]\n[environments.uat]\n";
    let config = Project::new(&[("dbd.toml", file)]).with("DEV_POSTGRES_URL", "postgres://me@h/db").load();
    insta::assert_snapshot!(told(&config.environment("pord").unwrap_err()), @"
    there is no environment `pord` (DBD-0004)
      hint did you mean `prod`?
      hint known environments: `dev`, `prod` and `uat`
    ");
    insta::assert_snapshot!(told(&config.environment("Not A Name").unwrap_err()), @"
    there is no environment `Not A Name` (DBD-0004)
      hint known environments: `dev`, `prod` and `uat`
      hint a name starts with a letter and has lower-case letters, digits, `-` and `_`
    ");
    assert_eq!(config.environment("sandbox").unwrap_err().code, Code::UnknownEnvironment);
}

#[test]
fn a_missing_url_names_its_variable() {
    let file = "[environments.prod]\ndatabase_url = { env = \"SHOP_URL\" }\n[environments.uat]\n";
    let config = Project::new(&[("dbd.toml", file)]).with("SHOP_URL", " ").load();
    insta::assert_snapshot!(told(&config.environment("prod").unwrap_err()), @"
    the environment `prod` has no database URL (DBD-0005)
      because the variable `SHOP_URL` is not set
      at dbd.toml:2:1
      hint set `SHOP_URL`, in the environment or in `.env.local`, to the target's URL
    ");
    insta::assert_snapshot!(told(&config.environment("uat").unwrap_err()), @"
    the environment `uat` has no database URL (DBD-0005)
      because the variable `UAT_POSTGRES_URL` is not set
      at dbd.toml:3:15
      hint set `UAT_POSTGRES_URL`, in the environment or in `.env.local`, to the target's URL
    ");
}

#[test]
fn a_broken_url_stops_only_its_own_environment_and_is_not_repeated() {
    let project = Project::new(&[])
        .with("DEV_POSTGRES_URL", "postgres://me@h/db")
        .with("PROD_POSTGRES_URL", "mysql://me:hunter2@h/db")
        .with("UAT_POSTGRES_URL", "postgres://me@h/db")
        .with("UAT_URL", "hunter2");
    let config = project.load();
    assert!(config.environment("dev").is_ok());
    let failure = config.environment("prod").unwrap_err();
    insta::assert_snapshot!(told(&failure), @"
    the database URL cannot be read: its scheme is `mysql`, not `postgres` (DBD-0006)
      because it comes from the variable `PROD_POSTGRES_URL`
      hint write it as postgres://user:password@host:5432/database, with special characters percent-encoded
    ");
    let failure = config.environment("uat").unwrap_err();
    insta::assert_snapshot!(told(&failure), @"
    `environments.uat.app_url` cannot be read; it must be a URL that starts with `http://` or `https://` (DBD-0003)
      because it comes from the variable `UAT_URL`
      hint correct `UAT_URL`, in the environment or in `.env.local`
    ");
}

#[test]
fn a_value_from_a_variable_is_never_shown() {
    let file = "[tests]\ncommand = \"make test\"\ntimeout = { env = \"OOPS\" }\n";
    let project = Project::new(&[("dbd.toml", file)]).with("OOPS", "hunter2");
    let failure = project.load().tests().unwrap_err();
    insta::assert_snapshot!(told(&failure), @"
    `tests.timeout` cannot be read; it must be a duration from `100ms` to `1d` (DBD-0003)
      because it comes from the variable `OOPS`
      at dbd.toml:3:1
      hint correct `OOPS`, in the environment or in `.env.local`
    ");
}

#[test]
fn a_sandbox_server_that_is_not_set_is_not_replaced_by_another() {
    let file = "[sandbox]\nserver = { env = \"SCRATCH\" }\n";
    let failure = Project::new(&[("dbd.toml", file)]).load().sandbox_server().unwrap_err();
    insta::assert_snapshot!(told(&failure), @r#"
    `sandbox.server` names the variable `SCRATCH`, which is not set (DBD-0003)
      at dbd.toml:2:1
      hint set `SCRATCH`, in the environment or in `.env.local`
      hint or write `server = "auto"` for a scratch server
    "#);
    let config = Project::new(&[("dbd.toml", "[sandbox]\nserver = \"auto\"\n")])
        .with("SANDBOX_POSTGRES_URL", "postgres://me@h/db")
        .load();
    assert_eq!(config.sandbox_server(), Ok(SandboxServer::Scratch), "the file wins over the variable");
}

#[test]
fn a_command_that_is_not_set_is_not_silently_left_out() {
    let file = "[tests]\ncommand = { env = \"TESTS\" }\n[environments.dev.verify]\ncommand = { env = \"SMOKE\" }\n";
    let project = Project::new(&[("dbd.toml", file)]).with("DEV_POSTGRES_URL", "postgres://me@h/db");
    let config = project.load();
    insta::assert_snapshot!(told(&config.tests().unwrap_err()), @"
    `tests.command` names the variable `TESTS`, which is not set (DBD-0003)
      at dbd.toml:2:1
      hint set `TESTS`, in the environment or in `.env.local`
      hint or take the key out, to do without the command
    ");
    assert_eq!(config.environment("dev").unwrap_err().place.map(|place| place.line), Some(4));
}

#[test]
fn migrations_are_found_by_themselves_or_where_the_file_says() {
    let project = Project::new(&[("db/migrations/1.sql", ""), ("migrations/1.sql", "")]);
    assert_eq!(project.load().migrations_dir(), Ok(project.root().join("migrations")));
    insta::assert_snapshot!(told(&Project::new(&[("dbd.toml", "[migrations]\ndir = \"sql\"\n")]).load().migrations_dir().unwrap_err()), @"
    the folder of migrations `sql` does not exist (DBD-0007)
      at dbd.toml:2:1
      hint correct `migrations.dir`, which is relative to the project's root
    ");
    let failure = Project::new(&[]).load().migrations_dir().unwrap_err();
    assert_eq!((failure.code, failure.hints.len()), (Code::NoMigrations, 2));
}

#[test]
fn the_actor_is_the_person_behind_it() {
    let project = Project::new(&[]);
    assert_eq!(project.load().actor(), "unknown");
    let project = project.with("LOGNAME", "log").with("USER", "root");
    assert_eq!(project.load().actor(), "root");
    let project = project.with("SUDO_USER", "anna");
    assert_eq!(project.load().actor(), "anna");
    assert_eq!(project.with("DBD_ACTOR", "release bot").load().actor(), "release bot");
}

#[test]
fn folders_follow_the_usual_variables() {
    let project = Project::new(&[]);
    assert_eq!(project.load().temp_dir(), Path::new("/tmp"));
    assert_eq!(project.load().cache_dir(), Path::new("/tmp/dbd-cache"));
    let project = project.with("HOME", "/home/anna").with("TMPDIR", "/var/tmp").with("XDG_CACHE_HOME", "relative");
    assert_eq!(
        project.load().cache_dir(),
        Path::new("/home/anna/.cache/dbd"),
        "a relative cache folder is to be ignored"
    );
    assert_eq!((project.load().temp_dir(), project.load().sandbox.dir), ("/var/tmp".into(), "/var/tmp".into()));
    assert_eq!(project.with("XDG_CACHE_HOME", "/cache").load().cache_dir(), Path::new("/cache/dbd"));
}

#[test]
fn secrets_are_gathered_for_redaction_and_never_shown() {
    let file = "[environments.prod]\ndatabase_url = \"postgres://me:hunter%2F2@h/db\"\n[neon]\napi_key = \"tok-tok\"\n";
    let project = Project::new(&[("dbd.toml", file)])
        .with("DEV_POSTGRES_URL", "postgres://me:pw@h/db")
        .with("DEV_URL", "https://shop.test")
        .with("PROD_URL", "https://u:basic@shop.test");
    let config = project.load();
    let texts: Vec<_> = config.secrets().iter().map(|secret| secret.expose().to_owned()).collect();
    assert_eq!(
        texts,
        [
            "postgres://me:hunter%2F2@h/db",
            "https://u:basic@shop.test",
            "postgres://me:pw@h/db",
            "hunter%2F2",
            "hunter/2",
            "tok-tok",
            "basic"
        ]
    );
    assert_eq!(config.warnings.len(), 2);
    let shown = format!("{config:?} {:?}", config.environment("prod").unwrap());
    for text in ["hunter", "tok-tok", "basic", "me:pw"] {
        assert!(!shown.contains(text), "{text} in {shown}");
    }
}
