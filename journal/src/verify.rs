//! Whether the journal is what was written: of one event while it is read, of all of them on demand.

use crate::blob::{self, BlobRef, Condition};
use crate::chain::{self, Hash};
use crate::entry::{ENVELOPE, Entry, Head, RecordIn};
use crate::error::ReadError;
use crate::open;
use crate::schema::Identity;
use crate::store::Journal;
use rusqlite::types::ValueRef;
use rusqlite::{ErrorCode, Row};
use std::collections::HashMap;

/// The first thing that is wrong with a journal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event {seq}: {why}")]
pub struct Bad {
    /// The event it is wrong with; 0 means the journal's own row, before the first event.
    pub seq: u64,
    /// What is wrong.
    pub why: Why,
}

/// What is wrong with an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Why {
    /// The journal's origin, time of creation and nonce do not give its genesis.
    #[error("the genesis does not follow from the journal's origin")]
    Genesis,
    /// Events are missing before this one.
    #[error("it should be event {expected}: events are missing")]
    Gap {
        /// The place that should have come.
        expected: u64,
    },
    /// It does not follow the event before it.
    #[error("it does not link to the event before it")]
    Link,
    /// Its hash is not the hash of what it says.
    #[error("its hash does not match its record")]
    Hash,
    /// Its record is not one.
    #[error("its record cannot be read: {0}")]
    Record(String),
    /// Its envelope is newer than this program.
    #[error("its envelope has version {0}, which this program does not know")]
    Envelope(u32),
    /// A column says something else than the record.
    #[error("column {0} differs from its record")]
    Column(&'static str),
    /// It was written for another journal.
    #[error("it belongs to another journal")]
    Origin,
    /// Events of its run are missing before it.
    #[error("it is event {found} of its run and should be {expected}")]
    RunGap {
        /// The place in the run that should have come.
        expected: u64,
        /// The place in the run it claims.
        found: u64,
    },
    /// It claims to have happened before the event before it.
    #[error("it is dated earlier than the event before it")]
    Time,
    /// It answers an event that is not before it.
    #[error("it answers event {0}, which is not before it")]
    Cause(u64),
    /// A blob it names is not there.
    #[error("its blob {0} is missing")]
    BlobMissing(BlobRef),
    /// A blob it names says something else than when it was written.
    #[error("the content of its blob {0} was altered")]
    BlobAltered(BlobRef),
    /// The file is damaged where it should be.
    #[error("the file is damaged there: {0}")]
    Unreadable(String),
}

/// What a full verification found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// How many events verify, counted from the first; with a first bad one, those before it.
    pub events: u64,
    /// The first thing wrong, if anything is. What comes after it was not looked at.
    pub first_bad: Option<Bad>,
    /// The last event that verifies. Compare it with what was written down elsewhere to see whether the tail was cut.
    pub head: Head,
    /// How many blobs that events name had been purged. Each should be explained by an event.
    pub purged: u64,
    /// The first thing SQLite finds wrong with the file beneath, such as an index that does not match its table.
    pub damage: Option<String>,
}

impl Verdict {
    /// Whether nothing at all is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.first_bad.is_none() && self.damage.is_none()
    }
}

/// The columns [`read`] expects; append `WHERE` and `ORDER BY`. The last one is the hash of the event before.
pub(crate) const SELECT: &str = "SELECT e.seq, e.prev, e.hash, e.run_id, e.run_seq, e.kind, e.ts, e.rec, \
     (SELECT p.hash FROM event p WHERE p.seq = e.seq - 1) FROM event e ";

/// Reads a row of [`SELECT`] and checks all that can be checked about one event: its link, its hash, its record, its columns.
///
/// Types are checked by hand, because a file that was tampered with may hold anything anywhere.
pub(crate) fn read(row: &Row<'_>, identity: &Identity) -> rusqlite::Result<Result<Entry, Bad>> {
    let seq = place(row)?;
    let before = match row.get_ref(8)? {
        ValueRef::Null if seq == 1 => Some(identity.genesis),
        value => hash(value),
    };
    let prev = hash(row.get_ref(1)?);
    let stored = hash(row.get_ref(2)?);
    let rec = bytes(row.get_ref(7)?);
    let bad = |why| Ok(Err(Bad { seq, why }));

    let Some(before) = before else { return bad(Why::Link) };
    if prev != Some(before) {
        return bad(Why::Link);
    }
    let hash = chain::link(&before, rec);
    if stored != Some(hash) {
        return bad(Why::Hash);
    }
    let Ok(rec) = str::from_utf8(rec) else { return bad(Why::Record("it is not UTF-8".to_owned())) };
    let record: RecordIn = match serde_json::from_str(rec) {
        Ok(record) => record,
        // Only where and what kind: the text of the error could quote the record.
        Err(error) => return bad(Why::Record(format!("{:?} error at byte {}", error.classify(), error.column()))),
    };
    if record.ev != ENVELOPE {
        return bad(Why::Envelope(record.ev));
    }
    let integer = |index, value: i64| row.get_ref(index).map(|found| found == ValueRef::Integer(value));
    let text = |index, value: &str| row.get_ref(index).map(|found| found == ValueRef::Text(value.as_bytes()));
    let columns = [
        ("seq", record.seq == seq),
        ("run_id", text(3, &record.run)?),
        ("run_seq", i64::try_from(record.rseq).is_ok_and(|rseq| integer(4, rseq).unwrap_or(false))),
        ("kind", text(5, &record.kind)?),
        ("ts", integer(6, record.ts)?),
    ];
    if let Some((name, _)) = columns.iter().find(|(_, same)| !same) {
        return bad(Why::Column(name));
    }
    if record.origin != identity.origin {
        return bad(Why::Origin);
    }
    if let Some(cause) = record.cause.filter(|cause| *cause == 0 || *cause >= seq) {
        return bad(Why::Cause(cause));
    }
    Ok(Ok(Entry {
        seq,
        run: record.run,
        rseq: record.rseq,
        ts_ms: record.ts,
        clock_back_ms: record.clock_back_ms,
        kind: record.kind,
        v: record.v,
        cause: record.cause,
        epoch: record.epoch,
        actor: record.actor,
        by: record.by,
        body: record.body,
        refs: record.refs,
        hash,
        prev: before,
        rec: rec.to_owned(),
    }))
}

