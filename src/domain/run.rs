//! Everything known about one run, built only by [`evolve`](super::evolve::evolve).

use super::code::Code;
use super::digest::Digest;
use super::effect::{Effect, Phase};
use super::event::{
    Actor, Artifact, Backup, Check, CommandReport, Event, Loss, Outcome, Pause, Preflight, Readiness, Recorded,
    Rehearsal, Request, StepReport, Swapped,
};
use super::failure::Failure;
use super::finding::Finding;
use super::ids::{EffectId, RunId};
use super::machine::{Facts, State};
use super::plan::Plan;
use super::way::Way;

/// How many take-overs without a new outcome are put up with before the run is halted: whatever kills the process will kill it again.
pub const MAX_TAKEOVERS: u32 = 5;

/// How long a run may rest between its dump and its first step before the dump is taken again, in milliseconds.
pub const BACKUP_AGE_MS: i64 = 10 * 60 * 1000;

/// An effect whose intent is recorded and whose outcome is not.
#[derive(Clone, Debug, PartialEq)]
pub struct InFlight {
    /// The effect.
    pub effect: Effect,
    /// Its identity.
    pub id: EffectId,
    /// The attempt, from 1.
    pub attempt: u32,
    /// Its intent's place in the journal.
    pub seq: u64,
    /// Its intent's hash, as the ledger anchors it.
    pub hash: String,
    /// When it was intended.
    pub since_ms: i64,
}

/// Who holds the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The host.
    pub host: String,
    /// The process.
    pub pid: u32,
    /// How often this target changed hands in this journal.
    pub epoch: u64,
}

/// Somebody's decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Who.
    pub actor: Actor,
    /// When.
    pub ts_ms: i64,
    /// Why, if they said.
    pub reason: Option<String>,
}

/// An effect that is over.
#[derive(Clone, Debug, PartialEq)]
pub struct Past {
    /// The effect.
    pub effect: Effect,
    /// When it was intended.
    pub since_ms: i64,
    /// When its outcome was recorded.
    pub until_ms: i64,
    /// Whether it happened.
    pub ok: bool,
}

