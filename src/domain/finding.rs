//! Findings: one thing noticed about a migration or a schema, with its code and whether it was allowed.

use serde::{Deserialize, Serialize};

/// How much a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// May break something; does not stop the run.
    Warning,
    /// Refuses the run unless it is allowed.
    Error,
}

/// One thing noticed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What kind of thing, like `table_removed`; `--allow` takes it.
    pub code: String,
    /// How much it weighs.
    pub severity: Severity,
    /// The object, as comparisons name it.
    pub object: String,
    /// What was noticed, in a sentence.
    pub message: String,
    /// Whether `--allow` let it pass.
    pub allowed: bool,
}

/// What `--allow` lets pass, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowance {
    /// The codes; `all` stands for every one.
    pub codes: Vec<String>,
    /// The reason given.
    pub reason: Option<String>,
}

impl Allowance {
    /// Whether `finding` passes.
    #[must_use]
    pub fn allows(&self, finding: &Finding) -> bool {
        self.codes.iter().any(|code| code == "all" || code.replace('-', "_") == finding.code)
    }
}
