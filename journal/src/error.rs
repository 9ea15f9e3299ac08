//! What can go wrong, one enum per operation.
//!
//! No message holds what an event says: bodies may be confidential, errors travel far.

use crate::blob::BlobRef;
use crate::entry::Head;
use crate::lease::LockOwner;
use crate::verify::Bad;
use std::path::PathBuf;

/// Why this handle may not be used for what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// It was opened with [`crate::Journal::open_read_only`].
    #[error("the journal was opened for reading only")]
    ReadOnly,
    /// A newer program has changed the file's schema. Reading is allowed, writing is not.
    #[error("the journal has schema {found}, written by a newer program; this one writes schema {known}")]
    Newer {
        /// The file's schema.
        found: u32,
        /// The newest schema this program knows.
        known: u32,
    },
    /// An earlier write failed in a way that leaves open what is on the disk. Only another process can find out.
    #[error("the journal's state is unknown since a write to it failed; end this process and read the journal again")]
    Poisoned,
}

/// Why a journal could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no journal, and only reading was asked for. Nothing was created.
    #[error("there is no journal at `{}`", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The folder could not be made or looked at.
    #[error("the journal's folder `{}` cannot be used", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The folder is on a file system where SQLite's locks, or the memory that its processes share, cannot be relied on.
    #[error("the journal's folder `{}` is on {name}, a network file system, where SQLite cannot keep it safe", path.display())]
    NetworkFileSystem {
        /// The folder.
        path: PathBuf,
        /// The file system.
        name: String,
    },
    /// The SQLite in use can lose committed transactions.
    #[error("SQLite {found} can lose committed data in WAL mode; 3.51.3 or newer is needed (or 3.50.7, 3.44.6)")]
    SqliteVersion {
        /// The version in use.
        found: String,
    },
    /// The origin for a new journal cannot be one.
    #[error("the origin for the new journal cannot be used: {why}")]
    Origin {
        /// What is wrong with it.
        why: &'static str,
    },
    /// The file is something else. It was not changed.
    #[error("`{}` is not a journal: {why}", path.display())]
    NotAJournal {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        why: String,
    },
    /// SQLite finds the file damaged.
    #[error("the journal `{}` is damaged: {detail}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite found first.
        detail: String,
    },
    /// A table or a trigger is not the one this program made.
    #[error("the journal `{}` was altered: {object} is missing or was changed", path.display())]
    Altered {
        /// The file.
        path: PathBuf,
        /// The table, index or trigger.
        object: String,
    },
    /// SQLite would not take a setting the journal's promises rest on.
    #[error("SQLite does not accept {setting} for the journal `{}`: it answers `{answer}`", path.display())]
    Setting {
        /// The file.
        path: PathBuf,
        /// The setting asked for.
        setting: &'static str,
        /// What it says instead.
        answer: String,
    },
    /// The journal is not the one whose head is remembered beside it: it was cut, or replaced by an older or another one.
    #[error("the journal `{}` does not hold event {} that is remembered beside it; its last one is {}", path.display(), known.seq, head.seq)]
    LostTail {
        /// The file.
        path: PathBuf,
        /// The event that is remembered.
        known: Head,
        /// The journal's last event.
        head: Head,
    },
    /// Another process kept the file locked for longer than the busy timeout.
    #[error("the journal `{}` stayed locked by another process", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// The system gave no random bytes for the genesis.
    #[error("no random bytes for a new journal")]
    Random {
        /// What the system said.
        source: getrandom::Error,
    },
    /// Anything else SQLite said.
    #[error("the journal `{}` cannot be opened: {action} failed", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// What SQLite said.
        source: rusqlite::Error,
    },
}

