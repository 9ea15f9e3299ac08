//! Whether the journal is what was written: of one event while it is read, of all of them on demand.

use crate::blob::{self, BlobRef, Condition};
use crate::chain::{self, Hash};
use crate::entry::{ENVELOPE, Entry, Head, RecordIn, Seen};
use crate::error::ReadError;
use crate::in_order::{in_order, threads};
use crate::merkle::{self, Tree};
use crate::open;
use crate::schema::Identity;
use crate::store::Journal;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row};
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::ControlFlow;
use std::sync::Arc;

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
    /// The events up to it do not give the root that was written down over them.
    #[error("the events up to it do not give the root that was signed over them")]
    Root,
    /// A root was written down over more events than there are.
    #[error("a root was signed over {expected} events, and there are {found}: the newest are missing")]
    Short {
        /// How many there were.
        expected: u64,
        /// How many there are.
        found: u64,
    },
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

/// The columns [`read`] expects; append `WHERE` and `ORDER BY`.
pub(crate) const SELECT: &str = "SELECT e.seq, e.prev, e.hash, e.run_id, e.run_seq, e.kind, e.ts, e.rec FROM event e ";

/// As [`SELECT`], with the hash of the event before as the last column, for reading that skips events.
pub(crate) const SELECT_APART: &str = "SELECT e.seq, e.prev, e.hash, e.run_id, e.run_seq, e.kind, e.ts, e.rec, \
     (SELECT p.hash FROM event p WHERE p.seq = e.seq - 1) FROM event e ";

/// The last column of [`SELECT_APART`]: what the event has to link to, if there is anything.
pub(crate) fn before(row: &Row<'_>, identity: &Identity) -> rusqlite::Result<Option<Hash>> {
    Ok(match row.get_ref(8)? {
        ValueRef::Null if place(row)? == 1 => Some(identity.genesis),
        value => hash(value),
    })
}

/// Checks the text of the event at `seq` against the hash it is stored with, `before` it being the hash it has to link to.
pub(crate) fn understand<'r>(
    seq: u64,
    stored: (Option<Hash>, Option<Hash>),
    rec: &'r [u8],
    before: Option<Hash>,
    origin: &str,
) -> Result<(RecordIn<'r>, Hash, &'r str), Why> {
    let (prev, claimed) = stored;
    let Some(before) = before.filter(|before| prev == Some(*before)) else { return Err(Why::Link) };
    let hash = chain::link(&before, rec);
    if claimed != Some(hash) {
        return Err(Why::Hash);
    }
    let text = str::from_utf8(rec).map_err(|_| Why::Record("it is not UTF-8".to_owned()))?;
    // Only where and what kind: the text of the error could quote the record.
    let record: RecordIn<'r> = serde_json::from_str(text)
        .map_err(|error| Why::Record(format!("{:?} error at byte {}", error.classify(), error.column())))?;
    if record.ev != ENVELOPE {
        return Err(Why::Envelope(record.ev));
    }
    if record.seq != seq {
        return Err(Why::Column("seq"));
    }
    if record.origin != origin {
        return Err(Why::Origin);
    }
    if let Some(cause) = record.cause.filter(|cause| *cause == 0 || *cause >= seq) {
        return Err(Why::Cause(cause));
    }
    Ok((record, hash, text))
}

/// What a row of [`SELECT`] holds, borrowed from it: the record, its hash, its text.
pub(crate) type Looked<'r> = Result<(RecordIn<'r>, Hash, &'r str), Bad>;

