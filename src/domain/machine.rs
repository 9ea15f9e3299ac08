//! The one table of which event is legal in which state, and where it leads.
//!
//! ```text
//! blank ── run.requested ──► preparing: preflight ► dump ► create sandbox ► fill ► rehearse ► (tests) ► drop sandbox ► judge
//! judge ── run.planned ──► planned ──(approval)──► preparing: (dump again) ► prepare target ──► forward 0
//! judge ── run.refused | run.succeeded (nothing to do) ──► settled          planned ── run.rehearsed (dry run) ──► settled
//! forward i ── migrated ──► forward i+1 … ──► verifying: schema ► (command) ► (health) ► conclude ── run.succeeded ──► settled
//! forward, verifying ── rollback.started ──► rolling: assess ► (save) ► restore ► check ► conclude ── run.rolled_back ──► settled
//!                                            also when a step failed after a part of it was committed
//!                                            rolling: check ► conclude                            when nothing was committed
//! forward 0, nothing committed, the dump too old ──► preparing: dump again ► prepare target ──► forward 0
//! rolling: save, restore, in other hands or tried in vain ──► rolling: assess, as rows may have been written meanwhile
//! a change of the target in doubt that nobody can tell about, a failed undo, or too many take-overs ── run.halted ──► halted
//! the target is not as the last outcome left it ── run.halted ──► halted, and back with the next take-over, which looks again
//! halted ── step.ruled | rollback.requested ──► back
//! a plan whose way back is the swap: planned ──► preparing: capture ► dump again ► shadow ► prepare target ──► forward 0
//!                                            and the capture is ended after the last check, before a refusal, at the end of the way back
//! rolling in place: take back step n ► … ► take back step 1 ► check       failed ── rollback.started ──► the next way
//! rolling by swap: catch up ► swap ► check                                rolling by restore, as above; rows would be lost ──► halted
//! settled(succeeded), its capture still on ── way.checked | capture.ended ──► stays
//! settled(succeeded) ── rollback.requested ──► rolling               anything unsettled ── run.abandoned ──► settled
//! ```
//!
//! The whole table, event by event, is in `docs/states.md`; a test keeps it true.
//!
//! The machine is statig used as a pure function: a hand-written [`State`], no entry or exit actions, and no handler that answers
//! for an event it does not know. What no handler accepts is an [`Illegal`] value. It is never deserialised: events are the truth.

use super::code::Code;
use super::digest::Digest;
use super::effect::{DumpPurpose, Effect, Recovery};
use super::event::{Event, Outcome, Verdict};
use super::failure::{Certainty, Failure};
use super::ids::EffectId;
use super::way::Way;
use serde::{Deserialize, Serialize};
use statig::blocking::*;

/// Whether the effect of the current place has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flight {
    /// Nothing is under way.
    Ready,
    /// The intent is recorded; the effect may have happened.
    Out,
    /// As [`Flight::Out`], and nothing of it can take effect any more.
    Fenced,
    /// Fenced, and nobody can tell.
    Doubt,
}

/// What is done before the target is touched, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// [`Effect::Preflight`] is next.
    Preflight,
    /// [`Effect::Dump`] is next.
    Dump,
    /// [`Effect::CreateSandbox`] is next.
    CreateSandbox,
    /// [`Effect::FillSandbox`] is next.
    FillSandbox,
    /// [`Effect::Rehearse`] is next.
    Rehearse,
    /// [`Effect::RunTests`] is next.
    RunTests,
    /// [`Effect::DropSandbox`] is next.
    DropSandbox,
    /// What was found is judged next: a plan, a refusal, or nothing to do.
    Judge,
    /// [`Effect::StartCapture`] is next.
    Capture,
    /// The dump is taken again, as the run waited for a decision, or as it has to be taken under the capture.
    Refresh,
    /// [`Effect::RaiseShadow`] is next.
    Shadow,
    /// [`Effect::PrepareTarget`] is next.
    PrepareTarget,
    /// [`Effect::EndCapture`] is next, and then a refusal.
    EndCapture,
}

/// What is checked after the last step, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Checking {
    /// [`Effect::CheckSchema`] is next.
    Schema,
    /// [`Effect::RunVerify`] is next.
    Command,
    /// [`Effect::CheckHealth`] is next.
    Health,
    /// [`Effect::CheckWay`] is next: the capture stays on.
    Way,
    /// [`Effect::EndCapture`] is next.
    EndCapture,
    /// Everything was in order.
    Conclude,
}

