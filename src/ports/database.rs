//! PostgreSQL, the target and the sandbox alike.

use crate::domain::connection::ConnectionUrl;
use crate::domain::event::{Loss, ServerFacts, StepReport};
use crate::domain::failure::Failure;
use crate::domain::ids::{EffectId, RunId};
use crate::domain::ledger::LedgerRow;
use crate::domain::migration::{AppliedRow, DroppedTables, Span, Tracking, Unit};
use crate::domain::plan::PlanStep;
use crate::domain::rehearsal::StatementTrace;
use crate::domain::schema::catalog::Catalog;
use crate::domain::schema::data::{Comparable, DataComparison};
use crate::domain::way::names::Names;
use crate::domain::way::{Instead, Look, Writable};
use crate::ports::fence::Fenced;
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::time::Duration;

/// What tables hold: how many rows, and the sum of their hashes.
pub type Contents = BTreeMap<String, (i64, String)>;

/// A snapshot that lasts as long as this value: what is dumped at it and what is read through it are the same.
pub struct Snapshot {
    /// The name `pg_dump --snapshot` takes; none through a pooler.
    pub name: Option<String>,
    /// The catalog at the snapshot.
    pub catalog: Catalog,
    /// The rows of each table at the snapshot.
    pub rows: BTreeMap<String, i64>,
    /// The oldest transaction still running.
    pub xid: String,
    /// The younger transactions whose rows are seen. Empty where there are too many to tell.
    pub seen: Vec<String>,
    /// Keeps the snapshot's transaction open; dropped, it ends.
    pub hold: Box<dyn std::any::Any>,
}

/// What a forecast is scaled by.
#[derive(Clone, Debug, Default)]
pub struct Weights {
    /// Bytes of each table and materialized view, indexes not counted.
    pub bytes: BTreeMap<String, u64>,
    /// How long the oldest transaction of others has been open, in milliseconds: a lock may have to wait for such a one.
    pub oldest_transaction_ms: u64,
}

/// Rows to be copied into a sandbox that has its tables and no constraints yet.
pub struct CopyOrder<'a> {
    /// Where they are.
    pub source: &'a ConnectionUrl,
    /// The snapshot they are read at; what is there now without one.
    pub snapshot: Option<String>,
    /// Where they go.
    pub sandbox: &'a ConnectionUrl,
    /// What the session in the sandbox calls itself.
    pub application_name: &'a str,
    /// Columns that are replaced while they are read.
    pub masks: &'a [crate::domain::copying::Mask],
    /// How much of each table; everything without one.
    pub sample: Option<crate::domain::copying::Sample>,
    /// Tables that are copied whole all the same.
    pub whole: Vec<String>,
    /// Counts tables.
    pub progress: crate::ports::backup::Progress<'a>,
}

/// What was copied.
#[derive(Clone, Copy, Debug, Default)]
pub struct CopyReport {
    /// Tables.
    pub tables: u64,
    /// Rows.
    pub rows: u64,
    /// Those among them that others refer to and that were not picked themselves.
    pub fetched: u64,
}

/// A session that holds the target's lock; dropped, the lock is free.
pub struct Hold {
    /// Keeps the session open.
    pub session: Box<dyn std::any::Any>,
}

/// A session that holds something a strong lock has to wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocker {
    /// Its process.
    pub pid: i32,
    /// Its role.
    pub user: String,
    /// What it calls itself.
    pub application: String,
    /// How long its transaction has been open, in milliseconds.
    pub age_ms: u64,
    /// `active`, `idle in transaction`, or what kind of background process it is.
    pub state: String,
    /// What it runs or ran last, in one line, secrets masked.
    pub query: String,
    /// The relation it holds a lock on.
    pub object: String,
    /// The lock it holds.
    pub lock: String,
}

