//! What happened to a run, in the past tense. Each event says what it leads to and which states refuse it.
//!
//! Nothing of a run is kept anywhere but in these events; a kind is never removed and its meaning never changes (see `codec`).

use super::budget::Budget;
use super::copying::Sample;
use super::digest::Digest;
use super::effect::Effect;
use super::failure::Failure;
use super::finding::{Allowance, Finding};
use super::forecast::{Correction, Forecast, Timeline};
use super::ids::{EffectId, EnvironmentName};
use super::migration::Migration;
use super::plan::Plan;
use super::plan::UndoClass;
use super::rehearsal::{MigrationTiming, Reverse};
use super::way::CaptureWay;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Who did something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// `human` or `system`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Their name, like `alice` or `alice <alice@example.com>`.
    pub id: String,
    /// How the name is known: `DBD_ACTOR`, `git`, `os`.
    pub via: String,
    /// The host they were on.
    pub host: String,
}

/// What a user command is and how long it may take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserCommand {
    /// The text handed to `sh -c`.
    pub command: String,
    /// Milliseconds.
    pub timeout_ms: u64,
    /// Whether it must not be run again when it is not known whether it ran: it may have changed something.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub once: bool,
}

/// How to ask the application whether it is healthy: an answer of 2xx or 3xx is. The address may hold a password and is not recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// How long one question may take, in milliseconds.
    pub timeout_ms: u64,
    /// How many questions are asked before the answer is no.
    pub attempts: u32,
}

/// Everything the configuration says about this run, frozen when it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// How long all steps together may take on the target, in milliseconds.
    pub migration_timeout_ms: u64,
    /// How long one try for a lock waits, in milliseconds.
    pub lock_timeout_ms: u64,
    /// How long tries for locks may go on in all, in milliseconds.
    pub lock_budget_ms: u64,
    /// How long one statement may run, in milliseconds, if that is limited.
    pub statement_timeout_ms: Option<u64>,
    /// Whether somebody has to approve the plan.
    pub approval: bool,
    /// Whether a working tree with uncommitted changes refuses the run.
    pub require_clean_tree: bool,
    /// Whether the sandbox gets the rows too, or the schema alone.
    pub data: String,
    /// The tests run in the sandbox.
    pub tests: Option<UserCommand>,
    /// The command that verifies the target afterwards.
    pub verify: Option<UserCommand>,
    /// The health check of the application.
    pub health: Option<HealthCheck>,
    /// How much of each table the sandbox gets, if it gets a sample.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<Sample>,
    /// The columns that reach the sandbox only under a mask, as the configuration names them, with what stands instead.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub masks: BTreeMap<String, String>,
    /// The tests of the application that still runs, run in the migrated sandbox too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_tests: Option<UserCommand>,
    /// How long others may be kept waiting; none in runs older than the limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// Which ways back may be taken; in runs older than the ways, the backup alone.
    #[serde(default)]
    pub rollback: RollbackSettings,
}

/// Which ways back a run may take.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollbackSettings {
    /// Whether steps may go back in place.
    #[serde(default)]
    pub in_place: bool,
    /// Whether tables that a step drops are set aside instead.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub soft_drop: bool,
    /// How writes may be captured for a swap: empty where they may not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capture: Vec<CaptureWay>,
    /// How long the capture stays on after a success, in milliseconds.
    #[serde(default)]
    pub window_ms: u64,
    /// Whether a run is refused that could not be taken back without losing anything.
    #[serde(default)]
    pub required: bool,
    /// How much of its log the server may keep for a slot, in bytes, where it was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot_bytes: Option<u64>,
}

