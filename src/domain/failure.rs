//! What went wrong, as a value: a code, the thing it happened to, and what to do now.

use super::code::Code;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What is known about the world after something failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Certainty {
    /// It did not happen, and trying again as it is will not help.
    Definite,
    /// It did not happen; the same attempt may succeed later (a lock, a lost connection before anything was sent).
    Transient,
    /// It may or may not have happened: the world must be asked before anything else is done.
    InDoubt,
}

/// Where in a file something was found. Lines and columns count from 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The file, relative to the project's root.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
}

/// One failure, ready to be shown to a person and to be recorded.
///
/// `message` says what happened and to which thing, in one sentence without a trailing full stop; `causes` go from the nearest
/// cause to the deepest; `hints` say what to do now. No field may hold a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind of failure this is; `dbd explain` has a page on it.
    pub code: Code,
    /// Whether the thing may have happened all the same.
    pub certainty: Certainty,
    /// What happened, to which thing.
    pub message: String,
    /// Why, nearest cause first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// What to do now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
    /// Where in the user's files, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
}

impl Failure {
    /// A failure that is certain: the thing did not happen.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            certainty: Certainty::Definite,
            message: message.into(),
            causes: Vec::new(),
            hints: Vec::new(),
            place: None,
        }
    }

    /// The same failure, with another certainty.
    #[must_use]
    pub fn certainty(mut self, certainty: Certainty) -> Self {
        self.certainty = certainty;
        self
    }

    /// Adds one cause.
    #[must_use]
    pub fn cause(mut self, cause: impl fmt::Display) -> Self {
        self.causes.push(cause.to_string());
        self
    }

    /// Adds an error and everything beneath it as causes.
    #[must_use]
    pub fn source(mut self, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            let text = error.to_string();
            // Many libraries repeat their source in their own text; say each thing once.
            if !self.causes.iter().any(|said| said.contains(&text)) {
                self.causes.push(text);
            }
            next = error.source();
        }
        self
    }

    /// Adds one thing to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Says where in the user's files.
    #[must_use]
    pub fn at(mut self, file: impl Into<String>, line: u32, column: u32) -> Self {
        self.place = Some(Place { file: file.into(), line, column });
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl std::error::Error for Failure {}
