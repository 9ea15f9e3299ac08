//! What to do about runs that were found: resume, leave to their owner, or tell a person.

use super::ids::RunId;
use super::machine::State;
use super::next::{Next, next};
use super::run::Run;

/// An open run, and whether a live process of this host holds its target.
#[derive(Clone, Debug)]
pub struct Found {
    /// The run.
    pub run: Run,
    /// Who holds its target on this host right now, if anybody does.
    pub held_by: Option<String>,
}

/// What to do about the open runs of a journal. Every open run is in exactly one of the lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Nobody works on them: `dbd resume` continues them.
    pub resumable: Vec<RunId>,
    /// They wait for an approval.
    pub waiting: Vec<RunId>,
    /// They wait for a person to say how it goes on.
    pub halted: Vec<RunId>,
    /// A live process works on them, with its name.
    pub held: Vec<(RunId, String)>,
}

/// Sorts the open runs.
#[must_use]
pub fn recovery(found: &[Found]) -> Recovery {
    let mut plan = Recovery::default();
    for Found { run, held_by } in found {
        match (&run.state, held_by) {
            (State::Settled { .. } | State::Blank {}, _) => {}
            (_, Some(owner)) => plan.held.push((run.id.clone(), owner.clone())),
            (State::Halted { .. }, None) => plan.halted.push(run.id.clone()),
            (_, None) if next(run) == Next::AwaitApproval => plan.waiting.push(run.id.clone()),
            (_, None) => plan.resumable.push(run.id.clone()),
        }
    }
    plan
}

/// Whether an open run keeps others off its target: it may have changed it, or is about to.
#[must_use]
pub fn blocks_target(run: &Run) -> bool {
    match run.state {
        State::Forward { .. } | State::Verifying { .. } | State::Rolling { .. } | State::Halted { .. } => true,
        State::Blank {} | State::Preparing { .. } | State::Planned {} | State::Settled { .. } => false,
    }
}
