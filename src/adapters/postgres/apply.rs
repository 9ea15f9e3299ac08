//! Applying one step: the same code for the sandbox and for the target.
//!
//! In a transaction: the ledger row first (it is the idempotency key and checks the lease), then the statements, then the owning tool's
//! bookkeeping, then COMMIT. Outside: a `started` row, the statement alone, then a `finished` row with the bookkeeping.

use super::batches::{self, Batches};
use super::blockers::blockers;
use super::connect::{Session, connect, lost};
use super::kept::{FLUSHES, Kept, REPORT, may_share};
use super::ledger::{
    clean_up_alone, finish_alone, finish_detach, lease_is_held, ledger_insert, ledger_row, literal, step_name,
    superseded,
};
use super::line::{Line, Part, not_added, traced};
use super::observe::Observer;
use crate::domain::code::Code;
use crate::domain::event::StepReport;
use crate::domain::failure::{Certainty, Failure};
use crate::domain::migration::{AloneProbe, Span, UnitMode, VERIFIED, session_settings, tables_of};
use crate::domain::rehearsal::{StatementTrace, Window};
use crate::ports::boundary::{Boundary, passed};
use crate::ports::database::{Applied, ApplyOrder, Around, MIGRATING, NotApplied};
use backon::{BackoffBuilder, ExponentialBuilder};
use std::time::{Duration, Instant};
use tokio_postgres::error::{DbError, ErrorPosition, SqlState};
use tokio_postgres::{Client, SimpleQueryMessage};

/// How long after its own timeout a step is given to end by itself, before the connection is cut.
const GRACE: Duration = Duration::from_secs(5);

/// Why one try did not come to its end.
pub(super) enum Trouble {
    /// A lock was not to be had: worth another try.
    Contention(Failure),
    /// It will not work.
    Certain(Failure),
}

impl Trouble {
    fn failure(self) -> Failure {
        match self {
            Trouble::Contention(failure) | Trouble::Certain(failure) => failure,
        }
    }
}

/// Applies the step, trying again while locks are not to be had and the budget lasts.
pub async fn apply(order: ApplyOrder<'_>, kept: &Kept) -> Result<Applied, NotApplied> {
    let begun = Instant::now();
    let budget = Duration::from_millis(order.lock_budget_ms);
    let limit = Duration::from_millis(order.timeout_ms);
    let mut waits = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_secs(2))
        .without_max_times()
        .with_jitter()
        .build();
    let mut tries = 0;
    loop {
        tries += 1;
        let mut trace = Vec::new();
        let left = limit.saturating_sub(begun.elapsed());
        let result = match tokio::time::timeout(left + GRACE, once(&order, kept, left, &mut trace)).await {
            Ok(result) => result,
            // The server did not keep to its own timeout: whatever it is doing, the fence and the probe will tell.
            Err(_) => Err(Trouble::Certain(too_long(&order).certainty(Certainty::InDoubt))),
        };
        let trouble = match result {
            Ok(xid) => {
                let duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                let held_ms = trace.iter().map(|one| one.held_ms.unwrap_or(one.duration_ms)).collect();
                return Ok(Applied {
                    report: StepReport { duration_ms, tries, xid, held_ms, ..StepReport::default() },
                    trace,
                });
            }
            Err(trouble) => trouble,
        };
        let wait = waits.next().unwrap_or(Duration::from_secs(2));
        match trouble {
            Trouble::Contention(failure) if begun.elapsed() + wait < budget.min(limit) => {
                // Who it is that everybody would wait behind, before it is tried again.
                let who = in_the_way(&order).await;
                let who = who.first().map_or(String::new(), |who| format!(" ({who})"));
                (order.progress)(&format!("{}{who}; trying again", failure.message));
                tokio::time::sleep(wait).await;
            }
            trouble => {
                let mut failure = trouble.failure();
                if failure.code == Code::LockTimeout {
                    failure = failure
                        .cause(format!("tried {tries} time(s) within {} ms", begun.elapsed().as_millis()))
                        .hint("end what holds the lock, deploy at a calmer time, or raise lock_budget");
                    failure.causes.extend(in_the_way(&order).await.into_iter().take(3));
                }
                return Err(NotApplied { failure, trace });
            }
        }
    }
}

