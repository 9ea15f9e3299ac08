//! An append-only, hash-chained event store in one SQLite file.
//!
//! It keeps events of *runs*. Every event has a place in the journal (`seq`) and a place in its run (`rseq`), both without gaps. It
//! is stored as one line of JSON, hashed exactly as stored, and its hash covers the hash before it. What the events mean is
//! their writer's business: bodies are opaque JSON here.
//!
//! ```text
//!   genesis ──▶ event 1 ──▶ event 2 ──▶ event 3   one chain through the file, whichever run an event belongs to
//!               run A/1     run B/1     run A/2   a gap-free stream for each run
//! ```
//!
//! What it promises:
//! - an append that returned is on the disk: one commit, one `fdatasync` ([`Journal::append`]);
//! - a writer that did not know the run's last event is told so, and nothing is written ([`AppendError::Conflict`]);
//! - when a commit fails nobody knows what is on the disk: the journal refuses further use ([`AppendError::Unknown`]) and the
//!   process should end, so that the next one reads what is really there;
//! - what is read was verified while it was read: hash, link, and columns against the record.
//!
//! What it cannot promise: the chain is tamper-evident, not tamper-proof, and a tail that was cut off leaves a shorter but valid
//! chain. So the [`Head`] is remembered in a file beside the journal and compared when the journal is opened
//! ([`OpenError::LostTail`]); keep it somewhere else as well, for who can change one file can change two. `README.md` describes the file format for other readers.
//!
//! Absent on purpose: a clock (times come in as values), snapshots of state, knowledge of what is being journaled; threads, but for a verification.

mod blob;
pub mod chain;
mod entry;
mod error;
pub mod export;
mod in_order;
mod lease;
pub mod merkle;
pub mod note;
mod open;
mod schema;
mod store;
mod verify;
mod witness;

pub use blob::{BlobRef, MAX_BLOB_LEN};
pub use entry::{Appended, Entry, Head, MAX_ACTOR_LEN, MAX_BODY_LEN, MAX_NAME_LEN, NewEvent, RunHead, Seen};
pub use error::{
    AppendError, BlobError, CheckpointError, LeaseError, LockError, OpenError, PurgeError, ReadError, Unusable,
};
pub use in_order::{in_order, threads};
pub use lease::{Holder, Lease, LeaseRow, LockOwner, TargetLock, lock_target};
pub use open::OpenOptions;
pub use schema::{APPLICATION_ID, SCHEMA_VERSION};
pub use store::Journal;
pub use verify::{Bad, Pace, Verdict, Why};
pub use witness::{Witness, witness_path};

/// JSON text as it was written, never parsed and printed again. Re-exported so that callers need not match the version.
pub use serde_json::value::RawValue;