impl std::fmt::Display for Blocker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = std::time::Duration::from_millis(self.age_ms / 100 * 100);
        write!(
            f,
            "pid {} (user {}, application `{}`, {}, open for {seconds:?}) holds {} on {}: {}",
            self.pid, self.user, self.application, self.state, self.lock, self.object, self.query
        )
    }
}

/// Who writes to a target: checked inside every transaction that changes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The run.
    pub run: RunId,
    /// The journal's name.
    pub origin: String,
    /// Which take-over of the target this is, as that journal counts them.
    pub epoch: u64,
    /// The two of them and the take-over's own hash, `dbd/host/4f2a#7@1b2c3d4e`: another process is another holder, also if it works with
    /// a copy of the same journal and counts to the same number.
    pub token: String,
    /// The host and process, for people.
    pub owner: String,
}

impl Holder {
    /// Process `owner` working on `run`, after the take-over number `epoch` of the journal `origin`, recorded as the event with `hash`.
    #[must_use]
    pub fn new(run: RunId, origin: String, epoch: u64, hash: &str, owner: String) -> Self {
        let digits = hash.trim_start_matches("b3:");
        let token = format!("{origin}#{epoch}@{}", digits.get(..16).unwrap_or(digits));
        Self { run, origin, epoch, token, owner }
    }

    /// What every token of this journal begins with.
    #[must_use]
    pub fn prefix(&self) -> String {
        format!("{}#", self.origin)
    }
}

/// Where the intent of a step stands in the journal: written into the ledger beside the step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The journal's name.
    pub origin: String,
    /// The intent's place.
    pub seq: u64,
    /// The intent's hash.
    pub hash: String,
}

/// The session setting that is `on` while a step is applied: within its transaction, or in the session of a statement that runs alone. Triggers
/// of dbd's own look at it.
pub const MIGRATING: &str = "dbd.migrating";

/// Statements that dbd itself adds to a step. They are no part of the migration: nothing is recorded of them statement by statement, and one
/// that fails fails the step as dbd's own.
///
/// In a transaction they belong to it: `before` comes behind the ledger row and ahead of the migration's first statement, `after` behind its last
/// and ahead of the bookkeeping and the COMMIT. Around a statement that runs alone each is a transaction of its own: `before` ahead of the
/// row that says it was started, `after` ahead of the row that says it is finished. A try that is repeated, and the probe of one that was cut
/// off, run them again: there they must be idempotent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Around<'a> {
    /// What runs first.
    pub before: &'a [String],
    /// What runs last.
    pub after: &'a [String],
    /// Statements of the step that are run in another form.
    pub instead: &'a [Instead],
}

/// One step to be applied.
pub struct ApplyOrder<'a> {
    /// The database.
    pub url: &'a ConnectionUrl,
    /// Who applies it.
    pub holder: &'a Holder,
    /// The effect: the ledger's primary key, and the name of the session.
    pub effect: &'a EffectId,
    /// The intent's place in the journal.
    pub anchor: &'a Anchor,
    /// The step.
    pub step: &'a PlanStep,
    /// All units of its migration: what earlier ones set for the session is set again.
    pub units: &'a [Unit],
    /// The migration's file, for messages.
    pub file: &'a str,
    /// The migration's frozen text.
    pub text: &'a str,
    /// The bookkeeping of the owning tool, one INSERT, if this step is the migration's last.
    pub bookkeeping: Option<String>,
    /// What dbd adds around it.
    pub around: Around<'a>,
    /// How long one try for a lock waits, in milliseconds.
    pub lock_timeout_ms: u64,
    /// How long tries may go on in all, in milliseconds.
    pub lock_budget_ms: u64,
    /// How long one statement may run, in milliseconds.
    pub statement_timeout_ms: Option<u64>,
    /// How long the step may take in all, in milliseconds.
    pub timeout_ms: u64,
    /// Whether the URL leads through a pooler in transaction mode, where a session cannot be marked.
    pub pooled: bool,
    /// Whether the rehearsal was through with it at once. Then the server may get the COMMIT while a statement still runs; a step that takes its
    /// time keeps the COMMIT back, so that who ends dbd meanwhile ends the step.
    pub brief: bool,
    /// Whether to watch each statement: locks, rewrites, what the server says it scans and builds.
    pub watch: bool,
    /// A statement begins or a lock is waited for: what to show.
    pub progress: &'a dyn Fn(&str),
}

