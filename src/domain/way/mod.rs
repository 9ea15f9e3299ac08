//! The ways back: how what a run did to the target is taken from it again, the gentlest way that provably works.
//!
//! A step is taken back in place where the rehearsal showed that this leads back exactly. Where that cannot be shown of every step, the whole run
//! goes back by a swap: what others write is captured, replayed into a copy of the target as it was, and the two change names. Where
//! neither can be had, the backup is restored: by itself only if nobody wrote anything since, else when a person says so.

use serde::{Deserialize, Serialize};

/// A rung of the ladder that a step goes back by in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rung {
    /// Statements that undo the migration's, shown in the sandbox to lead back exactly.
    Reverse,
    /// What the migration drops was only put aside, and is put back.
    SoftDrop,
    /// What the migration overwrites or removes was kept, and is put back where nobody has written since.
    PreImages,
}

/// How one step goes back in place, frozen in the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InPlace {
    /// The rung.
    pub rung: Rung,
    /// `supplied` by the migration itself, or `generated`.
    pub method: String,
    /// What dbd runs in the migration's transaction ahead of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<String>,
    /// What dbd runs in the migration's transaction behind it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
    /// What takes the step back, in one transaction.
    pub undo: Vec<String>,
    /// What is kept in `dbd_keep` when it is taken back, or until it cannot be any more: tables and columns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keeps: Vec<String>,
    /// Values that do not come back, in words; empty where nothing is lost.
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
