//! The record of everything.

use crate::domain::event::{Actor, Event, Recorded};
use crate::domain::failure::Failure;
use crate::domain::ids::RunId;

/// Why an event was not appended.
#[derive(Debug)]
pub enum AppendFailure {
    /// Somebody else appended to this run meanwhile: read it again, then decide again.
    Stale,
    /// Another process took the target over: this one must stop.
    Superseded,
    /// It is not known what the journal holds now: this process must end.
    Broken(Failure),
}

/// An event to be appended.
#[derive(Clone, Debug)]
pub struct NewEvent<'a> {
    /// The run.
    pub run: &'a RunId,
    /// How many events the run has, as far as the caller knows: another number is [`AppendFailure::Stale`].
    pub expected_rseq: u64,
    /// Milliseconds since 1970.
    pub now_ms: i64,
    /// The take-over it belongs to: one that is over is [`AppendFailure::Superseded`].
    pub epoch: u64,
    /// Who.
    pub actor: &'a Actor,
    /// What.
    pub event: &'a Event,
    /// Large texts that belong to it.
    pub blobs: Vec<Vec<u8>>,
}

/// What a run is in the journal's index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunHead {
    /// The run.
    pub run: RunId,
    /// When its first event was recorded, in milliseconds since 1970.
    pub first_ms: i64,
    /// When its last event was recorded.
    pub last_ms: i64,
    /// The place of its first event.
    pub first_seq: u64,
    /// The place of its last event.
    pub last_seq: u64,
}

/// The record of everything. One process writes at a time; several may read.
pub trait Journal {
    /// The journal's own name.
    fn origin(&self) -> String;

    /// Appends an event and makes it durable.
    fn append(&mut self, new: NewEvent<'_>) -> Result<Recorded, AppendFailure>;

    /// The events of a run, in order; each checked against the chain.
    ///
    /// # Errors
    /// [`JournalBroken`](crate::domain::code::Code::JournalBroken), naming the event.
    fn read(&self, run: &RunId) -> Result<Vec<Recorded>, Failure>;

    /// Every run, in the order of their first events.
    fn runs(&self) -> Result<Vec<RunHead>, Failure>;

    /// A blob an event refers to.
    fn blob(&self, reference: &str) -> Result<Vec<u8>, Failure>;

    /// The last event's place and hash.
    fn head(&self) -> Result<(u64, String), Failure>;

    /// The hash of the event at `seq`, if there is one.
    ///
    /// # Errors
    /// [`JournalBroken`](crate::domain::code::Code::JournalBroken) if it does not verify.
    fn hash_at(&self, seq: u64) -> Result<Option<String>, Failure>;

    /// Takes `target` for this process, until the value returned is dropped or the process ends, however it ends.
    ///
    /// # Errors
    /// [`Busy`](crate::domain::code::Code::Busy), naming who holds it.
    fn lock(&self, target: &str, owner: &str) -> Result<Box<dyn std::any::Any>, Failure>;

    /// Who holds `target` on this host right now, if anybody does.
    fn locked_by(&self, target: &str) -> Option<String>;

    /// Takes the next epoch of `target` for `run`.
    fn take_epoch(&mut self, target: &str, run: &RunId, owner: &str, now_ms: i64) -> Result<u64, Failure>;

    /// Moves what was written into the main file; harmless at any time.
    fn checkpoint(&mut self);
}