/// Where the code stood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GitState {
    /// The commit checked out.
    pub commit: String,
    /// The branch, unless the head is detached.
    pub branch: Option<String>,
    /// Whether anything was uncommitted.
    pub dirty: bool,
    /// The first uncommitted files.
    pub dirty_files: Vec<String>,
    /// Who wrote the commit.
    pub author: Option<String>,
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The environment.
    pub environment: EnvironmentName,
    /// The target, without user or password: `host:port/database`.
    pub target: String,
    /// Whether to stop before the target is touched.
    pub dry_run: bool,
    /// The findings allowed beforehand.
    pub allow: Allowance,
    /// The configuration that holds for this run.
    pub settings: Settings,
}

/// How one check of the preflight came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckStatus {
    /// In order.
    Ok,
    /// Odd, but no reason to stop.
    Warning,
    /// The run cannot go on.
    Failed,
    /// Could not be looked at, because an earlier check failed.
    Skipped,
}

/// One check of the preflight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What was looked at, like `server version`.
    pub name: String,
    /// How it came out.
    pub status: CheckStatus,
    /// What was found, in a sentence.
    pub message: String,
    /// Code, causes and remedy, when it is not in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Milliseconds.
    pub duration_ms: u64,
}

/// What the server said of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerFacts {
    /// `server_version_num`, like 150018.
    pub version_num: u32,
    /// The version as people write it.
    pub version: String,
    /// The cluster's identifier, where it may be read.
    pub system_identifier: Option<String>,
    /// The database.
    pub database: String,
    /// The role of the session.
    pub role: String,
    /// Whether the role is a superuser.
    pub superuser: bool,
    /// The database's size in bytes.
    pub size_bytes: i64,
    /// The database's encoding.
    pub encoding: String,
    /// `LC_COLLATE`.
    pub collate: String,
    /// `LC_CTYPE`.
    pub ctype: String,
    /// `datlocprovider`: `c` (libc), `i` (ICU), `b` (built in).
    pub locale_provider: String,
    /// The locale of ICU or the built-in provider.
    pub locale: Option<String>,
    /// Whether there is a schema `public`.
    pub has_public: bool,
    /// Settings of the server that change what statements do.
    pub server_settings: Vec<(String, String)>,
    /// Whether the server is a standby or the session is read-only.
    pub read_only: bool,
    /// Whether the URL leads through a pooler in transaction mode.
    pub pooled: bool,
    /// Whether the role owns the database, itself or through a role it is a member of.
    pub owns_database: bool,
    /// The roles the role is a member of.
    pub member_of: Vec<String>,
    /// What the database and the role set for every session, as name and value.
    pub session_settings: Vec<(String, String)>,
    /// Every role of the cluster that owns something or is granted something here.
    pub roles: Vec<String>,
}

/// One migration found pending, with the place of its text among the event's blobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// The migration.
    pub migration: Migration,
    /// Which of the event's blobs holds its text.
    pub blob: usize,
}

/// What the preflight found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preflight {
    /// Every check, in the order they are shown.
    pub checks: Vec<Check>,
    /// The server's facts.
    pub server: ServerFacts,
    /// The target's schema fingerprint.
    pub fingerprint: Digest,
    /// The migrations folder and its format.
    pub format: super::migration::Format,
    /// The folder, relative to the project's root.
    pub dir: String,
    /// The table that keeps track, as SQL, where it is not the tool's usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// How many migrations are applied already.
    pub applied: usize,
    /// The migrations to apply, in order.
    pub pending: Vec<Pending>,
    /// Where the code stood.
    pub git: Option<GitState>,
    /// Whether the way back by a swap can be had; none in runs older than the looking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap: Option<SwapOffer>,
}

impl Preflight {
    /// The table that keeps track, as SQL.
    #[must_use]
    pub fn tracking_table(&self) -> &str {
        self.table.as_deref().unwrap_or_else(|| self.format.reader().usual_table())
    }

    /// The table that keeps track.
    #[must_use]
    pub fn tracking(&self) -> super::migration::Tracking {
        self.format.reader().tracking().named(self.table.as_deref())
    }
}