/// What is done to take the target back, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Undoing {
    /// [`Effect::UndoStep`] of this step is next.
    Step(usize),
    /// [`Effect::CatchUp`] is next.
    CatchUp,
    /// [`Effect::Swap`] is next.
    Swap,
    /// [`Effect::AssessLoss`] is next.
    Assess,
    /// [`Effect::Dump`] of what the restore would forget is next.
    Save,
    /// [`Effect::Restore`] is next.
    Restore,
    /// [`Effect::CheckRestored`] is next.
    Check,
    /// [`Effect::EndCapture`] is next.
    EndCapture,
    /// The target is back.
    Conclude,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Deployed and verified, or nothing to deploy.
    Succeeded,
    /// The target is back at its checkpoint.
    RolledBack,
    /// Stopped before the target was touched.
    Refused,
    /// A dry run that came to its end.
    Rehearsed,
    /// Given up where it stood.
    Abandoned,
}

/// Where a halted run goes on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Position {
    /// At a step of the plan.
    Forward(usize),
    /// At a check.
    Verifying(Checking),
    /// At a part of the way back.
    Rolling(Undoing),
}

/// The state of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum State {
    /// Nothing has happened.
    Blank {},
    /// The target is untouched.
    Preparing {
        /// What is next or under way.
        stage: Stage,
        /// Whether it left.
        flight: Flight,
    },
    /// The plan is frozen.
    Planned {},
    /// Steps are being applied.
    Forward {
        /// The step that is next or under way, from 0.
        step: usize,
        /// Whether it left.
        flight: Flight,
    },
    /// The target is being checked.
    Verifying {
        /// What is next or under way.
        check: Checking,
        /// Whether it left.
        flight: Flight,
    },
    /// The target is being taken back.
    Rolling {
        /// What is next or under way.
        undo: Undoing,
        /// Whether it left.
        flight: Flight,
    },
    /// A person has to decide.
    Halted {
        /// Where it stood.
        at: Position,
        /// Whether the effect there is in doubt.
        doubt: bool,
    },
    /// Over.
    Settled {
        /// How.
        end: End,
    },
}

impl State {
    /// Whether an effect is under way or in doubt.
    #[must_use]
    pub fn flight(&self) -> Flight {
        match self {
            State::Preparing { flight, .. }
            | State::Forward { flight, .. }
            | State::Verifying { flight, .. }
            | State::Rolling { flight, .. } => *flight,
            State::Halted { doubt: true, .. } => Flight::Doubt,
            _ => Flight::Ready,
        }
    }

    /// Whether the run is over.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        matches!(self, State::Settled { .. })
    }

    /// The state in one word, for people and programs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            State::Blank {} => "blank",
            State::Preparing { .. } => "preparing",
            State::Planned {} => "planned",
            State::Forward { .. } => "deploying",
            State::Verifying { .. } => "verifying",
            State::Rolling { .. } => "rolling_back",
            State::Halted { .. } => "needs_operator",
            State::Settled { end: End::Succeeded } => "succeeded",
            State::Settled { end: End::RolledBack } => "rolled_back",
            State::Settled { end: End::Refused } => "refused",
            State::Settled { end: End::Rehearsed } => "planned",
            State::Settled { end: End::Abandoned } => "abandoned",
        }
    }
}

/// The effect of a stage, if it has one.
#[must_use]
pub fn effect_of_stage(stage: Stage) -> Option<Effect> {
    Some(match stage {
        Stage::Preflight => Effect::Preflight,
        Stage::Dump => Effect::Dump { purpose: DumpPurpose::Checkpoint },
        Stage::CreateSandbox => Effect::CreateSandbox,
        Stage::FillSandbox => Effect::FillSandbox,
        Stage::Rehearse => Effect::Rehearse,
        Stage::RunTests => Effect::RunTests,
        Stage::DropSandbox => Effect::DropSandbox,
        Stage::Judge => return None,
        Stage::Capture => Effect::StartCapture,
        Stage::Refresh => Effect::Dump { purpose: DumpPurpose::Refresh },
        Stage::Shadow => Effect::RaiseShadow,
        Stage::PrepareTarget => Effect::PrepareTarget,
        Stage::EndCapture => Effect::EndCapture,
    })
}

/// The effect of a check, if it has one.
#[must_use]
pub fn effect_of_check(check: Checking) -> Option<Effect> {
    Some(match check {
        Checking::Schema => Effect::CheckSchema,
        Checking::Command => Effect::RunVerify,
        Checking::Health => Effect::CheckHealth,
        Checking::Way => Effect::CheckWay,
        Checking::EndCapture => Effect::EndCapture,
        Checking::Conclude => return None,
    })
}