impl<'a> ApplyOrder<'a> {
    /// The step's statements in the form they are run in.
    pub fn statements(&self) -> impl Iterator<Item = (&'a Span, &'a str)> {
        let (instead, text) = (self.around.instead, self.text);
        self.step.statements.iter().enumerate().map(move |(place, span)| {
            let other = instead.iter().find(|one| one.statement == place);
            (span, other.map_or_else(|| span.of(text), |one| one.sql.as_str()))
        })
    }

    /// Where it is applied, in a word: what is watched is the rehearsal.
    #[must_use]
    pub fn place(&self) -> &'static str {
        if self.watch { "sandbox" } else { "target" }
    }
}

/// A step that was applied.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// For the journal.
    pub report: StepReport,
    /// Statement by statement.
    pub trace: Vec<StatementTrace>,
}

/// A step that was not.
#[derive(Debug)]
pub struct NotApplied {
    /// Why.
    pub failure: Failure,
    /// The statements that ran, the failed one last.
    pub trace: Vec<StatementTrace>,
}

/// What the ledger and the catalog say of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is committed.
    Applied {
        /// The transaction that wrote its ledger row.
        xid: Option<String>,
        /// How that is known.
        evidence: String,
    },
    /// It is not, and nothing is left of it.
    NotApplied {
        /// How that is known.
        evidence: String,
    },
    /// Nobody can tell.
    Unknown {
        /// What is known.
        evidence: String,
    },
}

/// Everything a probe of a step has to know.
pub struct ProbeOrder<'a> {
    /// The database.
    pub url: &'a ConnectionUrl,
    /// Who asks.
    pub holder: &'a Holder,
    /// The intent's place in the journal.
    pub anchor: &'a Anchor,
    /// The step; none for a restore.
    pub step: Option<&'a PlanStep>,
    /// The bookkeeping that belongs to it, if it is the migration's last: written when the statement ran but its bookkeeping did not.
    pub bookkeeping: Option<String>,
    /// What dbd adds around it: `after` is run when the statement ran alone and its end was not recorded.
    pub around: Around<'a>,
}

/// The moment a restore goes back to, and what was found in the target just before it.
pub struct RestoreOf<'a> {
    /// The rows of each table in the dump.
    pub rows: &'a BTreeMap<String, i64>,
    /// The oldest transaction that was still running when it was taken.
    pub xid: &'a str,
    /// The tables of the target as they are now.
    pub tables: &'a [String],
    /// What others wrote since, as it was counted and, if it is to be forgotten, agreed to: what is found under the restore's own locks must
    /// be the same.
    pub written: &'a BTreeMap<String, i64>,
    /// The transactions whose rows are not counted.
    pub known: &'a [String],
    /// How long one try for a lock waits, in milliseconds.
    pub lock_timeout_ms: u64,
}

/// What makes a restore of the dump one transaction with its own proof.
#[derive(Clone, Debug)]
pub struct RestoreScript {
    /// Runs first: empties the target of everything the dump brings back.
    pub prologue: String,
    /// Runs last: proves the row counts, tidies the bookkeeping, writes the ledger row.
    pub epilogue: String,
}

/// What a table holds, seen through a [`Look`]: hashes that no order of rows changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Its rows.
    pub rows: i64,
    /// Which rows they are, by their keys.
    pub keys: String,
    /// What each column holds in which row. Without a key there is one entry, `*`, for whole rows.
    pub columns: BTreeMap<String, String>,
}

