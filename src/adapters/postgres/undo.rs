//! Taking a step back where it was done: one transaction, with the ledger's row first.

use super::connect::{NOTICE_DEAD_CLIENTS, connect, lost, query_failed};
use super::ledger::{ledger_insert, literal, superseded};
use crate::domain::code::Code;
use crate::domain::connection::ConnectionUrl;
use crate::domain::digest::Digest;
use crate::domain::event::StepReport;
use crate::domain::failure::{Certainty, Failure};
use crate::domain::ids::EffectId;
use crate::domain::sql::summary;
use crate::domain::way::{KEEP, NOT_EXPRESSIBLE, ROOM};
use crate::ports::boundary::{Boundary, passed};
use crate::ports::database::{MIGRATING, UndoOrder};
use backon::{BackoffBuilder, ExponentialBuilder};
use std::time::{Duration, Instant};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Error, SimpleQueryMessage};

/// How long after its own timeout the undo is given to end by itself, before the connection is cut.
const GRACE: Duration = Duration::from_secs(5);

/// Takes the step back, trying again while locks are not to be had and the budget lasts.
pub async fn undo(order: &UndoOrder<'_>) -> Result<StepReport, Failure> {
    let begun = Instant::now();
    let limit = Duration::from_millis(order.timeout_ms);
    let budget = Duration::from_millis(order.lock_budget_ms).min(limit);
    let mut waits = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_secs(2))
        .without_max_times()
        .with_jitter()
        .build();
    let mut tries = 0;
    loop {
        tries += 1;
        let left = limit.saturating_sub(begun.elapsed());
        let failure = match tokio::time::timeout(left + GRACE, once(order, left)).await {
            Ok(Ok(xid)) => {
                let duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                return Ok(StepReport {
                    duration_ms,
                    tries,
                    xid: Some(xid),
                    held_ms: Vec::new(),
                    ..StepReport::default()
                });
            }
            Ok(Err(failure)) => failure,
            // The server did not keep to its own timeout: whatever it is doing, the fence and the probe will tell.
            Err(_) => too_long(order).certainty(Certainty::InDoubt),
        };
        let wait = waits.next().unwrap_or(Duration::from_secs(2));
        if failure.code != Code::LockTimeout || begun.elapsed() + wait >= budget {
            return Err(match failure.code {
                Code::LockTimeout => failure
                    .cause(format!("tried {tries} time(s) within {} ms", begun.elapsed().as_millis()))
                    .hint("end what holds the lock, or raise lock_budget"),
                _ => failure,
            });
        }
        (order.progress)(&format!("{}; trying again", failure.message));
        tokio::time::sleep(wait).await;
    }
}

async fn once(order: &UndoOrder<'_>, left: Duration) -> Result<String, Failure> {
    let session = connect(order.url, &order.effect.application_name()).await?;
    let client = &session.client;
    let statement_ms =
        order.statement_timeout_ms.unwrap_or(u64::MAX).min(u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
    let mut setup = format!(
        "SET client_min_messages = warning; SET synchronous_commit = on; SET idle_in_transaction_session_timeout = '{}ms'; \
         SET statement_timeout = '{}ms'; {NOTICE_DEAD_CLIENTS}",
        order.timeout_ms.saturating_add(60_000).min(i32::MAX as u64),
        statement_ms.clamp(1, i32::MAX as u64),
    );
    if !order.pooled {
        setup.push_str(&format!(
            " SELECT pg_catalog.pg_advisory_lock_shared(pg_catalog.hashtext('dbd effect'), pg_catalog.hashtext({}));",
            literal(order.effect.as_str())
        ));
    }
    client.batch_execute(&setup).await.map_err(|error| failed(order, "setting up the session", &error))?;
    passed(Boundary::SessionMarked, "target");
    let digest = Digest::of(order.statements.join(";\n"));
    let insert = ledger_insert(order.holder, order.effect, order.anchor, order.step, digest.as_str(), "applied", false);
    let begin = format!(
        "BEGIN; SET LOCAL lock_timeout = '{}ms'; SET LOCAL {MIGRATING} = 'on'; {insert} RETURNING xid",
        order.lock_timeout_ms
    );
    let messages = client.simple_query(&begin).await.map_err(|error| match error.code() {
        // An earlier try of the same undo did commit.
        Some(&SqlState::UNIQUE_VIOLATION) => {
            query_failed(order.url, "writing the ledger row", &error).certainty(Certainty::InDoubt)
        }
        _ => failed(order, "writing the ledger row", &error),
    })?;
    let xid = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    let xid = xid.ok_or_else(|| superseded(order.holder))?;
    passed(Boundary::RowWritten, "target");
    rests(order, client).await?;
    for sql in order.statements {
        client.batch_execute(sql).await.map_err(|error| failed(order, &format!("in: {}", summary(sql)), &error))?;
        passed(Boundary::StatementRan, "target");
    }
    passed(Boundary::BeforeCommit, "target");
    client.batch_execute("COMMIT").await.map_err(|error| {
        let failure = failed(order, "committing", &error);
        if lost(&error) { failure.certainty(Certainty::InDoubt) } else { failure }
    })?;
    passed(Boundary::AfterCommit, "target");
    session.close().await;
    Ok(xid)
}

/// Whether the ledger has every row the undo rests on: a person may have ruled that something happened which did not, and what never was done
/// must not be taken back.
async fn rests(order: &UndoOrder<'_>, client: &tokio_postgres::Client) -> Result<(), Failure> {
    let ids: Vec<&str> = order.rests_on.iter().map(EffectId::as_str).collect();
    let sql = "SELECT id FROM pg_catalog.unnest($1::text[]) id \
               WHERE NOT EXISTS (SELECT FROM dbd.ledger l WHERE l.effect_id = id AND l.phase <> 'started')";
    let missing = client.query(sql, &[&ids]).await.map_err(|error| failed(order, "reading the ledger", &error))?;
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::new(
        Code::NotRestored,
        format!("the {} rests on {} step(s) that the target's ledger has no row of", order.step, missing.len()),
    )
    .hint("somebody ruled that they happened, or took their rows out; nothing was taken back"))
}