/// The effect of a part of the way back, if it has one.
#[must_use]
pub fn effect_of_undo(undo: Undoing) -> Option<Effect> {
    Some(match undo {
        Undoing::Step(step) => Effect::UndoStep { step },
        Undoing::CatchUp => Effect::CatchUp,
        Undoing::Swap => Effect::Swap,
        Undoing::EndCapture => Effect::EndCapture,
        Undoing::Assess => Effect::AssessLoss,
        Undoing::Save => Effect::Dump { purpose: DumpPurpose::BeforeRollback },
        Undoing::Restore => Effect::Restore,
        Undoing::Check => Effect::CheckRestored,
        Undoing::Conclude => return None,
    })
}

/// What the machine has to know of a run besides its state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Facts {
    /// The effect in flight.
    pub flight: Option<EffectId>,
    /// How many steps the plan has.
    pub steps: usize,
    /// How many steps are committed, one that was committed in part included.
    pub committed: usize,
    /// Whether the step in flight may fail after a part of it is committed.
    pub piecemeal: bool,
    /// Whether there is a command to test the sandbox with.
    pub tests: bool,
    /// Whether there is a command to verify the target with.
    pub verify: bool,
    /// Whether that command must not be run twice.
    pub verify_once: bool,
    /// Whether there is a health check.
    pub health: bool,
    /// Whether there is nothing to deploy.
    pub nothing_to_do: bool,
    /// Whether something failed that has not been dealt with.
    pub failed: bool,
    /// Whether somebody wants it stopped.
    pub cancelled: bool,
    /// Whether somebody rejected the plan.
    pub rejected: bool,
    /// Whether the plan still lacks an approval.
    pub approval_missing: bool,
    /// Whether it ends with the plan.
    pub dry_run: bool,
    /// Whether the dump has grown old while the run waited.
    pub stale_backup: bool,
    /// Whether a restore would forget somebody's rows.
    pub loss: bool,
    /// Whether that would be somebody's rows or schema for certain: then it is not restored unasked.
    pub forgets: bool,
    /// Whether a rollback can be asked for: there is a backup and something was committed.
    pub restorable: bool,
    /// How many committed steps are not taken back.
    pub standing: usize,
    /// How the run goes back as things stand.
    pub way: Way,
    /// Whether the plan has writes captured.
    pub capture: bool,
    /// Whether they are.
    pub captured: bool,
    /// Whether the capture stays on after a success.
    pub keep_capture: bool,
    /// Whether a person asked for the way back, knowing that it is the backup.
    pub asked: bool,
    /// Whether it was taken over too often without a new outcome: no further effect is started by itself.
    pub poisoned: bool,
    /// Whether it was halted because the target was not as it was left: then whoever takes it over looks again.
    pub look_again: bool,
    /// The digest of the plan: what an approval has to name.
    pub plan: Option<Digest>,
}

/// The stage that is due with nothing in flight: before the target is prepared, a dump that has grown old is taken again.
pub(super) fn due_stage(stage: Stage, facts: &Facts) -> Stage {
    if stage == Stage::PrepareTarget && facts.stale_backup { Stage::Refresh } else { stage }
}

/// Whether the first step waited so long with nothing committed that the dump has to be taken again before it.
pub(super) fn refresh_before(step: usize, facts: &Facts) -> bool {
    step == 0 && facts.committed == 0 && facts.stale_backup
}

/// An event that the state does not allow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{event}` is not legal in the state `{state:?}`")]
pub struct Illegal {
    /// The state.
    pub state: State,
    /// The kind of event.
    pub event: &'static str,
}

/// Where `event` leads from `state`.
///
/// # Errors
/// [`Illegal`] if the state does not allow it.
pub fn transition(state: &State, facts: &Facts, event: &Event) -> Result<State, Illegal> {
    let mut verdict = Answer { accepted: false };
    let machine = Machine { facts: facts.clone() };
    let mut machine = machine.uninitialized_state_machine();
    // Safe before initialisation: there are no entry actions that could be skipped.
    *machine.state_mut() = *state;
    let mut machine = machine.init_with_context(&mut verdict);
    machine.handle_with_context(event, &mut verdict);
    if verdict.accepted { Ok(*machine.state()) } else { Err(Illegal { state: *state, event: event.kind() }) }
}

#[derive(Clone)]
struct Machine {
    facts: Facts,
}

struct Answer {
    accepted: bool,
}

impl Answer {
    fn to(&mut self, state: State) -> statig::Outcome<State> {
        self.accepted = true;
        // A transition to an equal variant leaves and enters, which is harmless as nothing is attached to either.
        Transition(state)
    }

    fn stay(&mut self) -> statig::Outcome<State> {
        self.accepted = true;
        Handled
    }
}

/// What an event means for the effect of one place.
enum Turn {
    Left,
    Applied,
    NotApplied,
    Unknown,
    Failed,
    Fenced,
    Other,
}