/// The sessions that hold what the step's statements have to lock, for people. To name them is a kindness: that it fails is no failure.
async fn in_the_way(order: &ApplyOrder<'_>) -> Vec<String> {
    let mut tables: Vec<String> =
        order.step.statements.iter().take(100).flat_map(|span| tables_of(span.of(order.text))).collect();
    tables.sort();
    tables.dedup();
    let found = blockers(order.url, &tables).await.unwrap_or_default();
    found.iter().map(ToString::to_string).collect()
}

async fn once(
    order: &ApplyOrder<'_>,
    kept: &Kept,
    left: Duration,
    trace: &mut Vec<StatementTrace>,
) -> Result<Option<String>, Trouble> {
    let share = may_share(order);
    let earlier = match share {
        true => kept.take(order).await,
        // It may change what sessions begin with.
        false => {
            kept.close().await;
            None
        }
    };
    let again = earlier.is_some();
    let name = order.effect.application_name();
    let session = match earlier {
        Some(session) => session,
        None => connect(order.url, &name).await.map_err(Trouble::Certain)?,
    };
    let xid = within(order, &session, (again, share), left, trace).await;
    match xid {
        Ok(_) if share => kept.put(order.url, session).await,
        _ => session.close().await,
    }
    xid
}

/// One try in a session, which is `again` that of an earlier step, and whose statements leave it as it was if it is `shared`.
async fn within(
    order: &ApplyOrder<'_>,
    session: &Session,
    (again, shared): (bool, bool),
    left: Duration,
    trace: &mut Vec<StatementTrace>,
) -> Result<Option<String>, Trouble> {
    let setup = format!(
        "SET client_min_messages = notice; SET synchronous_commit = on; SET idle_in_transaction_session_timeout = '{}ms'; SET statement_timeout = '{}ms'; {}",
        order.timeout_ms.saturating_add(60_000),
        order
            .statement_timeout_ms
            .unwrap_or(u64::MAX)
            .min(u64::try_from(left.as_millis()).unwrap_or(u64::MAX))
            .clamp(1, i32::MAX as u64),
        session.notice_dead_clients(),
    );
    // The name can be changed by the migration itself; the lock cannot be lost, so the fence finds this session by both.
    let mark = match order.pooled {
        true => String::new(),
        false => format!(
            "SET application_name = {}; SELECT pg_catalog.pg_advisory_lock_shared(pg_catalog.hashtext('dbd effect'), pg_catalog.hashtext({}));",
            literal(&order.effect.application_name()),
            literal(order.effect.as_str())
        ),
    };
    let mut setup = format!("{setup} {mark}");
    let settings = session_settings(order.text, order.units, order.step.unit);
    let (name, digest) = (step_name(order.step), order.step.digest.as_str());
    let begin = format!(
        "BEGIN; SET LOCAL lock_timeout = '{}ms'; SET LOCAL {MIGRATING} = 'on'; {}",
        order.lock_timeout_ms,
        ledger_row(order.holder, order.effect, order.anchor, &name, digest, "applied"),
    );
    // One message where nothing has to stand between them: the settings then become part of the transaction that begins behind them.
    let marks = shared && settings.is_empty();
    let begin = match marks {
        true => std::mem::take(&mut setup) + " " + &begin,
        false => begin,
    };
    let mut line = Line::new(order, session);
    // The guard of a way back, which is among what is done around the step, counts what its own transaction wrote.
    if again && session.major >= FLUSHES && order.around != Around::default() {
        line.send(Part::Reported, REPORT, trace).await?;
    }
    if !setup.is_empty() {
        line.send(Part::Setup, &setup, trace).await?;
    }
    // What earlier units of the migration set for their session counts for this one too.
    for span in &settings {
        line.send(Part::Setting(span), span.of(order.text), trace).await?;
    }
    let observer = match order.watch {
        true => {
            line.settle(trace).await?;
            Some(
                Observer::begin(&session.client, order.step.unit == 0)
                    .await
                    .map_err(|error| ours(order, "looking at the catalog", &error))?,
            )
        }
        false => None,
    };
    match &order.step.mode {
        UnitMode::Transaction => {
            line.send(Part::Row { marks }, &begin, trace).await?;
            in_transaction(order, (session, shared), line, observer, trace).await
        }
        UnitMode::Alone { probe } => {
            line.settle(trace).await?;
            let result = alone(order, session, probe, left, observer, trace).await;
            if order.pooled {
                // A pooler hands the session on to somebody whose writes are no migration. If it cannot be said, the connection is gone.
                let _ = session.client.batch_execute(&format!("RESET {MIGRATING}")).await;
            }
            result
        }
    }
}

