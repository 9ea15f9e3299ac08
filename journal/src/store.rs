//! The journal itself: appending and reading.

use crate::blob::Sealed;
use crate::chain;
use crate::entry::{Appended, ENVELOPE, Entry, Head, NewEvent, RecordOut, RunHead, Seen};
use crate::error::{AppendError, CheckpointError, ReadError, Unusable, WriteError};
use crate::open;
use crate::schema::Identity;
use crate::verify::{self, Bad, Why};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension, Params, TransactionBehavior};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// An open journal.
///
/// One connection to one file. It can move between threads but not be shared by them; several processes may have the same journal
/// open, and their writes take turns. Never open it before a `fork` and use it after.
#[derive(Debug)]
pub struct Journal {
    pub(crate) conn: Connection,
    pub(crate) path: PathBuf,
    pub(crate) identity: Identity,
    /// Why it may not be written to, if it may not.
    pub(crate) barred: Option<Unusable>,
    /// The file beside the journal, once it was written to.
    pub(crate) beside: Option<fs_err::File>,
}

/// Why the inside of a write ends early; either way nothing of it stays.
pub(crate) enum Stop<E> {
    /// For a reason of the operation's own.
    Because(E),
    /// Because SQLite said so.
    Sqlite(rusqlite::Error),
}

impl<E> From<rusqlite::Error> for Stop<E> {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl Journal {
    /// Appends one event, with its blobs, in one transaction. When this returns, they are on the disk.
    ///
    /// # Errors
    /// See [`AppendError`]. After [`AppendError::Unknown`] the event may or may not be there, the journal refuses further use,
    /// and the process should end: a retry on the same handle can report success for what was lost. After every other error
    /// nothing was written.
    pub fn append(&mut self, new: NewEvent) -> Result<Appended, AppendError> {
        new.check()?;
        let blobs = new.blobs.into_iter().map(Sealed::new).collect::<Result<Vec<_>, _>>();
        let blobs = blobs.map_err(|source| AppendError::Random { source })?;
        let refs: Vec<_> = blobs.iter().map(|blob| blob.name).collect();

        let appended = self.write(|conn, identity| {
            // The last event is verified before another is hung on it.
            let last = one(conn, identity, "ORDER BY e.seq DESC LIMIT 1", [])?
                .transpose()
                .map_err(|bad| Stop::Because(AppendError::Broken(bad)))?;
            let (head, not_before) = match &last {
                Some(entry) => (Head { seq: entry.seq, hash: entry.hash }, entry.ts_ms),
                None => (Head { seq: 0, hash: identity.genesis }, i64::MIN),
            };

            let held = highest_epoch(conn, &new.run)?;
            if held > new.epoch {
                return Err(Stop::Because(AppendError::StaleEpoch { run: new.run, epoch: new.epoch, held }));
            }
            let found = last_rseq(conn, &new.run)?;
            if found != new.expected_rseq {
                let expected = new.expected_rseq;
                return Err(Stop::Because(AppendError::Conflict { run: new.run, expected, found }));
            }
            if new.cause.is_some_and(|cause| cause == 0 || cause > head.seq) {
                return Err(Stop::Because(AppendError::Invalid { field: "cause", why: "there is no such event" }));
            }

            let (seq, rseq, ts_ms) = (head.seq + 1, found + 1, new.ts_ms.max(not_before));
            let record = RecordOut {
                ev: ENVELOPE,
                seq,
                origin: &identity.origin,
                run: &new.run,
                rseq,
                ts: ts_ms,
                clock_back_ms: (ts_ms > new.ts_ms).then(|| ts_ms.abs_diff(new.ts_ms)),
                kind: &new.kind,
                v: new.v,
                cause: new.cause,
                epoch: new.epoch,
                actor: &new.actor,
                by: &new.by,
                body: &new.body,
                refs: &refs,
            };
            let rec = record.text().map_err(|_| {
                Stop::Because(AppendError::Invalid { field: "body", why: "it cannot be written as JSON" })
            })?;
            let hash = chain::link(&head.hash, rec.as_bytes());
            for blob in &blobs {
                blob.insert(conn)?;
            }
            conn.prepare_cached("INSERT INTO event (seq, prev, hash, rec) VALUES (?1, ?2, ?3, ?4)")?
                .execute((seq as i64, head.hash, hash, &rec))?;
            Ok(Appended { seq, rseq, ts_ms, hash, refs })
        })?;
        self.remember(Head { seq: appended.seq, hash: appended.hash });
        Ok(appended)
    }

