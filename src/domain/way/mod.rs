//! Ways back in place: how a step of the plan is taken back on the target itself, without losing what was written since.
//!
//! ```text
//! kept      what stands where              Shape, Column: the tables of a catalog as values that can be kept
//! names     what was called otherwise      (before, after) -> the statements that give old names back
//! generate  the way back from one step     Seen -> InPlace, or why there is none
//! ```
//!
//! Pure. What the step does was seen in the sandbox; what comes out is SQL that is tried out there before anybody relies on it, so nothing
//! in here claims to be right. What has to be kept while the step runs lies in the schema [`KEEP`], and so does whatever only the new
//! shape could hold once the step is taken back.

mod generate;
mod kept;
pub mod names;

pub use generate::{Changed, Seen, generate, supplied};
pub use kept::{Look, Writable, WritableColumn, look, moved, stored, writable};

use super::plan::UndoClass;
use serde::{Deserialize, Serialize};

/// The schema in a target where values are kept: dbd's own, in no catalog, no fingerprint and no dump that is compared.
pub const KEEP: &str = "dbd_keep";

/// The SQLSTATE of an undo that stops by itself, as something written since cannot be expressed in the old shape.
pub const NOT_EXPRESSIBLE: &str = "DBD01";

/// The SQLSTATE of a step that stops by itself, as it wrote where it had not written in the sandbox.
pub const WROTE_ELSEWHERE: &str = "DBD02";

/// Which rung of the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rung {
    /// The statements backwards; nothing that stood there before is changed by the step.
    Reverse,
    /// What the step drops was only moved aside.
    SoftDrop,
    /// What the step rewrites or drops was kept, and comes back where nobody wrote since.
    PreImages,
}

impl Rung {
    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Reverse => "the statements backwards",
            Self::SoftDrop => "what was moved aside",
            Self::PreImages => "what was kept",
        }
    }
}

/// How one step is taken back in place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InPlace {
    /// Which rung it stands on.
    pub rung: Rung,
    /// Where the way back comes from: `supplied` by the migration's author, or `generated`.
    pub method: String,
    /// What runs in the step's transaction before its statements.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<String>,
    /// What runs in the step's transaction after its statements.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
    /// What takes the step back, in one transaction.
    pub undo: Vec<String>,
    /// What is kept in [`KEEP`], for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keeps: Vec<String>,
    /// What is not as it was afterwards, for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loses: Vec<String>,
}

/// Why a rung is not the way back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyNot {
    /// The rung.
    pub rung: Rung,
    /// What stands in the way, for people.
    pub why: String,
}

/// The way back of one step, as the sandbox showed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepWay {
    /// The step's place in the plan, from 0.
    pub step: usize,
    /// How it is taken back.
    pub undo: UndoClass,
    /// Why not more gently.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not: Vec<WhyNot>,
    /// What else the trial showed, for people: what could not be tried, columns that come back in another place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}