/// A dump, and the snapshot it was taken at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    /// The file, relative to the project's root where it lies below it.
    pub path: String,
    /// The digest of the file.
    pub digest: Digest,
    /// Its length in bytes.
    pub bytes: u64,
    /// The schema fingerprint at the snapshot.
    pub fingerprint: Digest,
    /// The rows of each table at the snapshot.
    pub rows: BTreeMap<String, i64>,
    /// The oldest transaction that was still running at the snapshot: what carries an older id was there.
    pub xid: String,
    /// The younger transactions that had ended by then, so that their rows were there too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seen: Vec<String>,
    /// What the shadow made of it is held against, if it was taken under a capture: the adapter's own record of that moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<serde_json::Value>,
}

/// What the rehearsal found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rehearsal {
    /// Each migration's timing.
    pub migrations: Vec<MigrationTiming>,
    /// Whether owners and privileges in the sandbox were the target's, so that they count for the fingerprint afterwards.
    pub roles_kept: bool,
    /// The schema fingerprint before, which is the target's.
    pub fingerprint_before: Digest,
    /// The schema fingerprint afterwards, which the target must have in the end.
    pub fingerprint_after: Digest,
    /// The schema fingerprint after each step but the last, as far as it was taken: what a run that stopped between two steps has left.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fingerprints: Vec<Digest>,
    /// Counts of what changes, like `tables_modified`.
    pub changes: BTreeMap<String, u64>,
    /// What was noticed.
    pub findings: Vec<Finding>,
    /// What is to be known of the copy it ran on, in sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub copy: Vec<String>,
    /// The locks the target will see.
    pub forecast: Vec<Forecast>,
    /// Statements and locks over time; none in runs older than the picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeline: Option<Timeline>,
    /// What earlier runs of this target taught, if they did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correction: Option<Correction>,
    /// Whether the migrations can be taken back in place, and what that would lose; none in runs older than the looking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reverse: Option<Reverse>,
    /// Each step's way back; empty in runs older than the looking.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ways: Vec<StepWay>,
    /// Files written beside the run.
    pub artifacts: Vec<Artifact>,
}

/// A file written beside the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Its name within the run's folder.
    pub name: String,
    /// The digest of its bytes.
    pub digest: Digest,
    /// Its length.
    pub bytes: u64,
}

/// How a user command came out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandReport {
    /// The exit status, unless a signal ended it.
    pub status: Option<i32>,
    /// Tests passed, failed and skipped, where the output told.
    pub counts: Option<TestCounts>,
    /// The file with the output.
    pub output: Option<Artifact>,
    /// How the tests of the application that still runs came out, where there are some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Box<CommandReport>>,
}

/// Test counts as a runner printed them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestCounts {
    /// Passed.
    pub passed: u64,
    /// Failed.
    pub failed: u64,
    /// Skipped or ignored.
    pub skipped: u64,
}

/// What one step did on the target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepReport {
    /// Milliseconds from its first statement to its commit, waiting for locks included.
    pub duration_ms: u64,
    /// How often it was tried; more than once when a lock was not to be had in time.
    pub tries: u32,
    /// The transaction that wrote its ledger row.
    pub xid: Option<String>,
    /// For each of its statements the milliseconds from its beginning to the end of its transaction, in the try that got through: how long what
    /// it locked was held. Empty in runs older than the timing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held_ms: Vec<u64>,
    /// Statements of a way back that were left out, as they grant something to a role that is gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// Other transactions that are known to be its own, where it made several: those of a command that changed the schema.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub xids: Vec<String>,
}

impl StepReport {
    /// The transactions that are known to be its own.
    pub fn transactions(&self) -> impl Iterator<Item = &String> {
        self.xid.iter().chain(&self.xids)
    }
}