/// One run: the fold of its events.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// Its state.
    pub state: State,
    /// What was asked for. `None` only before the first event.
    pub request: Option<Request>,
    /// Who asked, and when.
    pub requested: Option<Decision>,
    /// How many events it has.
    pub rseq: u64,
    /// Its last event's place in the journal.
    pub seq: u64,
    /// Its last event's hash.
    pub head: String,
    /// When its last event was recorded.
    pub last_ms: i64,
    /// Who holds it or held it last.
    pub lease: Option<Lease>,
    /// Take-overs since the last new outcome, the last rest, or the last decision of a person.
    pub takeovers: u32,
    /// The checks of the preflight.
    pub checks: Vec<Check>,
    /// What the preflight found, if no check failed.
    pub preflight: Option<Preflight>,
    /// The texts of the pending migrations, as blobs, in the order of [`Preflight::pending`].
    pub texts: Vec<String>,
    /// The catalog the target was left with, as a blob; none in runs older than the keeping of it.
    pub left: Option<String>,
    /// The dump the target can go back to.
    pub backup: Option<Backup>,
    /// When that dump was taken.
    pub backup_ms: i64,
    /// The dump taken before a restore, if rows would have been forgotten.
    pub saved: Option<Backup>,
    /// The sandbox that may exist.
    pub sandbox: Option<serde_json::Value>,
    /// What the rehearsal found.
    pub rehearsal: Option<Rehearsal>,
    /// How the tests came out.
    pub tests: Option<CommandReport>,
    /// The plan.
    pub plan: Option<Plan>,
    /// The plan's digest.
    pub plan_digest: Option<Digest>,
    /// The findings of the plan or of the refusal.
    pub findings: Vec<Finding>,
    /// The approval, if there was one.
    pub approved: Option<Decision>,
    /// The rejection, if there was one.
    pub rejected: Option<Decision>,
    /// The wish to stop, if there was one.
    pub cancelled: Option<Decision>,
    /// The committed steps, in order.
    pub committed: Vec<StepReport>,
    /// The effects that committed them, in order.
    pub committed_by: Vec<EffectId>,
    /// The step behind those, if it failed after a part of it was committed.
    pub partial: Option<StepReport>,
    /// The steps taken back in place, the last one first.
    pub undone: Vec<StepReport>,
    /// The effects that took them back, in order.
    pub undone_by: Vec<EffectId>,
    /// What notes the writes to the target, if anything does: the adapter's own description.
    pub capture: Option<serde_json::Value>,
    /// Whether the shadow is there, and was proven.
    pub shadow: bool,
    /// How far the shadow is.
    pub readiness: Option<Readiness>,
    /// How the swap went, if there was one.
    pub swapped: Option<Swapped>,
    /// Whether the backup was restored.
    pub restored: bool,
    /// Whether a step could not be taken back in place.
    pub in_place_failed: bool,
    /// Whether the swap could not be had after all.
    pub swap_failed: bool,
    /// Whether somebody wants the backup restored.
    pub restore_asked: bool,
    /// Whether whoever asked for the way back was told that it is the backup: leave for a gentler way is none for what a restore forgets.
    pub restore_agreed: bool,
    /// Why the way in place was not to be had on the target, if it was tried.
    pub in_place_why: Option<Failure>,
    /// What the verification found last.
    pub verified: Option<(Digest, String)>,
    /// How the verification command came out.
    pub verify: Option<CommandReport>,
    /// The effect in flight.
    pub flight: Option<InFlight>,
    /// What failed and has not been dealt with.
    pub failure: Option<Failure>,
    /// Why the run turned round.
    pub rollback_why: Option<Failure>,
    /// Who asked for a rollback, if somebody did.
    pub rollback_asked: Option<Decision>,
    /// How often the run turned round.
    pub rollbacks: u32,
    /// What a restore would forget.
    pub loss: Option<Loss>,
    /// Why the run is halted.
    pub halted: Option<Failure>,
    /// What is known of the effect in flight, if nobody can tell whether it happened.
    pub doubt: Option<String>,
    /// Whether a person ever ruled on a change of the target: their word is taken, but proves nothing.
    pub ruled: bool,
    /// Why the run was refused.
    pub reasons: Vec<Failure>,
    /// Why it stopped last, if it stopped without being settled.
    pub paused: Option<Pause>,
    /// The effects that are over, in order.
    pub past: Vec<Past>,
    /// The files written beside it.
    pub artifacts: Vec<Artifact>,
    /// When it was settled.
    pub settled_ms: Option<i64>,
}

impl Run {
    /// A run of which nothing is known yet.
    #[must_use]
    pub fn blank(id: RunId) -> Self {
        Self {
            id,
            state: State::Blank {},
            request: None,
            requested: None,
            rseq: 0,
            seq: 0,
            head: String::new(),
            last_ms: 0,
            lease: None,
            takeovers: 0,
            checks: Vec::new(),
            preflight: None,
            texts: Vec::new(),
            left: None,
            backup: None,
            backup_ms: 0,
            saved: None,
            sandbox: None,
            rehearsal: None,
            tests: None,
            plan: None,
            plan_digest: None,
            findings: Vec::new(),
            approved: None,
            rejected: None,
            cancelled: None,
            committed: Vec::new(),
            committed_by: Vec::new(),
            partial: None,
            undone: Vec::new(),
            undone_by: Vec::new(),
            capture: None,
            shadow: false,
            readiness: None,
            swapped: None,
            restored: false,
            in_place_failed: false,
            swap_failed: false,
            restore_asked: false,
            restore_agreed: false,
            in_place_why: None,
            verified: None,
            verify: None,
            flight: None,
            failure: None,
            rollback_why: None,
            rollback_asked: None,
            rollbacks: 0,
            loss: None,
            halted: None,
            doubt: None,
            ruled: false,
            reasons: Vec::new(),
            paused: None,
            past: Vec::new(),
            artifacts: Vec::new(),
            settled_ms: None,
        }
    }

