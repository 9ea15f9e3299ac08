//! The names of things: runs, environments, effects, migrations.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// One deployment: `deploy-<environment>-<unix milliseconds>`.
    RunId
}
name! {
    /// A named target: lower-case letters, digits, `-` and `_`, starting with a letter.
    EnvironmentName
}
name! {
    /// The identity of one effect, the same on every attempt: 26 characters of base32.
    EffectId
}
name! {
    /// A migration as people name it: `0003_add_price`.
    MigrationId
}

impl RunId {
    /// The id of a run of `environment` that was asked for at `unix_ms`.
    #[must_use]
    pub fn new(environment: &EnvironmentName, unix_ms: i64) -> Self {
        Self(format!("deploy-{environment}-{unix_ms}"))
    }

    /// Reads an id; `None` unless it is `deploy-<environment>-<digits>`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (environment, stamp) = text.strip_prefix("deploy-")?.rsplit_once('-')?;
        EnvironmentName::parse(environment)?;
        (!stamp.is_empty() && stamp.bytes().all(|b| b.is_ascii_digit())).then(|| Self(text.to_owned()))
    }

    /// The environment within the id.
    #[must_use]
    pub fn environment(&self) -> EnvironmentName {
        let inner = self.0.strip_prefix("deploy-").and_then(|rest| rest.rsplit_once('-')).map_or("", |(name, _)| name);
        EnvironmentName(inner.to_owned())
    }
}

impl EnvironmentName {
    /// Reads a name; `None` if it could not be one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = text.bytes();
        let first = bytes.next()?.is_ascii_lowercase();
        let rest = bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
        (first && rest && text.len() <= 40).then(|| Self(text.to_owned()))
    }

    /// The name as part of an environment variable: `dev` gives `DEV`, `eu-west` gives `EU_WEST`.
    #[must_use]
    pub fn variable_prefix(&self) -> String {
        self.0.to_ascii_uppercase().replace('-', "_")
    }
}

impl EffectId {
    /// The id of the effect `step` of `run` in the journal `origin`, asking for exactly `request`.
    ///
    /// The attempt is left out on purpose: a second attempt is the same effect, and whoever it reaches can see that.
    #[must_use]
    pub fn derive(origin: &str, run: &RunId, step: &str, request: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("dbd effect v1");
        for part in [origin.as_bytes(), run.0.as_bytes(), step.as_bytes(), request] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let text = data_encoding::BASE32_NOPAD.encode(hasher.finalize().as_bytes()).to_ascii_lowercase();
        Self(text[..26].to_owned())
    }

    /// The name the effect's database sessions carry, so that they can be found after their client is gone.
    #[must_use]
    pub fn application_name(&self) -> String {
        format!("dbd:{}", self.0)
    }
}

impl MigrationId {
    /// Takes a name as it is.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_id_reads_back() {
        let environment = EnvironmentName::parse("eu-west").unwrap();
        let id = RunId::new(&environment, 1_728_149_445_123);
        assert_eq!(id.as_str(), "deploy-eu-west-1728149445123");
        assert_eq!(RunId::parse(id.as_str()), Some(id.clone()));
        assert_eq!(id.environment(), environment);
        for bad in ["", "deploy-dev", "deploy-dev-", "deploy--1", "deploy-dev-12x", "run-dev-1", "deploy-Dev-1"] {
            assert_eq!(RunId::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_effect_id_depends_on_every_part_and_on_nothing_else() {
        let run = RunId::parse("deploy-dev-1").unwrap();
        let other = RunId::parse("deploy-dev-2").unwrap();
        let id = EffectId::derive("o", &run, "migrate 1", b"x");
        assert_eq!(id, EffectId::derive("o", &run, "migrate 1", b"x"));
        assert_eq!(id.as_str().len(), 26);
        for different in [
            EffectId::derive("p", &run, "migrate 1", b"x"),
            EffectId::derive("o", &other, "migrate 1", b"x"),
            EffectId::derive("o", &run, "migrate 2", b"x"),
            EffectId::derive("o", &run, "migrate 1", b"y"),
            EffectId::derive("o", &run, "migrate", b" 1x"),
        ] {
            assert_ne!(id, different);
        }
    }
}