/// Why an event was not appended, or may not have been.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The writer does not know the run's last event. Nothing was written.
    #[error("run {run} is at event {found}, not {expected}: somebody else wrote to it")]
    Conflict {
        /// The run.
        run: String,
        /// The last `rseq` the writer knew.
        expected: u64,
        /// The last `rseq` there is.
        found: u64,
    },
    /// The run has been leased to somebody else since. Nothing was written; the writer must stop acting for the run.
    #[error("run {run} has been taken over: its lease is at epoch {held}, the event at epoch {epoch}")]
    StaleEpoch {
        /// The run.
        run: String,
        /// The event's epoch.
        epoch: u64,
        /// The lease's epoch.
        held: u64,
    },
    /// A field holds something no event may hold. Nothing was written.
    #[error("the event's {field} cannot be used: {why}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A part is too large. Nothing was written.
    #[error("the event's {part} is {len} bytes long; the limit is {limit}")]
    TooLarge {
        /// The part.
        part: &'static str,
        /// Its size in bytes.
        len: usize,
        /// The largest allowed, in bytes.
        limit: usize,
    },
    /// The journal's last event does not verify. Nothing was written: a chain is not continued from a broken link.
    #[error("the journal is broken")]
    Broken(#[source] Bad),
    /// Another process kept the journal locked for longer than the busy timeout. Nothing was written.
    #[error("the journal stayed locked by another process")]
    Busy,
    /// The handle may not write. Nothing was written.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// The system gave no random bytes for a blob's salt. Nothing was written.
    #[error("no random bytes for a blob")]
    Random {
        /// What the system said.
        source: getrandom::Error,
    },
    /// The journal's own rules refused the event. Nothing was written.
    #[error("the journal refused the event")]
    Refused {
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The write failed on its way to the disk: the event may be there or not. The journal refuses further use.
    #[error("the journal could not be written, and whether the event is in it is unknown")]
    Unknown {
        /// What SQLite said.
        source: rusqlite::Error,
    },
}

/// Why a lease could not be taken or released.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// A name cannot be used. Nothing was written.
    #[error("the lease's {field} cannot be used: {why}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Another process kept the journal locked for longer than the busy timeout. Nothing was written.
    #[error("the journal stayed locked by another process")]
    Busy,
    /// The handle may not write. Nothing was written.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// The journal's own rules refused the change. Nothing was written.
    #[error("the journal refused the lease")]
    Refused {
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The write failed on its way to the disk. The journal refuses further use.
    #[error("the journal could not be written, and whether the lease is in it is unknown")]
    Unknown {
        /// What SQLite said.
        source: rusqlite::Error,
    },
}

/// Why a blob could not be purged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PurgeError {
    /// The journal has no such blob.
    #[error("the journal has no blob {blob}")]
    Missing {
        /// The blob.
        blob: BlobRef,
    },
    /// Another process kept the journal locked for longer than the busy timeout. Nothing was written.
    #[error("the journal stayed locked by another process")]
    Busy,
    /// The handle may not write. Nothing was written.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// The journal's own rules refused the change. Nothing was written.
    #[error("the journal refused the purge")]
    Refused {
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The write failed on its way to the disk. The journal refuses further use.
    #[error("the journal could not be written, and whether the blob was purged is unknown")]
    Unknown {
        /// What SQLite said.
        source: rusqlite::Error,
    },
}

/// Why a checkpoint failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The handle may not write.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// Copying the `-wal` file into the journal failed. The journal refuses further use.
    #[error("the journal could not be checkpointed")]
    Unknown {
        /// What SQLite said.
        source: rusqlite::Error,
    },
}

/// Why the journal could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// An event does not verify.
    #[error("the journal is broken")]
    Broken(#[from] Bad),
    /// The handle may not be used.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// SQLite could not read it.
    #[error("the journal could not be read")]
    Sqlite {
        /// What SQLite said.
        #[from]
        source: rusqlite::Error,
    },
}

/// Why a blob could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlobError {
    /// The journal has no such blob.
    #[error("the journal has no blob {blob}")]
    Missing {
        /// The blob.
        blob: BlobRef,
    },
    /// Its content is not what its digest says.
    #[error("the content of blob {blob} was altered")]
    Altered {
        /// The blob.
        blob: BlobRef,
    },
    /// The handle may not be used.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// SQLite could not read it.
    #[error("the journal could not be read")]
    Sqlite {
        /// What SQLite said.
        source: rusqlite::Error,
    },
}

/// Why a target could not be locked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// A living process holds it.
    #[error("target {target} is held{}", owner.as_ref().map(|owner| format!(" by {owner}")).unwrap_or_default())]
    Held {
        /// The target.
        target: String,
        /// Who holds it, unless the holder had not got round to writing that down.
        owner: Option<LockOwner>,
    },
    /// The lock file could not be made, locked or written.
    #[error("target {target} could not be locked")]
    Io {
        /// The target.
        target: String,
        /// What the system said; it names the file.
        source: std::io::Error,
    },
}

/// How a write ended that did not end well, before it is put in the words of its operation.
#[derive(Debug)]
pub(crate) enum WriteError {
    Unusable(Unusable),
    Busy,
    Refused(rusqlite::Error),
    Unknown(rusqlite::Error),
}

impl WriteError {
    /// Sorts what SQLite said by what is known afterwards. When in doubt, nothing is.
    pub(crate) fn sort(source: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{ConstraintViolation, DatabaseBusy, DatabaseLocked, TooBig};
        let Some(error) = source.sqlite_error() else { return Self::Refused(source) };
        match error.code {
            DatabaseBusy | DatabaseLocked => Self::Busy,
            ConstraintViolation | TooBig => Self::Refused(source),
            // Plain SQLITE_ERROR: a statement could not be computed, as when a trigger meets JSON it cannot read.
            _ if error.extended_code == rusqlite::ffi::SQLITE_ERROR => Self::Refused(source),
            _ => Self::Unknown(source),
        }
    }
}

macro_rules! from_write_error {
    ($($error:ident),*) => {$(
        impl From<WriteError> for $error {
            fn from(error: WriteError) -> Self {
                match error {
                    WriteError::Unusable(why) => Self::Unusable(why),
                    WriteError::Busy => Self::Busy,
                    WriteError::Refused(source) => Self::Refused { source },
                    WriteError::Unknown(source) => Self::Unknown { source },
                }
            }
        }
    )*};
}

from_write_error!(AppendError, LeaseError, PurgeError);