    /// Whether it is halted only because the target was not as it was left: the next take-over looks again.
    #[must_use]
    pub fn looks_again(&self) -> bool {
        self.halted.as_ref().is_some_and(|why| why.code == Code::TargetChanged)
    }

    /// Whether somebody still has to approve the plan.
    #[must_use]
    pub fn approval_missing(&self) -> bool {
        self.plan.as_ref().is_some_and(|plan| plan.approval_required) && self.approved.is_none()
    }

    /// Whether there is nothing to deploy.
    #[must_use]
    pub fn nothing_to_do(&self) -> bool {
        self.preflight.as_ref().is_some_and(|preflight| preflight.pending.is_empty())
    }

    /// How the run goes back as things stand: the gentlest way that is open.
    #[must_use]
    pub fn way(&self) -> Way {
        let Some(plan) = &self.plan else { return Way::Restore };
        // A way back in place is one from the whole step: of a part of it nothing was proven.
        let in_place =
            self.partial.is_none() && plan.steps.iter().take(self.committed.len()).all(|step| step.undo.is_in_place());
        if self.restore_asked || self.restored {
            Way::Restore
        } else if self.swapped.is_some() || (in_place && !self.in_place_failed) {
            Way::InPlace
        } else if self.capture.is_some() && self.shadow && !self.swap_failed {
            Way::Swap
        } else {
            Way::Restore
        }
    }

    /// Whether it turned round because the target's schema was not the rehearsed one.
    fn turned_for_the_schema(&self) -> bool {
        self.rollback_why.as_ref().is_some_and(|why| why.code == Code::SchemaDiffers)
    }

    /// As [`Run::way`], if somebody asked for the way back now: what failed before is tried again.
    #[must_use]
    pub fn asked_way(&self) -> Way {
        let mut asked = self.clone();
        (asked.in_place_failed, asked.swap_failed, asked.restore_asked) = (false, false, false);
        asked.way()
    }

    /// Whether anything of the plan was committed, be it a part of a step.
    #[must_use]
    pub fn changed_target(&self) -> bool {
        !self.committed.is_empty() || self.partial.is_some()
    }

    /// The step that failed after a part of it was committed, from 0, unless the target went back since.
    #[must_use]
    pub fn partial_step(&self) -> Option<usize> {
        let back = self.restored || self.swapped.is_some();
        self.partial.as_ref().filter(|_| !back).map(|_| self.committed.len())
    }

    /// The step in flight, if it may fail after a part of it is committed.
    fn in_flight_piecemeal(&self) -> bool {
        let Some(InFlight { effect: Effect::Migrate { step }, .. }) = &self.flight else { return false };
        let step = self.plan.as_ref().and_then(|plan| plan.steps.get(*step));
        step.is_some_and(|step| step.mode.is_piecemeal())
    }

    /// The committed steps that are not taken back.
    #[must_use]
    pub fn standing_steps(&self) -> usize {
        // What took the target's name has none of them.
        if self.swapped.is_some() { 0 } else { self.committed.len().saturating_sub(self.undone.len()) }
    }