/// What a restore of the backup would forget.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// Rows written since the dump by others than this run, by table.
    pub written: BTreeMap<String, i64>,
    /// Rows the backup has that the target no longer has, by table. They come back.
    pub missing: BTreeMap<String, i64>,
    /// Of those, rows that others removed and this run did not: that they removed them would be forgotten.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub deleted: BTreeMap<String, i64>,
    /// Whether somebody else changed the schema since the last step.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub schema: bool,
    /// Rows that a migration command wrote of itself, in a table in which its tool keeps track. They are nobody's loss.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tracking: BTreeMap<String, i64>,
}

impl Loss {
    /// Takes the rows of the tables in which a command's tool keeps track for what they are.
    #[must_use]
    pub fn without_tracking(mut self, tracks: impl Fn(&str) -> bool) -> Self {
        (self.tracking, self.written) = self.written.into_iter().partition(|(table, _)| tracks(table));
        self.missing.retain(|table, _| !tracks(table));
        self
    }

    /// Every row that was written since the dump and is in no transaction of the run, by table.
    #[must_use]
    pub fn counted(&self) -> BTreeMap<String, i64> {
        self.written.iter().chain(&self.tracking).map(|(table, rows)| (table.clone(), *rows)).collect()
    }

    /// How many rows would leave the target.
    #[must_use]
    pub fn rows(&self) -> i64 {
        self.written.values().fold(0, |sum, rows| sum.saturating_add(*rows))
    }

    /// Whether rows that others wrote, or that they removed, would be forgotten.
    #[must_use]
    pub fn forgets_rows(&self) -> bool {
        self.rows() > 0 || !self.deleted.is_empty()
    }

    /// Whether anything of somebody else's would be forgotten.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.forgets_rows() || self.schema
    }
}

/// How far the shadow is, and whether the way back by it still loses nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// Transactions replayed into the shadow since the last look.
    pub transactions: u64,
    /// Rows they wrote.
    pub rows: u64,
    /// Bytes the target keeps for what is not replayed yet, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind_bytes: Option<u64>,
    /// What only the new schema holds, and is kept with the deployed database when it is swapped out: tables and columns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub residue: Vec<String>,
    /// What was written that the schema of the checkpoint cannot hold, if anything: then this way would lose it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked: Option<String>,
}

impl Readiness {
    /// Whether this says something that `before` did not: how much was replayed is told along, and is no news by itself.
    #[must_use]
    pub fn is_news_after(&self, before: Option<&Self>) -> bool {
        before.is_none_or(|before| self.blocked != before.blocked || self.residue != before.residue)
    }
}

/// How the swap went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swapped {
    /// How long nobody could work in the target, in milliseconds; none where it was found out later that it had happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence_ms: Option<u64>,
    /// The name the deployed database is kept under.
    pub kept: String,
    /// Rows compared one by one on both sides before the names changed.
    pub rows_compared: u64,
    /// What became of the clients of a pooler, if one was configured, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pooler: Option<String>,
}

/// One step's way back, as the rehearsal found it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepWay {
    /// The gentlest way that was shown to lead back; the backup where none was.
    pub undo: UndoClass,
    /// Why each gentler one was not taken, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub why_not: Vec<String>,
    /// What else the trial showed, in words: what could not be tried, columns that come back in another place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What the step wrote itself, by table and column; a table without columns is one whose rows came or went.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub writes: BTreeMap<String, Vec<String>>,
    /// Which rows a command wrote and removed in the sandbox; none of other steps, and in runs older than the counting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<RowsChanged>,
}

/// How many rows somebody wrote and removed, by table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowsChanged {
    /// Rows added or changed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub written: BTreeMap<String, i64>,
    /// Rows that are no longer there as they were.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub removed: BTreeMap<String, i64>,
}

/// Whether a target allows the way back by a swap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwapOffer {
    /// How writes can be captured, the better way first; empty where the swap cannot be had.
    pub ways: Vec<CaptureWay>,
    /// What stands in the way of each that cannot be had, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub why_not: Vec<String>,
}