/// A row that was written in a trial, as somebody who goes on using the application would.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The table, by the name it had before the migration.
    pub table: String,
    /// The columns it can be found by, as SQL writes them.
    pub key: Vec<String>,
    /// Its key, as PostgreSQL prints a row.
    pub at: String,
    /// The columns that count, as SQL writes them.
    pub columns: Vec<String>,
    /// What they hold, as PostgreSQL prints a row.
    pub values: String,
    /// `an update` or `an insert`.
    pub how: &'static str,
}

/// What became of asking how tables can be set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetAside {
    /// By this, one after the other, which leaves each of them in the room named with it.
    By(Vec<(String, String)>),
    /// They are of this transaction's own making, or not there: what drops them takes nothing away.
    NotNeeded,
    /// Not, for this reason.
    Not(String),
}

/// A session whose one transaction is never committed: whatever is done in it was only tried. Dropped, all of it is gone.
#[async_trait(?Send)]
pub trait Trial {
    /// Runs statements, one after the other.
    ///
    /// # Errors
    /// What PostgreSQL said, and of which statement.
    async fn run(&self, statements: &[String]) -> Result<(), Failure>;

    /// Remembers this place, nested in those remembered before.
    async fn mark(&self) -> Result<(), Failure>;

    /// Goes back to the place remembered last, which is forgotten.
    async fn back(&self) -> Result<(), Failure>;

    /// The catalog as it is now.
    async fn catalog(&self, tracking: &str) -> Result<Catalog, Failure>;

    /// What everything is called.
    async fn names(&self) -> Result<Names, Failure>;

    /// The relations this transaction holds a lock on that lets it write, by object id, with the strongest such lock.
    async fn locks(&self) -> Result<BTreeMap<u32, String>, Failure>;

    /// The tables this transaction wrote rows of, by object id: rows that came or went, and rows that were changed.
    async fn wrote(&self) -> Result<BTreeMap<u32, (i64, i64)>, Failure>;

    /// What tables hold.
    async fn look(&self, tables: &[Look]) -> Result<BTreeMap<String, Held>, Failure>;

    /// Writes to a table as an application would that knows both shapes: changes a row, and adds one if `adds`. What cannot be written is
    /// told in `notes`, for people.
    async fn write(&self, table: &Writable, adds: bool, notes: &mut Vec<String>) -> Result<Vec<Written>, Failure>;

    /// How the tables that a statement drops are set aside instead, each in a room of its own, named `room` and a number from `first` on; `about`
    /// is said of it. Only those of `known` are worth it. Runs what it answers.
    async fn set_aside(
        &self,
        dropped: &DroppedTables,
        known: &Names,
        room: &str,
        first: usize,
        about: &str,
    ) -> Result<SetAside, Failure>;

    /// What tables in `rooms` have to do with what is not in there: nothing, if dropping them later is to be nobody's concern.
    async fn ties(&self, rooms: &[String]) -> Result<Vec<String>, Failure>;

    /// What the row's columns hold now; `None` if there is no such row.
    async fn read(&self, written: &Written) -> Result<Option<String>, Failure>;

    /// Takes everything back. That it cannot is no failure: then its session is gone, and the server does it.
    async fn end(&self);
}

/// How a step is taken back in place.
pub struct UndoOrder<'a> {
    /// The database.
    pub url: &'a ConnectionUrl,
    /// Who takes it back.
    pub holder: &'a Holder,
    /// The effect: the ledger's primary key, and the name of the session.
    pub effect: &'a EffectId,
    /// The intent's place in the journal.
    pub anchor: &'a Anchor,
    /// The effects it rests on: that did the step, and that took back those after it. Without their rows in the ledger nothing is taken back.
    pub rests_on: &'a [EffectId],
    /// Which step it is, for the ledger and for people: `undo of migration 1, unit 1`.
    pub step: &'a str,
    /// The statements.
    pub statements: &'a [String],
    /// How long one try for a lock waits, in milliseconds.
    pub lock_timeout_ms: u64,
    /// How long tries may go on in all, in milliseconds.
    pub lock_budget_ms: u64,
    /// How long one statement may run, in milliseconds.
    pub statement_timeout_ms: Option<u64>,
    /// How long the undo may take in all, in milliseconds.
    pub timeout_ms: u64,
    /// Whether the URL leads through a pooler in transaction mode, where a session cannot be marked.
    pub pooled: bool,
    /// A lock is waited for: what to show.
    pub progress: &'a dyn Fn(&str),
}

