//! A small world around the product's own `next`, `evolve` and `decide`: a target that remembers what really happened to it, a process
//! that may die anywhere, people who may decide at any moment.
//!
//! [`Sim::moves`] says what can happen now, [`Sim::make`] lets it happen. Each event goes through `evolve`, as before an append, and past
//! the [`Monitor`]; each end is held against the target. Nothing here decides anything about a run.

use super::monitor::Monitor;
use super::samples::{self, Case};
use dbd::domain::decide::{Command, decide};
use dbd::domain::effect::{DumpPurpose, Effect, Recovery};
use dbd::domain::event::{Event, Outcome, Pause, Readiness, Recorded, Verdict};
use dbd::domain::evolve::evolve;
use dbd::domain::ids::EffectId;
use dbd::domain::machine::{End, State};
use dbd::domain::next::{Next, next};
use dbd::domain::run::{BACKUP_AGE_MS, InFlight, Run};

/// One thing that can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Move {
    /// What is next goes well: an intent is recorded, an effect happens, a decision is recorded, the world is looked at.
    Go,
    /// The effect under way does not happen, and says so.
    Fail,
    /// The step under way fails after a part of it was committed.
    FailPartly,
    /// The process dies before it does anything more; another one takes over.
    Die,
    /// The process dies while the effect is under way; it had not happened, and never will.
    DieBefore,
    /// The process dies while the effect is under way; it happened, or is about to.
    DieAfter,
    /// The process dies while the step is under way; a part of it is committed, and the rest never will be.
    DiePartly,
    /// The answer is lost, the process goes on: it did not happen.
    LoseBefore,
    /// The answer is lost, the process goes on: it happened.
    LoseAfter,
    /// The process dies between the fence and the verdict.
    DieFenced,
    /// The world does not tell what became of the effect.
    CannotTell,
    /// The process rests on purpose, and goes on later.
    Rest,
    /// Somebody approves.
    Approve,
    /// Somebody rejects.
    Reject,
    /// Somebody cancels; of a halted run, somebody gives it up.
    Cancel,
    /// Somebody asks for a rollback.
    RollBack,
    /// Somebody asks for the backup to be restored.
    RestoreBackup,
    /// Whoever watches the window of a run that succeeded finds something new of the way back.
    Watch,
    /// The window of a run that is over is closed: capture and copy are taken away.
    CloseWindow,
    /// Somebody says that the effect in doubt happened, or that it did not. They may be wrong.
    Rule(bool),
    /// What a dead process had sent takes effect only now. Nothing of the kind can happen after a fence; a [`Mutant`] may do without.
    Land,
}

/// One thing the protocol could do wrong. Each has to be found out by the exploration, or the exploration proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mutant {
    /// Looks what became of an effect while a session of the dead process may still be at it.
    NoFence,
    /// Does it first, and records the intent afterwards.
    NoIntent,
    /// Records the outcome first, and does it afterwards.
    OutcomeFirst,
    /// Takes every effect in doubt for one that did not happen.
    BlindRetry,
    /// Takes every effect in doubt for one that happened.
    IntentMeansDone,
    /// The next process goes on without recording that it took over.
    SilentTakeover,
    /// The ledger row and the step do not commit together.
    SplitCommit,
    /// Records a verdict without having recorded the fence.
    VerdictUnfenced,
    /// Turns round while an effect is in doubt.
    BackInDoubt,
}

impl Mutant {
    /// Every one of them.
    pub const ALL: [Self; 9] = [
        Self::NoFence,
        Self::NoIntent,
        Self::OutcomeFirst,
        Self::BlindRetry,
        Self::IntentMeansDone,
        Self::SilentTakeover,
        Self::SplitCommit,
        Self::VerdictUnfenced,
        Self::BackInDoubt,
    ];
}

/// What whoever watches finds: news, and no more than once.
fn watched() -> Readiness {
    Readiness { residue: vec!["public.orders.seen_by_the_watcher".into()], ..samples::readiness() }
}

impl Move {
    /// Whether it is a fault of the process or of the network.
    pub fn is_crash(self) -> bool {
        use Move::*;
        matches!(self, Die | DieBefore | DieAfter | DiePartly | LoseBefore | LoseAfter | DieFenced | Rest)
    }

