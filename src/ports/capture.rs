//! Taking a deployed database back without losing a row anybody was told is saved: copy, capture, replay, fence, swap.
//!
//! Before anything is changed, every later write to the target is captured, a second copy of it (the shadow) is restored from the dump on
//! the same server, and the two are proven equal. From then on the shadow is kept in the old shape and caught up. To go back, the target
//! is closed for a moment, the shadow is brought level, and the two databases swap their names in one transaction.
//!
//! ```text
//!  look ─► start ─► base ─► (the dump) ─► raise_shadow ─► migrate, cover()ed ─┬─ catch_up ... ─► swap ─► settle ─► end     back
//!                                                                          └─ catch_up ... ─────────────────► end     stays
//! ```
//!
//! Every method may be killed anywhere and called again. What `start` changed is written into the target itself, so that a process that
//! knows nothing but the [`Capture`] can take it away; how far the shadow is, is written into the shadow by the transaction that brings it
//! there. Where the names stand is read from the server's list of databases, never remembered.

use crate::domain::connection::ConnectionUrl;
use crate::domain::digest::Digest;
use crate::domain::failure::Failure;
use crate::domain::ids::{EffectId, RunId};
use crate::domain::migration::Tracking;
pub use crate::domain::way::CaptureWay as Way;
use crate::ports::database::{Anchor, Contents, Holder, Snapshot};
use crate::ports::fence::Fenced;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// What a target allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaptureFacts {
    /// The ways there are, the better one first; empty if this rung is not to be had at all.
    pub ways: Vec<Way>,
    /// Why a way is not there, one sentence each.
    pub not_these: Vec<(Way, String)>,
    /// Why no way serves, one sentence each; empty if one does.
    pub refused: Vec<String>,
    /// What to know although it does not refuse.
    pub notes: Vec<String>,
    /// The database to connect to while the target is closed.
    pub maintenance: Option<String>,
    /// How many tables would be captured.
    pub tables: usize,
    /// How many bytes the shadow would take.
    pub bytes: i64,
}

/// One capture: whose it is, of what, and how. It goes into the journal, and every later call needs no more than this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capture {
    /// The run.
    pub run: RunId,
    /// How writes are captured.
    pub way: Way,
    /// The target's name.
    pub database: String,
    /// The database to connect to while the target is closed.
    pub maintenance: String,
}

impl Capture {
    /// Ten characters that tell this run's databases, slot and publication from any other's.
    #[must_use]
    pub fn short(&self) -> String {
        EffectId::derive("capture", &self.run, &self.database, b"").as_str()[..10].to_owned()
    }

    /// The second copy, until it takes the target's name.
    #[must_use]
    pub fn shadow(&self) -> String {
        self.named('s')
    }

    /// The database that was gone back from: closed, and kept.
    #[must_use]
    pub fn failed(&self) -> String {
        self.named('x')
    }

    /// The replication slot.
    #[must_use]
    pub fn slot(&self) -> String {
        format!("dbd_{}", self.short())
    }

    /// The publication.
    #[must_use]
    pub fn publication(&self) -> String {
        self.slot()
    }

    /// `<database>__dbd_<letter>_<short>`, the database's name cut where PostgreSQL would cut it.
    fn named(&self, letter: char) -> String {
        let tail = format!("__dbd_{letter}_{}", self.short());
        let mut end = self.database.len().min(63 - tail.len());
        while !self.database.is_char_boundary(end) {
            end -= 1;
        }
        format!("{}{tail}", &self.database[..end])
    }
}

/// A call about one capture.
pub struct CaptureOrder<'a> {
    /// The target.
    pub url: &'a ConnectionUrl,
    /// The capture.
    pub capture: &'a Capture,
    /// The effect, the name of its sessions.
    pub effect: &'a EffectId,
}

/// What `start` found and changed. It is also written into the target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// The tables whose writes are captured.
    pub tables: Vec<String>,
    /// The replica identities that were changed, with what they were: `d` (default), `n` (nothing), or `i` and the name of an index.
    pub identities: BTreeMap<String, String>,
}