/// Looks at a row of [`SELECT`] and checks all that can be checked about one event: its link, its hash, its record, its columns.
///
/// Types are checked by hand, because a file that was tampered with may hold anything anywhere.
pub(crate) fn look<'r>(row: &'r Row<'_>, identity: &Identity, before: Option<Hash>) -> rusqlite::Result<Looked<'r>> {
    let seq = place(row)?;
    let stored = (hash(row.get_ref(1)?), hash(row.get_ref(2)?));
    let understood = match understand(seq, stored, bytes(row.get_ref(7)?), before, &identity.origin) {
        Ok(understood) => understood,
        Err(why) => return Ok(Err(Bad { seq, why })),
    };
    let record = &understood.0;
    let integer = |index, value: i64| row.get_ref(index).map(|found| found == ValueRef::Integer(value));
    let text = |index, value: &str| row.get_ref(index).map(|found| found == ValueRef::Text(value.as_bytes()));
    let columns = [
        ("run_id", text(3, &record.run)?),
        ("run_seq", i64::try_from(record.rseq).is_ok_and(|rseq| integer(4, rseq).unwrap_or(false))),
        ("kind", text(5, &record.kind)?),
        ("ts", integer(6, record.ts)?),
    ];
    Ok(match columns.iter().find(|(_, same)| !same) {
        Some((name, _)) => Err(Bad { seq, why: Why::Column(name) }),
        None => Ok(understood),
    })
}

/// As [`look`], with a copy of everything.
pub(crate) fn read(row: &Row<'_>, identity: &Identity, before: Option<Hash>) -> rusqlite::Result<Result<Entry, Bad>> {
    Ok(look(row, identity, before)?.map(|(record, hash, text)| {
        // A record that was understood links to what comes before it.
        record.entry(hash, before.unwrap_or_default(), text)
    }))
}

/// The place a row claims; 0, which no event has, for what cannot be one.
pub(crate) fn place(row: &Row<'_>) -> rusqlite::Result<u64> {
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
    /// What the index along which runs are read has to add up to, and the index of hashes.
    indexed: (Sum, Sum),
    /// Only where there is a root to compare with.
    tree: Option<Tree>,
    /// The roots that were written down, by the number of events they are over.
    sizes: HashMap<u64, Vec<merkle::Hash>>,
    conn: &'a Connection,
}

impl Walk<'_> {
    /// Takes what was found in the next stretch; what is wrong first, if anything is.
    fn take<T>(&mut self, stretch: Stretch<T>, visit: &mut impl FnMut(&str, T)) -> rusqlite::Result<ControlFlow<Bad>> {
        for event in stretch.events {
            let (seq, read) = (event.seq, event.read);
            // A missing event also breaks the link after it; the gap is the better name for it.
            if seq != self.head.seq + 1 {
                return Ok(ControlFlow::Break(self.gap(seq)));
            }
            if event.prev != self.head.hash {
                return Ok(ControlFlow::Break(Bad { seq, why: Why::Link }));
            }
            if let Err(why) = self.step(&event.link)? {
                return Ok(ControlFlow::Break(Bad { seq, why }));
            }
            visit(&event.link.run, read);
        }
        match stretch.end {
            None => Ok(ControlFlow::Continue(())),
            Some(End::Bad(bad)) if bad.seq != self.head.seq + 1 => Ok(ControlFlow::Break(self.gap(bad.seq))),
            Some(End::Bad(bad)) => Ok(ControlFlow::Break(bad)),
            Some(End::Unread(error)) => Err(error),
        }
    }

    fn gap(&self, seq: u64) -> Bad {
        Bad { seq, why: Why::Gap { expected: self.head.seq + 1 } }
    }

    fn step(&mut self, event: &Link) -> rusqlite::Result<Result<(), Why>> {
        let bad = |why| Ok(Err(why));
        if event.ts_ms < self.ts_ms {
            return bad(Why::Time);
        }
        match self.runs.get_mut(event.run.as_ref()) {
            Some(last) if event.rseq == *last + 1 => *last += 1,
            None if event.rseq == 1 => {
                self.runs.insert(event.run.to_string(), 1);
            }
            last => {
                let expected = last.map_or(1, |last| *last + 1);
                return bad(Why::RunGap { expected, found: event.rseq });
            }
        }
        for blob in &event.refs {
            match blob::look(self.conn, blob, |_| ())? {
                Condition::Sound => {}
                Condition::Purged => self.purged += 1,
                Condition::Missing => return bad(Why::BlobMissing(*blob)),
                Condition::Altered => return bad(Why::BlobAltered(*blob)),
            }
        }
        let seq = self.head.seq + 1;
        self.head = Head { seq, hash: event.hash };
        self.ts_ms = event.ts_ms;
        self.indexed.0.add(event.run.as_bytes(), event.rseq, seq);
        self.indexed.1.add(&event.hash, 0, seq);
        if let (Some(tree), Some(leaf)) = (&mut self.tree, event.leaf) {
            tree.push(leaf);
            if let Some(known) = self.sizes.get(&seq) {
                let root = tree.root();
                if known.iter().any(|known| *known != root) {
                    return bad(Why::Root);
                }
            }
        }
        Ok(Ok(()))
    }
}

