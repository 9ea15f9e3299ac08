//! [`Journal`] over the append-only store of `dbd-journal`.
//!
//! Appends run on the caller's thread: the loop waits for each one anyway, as nothing may leave before its intent is durable.

use crate::domain::audit::{self, AuditEvent, AuditRecorded, Trail};
use crate::domain::code::Code;
use crate::domain::codec;
use crate::domain::event::{Actor, Recorded};
use crate::domain::failure::Failure;
use crate::domain::ids::RunId;
use crate::ports::boundary::{Boundary, passed};
use crate::ports::journal::{self, AppendFailure, Journal, RunHead};
use dbd_journal::{
    AppendError, BlobRef, Entry, LockError, LockOwner, NewEvent, OpenError, OpenOptions, Seen, Unusable, chain,
    lock_target,
};
use serde_json::value::{RawValue, to_raw_value};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a lock whose owner has ended is waited for.
const HEIR_PATIENCE: Duration = Duration::from_secs(5);

/// How long the name of a lock's owner is waited for.
const NAME_PATIENCE: Duration = Duration::from_secs(1);

/// The journal of one project.
pub struct SqliteJournal {
    store: dbd_journal::Journal,
    path: PathBuf,
    by: Box<RawValue>,
    host: String,
    pid: u32,
}

impl SqliteJournal {
    /// Opens the journal for writing; makes it if it is not there.
    ///
    /// # Errors
    /// A [`Failure`] with a code of 08xx that names the file.
    pub fn open(path: &Path, host: &str, pid: u32, now_ms: i64) -> Result<Self, Failure> {
        let store = dbd_journal::Journal::open(path, &OpenOptions::new(origin(host, pid, now_ms), now_ms))
            .map_err(|error| opening(path, &error))?;
        Ok(Self::over(store, path, host, pid))
    }

    /// Opens the journal for reading; `None` if there is none.
    ///
    /// # Errors
    /// A [`Failure`] with a code of 08xx that names the file.
    pub fn open_read_only(path: &Path, host: &str) -> Result<Option<Self>, Failure> {
        match dbd_journal::Journal::open_read_only(path) {
            Ok(store) => Ok(Some(Self::over(store, path, host, 0))),
            Err(OpenError::Missing { .. }) => Ok(None),
            Err(error) => Err(opening(path, &error)),
        }
    }

    fn over(store: dbd_journal::Journal, path: &Path, host: &str, pid: u32) -> Self {
        let by = to_raw_value(&serde_json::json!({"dbd": env!("CARGO_PKG_VERSION")})).unwrap_or_default();
        Self { store, path: path.to_owned(), by, host: host.to_owned(), pid }
    }

    /// The store beneath, for verification.
    #[must_use]
    pub fn store(&self) -> &dbd_journal::Journal {
        &self.store
    }

    /// Holds the journal against the head that is remembered beside it. One that was opened for writing was held against it already.
    ///
    /// # Errors
    /// [`Code::JournalLostTail`].
    pub fn beside(&self) -> Result<(), Failure> {
        let Some(known) = self.store.witness() else { return Ok(()) };
        match self.store.missing(&known).map_err(|error| self.broken("it cannot be read", &error))? {
            Some(missing) => {
                let head = self.store.head().map_err(|error| self.broken("it cannot be read", &error))?;
                Err(lost_tail(&self.path, missing.seq, head.seq))
            }
            None => Ok(()),
        }
    }