/// The place a row claims; 0, which no event has, for what cannot be one.
fn place(row: &Row<'_>) -> rusqlite::Result<u64> {
    Ok(row.get_ref(0)?.as_i64().ok().and_then(|seq| u64::try_from(seq).ok()).unwrap_or(0))
}

fn bytes(value: ValueRef<'_>) -> &[u8] {
    match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes,
        _ => &[],
    }
}

fn hash(value: ValueRef<'_>) -> Option<Hash> {
    bytes(value).try_into().ok()
}

/// What has to hold from one event to the next.
struct Walk<'a> {
    head: Head,
    ts_ms: i64,
    /// The last `rseq` of each run: the only thing that grows, by a run and not by an event.
    runs: HashMap<String, u64>,
    purged: u64,
    conn: &'a rusqlite::Connection,
}

impl Walk<'_> {
    fn step(&mut self, entry: Entry) -> rusqlite::Result<Result<(), Bad>> {
        let bad = |why| Ok(Err(Bad { seq: entry.seq, why }));
        if entry.ts_ms < self.ts_ms {
            return bad(Why::Time);
        }
        let expected = self.runs.get(&entry.run).map_or(1, |last| last + 1);
        if entry.rseq != expected {
            return bad(Why::RunGap { expected, found: entry.rseq });
        }
        for blob in &entry.refs {
            match blob::look(self.conn, blob, |_| ())? {
                Condition::Sound => {}
                Condition::Purged => self.purged += 1,
                Condition::Missing => return bad(Why::BlobMissing(*blob)),
                Condition::Altered => return bad(Why::BlobAltered(*blob)),
            }
        }
        self.head = Head { seq: entry.seq, hash: entry.hash };
        self.ts_ms = entry.ts_ms;
        self.runs.insert(entry.run, entry.rseq);
        Ok(Ok(()))
    }
}

impl Journal {
    /// Checks the whole journal, event by event, at one moment in its life: places without gaps, links, hashes, columns against
    /// records, places in runs, times, blobs; and then the file beneath.
    ///
    /// Events are streamed. A long verification keeps the `-wal` file from being emptied, but no writer waits for it.
    ///
    /// # Errors
    /// Only when the file cannot be read at all. What is wrong with the journal is in the verdict.
    pub fn verify(&self) -> Result<Verdict, ReadError> {
        self.readable()?;
        let snapshot = self.conn.unchecked_transaction()?;
        let identity = Identity::read(&snapshot)?;
        let head = Head { seq: 0, hash: identity.genesis };
        let mut walk = Walk { head, ts_ms: i64::MIN, runs: HashMap::new(), purged: 0, conn: &snapshot };
        let mut first_bad = (!identity.holds()).then_some(Bad { seq: 0, why: Why::Genesis });
        if first_bad.is_none() {
            first_bad = match self.walk(&identity, &mut walk) {
                Ok(bad) => bad,
                Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt) => {
                    Some(Bad { seq: walk.head.seq + 1, why: Why::Unreadable(error.to_string()) })
                }
                Err(error) => return Err(error.into()),
            };
        }
        // The quick check leaves the indexes out, and a run is read along one.
        let damage = match open::integrity_check(&snapshot) {
            Ok(damage) => damage,
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt) => Some(error.to_string()),
            Err(error) => return Err(error.into()),
        };
        Ok(Verdict { events: walk.head.seq, first_bad, head: walk.head, purged: walk.purged, damage })
    }

    fn walk(&self, identity: &Identity, walk: &mut Walk<'_>) -> rusqlite::Result<Option<Bad>> {
        let mut statement = self.conn.prepare_cached(&format!("{SELECT} ORDER BY e.seq"))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            // A missing event also breaks the link after it; the gap is the better name for it.
            let seq = place(row)?;
            if seq != walk.head.seq + 1 {
                return Ok(Some(Bad { seq, why: Why::Gap { expected: walk.head.seq + 1 } }));
            }
            match read(row, identity)? {
                Ok(entry) => {
                    if let Err(bad) = walk.step(entry)? {
                        return Ok(Some(bad));
                    }
                }
                Err(bad) => return Ok(Some(bad)),
            }
        }
        Ok(None)
    }
}