/// PostgreSQL.
#[async_trait(?Send)]
pub trait Database {
    /// Connects and asks the server about itself.
    async fn facts(&self, url: &ConnectionUrl) -> Result<ServerFacts, Failure>;

    /// The privileges a deployment needs and the role lacks; empty when none is lacking.
    async fn missing_privileges(&self, url: &ConnectionUrl) -> Result<Vec<String>, Failure>;

    /// Migration locks of other tools that are held right now, for people.
    async fn foreign_locks(&self, url: &ConnectionUrl) -> Result<Vec<String>, Failure>;

    /// The catalog, without dbd's own schema and without `tracking`.
    async fn catalog(&self, url: &ConnectionUrl, tracking: &[&str]) -> Result<Catalog, Failure>;

    /// When each of `tables` was last changed by DDL, RFC 3339, as far as the server knows: it does with `track_commit_timestamp` on. Those it
    /// does not know of are left out.
    async fn last_changed(&self, url: &ConnectionUrl, tables: &[String]) -> Result<BTreeMap<String, String>, Failure>;

    /// Compares the rows of `tables` within `budget`: over a connection to each side, or in the source's database through `postgres_fdw`.
    ///
    /// # Errors
    /// [`CannotCompare`](crate::domain::code::Code::CannotCompare) where `postgres_fdw` cannot be used.
    async fn compare_data(
        &self,
        source: &ConnectionUrl,
        target: &ConnectionUrl,
        tables: &[Comparable],
        through_fdw: bool,
        budget: Duration,
    ) -> Result<DataComparison, Failure>;

    /// The rows of each of `tables`: how many, and the sum of their hashes, which no order changes.
    async fn contents(&self, url: &ConnectionUrl, tables: &[Comparable]) -> Result<Contents, Failure>;

    /// Runs a script in a transaction that is rolled back, and tells the catalog and the rows of `tables` as they were at its end.
    ///
    /// # Errors
    /// What PostgreSQL said of the script.
    async fn try_script(
        &self,
        url: &ConnectionUrl,
        script: &str,
        tracking: &str,
        tables: &[Comparable],
    ) -> Result<(Catalog, Contents), Failure>;

    /// Opens a trial: a transaction that is never committed.
    async fn trial(&self, url: &ConnectionUrl, timeout_ms: u64) -> Result<Box<dyn Trial>, Failure>;

