//! [`Captures`]: copy, capture, replay, fence, swap (`docs/decisions/0055-copy-replay-swap.md`).
//!
//! `facts` says what a target allows; `install` begins to capture (`install.sql` is what stands in the target meanwhile) and takes the
//! snapshot the dump is made at; `shadow` makes the second copy and proves it; `catch_up` reads what was captured, from triggers or from a
//! slot (`pgoutput`), and `replay` writes it in its old `shape`; `swap` closes, drains, compares (`proof`) and renames, while a
//! `watchman` stands by in case this process dies, and a `pooler` may hold clients back; `tidy` takes it all away.

mod catch_up;
mod facts;
mod install;
mod pgoutput;
mod pooler;
mod proof;
mod replay;
mod shadow;
mod shape;
mod swap;
mod tidy;
mod watchman;

pub use pooler::Pooler;

use super::exclude;
use crate::adapters::support::pg_bin::Search;
use crate::domain::connection::ConnectionUrl;
use crate::domain::failure::Failure;
use crate::domain::ids::EffectId;
use crate::ports::backup::Backups;
use crate::ports::capture::{
    Backlog, Base, Capture, CaptureFacts, CaptureOrder, Captures, CatchUpOrder, Leftover, Shadow, ShadowOrder, Started,
    SwapOrder, SwapStanding, Swapped,
};
use crate::ports::fence::Fenced;
use async_trait::async_trait;

/// Capturing writes on PostgreSQL.
pub struct PostgresCaptures {
    /// Restores the dump into the shadow.
    pub backups: Box<dyn Backups>,
    /// Where psql is looked for, by which a target is opened again when this process dies while it is closed.
    pub search: Search,
    /// The pooler that clients come through, if dbd may hold them back there.
    pub pooler: Option<Pooler>,
}

#[async_trait(?Send)]
impl Captures for PostgresCaptures {
    async fn look(&self, url: &ConnectionUrl) -> Result<CaptureFacts, Failure> {
        let mut facts = facts::facts(url).await?;
        if let (Some(pooler), true) = (&self.pooler, facts.refused.is_empty()) {
            facts.notes.push(pooler.look().await);
        }
        Ok(facts)
    }

    async fn start(&self, order: &CaptureOrder<'_>) -> Result<Started, Failure> {
        tidy::end_any(order.url, order.effect).await?;
        tidy::end(order).await?;
        install::start(order).await
    }

    async fn started(&self, url: &ConnectionUrl, capture: &Capture) -> Result<Option<Started>, Failure> {
        install::started(url, capture).await
    }

    async fn base(&self, order: &CaptureOrder<'_>, tracking: Option<&str>) -> Result<Base, Failure> {
        install::base(order, &exclude(tracking.unwrap_or_default())).await
    }

    async fn raise_shadow(&self, order: &ShadowOrder<'_>) -> Result<Shadow, Failure> {
        shadow::raise(order, self.backups.as_ref()).await
    }

    async fn strip(&self, copy: &ConnectionUrl, started: &Started) -> Result<(), Failure> {
        tidy::strip(copy, started).await
    }

    fn cover(&self, _: &Capture) -> Vec<String> {
        vec!["SELECT dbd_capture.cover()".to_owned()]
    }

    async fn catch_up(&self, order: &CatchUpOrder<'_>) -> Result<Backlog, Failure> {
        catch_up::catch_up(order).await
    }

    async fn swap(&self, order: &SwapOrder<'_>) -> Result<Swapped, Failure> {
        let exclude = exclude(order.tracking.map_or("", |tracking| &*tracking.table));
        swap::swap(order, &exclude, &self.search, self.pooler.as_ref()).await
    }

    async fn fence(&self, url: &ConnectionUrl, capture: &Capture, effect: &EffectId) -> Result<Fenced, Failure> {
        tidy::fence(url, capture, effect).await
    }

    async fn standing(&self, order: &CaptureOrder<'_>, fenced: &Fenced) -> Result<SwapStanding, Failure> {
        swap::standing(order, fenced, self.pooler.as_ref()).await
    }

    async fn settle(&self, order: &CaptureOrder<'_>) -> Result<Vec<String>, Failure> {
        swap::settle(order).await
    }

    async fn end(&self, order: &CaptureOrder<'_>) -> Result<(), Failure> {
        tidy::end(order).await
    }

    async fn leftovers(&self, url: &ConnectionUrl) -> Result<Vec<Leftover>, Failure> {
        tidy::leftovers(url).await
    }

    async fn forget(&self, order: &CaptureOrder<'_>) -> Result<(), Failure> {
        tidy::forget(order).await
    }
}
