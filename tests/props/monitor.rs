//! The laws of a run, told a second time: from the events alone, without a look at the state machine.
//!
//! It knows nothing of states. It keeps what somebody with a pencil would keep, and says which law an event breaks.

use dbd::domain::digest::Digest;
use dbd::domain::effect::{DumpPurpose, Effect};
use dbd::domain::event::{Event, Outcome, Recorded, Verdict};
use dbd::domain::run::{BACKUP_AGE_MS, MAX_TAKEOVERS};

/// How a run was settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Settled {
    Succeeded,
    Otherwise,
}

/// The pencil notes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Monitor {
    begun: bool,
    /// The intent without an outcome.
    open: Option<Effect>,
    open_ms: i64,
    fenced: bool,
    doubt: bool,
    halted: bool,
    settled: Option<Settled>,
    dry_run: bool,
    approval: bool,
    verify: bool,
    health: bool,
    nothing_to_do: bool,
    planned: Option<(Digest, usize)>,
    approved: bool,
    ruled: bool,
    rejected: bool,
    cancelled: bool,
    failed: bool,
    turned: bool,
    committed: usize,
    restored: bool,
    /// A step failed after a part of it was committed.
    partly: bool,
    /// The last look at the target after the last change of it.
    schema_checked: bool,
    verified: bool,
    healthy: bool,
    checkpoint_checked: bool,
    /// Rows were counted by the process at work, and saved if there were any.
    counted: bool,
    unsaved: bool,
    lost: bool,
    dumped_under_capture: bool,
    /// Somebody asked for the way back that is taken.
    asked: bool,
    /// The plan has writes captured; they are; the shadow is there and proven.
    capture: bool,
    captured: bool,
    shadow: bool,
    /// The shadow was brought up to date by the process at work.
    caught_up: bool,
    /// A way back in place failed, and that may be turned round from once more.
    undo_failed: bool,
    undone: usize,
    swapped: bool,
    sandbox: bool,
    prepared: bool,
    backup_ms: Option<i64>,
    last_ms: i64,
    takeovers: u32,
}

macro_rules! law {
    ($holds:expr, $($words:tt)+) => {
        if !$holds {
            return Err(format!($($words)+));
        }
    };
}

impl Monitor {
    /// Whether something of the target may have been changed and not been taken back.
    pub fn touched(&self) -> bool {
        self.committed > 0 || self.partly || self.open.is_some_and(|effect| effect.changes_target())
    }

    /// The same notes without the times in them, but for whether the backup is `stale`.
    pub fn timeless(&self, stale: bool) -> Self {
        Self { open_ms: 0, last_ms: 0, backup_ms: self.backup_ms.map(|_| i64::from(stale)), ..self.clone() }
    }

