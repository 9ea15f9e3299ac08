//! Driving one run until it settles, waits, or is stopped.

use super::stop::{Stop, Urgency};
use super::watch::Watch;
use super::{World, anchors};
use crate::domain::code::Code;
use crate::domain::decide;
use crate::domain::effect::Effect;
use crate::domain::event::{Actor, Artifact, Event, Outcome, Pause, Recorded, Request};
use crate::domain::evolve::{evolve, fold};
use crate::domain::failure::{Certainty, Failure};
use crate::domain::ids::{EffectId, RunId};
use crate::domain::machine::{End, State};
use crate::domain::next::{Next, next};
use crate::domain::run::Run;
use crate::domain::schema::catalog::Catalog;
use crate::domain::schema::comparison::Comparison;
use crate::domain::schema::fingerprint::fingerprint;
use crate::ports::database::{Anchor, Hold, Holder};
use crate::ports::journal::{AppendFailure, Journal, NewEvent};
use crate::ports::sandbox::Sandbox;
use std::time::{Duration, Instant};

/// How long a server that cannot be reached is waited for before the run is left for later.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often an effect is begun again after the connection was lost under it. A statement that brings its server down each time
/// must not do so for ever.
const MOST_DOUBTS: u32 = 3;

/// Why the loop ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Nothing is left to do.
    Settled(End),
    /// It waits for an approval.
    Waiting,
    /// A person has to say how it goes on.
    Halted,
    /// It was stopped, or the server cannot be reached; `dbd resume` goes on.
    Interrupted(Option<Failure>),
}

/// Why the loop broke off. Nothing was recorded of it.
#[derive(Clone, Debug)]
pub enum Broken {
    /// The journal cannot be written or trusted; no effect was started after that.
    Journal(Failure),
    /// Another process took the run or its target over, as the failure says.
    Superseded(Failure),
    /// Somebody else's event came first, and this one no longer fits: look again what is next.
    Moved,
    /// A bug: an event that the run does not allow.
    Bug(Failure),
}

impl Broken {
    /// The failure to show.
    #[must_use]
    pub fn failure(self, run: &RunId) -> Failure {
        match self {
            Broken::Journal(failure) | Broken::Bug(failure) => failure,
            Broken::Moved => Failure::new(Code::Busy, format!("{run}: somebody else decided about it meanwhile"))
                .hint(format!("`dbd status {run}` says how it stands")),
            Broken::Superseded(failure) => failure,
        }
    }

    /// Breaks off where the failure says that the run is not this process's to go on with: the lease is somebody else's, or the journal
    /// is not the one that was written. Any other failure is handed back.
    ///
    /// # Errors
    /// [`Broken::Superseded`], [`Broken::Journal`].
    pub(super) fn unless_ours(failure: Failure) -> Result<Failure, Broken> {
        match failure.code {
            Code::LostOwnership => Err(Broken::Superseded(failure)),
            Code::JournalLostTail | Code::JournalBroken => Err(Broken::Journal(failure)),
            _ => Ok(failure),
        }
    }
}

/// What an effect came to.
pub(super) enum Done {
    /// It happened; with blobs to store beside the event.
    Yes(Outcome, Vec<Vec<u8>>),
    /// It did not.
    No { failure: Failure, partial: Option<Outcome> },
}

impl From<Failure> for Done {
    fn from(failure: Failure) -> Self {
        Done::No { failure, partial: None }
    }
}

impl From<Outcome> for Done {
    fn from(outcome: Outcome) -> Self {
        Done::Yes(outcome, Vec::new())
    }
}

