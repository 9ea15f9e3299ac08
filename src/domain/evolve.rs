//! One step of the fold: a run and an event give the next run, or say that the event is illegal.
//!
//! The same function runs before an append and during replay, so what can be written can be read back.

use super::event::Recorded;
use super::ids::RunId;
use super::machine::{self, Illegal};
use super::run::Run;

/// An event that does not fit the history before it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// The state does not allow it.
    #[error("event {seq}: {illegal}")]
    Illegal {
        /// Its place in the journal.
        seq: u64,
        /// What and where.
        #[source]
        illegal: Illegal,
    },
    /// An event is missing, or there is one too many.
    #[error("event {seq} is number {found} of its run, expected {expected}")]
    Gap {
        /// Its place in the journal.
        seq: u64,
        /// The number it has.
        found: u64,
        /// The number it should have.
        expected: u64,
    },
}

/// The run after `recorded`.
///
/// # Errors
/// [`Misfit`] if the event is not the next of the run or not legal; the run given is untouched.
pub fn evolve(run: &Run, recorded: &Recorded) -> Result<Run, Misfit> {
    let mut next = run.clone();
    advance(&mut next, recorded)?;
    Ok(next)
}

/// As [`evolve`], in place: a run that is folded from its beginning is not copied for each of its events. After an error it is worth nothing.
///
/// # Errors
/// As [`evolve`].
pub fn advance(run: &mut Run, recorded: &Recorded) -> Result<(), Misfit> {
    if recorded.rseq != run.rseq + 1 {
        return Err(Misfit::Gap { seq: recorded.seq, found: recorded.rseq, expected: run.rseq + 1 });
    }
    let before = run.facts();
    run.absorb(recorded);
    // What an event brings counts for where it leads: a plan its steps, a preflight whether there is anything to do. The effect in
    // flight and what has failed are read from before, as the event is the answer to them.
    let mut facts = run.facts();
    facts.flight = before.flight;
    facts.failed = before.failed;
    facts.cancelled = before.cancelled;
    facts.rejected = before.rejected;
    facts.approval_missing = before.approval_missing;
    facts.stale_backup = before.stale_backup;
    facts.poisoned = before.poisoned;
    facts.look_again = before.look_again;
    facts.captured |= before.captured;
    facts.piecemeal = before.piecemeal;
    // Absorbing an event leaves the state as it was.
    run.state = machine::transition(&run.state, &facts, &recorded.event)
        .map_err(|illegal| Misfit::Illegal { seq: recorded.seq, illegal })?;
    Ok(())
}

/// The run that `events` add up to.
///
/// # Errors
/// [`Misfit`] at the first event that does not fit.
pub fn fold<'a>(id: &RunId, events: impl IntoIterator<Item = &'a Recorded>) -> Result<Run, Misfit> {
    let mut run = Run::blank(id.clone());
    for recorded in events {
        advance(&mut run, recorded)?;
    }
    Ok(run)
}