    /// Takes note of `recorded`.
    pub fn observe(&mut self, recorded: &Recorded) -> Result<(), String> {
        let event = &recorded.event;
        law!(self.begun != matches!(event, Event::Requested(_)), "the request is the first event and no other");
        law!(recorded.ts_ms >= self.last_ms, "time does not run backwards");
        if let Some(settled) = self.settled {
            law!(
                matches!(event, Event::ArtifactsWritten { .. } | Event::CaptureEnded { .. })
                    || (settled == Settled::Succeeded
                        && matches!(event, Event::RollbackRequested { .. } | Event::WayChecked { .. })),
                "{} after the run was settled",
                event.kind()
            );
        }
        match event {
            Event::Requested(request) => {
                self.begun = true;
                self.dry_run = request.dry_run;
                self.verify = request.settings.verify.is_some();
                self.health = request.settings.health.is_some();
            }
            Event::LeaseTaken { .. } => {
                self.sandbox = false;
                self.counted = false;
                self.caught_up = false;
                self.takeovers += 1;
            }
            Event::Paused { .. } => self.takeovers = 0,
            Event::Intended { effect, .. } => {
                self.intended(*effect)?;
                self.open_ms = recorded.ts_ms;
            }
            Event::Succeeded { outcome, .. } => {
                law!(!self.fenced, "an outcome after somebody else fenced the effect off");
                let effect = self.close()?;
                self.happened(effect, outcome, recorded.ts_ms, false);
            }
            Event::Failed { partial, .. } => {
                law!(!self.fenced, "an outcome after somebody else fenced the effect off");
                let effect = self.close()?;
                self.takeovers = 0;
                self.partly |= matches!((effect, partial), (Effect::Migrate { .. }, Some(Outcome::Step(_))));
                if !effect.may_fail() {
                    self.failed = true;
                }
                self.undo_failed = matches!(effect, Effect::UndoStep { .. });
            }
            Event::Fenced { .. } => {
                law!(self.open.is_some(), "a fence without an intent");
                self.fenced = true;
            }
            Event::Reconciled { verdict, .. } => {
                law!(self.fenced, "a verdict without a fence");
                match verdict {
                    Verdict::Applied { outcome } => {
                        let effect = self.close()?;
                        self.happened(effect, outcome, recorded.ts_ms, true);
                    }
                    Verdict::NotApplied => {
                        let effect = self.close()?;
                        self.counted &= effect != Effect::Restore;
                        self.caught_up &= effect != Effect::Swap;
                        self.sandbox = false;
                    }
                    Verdict::PartlyApplied { .. } => {
                        let effect = self.close()?;
                        law!(matches!(effect, Effect::Migrate { .. }), "{effect:?} in part");
                        self.takeovers = 0;
                        (self.failed, self.partly) = (true, true);
                    }
                    Verdict::Unknown => {
                        law!(
                            self.open.is_some_and(|effect| effect.changes_target()),
                            "{:?} in doubt for good",
                            self.open
                        );
                        self.doubt = true;
                    }
                }
            }
            Event::Ruled { applied, .. } => {
                law!(self.halted && self.doubt, "a ruling on what is not in doubt");
                self.halted = false;
                self.ruled = true;
                let effect = self.close()?;
                self.takeovers = 0;
                if *applied {
                    self.happened(effect, &Outcome::Done, recorded.ts_ms, true);
                } else {
                    self.counted = false;
                }
            }
            Event::Planned { plan, digest, .. } => {
                law!(!self.failed && !self.cancelled, "a plan for a run that is given up");
                law!(self.planned.is_none(), "a second plan");
                law!(*digest == plan.digest(), "a plan under another digest");
                self.planned = Some((digest.clone(), plan.steps.len()));
                self.approval = plan.approval_required;
                self.capture = plan.capture.is_some();
            }
            Event::CaptureEnded { .. } => {
                law!(self.captured && self.settled.is_some(), "the end of a capture that nobody has on");
                (self.captured, self.shadow) = (false, false);
            }
            Event::WayChecked { .. } => {
                law!(self.captured && self.settled.is_some(), "a look at a way back that nobody keeps open");
            }
            Event::Approved { plan_digest, .. } => {
                law!(
                    self.planned.as_ref().is_some_and(|(digest, _)| digest == plan_digest),
                    "an approval of another plan"
                );
                law!(!self.rejected, "an approval after a rejection");
                self.approved = true;
                self.takeovers = 0;
            }
            Event::Rejected { .. } => {
                self.rejected = true;
                self.takeovers = 0;
            }
            Event::CancelRequested { .. } => {
                self.cancelled = true;
                self.takeovers = 0;
            }
            Event::RollbackStarted { .. } => {
                law!(self.open.is_none(), "turned round past {:?}, which is unresolved", self.open);
                law!(self.failed || self.cancelled, "turned round without a reason");
                law!(!self.turned || self.undo_failed, "turned round twice by itself");
                self.undo_failed = false;
                // Leave for a gentler way that failed is none for the backup.
                self.asked = false;
                self.turn();
            }
            Event::RollbackRequested { .. } => {
                law!(self.open.is_none(), "turned round past {:?}, which is unresolved", self.open);
                law!(self.halted || self.settled == Some(Settled::Succeeded), "a rollback asked for while under way");
                self.halted = false;
                self.asked = true;
                self.settled = None;
                self.takeovers = 0;
                self.turn();
            }
            Event::Refused { .. } => {
                law!(!self.touched(), "refused, and the target was touched");
                law!(self.open.is_none(), "refused with {:?} unresolved", self.open);
                self.settled = Some(Settled::Otherwise);
            }
            Event::Rehearsed => {
                law!(self.dry_run && self.planned.is_some() && !self.touched(), "rehearsed only, yet more was done");
                self.settled = Some(Settled::Otherwise);
            }
            Event::RunSucceeded => {
                law!(
                    self.open.is_none() && !self.turned && !self.failed && !self.cancelled,
                    "succeeded in spite of all"
                );
                let steps = self.planned.as_ref().map(|(_, steps)| *steps);
                law!(self.nothing_to_do || steps == Some(self.committed), "succeeded with steps left");
                law!(self.nothing_to_do || self.schema_checked, "succeeded unchecked");
                law!(self.nothing_to_do || !self.verify || self.verified, "succeeded unverified");
                law!(self.nothing_to_do || !self.health || self.healthy, "succeeded without asking for its health");
                self.settled = Some(Settled::Succeeded);
            }
            Event::RolledBack => {
                law!(self.open.is_none(), "rolled back with {:?} unresolved", self.open);
                law!(self.turned, "rolled back without having turned round");
                law!(
                    self.restored || self.swapped || (self.undone == self.committed && !self.partly),
                    "rolled back with {} of {} steps taken back",
                    self.undone,
                    self.committed
                );
                law!(self.checkpoint_checked, "rolled back unchecked");
                self.settled = Some(Settled::Otherwise);
            }
            Event::Halted { .. } => {
                law!(
                    self.doubt
                        || (self.turned && self.failed)
                        || (self.turned && self.unsaved && !self.asked)
                        || self.takeovers > MAX_TAKEOVERS,
                    "halted without a reason"
                );
                law!(self.doubt == self.open.is_some(), "halted with an effect that could be looked up");
                self.halted = true;
            }
            Event::Abandoned { .. } => self.settled = Some(Settled::Otherwise),
            Event::ArtifactsWritten { .. } => {}
        }
        self.last_ms = recorded.ts_ms;
        Ok(())
    }