    /// Whether a person does it, besides approving.
    pub fn is_person(self) -> bool {
        matches!(self, Move::Reject | Move::Cancel | Move::RollBack | Move::RestoreBackup | Move::Rule(_))
    }
}

/// The target as it really is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Target {
    /// The steps whose changes are in it, in the order they were made.
    pub applied: Vec<usize>,
    /// The step of which a part is in it.
    pub partly: Option<usize>,
    /// The effects that left a row in its ledger.
    ledger: Vec<EffectId>,
    /// The dumps that were finished, under the names of their effects.
    dumps: Vec<EffectId>,
    /// Whether others wrote rows since the backup that are in no dump.
    unsaved: bool,
    /// Whether others wrote rows since the backup.
    written: bool,
    /// Whether writes are captured.
    pub captured: bool,
    /// Whether there is a shadow that everything captured since is replayed into.
    pub shadow: bool,
}

/// A run in the making, and the world around it.
#[derive(Clone, Debug)]
pub struct Sim {
    pub case: Case,
    pub run: Run,
    pub target: Target,
    pub monitor: Monitor,
    /// The effect under way in the process at work.
    pub under_way: Option<(Effect, EffectId)>,
    /// Whether much time passes, and others write to the target, whenever nobody works on the run.
    pub slow: bool,
    pub now_ms: i64,
    /// Whether somebody ruled against what really happened.
    pub lied: bool,
    /// How much time passes from one event to the next.
    pub tick_ms: i64,
    /// What is done wrong on purpose.
    pub mutant: Option<Mutant>,
    /// What a dead process had sent to the server, which is still at it.
    pub landing: Option<(Effect, EffectId)>,
    /// The effects with a ledger row that the journal says happened.
    claimed: Vec<EffectId>,
    /// The first law of the world that was broken.
    broken: Option<String>,
    /// Whether the capture could not be taken away.
    untidied: bool,
    epoch: u64,
}

impl Sim {
    /// A run that has been asked for and taken over by a process.
    pub fn new(case: Case, events: &mut Vec<Recorded>) -> Result<Self, String> {
        let mut sim = Self {
            run: Run::blank(samples::run_id()),
            target: Target::default(),
            monitor: Monitor::default(),
            under_way: None,
            slow: false,
            lied: false,
            now_ms: 1_728_149_445_123,
            tick_ms: 20,
            mutant: None,
            landing: None,
            claimed: Vec::new(),
            broken: None,
            untidied: false,
            epoch: 0,
            case,
        };
        let request = samples::request(&sim.case);
        sim.say(Event::Requested(Box::new(request)), events)?;
        sim.take_over(events)?;
        Ok(sim)
    }

    /// What can happen now. Empty once the run is over and nobody can ask anything of it.
    pub fn moves(&self) -> Vec<Move> {
        use Move::*;
        let mut moves = Vec::new();
        if self.under_way.is_some() {
            moves.extend([Go, Fail, DieBefore, DieAfter]);
            if self.case.piecemeal && matches!(self.under_way, Some((Effect::Migrate { .. }, _))) {
                moves.extend([FailPartly, DiePartly]);
            }
            // While the target is untouched the engine takes a lost answer for a failure.
            if matches!(self.run.state, State::Forward { .. } | State::Verifying { .. } | State::Rolling { .. }) {
                moves.extend([LoseBefore, LoseAfter]);
            }
            moves.push(Cancel);
        } else {
            match next(&self.run) {
                Next::Perform(_) => moves.extend([Go, Die, Rest, Cancel]),
                Next::Reconcile(flight) => {
                    moves.extend([Go, Die, DieFenced]);
                    if flight.effect.recovery() == Recovery::ProbeLedger {
                        moves.push(CannotTell);
                    }
                    moves.push(Cancel);
                }
                Next::Record(_) => moves.extend([Go, Die, Cancel]),
                Next::AwaitApproval => moves.extend([Approve, Die, Rest, Reject, Cancel]),
                Next::Halted => moves.extend([RollBack, RestoreBackup, Cancel, Rule(true), Rule(false)]),
                Next::Settled(end) => {
                    moves.extend([RollBack, RestoreBackup]);
                    if end == End::Succeeded && self.run.capture.is_some() && self.run.readiness != Some(watched()) {
                        moves.push(Watch);
                    }
                    if self.run.capture.is_some() {
                        moves.push(CloseWindow);
                    }
                }
            }
        }
        if self.landing.is_some() {
            moves.push(Land);
        }
        moves.retain(|one| self.command(*one).is_none_or(|command| decide(&self.run, command).is_ok()));
        moves
    }