/// One run and everything needed to drive it.
pub struct Runner<'a> {
    pub(super) world: &'a World,
    pub(super) journal: &'a mut dyn Journal,
    pub(super) watch: &'a dyn Watch,
    pub(super) stop: Stop,
    actor: Actor,
    /// The run as far as it is recorded.
    pub run: Run,
    epoch: u64,
    /// The hash of the take-over: what tells this process from one that works with a copy of the journal.
    taken_over: String,
    /// Whether this process wrote its lease into the target. It does so once: who lost the lease must not take it back.
    pub(super) leased: bool,
    /// Whether the target is known to be as this run left it.
    looked: bool,
    pub(super) hold: Option<Hold>,
    /// The lock of the tool that owns the folder, held while the target changes.
    pub(super) tool_hold: Option<Hold>,
    pub(super) sandbox: Option<Sandbox>,
    /// The snapshot of the dump and what keeps it, where rows are still to be read at it.
    pub(super) snapshot: Option<(String, Box<dyn std::any::Any>)>,
    /// How the sandbox was filled, in sentences.
    pub(super) copied: Vec<String>,
    pub(super) before: Option<Catalog>,
    pub(super) roles_kept: bool,
    /// Whether the target allows a swap, between the look and the record of it.
    pub(super) swap: Option<crate::domain::event::SwapOffer>,
    pub(super) last_left: Option<(RunId, crate::domain::digest::Digest)>,
    /// The effect whose outcome could not be told when it was done last, how often in a row, and why.
    pub(super) doubts: Option<(Effect, u32, Failure)>,
}

impl<'a> Runner<'a> {
    /// A runner for a run that is `run` so far; blank for a new one.
    pub fn new(
        world: &'a World,
        journal: &'a mut dyn Journal,
        watch: &'a dyn Watch,
        stop: Stop,
        actor: Actor,
        run: Run,
    ) -> Self {
        // Until it takes over, it speaks within the last take-over: a decision about a run needs no new one.
        let epoch = run.lease.as_ref().map_or(0, |lease| lease.epoch);
        Self {
            world,
            journal,
            watch,
            stop,
            actor,
            run,
            epoch,
            taken_over: String::new(),
            leased: false,
            looked: false,
            hold: None,
            tool_hold: None,
            sandbox: None,
            snapshot: None,
            copied: Vec::new(),
            before: None,
            roles_kept: true,
            swap: None,
            last_left: None,
            doubts: None,
        }
    }

    /// Says what the last run of this target left there, for the drift check.
    pub fn expect(&mut self, last_left: Option<(RunId, crate::domain::digest::Digest)>) {
        self.last_left = last_left;
    }

    /// Records the request, the first event of a run.
    pub fn request(&mut self, request: Request) -> Result<(), Broken> {
        self.append(Event::Requested(Box::new(request)), Vec::new())
    }

    /// Records a decision about the run.
    pub fn record(&mut self, event: Event) -> Result<(), Broken> {
        self.append(event, Vec::new())
    }

    /// Takes the run over: a new epoch, recorded before anything else happens. The target's kernel lock must be held by the caller.
    pub fn take_over(&mut self) -> Result<(), Broken> {
        let owner = format!("{} pid {}", self.world.host, self.world.pid);
        let environment = self.run.id.environment();
        let now = self.world.clock.now_ms();
        self.epoch =
            self.journal.take_epoch(environment.as_str(), &self.run.id, &owner, now).map_err(Broken::Journal)?;
        let event = Event::LeaseTaken { host: self.world.host.clone(), pid: self.world.pid, epoch: self.epoch };
        self.append(event, Vec::new())?;
        self.taken_over.clone_from(&self.run.head);
        Ok(())
    }

    /// Who writes to the target.
    pub(super) fn holder(&self) -> Holder {
        let owner = format!("{} pid {}", self.world.host, self.world.pid);
        Holder::new(self.run.id.clone(), self.journal.origin(), self.epoch, &self.taken_over, owner)
    }

    /// The anchor of the effect in flight.
    pub(super) fn anchor(&self) -> Anchor {
        let (seq, hash) = self.run.flight.as_ref().map(|flight| (flight.seq, flight.hash.clone())).unwrap_or_default();
        Anchor { origin: self.journal.origin(), seq, hash }
    }

    /// The identity of an effect of this run.
    pub(super) fn effect_id(&self, effect: Effect) -> EffectId {
        let request = match effect {
            Effect::Migrate { step } => {
                self.run.plan.as_ref().and_then(|plan| plan.steps.get(step)).map(|step| step.digest.as_str().to_owned())
            }
            _ => None,
        };
        // A second way back is another effect than the first.
        let request = format!("{}|{}", request.unwrap_or_default(), self.run.rollbacks);
        EffectId::derive(&self.journal.origin(), &self.run.id, &effect.name(), request.as_bytes())
    }