/// How a verification is spread over threads.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How many threads read, each through a connection of its own; with one, the caller's own does.
    pub threads: usize,
    /// How many events a thread reads at a stretch. A few stretches a thread are held at once.
    pub stretch: u64,
}

impl Default for Pace {
    /// A thread for each processor, up to eight, and 512 events.
    fn default() -> Self {
        Self { threads: threads(), stretch: 512 }
    }
}

/// What was found of some events in a row.
struct Stretch<T> {
    events: Vec<Checked<T>>,
    /// Why it ends early, if it does.
    end: Option<End>,
}

enum End {
    Bad(Bad),
    Unread(rusqlite::Error),
}

/// An event that is right by itself, and what was read from it.
struct Checked<T> {
    seq: u64,
    prev: Hash,
    link: Link,
    read: T,
}

/// What has to fit the events before.
struct Link {
    run: Arc<str>,
    rseq: u64,
    ts_ms: i64,
    hash: Hash,
    refs: Vec<BlobRef>,
    /// Only where there is a root to compare with.
    leaf: Option<merkle::Hash>,
}

/// What a stretch is read for.
struct Reading<'a, R> {
    identity: &'a Identity,
    leaves: bool,
    read: &'a R,
}

impl<R> Reading<'_, R> {
    /// Reads the events of these places, the first of which follows the event before it.
    fn stretch<T>(&self, conn: &Connection, places: (i64, i64)) -> Stretch<T>
    where
        R: Fn(&str, Seen<'_>) -> T,
    {
        let mut events = Vec::new();
        let end = match self.fill(conn, places, &mut events) {
            Ok(bad) => bad.map(End::Bad),
            Err(error) => Some(End::Unread(error)),
        };
        Stretch { events, end }
    }

    fn fill<T>(
        &self,
        conn: &Connection,
        (from, to): (i64, i64),
        events: &mut Vec<Checked<T>>,
    ) -> rusqlite::Result<Option<Bad>>
    where
        R: Fn(&str, Seen<'_>) -> T,
    {
        let mut before = match from {
            ..=1 => Some(self.identity.genesis),
            from => conn
                .prepare_cached("SELECT hash FROM event WHERE seq = ?1")?
                .query_row([from - 1], |row| row.get_ref(0).map(hash))
                .optional()?
                .flatten(),
        };
        let mut statement = conn.prepare_cached(&format!("{SELECT} WHERE e.seq BETWEEN ?1 AND ?2 ORDER BY e.seq"))?;
        let mut rows = statement.query((from, to))?;
        let mut run: Arc<str> = Arc::from("");
        while let Some(row) = rows.next()? {
            let (record, hash, text) = match look(row, self.identity, before)? {
                Ok(looked) => looked,
                Err(bad) => return Ok(Some(bad)),
            };
            // Events of one run mostly stand together.
            if *run != *record.run {
                run = Arc::from(record.run.as_ref());
            }
            let read = (self.read)(&record.run, record.seen(hash));
            let link = Link {
                run: run.clone(),
                rseq: record.rseq,
                ts_ms: record.ts,
                hash,
                refs: record.refs,
                leaf: self.leaves.then(|| merkle::leaf(text.as_bytes())),
            };
            // What was understood links to what comes before it.
            events.push(Checked { seq: record.seq, prev: before.unwrap_or_default(), link, read });
            before = Some(hash);
        }
        Ok(None)
    }
}

/// What the entries of an index add up to, in whichever order they come. The keys of the hashes are drawn anew by each verification, so
/// that nobody can make two entries that add up to the same as two others.
#[derive(Clone, Default)]
struct Sum {
    keys: (RandomState, RandomState),
    sum: (u64, u64),
}

impl Sum {
    /// An empty one that can be compared with this one.
    fn anew(&self) -> Self {
        Self { keys: self.keys.clone(), sum: (0, 0) }
    }

    fn add(&mut self, key: &[u8], number: u64, seq: u64) {
        let hash = |keys: &RandomState| {
            let mut hasher = keys.build_hasher();
            hasher.write_u64(number);
            hasher.write_u64(seq);
            hasher.write(key);
            hasher.finish()
        };
        self.sum.0 = self.sum.0.wrapping_add(hash(&self.keys.0));
        self.sum.1 = self.sum.1.wrapping_add(hash(&self.keys.1));
    }
}

/// The first thing wrong with the file beneath, if any.
///
/// The table of events was just read from end to end, each row against its hash, which says more of it than SQLite could. What is left are
/// the other tables, and the indexes of the events: a run is read along one, so an entry that is missing there hides an event.
fn damage(conn: &Connection, walk: Option<&Walk<'_>>) -> rusqlite::Result<Option<String>> {
    let Some(walk) = walk else { return open::integrity_check(conn) };
    for table in ["blob", "lease", "meta"] {
        if let Some(damage) = open::integrity_check_of(conn, table)? {
            return Ok(Some(damage));
        }
    }
    let along = |sql| match conn.prepare(sql) {
        Ok(statement) => Ok(Some(statement)),
        // A file whose tables are not the ones that were made has no such index.
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::Unknown) => Ok(None),
        Err(error) => Err(error),
    };
    let by_run =
        along("SELECT run_id, run_seq, seq FROM event INDEXED BY sqlite_autoindex_event_2 ORDER BY run_id, run_seq")?;
    let by_hash = along("SELECT hash, seq FROM event INDEXED BY sqlite_autoindex_event_1 ORDER BY hash")?;
    let (Some(mut by_run), Some(mut by_hash)) = (by_run, by_hash) else { return open::integrity_check(conn) };
    let (by_runs, by_hashes) = &walk.indexed;
    let (mut runs, mut hashes) = (by_runs.anew(), by_hashes.anew());
    let mut rows = by_run.query([])?;
    while let Some(row) = rows.next()? {
        let number = |index| row.get_ref(index).map(|value| value.as_i64().unwrap_or(-1) as u64);
        runs.add(bytes(row.get_ref(0)?), number(1)?, number(2)?);
    }
    let mut rows = by_hash.query([])?;
    while let Some(row) = rows.next()? {
        hashes.add(bytes(row.get_ref(0)?), 0, row.get_ref(1)?.as_i64().unwrap_or(-1) as u64);
    }
    let same = runs.sum == by_runs.sum && hashes.sum == by_hashes.sum;
    Ok((!same).then(|| "an index of the events does not match them".to_owned()))
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
        self.verify_against(&[])
    }

    /// As [`Journal::verify`], and holds the events against roots that were written down earlier: each over the first so many events.
    ///
    /// # Errors
    /// As [`Journal::verify`].
    pub fn verify_against(&self, roots: &[(u64, merkle::Hash)]) -> Result<Verdict, ReadError> {
        self.verify_each(roots, Pace::default(), |_, _| (), |_, ()| ())
    }

    /// As [`Journal::verify_against`], and hands what `read` makes of each event that verifies to `visit`, with the run it belongs to, in the
    /// journal's order. `read` is called by several threads, and also for events behind one that turns out to be wrong.
    ///
    /// # Errors
    /// As [`Journal::verify`].
    pub fn verify_each<T: Send>(
        &self,
        roots: &[(u64, merkle::Hash)],
        pace: Pace,
        read: impl Fn(&str, Seen<'_>) -> T + Sync,
        mut visit: impl FnMut(&str, T),
    ) -> Result<Verdict, ReadError> {
        self.readable()?;
        let mut sizes: HashMap<u64, Vec<merkle::Hash>> = HashMap::new();
        for (size, root) in roots {
            sizes.entry(*size).or_default().push(*root);
        }
        let last = sizes.keys().copied().max().unwrap_or(0);
        let snapshot = self.conn.unchecked_transaction()?;
        let identity = Identity::read(&snapshot)?;
        let head = Head { seq: 0, hash: identity.genesis };
        let tree = (!sizes.is_empty()).then(Tree::default);
        let (runs, ts_ms) = (HashMap::new(), i64::MIN);
        let indexed = (Sum::default(), Sum::default());
        let mut walk = Walk { head, ts_ms, runs, purged: 0, indexed, tree, sizes, conn: &snapshot };
        let mut first_bad = (!identity.holds()).then_some(Bad { seq: 0, why: Why::Genesis });
        if first_bad.is_none() {
            let reading = Reading { identity: &identity, leaves: walk.tree.is_some(), read: &read };
            first_bad = match self.walk(&reading, pace, &mut walk, &mut visit) {
                Ok(bad) => bad,
                Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt) => {
                    Some(Bad { seq: walk.head.seq + 1, why: Why::Unreadable(error.to_string()) })
                }
                Err(error) => return Err(error.into()),
            };
        }
        if first_bad.is_none() && walk.head.seq < last {
            let seq = walk.head.seq + 1;
            first_bad = Some(Bad { seq, why: Why::Short { expected: last, found: walk.head.seq } });
        }
        let damage = match damage(&snapshot, first_bad.is_none().then_some(&walk)) {
            Ok(damage) => damage,
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt) => Some(error.to_string()),
            Err(error) => return Err(error.into()),
        };
        Ok(Verdict { events: walk.head.seq, first_bad, head: walk.head, purged: walk.purged, damage })
    }

    /// Goes from the first event to the last; what is wrong first, if anything is. The last stretch is read through the caller's snapshot,
    /// and what was committed since belongs to none: events are only added.
    fn walk<T: Send, R: Fn(&str, Seen<'_>) -> T + Sync>(
        &self,
        reading: &Reading<'_, R>,
        pace: Pace,
        walk: &mut Walk<'_>,
        visit: &mut impl FnMut(&str, T),
    ) -> rusqlite::Result<Option<Bad>> {
        let last: i64 = self.conn.query_row("SELECT coalesce(max(seq), 0) FROM event", [], |row| row.get(0))?;
        let length = i64::try_from(pace.stretch.max(1)).unwrap_or(i64::MAX);
        let whole = usize::try_from(last / length).unwrap_or(0);
        let places = |at: usize| {
            let from = (at as i64).saturating_mul(length);
            // What is at places that no event has is found as well.
            let from = if at == 0 { i64::MIN } else { from.saturating_add(1) };
            (from, if at < whole { (at as i64 + 1).saturating_mul(length) } else { i64::MAX })
        };
        let threads = pace.threads.min(whole);
        let others: Vec<Connection> = match threads {
            ..=1 => Vec::new(),
            _ => (0..threads).map_while(|_| open::another(&self.path).ok()).collect(),
        };
        // Where another connection is not to be had, this one reads it all.
        let spread = if others.is_empty() { 0 } else { whole };
        let read = |conn: &mut Connection, at: usize| reading.stretch(conn, places(at));
        let broken = in_order(others, spread, read, |stretch| match walk.take(stretch, visit) {
            Ok(ControlFlow::Continue(())) => ControlFlow::Continue(()),
            Ok(ControlFlow::Break(bad)) => ControlFlow::Break(Ok(Some(bad))),
            Err(error) => ControlFlow::Break(Err(error)),
        });
        if let ControlFlow::Break(found) = broken {
            return found;
        }
        for at in spread..=whole {
            if let ControlFlow::Break(bad) = walk.take(reading.stretch(&self.conn, places(at)), visit)? {
                return Ok(Some(bad));
            }
        }
        Ok(None)
    }
}