    fn command(&self, one: Move) -> Option<Command> {
        Some(match one {
            Move::Approve => Command::Approve { reason: None },
            Move::Reject => Command::Reject { reason: Some("not on a Friday".into()) },
            Move::Cancel => Command::Cancel { reason: None },
            // A mutant says it all the same; the machine is asked, not the decision.
            Move::RollBack if self.mutant == Some(Mutant::BackInDoubt) && self.run.flight.is_some() => return None,
            Move::RollBack => Command::RollBack { reason: None, restore: false },
            Move::RestoreBackup => Command::RollBack { reason: None, restore: true },
            Move::Rule(applied) => Command::Rule { applied, reason: "I looked".into() },
            _ => return None,
        })
    }

    /// Lets `one` happen.
    pub fn make(&mut self, one: Move, events: &mut Vec<Recorded>) -> Result<(), String> {
        if one == Move::Land {
            if let Some((effect, id)) = self.landing.take() {
                let _ = self.change(effect, &id);
            }
            return self.look(one);
        }
        if one == Move::RollBack && self.mutant == Some(Mutant::BackInDoubt) && self.run.flight.is_some() {
            return self.say(Event::RollbackRequested { reason: None, restore: false }, events);
        }
        if let Some(command) = self.command(one) {
            let event = decide(&self.run, command).map_err(|failure| format!("{one:?}: {failure}"))?;
            if let (Event::Ruled { applied, .. }, Some(truth)) = (&event, self.truth()) {
                self.lied |= *applied != truth || self.target.partly.is_some();
            }
            // Whoever works on the run goes on; where nobody does, the command does.
            let idle = self.under_way.is_none()
                && matches!(next(&self.run), Next::AwaitApproval | Next::Halted | Next::Settled(_));
            self.say(event, events)?;
            if idle && !self.run.state.is_settled() {
                self.rest();
                self.take_over(events)?;
            }
            return self.look(one);
        }
        if let Some((effect, id)) = self.under_way.take() {
            match one {
                // It happened before the intent was there, and there is only the outcome to record.
                Move::Go if self.mutant == Some(Mutant::NoIntent) => {
                    let outcome = samples::outcome(effect, &self.case, 0);
                    self.say(Event::Succeeded { id, outcome, duration_ms: 1 }, events)?;
                }
                Move::DieBefore if self.mutant == Some(Mutant::OutcomeFirst) => {
                    let outcome = samples::outcome(effect, &self.case, 0);
                    self.say(Event::Succeeded { id, outcome, duration_ms: 1 }, events)?;
                    self.die(events)?;
                }
                Move::DieAfter if self.mutant == Some(Mutant::NoFence) && effect.changes_target() => {
                    self.landing = Some((effect, id));
                    self.die(events)?;
                }
                Move::DieAfter if self.mutant == Some(Mutant::SplitCommit) && effect.changes_target() => {
                    let _ = self.happen(effect, &id);
                    self.target.ledger.retain(|there| *there != id);
                    self.die(events)?;
                }
                Move::Go => match self.happen(effect, &id) {
                    Ok(outcome) => self.say(Event::Succeeded { id, outcome, duration_ms: 1 }, events)?,
                    Err(why) => self.fail(effect, id, why, events)?,
                },
                Move::Fail => self.fail(effect, id, "it was not to be", events)?,
                Move::FailPartly => {
                    self.partly(effect);
                    let partial = Some(Outcome::Step(samples::step()));
                    let failure = samples::failure("a statement failed, after a part of it was committed");
                    self.say(Event::Failed { id, failure, partial, duration_ms: 1 }, events)?;
                }
                Move::DieBefore => self.die(events)?,
                Move::DiePartly => {
                    self.partly(effect);
                    self.die(events)?;
                }
                Move::DieAfter => {
                    let _ = self.happen(effect, &id);
                    self.die(events)?;
                }
                Move::LoseBefore => {}
                Move::LoseAfter => {
                    let _ = self.happen(effect, &id);
                }
                other => return Err(format!("{other:?} while {effect:?} is under way")),
            }
            return self.look(one);
        }
        match (next(&self.run), one) {
            (_, Move::Die) => self.die(events)?,
            (waiting, Move::Rest) => {
                let why = if waiting == Next::AwaitApproval { Pause::AwaitingApproval } else { Pause::Interrupted };
                self.say(Event::Paused { why }, events)?;
                self.die(events)?;
            }
            (Next::Perform(effect), Move::Go) => {
                let id = self.effect_id(effect);
                if self.mutant == Some(Mutant::NoIntent) {
                    let _ = self.happen(effect, &id);
                }
                self.say(Event::Intended { effect, id: id.clone(), attempt: 1 }, events)?;
                self.under_way = Some((effect, id));
            }
            (Next::Record(event), Move::Go) => self.say(event, events)?,
            (Next::Reconcile(flight), _) => self.reconcile(&flight, one, events)?,
            (Next::Settled(_), Move::Watch) => self.say(Event::WayChecked { readiness: watched() }, events)?,
            (Next::Settled(_), Move::CloseWindow) => {
                (self.target.captured, self.target.shadow) = (false, false);
                self.say(Event::CaptureEnded { why: "its window is over".into() }, events)?;
            }
            (next, one) => return Err(format!("{one:?} where {next:?} is next")),
        }
        self.look(one)
    }