    /// Appends `event`, if the run allows it. Somebody else may have appended meanwhile (a cancellation): then the run is read again, and
    /// the event appended if it still fits.
    pub(super) fn append(&mut self, event: Event, blobs: Vec<Vec<u8>>) -> Result<(), Broken> {
        let mut moved = false;
        loop {
            let now = self.world.clock.now_ms();
            let draft = Recorded {
                seq: self.run.seq + 1,
                rseq: self.run.rseq + 1,
                ts_ms: now.max(self.run.last_ms),
                epoch: self.epoch,
                actor: self.actor.clone(),
                event: event.clone(),
                refs: Vec::new(),
                hash: String::new(),
            };
            if let Err(misfit) = evolve(&self.run, &draft) {
                if moved {
                    return Err(Broken::Moved);
                }
                return Err(Broken::Bug(
                    Failure::new(Code::Bug, format!("{}: an event that its history does not allow", self.run.id))
                        .source(&misfit),
                ));
            }
            let new = NewEvent {
                run: &self.run.id,
                expected_rseq: self.run.rseq,
                now_ms: now,
                epoch: self.epoch,
                actor: &self.actor,
                event: &event,
                blobs: blobs.clone(),
            };
            match self.journal.append(new) {
                Ok(recorded) => {
                    self.run = evolve(&self.run, &recorded).map_err(|misfit| {
                        Broken::Bug(Failure::new(Code::IllegalHistory, format!("{}", self.run.id)).source(&misfit))
                    })?;
                    self.watch.recorded(&recorded, &self.run);
                    return Ok(());
                }
                Err(AppendFailure::Stale) => {
                    moved = true;
                    let events = self.journal.read(&self.run.id).map_err(Broken::Journal)?;
                    self.run = fold(&self.run.id, &events).map_err(|misfit| {
                        Broken::Journal(
                            Failure::new(Code::IllegalHistory, format!("{}: its history is not legal", self.run.id))
                                .source(&misfit),
                        )
                    })?;
                }
                Err(AppendFailure::Superseded) => {
                    let run = &self.run.id;
                    return Err(Broken::Superseded(
                        Failure::new(Code::LostOwnership, format!("{run}: another process took this run over"))
                            .hint(format!("`dbd status {run}` says how it stands")),
                    ));
                }
                Err(AppendFailure::Broken(failure)) => return Err(Broken::Journal(failure)),
            }
        }
    }

    /// Drives the run until nothing more can be done without somebody else.
    pub async fn drive(&mut self) -> Result<Ending, Broken> {
        loop {
            match self.turn().await {
                Ok(None) | Err(Broken::Moved) => {}
                Ok(Some(ending)) => return Ok(ending),
                Err(broken) => return Err(broken),
            }
        }
    }

    /// One turn of the loop; the ending, if there is one.
    async fn turn(&mut self) -> Result<Option<Ending>, Broken> {
        match next(&self.run) {
            Next::Perform(_) if self.stop.urgency() > Urgency::No => self.pause(Pause::Interrupted, None).map(Some),
            Next::Perform(_) | Next::Record(Event::RunSucceeded) if !self.looked && self.going_forward() => {
                self.look_at_target().await
            }
            Next::Record(event) => self.append(event, Vec::new()).map(|()| None),
            Next::Perform(effect) => self.step(effect).await,
            Next::Reconcile(_) => self.reconcile().await,
            Next::AwaitApproval => self.pause(Pause::AwaitingApproval, None).map(|_| Some(Ending::Waiting)),
            Next::Halted => Ok(Some(Ending::Halted)),
            Next::Settled(end) => {
                self.hold = None;
                self.tool_hold = None;
                Ok(Some(Ending::Settled(end)))
            }
        }
    }

    fn pause(&mut self, why: Pause, failure: Option<Failure>) -> Result<Ending, Broken> {
        if self.run.paused != Some(why) {
            self.append(Event::Paused { why }, Vec::new())?;
        }
        Ok(Ending::Interrupted(failure))
    }