    fn intended(&mut self, effect: Effect) -> Result<(), String> {
        law!(self.open.is_none(), "{effect:?} while {:?} is in flight", self.open);
        law!(!self.halted, "{effect:?} while a person has to decide");
        law!(self.takeovers <= MAX_TAKEOVERS, "{effect:?} of a run that only ever dies");
        self.open = Some(effect);
        match effect {
            Effect::Preflight | Effect::Dump { purpose: DumpPurpose::Checkpoint } | Effect::CreateSandbox => {
                law!(self.planned.is_none() && !self.cancelled && !self.failed, "{effect:?} of a run that is given up");
            }
            Effect::FillSandbox | Effect::Rehearse | Effect::RunTests => {
                law!(self.sandbox, "{effect:?} in a sandbox of another process");
                law!(!self.cancelled && !self.failed, "{effect:?} of a run that is given up");
            }
            Effect::DropSandbox => {}
            Effect::EndCapture => {
                law!(!self.turned || self.checkpoint_checked, "the capture is ended before the target is back");
            }
            Effect::StartCapture => {
                law!(self.planned.is_some() && self.capture && !self.dry_run, "{effect:?} without a plan for it");
                law!(!self.approval || self.approved, "{effect:?} without an approval");
                law!(!self.cancelled && !self.rejected && !self.failed, "{effect:?} of a run that is given up");
                law!(self.committed == 0, "{effect:?} after the first step");
            }
            Effect::RaiseShadow => {
                law!(self.captured && self.dumped_under_capture, "{effect:?} of a dump from before the capture");
                law!(!self.cancelled && !self.failed, "{effect:?} of a run that is given up");
            }
            Effect::Dump { purpose: DumpPurpose::Refresh } | Effect::PrepareTarget => {
                law!(!self.capture || self.captured, "{effect:?} before writes are captured");
                law!(!self.capture || self.shadow || effect != Effect::PrepareTarget, "{effect:?} without a shadow");
                law!(!self.ruled, "{effect:?} of a target of which there is only somebody's word");
                law!(self.planned.is_some() && !self.dry_run, "{effect:?} without a plan");
                law!(!self.approval || self.approved, "{effect:?} without an approval");
                law!(!self.cancelled && !self.rejected && !self.failed, "{effect:?} of a run that is given up");
                law!(self.committed == 0, "{effect:?} after the first step");
            }
            Effect::Migrate { step } => {
                law!(self.planned.is_some() && !self.dry_run, "{effect:?} without a plan");
                law!(!self.approval || self.approved, "{effect:?} without an approval");
                law!(self.prepared, "{effect:?} of a target that is not prepared");
                law!(!self.turned && !self.failed && !self.cancelled, "{effect:?} after turning round");
                law!(step == self.committed, "{effect:?} with {} steps committed", self.committed);
                let age = self.backup_ms.map(|taken| self.last_ms - taken);
                law!(age.is_some(), "{effect:?} without a backup");
                law!(
                    step > 0 || self.ruled || self.captured || age <= Some(BACKUP_AGE_MS),
                    "{effect:?} with a backup {age:?} ms old"
                );
                law!(!self.capture || (self.captured && self.shadow), "{effect:?} without the capture of the plan");
                self.schema_checked = false;
            }
            Effect::CheckSchema | Effect::RunVerify | Effect::CheckHealth | Effect::CheckWay => {
                law!(!self.turned && !self.failed && !self.cancelled, "{effect:?} after turning round");
            }
            Effect::AssessLoss | Effect::Dump { purpose: DumpPurpose::BeforeRollback } | Effect::CheckRestored => {
                law!(self.turned && !self.failed, "{effect:?} without turning round");
            }
            Effect::UndoStep { step } => {
                law!(self.turned && !self.failed, "{effect:?} without turning round");
                law!(
                    self.undone < self.committed && step == self.committed - self.undone - 1,
                    "{effect:?} with {} of {} taken back",
                    self.undone,
                    self.committed
                );
                self.checkpoint_checked = false;
            }
            Effect::CatchUp | Effect::Swap => {
                law!(self.turned && !self.failed, "{effect:?} without turning round");
                law!(self.captured && self.shadow, "{effect:?} without a shadow");
                law!(effect == Effect::CatchUp || self.caught_up, "{effect:?} with a shadow of long ago");
                self.checkpoint_checked = false;
            }
            Effect::Restore => {
                law!(!self.lost || self.asked, "{effect:?} over somebody's rows without being asked");
                law!(self.turned && !self.failed, "{effect:?} without turning round");
                law!(self.committed > 0 || self.partly, "{effect:?} of a target that was never changed");
                law!(self.counted, "{effect:?} without counting what it forgets");
                law!(!self.unsaved, "{effect:?} over rows that are nowhere else");
                self.checkpoint_checked = false;
            }
        }
        Ok(())
    }