    /// What the machine has to know besides the state.
    #[must_use]
    pub fn facts(&self) -> Facts {
        let settings = self.request.as_ref().map(|request| &request.settings);
        Facts {
            flight: self.flight.as_ref().map(|flight| flight.id.clone()),
            steps: self.plan.as_ref().map_or(0, |plan| plan.steps.len()),
            committed: self.committed.len() + usize::from(self.partial.is_some()),
            piecemeal: self.in_flight_piecemeal(),
            tests: settings.is_some_and(|settings| settings.tests.is_some() || settings.previous_tests.is_some()),
            verify: settings.is_some_and(|settings| settings.verify.is_some()),
            verify_once: settings.and_then(|settings| settings.verify.as_ref()).is_some_and(|verify| verify.once),
            health: settings.is_some_and(|settings| settings.health.is_some()),
            nothing_to_do: self.nothing_to_do(),
            failed: self.failure.is_some(),
            cancelled: self.cancelled.is_some(),
            rejected: self.rejected.is_some(),
            approval_missing: self.approval_missing(),
            dry_run: self.request.as_ref().is_some_and(|request| request.dry_run),
            // Time is read off the events: the same history gives the same answer on any day.
            // After a ruling nothing is dumped over the checkpoint any more: it may be the only one of the target untouched.
            // What was written since a dump that was taken under a capture is captured.
            stale_backup: self.backup.is_some()
                && !self.ruled
                && self.capture.is_none()
                && self.last_ms.saturating_sub(self.backup_ms) > BACKUP_AGE_MS,
            loss: self.loss.as_ref().is_some_and(Loss::is_any),
            forgets: self.loss.as_ref().is_some_and(|loss| {
                // A schema that never was the rehearsed one is the migration's own doing, as far as anybody can tell.
                loss.forgets_rows() || (loss.schema && !self.turned_for_the_schema())
            }),
            restorable: self.backup.is_some() && self.changed_target(),
            standing: self.standing_steps(),
            way: self.way(),
            capture: self.plan.as_ref().is_some_and(|plan| plan.capture.is_some()),
            captured: self.capture.is_some(),
            keep_capture: settings.is_some_and(|settings| settings.rollback.window_ms > 0),
            asked: self.restore_agreed,
            poisoned: self.takeovers > MAX_TAKEOVERS,
            look_again: self.looks_again(),
            plan: self.plan_digest.clone(),
        }
    }

    /// How long each phase took, in the order they began. Milliseconds.
    #[must_use]
    pub fn phases(&self) -> Vec<(Phase, u64)> {
        let mut phases: Vec<(Phase, u64)> = Vec::new();
        for past in &self.past {
            let took = u64::try_from(past.until_ms.saturating_sub(past.since_ms)).unwrap_or(0);
            match phases.iter_mut().find(|(phase, _)| *phase == past.effect.phase()) {
                Some((_, sum)) => *sum += took,
                None => phases.push((past.effect.phase(), took)),
            }
        }
        phases
    }

    /// From the request to the settlement, or to the last event. Milliseconds.
    #[must_use]
    pub fn duration_ms(&self) -> u64 {
        let begun = self.requested.as_ref().map_or(self.last_ms, |requested| requested.ts_ms);
        u64::try_from(self.settled_ms.unwrap_or(self.last_ms).saturating_sub(begun)).unwrap_or(0)
    }

