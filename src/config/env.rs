//! The environment variables dbd reads: the whole list, and the only place that asks the process for them.

use std::collections::BTreeMap;
use std::fmt;

/// What is known about one variable; `docs/config.md` is made of these.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// The name; `<NAME>` stands for an environment's name in capitals, with `_` for `-`.
    pub name: &'static str,
    /// What dbd does with it.
    pub doc: &'static str,
    /// The version that first read it.
    pub since: &'static str,
}

macro_rules! variables {
    ($(#[doc = $doc:literal] $name:ident since $since:literal;)*) => {
        $(
            #[doc = $doc]
            #[doc = ""]
            #[doc = concat!("Since ", $since, ".")]
            pub const $name: &str = stringify!($name);
        )*

        /// Every variable with a fixed name, in the order the reference page lists them.
        pub const ALL: &[Variable] = &[$(Variable { name: $name, doc: $doc.trim_ascii(), since: $since },)*];
    };
}

variables! {
    /// A server on which sandboxes are made as databases, instead of a scratch server.
    SANDBOX_POSTGRES_URL since "0.1.0";
    /// The folder of PostgreSQL's programs (`pg_dump`, `postgres`, ...).
    PG_BIN since "0.1.0";
    /// Where alerts go in Slack: an incoming webhook.
    SLACK_WEBHOOK_URL since "0.1.0";
    /// Where alerts go by mail.
    ALERT_EMAIL since "0.1.0";
    /// The mail server.
    SMTP_HOST since "0.1.0";
    /// The mail server's port.
    SMTP_PORT since "0.1.0";
    /// The user at the mail server.
    SMTP_USER since "0.1.0";
    /// The password at the mail server.
    SMTP_PASSWORD since "0.1.0";
    /// Where alerts are posted as JSON.
    ALERT_WEBHOOK_URL since "0.1.0";
    /// The integration that PagerDuty events are sent to.
    PAGERDUTY_ROUTING_KEY since "0.1.0";
    /// Where log lines are pushed to.
    LOKI_URL since "0.1.0";
    /// The key for Neon's API.
    NEON_API_KEY since "0.1.0";
    /// The token for Vercel's API.
    VERCEL_TOKEN since "0.1.0";
    /// The token for GitHub's API.
    GITHUB_TOKEN since "0.1.0";
    /// The private key that signs evidence bundles, instead of a file.
    DBD_AUDIT_KEY since "0.1.0";
    /// Who is named as the actor in the journal; else `SUDO_USER`, `USER`, `LOGNAME`.
    DBD_ACTOR since "0.1.0";
    /// The person behind `sudo`.
    SUDO_USER since "0.1.0";
    /// The user; also the database user of a URL that names none.
    USER since "0.1.0";
    /// The user, where `USER` is not set.
    LOGNAME since "0.1.0";
    /// The database user of a URL that names none; wins over `USER`.
    PGUSER since "0.1.0";
    /// Set to anything: no colour.
    NO_COLOR since "0.1.0";
    /// The kind of terminal; `dumb` means no colour.
    TERM since "0.1.0";
    /// How wide tables may be where stdout is no terminal.
    COLUMNS since "0.1.0";
    /// Set by continuous integration: nobody is there to answer a question.
    CI since "0.1.0";
    /// Where temporary files go; `/tmp` if it is not set.
    TMPDIR since "0.1.0";
    /// The home folder, for the cache.
    HOME since "0.1.0";
    /// Where caches go; `~/.cache` if it is not set.
    XDG_CACHE_HOME since "0.1.0";
    /// Where programs are looked for.
    PATH since "0.1.0";
    /// A drill: the number of the gap (see docs/crash-testing.md) in which dbd kills itself, as `kill -9` would.
    DBD_CRASH_AT since "0.1.0";
    /// A drill: the file that each gap passed is written to.
    DBD_CRASH_LOG since "0.1.0";
}

/// What follows an environment's name in the variable that holds its target: `DEV_POSTGRES_URL`.
///
/// Since 0.1.0.
pub const DATABASE_URL_SUFFIX: &str = "_POSTGRES_URL";

/// What follows an environment's name in the variable that holds its application's address: `DEV_URL`.
///
/// Since 0.1.0.
pub const APP_URL_SUFFIX: &str = "_URL";

/// The variables whose names depend on an environment's name.
pub const BY_ENVIRONMENT: &[Variable] = &[
    Variable { name: "<NAME>_POSTGRES_URL", doc: "The target of an environment.", since: "0.1.0" },
    Variable { name: "<NAME>_URL", doc: "The application of an environment, for health checks.", since: "0.1.0" },
];

/// The process's environment, by name.
///
/// A name that is not Unicode is left out, as no variable of dbd's can have it; in a value the bytes that are not Unicode are
/// replaced, so that one odd folder in `PATH` does not hide the others.
#[must_use]
pub fn process() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())))
        .collect()
}

/// The variables that count: the real environment over `.env.local` over `.env`. Its `Debug` shows names only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Variables(BTreeMap<String, String>);

impl Variables {
    /// Lays `layers` over each other: the first one that has a variable wins, even with an empty value.
    #[must_use]
    pub fn of_layers(layers: impl IntoIterator<Item = BTreeMap<String, String>>) -> Self {
        let mut all = BTreeMap::new();
        for layer in layers {
            for (name, value) in layer {
                all.entry(name).or_insert(value);
            }
        }
        Self(all)
    }

    /// The value of a variable. An empty or blank one counts as not set: that is how shells and CI systems unset things.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.trim().is_empty())
    }

    /// The names of the variables that are set, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str).filter(|name| self.get(name).is_some())
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_first_layer_that_has_a_variable_wins() {
        let variables =
            Variables::of_layers([layer(&[("A", "1"), ("B", "")]), layer(&[("A", "2"), ("B", "2"), ("C", "3")])]);
        assert_eq!(variables.get("A"), Some("1"));
        assert_eq!(variables.get("B"), None, "set to nothing on purpose");
        assert_eq!(variables.get("C"), Some("3"));
        assert_eq!(variables.names().collect::<Vec<_>>(), ["A", "C"]);
    }

    #[test]
    fn debug_shows_names_and_no_values() {
        let variables = Variables::of_layers([layer(&[("SMTP_PASSWORD", "hunter2")])]);
        assert_eq!(format!("{variables:?}"), r#"{"SMTP_PASSWORD"}"#);
    }

    #[test]
    fn every_variable_is_listed_once_and_documented() {
        let mut names: Vec<_> = ALL.iter().map(|variable| variable.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
        for variable in ALL.iter().chain(BY_ENVIRONMENT) {
            assert!(variable.doc.ends_with('.'), "{}", variable.name);
        }
    }
}
