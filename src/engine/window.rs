//! The rollback window: from a success on, for as long as writes stay captured so that a late rollback loses none of them.
//!
//! Whoever is there looks after it: a process that watches, else the next command. Both do the same, a round at a time, and a round that
//! was cut off anywhere is simply done again.

use super::capture::{of_run, readiness};
use super::runner::Runner;
use crate::domain::code::Code;
use crate::domain::event::{Event, Readiness};
use crate::domain::failure::Failure;
use crate::domain::ids::{EffectId, RunId};
use crate::domain::machine::{End, State};
use crate::domain::run::Run;
use crate::ports::capture::{Capture, CaptureOrder, CatchUpOrder};
use std::time::Duration;

/// When the window of `run` is over, in milliseconds since 1970; `None` while it has none: it is not finished, or did not succeed.
#[must_use]
pub fn until_ms(run: &Run) -> Option<i64> {
    let window = run.request.as_ref().map_or(0, |request| request.settings.rollback.window_ms);
    let settled = run.settled_ms.filter(|_| run.state == State::Settled { end: End::Succeeded })?;
    Some(settled.saturating_add(i64::try_from(window).unwrap_or(i64::MAX)))
}

/// Whether writes are still to be captured for a rollback of `run` at `now_ms`.
#[must_use]
pub fn is_open(run: &Run, now_ms: i64) -> bool {
    until_ms(run).is_some_and(|until| now_ms < until)
}

/// What the sessions of whoever watches the window of `run` are called, for those that have to end them.
#[must_use]
pub fn watcher(run: &RunId, capture: &Capture) -> EffectId {
    EffectId::derive("watch the window", run, &capture.short(), b"")
}

/// What one look at an open window found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looked {
    /// How far the shadow is, and whether the way back loses nothing.
    pub readiness: Readiness,
    /// Whether everything that was written is replayed.
    pub level: bool,
    /// Whether it was recorded, being news.
    pub news: bool,
}

impl Runner<'_> {
    /// Replays what was written meanwhile, for as long as `budget`, and records what is new about the way back. A slot that holds too much is
    /// dropped. What an earlier watcher left of its sessions is ended first, where `fence` says that there may be some.
    ///
    /// # Errors
    /// A [`Failure`] of the target or of the journal. Nothing is lost by it: the next round does what is left.
    pub async fn look_back(&mut self, budget: Duration, fence: bool) -> Result<Looked, Failure> {
        let id = self.run.id.clone();
        let capture = of_run(&self.run).ok_or_else(|| Failure::new(Code::Bug, format!("{id} has no capture on")))?;
        let sessions = watcher(&id, &capture);
        if fence {
            self.world.captures.fence(&self.world.target, &capture, &sessions).await?;
        }
        let own: Vec<String> = self.run.own_transactions().collect();
        let order = CatchUpOrder {
            url: &self.world.target,
            capture: &capture,
            effect: &sessions,
            own: &own,
            budget,
            wal_limit: Some(self.slot_limit()),
        };
        let (readiness, level) = match self.world.captures.catch_up(&order).await {
            Ok(backlog) => (readiness(&backlog, self.run.readiness.as_ref()), backlog.level),
            // Without a second copy there is nothing to go back to, whatever the capture still notes.
            Err(failure) if failure.code == Code::NotRestored => {
                (Readiness { blocked: Some(failure.message), ..Readiness::default() }, false)
            }
            Err(failure) => return Err(failure),
        };
        let news = readiness.is_news_after(self.run.readiness.as_ref());
        if news {
            let event = Event::WayChecked { readiness: readiness.clone() };
            self.record(event).map_err(|broken| broken.failure(&id))?;
        }
        Ok(Looked { readiness, level, news })
    }

    /// Takes away what captures, and the shadow, of a run that is over, and records why. Harmless if it was done half already.
    ///
    /// # Errors
    /// A [`Failure`] of the target or of the journal; then it is as it was, or half gone, and a later try takes the rest.
    pub async fn retire(&mut self, why: &str) -> Result<(), Failure> {
        let id = self.run.id.clone();
        let Some(capture) = of_run(&self.run) else { return Ok(()) };
        self.world.captures.fence(&self.world.target, &capture, &watcher(&id, &capture)).await?;
        let effect = EffectId::derive("retire capture", &id, &capture.short(), b"");
        let order = CaptureOrder { url: &self.world.target, capture: &capture, effect: &effect };
        self.world.captures.end(&order).await?;
        self.record(Event::CaptureEnded { why: why.to_owned() }).map_err(|broken| broken.failure(&id))
    }

    /// Ends what is left of the sessions of whoever watched the window. The caller has the window to itself.
    pub(super) async fn fence_watcher(&self) -> Result<(), Failure> {
        let Some(capture) = of_run(&self.run) else { return Ok(()) };
        self.world.captures.fence(&self.world.target, &capture, &watcher(&self.run.id, &capture)).await.map(|_| ())
    }
}