    /// The events of a run in order; empty if there is no such run.
    ///
    /// # Errors
    /// [`ReadError::Broken`] names the first event that does not verify, or that does not follow its predecessor in the run.
    pub fn events(&self, run: &str) -> Result<Vec<Entry>, ReadError> {
        let mut entries: Vec<Entry> = Vec::new();
        self.each("WHERE e.run_id = ?1 ORDER BY e.run_seq", [run], |entry| {
            let (expected, after) = entries.last().map_or((1, 0), |last| (last.rseq + 1, last.seq));
            if entry.rseq != expected || entry.seq <= after {
                return Err(Bad { seq: entry.seq, why: Why::RunGap { expected, found: entry.rseq } });
            }
            entries.push(entry);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(entries)
    }

    /// Lends the events of a run to `visit`, in order, until it breaks. Checks what [`Journal::events`] checks and copies nothing.
    ///
    /// # Errors
    /// As [`Journal::events`].
    pub fn look_at(&self, run: &str, mut visit: impl FnMut(Seen<'_>) -> ControlFlow<()>) -> Result<(), ReadError> {
        self.readable()?;
        let mut statement =
            self.conn.prepare_cached(&format!("{}WHERE e.run_id = ?1 ORDER BY e.run_seq", verify::SELECT))?;
        let mut hash_at = self.conn.prepare_cached("SELECT hash FROM event WHERE seq = ?1")?;
        let mut rows = statement.query([run])?;
        let (mut last, mut rseq) = (Head { seq: 0, hash: self.identity.genesis }, 0);
        while let Some(row) = rows.next()? {
            let seq = verify::place(row)?;
            // A run's events mostly stand together, and then the one before was just looked at.
            let before = if seq == last.seq + 1 {
                Some(last.hash)
            } else {
                hash_at.query_row([seq.saturating_sub(1) as i64], |row| row.get(0)).optional()?
            };
            let (record, hash, _) = verify::look(row, &self.identity, before)??;
            if record.rseq != rseq + 1 || seq <= last.seq {
                return Err(Bad { seq, why: Why::RunGap { expected: rseq + 1, found: record.rseq } }.into());
            }
            (last, rseq) = (Head { seq, hash }, record.rseq);
            if visit(record.seen(hash)).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The event at a place, if there is one.
    ///
    /// # Errors
    /// [`ReadError::Broken`] when it does not verify.
    pub fn event(&self, seq: u64) -> Result<Option<Entry>, ReadError> {
        self.readable()?;
        let Ok(seq) = i64::try_from(seq) else { return Ok(None) };
        Ok(one(&self.conn, &self.identity, "WHERE e.seq = ?1", [seq])?.transpose()?)
    }

    /// Hands every event from `from_seq` on to `visit`, in the journal's order, until it breaks. Holds one event at a time.
    ///
    /// The events are those of the moment of the call. While it lasts, the `-wal` file cannot be emptied.
    ///
    /// # Errors
    /// [`ReadError::Broken`] names the first event that does not verify, or after which one is missing.
    pub fn scan(&self, from_seq: u64, mut visit: impl FnMut(Entry) -> ControlFlow<()>) -> Result<(), ReadError> {
        let from_seq = from_seq.max(1);
        let Ok(start) = i64::try_from(from_seq) else { return Ok(()) };
        self.readable()?;
        let snapshot = self.conn.unchecked_transaction()?;
        let mut expected = from_seq;
        let mut before = match from_seq {
            1 => Some(self.identity.genesis),
            _ => snapshot
                .query_row("SELECT hash FROM event WHERE seq = ?1", [start - 1], |row| row.get(0))
                .optional()?
                .unwrap_or_default(),
        };
        let mut statement = snapshot.prepare_cached(&format!("{} WHERE e.seq >= ?1 ORDER BY e.seq", verify::SELECT))?;
        let mut rows = statement.query([start])?;
        while let Some(row) = rows.next()? {
            let entry = verify::place(row)?;
            if entry != expected {
                return Err(Bad { seq: entry, why: Why::Gap { expected } }.into());
            }
            let entry = verify::read(row, &self.identity, before)??;
            before = Some(entry.hash);
            expected += 1;
            if visit(entry).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The first event at or after `ts_ms`; one more than there are events if there is none. Times never decrease along a journal, so that a
    /// few looks find it.
    ///
    /// # Errors
    /// See [`ReadError`]. What is looked at is not verified.
    pub fn first_at(&self, ts_ms: i64) -> Result<u64, ReadError> {
        self.readable()?;
        let last: i64 = self.conn.query_row("SELECT coalesce(max(seq), 0) FROM event", [], |row| row.get(0))?;
        let mut statement = self.conn.prepare_cached("SELECT ts FROM event WHERE seq = ?1")?;
        let (mut low, mut high) = (1, last + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            let ts: Option<i64> = statement.query_row([middle], |row| row.get(0)).optional()?;
            if ts.is_some_and(|ts| ts < ts_ms) { low = middle + 1 } else { high = middle }
        }
        Ok(low as u64)
    }

    /// All runs, in the order of their first events.
    ///
    /// From the index alone; nothing is verified.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn runs(&self) -> Result<Vec<RunHead>, ReadError> {
        self.readable()?;
        let sql = "SELECT r.run_id, r.first, r.last, r.count, \
             (SELECT ts FROM event WHERE seq = r.first), (SELECT ts FROM event WHERE seq = r.last) \
             FROM (SELECT run_id, min(seq) AS first, max(seq) AS last, max(run_seq) AS count FROM event GROUP BY run_id) r \
             ORDER BY r.first";
        let mut statement = self.conn.prepare_cached(sql)?;
        let runs = statement.query_map([], |row| {
            Ok(RunHead {
                run: row.get(0)?,
                first_seq: row.get::<_, i64>(1)? as u64,
                last_seq: row.get::<_, i64>(2)? as u64,
                last_rseq: row.get::<_, i64>(3)? as u64,
                first_ts_ms: row.get(4)?,
                last_ts_ms: row.get(5)?,
            })
        })?;
        Ok(runs.collect::<rusqlite::Result<_>>()?)
    }

    /// The journal's last event: `seq` 0 and the genesis while there is none.
    ///
    /// # Errors
    /// [`ReadError::Broken`] when the last event does not verify.
    pub fn head(&self) -> Result<Head, ReadError> {
        self.readable()?;
        let last = one(&self.conn, &self.identity, "ORDER BY e.seq DESC LIMIT 1", [])?.transpose()?;
        Ok(last.map_or(Head { seq: 0, hash: self.identity.genesis }, |entry| Head { seq: entry.seq, hash: entry.hash }))
    }

    /// Who this journal is, as given when it was created.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.identity.origin
    }

    /// The hash before the first event.
    #[must_use]
    pub fn genesis(&self) -> chain::Hash {
        self.identity.genesis
    }

    /// When this journal was created, in unix milliseconds.
    #[must_use]
    pub fn created_ms(&self) -> i64 {
        self.identity.created_ms
    }

    /// The file, as it was given when the journal was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether this handle may write, and if not, why.
    ///
    /// # Errors
    /// The reason.
    pub fn writable(&self) -> Result<(), Unusable> {
        self.barred.map_or(Ok(()), Err)
    }

    /// Copies the `-wal` file into the journal's own file and empties it. `false` if somebody else was using the journal, in which
    /// case part of it may remain.
    ///
    /// Worth doing when a run has ended: one flipped bit in a `-wal` file silently drops every event that follows it.
    ///
    /// # Errors
    /// See [`CheckpointError`].
    pub fn checkpoint(&mut self) -> Result<bool, CheckpointError> {
        self.writable()?;
        match open::checkpoint(&self.conn) {
            Ok(done) => Ok(done),
            Err(source) => match WriteError::sort(source) {
                WriteError::Busy => Ok(false),
                WriteError::Unusable(why) => Err(CheckpointError::Unusable(why)),
                WriteError::Refused(source) | WriteError::Unknown(source) => {
                    self.poison();
                    Err(CheckpointError::Unknown { source })
                }
            },
        }
    }

    /// Refuses to read through a handle whose last write ended in doubt.
    pub(crate) fn readable(&self) -> Result<(), Unusable> {
        match self.barred {
            Some(why @ Unusable::Poisoned) => Err(why),
            _ => Ok(()),
        }
    }

    /// Runs `act` in a transaction that took the write lock first, so that what it reads is still true when it writes.
    ///
    /// If SQLite fails in a way that leaves open what is on the disk, the journal is poisoned.
    pub(crate) fn write<T, E: From<WriteError>>(
        &mut self,
        act: impl FnOnce(&Connection, &Identity) -> Result<T, Stop<E>>,
    ) -> Result<T, E> {
        self.writable().map_err(WriteError::Unusable)?;
        let outcome = match self.conn.transaction_with_behavior(TransactionBehavior::Immediate) {
            Err(source) => Err(WriteError::sort(source)),
            Ok(tx) => match act(&tx, &self.identity) {
                // A commit that fails is in doubt whatever SQLite calls it.
                Ok(value) => tx.commit().map(|()| value).map_err(WriteError::Unknown),
                Err(Stop::Because(error)) => match tx.rollback() {
                    Ok(()) => return Err(error),
                    Err(source) => Err(WriteError::Unknown(source)),
                },
                Err(Stop::Sqlite(source)) => match (WriteError::sort(source), tx.rollback()) {
                    (unknown @ WriteError::Unknown(_), _) => Err(unknown),
                    (_, Err(source)) => Err(WriteError::Unknown(source)),
                    (known, Ok(())) => Err(known),
                },
            },
        };
        if let Err(WriteError::Unknown(_)) = &outcome {
            self.poison();
        }
        Ok(outcome?)
    }

    fn poison(&mut self) {
        self.barred = Some(Unusable::Poisoned);
        // Closing must not move what may be half written; the next process recovers from the `-wal` file as it lies. Should this
        // fail too, that process still recovers, from the journal's own file.
        let _ = self.conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
    }

    /// Hands the verified events that `tail` selects to `visit` until it breaks or finds something bad.
    fn each(
        &self,
        tail: &str,
        params: impl Params,
        mut visit: impl FnMut(Entry) -> Result<ControlFlow<()>, Bad>,
    ) -> Result<(), ReadError> {
        self.readable()?;
        let mut statement = self.conn.prepare_cached(&format!("{}{tail}", verify::SELECT_APART))?;
        let mut rows = statement.query(params)?;
        while let Some(row) = rows.next()? {
            if visit(verify::read(row, &self.identity, verify::before(row, &self.identity)?)??)?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// The verified event that `tail` selects, if it selects one.
fn one(
    conn: &Connection,
    identity: &Identity,
    tail: &str,
    params: impl Params,
) -> rusqlite::Result<Option<Result<Entry, Bad>>> {
    let mut statement = conn.prepare_cached(&format!("{}{tail}", verify::SELECT_APART))?;
    let mut rows = statement.query(params)?;
    rows.next()?.map(|row| verify::read(row, identity, verify::before(row, identity)?)).transpose()
}

fn last_rseq(conn: &Connection, run: &str) -> rusqlite::Result<u64> {
    conn.prepare_cached("SELECT coalesce(max(run_seq), 0) FROM event WHERE run_id = ?1")?
        .query_row([run], |row| row.get::<_, i64>(0))
        .map(|rseq| rseq as u64)
}

fn highest_epoch(conn: &Connection, run: &str) -> rusqlite::Result<u64> {
    conn.prepare_cached("SELECT coalesce(max(epoch), 0) FROM lease WHERE run = ?1")?
        .query_row([run], |row| row.get::<_, i64>(0))
        .map(|epoch| epoch as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OpenOptions;
    use serde_json::value::RawValue;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    fn event(expected_rseq: u64) -> NewEvent {
        NewEvent {
            run: "r".into(),
            expected_rseq,
            ts_ms: 5_000,
            kind: "k".into(),
            v: 1,
            cause: None,
            epoch: 0,
            actor: raw("{}"),
            by: raw("{}"),
            body: raw("{}"),
            blobs: vec![],
        }
    }

    fn journal() -> (tempfile::TempDir, Journal) {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path().join("journal.db"), &OpenOptions::new("dbd/test/1", 1_000)).unwrap();
        (dir, journal)
    }

    #[test]
    fn a_commit_that_fails_leaves_the_state_unknown_and_the_journal_refuses_further_use() {
        let (dir, mut journal) = journal();
        journal.append(event(0)).unwrap();
        journal.conn.commit_hook(Some(|| true)).unwrap(); // turns the commit into a failure
        assert!(matches!(journal.append(event(1)).unwrap_err(), AppendError::Unknown { .. }));
        journal.conn.commit_hook(None::<fn() -> bool>).unwrap();

        assert!(matches!(journal.append(event(1)).unwrap_err(), AppendError::Unusable(Unusable::Poisoned)));
        assert!(matches!(journal.events("r").unwrap_err(), ReadError::Unusable(Unusable::Poisoned)));
        assert!(matches!(journal.head().unwrap_err(), ReadError::Unusable(Unusable::Poisoned)));
        assert!(matches!(journal.verify().unwrap_err(), ReadError::Unusable(Unusable::Poisoned)));
        assert!(matches!(journal.checkpoint().unwrap_err(), CheckpointError::Unusable(Unusable::Poisoned)));
        assert!(journal.take_lease("t", "r", "o", 1).is_err());
        drop(journal);

        let mut again = Journal::open(dir.path().join("journal.db"), &OpenOptions::new("other", 2_000)).unwrap();
        assert_eq!(again.append(event(1)).unwrap().seq, 2);
    }

    #[test]
    fn a_full_disk_leaves_the_state_unknown() {
        let (_dir, mut journal) = journal();
        journal.append(event(0)).unwrap();
        let pages: i64 = journal.conn.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
        journal.conn.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).unwrap();
        let error = journal.append(NewEvent { blobs: vec![vec![7; 1 << 20]], ..event(1) }).unwrap_err();
        assert!(matches!(error, AppendError::Unknown { .. }), "{error:?}");
        assert_eq!(journal.writable(), Err(Unusable::Poisoned));
    }

    #[test]
    fn what_the_rules_of_the_file_refuse_is_not_written_and_the_journal_goes_on() {
        let (_dir, mut journal) = journal();
        let deep = format!("{}{}", "[".repeat(3_000), "]".repeat(3_000)); // deeper than SQLite reads JSON
        let error = journal.append(NewEvent { body: raw(&deep), blobs: vec![b"x".to_vec()], ..event(0) }).unwrap_err();
        assert!(matches!(error, AppendError::Refused { .. }), "{error:?}");
        assert_eq!(journal.append(event(0)).unwrap().seq, 1);
        let blobs: i64 = journal.conn.query_row("SELECT count(*) FROM blob", [], |row| row.get(0)).unwrap();
        assert_eq!(blobs, 0);
    }

    #[test]
    fn a_locked_journal_is_busy_and_stays_usable() {
        let (dir, mut journal) = journal();
        journal.conn.busy_timeout(std::time::Duration::ZERO).unwrap();
        let other = Connection::open(dir.path().join("journal.db")).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        assert!(matches!(journal.append(event(0)).unwrap_err(), AppendError::Busy));
        other.execute_batch("ROLLBACK").unwrap();
        assert_eq!(journal.append(event(0)).unwrap().seq, 1);
    }
}