impl Machine {
    /// Reads `event` as news of the effect of this place, refusing news that does not fit.
    fn turn(&self, flight: Flight, expected: Option<Effect>, event: &Event) -> Turn {
        let Some(expected) = expected else { return Turn::Other };
        let ours = |id: &EffectId| self.facts.flight.as_ref() == Some(id);
        match event {
            Event::Intended { effect, .. } if flight == Flight::Ready && *effect == expected => Turn::Left,
            Event::Succeeded { id, outcome, .. } if flight == Flight::Out && ours(id) && fits(expected, outcome) => {
                Turn::Applied
            }
            // Where the target may have changed, not to know is no outcome: it is looked up.
            Event::Failed { failure, .. } if expected.changes_target() && failure.certainty == Certainty::InDoubt => {
                Turn::Other
            }
            Event::Failed { id, partial, .. }
                if flight == Flight::Out && ours(id) && self.fits_partly(expected, partial.as_ref()) =>
            {
                Turn::Failed
            }
            Event::Fenced { id, .. } if flight == Flight::Out && ours(id) => Turn::Fenced,
            // A process may be killed between the fence and the verdict; the next one fences again.
            Event::Fenced { id, .. } if flight == Flight::Fenced && ours(id) => Turn::Fenced,
            Event::Reconciled { id, verdict, .. } if flight == Flight::Fenced && ours(id) => match verdict {
                Verdict::Applied { outcome } if fits(expected, outcome) => Turn::Applied,
                Verdict::Applied { .. } => Turn::Other,
                Verdict::NotApplied => Turn::NotApplied,
                Verdict::PartlyApplied { outcome, .. } if self.stands_partly(expected, outcome) => Turn::Failed,
                Verdict::PartlyApplied { .. } => Turn::Other,
                // What only looks or can be thrown away is done again; a ruling that it "happened" would skip a check.
                Verdict::Unknown if expected.recovery() == Recovery::ProbeLedger => Turn::Unknown,
                Verdict::Unknown if expected == Effect::RunVerify && self.facts.verify_once => Turn::Unknown,
                Verdict::Unknown => Turn::Other,
            },
            _ => Turn::Other,
        }
    }

    fn after_stage(&self, stage: Stage) -> State {
        let next = match stage {
            Stage::Preflight if self.facts.nothing_to_do => Stage::Judge,
            Stage::Preflight => Stage::Dump,
            Stage::Dump => Stage::CreateSandbox,
            Stage::CreateSandbox => Stage::FillSandbox,
            Stage::FillSandbox => Stage::Rehearse,
            Stage::Rehearse if self.facts.tests => Stage::RunTests,
            Stage::Rehearse | Stage::RunTests => Stage::DropSandbox,
            Stage::DropSandbox | Stage::EndCapture | Stage::Judge => Stage::Judge,
            Stage::Capture => Stage::Refresh,
            Stage::Refresh if self.facts.captured => Stage::Shadow,
            Stage::Refresh | Stage::Shadow => Stage::PrepareTarget,
            // The target is still untouched: whoever wants it stopped gets a refusal, not a rollback of nothing.
            Stage::PrepareTarget if self.facts.cancelled => self.given_up(stage),
            Stage::PrepareTarget => return State::Forward { step: 0, flight: Flight::Ready },
        };
        State::Preparing { stage: self.unless_cancelled(next), flight: Flight::Ready }
    }

    /// `stage`, or what is left of it for somebody who wants it stopped and need not wait for the rest.
    fn unless_cancelled(&self, stage: Stage) -> Stage {
        if self.facts.cancelled && !tidies(stage) { self.given_up(stage) } else { stage }
    }

    /// Where preparing goes once it is given up at `stage`: what may have been made is removed first.
    fn given_up(&self, stage: Stage) -> Stage {
        match stage {
            Stage::CreateSandbox | Stage::FillSandbox | Stage::Rehearse | Stage::RunTests => Stage::DropSandbox,
            Stage::Capture | Stage::Shadow => Stage::EndCapture,
            Stage::Refresh | Stage::PrepareTarget if self.facts.captured => Stage::EndCapture,
            _ => Stage::Judge,
        }
    }

    fn after_step(&self, step: usize) -> State {
        if step + 1 < self.facts.steps {
            State::Forward { step: step + 1, flight: Flight::Ready }
        } else {
            State::Verifying { check: Checking::Schema, flight: Flight::Ready }
        }
    }