    /// Takes in what `recorded` tells. The caller has seen to it that the event is legal.
    pub(super) fn absorb(&mut self, recorded: &Recorded) {
        let decision = |reason: &Option<String>| Decision {
            actor: recorded.actor.clone(),
            ts_ms: recorded.ts_ms,
            reason: reason.clone(),
        };
        self.rseq = recorded.rseq;
        self.seq = recorded.seq;
        self.head = recorded.hash.clone();
        self.last_ms = recorded.ts_ms;
        match &recorded.event {
            Event::Requested(request) => {
                self.request = Some((**request).clone());
                self.requested = Some(decision(&request.allow.reason));
            }
            Event::LeaseTaken { host, pid, epoch } => {
                self.lease = Some(Lease { host: host.clone(), pid: *pid, epoch: *epoch });
                self.takeovers = self.takeovers.saturating_add(1);
                self.paused = None;
                if self.looks_again() {
                    self.halted = None;
                }
            }
            Event::Paused { why } => {
                self.paused = Some(*why);
                // Whoever lets go on purpose was not killed.
                self.takeovers = 0;
            }
            Event::Intended { effect, id, attempt } => {
                // Once its removal has begun, nobody can rely on it.
                self.shadow &= *effect != Effect::EndCapture;
                self.flight = Some(InFlight {
                    effect: *effect,
                    id: id.clone(),
                    attempt: *attempt,
                    seq: recorded.seq,
                    hash: recorded.hash.clone(),
                    since_ms: recorded.ts_ms,
                });
            }
            Event::Succeeded { outcome, .. } => self.landed(recorded, Some(outcome), None),
            Event::Failed { failure, partial, .. } => self.landed(recorded, partial.as_ref(), Some(failure)),
            Event::Fenced { .. } => {}
            Event::Reconciled { verdict, evidence, .. } => match verdict {
                super::event::Verdict::Applied { outcome } => self.landed(recorded, Some(outcome), None),
                super::event::Verdict::NotApplied => {
                    self.flight = None;
                }
                super::event::Verdict::PartlyApplied { outcome, failure } => {
                    self.landed(recorded, Some(outcome), Some(failure));
                }
                super::event::Verdict::Unknown => self.doubt = Some(evidence.clone()),
            },
            Event::Ruled { applied, .. } => {
                self.halted = None;
                self.doubt = None;
                self.ruled = true;
                self.takeovers = 0;
                if *applied {
                    self.landed(recorded, Some(&Outcome::Step(StepReport::default())), None);
                } else {
                    self.flight = None;
                }
            }
            Event::Planned { plan, digest, findings } => {
                self.plan = Some((**plan).clone());
                self.plan_digest = Some(digest.clone());
                self.findings.clone_from(findings);
            }
            // A decision of a person is news: what kept killing the process gets another chance to be something else.
            Event::Approved { reason, .. } => {
                self.approved = Some(decision(reason));
                self.takeovers = 0;
            }
            Event::Rejected { reason } => {
                self.rejected = Some(decision(reason));
                self.takeovers = 0;
            }
            Event::CancelRequested { reason } => {
                self.cancelled = Some(decision(reason));
                self.takeovers = 0;
            }
            Event::RollbackStarted { why } => {
                // On its way back already: the way in place failed, and the next one is tried.
                if matches!(self.state, State::Rolling { .. }) {
                    self.in_place_failed = true;
                    self.restore_agreed = false;
                    self.in_place_why = Some(why.clone());
                } else {
                    self.rollback_why = Some(why.clone());
                    // What was proven in the sandbox is not what happened here.
                    self.in_place_failed = why.code == Code::SchemaDiffers;
                }
                self.failure = None;
                self.rollbacks += 1;
            }
            Event::CaptureEnded { .. } => self.capture_ended(),
            Event::WayChecked { readiness } => self.readiness = Some(readiness.clone()),
            Event::RollbackRequested { reason, restore } => {
                self.rollback_asked = Some(decision(reason));
                self.restore_asked = *restore;
                // Whoever asks again has looked what was in the way.
                self.in_place_failed = false;
                self.in_place_why = None;
                self.swap_failed = false;
                self.restore_agreed = self.way() == Way::Restore;
                self.failure = None;
                self.halted = None;
                self.loss = None;
                self.settled_ms = None;
                self.takeovers = 0;
                self.rollbacks += 1;
            }
            Event::Refused { reasons, findings } => {
                self.reasons.clone_from(reasons);
                self.findings.clone_from(findings);
                self.settled_ms = Some(recorded.ts_ms);
            }
            Event::Halted { why } => {
                self.halted = Some(why.clone());
                if self.looks_again() {
                    // It came as far as looking, and stopped on purpose.
                    self.takeovers = 0;
                }
            }
            Event::RunSucceeded | Event::RolledBack | Event::Rehearsed | Event::Abandoned { .. } => {
                self.settled_ms = Some(recorded.ts_ms);
            }
            Event::ArtifactsWritten { files } => {
                self.keep(files);
            }
        }
    }

    /// The transactions younger than the backup's oldest whose rows nobody would miss: those the backup has seen, and the run's own.
    #[must_use]
    pub fn known_transactions(&self) -> Vec<String> {
        let seen = self.backup.iter().flat_map(|backup| backup.seen.iter().cloned());
        seen.chain(self.own_transactions()).collect()
    }

