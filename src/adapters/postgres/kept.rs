//! The session that one step leaves to the next, and the making ready of the target to the first.
//!
//! To connect is most of what a small step costs. A session is handed on only to and between steps in transactions whose statements can have left
//! nothing in it that `DISCARD ALL` does not take away, and only after a commit; whatever else happens, the next step has a new one.

use super::connect::Session;
use crate::domain::connection::ConnectionUrl;
use crate::domain::migration::UnitMode;
use crate::domain::migration::leaves_session_as_it_was;
use crate::ports::database::{ApplyOrder, Around};
use std::cell::RefCell;

/// The first version that can be told to report a session's counters at once. Until they are reported, what an earlier transaction wrote is counted among
/// what the current one wrote (`pg_stat_xact_user_tables`), which the guard of a way back asks for.
pub(super) const FLUSHES: u32 = 15;

/// Makes a session as good as new; each is a message of its own.
pub(super) const CLEAR: &str = "DISCARD ALL";

/// Has the session's counters reported, where the server can.
pub(super) const REPORT: &str = "SELECT pg_catalog.pg_stat_force_next_flush()";

/// At most one session, and where it leads.
#[derive(Default)]
pub struct Kept(RefCell<Option<(ConnectionUrl, Session)>>);

impl Kept {
    /// The session that the step may have, if there is one that is still open.
    pub(super) async fn take(&self, order: &ApplyOrder<'_>) -> Option<Session> {
        // What the server said meanwhile is read here, a goodbye above all.
        tokio::task::yield_now().await;
        let (to, session) = self.0.borrow_mut().take()?;
        let clean = order.around == Around::default() || session.major >= FLUSHES;
        if to == *order.url && clean && !session.client.is_closed() {
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