    /// Takes a step back, in one transaction that begins with its ledger row.
    ///
    /// # Errors
    /// [`WayBlocked`](crate::domain::code::Code::WayBlocked) where something written since has no place in the old shape; in doubt
    /// where the connection was lost at the COMMIT.
    async fn undo(&self, order: UndoOrder<'_>) -> Result<StepReport, Failure>;

    /// Removes what is kept in a target since before `before_ms` (milliseconds since 1970) by other runs than `open`: how many tables.
    async fn sweep_kept(&self, url: &ConnectionUrl, before_ms: i64, open: &[String]) -> Result<u64, Failure>;

    /// The catalog, the rows and a snapshot to dump at, all at one moment.
    async fn snapshot(&self, url: &ConnectionUrl, tracking: &str) -> Result<Snapshot, Failure>;

    /// What hazards are judged by: tables with their sizes, constraints, types, functions. Read in a read-only transaction.
    async fn hazard_facts(&self, url: &ConnectionUrl) -> Result<crate::domain::hazard::facts::Facts, Failure>;

    /// Copies rows into a sandbox, masked, all or a sample that foreign keys hold for.
    ///
    /// # Errors
    /// [`BadValue`](crate::domain::code::Code::BadValue) for a mask that fits no column, before anything is copied.
    async fn copy_rows(&self, order: &CopyOrder<'_>) -> Result<CopyReport, Failure>;

    /// Makes another database with the same content on the same server, called `name`. Nobody may be connected to the first.
    async fn duplicate(&self, url: &ConnectionUrl, name: &str) -> Result<ConnectionUrl, Failure>;

    /// How large tables are, and how long others keep what a lock has to wait for.
    async fn weights(&self, url: &ConnectionUrl) -> Result<Weights, Failure>;

    /// The rows of each table.
    async fn row_counts(&self, url: &ConnectionUrl, tracking: &str) -> Result<BTreeMap<String, i64>, Failure>;

    /// The first transaction id not yet begun.
    async fn next_xid(&self, url: &ConnectionUrl) -> Result<String, Failure>;

    /// Whether a column holds any value that is not null.
    async fn column_has_values(&self, url: &ConnectionUrl, table: &str, column: &str) -> Result<bool, Failure>;

    /// The rows of a tracking table; `None` if there is no such table.
    async fn applied(&self, url: &ConnectionUrl, tracking: &Tracking) -> Result<Option<Vec<AppliedRow>>, Failure>;

    /// Makes tables of a sandbox what autovacuum makes of those of a target: which rows are visible to all is known, and what was rolled back
    /// is gone. Those of `tables`, by object id, that are there; all if none are named. What was
    /// written is on the disk then, where the role may ask for that.
    async fn vacuum(&self, url: &ConnectionUrl, tables: &[u32]) -> Result<(), Failure>;

    /// Makes a sandbox behave for the target's role as the target does: memberships, rights on the database, session settings.
    async fn act_like(&self, url: &ConnectionUrl, target: &ServerFacts) -> Result<(), Failure>;

    /// Takes the target's lock without waiting.
    ///
    /// # Errors
    /// [`TargetBusy`](crate::domain::code::Code::TargetBusy), naming who holds it.
    async fn hold(&self, url: &ConnectionUrl, run: &RunId, owner: &str) -> Result<Hold, Failure>;

    /// Takes the advisory lock of the tool that keeps `tracking`, polling for it so that nobody is ever kept waiting behind this session;
    /// `None` if that tool takes none.
    ///
    /// # Errors
    /// [`ForeignLockHeld`](crate::domain::code::Code::ForeignLockHeld), naming who holds it, once `patience_ms` are over.
    async fn hold_tool(
        &self,
        url: &ConnectionUrl,
        tracking: &Tracking,
        run: &RunId,
        patience_ms: u64,
    ) -> Result<Option<Hold>, Failure>;

    /// The sessions that stand in the way of strong locks on `tables`, the oldest transaction first.
    async fn blockers(&self, url: &ConnectionUrl, tables: &[String]) -> Result<Vec<Blocker>, Failure>;

    /// The other tools whose tracking tables are there with rows in them: name in the configuration, table.
    async fn other_tracking(
        &self,
        url: &ConnectionUrl,
        tracking: &Tracking,
    ) -> Result<Vec<(&'static str, &'static str)>, Failure>;

    /// Whether dbd's own schema is there.
    async fn is_prepared(&self, url: &ConnectionUrl) -> Result<bool, Failure>;

    /// Installs dbd's ledger and the tracking table where they are missing, and writes the lease. Harmless to repeat.
    async fn prepare(&self, url: &ConnectionUrl, tracking: Option<&Tracking>, holder: &Holder) -> Result<(), Failure>;

    /// Writes the lease alone: from then on no other holder can commit. The schema must be there.
    ///
    /// # Errors
    /// [`LostOwnership`](crate::domain::code::Code::LostOwnership) if a later take-over of the same journal, or of a copy of it, has it.
    async fn take_lease(&self, url: &ConnectionUrl, holder: &Holder) -> Result<(), Failure>;

    /// Whether the lease is still `holder`'s. Nothing is written: who lost it must not take it back. Asked in the session of `hold` where that
    /// answers.
    ///
    /// # Errors
    /// [`LostOwnership`](crate::domain::code::Code::LostOwnership), naming who has it now.
    async fn check_lease(&self, url: &ConnectionUrl, hold: Option<&Hold>, holder: &Holder) -> Result<(), Failure>;

    /// Runs bookkeeping statements in one transaction, if the lease is `holder`'s. The schema must be there.
    async fn record(&self, url: &ConnectionUrl, holder: &Holder, statements: &[String]) -> Result<(), Failure>;

    /// Applies one step. A session may be kept for the next one: [`rest`](Self::rest) lets go of it.
    async fn apply(&self, order: ApplyOrder<'_>) -> Result<Applied, NotApplied>;

    /// No step follows for now: closes what is kept from one to the next.
    async fn rest(&self);

    /// Ends the sessions of `effect` and waits until they are gone.
    async fn fence(&self, url: &ConnectionUrl, effect: &EffectId) -> Result<Fenced, Failure>;

    /// The transaction that wrote into the ledger that the statement of `effect` was begun, the first time; `None` if it never was.
    async fn began(&self, url: &ConnectionUrl, effect: &EffectId) -> Result<Option<String>, Failure>;

    /// Waits for what may still be under way for a client that is gone and gave its sessions no name: the transactions that are open now in sessions
    /// of the URL's role that began within the last `began_ms_ago` milliseconds.
    ///
    /// # Errors
    /// [`InDoubt`](crate::domain::code::Code::InDoubt), naming the sessions, once patience is over.
    async fn outlast(&self, url: &ConnectionUrl, began_ms_ago: u64) -> Result<(), Failure>;

    /// The transactions from `xid` on that left something in the schema.
    async fn schema_transactions(&self, url: &ConnectionUrl, xid: &str) -> Result<Vec<String>, Failure>;

    /// What became of the fenced effect. A half-done statement is cleaned up and told as not applied.
    async fn probe(&self, order: ProbeOrder<'_>, fenced: &Fenced) -> Result<Standing, Failure>;

    /// What the journal `origin` left in the ledger: place and hash of every intent whose effect was written there, whichever run's.
    async fn anchors(&self, url: &ConnectionUrl, origin: &str) -> Result<Vec<Anchor>, Failure>;

    /// Every row that the journal `origin` wrote into the ledger, by place; empty where there is no ledger.
    async fn ledger(&self, url: &ConnectionUrl, origin: &str) -> Result<Vec<LedgerRow>, Failure>;

    /// What a restore of a dump taken at `xid` with `rows` would forget, apart from what the transactions `known` wrote.
    async fn loss(
        &self,
        url: &ConnectionUrl,
        tracking: &str,
        xid: &str,
        rows: &BTreeMap<String, i64>,
        known: &[String],
    ) -> Result<Loss, Failure>;

    /// The schemas a restore leaves standing: `public`, and those that hold something of an extension.
    async fn kept_schemas(&self, url: &ConnectionUrl) -> Result<Vec<String>, Failure>;

    /// Every role of the server but those that every server has.
    async fn roles(&self, url: &ConnectionUrl) -> Result<Vec<String>, Failure>;

    /// Which of `roles`, as SQL writes them, the server does not know.
    async fn unknown_roles(&self, url: &ConnectionUrl, roles: &[String]) -> Result<Vec<String>, Failure>;

    /// The SQL around a restore.
    fn restore_script(&self, holder: &Holder, effect: &EffectId, anchor: &Anchor, of: &RestoreOf<'_>) -> RestoreScript;
}