    /// The transactions that are known to be the run's own.
    pub fn own_transactions(&self) -> impl Iterator<Item = String> + '_ {
        let reports = self.committed.iter().chain(&self.partial).chain(&self.undone);
        reports.flat_map(StepReport::transactions).cloned()
    }

    /// Files were written: the last one of a name is the one that is there.
    fn keep(&mut self, files: &[Artifact]) {
        for file in files {
            self.artifacts.retain(|old| old.name != file.name);
            self.artifacts.push(file.clone());
        }
    }

    /// Nothing notes the writes any more.
    fn capture_ended(&mut self) {
        self.capture = None;
        self.shadow = false;
    }

    /// The effect in flight is over.
    fn landed(&mut self, recorded: &Recorded, outcome: Option<&Outcome>, failure: Option<&Failure>) {
        let Some(flight) = self.flight.take() else { return };
        self.takeovers = 0;
        self.past.push(Past {
            effect: flight.effect,
            since_ms: flight.since_ms,
            until_ms: recorded.ts_ms,
            ok: failure.is_none(),
        });
        // Not being able to tidy up is no reason to refuse, and must not hide why there was something to tidy up.
        if let Some(failure) = failure.filter(|_| !flight.effect.may_fail()) {
            self.failure.get_or_insert_with(|| failure.clone());
            self.swap_failed |= matches!(flight.effect, Effect::CatchUp | Effect::Swap);
        }
        let Some(outcome) = outcome else {
            return;
        };
        match (flight.effect, outcome) {
            (Effect::Preflight, Outcome::Preflight(preflight)) => {
                self.texts =
                    preflight.pending.iter().filter_map(|pending| recorded.refs.get(pending.blob).cloned()).collect();
                self.checks.clone_from(&preflight.checks);
                self.preflight = Some((**preflight).clone());
            }
            (Effect::Preflight, Outcome::Checks(checks)) => self.checks.clone_from(checks),
            (Effect::Dump { purpose: super::effect::DumpPurpose::BeforeRollback }, Outcome::Dump(backup)) => {
                self.saved = Some((**backup).clone());
            }
            (Effect::Dump { .. }, Outcome::Dump(backup)) => {
                self.backup = Some((**backup).clone());
                // One that was found after a fence may have lain there for long: it is as old as its intent.
                let found = matches!(recorded.event, Event::Reconciled { .. });
                self.backup_ms = if found { flight.since_ms } else { recorded.ts_ms };
            }
            (Effect::CreateSandbox, Outcome::Sandbox { location, .. }) => self.sandbox = Some(location.clone()),
            (Effect::DropSandbox, _) => self.sandbox = None,
            (Effect::Rehearse, Outcome::Rehearsal(rehearsal)) => {
                self.keep(&rehearsal.artifacts);
                self.rehearsal = Some((**rehearsal).clone());
            }
            (Effect::RunTests, Outcome::Command(report)) => {
                self.keep(report.output.as_slice());
                self.keep(report.previous.as_ref().map_or(&[], |previous| previous.output.as_slice()));
                self.tests = Some(report.clone());
            }
            (Effect::RunVerify, Outcome::Command(report)) => {
                self.keep(report.output.as_slice());
                self.verify = Some(report.clone());
            }
            (Effect::Migrate { .. }, Outcome::Step(report)) if failure.is_some() => self.partial = Some(report.clone()),
            (Effect::Migrate { .. }, Outcome::Step(report)) => {
                self.committed.push(report.clone());
                self.committed_by.push(flight.id);
            }
            (Effect::UndoStep { .. }, Outcome::Step(report)) => {
                self.undone.push(report.clone());
                self.undone_by.push(flight.id);
            }
            (Effect::StartCapture, Outcome::Capture { record, .. }) => self.capture = Some(record.clone()),
            (Effect::Restore, _) => self.restored = true,
            (Effect::RaiseShadow, _) => self.shadow = true,
            (Effect::EndCapture, _) => self.capture_ended(),
            (Effect::CheckWay | Effect::CatchUp, Outcome::Readiness(readiness)) => {
                self.readiness = Some(readiness.clone());
            }
            (Effect::Swap, Outcome::Swapped(swapped)) => {
                self.swapped = Some(swapped.clone());
                // The shadow is the target now.
                self.shadow = false;
            }
            (Effect::CheckSchema | Effect::CheckRestored, Outcome::Fingerprint { fingerprint, xid }) => {
                self.verified = Some((fingerprint.clone(), xid.clone()));
                self.left = recorded.refs.first().cloned();
            }
            (Effect::AssessLoss, Outcome::Loss(loss)) => self.loss = Some(loss.clone()),
            _ => {}
        }
    }
}