    fn after_check(&self, check: Checking) -> State {
        let check = match check {
            Checking::Schema if self.facts.verify => Checking::Command,
            Checking::Schema | Checking::Command if self.facts.health => Checking::Health,
            Checking::Schema | Checking::Command | Checking::Health if self.facts.captured => {
                if self.facts.keep_capture { Checking::Way } else { Checking::EndCapture }
            }
            _ => Checking::Conclude,
        };
        State::Verifying { check, flight: Flight::Ready }
    }

    fn after_undo(&self, undo: Undoing, event: &Event) -> State {
        let found_loss = match event {
            Event::Succeeded { outcome: Outcome::Loss(loss), .. } => loss.is_any(),
            _ => self.facts.loss,
        };
        let undo = match undo {
            // How long ago the dump was finished that was found after a fence, nobody knows: count again.
            Undoing::Save if matches!(event, Event::Reconciled { .. }) => Undoing::Assess,
            Undoing::Assess if found_loss => Undoing::Save,
            Undoing::Assess | Undoing::Save => Undoing::Restore,
            Undoing::Step(step) if step > 0 => Undoing::Step(step - 1),
            Undoing::CatchUp => Undoing::Swap,
            Undoing::Step(_) | Undoing::Swap | Undoing::Restore => Undoing::Check,
            Undoing::Check if self.facts.captured => Undoing::EndCapture,
            Undoing::Check | Undoing::EndCapture | Undoing::Conclude => Undoing::Conclude,
        };
        State::Rolling { undo, flight: Flight::Ready }
    }

    fn first_undo(&self) -> State {
        let undo = match (self.facts.committed, self.facts.way, self.facts.standing) {
            (0, ..) => Undoing::Check,
            (_, Way::Restore, _) => Undoing::Assess,
            (_, Way::Swap, _) => Undoing::CatchUp,
            (_, Way::InPlace, 0) => Undoing::Check,
            (_, Way::InPlace, standing) => Undoing::Step(standing - 1),
        };
        State::Rolling { undo, flight: Flight::Ready }
    }

    /// Where the way back goes on at `undo` after it was tried in vain or changed hands: rows may have been written since they were counted,
    /// and a restore must not forget them.
    fn again(undo: Undoing) -> State {
        let undo = match undo {
            Undoing::Save | Undoing::Restore => Undoing::Assess,
            Undoing::Swap => Undoing::CatchUp,
            // What was checked was checked by somebody else, some time ago.
            Undoing::Conclude => Undoing::Check,
            undo => undo,
        };
        State::Rolling { undo, flight: Flight::Ready }
    }

    /// Whether only a person can say how it goes on.
    fn stuck(&self, flight: Flight) -> bool {
        flight == Flight::Doubt || (flight == Flight::Ready && self.facts.poisoned)
    }

    /// Whether a run on its way forward is halted for `why`: it is stuck, or nothing is under way and the target is not as it was left.
    fn halts_forward(&self, flight: Flight, why: &Failure) -> bool {
        self.stuck(flight) || (flight == Flight::Ready && !self.turned_round() && why.code == Code::TargetChanged)
    }

    /// Whether the restore that is due would forget somebody's rows, and nobody asked for it.
    fn would_lose(&self, undo: Undoing) -> bool {
        undo == Undoing::Save && self.facts.forgets && !self.facts.asked
    }

    fn turned_round(&self) -> bool {
        self.facts.failed || self.facts.cancelled
    }

    /// Whether an effect can have brought this and failed all the same.
    fn fits_partly(&self, effect: Effect, partial: Option<&Outcome>) -> bool {
        match (effect, partial) {
            (_, None) => true,
            (Effect::Preflight, Some(Outcome::Checks(_))) => true,
            (Effect::Rehearse | Effect::RunTests | Effect::RunVerify | Effect::CatchUp, Some(outcome)) => {
                fits(effect, outcome)
            }
            // Whatever else fails brings nothing, as a step in one transaction; a check that failed proves nothing.
            (_, Some(outcome)) => self.stands_partly(effect, outcome),
        }
    }

    /// Whether an effect can have been committed in part, and this says so.
    fn stands_partly(&self, effect: Effect, outcome: &Outcome) -> bool {
        self.facts.piecemeal && matches!(effect, Effect::Migrate { .. }) && fits(effect, outcome)
    }
}

/// Whether a stage removes what others made.
fn tidies(stage: Stage) -> bool {
    matches!(stage, Stage::DropSandbox | Stage::EndCapture)
}