    /// Whether the owner of a lock was a process of this host that has ended.
    fn is_gone(&self, owner: &LockOwner) -> bool {
        let pid = i32::try_from(owner.pid).ok().and_then(rustix::process::Pid::from_raw);
        owner.host == self.host
            && pid.is_some_and(|pid| rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH))
    }

    fn broken(&self, what: &str, error: &(dyn std::error::Error + 'static)) -> Failure {
        Failure::new(Code::JournalBroken, format!("{}: {what}", self.path.display()))
            .source(error)
            .hint("`dbd audit verify` says which event is the first bad one and what is still provable before it")
    }

    fn unusable(&self, what: &str, error: &(dyn std::error::Error + 'static)) -> Failure {
        Failure::new(Code::JournalUnusable, format!("{}: {what}", self.path.display()))
            .source(error)
            .hint("nothing more was started; check the disk and the permissions, then `dbd resume`")
    }

    fn recorded(&self, entry: Seen<'_>) -> Result<Recorded, Failure> {
        recorded(entry).map_err(|why| {
            Failure::new(Code::JournalBroken, format!("{}: event {} cannot be read", self.path.display(), entry.seq))
                .cause(why)
                .hint("`dbd audit verify` says which event is the first bad one and what is still provable before it")
        })
    }

    /// What the stream about the record itself adds up to.
    ///
    /// # Errors
    /// [`JournalBroken`](Code::JournalBroken), or [`IllegalHistory`](Code::IllegalHistory) if its events do not fit each other.
    pub fn trail(&self) -> Result<Trail, Failure> {
        let entries = self.store.events(audit::STREAM).map_err(|error| self.broken("it cannot be trusted", &error))?;
        let mut trail = Trail::default();
        for entry in &entries {
            let recorded = audit_recorded(entry).map_err(|why| {
                Failure::new(
                    Code::JournalBroken,
                    format!("{}: event {} cannot be read", self.path.display(), entry.seq),
                )
                .cause(why)
            })?;
            trail.take(&recorded).map_err(|misfit| {
                Failure::new(Code::IllegalHistory, "the history of the audit stream is not legal").source(&misfit)
            })?;
        }
        Ok(trail)
    }

    /// Appends to the stream about the record itself, whose last event the caller knows as `trail`, and makes it durable.
    ///
    /// # Errors
    /// As [`Journal::append`]; [`AppendFailure::Stale`] when somebody else appended meanwhile.
    pub fn append_audit(
        &mut self,
        trail: &mut Trail,
        event: &AuditEvent,
        actor: &Actor,
        now_ms: i64,
    ) -> Result<u64, AppendFailure> {
        let new = NewEvent {
            run: audit::STREAM.to_owned(),
            expected_rseq: trail.rseq,
            ts_ms: now_ms,
            kind: event.kind().to_owned(),
            v: audit::VERSION,
            cause: None,
            epoch: 0,
            actor: to_raw_value(actor).unwrap_or_default(),
            by: self.by.clone(),
            body: RawValue::from_string(event.encode()).unwrap_or_default(),
            blobs: Vec::new(),
        };
        let appended = self.store.append(new).map_err(|error| self.not_appended(error))?;
        let recorded = AuditRecorded {
            seq: appended.seq,
            rseq: appended.rseq,
            ts_ms: appended.ts_ms,
            actor: actor.clone(),
            event: event.clone(),
        };
        trail.take(&recorded).map_err(|misfit| {
            AppendFailure::Broken(
                Failure::new(Code::Bug, "an event was recorded that does not fit its stream").source(&misfit),
            )
        })?;
        Ok(appended.seq)
    }

    fn not_appended(&self, error: AppendError) -> AppendFailure {
        match error {
            AppendError::Conflict { .. } => AppendFailure::Stale,
            AppendError::StaleEpoch { .. } => AppendFailure::Superseded,
            error @ AppendError::Unusable(Unusable::Newer { .. }) => {
                let failure =
                    Failure::new(Code::JournalNewer, format!("{} was written by a newer dbd", self.path.display()));
                AppendFailure::Broken(failure.source(&error).hint("use that version, or newer"))
            }
            error @ AppendError::Broken(_) => AppendFailure::Broken(self.broken("its last event is damaged", &error)),
            error => AppendFailure::Broken(self.unusable("it could not be written", &error)),
        }
    }
}

/// The event of a run as the domain knows it; `Err` says why this version cannot read it.
///
/// # Errors
/// A sentence that quotes nothing of the event.
pub fn recorded(entry: Seen<'_>) -> Result<Recorded, String> {
    let event = codec::decode(entry.kind, entry.v, entry.body).map_err(|error| match error {
        codec::DecodeError::Body { kind, source } => format!("the body of `{kind}` cannot be read: {source}"),
        error => error.to_string(),
    })?;
    let actor = serde_json::from_str(entry.actor).map_err(|error| format!("its actor cannot be read: {error}"))?;
    Ok(Recorded {
        seq: entry.seq,
        rseq: entry.rseq,
        ts_ms: entry.ts_ms,
        epoch: entry.epoch,
        actor,
        event,
        refs: entry.refs.iter().map(ToString::to_string).collect(),
        hash: chain::printed(&entry.hash),
    })
}

/// The event of the audit stream as the domain knows it; `Err` says why this version cannot read it.
///
/// # Errors
/// A sentence that quotes nothing of the event.
pub fn audit_recorded(entry: &Entry) -> Result<AuditRecorded, String> {
    let event = AuditEvent::decode(&entry.kind, entry.v, entry.body.get())?;
    let actor =
        serde_json::from_str(entry.actor.get()).map_err(|error| format!("its actor cannot be read: {error}"))?;
    Ok(AuditRecorded { seq: entry.seq, rseq: entry.rseq, ts_ms: entry.ts_ms, actor, event })
}

/// A name for a new journal: the host, and what tells it from another journal of that host.
fn origin(host: &str, pid: u32, now_ms: i64) -> String {
    format!("dbd/{host}/{now_ms:x}-{pid:x}")
}

fn opening(path: &Path, error: &OpenError) -> Failure {
    let shown = path.display();
    match error {
        OpenError::NetworkFileSystem { .. } => {
            Failure::new(Code::JournalOnNetwork, format!("{shown} is on a network file system"))
                .source(error)
                .hint("put the journal on a local disk with [journal] path")
        }
        OpenError::LostTail { known, head, .. } => lost_tail(path, known.seq, head.seq).source(error),
        OpenError::NotAJournal { .. } | OpenError::Damaged { .. } | OpenError::Altered { .. } => {
            Failure::new(Code::JournalBroken, format!("{shown} is no journal that can be trusted"))
                .source(error)
                .hint("`dbd audit verify` says what is wrong with it; a copy from a backup may be whole")
        }
        _ => Failure::new(Code::JournalUnusable, format!("{shown} cannot be opened"))
            .source(error)
            .hint("check that the folder exists, is writable and has room"),
    }
}

/// The journal is not the one whose head was written beside it.
fn lost_tail(path: &Path, known: u64, head: u64) -> Failure {
    let shown = path.display();
    let what = if known > head {
        format!("{shown} ends with event {head}, and `{shown}.head` remembers event {known}")
    } else {
        format!("event {known} of {shown} is not the one that was written")
    };
    let provable = if known > head { head } else { known.saturating_sub(1) };
    Failure::new(Code::JournalLostTail, what)
        .cause(match provable {
            0 => "nothing of it is provable".to_owned(),
            last => format!("at most events 1 to {last} are provable; `dbd audit verify` looks at each"),
        })
        .hint("the journal was cut, replaced by an older copy or by another one, or is a copy that went its own way; nothing was done")
        .hint("bring the right journal back, with its -wal and .head files, then do it again")
        .hint(format!(
            "if it is lost for good, move {shown} and everything that begins with its name away: a new journal begins, and the target \
             itself tells which migrations are applied"
        ))
}

impl Journal for SqliteJournal {
    fn origin(&self) -> String {
        self.store.origin().to_owned()
    }

    fn append(&mut self, new: journal::NewEvent<'_>) -> Result<Recorded, AppendFailure> {
        let journal::NewEvent { run, expected_rseq, now_ms, epoch, actor, event, blobs } = new;
        let raw = |text: String| RawValue::from_string(text).unwrap_or_default();
        let new = NewEvent {
            run: run.as_str().to_owned(),
            expected_rseq,
            ts_ms: now_ms,
            kind: event.kind().to_owned(),
            v: codec::VERSION,
            cause: None,
            epoch,
            actor: to_raw_value(actor).unwrap_or_default(),
            by: self.by.clone(),
            body: raw(codec::encode(event)),
            blobs,
        };
        passed(Boundary::BeforeAppend, event.kind());
        let appended = self.store.append(new);
        passed(Boundary::AfterAppend, event.kind());
        match appended {
            Ok(appended) => Ok(Recorded {
                seq: appended.seq,
                rseq: appended.rseq,
                ts_ms: appended.ts_ms,
                epoch,
                actor: actor.clone(),
                event: event.clone(),
                refs: appended.refs.iter().map(ToString::to_string).collect(),
                hash: chain::printed(&appended.hash),
            }),
            Err(error) => Err(self.not_appended(error)),
        }
    }

    fn read(&self, run: &RunId) -> Result<Vec<Recorded>, Failure> {
        let (mut events, mut unread) = (Vec::new(), None);
        let looked = self.store.look_at(run.as_str(), |seen| match self.recorded(seen) {
            Ok(recorded) => {
                events.push(recorded);
                ControlFlow::Continue(())
            }
            Err(failure) => {
                unread = Some(failure);
                ControlFlow::Break(())
            }
        });
        looked.map_err(|error| self.broken("it cannot be trusted", &error))?;
        unread.map_or(Ok(events), Err)
    }

    fn runs(&self) -> Result<Vec<RunHead>, Failure> {
        let heads = self.store.runs().map_err(|error| self.broken("it cannot be read", &error))?;
        Ok(heads
            .into_iter()
            .filter_map(|head| {
                RunId::parse(&head.run).map(|run| RunHead {
                    run,
                    first_ms: head.first_ts_ms,
                    last_ms: head.last_ts_ms,
                    first_seq: head.first_seq,
                    last_seq: head.last_seq,
                })
            })
            .collect())
    }

    fn blob(&self, reference: &str) -> Result<Vec<u8>, Failure> {
        let name: BlobRef = reference.parse().map_err(|error| self.broken("a reference cannot be read", &error))?;
        self.store.blob(&name).map_err(|error| self.broken("a stored text is damaged", &error))?.ok_or_else(|| {
            Failure::new(Code::JournalBroken, format!("{}: the text {reference} was purged", self.path.display()))
                .hint("a run whose texts were purged cannot go on")
        })
    }

    fn head(&self) -> Result<(u64, String), Failure> {
        let head = self.store.head().map_err(|error| self.broken("it cannot be read", &error))?;
        Ok((head.seq, chain::printed(&head.hash)))
    }

    fn hash_at(&self, seq: u64) -> Result<Option<String>, Failure> {
        let entry = self.store.event(seq).map_err(|error| self.broken("it cannot be trusted", &error))?;
        Ok(entry.map(|entry| chain::printed(&entry.hash)))
    }

    fn lock(&self, target: &str, owner: &str) -> Result<Box<dyn std::any::Any>, Failure> {
        let who = LockOwner { pid: self.pid, host: self.host.clone(), run: owner.to_owned(), since_ms: 0 };
        let deadline = Instant::now() + HEIR_PATIENCE;
        let named = Instant::now() + NAME_PATIENCE;
        let locked = loop {
            match lock_target(&self.path, target, &who) {
                // A process that was killed while it started a child leaves the lock to that child, until the child has become
                // what it was started for: a moment.
                Err(LockError::Held { owner: Some(owner), .. })
                    if self.is_gone(&owner) && Instant::now() < deadline =>
                {
                    std::thread::sleep(Duration::from_millis(10));
                }
                // Whoever took it this very moment has not said who they are yet.
                Err(LockError::Held { owner: None, .. }) if Instant::now() < named => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                locked => break locked,
            }
        };
        match locked {
            Ok(lock) => Ok(Box::new(lock)),
            Err(LockError::Held { owner, .. }) => {
                let by = owner.map_or_else(
                    || "another process".to_owned(),
                    |owner| format!("{} (pid {} on {})", owner.run, owner.pid, owner.host),
                );
                Err(Failure::new(Code::Busy, format!("`{target}` is being deployed to by {by}"))
                    .hint("wait for it to end, or watch it with `dbd logs --follow`"))
            }
            Err(error) => Err(self.unusable("its lock cannot be taken", &error)),
        }
    }

    fn locked_by(&self, target: &str) -> Option<String> {
        let who = LockOwner { pid: self.pid, host: self.host.clone(), run: String::new(), since_ms: 0 };
        match lock_target(&self.path, target, &who) {
            Err(LockError::Held { owner, .. }) => {
                Some(owner.map_or_else(
                    || "another process".to_owned(),
                    |owner| format!("pid {} on {}", owner.pid, owner.host),
                ))
            }
            _ => None,
        }
    }

    fn take_epoch(&mut self, target: &str, run: &RunId, owner: &str, now_ms: i64) -> Result<u64, Failure> {
        let lease = self.store.take_lease(target, run.as_str(), owner, now_ms);
        passed(Boundary::EpochTaken, "");
        lease.map(|lease| lease.epoch).map_err(|error| self.unusable("the lease could not be written", &error))
    }

    fn checkpoint(&mut self) {
        // Only bounds what a torn file could cost; a reader that keeps the log is no failure.
        let _ = self.store.checkpoint();
    }
}