    fn close(&mut self) -> Result<Effect, String> {
        self.fenced = false;
        self.doubt = false;
        self.open.take().ok_or_else(|| "an outcome without an intent".to_owned())
    }

    fn happened(&mut self, effect: Effect, outcome: &Outcome, now_ms: i64, later: bool) {
        self.takeovers = 0;
        match effect {
            Effect::Preflight => {
                self.nothing_to_do = matches!(outcome, Outcome::Preflight(preflight) if preflight.pending.is_empty());
            }
            Effect::Dump { purpose: DumpPurpose::BeforeRollback } => {
                self.unsaved = false;
                self.counted &= !later;
            }
            Effect::Dump { .. } => {
                // Found later, it is as old as its intent.
                self.backup_ms = Some(if later { self.open_ms } else { now_ms });
                self.prepared = false;
                self.dumped_under_capture = self.captured;
            }
            Effect::StartCapture => self.captured = true,
            Effect::RaiseShadow => self.shadow = true,
            Effect::EndCapture => (self.captured, self.shadow) = (false, false),
            Effect::CheckWay => {}
            Effect::CatchUp => self.caught_up = true,
            Effect::UndoStep { .. } => self.undone += 1,
            Effect::Swap => (self.swapped, self.shadow) = (true, false),
            Effect::CreateSandbox => self.sandbox = true,
            Effect::DropSandbox => self.sandbox = false,
            Effect::PrepareTarget => self.prepared = true,
            Effect::Migrate { .. } => self.committed += 1,
            Effect::CheckSchema => self.schema_checked = true,
            Effect::RunVerify => self.verified = true,
            Effect::CheckHealth => self.healthy = true,
            Effect::AssessLoss => {
                self.counted = true;
                self.lost = matches!(outcome, Outcome::Loss(loss) if loss.is_any());
                self.unsaved = matches!(outcome, Outcome::Loss(loss) if loss.rows() > 0);
            }
            Effect::Restore => self.restored = true,
            Effect::CheckRestored => self.checkpoint_checked = true,
            Effect::FillSandbox | Effect::Rehearse | Effect::RunTests => {}
        }
    }

    fn turn(&mut self) {
        self.turned = true;
        self.failed = false;
        self.checkpoint_checked = false;
        self.counted = false;
    }
}
