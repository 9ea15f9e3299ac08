//! What a rehearsal saw: statement by statement, and what it means for the target.

use super::ids::MigrationId;
use serde::{Deserialize, Serialize};

/// The way back from the migrations without a restore, as far as the sandbox showed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reverse {
    /// Whether schema and rows came back exactly.
    pub proven: bool,
    /// Where the statements come from: `generated`, or `none` if there is no way.
    pub method: String,
    /// What it throws away that was written in the new shape, for people.
    pub loses: Vec<String>,
    /// Why it is not proven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl Reverse {
    /// No way back but the restore.
    #[must_use]
    pub fn none(why: &str) -> Self {
        Self { proven: false, method: "none".to_owned(), loses: Vec::new(), why: Some(why.to_owned()) }
    }
}

/// One statement as it ran.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StatementTrace {
    /// The line in its file, from 1.
    pub line: u32,
    /// Its text.
    pub sql: String,
    /// Whether it ran in a transaction.
    pub transactional: bool,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// The server's error, if it failed.
    pub error: Option<String>,
    /// Locks newly taken on relations that existed before the migration: object and lock mode.
    pub locks: Vec<(String, String)>,
    /// Relations that existed before and were rewritten (their file changed).
    pub rewrites: Vec<String>,
    /// Tables the server said it scanned to verify a constraint.
    pub table_scans: Vec<String>,
    /// Indexes the server said it built on tables that existed before.
    pub index_builds: Vec<String>,
    /// Foreign keys the server said it validated.
    pub fk_validations: Vec<String>,
    /// Rows the statement reported.
    pub rows: u64,
    /// Bytes of write-ahead log it wrote.
    pub wal_bytes: u64,
    /// Bytes of temporary files it wrote, where the server tells.
    #[serde(default)]
    pub temp_bytes: u64,
    /// Rows it updated or deleted in tables that existed before: whoever wants to write them waits until its transaction ends.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<(String, u64)>,
    /// How many rows one of its transactions changes, if it runs in batches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<u32>,
    /// When it held which lock, if it ran outside a transaction, as far as somebody else saw it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<Window>,
    /// How long what dbd does behind it and the COMMIT took, if it is the last of its transaction, in milliseconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub commit_ms: u64,
    /// How long dbd's own statements before it took, if it is the first of its transaction, in milliseconds: what they lock is held as well.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub added_ms: u64,
    /// From its beginning to the end of its transaction, in milliseconds, where nobody watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_ms: Option<u64>,
    /// What is dangerous about it on a live database.
    pub danger: Vec<String>,
}

/// A stretch of time in which a statement was seen to hold a lock, in milliseconds from its beginning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// The object.
    pub object: String,
    /// The lock mode.
    pub lock: String,
    /// When it was seen first.
    pub from_ms: u64,
    /// When it was last there, or may have been.
    pub to_ms: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// One migration as it ran.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MigrationTrace {
    /// Its name.
    pub id: String,
    /// How long all its statements took, in milliseconds.
    pub duration_ms: u64,
    /// Its statements, in order.
    pub statements: Vec<StatementTrace>,
}

/// How long one migration took and how many statements it had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigrationTiming {
    /// Its name.
    pub id: MigrationId,
    /// Its statements.
    pub statements: usize,
    /// Milliseconds.
    pub duration_ms: u64,
}

/// What a lock mode keeps waiting, from PostgreSQL's conflict table
/// (<https://www.postgresql.org/docs/current/explicit-locking.html#LOCKING-TABLES>).
#[must_use]
pub fn blocks(lock: &str) -> &'static str {
    match lock {
        "AccessExclusiveLock" => "reads and writes",
        "ExclusiveLock" | "ShareRowExclusiveLock" | "ShareLock" => "writes",
        "ShareUpdateExclusiveLock" => "schema changes",
        _ => "nothing",
    }
}

/// Lock modes from the weakest to the strongest.
#[must_use]
pub fn strength(lock: &str) -> u8 {
    match lock {
        "AccessShareLock" => 1,
        "RowShareLock" => 2,
        "RowExclusiveLock" => 3,
        "ShareUpdateExclusiveLock" => 4,
        "ShareLock" => 5,
        "ShareRowExclusiveLock" => 6,
        "ExclusiveLock" => 7,
        "AccessExclusiveLock" => 8,
        _ => 0,
    }
}
