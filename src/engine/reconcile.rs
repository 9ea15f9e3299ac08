//! An intent without an outcome: end what may still be at work, look, record the verdict. Never repeated blindly.

use super::runner::{Broken, Ending, Runner};
use crate::domain::code::Code;
use crate::domain::digest::Digest;
use crate::domain::effect::{DumpPurpose, Effect, Recovery};
use crate::domain::event::{Event, Outcome, StepReport, Verdict};
use crate::domain::failure::{Certainty, Failure};
use crate::domain::migration::{AloneProbe, UnitMode};
use crate::domain::run::InFlight;
use crate::ports::database::{Around, ProbeOrder, Standing};
use crate::ports::fence::Fenced;
use std::time::{Duration, Instant};

/// How long a server that cannot be reached is waited for before the run is left for later.
const PATIENCE: Duration = Duration::from_secs(30);

impl Runner<'_> {
    /// Fences and probes the effect in flight.
    pub(super) async fn reconcile(&mut self) -> Result<Option<Ending>, Broken> {
        let Some(flight) = self.run.flight.clone() else { return Ok(None) };
        let deadline = Instant::now() + PATIENCE;
        let mut wait = Duration::from_millis(200);
        loop {
            match self.look(&flight).await? {
                Ok(()) => return Ok(None),
                Err(failure) if failure.certainty != Certainty::Definite && Instant::now() + wait < deadline => {
                    self.watch.note(flight.effect, &format!("{}; trying again", failure.message));
                    let stop = self.stop.clone();
                    tokio::select! {
                        () = stop.now() => return Ok(Some(Ending::Interrupted(Some(failure)))),
                        () = tokio::time::sleep(wait) => {}
                    }
                    wait = (wait * 2).min(Duration::from_secs(3));
                }
                Err(failure) => return Ok(Some(Ending::Interrupted(Some(failure)))),
            }
        }
    }

    /// One look. The outer error ends the loop, the inner one may pass.
    async fn look(&mut self, flight: &InFlight) -> Result<Result<(), Failure>, Broken> {
        let fenced = match self.fence(flight).await {
            Ok(fenced) => fenced,
            Err(failure) => return Broken::unless_ours(failure).map(Err),
        };
        self.append(Event::Fenced { id: flight.id.clone(), evidence: fenced.evidence().to_owned() }, Vec::new())?;
        let (verdict, evidence) = match self.verdict(flight, &fenced).await {
            Ok(found) => found,
            Err(failure) => return Broken::unless_ours(failure).map(Err),
        };
        self.append(Event::Reconciled { id: flight.id.clone(), verdict, evidence }, Vec::new())?;
        Ok(Ok(()))
    }

    /// Ends whatever an earlier process had started for the effect.
    async fn fence(&mut self, flight: &InFlight) -> Result<Fenced, Failure> {
        let world = self.world;
        match flight.effect {
            Effect::Preflight
            | Effect::CheckSchema
            | Effect::CheckHealth
            | Effect::AssessLoss
            | Effect::CheckRestored => Ok(Fenced::after(flight.id.clone(), "it only looks")),
            Effect::Dump { .. } => world.backups.fence(&flight.id).await,
            Effect::CreateSandbox | Effect::FillSandbox | Effect::Rehearse | Effect::RunTests | Effect::DropSandbox => {
                let commands = world.commands.fence(&flight.id).await?;
                let programs = world.backups.fence(&flight.id).await?;
                self.sandbox = None;
                world.sandboxes.remove(self.run.id.as_str()).await?;
                Ok(Fenced::after(
                    flight.id.clone(),
                    format!("{}; {}; the sandbox is removed", commands.evidence(), programs.evidence()),
                ))
            }
            Effect::RunVerify => world.commands.fence(&flight.id).await,
            Effect::PrepareTarget | Effect::UndoStep { .. } => self.fence_sessions(flight, None).await,
            // Before the target is known to be this process's it may be closed, or bear another name: nobody but this run closes it.
            Effect::StartCapture
            | Effect::RaiseShadow
            | Effect::EndCapture
            | Effect::CheckWay
            | Effect::CatchUp
            | Effect::Swap => self.fence_capture(&flight.id).await,
            Effect::Migrate { step } => {
                // Only the user's own tool is a process; every other migration is a session.
                if !self.runs_command(step) {
                    return self.fence_sessions(flight, None).await;
                }
                let programs = world.commands.fence(&flight.id).await?;
                let fenced = self.fence_sessions(flight, Some(programs)).await?;
                // A tool may have named its sessions otherwise.
                let ago = world.clock.now_ms().saturating_sub(flight.since_ms);
                self.outlast(u64::try_from(ago).unwrap_or(0)).await?;
                Ok(fenced)
            }
            Effect::Restore => {
                let programs = world.backups.fence(&flight.id).await?;
                self.fence_sessions(flight, Some(programs)).await
            }
        }
    }

    /// Ends the effect's sessions on the target, then makes this process the one whose lease counts.
    async fn fence_sessions(&mut self, flight: &InFlight, before: Option<Fenced>) -> Result<Fenced, Failure> {
        let world = self.world;
        self.take_hold().await?;
        if self.leased {
            // Who lost the lease must not end the sessions of whoever has it: the effect bears the same name there.
            world.database.check_lease(&world.target, self.hold.as_ref(), &self.holder()).await?;
        }
        // Before the lease is written: a session that is still at work keeps it locked.
        let fenced = world.database.fence(&world.target, &flight.id).await?;
        self.own_target().await?;
        Ok(match before {
            Some(before) => Fenced::after(flight.id.clone(), format!("{}; {}", before.evidence(), fenced.evidence())),
            None => fenced,
        })
    }

    async fn verdict(&mut self, flight: &InFlight, fenced: &Fenced) -> Result<(Verdict, String), Failure> {
        match flight.effect.recovery() {
            Recovery::Repeat if self.may_have_changed_something(flight) => Ok((
                Verdict::Unknown,
                "the verification command was started and is not repeatable; its output so far is in verify.log"
                    .to_owned(),
            )),
            Recovery::Repeat => Ok((Verdict::NotApplied, "it may be done again as it is".to_owned())),
            Recovery::Discard => Ok((Verdict::NotApplied, "the sandbox it worked in is removed".to_owned())),
            Recovery::ProbeDump => self.probe_dump(flight, fenced).await,
            Recovery::ProbeLedger => self.probe_ledger(flight, fenced).await,
            Recovery::ProbeSwap => {
                let (swapped, evidence) = self.probe_swap(&flight.id, fenced).await?;
                let verdict = swapped
                    .map_or(Verdict::NotApplied, |swapped| Verdict::Applied { outcome: Outcome::Swapped(swapped) });
                Ok((verdict, evidence))
            }
        }
    }

    /// Whether it is a command of the user's that is said to change something, and was started.
    fn may_have_changed_something(&self, flight: &InFlight) -> bool {
        flight.effect == Effect::RunVerify && self.run.facts().verify_once
    }

    /// A dump without its record lacks what was read at its snapshot: it is taken again, over the one that is there.
    async fn probe_dump(&mut self, flight: &InFlight, fenced: &Fenced) -> Result<(Verdict, String), Failure> {
        let Effect::Dump { purpose } = flight.effect else {
            return Ok((Verdict::NotApplied, "it was no dump".to_owned()));
        };
        let name = super::perform::dump_name(purpose, self.run.rollbacks);
        let note = super::perform::dump_note(&name);
        let path = self.world.files.path(&name);
        let finished = self.world.backups.finished(fenced, &path).await?;
        let noted = fs_err::read(self.world.files.path(&note))
            .ok()
            .and_then(|bytes| serde_json::from_slice::<crate::domain::event::Backup>(&bytes).ok());
        match (finished, noted) {
            (Some(dumped), Some(backup)) if dumped.digest == backup.digest && purpose != DumpPurpose::Refresh => {
                let evidence = format!("{} is there and has the digest {}", backup.path, Digest::short(&backup.digest));
                Ok((Verdict::Applied { outcome: Outcome::Dump(Box::new(backup)) }, evidence))
            }
            _ => Ok((Verdict::NotApplied, format!("{name} is not there whole"))),
        }
    }

    fn runs_command(&self, step: usize) -> bool {
        let mode = self.run.plan.as_ref().and_then(|plan| plan.steps.get(step)).map(|step| &step.mode);
        mode == Some(&UnitMode::Alone { probe: AloneProbe::UserCommand })
    }

    /// Whether a step that is begun again goes on behind what an earlier try of it committed.
    pub(super) fn goes_on_behind(&self, step: usize) -> bool {
        let mode = self.run.plan.as_ref().and_then(|plan| plan.steps.get(step)).map(|step| &step.mode);
        mode.is_some_and(UnitMode::is_piecemeal) && !self.runs_command(step)
    }

    /// Why the command in flight failed, if it did so under this process's eyes.
    pub(super) fn said_no(&self, flight: &InFlight) -> Option<Failure> {
        let (_, _, failure) = self.doubts.as_ref().filter(|(of, ..)| *of == flight.effect)?;
        [Code::CommandFailed, Code::CommandTimeout].contains(&failure.code).then(|| failure.clone())
    }

    async fn probe_ledger(&mut self, flight: &InFlight, fenced: &Fenced) -> Result<(Verdict, String), Failure> {
        let step = match flight.effect {
            Effect::Migrate { step } => self.run.plan.as_ref().and_then(|plan| plan.steps.get(step)),
            _ => None,
        };
        if let Effect::Migrate { step } = flight.effect
            && self.runs_command(step)
        {
            return self.probe_command(flight).await;
        }
        let bookkeeping = step.map(|step| self.bookkeeping(step)).transpose()?.flatten();
        let (holder, anchor) = (self.holder(), self.anchor());
        let around = Around::default();
        let order = ProbeOrder { url: &self.world.target, holder: &holder, anchor: &anchor, step, bookkeeping, around };
        Ok(match self.world.database.probe(order, fenced).await? {
            Standing::Applied { xid, evidence } => {
                let report = StepReport { xid, ..StepReport::default() };
                (Verdict::Applied { outcome: Outcome::Step(report) }, evidence)
            }
            Standing::NotApplied { evidence } => (Verdict::NotApplied, evidence),
            Standing::Unknown { evidence } => (Verdict::Unknown, evidence),
        })
    }
}