    /// One effect: intent, deed, outcome.
    async fn step(&mut self, effect: Effect) -> Result<Option<Ending>, Broken> {
        if let Err(failure) = self.hold_target(effect).await {
            return self.unreachable(Broken::unless_ours(failure)?);
        }
        let id = self.effect_id(effect);
        let attempt = 1 + u32::try_from(self.run.past.iter().filter(|past| past.effect == effect).count()).unwrap_or(0);
        self.append(Event::Intended { effect, id: id.clone(), attempt }, Vec::new())?;
        if let Some(failure) = self.given_up(effect) {
            self.doubts = None;
            let (failure, partial) = match effect {
                Effect::Migrate { step } if self.goes_on_behind(step) => {
                    self.left_by(None, false, &id, Instant::now(), failure).await
                }
                _ => (failure.cause("nothing of it was committed"), None),
            };
            if failure.certainty != Certainty::Definite {
                return Ok(Some(Ending::Interrupted(Some(failure))));
            }
            self.append(Event::Failed { id, failure, partial, duration_ms: 0 }, Vec::new())?;
            return Ok(None);
        }
        let begun = Instant::now();
        let stop = self.stop.clone();
        let done = tokio::select! {
            biased;
            // Stopped now: the intent stands, and whoever resumes will find out what became of it.
            () = stop.now() => return Ok(Some(Ending::Interrupted(None))),
            done = self.try_perform(effect, &id) => done,
        };
        let duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        match done {
            Done::Yes(outcome, blobs) => {
                self.append(Event::Succeeded { id, outcome, duration_ms }, blobs)?;
                // It was looked at in this effect, or changed by nobody else since the last look.
                self.looked |= matches!(effect, Effect::PrepareTarget | Effect::CheckSchema);
            }
            Done::No { failure, .. } if failure.code == Code::LostOwnership => {
                return Err(Broken::Superseded(failure));
            }
            // Not to know is no outcome: the next turn of the loop fences and looks.
            Done::No { failure, .. } if failure.certainty == Certainty::InDoubt && self.beyond_preparing() => {
                self.watch.note(effect, &format!("{}; looking what became of it", failure.message));
                let before = self.doubts.take().filter(|(of, ..)| *of == effect).map_or(0, |(_, times, _)| times);
                self.doubts = Some((effect, before + 1, failure));
            }
            Done::No { failure, .. }
                if failure.certainty == Certainty::Transient
                    && self.beyond_preparing()
                    && unreachable_code(failure.code) =>
            {
                return Ok(Some(Ending::Interrupted(Some(failure))));
            }
            Done::No { failure, partial } => {
                self.append(Event::Failed { id, failure, partial, duration_ms }, Vec::new())?
            }
        }
        Ok(None)
    }

    /// Why an effect that could not be told about, and turned out not to have happened, is not begun once more.
    fn given_up(&self, effect: Effect) -> Option<Failure> {
        let (_, times, failure) = self.doubts.as_ref().filter(|(of, ..)| *of == effect)?;
        // What took too long has had its time, and a command that said no has given its answer.
        let answered = [Code::MigrationTimeout, Code::CommandFailed, Code::CommandTimeout].contains(&failure.code);
        let enough = *times >= MOST_DOUBTS || answered;
        enough.then(|| failure.clone().certainty(Certainty::Definite).cause(format!("tried {times} time(s)")))
    }

