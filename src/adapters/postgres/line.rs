//! What a step says to the server in one go: the next is sent without waiting for the answer to the one before, and the answers are taken in
//! their order.
//!
//! It is only for what a failure takes back as a whole. The server carries out the messages one by one; behind one that fails, every other of the
//! same transaction is refused, and a COMMIT rolls back.

use super::apply::{Trouble, added, first_line, ours, theirs};
use super::connect::{Session, lost};
use super::ledger::{is_superseded, superseded};
use crate::domain::code::Code;
use crate::domain::failure::Failure;
use crate::domain::migration::Span;
use crate::domain::rehearsal::StatementTrace;
use crate::domain::sql::summary;
use crate::ports::boundary::{Boundary, passed};
use crate::ports::database::ApplyOrder;
use futures_util::future::{FutureExt, LocalBoxFuture, MaybeDone, maybe_done};
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use tokio_postgres::{Error, SimpleQueryMessage};

/// How many messages may be on their way: so many that a small migration is one journey, so few that a large one is not held in memory twice.
const AT_ONCE: usize = 32;

/// What a message is for: how its failure reads, and what its answer tells.
#[derive(Clone, Copy)]
pub(super) enum Part<'a> {
    /// A session of an earlier step reports its counters.
    Reported,
    /// What the session has to be like.
    Setup,
    /// What an earlier unit of the migration set for its session.
    Setting(&'a Span),
    /// The beginning of the transaction, and the row in the ledger.
    Row {
        /// Whether what the session has to be like stands before it.
        marks: bool,
    },
    /// What dbd adds, before or after.
    Added(&'static str),
    /// A statement of the migration.
    Statement(&'a Span),
    /// What the tool that owns the folder looks at once the statements ran.
    Verify,
    /// The row of the tool that owns the folder.
    Bookkeeping,
    /// The end of the transaction.
    Commit,
}

type Answer = Result<Vec<SimpleQueryMessage>, Error>;

struct Sent<'a> {
    part: Part<'a>,
    sql: &'a str,
    answer: std::pin::Pin<Box<MaybeDone<LocalBoxFuture<'a, Answer>>>>,
}

/// The messages on their way, the oldest first.
pub(super) struct Line<'a> {
    order: &'a ApplyOrder<'a>,
    session: &'a Session,
    sent: VecDeque<Sent<'a>>,
    /// The transaction that wrote the row in the ledger, once that is known.
    pub(super) xid: Option<String>,
    /// How long the COMMIT was waited for, in milliseconds, once it is answered.
    pub(super) commit_ms: u64,
}

impl<'a> Line<'a> {
    pub(super) fn new(order: &'a ApplyOrder<'a>, session: &'a Session) -> Self {
        Self { order, session, sent: VecDeque::new(), xid: None, commit_ms: 0 }
    }

    /// Sends a message. Where many are on their way already, the oldest is waited for first.
    pub(super) async fn send(
        &mut self,
        part: Part<'a>,
        sql: &'a str,
        trace: &mut Vec<StatementTrace>,
    ) -> Result<(), Trouble> {
        while self.sent.len() >= AT_ONCE {
            self.take(trace).await?;
        }
        let client = &self.session.client;
        let mut answer = Box::pin(maybe_done(async move { client.simple_query(sql).await }.boxed_local()));
        // A message leaves when its answer is first asked for.
        let _ = futures_util::poll!(answer.as_mut());
        self.sent.push_back(Sent { part, sql, answer });
        Ok(())
    }

    /// Waits until everything that was sent is answered.
    pub(super) async fn settle(&mut self, trace: &mut Vec<StatementTrace>) -> Result<(), Trouble> {
        while !self.sent.is_empty() {
            self.take(trace).await?;
        }
        Ok(())
    }

    /// Waits until the row in the ledger is answered, and with it whatever was sent before.
    pub(super) async fn settle_row(&mut self, trace: &mut Vec<StatementTrace>) -> Result<(), Trouble> {
        while self.xid.is_none() && !self.sent.is_empty() {
            self.take(trace).await?;
        }
        Ok(())
    }