/// Whether an effect can bring such an outcome.
fn fits(effect: Effect, outcome: &Outcome) -> bool {
    match effect {
        Effect::Preflight => matches!(outcome, Outcome::Preflight(_)),
        Effect::Dump { .. } => matches!(outcome, Outcome::Dump(_)),
        Effect::CreateSandbox => matches!(outcome, Outcome::Sandbox { .. }),
        Effect::Rehearse => matches!(outcome, Outcome::Rehearsal(_)),
        Effect::RunTests | Effect::RunVerify => matches!(outcome, Outcome::Command(_)),
        Effect::Migrate { .. } | Effect::UndoStep { .. } | Effect::Restore => matches!(outcome, Outcome::Step(_)),
        Effect::StartCapture => matches!(outcome, Outcome::Capture { .. }),
        Effect::CheckWay | Effect::CatchUp => matches!(outcome, Outcome::Readiness(_)),
        Effect::Swap => matches!(outcome, Outcome::Swapped(_)),
        Effect::CheckSchema | Effect::CheckRestored => matches!(outcome, Outcome::Fingerprint { .. }),
        Effect::AssessLoss => matches!(outcome, Outcome::Loss(_)),
        Effect::FillSandbox
        | Effect::DropSandbox
        | Effect::RaiseShadow
        | Effect::EndCapture
        | Effect::PrepareTarget
        | Effect::CheckHealth => matches!(outcome, Outcome::Done),
    }
}

#[state_machine(initial = "State::Blank {}", visibility = "pub(crate)", state(custom, name = "State"))]
impl Machine {
    #[state]
    fn blank(event: &Event, context: &mut Answer) -> statig::Outcome<State> {
        match event {
            Event::Requested(_) => context.to(State::Preparing { stage: Stage::Preflight, flight: Flight::Ready }),
            _ => Handled,
        }
    }

    #[state(superstate = "cancellable")]
    fn preparing(
        &mut self,
        stage: &mut Stage,
        flight: &mut Flight,
        event: &Event,
        context: &mut Answer,
    ) -> statig::Outcome<State> {
        let (stage, flight) = (*stage, *flight);
        let stage = if flight == Flight::Ready { due_stage(stage, &self.facts) } else { stage };
        let here = |flight| State::Preparing { stage, flight };
        match self.turn(flight, effect_of_stage(stage), event) {
            Turn::Left => return context.to(here(Flight::Out)),
            Turn::Fenced => return context.to(here(Flight::Fenced)),
            Turn::Applied => return context.to(self.after_stage(stage)),
            Turn::Failed => return context.to(State::Preparing { stage: self.given_up(stage), flight: Flight::Ready }),
            Turn::NotApplied => {
                let again = if self.given_up(stage) == Stage::DropSandbox { Stage::CreateSandbox } else { stage };
                return context.to(State::Preparing { stage: self.unless_cancelled(again), flight: Flight::Ready });
            }
            Turn::Unknown | Turn::Other => {}
        }
        match event {
            // A sandbox does not outlive the process that made it.
            Event::LeaseTaken { .. }
                if flight == Flight::Ready
                    && matches!(stage, Stage::FillSandbox | Stage::Rehearse | Stage::RunTests) =>
            {
                context.to(State::Preparing { stage: Stage::CreateSandbox, flight })
            }
            // Cancelled between two stages: what is left is to clean up and say so.
            Event::CancelRequested { .. } if flight == Flight::Ready => {
                let stage = if tidies(stage) { stage } else { self.given_up(stage) };
                context.to(State::Preparing { stage, flight })
            }
            Event::Refused { .. } if flight == Flight::Ready && self.facts.poisoned => {
                context.to(State::Settled { end: End::Refused })
            }
            _ if stage != Stage::Judge || flight != Flight::Ready => Super,
            Event::Planned { .. } if !self.facts.failed && !self.facts.cancelled && !self.facts.nothing_to_do => {
                context.to(State::Planned {})
            }
            Event::Refused { .. } => context.to(State::Settled { end: End::Refused }),
            Event::RunSucceeded if self.facts.nothing_to_do && !self.facts.failed && !self.facts.cancelled => {
                context.to(State::Settled { end: End::Succeeded })
            }
            _ => Super,
        }
    }