    /// While the target may have changed, a server that is away for a moment is waited for.
    async fn try_perform(&mut self, effect: Effect, id: &EffectId) -> Done {
        let deadline = Instant::now() + PATIENCE;
        let mut wait = Duration::from_millis(200);
        loop {
            let done = self.perform(effect, id).await;
            match &done {
                Done::No { failure, .. }
                    if failure.certainty == Certainty::Transient
                        && unreachable_code(failure.code)
                        && self.beyond_preparing()
                        && Instant::now() + wait < deadline =>
                {
                    self.watch.note(effect, &format!("{}; trying again", failure.message));
                }
                _ => return done,
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(Duration::from_secs(3));
        }
    }

    /// Whether the target may have been changed by this run.
    pub(super) fn beyond_preparing(&self) -> bool {
        matches!(self.run.state, State::Forward { .. } | State::Verifying { .. } | State::Rolling { .. })
    }

    /// Whether the run is on its way forward on the target.
    fn going_forward(&self) -> bool {
        matches!(self.run.state, State::Forward { .. } | State::Verifying { .. })
    }

    /// Whether a run that was taken over finds the target as it left it; halts it if not, as whatever somebody else did meanwhile is theirs.
    async fn look_at_target(&mut self) -> Result<Option<Ending>, Broken> {
        if let Err(failure) = self.own_target().await {
            return self.unreachable(Broken::unless_ours(failure)?);
        }
        match self.changed_meanwhile().await {
            Ok(None) => self.looked = true,
            Ok(Some(why)) => self.append(Event::Halted { why }, Vec::new())?,
            Err(failure) => return self.unreachable(failure),
        }
        Ok(None)
    }

    async fn changed_meanwhile(&self) -> Result<Option<Failure>, Failure> {
        let Some((expected, roles)) = decide::left(&self.run) else { return Ok(None) };
        let world = self.world;
        let catalog = world.database.catalog(&world.target, &[self.tracking_table()]).await?;
        let catalog = if roles { catalog } else { catalog.without_roles() };
        let found = fingerprint(&catalog);
        if found == *expected {
            return Ok(None);
        }
        let why = decide::target_changed(&self.run, expected, &found);
        let whole = self.run.plan.as_ref().is_some_and(|plan| plan.steps.len() == self.run.committed.len());
        let rehearsed = fs_err::read(world.files.path(super::rehearse::CATALOG_AFTER)).ok().filter(|_| whole);
        Ok(Some(match rehearsed.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
            Some(rehearsed) => {
                super::perform::differences(why, &Comparison::new("target", &catalog, "rehearsed", &rehearsed))
            }
            None => why,
        }))
    }

    /// From the first effect that changes the target on, this process holds the target's lock, and its lease is the one that counts.
    async fn hold_target(&mut self, effect: Effect) -> Result<(), Failure> {
        match effect {
            Effect::PrepareTarget | Effect::StartCapture => self.own_target().await,
            // Its own first row is not written without the lease.
            Effect::Migrate { .. } if self.leased => self.take_hold().await,
            _ if self.beyond_preparing() => self.own_target().await,
            _ => Ok(()),
        }
    }

    /// Makes the target this process's: its lock, the anchors in its ledger held against the journal, and the lease, which is written once
    /// and from then on only looked at.
    pub(super) async fn own_target(&mut self) -> Result<(), Failure> {
        self.take_hold().await?;
        let (database, url) = (&self.world.database, &self.world.target);
        if self.leased {
            return database.check_lease(url, self.hold.as_ref(), &self.holder()).await;
        }
        if database.is_prepared(url).await? {
            anchors::in_ledger(self.journal, self.world).await?;
            database.take_lease(url, &self.holder()).await?;
            self.leased = true;
        }
        Ok(())
    }

    /// Takes the target's lock, unless the server is behind a pooler, where a lock of a session means nothing.
    pub(super) async fn take_hold(&mut self) -> Result<(), Failure> {
        if self.hold.is_some() || self.run.preflight.as_ref().is_some_and(|preflight| preflight.server.pooled) {
            return Ok(());
        }
        let owner = format!("{}:{}", self.world.host, self.world.pid);
        self.hold = Some(self.world.database.hold(&self.world.target, &self.run.id, &owner).await?);
        Ok(())
    }

    /// The target cannot be had right now: with nothing in flight the run rests.
    fn unreachable(&mut self, failure: Failure) -> Result<Option<Ending>, Broken> {
        if self.run.flight.is_none() {
            return self.pause(Pause::Unreachable, Some(failure)).map(Some);
        }
        Ok(Some(Ending::Interrupted(Some(failure))))
    }

    /// Writes a file of the run and returns what is to be recorded of it.
    pub fn write_file(&self, name: &str, bytes: &[u8]) -> Result<Artifact, Failure> {
        self.world.files.write(name, bytes)
    }
}

/// Codes that say the server is away rather than that something is wrong.
pub(super) fn unreachable_code(code: Code) -> bool {
    matches!(code, Code::CannotConnect | Code::ConnectionLost | Code::QueryFailed | Code::InDoubt)
}