    async fn take(&mut self, trace: &mut Vec<StatementTrace>) -> Result<(), Trouble> {
        let Some(Sent { part, sql, mut answer }) = self.sent.pop_front() else { return Ok(()) };
        if let Part::Statement(_) = part {
            (self.order.progress)(first_line(sql));
        }
        let begun = Instant::now();
        answer.as_mut().await;
        let Some(result) = answer.as_mut().take_output() else { return Ok(()) };
        let order = self.order;
        match part {
            Part::Reported => {
                result.map_err(|error| ours(order, "having the session's counters reported", &error))?;
            }
            Part::Setup => {
                let messages = result.map_err(|error| ours(order, "setting up the session", &error))?;
                self.session.learn(&messages);
                passed(Boundary::SessionMarked, order.place());
            }
            Part::Setting(span) => {
                result.map_err(|error| theirs(order, Some(span), &error, ""))?;
            }
            Part::Row { marks } => {
                let messages = result.map_err(|error| match is_superseded(&error) {
                    true => Trouble::Certain(superseded(order.holder)),
                    false => ours(order, "writing the ledger row", &error),
                })?;
                // The last row: that of the ledger. What marks the session may stand before it.
                let xid = messages.iter().rev().find_map(|message| match message {
                    SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                    _ => None,
                });
                let none = || Failure::new(Code::Bug, "the ledger's row has no transaction");
                self.xid = Some(xid.ok_or_else(|| Trouble::Certain(none()))?);
                if marks {
                    self.session.learn(&messages);
                    passed(Boundary::SessionMarked, order.place());
                }
                passed(Boundary::RowWritten, order.place());
            }
            Part::Added(place) => {
                result.map_err(|error| not_added(order, place, sql, &error))?;
            }
            Part::Statement(span) => {
                let (one, result) = traced(span, sql, begun.elapsed(), result);
                trace.push(one);
                result.map_err(|error| theirs(order, Some(span), &error, ""))?;
                passed(Boundary::StatementRan, order.place());
            }
            Part::Verify => {
                result.map_err(|error| unverified(order, &error))?;
            }
            Part::Bookkeeping => {
                result.map_err(|error| ours(order, "writing the bookkeeping row", &error))?;
            }
            Part::Commit => {
                // Constraints that were deferred are checked here.
                result.map_err(|error| match lost(&error) {
                    true => ours(order, "committing", &error),
                    false => theirs(order, order.step.statements.last(), &error, "COMMIT: "),
                })?;
                self.commit_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            }
        }
        Ok(())
    }
}

/// What is recorded of a statement in a transaction, and its failure.
pub(super) fn traced(span: &Span, sql: &str, took: Duration, result: Answer) -> (StatementTrace, Result<(), Error>) {
    let mut one = StatementTrace {
        line: span.line,
        sql: sql.to_owned(),
        transactional: true,
        duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        ..StatementTrace::default()
    };
    let result = match result {
        Ok(messages) => {
            let rows = messages.iter().filter_map(|message| match message {
                SimpleQueryMessage::CommandComplete(rows) => Some(*rows),
                _ => None,
            });
            one.rows = rows.sum();
            Ok(())
        }
        Err(error) => {
            let said = error.as_db_error().map_or_else(|| error.to_string(), |server| server.message().to_owned());
            one.error = Some(said);
            Err(error)
        }
    };
    (one, result)
}

/// The migration ran, and its verify script fails.
fn unverified(order: &ApplyOrder<'_>, error: &Error) -> Trouble {
    match ours(order, &format!("verifying {}", order.file), error) {
        Trouble::Certain(failure) if error.as_db_error().is_some() && failure.code == Code::QueryFailed => {
            let message = format!("{} ran, and its verify script fails", order.file);
            let failure = Failure { code: Code::StatementFailed, message, ..failure };
            Trouble::Certain(
                failure.hint("the script may only look: it runs in a transaction that cannot write, and is taken back"),
            )
        }
        other => other,
    }
}

/// A statement that dbd adds has failed.
pub(super) fn not_added(order: &ApplyOrder<'_>, place: &str, sql: &str, error: &Error) -> Trouble {
    let cause = format!("in: {}", summary(sql));
    match ours(order, &added(place, order.file), error) {
        Trouble::Contention(failure) => Trouble::Contention(failure.cause(cause)),
        Trouble::Certain(failure) => Trouble::Certain(failure.cause(cause)),
    }
}
