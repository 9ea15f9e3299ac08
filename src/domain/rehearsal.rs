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
    /// What is dangerous about it on a live database.
    pub danger: Vec<String>,
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

/// What one object will see while the migration runs on the target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// The object.
    pub object: String,
    /// The strongest lock held on it.
    pub lock: String,
    /// For how long, from taking it to the end of its transaction, in milliseconds, as rehearsed.
    pub held_ms: u64,
    /// What waits meanwhile: `reads and writes`, `writes`, `schema changes` or `nothing`.
    pub blocks: String,
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

/// Foretells, from transactions as they ran, which lock each object is held under and for how long.
///
/// A lock lasts from the statement that took it to the end of its transaction; the strongest mode of an object counts, and the longest hold of
/// that mode. `transactions` holds the statements of one transaction each, in order.
#[must_use]
pub fn forecast(transactions: &[Vec<&StatementTrace>]) -> Vec<Forecast> {
    let mut held: std::collections::BTreeMap<(String, String), u64> = std::collections::BTreeMap::new();
    for transaction in transactions {
        for (place, statement) in transaction.iter().enumerate() {
            let to_the_end: u64 = transaction[place..].iter().map(|later| later.duration_ms).sum();
            for (object, lock) in &statement.locks {
                let longest = held.entry((object.clone(), lock.clone())).or_default();
                *longest = (*longest).max(to_the_end);
            }
        }
    }
    let mut strongest: std::collections::BTreeMap<String, Forecast> = std::collections::BTreeMap::new();
    for ((object, lock), held_ms) in held {
        let this = Forecast { object: object.clone(), blocks: blocks(&lock).to_owned(), lock, held_ms };
        match strongest.get(&object) {
            Some(other) if strength(&other.lock) >= strength(&this.lock) => {}
            _ => {
                strongest.insert(object, this);
            }
        }
    }
    let mut all: Vec<Forecast> = strongest.into_values().filter(|one| one.blocks != "nothing").collect();
    all.sort_by(|a, b| {
        strength(&b.lock).cmp(&strength(&a.lock)).then(b.held_ms.cmp(&a.held_ms)).then(a.object.cmp(&b.object))
    });
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(duration_ms: u64, locks: &[(&str, &str)]) -> StatementTrace {
        StatementTrace {
            duration_ms,
            locks: locks.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect(),
            ..StatementTrace::default()
        }
    }

    #[test]
    fn a_lock_lasts_to_the_end_of_its_transaction() {
        let (first, second) = (ran(5, &[("public.a", "AccessExclusiveLock")]), ran(100, &[("public.b", "ShareLock")]));
        let forecast = forecast(&[vec![&first, &second]]);
        assert_eq!(forecast.len(), 2);
        assert_eq!(
            (forecast[0].object.as_str(), forecast[0].held_ms, forecast[0].blocks.as_str()),
            ("public.a", 105, "reads and writes")
        );
        assert_eq!(
            (forecast[1].object.as_str(), forecast[1].held_ms, forecast[1].blocks.as_str()),
            ("public.b", 100, "writes")
        );
    }

    #[test]
    fn the_strongest_lock_of_an_object_counts_and_weak_ones_are_left_out() {
        let (read, alter) = (ran(50, &[("t", "AccessShareLock")]), ran(2, &[("t", "AccessExclusiveLock")]));
        let forecast = forecast(&[vec![&read], vec![&alter]]);
        assert_eq!(forecast.len(), 1);
        assert_eq!((forecast[0].lock.as_str(), forecast[0].held_ms), ("AccessExclusiveLock", 2));
    }
}
