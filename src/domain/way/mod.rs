//! The ways back: how what a run did to the target is taken from it again, the gentlest way that provably works.
//!
//! A step is taken back in place where the rehearsal showed that this leads back exactly. Where that cannot be shown of every step, the whole run
//! goes back by a swap: what others write is captured, replayed into a copy of the target as it was, and the two change names. Where
//! neither can be had, the backup is restored: by itself only if nobody wrote anything since, else when a person says so.
//!
//! In place:
//!
//! ```text
//! kept      what stands where              Shape, Column: the tables of a catalog as values that can be kept
//! names     what was called otherwise      (before, after) -> the statements that give old names back
//! generate  the way back from one step     Seen -> InPlace, or why there is none
//! keep      what of it is about rows       what is copied, put aside, and comes back
//! ```
//!
//! What the step does was seen in the sandbox; what comes out is SQL that is tried out there before anybody relies on it, so nothing
//! in here claims to be right. What has to be kept while the step runs lies in the schema [`KEEP`], and so does whatever only the new
//! shape could hold once the step is taken back.

mod generate;
mod keep;
mod kept;
pub mod names;
#[cfg(test)]
mod tests;

pub use generate::{Changed, Seen, generate, supplied};
pub use kept::{Look, Writable, WritableColumn, look, moved, stored, writable};

use serde::{Deserialize, Serialize};

/// The schema in a target where values are kept: dbd's own, in no catalog, no fingerprint and no dump that is compared.
pub const KEEP: &str = "dbd_keep";

/// What the names of schemas begin with in which one table each is set aside, whole. As [`KEEP`], they are in no catalog, fingerprint or dump.
pub const ROOM: &str = "dbd_keep_";

/// The SQLSTATE of an undo that stops by itself, as something written since cannot be expressed in the old shape.
pub const NOT_EXPRESSIBLE: &str = "DBD01";

/// The SQLSTATE of a step that stops by itself, as it wrote where it had not written in the sandbox.
pub const WROTE_ELSEWHERE: &str = "DBD02";

/// Which rung of the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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

/// A statement of a step that is run in another form, so that taking it back is a rename.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instead {
    /// Which of the step's statements, from 0.
    pub statement: usize,
    /// What is run, in the statement's place and transaction.
    pub sql: String,
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
    /// The statements of the step that are run in another form.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub instead: Vec<Instead>,
    /// What takes the step back, in one transaction.
    pub undo: Vec<String>,
    /// What is kept in [`KEEP`], for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keeps: Vec<String>,
    /// What is not as it was afterwards, for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loses: Vec<String>,
}

/// How writes are captured for a swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CaptureWay {
    /// By a logical replication slot: costs the writers next to nothing, needs `wal_level = logical` and a role that may replicate.
    Slot,
    /// By triggers on every table: needs no more than owning them.
    Triggers,
}

impl CaptureWay {
    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            CaptureWay::Slot => "a logical replication slot",
            CaptureWay::Triggers => "triggers",
        }
    }
}

/// The way a run goes back as things stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// The backup is restored.
    #[default]
    Restore,
    /// Step by step, in place.
    InPlace,
    /// The shadow takes the target's name.
    Swap,
}