/// The moment the dump is taken at, and the shadow begins from.
pub struct Base {
    /// The snapshot, held until this is dropped, with every captured table locked against being emptied or rewritten.
    pub snapshot: Snapshot,
    /// Which transactions it sees, as PostgreSQL prints a `pg_snapshot`.
    pub seen: String,
    /// The rows of each captured table at that moment, for the proof.
    pub contents: Contents,
}

/// A shadow to be made.
pub struct ShadowOrder<'a> {
    /// The target.
    pub url: &'a ConnectionUrl,
    /// The capture.
    pub capture: &'a Capture,
    /// The effect.
    pub effect: &'a EffectId,
    /// The dump that was taken at the base.
    pub dump: PathBuf,
    /// [`Base::seen`].
    pub seen: &'a str,
    /// [`Base::contents`].
    pub contents: &'a Contents,
    /// What makes the tracking table of the owning tool, if that is in dbd's own schema, which no dump has.
    pub tracking: Option<&'a Tracking>,
}

/// A shadow that equals its base.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shadow {
    /// How many tables were compared, every row of them.
    pub tables: u64,
    /// How many rows.
    pub rows: i64,
    /// What is to be known of it, in sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What is told of a replay.
pub struct CatchUpOrder<'a> {
    /// The target.
    pub url: &'a ConnectionUrl,
    /// The capture.
    pub capture: &'a Capture,
    /// The effect.
    pub effect: &'a EffectId,
    /// Transactions of the migration itself, beside those that are known by what they wrote into the ledger.
    pub own: &'a [String],
    /// How long to go on; what is left by then is left for the next call.
    pub budget: Duration,
    /// How much WAL the slot may keep before it is dropped.
    pub wal_limit: Option<u64>,
}

/// Where the shadow stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backlog {
    /// Transactions that were applied by this call.
    pub transactions: u64,
    /// Rows that were.
    pub rows: u64,
    /// Whether everything that had been committed when the call began is in the shadow.
    pub level: bool,
    /// Bytes of WAL the slot keeps; rows that wait, for triggers.
    pub waiting: u64,
    /// What was written that the old shape cannot hold, with the row. From then on the shadow stands still and this way back is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked: Option<String>,
    /// Columns that only the new shape has and that were written: `table.column`. Their values stay in the failed database.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub residue: Vec<String>,
}

/// A swap.
pub struct SwapOrder<'a> {
    /// The target.
    pub url: &'a ConnectionUrl,
    /// The capture.
    pub capture: &'a Capture,
    /// Who does it: checked in the target after it is closed.
    pub holder: &'a Holder,
    /// The effect: the key of the ledger's row, which the shadow brings along.
    pub effect: &'a EffectId,
    /// The intent's place in the journal.
    pub anchor: &'a Anchor,
    /// Transactions of the migration itself.
    pub own: &'a [String],
    /// The schema the target must have, by its fingerprint: what the migration left. None where a migration was cut off.
    pub expected: Option<&'a Digest>,
    /// The tracking table, left out of the fingerprint.
    pub tracking: Option<&'a Tracking>,
    /// Columns of the old shape whose values the migration changed itself, by table: they are not compared. A table without columns is
    /// not compared at all.
    pub modified: &'a BTreeMap<String, Vec<String>>,
    /// How long sessions may take to end.
    pub fence_timeout: Duration,
    /// How long touched rows may be compared while the target is closed.
    pub proof_budget: Duration,
    /// What it is about, as it happens.
    pub progress: &'a dyn Fn(&str),
}

/// Both names are swapped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swapped {
    /// How long nobody could connect, in milliseconds.
    pub fence_ms: u64,
    /// Sessions that were ended.
    pub ended: u64,
    /// Rows that were compared on both sides while it was closed.
    pub proven: u64,
    /// Rows that were touched; those beyond `proven` were not compared for want of time.
    pub touched: u64,
    /// The name of the database that was gone back from.
    pub failed: String,
    /// What became of the clients of a pooler, if there is one, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pooler: Option<String>,
}

/// How a swap that was cut off stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SwapStanding {
    /// The target has its own name and takes connections: nothing happened.
    NotSwapped {
        /// How that is known.
        evidence: String,
    },
    /// The shadow has the target's name.
    Swapped {
        /// What can still be told of it.
        swapped: Swapped,
        /// How that is known.
        evidence: String,
    },
}