    #[state(superstate = "cancellable")]
    fn planned(&mut self, event: &Event, context: &mut Answer) -> statig::Outcome<State> {
        let clear =
            !self.facts.approval_missing && !self.facts.dry_run && !self.facts.cancelled && !self.facts.rejected;
        match event {
            Event::Rehearsed if self.facts.dry_run => context.to(State::Settled { end: End::Rehearsed }),
            // An approval is of one plan, and of no other.
            Event::Approved { plan_digest, .. }
                if self.facts.approval_missing
                    && !self.facts.rejected
                    && self.facts.plan.as_ref() == Some(plan_digest) =>
            {
                context.stay()
            }
            Event::Rejected { .. } if self.facts.approval_missing && !self.facts.rejected => context.stay(),
            Event::Refused { .. } if self.facts.rejected || self.facts.cancelled || self.facts.poisoned => {
                context.to(State::Settled { end: End::Refused })
            }
            Event::Intended { effect: Effect::StartCapture, .. } if clear && self.facts.capture => {
                context.to(State::Preparing { stage: Stage::Capture, flight: Flight::Out })
            }
            Event::Intended { effect: Effect::Dump { purpose: DumpPurpose::Refresh }, .. }
                if clear && !self.facts.capture && self.facts.stale_backup =>
            {
                context.to(State::Preparing { stage: Stage::Refresh, flight: Flight::Out })
            }
            Event::Intended { effect: Effect::PrepareTarget, .. }
                if clear && !self.facts.capture && !self.facts.stale_backup =>
            {
                context.to(State::Preparing { stage: Stage::PrepareTarget, flight: Flight::Out })
            }
            _ => Super,
        }
    }

    #[state(superstate = "cancellable")]
    fn forward(
        &mut self,
        step: &mut usize,
        flight: &mut Flight,
        event: &Event,
        context: &mut Answer,
    ) -> statig::Outcome<State> {
        let (step, flight) = (*step, *flight);
        let here = |flight| State::Forward { step, flight };
        let rested = flight == Flight::Ready && refresh_before(step, &self.facts);
        // Nothing more is started once it has turned round, nor before the dump is fresh.
        let expected =
            (flight != Flight::Ready || !(self.turned_round() || rested)).then_some(Effect::Migrate { step });
        match self.turn(flight, expected, event) {
            Turn::Left => return context.to(here(Flight::Out)),
            Turn::Fenced => return context.to(here(Flight::Fenced)),
            Turn::Applied => return context.to(self.after_step(step)),
            Turn::Failed | Turn::NotApplied => return context.to(here(Flight::Ready)),
            Turn::Unknown => return context.to(here(Flight::Doubt)),
            Turn::Other => {}
        }
        match event {
            Event::RollbackStarted { .. } if flight == Flight::Ready && self.turned_round() => {
                context.to(self.first_undo())
            }
            Event::Intended { effect: Effect::Dump { purpose: DumpPurpose::Refresh }, .. }
                if rested && !self.turned_round() =>
            {
                context.to(State::Preparing { stage: Stage::Refresh, flight: Flight::Out })
            }
            Event::Halted { why } if self.halts_forward(flight, why) => {
                context.to(State::Halted { at: Position::Forward(step), doubt: flight == Flight::Doubt })
            }
            _ => Super,
        }
    }

    #[state(superstate = "cancellable")]
    fn verifying(
        &mut self,
        check: &mut Checking,
        flight: &mut Flight,
        event: &Event,
        context: &mut Answer,
    ) -> statig::Outcome<State> {
        let (check, flight) = (*check, *flight);
        let here = |flight| State::Verifying { check, flight };
        let expected = if flight != Flight::Ready || !self.turned_round() { effect_of_check(check) } else { None };
        match self.turn(flight, expected, event) {
            Turn::Left => return context.to(here(Flight::Out)),
            Turn::Fenced => return context.to(here(Flight::Fenced)),
            Turn::Applied => return context.to(self.after_check(check)),
            // What only tidies up or looks ahead fails without turning anything round.
            Turn::Failed if effect_of_check(check).is_some_and(|effect| effect.may_fail()) => {
                return context.to(self.after_check(check));
            }
            Turn::Failed | Turn::NotApplied => return context.to(here(Flight::Ready)),
            Turn::Unknown => return context.to(here(Flight::Doubt)),
            Turn::Other => {}
        }
        match event {
            Event::RollbackStarted { .. } if flight == Flight::Ready && self.turned_round() => {
                context.to(self.first_undo())
            }
            Event::RunSucceeded if check == Checking::Conclude && flight == Flight::Ready && !self.turned_round() => {
                context.to(State::Settled { end: End::Succeeded })
            }
            Event::Halted { why } if self.halts_forward(flight, why) => {
                context.to(State::Halted { at: Position::Verifying(check), doubt: flight == Flight::Doubt })
            }
            _ => Super,
        }
    }

