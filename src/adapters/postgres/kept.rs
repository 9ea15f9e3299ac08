//! The session that one step leaves to the next, and the making ready of the target to the first.
//!
//! To connect is most of what a small step costs. A session is handed on only to and between steps in transactions whose statements can have left
//! nothing in it that `DISCARD ALL` does not take away, and only after a commit; whatever else happens, the next step has a new one.

use super::connect::Session;
use crate::domain::connection::ConnectionUrl;
use crate::domain::migration::UnitMode;
use crate::domain::migration::leaves_session_as_it_was;
use crate::ports::database::{ApplyOrder, Around};
use futures_util::future::BoxFuture;
use std::cell::RefCell;
use std::task::Poll;
use std::time::Duration;

/// The first version that can be told to report a session's counters at once. Until they are reported, what an earlier transaction wrote is counted among
/// what the current one wrote (`pg_stat_xact_user_tables`), which the guard of a way back asks for.
pub(super) const FLUSHES: u32 = 15;

/// Makes a session as good as new.
const CLEAR: &str = "DISCARD ALL";

/// Has the session's counters reported, where the server can.
pub(super) const REPORT: &str = "SELECT pg_catalog.pg_stat_force_next_flush()";

/// How long a session is given to become as good as new.
const PATIENCE: Duration = Duration::from_secs(5);

/// A session that is being cleared; gives it once it is as good as new.
type Clearing = BoxFuture<'static, Option<Session>>;

/// At most one session, and where it leads.
#[derive(Default)]
pub struct Kept(RefCell<Option<(ConnectionUrl, Clearing)>>);

impl Kept {
    /// The session that the step may have, if there is one that is still open.
    pub(super) async fn take(&self, order: &ApplyOrder<'_>) -> Option<Session> {
        let (to, session) = self.taken()?;
        let session = session.await?;
        // What the server said meanwhile is read here, a goodbye above all.
        tokio::task::yield_now().await;
        let clean = order.around == Around::default() || session.major >= FLUSHES;
        if to == *order.url && clean && !session.client.is_closed() {
            return Some(session);
        }
        session.close().await;
        None
    }

    /// Leaves a session for the next step. It is cleared while whoever did the last one makes its notes.
    pub(super) async fn put(&self, url: &ConnectionUrl, session: Session) {
        let mut clearing: Clearing = Box::pin(async move {
            let cleared = tokio::time::timeout(PATIENCE, session.client.simple_query(CLEAR)).await;
            // One that cannot be cleared is no use to anybody.
            matches!(cleared, Ok(Ok(_))).then_some(session)
        });
        // It leaves when its answer is first asked for, and when the connection had its turn.
        match futures_util::poll!(clearing.as_mut()) {
            Poll::Pending => tokio::task::yield_now().await,
            // At once there is only one answer: that the connection is gone.
            Poll::Ready(session) => clearing = Box::pin(std::future::ready(session)),
        }
        *self.0.borrow_mut() = Some((url.clone(), clearing));
    }

    /// Closes what is kept.
    pub(super) async fn close(&self) {
        if let Some((_, session)) = self.taken()
            && let Some(session) = session.await
        {
            session.close().await;
        }
    }

    fn taken(&self) -> Option<(ConnectionUrl, Clearing)> {
        self.0.borrow_mut().take()
    }
}

/// Whether the step may have its session from the one before and leave it to the one after it.
pub(super) fn may_share(order: &ApplyOrder<'_>) -> bool {
    // A pooler's sessions are not ours to clear; what is watched sets more than a step does.
    !order.watch
        && !order.pooled
        && order.step.mode == UnitMode::Transaction
        && order.step.statements.iter().all(|span| leaves_session_as_it_was(span.of(order.text)))
}