/// Something a capture left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// `slot`, `triggers`, `shadow` or `failed database`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// Whose it is, as far as that is known.
    pub run: Option<RunId>,
    /// What it costs, in a sentence.
    pub cost: String,
}

/// Capturing writes, and going back with them.
#[async_trait(?Send)]
pub trait Captures {
    /// What the target allows. Changes nothing.
    async fn look(&self, url: &ConnectionUrl) -> Result<CaptureFacts, Failure>;

    /// Begins to capture, after an earlier try of the same run was taken away. A transaction is captured or in every later snapshot.
    ///
    /// Twice: the second begins anew. Did it run: [`Captures::started`]. Back: [`Captures::end`].
    async fn start(&self, order: &CaptureOrder<'_>) -> Result<Started, Failure>;

    /// What `start` left in the target, if it came to its end.
    async fn started(&self, url: &ConnectionUrl, capture: &Capture) -> Result<Option<Started>, Failure>;

    /// A snapshot for the dump. Changes nothing.
    async fn base(&self, order: &CaptureOrder<'_>, tracking: Option<&str>) -> Result<Base, Failure>;

    /// Makes the shadow, and proves that it equals its base.
    ///
    /// Twice: the second makes it anew. Did it run: no probe is needed for that. Back: [`Captures::end`].
    async fn raise_shadow(&self, order: &ShadowOrder<'_>) -> Result<Shadow, Failure>;

    /// Takes out of a copy of the target what belongs to the capture: triggers, publication, replica identities, its schema.
    async fn strip(&self, copy: &ConnectionUrl, started: &Started) -> Result<(), Failure>;

    /// What every transaction of a migration runs before it commits: tables that it made anew or renamed stay captured. Before its first
    /// statement it runs `SET LOCAL dbd.migrating = 'on'`.
    fn cover(&self, capture: &Capture) -> Vec<String>;

    /// Replays what was committed meanwhile into the shadow, whole transactions, each once.
    async fn catch_up(&self, order: &CatchUpOrder<'_>) -> Result<Backlog, Failure>;

    /// Closes the target, brings the shadow level, proves it, and swaps the names. On any failure before the names are swapped the
    /// target is open again. Every session in it is ended, the caller's own included.
    ///
    /// Twice: the second finds it swapped or begins anew. Did it run, and back to open: [`Captures::standing`].
    async fn swap(&self, order: &SwapOrder<'_>) -> Result<Swapped, Failure>;

    /// Ends the sessions of `effect` in whichever database they are.
    async fn fence(&self, url: &ConnectionUrl, capture: &Capture, effect: &EffectId) -> Result<Fenced, Failure>;

    /// How a swap that was cut off stands; a target it left closed is opened again.
    async fn standing(&self, order: &CaptureOrder<'_>, fenced: &Fenced) -> Result<SwapStanding, Failure>;

    /// What follows a swap at leisure: materialised views are refreshed, statistics gathered, foreign keys that do not hold told.
    async fn settle(&self, order: &CaptureOrder<'_>) -> Result<Vec<String>, Failure>;

    /// Takes everything of the capture away: slot, publication, triggers, schema, replica identities, shadow. The failed database stays.
    ///
    /// Twice: harmless.
    async fn end(&self, order: &CaptureOrder<'_>) -> Result<(), Failure>;

    /// What captures left behind on this server, of this target.
    async fn leftovers(&self, url: &ConnectionUrl) -> Result<Vec<Leftover>, Failure>;

    /// Drops the database that was gone back from.
    async fn forget(&self, order: &CaptureOrder<'_>) -> Result<(), Failure>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_into_63_bytes_and_are_different() {
        for database in ["shop", &"é".repeat(31), &"x".repeat(63)] {
            let run = RunId::parse("deploy-dev-1").unwrap();
            let capture =
                Capture { run, way: Way::Slot, database: database.to_owned(), maintenance: "postgres".to_owned() };
            let names = [capture.shadow(), capture.failed()];
            assert!(names.iter().all(|name| name.len() <= 63 && name != database), "{names:?}");
            assert!(names[0] != names[1]);
        }
    }
}