    #[state(superstate = "active")]
    fn rolling(
        &mut self,
        undo: &mut Undoing,
        flight: &mut Flight,
        event: &Event,
        context: &mut Answer,
    ) -> statig::Outcome<State> {
        let (undo, flight) = (*undo, *flight);
        let here = |flight| State::Rolling { undo, flight };
        let expected = if flight != Flight::Ready || !self.facts.failed { effect_of_undo(undo) } else { None };
        match self.turn(flight, expected, event) {
            Turn::Left => return context.to(here(Flight::Out)),
            Turn::Fenced => return context.to(here(Flight::Fenced)),
            Turn::Applied => return context.to(self.after_undo(undo, event)),
            Turn::Failed if undo == Undoing::EndCapture => return context.to(self.after_undo(undo, event)),
            Turn::Failed => return context.to(here(Flight::Ready)),
            Turn::NotApplied => return context.to(Self::again(undo)),
            Turn::Unknown => return context.to(here(Flight::Doubt)),
            Turn::Other => {}
        }
        match event {
            // What is to be forgotten is counted by whoever forgets it.
            Event::LeaseTaken { .. } if flight == Flight::Ready && !self.facts.failed => context.to(Self::again(undo)),
            Event::RolledBack if undo == Undoing::Conclude && flight == Flight::Ready && !self.facts.failed => {
                context.to(State::Settled { end: End::RolledBack })
            }
            // The way in place failed, in a transaction that changed nothing: the next way.
            Event::RollbackStarted { .. }
                if flight == Flight::Ready && self.facts.failed && matches!(undo, Undoing::Step(_)) =>
            {
                context.to(self.first_undo())
            }
            // A failed undo is never tried in a loop: a person is told. Nor are rows given up that nobody gave leave for.
            Event::Halted { .. }
                if self.stuck(flight) || (flight == Flight::Ready && (self.facts.failed || self.would_lose(undo))) =>
            {
                context.to(State::Halted { at: Position::Rolling(undo), doubt: flight == Flight::Doubt })
            }
            _ => Super,
        }
    }

    #[state(superstate = "active")]
    fn halted(
        &mut self,
        at: &mut Position,
        doubt: &mut bool,
        event: &Event,
        context: &mut Answer,
    ) -> statig::Outcome<State> {
        let (at, doubt) = (*at, *doubt);
        match event {
            Event::Ruled { id, applied, .. } if doubt && self.facts.flight.as_ref() == Some(id) => {
                let flight = Flight::Ready;
                context.to(match (at, *applied) {
                    (Position::Forward(step), true) => self.after_step(step),
                    (Position::Forward(step), false) => State::Forward { step, flight },
                    (Position::Verifying(check), true) => self.after_check(check),
                    (Position::Verifying(check), false) => State::Verifying { check, flight },
                    (Position::Rolling(undo), true) => self.after_undo(undo, event),
                    (Position::Rolling(undo), false) => Self::again(undo),
                })
            }
            // The target may have been put right: whoever takes over looks again before anything is done.
            Event::LeaseTaken { .. } if !doubt && self.facts.look_again => {
                let flight = Flight::Ready;
                context.to(match at {
                    Position::Forward(step) => State::Forward { step, flight },
                    Position::Verifying(check) => State::Verifying { check, flight },
                    Position::Rolling(undo) => State::Rolling { undo, flight },
                })
            }
            // Also when nothing was committed: then the target is checked against the checkpoint once more.
            Event::RollbackRequested { .. } if !doubt => context.to(self.first_undo()),
            _ => Super,
        }
    }

    #[state(superstate = "known")]
    fn settled(&mut self, end: &mut End, event: &Event, context: &mut Answer) -> statig::Outcome<State> {
        match event {
            Event::RollbackRequested { .. } if *end == End::Succeeded && self.facts.restorable => {
                context.to(self.first_undo())
            }
            Event::CaptureEnded { .. } if self.facts.captured => context.stay(),
            Event::WayChecked { .. } if *end == End::Succeeded && self.facts.captured => context.stay(),
            _ => Super,
        }
    }

    /// What every phase before the way back has in common: somebody may want it stopped.
    #[superstate(superstate = "active")]
    fn cancellable(event: &Event, context: &mut Answer) -> statig::Outcome<State> {
        match event {
            // With an effect in flight the wish is only noted: no rollback past something unresolved.
            Event::CancelRequested { .. } => context.stay(),
            _ => Super,
        }
    }

    /// What every unsettled state has in common: it changes hands, rests, and may be given up.
    #[superstate(superstate = "known")]
    fn active(&mut self, event: &Event, context: &mut Answer) -> statig::Outcome<State> {
        match event {
            Event::LeaseTaken { .. } => context.stay(),
            Event::Paused { .. } => context.stay(),
            Event::Abandoned { .. } => context.to(State::Settled { end: End::Abandoned }),
            _ => Super,
        }
    }

    /// What every state but the first has in common.
    #[superstate]
    fn known(event: &Event, context: &mut Answer) -> statig::Outcome<State> {
        match event {
            Event::ArtifactsWritten { .. } => context.stay(),
            // Refused: nothing is accepted, and `transition` makes it an error value.
            _ => Handled,
        }
    }
}