fn too_long(order: &UndoOrder<'_>) -> Failure {
    Failure::new(Code::MigrationTimeout, format!("the {} took longer than {} ms", order.step, order.timeout_ms))
        .hint("raise migration_timeout of the environment")
}

fn failed(order: &UndoOrder<'_>, what: &str, error: &Error) -> Failure {
    let Some(server) = error.as_db_error().filter(|_| !lost(error)) else {
        return query_failed(order.url, &format!("the {}, {what}", order.step), error);
    };
    let contention =
        [SqlState::LOCK_NOT_AVAILABLE, SqlState::T_R_DEADLOCK_DETECTED, SqlState::T_R_SERIALIZATION_FAILURE];
    let failure = match server.code() {
        code if not_expressible(code.code()) => {
            return Failure::new(Code::WayBlocked, format!("the {} stopped: {}", order.step, server.message()))
                .hint("nothing was taken back; change that row so that it fits, then roll back again");
        }
        code if contention.contains(code) => {
            Failure::new(Code::LockTimeout, format!("the {}: a lock was not to be had in time", order.step))
        }
        &SqlState::QUERY_CANCELED => too_long(order),
        _ => Failure::new(Code::StatementFailed, format!("the {} failed", order.step)),
    };
    let mut failure =
        failure.cause(format!("{} (SQLSTATE {})", server.message(), server.code().code())).cause(what.to_owned());
    failure.causes.extend(server.detail().map(str::to_owned));
    failure
}

/// Whether the SQLSTATE says that something written since does not fit the old shape: dbd's own, a data exception, a violated constraint.
pub(super) fn not_expressible(state: &str) -> bool {
    state == NOT_EXPRESSIBLE || state.starts_with("22") || state.starts_with("23")
}

/// What is kept: each table, what drops it, and what is said of it.
const KEPT: &str = "SELECT pg_catalog.format('DROP TABLE %I.%I CASCADE', n.nspname, c.relname) AS drop, pg_catalog.obj_description(c.oid, 'pg_class') AS said \
       FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
      WHERE n.nspname = $1 AND c.relkind = 'r' AND c.relname ~ '^k[0-9a-f]{8}_' \
     UNION ALL SELECT pg_catalog.format('DROP SCHEMA %I CASCADE', n.nspname), pg_catalog.obj_description(n.oid, 'pg_namespace') \
       FROM pg_catalog.pg_namespace n WHERE n.nspname ~ ('^' || $4 || 'k[0-9a-f]{8}_')";

/// Removes the kept tables that are older than `before_ms`, those of runs that are `open` left out.
///
/// A kept table has no time of its own, but its comment names the run, and the ledger knows when that run last changed the target. What no
/// row of the ledger speaks of is nobody's any more.
pub async fn sweep_kept(url: &ConnectionUrl, before_ms: i64, open: &[String]) -> Result<u64, Failure> {
    let session = connect(url, "dbd sweep").await?;
    let failed = |error: &Error| query_failed(url, "removing what is no longer kept", error);
    let client = &session.client;
    let there = "SELECT pg_catalog.to_regclass('dbd.ledger') IS NOT NULL";
    if !client.query_one(there, &[]).await.map_err(|error| failed(&error))?.get::<_, bool>(0) {
        return Ok(0);
    }
    client.batch_execute("BEGIN; SET LOCAL lock_timeout = '5s'").await.map_err(|error| failed(&error))?;
    let rows = client
        .query(
            &format!(
                "SELECT k.drop FROM ({KEPT}) k LEFT JOIN (SELECT run_id, max(at) AS at FROM dbd.ledger GROUP BY run_id) l \
                   ON k.said LIKE '%; ' || l.run_id || ', %' \
                 WHERE (l.at IS NULL OR extract(epoch FROM l.at) * 1000 < $2::bigint) \
                   AND NOT EXISTS (SELECT FROM pg_catalog.unnest($3::text[]) o WHERE k.said LIKE '%; ' || o || ', %')"
            ),
            &[&KEEP, &before_ms, &open, &ROOM],
        )
        .await
        .map_err(|error| failed(&error))?;
    for row in &rows {
        client.batch_execute(row.get(0)).await.map_err(|error| failed(&error))?;
    }
    client.batch_execute("COMMIT").await.map_err(|error| failed(&error))?;
    session.close().await;
    Ok(u64::try_from(rows.len()).unwrap_or(0))
}
