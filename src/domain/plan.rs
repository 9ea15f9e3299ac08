//! The plan: what will be done to the target, so exactly that carrying it out leaves no choice.

use super::digest::Digest;
use super::ids::MigrationId;
use super::migration::{Bookkeeping, Format, Span, UnitMode};
use super::way::{CaptureWay, InPlace};
use serde::{Deserialize, Serialize};

/// How a committed step is taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UndoClass {
    /// It changed nothing that would have to be taken back but what its tool records of it.
    Nothing,
    /// In place, by statements the rehearsal proved.
    InPlace(Box<InPlace>),
    /// With the whole run: the shadow, kept up to date with what others write, takes the target's name.
    Swap,
    /// The target goes back to the checkpoint's dump; rows written since the dump leave the target and are kept in a dump of their own.
    Restore,
}

/// One step: what runs together on the target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanStep {
    /// The migration it belongs to, by its place in [`Plan::migrations`].
    pub migration: usize,
    /// Which of the migration's units, from 0.
    pub unit: usize,
    /// Whether it is the migration's last unit: the bookkeeping row goes with it.
    pub last: bool,
    /// In one transaction, or alone.
    pub mode: UnitMode,
    /// The statements, pointing into the migration's frozen text.
    pub statements: Vec<Span>,
    /// The digest of the statements' text.
    pub digest: Digest,
    /// How it is taken back once committed.
    pub undo: UndoClass,
}

/// One migration of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedMigration {
    /// Its name.
    pub id: MigrationId,
    /// Its file, relative to the project's root.
    pub file: String,
    /// The digest of the file's bytes: resuming refuses a file that changed since.
    pub digest: Digest,
    /// How many statements it has.
    pub statements: usize,
    /// What its tool records of it.
    pub bookkeeping: Bookkeeping,
}

/// What will be done, frozen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The format of the migrations folder.
    pub format: Format,
    /// The migrations, in order.
    pub migrations: Vec<PlannedMigration>,
    /// The steps, in order.
    pub steps: Vec<PlanStep>,
    /// The target's schema fingerprint the plan was made against.
    pub fingerprint_before: Digest,
    /// The fingerprint the target must have afterwards: the rehearsed one.
    pub fingerprint_after: Digest,
    /// Whether owners and privileges are part of that fingerprint: not where the sandbox's server could not have the target's roles.
    pub roles_compared: bool,
    /// How long all steps together may take on the target, in milliseconds.
    pub migration_timeout_ms: u64,
    /// How long one try for a lock waits, in milliseconds.
    pub lock_timeout_ms: u64,
    /// How long tries for locks may go on in all, in milliseconds.
    pub lock_budget_ms: u64,
    /// How long one statement may run, in milliseconds, if that is limited.
    pub statement_timeout_ms: Option<u64>,
    /// Whether somebody has to approve it.
    pub approval_required: bool,
    /// How writes are captured while it is carried out, where a step goes back by a swap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture: Option<CaptureWay>,
}

impl UndoClass {
    /// Whether the step goes back in place.
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        matches!(self, UndoClass::Nothing | UndoClass::InPlace(_))
    }
}

impl Plan {
    /// The plan's digest: an approval binds it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        // serde_json writes struct fields in their order, and no map is in here: the same plan gives the same bytes.
        Digest::keyed("dbd plan v1", serde_json::to_vec(self).unwrap_or_default())
    }
}
