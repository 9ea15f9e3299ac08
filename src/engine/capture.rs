//! The way back by a swap: having writes captured, raising the shadow, keeping up with what is written, and changing names.

use super::perform::dump_name;
use super::runner::{Done, Runner};
use crate::domain::code::Code;
use crate::domain::decide;
use crate::domain::effect::{DumpPurpose, Effect};
use crate::domain::event::{Outcome, Readiness, SwapOffer, Swapped};
use crate::domain::failure::{Certainty, Failure};
use crate::domain::ids::EffectId;
use crate::ports::capture::{
    Backlog, Base, Capture, CaptureFacts, CaptureOrder, CatchUpOrder, ShadowOrder, Started, SwapOrder, SwapStanding,
};
use crate::ports::database::{Contents, Snapshot};
use crate::ports::fence::Fenced;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long one replay may go on before it says how far it is.
const REPLAY: Duration = Duration::from_secs(20);

/// How long the shadow may take to come level before the swap is given up: writers that are faster than the replay are not caught up with.
const LEVEL: Duration = Duration::from_secs(30 * 60);

/// How long sessions may take to end once the target is closed.
const FENCE: Duration = Duration::from_secs(5);

/// How long rows may be compared one by one while the target is closed.
const PROOF: Duration = Duration::from_secs(1);

/// How much WAL a slot may make the server keep before it is dropped, and the way back with it, unless the run says otherwise.
const MOST_WAL: u64 = 16 * 1024 * 1024 * 1024;

/// What a run has on while its writes are captured, as it stands in the journal.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct On {
    capture: Capture,
    started: Started,
}

/// What the dump was taken at, as it stands beside the dump.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Moment {
    seen: String,
    contents: Contents,
}

/// What a target allows, as the preflight records it.
pub(super) fn offer(facts: &CaptureFacts) -> SwapOffer {
    let not_these = facts.not_these.iter().map(|(way, why)| format!("{}: {why}", way.words()));
    SwapOffer { ways: facts.ways.clone(), why_not: not_these.chain(facts.refused.iter().cloned()).collect() }
}

/// The capture that `run` has on, if it has one.
#[must_use]
pub fn of_run(run: &crate::domain::run::Run) -> Option<Capture> {
    let record = run.capture.clone()?;
    serde_json::from_value::<On>(record).ok().map(|on| on.capture)
}

pub(super) fn readiness(backlog: &Backlog, before: Option<&Readiness>) -> Readiness {
    let mut residue = before.map(|before| before.residue.clone()).unwrap_or_default();
    residue.extend(backlog.residue.iter().cloned());
    residue.sort_unstable();
    residue.dedup();
    Readiness {
        transactions: backlog.transactions,
        rows: backlog.rows,
        behind_bytes: Some(backlog.waiting),
        residue,
        blocked: backlog.blocked.clone(),
    }
}