    /// Whether the effect in flight left its row in the ledger.
    pub fn truth(&self) -> Option<bool> {
        self.run.flight.as_ref().map(|flight| self.target.ledger.contains(&flight.id))
    }

    /// Goes on without any fault until the run is settled or waits for a person; the number of moves that took.
    pub fn finish(&mut self, bound: usize, events: &mut Vec<Recorded>) -> Result<usize, String> {
        for made in 0..bound {
            if self.under_way.is_none()
                && matches!(next(&self.run), Next::AwaitApproval | Next::Halted | Next::Settled(_))
            {
                return Ok(made);
            }
            self.make(Move::Go, events)?;
        }
        Err(format!("no end after {bound} moves: {:?}", self.run.state))
    }

    /// `event` as the next of the run, now.
    pub fn draft(&self, event: Event) -> Recorded {
        Recorded {
            seq: self.run.seq + 1,
            rseq: self.run.rseq + 1,
            ts_ms: self.now_ms,
            epoch: self.epoch,
            actor: samples::actor("alice"),
            event,
            refs: Vec::new(),
            hash: String::new(),
        }
    }

    /// Appends `event` to the history, if the run allows it.
    pub fn say(&mut self, event: Event, events: &mut Vec<Recorded>) -> Result<(), String> {
        self.now_ms += self.tick_ms;
        let recorded = self.draft(event);
        self.run = evolve(&self.run, &recorded).map_err(|misfit| {
            let source = std::error::Error::source(&misfit).map(ToString::to_string).unwrap_or_default();
            format!("{misfit}: {source}")
        })?;
        self.monitor
            .observe(&recorded)
            .map_err(|law| format!("{} in {:?}: {law}", recorded.event.kind(), self.run.state))?;
        let claimed = match &recorded.event {
            Event::Succeeded { id, outcome: Outcome::Step(_) | Outcome::Swapped(_), .. }
            | Event::Reconciled {
                id,
                verdict: Verdict::Applied { outcome: Outcome::Step(_) | Outcome::Swapped(_) },
                ..
            }
            | Event::Ruled { id, applied: true, .. } => Some(id.clone()),
            _ => None,
        };
        self.claimed.extend(claimed);
        events.push(recorded);
        Ok(())
    }

    /// Others write to the target.
    pub fn target_is_written(&mut self) {
        self.target.written = true;
        self.target.unsaved = true;
    }

    fn take_over(&mut self, events: &mut Vec<Recorded>) -> Result<(), String> {
        self.epoch += 1;
        self.say(Event::LeaseTaken { host: "vela".into(), pid: 4_000, epoch: self.epoch }, events)
    }

    fn die(&mut self, events: &mut Vec<Recorded>) -> Result<(), String> {
        self.rest();
        if self.mutant == Some(Mutant::SilentTakeover) {
            return Ok(());
        }
        self.take_over(events)
    }