/// What an effect brought.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "of")]
pub enum Outcome {
    /// Of [`Effect::Preflight`].
    Preflight(Box<Preflight>),
    /// Of [`Effect::Preflight`] when a check failed: the checks alone.
    Checks(#[serde(with = "listed")] Vec<Check>),
    /// Of [`Effect::Dump`].
    Dump(Box<Backup>),
    /// Of [`Effect::CreateSandbox`]: where it is, for whoever has to remove it.
    Sandbox {
        /// The adapter's own description; holds no secret.
        location: serde_json::Value,
        /// What people see of it.
        place: String,
    },
    /// Of [`Effect::Rehearse`].
    Rehearsal(Box<Rehearsal>),
    /// Of [`Effect::RunTests`] and [`Effect::RunVerify`].
    Command(CommandReport),
    /// Of [`Effect::Migrate`], [`Effect::UndoStep`] and [`Effect::Restore`].
    Step(StepReport),
    /// Of [`Effect::StartCapture`]: what it installed, for whoever has to remove it.
    Capture {
        /// The adapter's own description; holds no secret.
        record: serde_json::Value,
        /// What people see of it.
        place: String,
    },
    /// Of [`Effect::CheckWay`] and [`Effect::CatchUp`].
    Readiness(Readiness),
    /// Of [`Effect::Swap`].
    Swapped(Swapped),
    /// Of [`Effect::CheckSchema`] and [`Effect::CheckRestored`].
    Fingerprint {
        /// The target's schema fingerprint.
        fingerprint: Digest,
        /// The transaction id not yet begun then: rows that carry a later one were written afterwards.
        xid: String,
    },
    /// Of [`Effect::AssessLoss`].
    Loss(Loss),
    /// Of the effects that bring nothing.
    Done,
}

/// An outcome names itself beside its fields (`"of"`), and a bare list has none: the checks stand in a field of their own.
mod listed {
    use super::Check;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize)]
    struct Lent<'a> {
        checks: &'a [Check],
    }

    #[derive(Deserialize)]
    struct Owned {
        checks: Vec<Check>,
    }

    pub(super) fn serialize<S: Serializer>(checks: &[Check], serializer: S) -> Result<S::Ok, S::Error> {
        Lent { checks }.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Check>, D::Error> {
        Owned::deserialize(deserializer).map(|owned| owned.checks)
    }
}

/// What became of an effect whose outcome was never recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verdict")]
pub enum Verdict {
    /// It happened.
    Applied {
        /// What it brought, as far as the world still tells.
        outcome: Outcome,
    },
    /// It did not happen, and nothing is left of it.
    NotApplied,
    /// It did not come to its end, and a part of it is committed. Of a step outside one transaction.
    PartlyApplied {
        /// What is known of the part.
        outcome: Outcome,
        /// Why the run turns round.
        failure: Failure,
    },
    /// Nobody can tell.
    Unknown,
}

/// Why a run stopped without being settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pause {
    /// Somebody pressed Ctrl-C or sent SIGTERM.
    Interrupted,
    /// It waits for an approval.
    AwaitingApproval,
    /// The server could not be reached any more.
    Unreachable,
}