/// What follows the row in the ledger. Everything goes out without waiting, unless it is watched; a failure anywhere takes all of it back.
///
/// In a session that is `shared` the COMMIT of a step that was brief in its rehearsal as well, once the row is known to be there: behind a statement that failed the server makes a
/// ROLLBACK of it. Only a `ROLLBACK TO SAVEPOINT` would undo that, which no such step holds.
async fn in_transaction<'a>(
    order: &'a ApplyOrder<'a>,
    (session, shared): (&'a Session, bool),
    mut line: Line<'a>,
    mut observer: Option<Observer>,
    trace: &mut Vec<StatementTrace>,
) -> Result<Option<String>, Trouble> {
    // What dbd does before the first statement is timed, as its locks are held from there on.
    let timed = observer.is_some() || !order.around.before.is_empty();
    if timed {
        line.settle(trace).await?;
    }
    let opening = Instant::now();
    for sql in order.around.before {
        line.send(Part::Added("before"), sql, trace).await?;
    }
    let mut added_ms = 0;
    if timed {
        line.settle(trace).await?;
        added_ms = millis(opening);
    }
    for (span, sql) in order.statements() {
        if observer.is_some() {
            run_statement(order, session, (span, sql), true, &mut observer, trace).await?;
        } else {
            line.send(Part::Statement(span), sql, trace).await?;
        }
    }
    let mut closing = None;
    let mut savepoints = false;
    if !order.around.after.is_empty() {
        line.settle(trace).await?;
        closing = Some(Instant::now());
    }
    for sql in order.around.after {
        line.send(Part::Added("after"), sql, trace).await?;
    }
    if let Some(sql) = &order.bookkeeping {
        let row = match sql.split_once(VERIFIED) {
            Some((looks, row)) => {
                savepoints = true;
                line.send(Part::Verify, looks, trace).await?;
                row
            }
            None => sql,
        };
        line.send(Part::Bookkeeping, row, trace).await?;
    }
    if shared && order.brief && !savepoints && order.around == Around::default() {
        line.settle_row(trace).await?;
    } else {
        line.settle(trace).await?;
    }
    passed(Boundary::BeforeCommit, order.place());
    line.send(Part::Commit, "COMMIT", trace).await?;
    line.settle(trace).await?;
    // Watching takes time between the statements: their own and what comes before and behind them is what counts.
    let mut held = closing.map_or(line.commit_ms, millis);
    match observer {
        Some(_) => {
            if let Some(last) = trace.last_mut() {
                last.commit_ms = held;
            }
            if let Some(first) = trace.first_mut() {
                first.added_ms = added_ms;
            }
        }
        None => {
            for one in trace.iter_mut().rev() {
                held += one.duration_ms;
                one.held_ms = Some(held);
            }
            if let Some(first) = trace.first_mut() {
                first.held_ms = first.held_ms.map(|held| held + added_ms);
            }
        }
    }
    passed(Boundary::AfterCommit, order.place());
    Ok(line.xid)
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

async fn alone(
    order: &ApplyOrder<'_>,
    session: &Session,
    probe: &AloneProbe,
    left: Duration,
    mut observer: Option<Observer>,
    trace: &mut Vec<StatementTrace>,
) -> Result<Option<String>, Trouble> {
    let client = &session.client;
    let migrating = format!("SET {MIGRATING} = 'on'");
    client.batch_execute(&migrating).await.map_err(|error| ours(order, "setting up the session", &error))?;
    if !order.around.before.is_empty() {
        // No row of the ledger stands guard over them.
        if !lease_is_ours(order, client).await? {
            return Err(Trouble::Certain(superseded(order.holder)));
        }
        add(order, client, "before", order.around.before).await?;
    }
    let started = ledger_insert(
        order.holder,
        order.effect,
        order.anchor,
        &step_name(order.step),
        order.step.digest.as_str(),
        "started",
        true,
    );
    let rows = client.execute(&started, &[]).await.map_err(|error| ours(order, "writing the ledger row", &error))?;
    if rows == 0 {
        // Either an earlier try wrote it, or the lease is somebody else's.
        if !lease_is_ours(order, client).await? {
            return Err(Trouble::Certain(superseded(order.holder)));
        }
    }
    passed(Boundary::AloneStarted, order.place());
    // What runs concurrently waits for others without keeping anybody waiting: it may use the whole budget at once.
    let patient = format!("SET lock_timeout = '{}ms'", order.lock_budget_ms.max(order.lock_timeout_ms));
    client.batch_execute(&patient).await.map_err(|error| ours(order, "setting lock_timeout", &error))?;
    for span in &order.step.statements {
        let ran = match probe {
            AloneProbe::Batch { table, called, size, pause_ms } => {
                let wanted = Batches { table, called, size: *size, pause_ms: *pause_ms };
                in_batches(order, session, span, &wanted, left, observer.as_ref(), trace).await
            }
            // An earlier try may have done the half that cannot be begun again.
            AloneProbe::Detached { table, partition }
                if rows == 0
                    && finish_detach(session, table, partition)
                        .await
                        .map_err(|error| ours(order, "finishing what was half done", &error))? =>
            {
                Ok(())
            }
            _ => run_statement(order, session, (span, span.of(order.text)), false, &mut observer, trace).await,
        };
        if let Err(trouble) = ran {
            let certain = |failure: &Failure| failure.certainty != Certainty::InDoubt;
            let (Trouble::Certain(failure) | Trouble::Contention(failure)) = &trouble;
            if certain(failure) {
                clean_up_alone(session, probe)
                    .await
                    .map_err(|error| ours(order, "removing what was left half done", &error))?;
            }
            return Err(trouble);
        }
    }
    passed(Boundary::AloneDone, order.place());
    // The statement itself is done, and what is still to be added is run again by the probe.
    add(order, client, "after", order.around.after)
        .await
        .map_err(|trouble| Trouble::Certain(trouble.failure().certainty(Certainty::InDoubt)))?;
    finish_alone(session, order.holder, order.effect, order.anchor, order.step, order.bookkeeping.as_deref())
        .await
        .map_err(|error| match error {
            None => Trouble::Certain(superseded(order.holder)),
            // The statement itself is done; only its record is missing, and the probe will write it.
            Some(error) => {
                let failure = ours(order, "writing the ledger row", &error).failure();
                Trouble::Certain(failure.certainty(Certainty::InDoubt))
            }
        })?;
    passed(Boundary::AfterCommit, order.place());
    Ok(None)
}

async fn lease_is_ours(order: &ApplyOrder<'_>, client: &Client) -> Result<bool, Trouble> {
    lease_is_held(client, order.holder).await.map_err(|error| ours(order, "reading the lease", &error))
}

/// Runs what dbd adds to the step.
async fn add(order: &ApplyOrder<'_>, client: &Client, place: &str, statements: &[String]) -> Result<(), Trouble> {
    for sql in statements {
        client.batch_execute(sql).await.map_err(|error| not_added(order, place, sql, &error))?;
    }
    Ok(())
}

/// What a statement that dbd adds is called when it fails.
pub(super) fn added(place: &str, what: &str) -> String {
    format!("a statement of dbd's own {place} {what}, which is no part of the migration,")
}

async fn in_batches(
    order: &ApplyOrder<'_>,
    session: &Session,
    span: &Span,
    wanted: &Batches<'_>,
    left: Duration,
    observer: Option<&Observer>,
    trace: &mut Vec<StatementTrace>,
) -> Result<(), Trouble> {
    let begun = Instant::now();
    let result = batches::run(order, session, span, wanted, left).await;
    let mut one = StatementTrace {
        line: span.line,
        sql: span.of(order.text).to_owned(),
        duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        ..StatementTrace::default()
    };
    let result = match result {
        Ok(rows) => {
            one.rows = rows;
            one.batch = Some(wanted.size);
            one.changed =
                observer.and_then(|all| all.whole(wanted.table)).map(|table| (table, rows)).into_iter().collect();
            Ok(())
        }
        Err(trouble) => {
            let (Trouble::Certain(failure) | Trouble::Contention(failure)) = &trouble;
            one.error = Some(failure.message.clone());
            Err(trouble)
        }
    };
    trace.push(one);
    result
}

async fn run_statement(
    order: &ApplyOrder<'_>,
    session: &Session,
    (span, sql): (&Span, &str),
    transactional: bool,
    observer: &mut Option<Observer>,
    trace: &mut Vec<StatementTrace>,
) -> Result<(), Trouble> {
    (order.progress)(first_line(sql));
    let client = &session.client;
    if observer.is_some() {
        session.take_notices();
        let loud = "SET client_min_messages = debug1";
        client.batch_execute(loud).await.map_err(|error| ours(order, "listening to the server", &error))?;
    }
    let begun = Instant::now();
    let (result, seen) = match observer {
        Some(observer) if !transactional => watched(order, client, observer, sql).await?,
        _ => (client.simple_query(sql).await, Vec::new()),
    };
    let (mut one, result) = traced(span, sql, begun.elapsed(), result);
    one.transactional = transactional;
    match result {
        Ok(()) => {
            if let Some(observer) = observer {
                let quiet = "SET client_min_messages = notice";
                client.batch_execute(quiet).await.map_err(|error| ours(order, "listening to the server", &error))?;
                let notices = session.take_notices();
                observer
                    .after(client, &mut one, &notices, seen)
                    .await
                    .map_err(|error| ours(order, "watching the statement", &error))?;
            }
            trace.push(one);
            passed(Boundary::StatementRan, order.place());
            Ok(())
        }
        Err(error) => {
            if let Some(observer) = observer {
                observer.after_failure(&mut one, &session.take_notices());
            }
            trace.push(one);
            Err(theirs(order, Some(span), &error, ""))
        }
    }
}

/// Runs a statement outside a transaction while a second session looks at the locks it holds: it lets go of them before it ends.
async fn watched(
    order: &ApplyOrder<'_>,
    client: &tokio_postgres::Client,
    observer: &Observer,
    sql: &str,
) -> Result<(Result<Vec<SimpleQueryMessage>, tokio_postgres::Error>, Vec<Window>), Trouble> {
    let onlooker = connect(order.url, "dbd onlooker").await.map_err(Trouble::Certain)?;
    let pid: i32 = client
        .query_one("SELECT pg_catalog.pg_backend_pid()", &[])
        .await
        .map_err(|error| ours(order, "watching the statement", &error))?
        .get(0);
    let mut seen: Vec<Window> = Vec::new();
    let (begun, mut before) = (Instant::now(), 0);
    let statement = client.simple_query(sql);
    tokio::pin!(statement);
    let result = loop {
        tokio::select! {
            biased;
            result = &mut statement => break result,
            locks = observer.locks_of(&onlooker.client, pid) => {
                let now = millis(begun);
                lengthen(&mut seen, locks.unwrap_or_default(), before, now);
                before = now;
            }
        }
        tokio::select! {
            biased;
            result = &mut statement => break result,
            () = tokio::time::sleep(Duration::from_millis(2)) => {}
        }
    };
    onlooker.close().await;
    Ok((result, seen))
}

/// Adds the locks seen at `now` to what was seen before: one that was there at the look `before` as well goes on, any other was taken since.
fn lengthen(seen: &mut Vec<Window>, locks: Vec<(String, String)>, before: u64, now: u64) {
    for (object, lock) in locks {
        let going_on =
            seen.iter_mut().rev().find(|one| one.object == object && one.lock == lock && one.to_ms >= before);
        match going_on {
            Some(window) => window.to_ms = now,
            None => seen.push(Window { object, lock, from_ms: before, to_ms: now }),
        }
    }
}

pub(super) fn too_long(order: &ApplyOrder<'_>) -> Failure {
    Failure::new(Code::MigrationTimeout, format!("{} took longer than {} ms", order.file, order.timeout_ms))
        .hint("raise migration_timeout of the environment, or split the migration")
}

/// A statement of dbd's own that failed.
pub(super) fn ours(order: &ApplyOrder<'_>, what: &str, error: &tokio_postgres::Error) -> Trouble {
    let failure = super::connect::query_failed(order.url, what, error);
    match error.code() {
        Some(&SqlState::UNIQUE_VIOLATION) if what.contains("ledger") => {
            Trouble::Certain(failure.certainty(Certainty::InDoubt))
        }
        Some(code) if is_contention(code) => Trouble::Contention(Failure { code: Code::LockTimeout, ..failure }),
        _ => Trouble::Certain(failure),
    }
}

fn is_contention(code: &SqlState) -> bool {
    [SqlState::LOCK_NOT_AVAILABLE, SqlState::T_R_DEADLOCK_DETECTED, SqlState::T_R_SERIALIZATION_FAILURE].contains(code)
}

/// A statement of the user's that failed, with the place in the file.
pub(super) fn theirs(
    order: &ApplyOrder<'_>,
    span: Option<&Span>,
    error: &tokio_postgres::Error,
    prefix: &str,
) -> Trouble {
    let Some(server) = error.as_db_error().filter(|_| !lost(error)) else {
        let what = span.map_or_else(|| order.file.to_owned(), |span| format!("{}:{}", order.file, span.line));
        return ours(order, &format!("running {what}"), error);
    };
    let (line, column) = place(order.text, span, server);
    let said = format!("{prefix}{} (SQLSTATE {})", server.message(), server.code().code());
    let statement = span.map(|span| first_line(span.of(order.text)).to_owned());
    let mut failure = match server.code() {
        code if is_contention(code) => {
            Failure::new(Code::LockTimeout, format!("{}:{line}: a lock was not to be had in time", order.file))
        }
        &SqlState::QUERY_CANCELED => {
            let mut failure = too_long(order);
            if order.statement_timeout_ms.is_some() {
                failure = failure.hint("or statement_timeout, if it was that");
            }
            failure
        }
        _ => Failure::new(Code::StatementFailed, format!("{}:{line}: a statement failed", order.file)),
    };
    failure = failure.cause(said).at(order.file, line, column);
    if let Some(detail) = server.detail() {
        failure = failure.cause(detail);
    }
    if let Some(context) = server.where_() {
        failure = failure.cause(context.lines().next().unwrap_or_default());
    }
    if let Some(statement) = statement {
        failure = failure.cause(format!("in: {statement}"));
    }
    if let Some(hint) = server.hint() {
        failure = failure.hint(hint);
    }
    let there =
        [SqlState::DUPLICATE_TABLE, SqlState::DUPLICATE_SCHEMA, SqlState::DUPLICATE_OBJECT, SqlState::DUPLICATE_COLUMN];
    if there.contains(server.code()) {
        failure = failure.hint(
            "if the target has all of this by another way already, `dbd migrations adopt <env>` proves and records it",
        );
    }
    if is_contention(server.code()) { Trouble::Contention(failure) } else { Trouble::Certain(failure) }
}

/// Line and column of the server's error position, or of the statement where the server gives none.
fn place(text: &str, span: Option<&Span>, server: &DbError) -> (u32, u32) {
    let Some(span) = span else { return (1, 1) };
    let offset = match server.position() {
        // The server counts characters from 1.
        Some(ErrorPosition::Original(at)) => {
            span.of(text).char_indices().nth((*at as usize).saturating_sub(1)).map_or(0, |(offset, _)| offset)
        }
        _ => 0,
    };
    let before = &text[..span.start + offset];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
}

pub(super) fn first_line(sql: &str) -> &str {
    let line = sql.lines().next().unwrap_or_default().trim_end();
    match line.char_indices().nth(100) {
        Some((cut, _)) => &line[..cut],
        None => line,
    }
}
