//! The session that one step leaves to the next.
//!
//! To connect is most of what a small step costs. A session is handed on only between steps in transactions whose statements can have left
//! nothing in it that `DISCARD ALL` does not take away, and only after a commit; whatever else happens, the next step has a new one.

use super::connect::Session;
use crate::domain::connection::ConnectionUrl;
use crate::domain::migration::UnitMode;
use crate::domain::migration::leaves_session_as_it_was;
use crate::ports::database::ApplyOrder;
use std::cell::RefCell;

/// At most one session, and where it leads.
#[derive(Default)]
pub struct Kept(RefCell<Option<(ConnectionUrl, Session)>>);

impl Kept {
    /// The session to `url`, if there is one that is still open.
    pub(super) async fn take(&self, url: &ConnectionUrl) -> Option<Session> {
        // What the server said meanwhile is read here, a goodbye above all.
        tokio::task::yield_now().await;
        let (to, session) = self.0.borrow_mut().take()?;
        if to == *url && !session.client.is_closed() {
            return Some(session);
        }
        session.close().await;
        None
    }

    /// Leaves a session for the next step.
    pub(super) fn put(&self, url: &ConnectionUrl, session: Session) {
        *self.0.borrow_mut() = Some((url.clone(), session));
    }

    /// Closes what is kept.
    pub(super) async fn close(&self) {
        let kept = self.0.borrow_mut().take();
        if let Some((_, session)) = kept {
            session.close().await;
        }
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