/// Something that happened to a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "body")]
pub enum Event {
    /// Somebody asked for a deployment. First event of every run; leads to *preparing*.
    #[serde(rename = "run.requested")]
    Requested(Box<Request>),
    /// A process took the run over. Legal until the run is settled; counts towards the limit of take-overs without progress. A sandbox
    /// does not outlive the process that made it, so a run that had one goes back to making it.
    #[serde(rename = "run.lease_taken")]
    LeaseTaken {
        /// The host.
        host: String,
        /// The process.
        pid: u32,
        /// How often this target changed hands in this journal.
        epoch: u64,
    },
    /// The process let go of the run on purpose and was not killed, so its take-over does not count. An effect may be in flight, if it could
    /// not be looked up: whoever takes over does that first.
    #[serde(rename = "run.paused")]
    Paused {
        /// Why.
        why: Pause,
    },
    /// An effect is about to leave. Durable before the world is touched. Legal only for the one effect that is next.
    #[serde(rename = "step.intended")]
    Intended {
        /// The effect.
        effect: Effect,
        /// Its identity, the same on every attempt.
        id: EffectId,
        /// From 1.
        attempt: u32,
    },
    /// The effect in flight happened.
    #[serde(rename = "step.succeeded")]
    Succeeded {
        /// The effect.
        id: EffectId,
        /// What it brought.
        outcome: Outcome,
        /// Milliseconds.
        duration_ms: u64,
    },
    /// The effect in flight did not happen, and that is certain; or it did in part, as a step outside one transaction can: then the outcome
    /// stands in `partial`.
    #[serde(rename = "step.failed")]
    Failed {
        /// The effect.
        id: EffectId,
        /// Why.
        failure: Failure,
        /// What it brought before it failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        partial: Option<Outcome>,
        /// Milliseconds.
        duration_ms: u64,
    },
    /// Whatever an earlier process had started for the effect is over: nothing of it can take effect any more.
    #[serde(rename = "step.fenced")]
    Fenced {
        /// The effect.
        id: EffectId,
        /// How that is known.
        evidence: String,
    },
    /// What became of the effect, found out after the fence.
    #[serde(rename = "step.reconciled")]
    Reconciled {
        /// The effect.
        id: EffectId,
        /// What became of it.
        verdict: Verdict,
        /// How that is known.
        evidence: String,
    },
    /// A person ruled on an effect nobody could tell about. Legal only while halted over that effect.
    #[serde(rename = "step.ruled")]
    Ruled {
        /// The effect.
        id: EffectId,
        /// Whether it happened.
        applied: bool,
        /// Why they think so.
        reason: String,
    },
    /// The plan was made and frozen. Leads to *planned*.
    #[serde(rename = "run.planned")]
    Planned {
        /// The plan.
        plan: Box<Plan>,
        /// Its digest.
        digest: Digest,
        /// The findings, each with whether it was allowed.
        findings: Vec<Finding>,
    },
    /// Somebody approved exactly this plan.
    #[serde(rename = "approval.granted")]
    Approved {
        /// The plan's digest.
        plan_digest: Digest,
        /// The reason given, if any.
        reason: Option<String>,
    },
    /// Somebody rejected the plan. The run is refused next.
    #[serde(rename = "approval.rejected")]
    Rejected {
        /// The reason given, if any.
        reason: Option<String>,
    },
    /// Somebody wants the run stopped and taken back. While preparing: refused next; while going forward: rolled back next.
    #[serde(rename = "run.cancel_requested")]
    CancelRequested {
        /// The reason given, if any.
        reason: Option<String>,
    },
    /// The run turned round, or a way back in place failed and the next is tried. Leads to *rolling*.
    #[serde(rename = "rollback.started")]
    RollbackStarted {
        /// Why.
        why: Failure,
    },
    /// Somebody wants a finished or halted run taken back to its checkpoint. Leads to *rolling*.
    #[serde(rename = "rollback.requested")]
    RollbackRequested {
        /// The reason given, if any.
        reason: Option<String>,
        /// Whether they want the backup restored, though a gentler way may be there.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        restore: bool,
    },
    /// What noted the writes to the target, and the shadow, are gone; from then on the way back is the backup. Legal with nothing in flight, also
    /// after the end of the run.
    #[serde(rename = "capture.ended")]
    CaptureEnded {
        /// Why, in words.
        why: String,
    },
    /// While writes are still captured after a success, somebody looked whether the way back loses nothing, and found it changed.
    #[serde(rename = "way.checked")]
    WayChecked {
        /// What was found.
        readiness: Readiness,
    },
    /// Deployed and verified, or nothing to deploy. Nothing but a rollback follows.
    #[serde(rename = "run.succeeded")]
    RunSucceeded,
    /// The target is back at its checkpoint, and that was checked. Nothing follows.
    #[serde(rename = "run.rolled_back")]
    RolledBack,
    /// Stopped before the target was touched. Nothing follows.
    #[serde(rename = "run.refused")]
    Refused {
        /// Why.
        reasons: Vec<Failure>,
        /// The findings, each with whether it was allowed.
        findings: Vec<Finding>,
    },
    /// A dry run came to its end: planned, and nothing done. Nothing follows.
    #[serde(rename = "run.rehearsed")]
    Rehearsed,
    /// The run cannot go on without a person.
    #[serde(rename = "run.halted")]
    Halted {
        /// Why, and what is known.
        why: Failure,
    },
    /// Somebody gave the run up where it stood. Nothing follows.
    #[serde(rename = "run.abandoned")]
    Abandoned {
        /// The reason given, if any.
        reason: Option<String>,
    },
    /// Reports were written. Changes no state; legal in every state but the first.
    #[serde(rename = "artifacts.written")]
    ArtifactsWritten {
        /// The files.
        files: Vec<Artifact>,
    },
}