    /// Nobody works on the run for a while.
    fn rest(&mut self) {
        if self.slow {
            self.now_ms += BACKUP_AGE_MS + 1;
            self.target_is_written();
        }
    }

    fn fail(&mut self, effect: Effect, id: EffectId, why: &str, events: &mut Vec<Recorded>) -> Result<(), String> {
        self.untidied |= effect == Effect::EndCapture;
        let partial = match effect {
            Effect::Preflight => Some(Outcome::Checks(samples::preflight(&self.case).checks)),
            Effect::RunTests | Effect::RunVerify => Some(Outcome::Command(samples::report(1))),
            _ => None,
        };
        let failure = samples::failure(&format!("{}: {why}", effect.name()));
        self.say(Event::Failed { id, failure, partial, duration_ms: 1 }, events)
    }

    /// As the engine derives it: the request and the turn, but not the attempt.
    fn effect_id(&self, effect: Effect) -> EffectId {
        EffectId::derive("props", &self.run.id, &effect.name(), self.run.rollbacks.to_string().as_bytes())
    }

    /// A part of a step is committed.
    fn partly(&mut self, effect: Effect) {
        if let Effect::Migrate { step } = effect {
            self.target.partly = Some(step);
        }
    }

    /// The world does it, or refuses.
    fn happen(&mut self, effect: Effect, id: &EffectId) -> Result<Outcome, &'static str> {
        if self.run.flight.as_ref().map(|flight| &flight.id) != Some(id) {
            self.broken.get_or_insert_with(|| format!("{effect:?} without a durable intent"));
        }
        self.change(effect, id)
    }

    fn change(&mut self, effect: Effect, id: &EffectId) -> Result<Outcome, &'static str> {
        let target = &mut self.target;
        match effect {
            Effect::Migrate { .. } | Effect::UndoStep { .. } | Effect::Restore if target.ledger.contains(id) => {
                return Err("the ledger's key refuses it");
            }
            Effect::StartCapture => target.captured = true,
            Effect::RaiseShadow => target.shadow = true,
            Effect::EndCapture => (target.captured, target.shadow) = (false, false),
            Effect::UndoStep { step } => {
                if target.applied.last() != Some(&step) {
                    if !self.lied {
                        self.broken.get_or_insert_with(|| format!("step {step} was taken back out of turn"));
                    }
                    return Err("the ledger does not have the rows it rests on");
                }
                target.applied.pop();
                target.ledger.push(id.clone());
            }
            // Who swaps again finds it swapped.
            Effect::Swap if target.ledger.contains(id) => {}
            Effect::Swap => {
                if !(target.captured && target.shadow) {
                    self.broken.get_or_insert_with(|| "swapped for what is no shadow".to_owned());
                }
                target.ledger.push(id.clone());
                target.applied.clear();
                target.partly = None;
                target.shadow = false;
            }
            Effect::Migrate { step } => {
                if target.applied.contains(&step) {
                    self.broken.get_or_insert_with(|| format!("step {step} was applied twice"));
                }
                // Nor is a part of it done twice.
                if let Some(partly) = target.partly.filter(|_| !self.lied) {
                    self.broken
                        .get_or_insert_with(|| format!("step {step} was begun on top of a part of step {partly}"));
                }
                target.ledger.push(id.clone());
                target.applied.push(step);
            }
            Effect::Restore => {
                if target.unsaved {
                    self.broken.get_or_insert_with(|| "rows were forgotten that are nowhere else".to_owned());
                }
                target.ledger.push(id.clone());
                target.applied.clear();
                target.partly = None;
                target.written = false;
            }
            Effect::Dump { .. } => {
                target.dumps.push(id.clone());
                target.unsaved = false;
                if !matches!(self.run.state, State::Rolling { .. }) {
                    target.written = false;
                }
            }
            Effect::CheckSchema if !target.applied.iter().copied().eq(0..self.case.steps) => {
                return Err("the schema is not the rehearsed one");
            }
            // Rows that a part of a step changed show in no schema.
            Effect::CheckRestored if !target.applied.is_empty() => return Err("the schema is not the checkpoint's"),
            _ => {}
        }
        Ok(samples::outcome(effect, &self.case, i64::from(self.target.written)))
    }

    fn reconcile(&mut self, flight: &InFlight, one: Move, events: &mut Vec<Recorded>) -> Result<(), String> {
        let id = flight.id.clone();
        let ledgered = flight.effect.recovery() == Recovery::ProbeLedger;
        let swaps = flight.effect.recovery() == Recovery::ProbeSwap;
        if self.mutant != Some(Mutant::VerdictUnfenced) {
            self.say(Event::Fenced { id: id.clone(), evidence: "its sessions are gone".into() }, events)?;
        }
        let verdict = match one {
            Move::DieFenced => return self.die(events),
            Move::Go if (ledgered || swaps) && self.mutant == Some(Mutant::BlindRetry) => Verdict::NotApplied,
            Move::Go if ledgered && self.mutant == Some(Mutant::IntentMeansDone) => {
                Verdict::Applied { outcome: Outcome::Step(samples::step()) }
            }
            Move::CannotTell => Verdict::Unknown,
            _ if matches!(flight.effect, Effect::Migrate { step } if self.target.partly == Some(step)) => {
                Verdict::PartlyApplied {
                    outcome: Outcome::Step(samples::step()),
                    failure: samples::failure("the command was cut off, after a part of it was committed"),
                }
            }
            _ => match flight.effect.recovery() {
                Recovery::Repeat | Recovery::Discard => Verdict::NotApplied,
                Recovery::ProbeLedger if self.target.ledger.contains(&id) => {
                    Verdict::Applied { outcome: Outcome::Step(samples::step()) }
                }
                Recovery::ProbeSwap if self.target.ledger.contains(&id) => {
                    Verdict::Applied { outcome: samples::outcome(Effect::Swap, &self.case, 0) }
                }
                Recovery::ProbeLedger | Recovery::ProbeSwap => Verdict::NotApplied,
                // Found is what bears the name, however old it is; a dump that was taken again is taken once more.
                Recovery::ProbeDump
                    if self.target.dumps.contains(&id)
                        && flight.effect != (Effect::Dump { purpose: DumpPurpose::Refresh }) =>
                {
                    Verdict::Applied { outcome: Outcome::Dump(Box::new(samples::backup())) }
                }
                Recovery::ProbeDump => Verdict::NotApplied,
            },
        };
        self.say(Event::Reconciled { id, verdict, evidence: "looked".into() }, events)
    }

    /// What is recorded at an end is what is true.
    fn look(&self, one: Move) -> Result<(), String> {
        if let Some(broken) = &self.broken {
            return Err(format!("after {one:?}: {broken}"));
        }
        // With nothing in flight, what the ledger says and what the journal says is the same; unless somebody said what is not so.
        if self.run.flight.is_none() && self.under_way.is_none() && !self.lied {
            let unknown = self.target.ledger.iter().find(|id| !self.claimed.contains(id));
            let invented = self.claimed.iter().find(|id| !self.target.ledger.contains(id));
            if unknown.is_some() || invented.is_some() {
                return Err(format!("after {one:?}: the ledger and the journal differ: {unknown:?} {invented:?}"));
            }
        }
        let applied = &self.target.applied;
        // A capture outlives its run only where that was wanted, or tidying up failed, or nobody may tidy up any more.
        let State::Settled { end } = self.run.state else { return Ok(()) };
        let kept = end == End::Abandoned
            || self.run.facts().poisoned
            || (end == End::Succeeded && self.case.window)
            || self.untidied;
        if self.target.captured && !kept {
            return Err(format!(
                "after {one:?} the run is {end:?}, and writes are still captured: {:?}",
                self.run.past.iter().map(|p| p.effect).collect::<Vec<_>>()
            ));
        }
        let wrong = match end {
            End::Succeeded => !applied.iter().copied().eq(0..self.case.steps),
            // Whoever says that a step half done did not happen, or did, takes it upon themselves.
            End::RolledBack => !applied.is_empty() || (self.target.partly.is_some() && !self.lied),
            End::Refused | End::Rehearsed => !applied.is_empty(),
            End::Abandoned => false,
        };
        if wrong { Err(format!("after {one:?} the run is {end:?}, and the target has {applied:?}")) } else { Ok(()) }
    }
}