impl Runner<'_> {
    fn on(&self) -> Result<On, Failure> {
        let record = self.run.capture.clone();
        record
            .and_then(|record| serde_json::from_value(record).ok())
            .ok_or_else(|| Failure::new(Code::Bug, format!("{}: its capture is missing from its history", self.run.id)))
    }

    /// What keeps the tables captured that a migration makes anew or renames: run in its own transaction.
    pub(super) fn covering(&self) -> Vec<String> {
        of_run(&self.run).map(|capture| self.world.captures.cover(&capture)).unwrap_or_default()
    }

    pub(super) async fn start_capture(&mut self, id: &EffectId) -> Result<Outcome, Failure> {
        let world = self.world;
        let (Some(way), Some(preflight)) =
            (self.run.plan.as_ref().and_then(|plan| plan.capture), self.run.preflight.as_ref())
        else {
            return Err(Failure::new(Code::Bug, format!("{}: no plan that captures writes", self.run.id)));
        };
        let facts = world.captures.look(&world.target).await?;
        let (true, Some(maintenance)) = (facts.ways.contains(&way), facts.maintenance.clone()) else {
            let mut failure = Failure::new(
                Code::CannotCapture,
                format!("writes cannot be captured by {} any more, as the plan has it", way.words()),
            )
            .hint("start again: the way back is chosen anew");
            failure.causes.extend(offer(&facts).why_not);
            return Err(failure);
        };
        let capture =
            Capture { run: self.run.id.clone(), way, database: preflight.server.database.clone(), maintenance };
        let started = world.captures.start(&CaptureOrder { url: &world.target, capture: &capture, effect: id }).await?;
        let place = format!(
            "{} on {} table{}",
            way.words(),
            started.tables.len(),
            if started.tables.len() == 1 { "" } else { "s" }
        );
        let record = serde_json::to_value(On { capture, started }).unwrap_or_default();
        Ok(Outcome::Capture { record, place })
    }

    /// The snapshot the dump under a capture is taken at, and what is recorded of that moment.
    pub(super) async fn base(&self, id: &EffectId) -> Result<(Snapshot, serde_json::Value), Failure> {
        let world = self.world;
        let on = self.on()?;
        let order = CaptureOrder { url: &world.target, capture: &on.capture, effect: id };
        let Base { snapshot, seen, contents } = world.captures.base(&order, Some(self.tracking_table())).await?;
        Ok((snapshot, serde_json::to_value(Moment { seen, contents }).unwrap_or_default()))
    }

    pub(super) async fn raise_shadow(&mut self, effect: Effect, id: &EffectId) -> Result<Outcome, Failure> {
        let world = self.world;
        let on = self.on()?;
        let moment = self.run.backup.as_ref().and_then(|backup| backup.base.clone());
        let moment: Moment = moment.and_then(|moment| serde_json::from_value(moment).ok()).ok_or_else(|| {
            Failure::new(Code::Bug, format!("{}: its dump was not taken under its capture", self.run.id))
        })?;
        let tracking = self.run.preflight.as_ref().map(|preflight| preflight.tracking());
        let shadow = world
            .captures
            .raise_shadow(&ShadowOrder {
                url: &world.target,
                capture: &on.capture,
                effect: id,
                dump: world.files.path(&dump_name(DumpPurpose::Refresh, 0)),
                seen: &moment.seen,
                contents: &moment.contents,
                tracking: tracking.as_ref(),
            })
            .await?;
        self.watch.note(
            effect,
            &format!(
                "{} is what the target was: {} rows of {} tables compared",
                on.capture.shadow(),
                shadow.rows,
                shadow.tables
            ),
        );
        for note in &shadow.notes {
            self.watch.note(effect, note);
        }
        Ok(Outcome::Done)
    }

    /// After a swap, what was left for the moment when everybody can work again; after a restore, what the dump had of the capture it was
    /// taken under.
    pub(super) async fn settle(&self, effect: Effect, id: &EffectId) -> Result<(), Failure> {
        if self.run.restored && self.run.capture.is_some() {
            self.world.captures.strip(&self.world.target, &self.on()?.started).await?;
        }
        let Some(capture) = of_run(&self.run).filter(|_| self.run.swapped.is_some()) else { return Ok(()) };
        let order = CaptureOrder { url: &self.world.target, capture: &capture, effect: id };
        for note in self.world.captures.settle(&order).await? {
            self.watch.note(effect, &note);
        }
        Ok(())
    }

    /// Removes what captures, and the shadow.
    pub(super) async fn end_capture(&mut self, id: &EffectId) -> Result<Outcome, Failure> {
        let Some(capture) = of_run(&self.run).or_else(|| self.capture_in_the_making()) else {
            return Ok(Outcome::Done);
        };
        let order = CaptureOrder { url: &self.world.target, capture: &capture, effect: id };
        self.world.captures.end(&order).await?;
        Ok(Outcome::Done)
    }

    /// A capture whose start failed or was never recorded: enough to take away what it may have left.
    fn capture_in_the_making(&self) -> Option<Capture> {
        let (plan, preflight) = (self.run.plan.as_ref()?, self.run.preflight.as_ref()?);
        Some(Capture {
            run: self.run.id.clone(),
            way: plan.capture?,
            database: preflight.server.database.clone(),
            maintenance: preflight.server.database.clone(),
        })
    }

    /// How much WAL a slot may make the server keep.
    pub(super) fn slot_limit(&self) -> u64 {
        self.run.request.as_ref().and_then(|request| request.settings.rollback.slot_bytes).unwrap_or(MOST_WAL)
    }

    /// Replays what was written, until the shadow is level or `patience` is over.
    async fn replay(&self, effect: Effect, id: &EffectId, patience: Duration) -> Result<(Readiness, bool), Failure> {
        let on = self.on()?;
        let own: Vec<String> = self.run.own_transactions().collect();
        let begun = Instant::now();
        let mut sum = self.run.readiness.clone().unwrap_or_default();
        (sum.transactions, sum.rows) = (0, 0);
        loop {
            let order = CatchUpOrder {
                url: &self.world.target,
                capture: &on.capture,
                effect: id,
                own: &own,
                budget: REPLAY,
                wal_limit: Some(self.slot_limit()),
            };
            let backlog = self.world.captures.catch_up(&order).await?;
            let now = readiness(&backlog, Some(&sum));
            let rows = sum.rows.saturating_add(now.rows);
            let transactions = sum.transactions.saturating_add(now.transactions);
            sum = Readiness { rows, transactions, ..now };
            if backlog.level || sum.blocked.is_some() || begun.elapsed() > patience {
                return Ok((sum, backlog.level));
            }
            self.watch.note(effect, &format!("{rows} rows replayed, {} to go", backlog.waiting));
        }
    }

    /// Whether the way back still loses nothing. What was found is the outcome; that it would lose something is no failure here.
    pub(super) async fn check_way(&mut self, effect: Effect, id: &EffectId) -> Result<Outcome, Failure> {
        let (readiness, _) = self.replay(effect, id, REPLAY).await?;
        if let Some(why) = &readiness.blocked {
            self.watch.note(effect, &format!("from now on a rollback would lose what was written: {why}"));
        }
        Ok(Outcome::Readiness(readiness))
    }

    pub(super) async fn catch_up(&mut self, effect: Effect, id: &EffectId) -> Done {
        // One that was killed may have a replay under way still.
        if let Err(failure) = self.fence_watcher().await {
            return failure.into();
        }
        let (readiness, level) = match self.replay(effect, id, LEVEL).await {
            Ok(replayed) => replayed,
            Err(failure) => return failure.into(),
        };
        let failure = match (&readiness.blocked, level) {
            (Some(why), _) => Failure::new(
                Code::WayBlocked,
                format!(
                    "{}: what was written since cannot be put into the schema of the checkpoint: {why}",
                    self.run.id
                ),
            ),
            (None, false) => Failure::new(
                Code::WayBlocked,
                format!("{}: more is written than can be replayed; the shadow does not come level", self.run.id),
            )
            .hint("slow the writers down, then try again"),
            (None, true) => return Outcome::Readiness(readiness).into(),
        };
        Done::No { failure: failure.certainty(Certainty::Definite), partial: Some(Outcome::Readiness(readiness)) }
    }

    pub(super) async fn swap(&mut self, effect: Effect, id: &EffectId) -> Result<Outcome, Failure> {
        // Nobody may be in the target when names change, this process's own sessions included.
        self.hold = None;
        self.tool_hold = None;
        let world = self.world;
        let on = self.on()?;
        let own: Vec<String> = self.run.own_transactions().collect();
        let tracking = self.run.preflight.as_ref().map(|preflight| preflight.tracking());
        let (holder, anchor, watch) = (self.holder(), self.anchor(), self.watch);
        // Where the schema never was the rehearsed one there is nothing to hold it against.
        let known = self.run.rollback_why.as_ref().is_none_or(|why| why.code != Code::SchemaDiffers);
        let expected = decide::left(&self.run).filter(|(_, roles)| *roles && known).map(|(fingerprint, _)| fingerprint);
        let modified = self.modified();
        let swapped = world
            .captures
            .swap(&SwapOrder {
                url: &world.target,
                capture: &on.capture,
                holder: &holder,
                effect: id,
                anchor: &anchor,
                own: &own,
                expected,
                tracking: tracking.as_ref(),
                modified: &modified,
                fence_timeout: FENCE,
                proof_budget: PROOF,
                progress: &|text| watch.note(effect, text),
            })
            .await?;
        Ok(Outcome::Swapped(Swapped {
            fence_ms: Some(swapped.fence_ms),
            kept: swapped.failed,
            rows_compared: swapped.proven,
            pooler: swapped.pooler,
        }))
    }

    /// What the committed steps changed themselves, as the rehearsal showed it.
    fn modified(&self) -> BTreeMap<String, Vec<String>> {
        let ways = self.run.rehearsal.as_ref().map(|rehearsal| rehearsal.ways.as_slice()).unwrap_or_default();
        let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (table, columns) in ways.iter().flat_map(|way| &way.writes) {
            let there = all.contains_key(table);
            let known = all.entry(table.clone()).or_default();
            // Without columns it is the whole table, whatever another step says.
            if !there {
                known.extend(columns.iter().cloned());
            } else if columns.is_empty() || known.is_empty() {
                known.clear();
            } else {
                known.extend(columns.iter().cloned());
            }
        }
        all
    }

    /// Ends the sessions of an effect of the capture, in whichever database they are.
    pub(super) async fn fence_capture(&self, id: &EffectId) -> Result<Fenced, Failure> {
        let Some(capture) = of_run(&self.run).or_else(|| self.capture_in_the_making()) else {
            return Ok(Fenced::after(id.clone(), "nothing was captured"));
        };
        let programs = self.world.backups.fence(id).await?;
        let sessions = self.world.captures.fence(&self.world.target, &capture, id).await?;
        Ok(Fenced::after(id.clone(), format!("{}; {}", programs.evidence(), sessions.evidence())))
    }

    /// What became of a swap that was cut off; a target it left closed is open again afterwards.
    pub(super) async fn probe_swap(
        &self,
        id: &EffectId,
        fenced: &Fenced,
    ) -> Result<(Option<Swapped>, String), Failure> {
        let on = self.on()?;
        let order = CaptureOrder { url: &self.world.target, capture: &on.capture, effect: id };
        Ok(match self.world.captures.standing(&order, fenced).await? {
            SwapStanding::NotSwapped { evidence } => (None, evidence),
            SwapStanding::Swapped { swapped, evidence } => {
                let swapped = Swapped {
                    fence_ms: None,
                    kept: swapped.failed,
                    rows_compared: swapped.proven,
                    pooler: swapped.pooler,
                };
                (Some(swapped), evidence)
            }
        })
    }
}