impl Event {
    /// Every kind, as it stands in the journal.
    pub const KINDS: &'static [&'static str] = &[
        "run.requested",
        "run.lease_taken",
        "run.paused",
        "step.intended",
        "step.succeeded",
        "step.failed",
        "step.fenced",
        "step.reconciled",
        "step.ruled",
        "run.planned",
        "approval.granted",
        "approval.rejected",
        "run.cancel_requested",
        "rollback.started",
        "rollback.requested",
        "capture.ended",
        "way.checked",
        "run.succeeded",
        "run.rolled_back",
        "run.refused",
        "run.rehearsed",
        "run.halted",
        "run.abandoned",
        "artifacts.written",
    ];

    /// The kind as it stands in the journal.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Event::Requested(_) => "run.requested",
            Event::LeaseTaken { .. } => "run.lease_taken",
            Event::Paused { .. } => "run.paused",
            Event::Intended { .. } => "step.intended",
            Event::Succeeded { .. } => "step.succeeded",
            Event::Failed { .. } => "step.failed",
            Event::Fenced { .. } => "step.fenced",
            Event::Reconciled { .. } => "step.reconciled",
            Event::Ruled { .. } => "step.ruled",
            Event::Planned { .. } => "run.planned",
            Event::Approved { .. } => "approval.granted",
            Event::Rejected { .. } => "approval.rejected",
            Event::CancelRequested { .. } => "run.cancel_requested",
            Event::RollbackStarted { .. } => "rollback.started",
            Event::RollbackRequested { .. } => "rollback.requested",
            Event::CaptureEnded { .. } => "capture.ended",
            Event::WayChecked { .. } => "way.checked",
            Event::RunSucceeded => "run.succeeded",
            Event::RolledBack => "run.rolled_back",
            Event::Refused { .. } => "run.refused",
            Event::Rehearsed => "run.rehearsed",
            Event::Halted { .. } => "run.halted",
            Event::Abandoned { .. } => "run.abandoned",
            Event::ArtifactsWritten { .. } => "artifacts.written",
        }
    }
}

/// An event as it stands in the journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// Its place in the journal, from 1.
    pub seq: u64,
    /// Its place in the run, from 1.
    pub rseq: u64,
    /// When, in milliseconds since 1970, UTC.
    pub ts_ms: i64,
    /// Which take-over of the target it belongs to; 0 for decisions made from outside.
    pub epoch: u64,
    /// Who.
    pub actor: Actor,
    /// What.
    pub event: Event,
    /// The blobs that belong to it.
    pub refs: Vec<String>,
    /// The journal's head with this event, `b3:<hex>`.
    pub hash: String,
}
