//! What to do next: a pure function of the run.

use super::decide;
use super::effect::{DumpPurpose, Effect};
use super::event::Event;
use super::machine::{
    Checking, End, Flight, Stage, State, Undoing, due_stage, effect_of_check, effect_of_stage, effect_of_undo,
    refresh_before,
};
use super::run::{InFlight, MAX_TAKEOVERS, Run};

/// What comes next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Record the intent, then do it, then record the outcome.
    Perform(Effect),
    /// An intent without an outcome: fence, look, record the verdict.
    Reconcile(InFlight),
    /// A decision that follows from what is recorded: record it.
    Record(Event),
    /// A person has to decide before anything else happens.
    AwaitApproval,
    /// A person has to say how it goes on.
    Halted,
    /// Nothing is left to do.
    Settled(End),
}

/// What to do next with `run`.
#[must_use]
pub fn next(run: &Run) -> Next {
    match due(run) {
        // Whatever killed the process will kill it again. Looking what became of something already started is still due.
        Next::Perform(_) if poisoned(run) => Next::Record(decide::worn_out(run)),
        due => due,
    }
}

fn due(run: &Run) -> Next {
    match run.state {
        State::Blank {} => Next::Halted,
        State::Settled { end } => Next::Settled(end),
        State::Halted { .. } => Next::Halted,
        State::Planned {} => planned(run),
        _ => match run.state.flight() {
            Flight::Out | Flight::Fenced => match &run.flight {
                Some(flight) => Next::Reconcile(flight.clone()),
                None => Next::Halted,
            },
            Flight::Doubt => Next::Record(Event::Halted { why: decide::in_doubt(run) }),
            Flight::Ready => ready(run),
        },
    }
}

/// Whether the run was taken over too often without a new outcome. [`next`] starts no further effect of such a run: a person is asked.
#[must_use]
pub fn poisoned(run: &Run) -> bool {
    run.takeovers > MAX_TAKEOVERS
}

fn planned(run: &Run) -> Next {
    let facts = run.facts();
    if facts.dry_run {
        Next::Record(Event::Rehearsed)
    } else if facts.rejected || facts.cancelled {
        Next::Record(decide::refusal(run))
    } else if facts.approval_missing {
        Next::AwaitApproval
    } else if facts.capture {
        Next::Perform(Effect::StartCapture)
    } else if facts.stale_backup {
        Next::Perform(Effect::Dump { purpose: DumpPurpose::Refresh })
    } else {
        Next::Perform(Effect::PrepareTarget)
    }
}

fn ready(run: &Run) -> Next {
    let facts = run.facts();
    let turned_round = facts.failed || facts.cancelled;
    match run.state {
        State::Preparing { stage: Stage::Judge, .. } => Next::Record(decide::judge(run)),
        State::Preparing { stage, .. } => perform(effect_of_stage(due_stage(stage, &facts))),
        State::Forward { .. } | State::Verifying { .. } if turned_round => {
            Next::Record(Event::RollbackStarted { why: decide::why_back(run) })
        }
        State::Forward { step, .. } if refresh_before(step, &facts) => {
            Next::Perform(Effect::Dump { purpose: DumpPurpose::Refresh })
        }
        State::Forward { step, .. } => Next::Perform(Effect::Migrate { step }),
        State::Verifying { check: Checking::Conclude, .. } => Next::Record(Event::RunSucceeded),
        State::Verifying { check, .. } => perform(effect_of_check(check)),
        State::Rolling { undo: Undoing::Step(_), .. } if facts.failed => {
            Next::Record(Event::RollbackStarted { why: decide::undo_failed(run) })
        }
        State::Rolling { .. } if facts.failed => Next::Record(Event::Halted { why: decide::undo_failed(run) }),
        State::Rolling { undo: Undoing::Save, .. } if facts.forgets && !facts.asked => {
            Next::Record(Event::Halted { why: decide::would_lose(run) })
        }
        State::Rolling { undo: Undoing::Conclude, .. } => Next::Record(Event::RolledBack),
        State::Rolling { undo, .. } => perform(effect_of_undo(undo)),
        State::Blank {} | State::Planned {} | State::Halted { .. } | State::Settled { .. } => Next::Halted,
    }
}

fn perform(effect: Option<Effect>) -> Next {
    effect.map_or(Next::Halted, Next::Perform)
}
