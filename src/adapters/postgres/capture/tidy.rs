//! Taking a capture away: from the target, from a copy of it, from the server.

use super::super::connect::{connect, query_failed};
use super::super::ledger::{identifier, literal};
use super::install::{patiently, recorded};
use crate::domain::code::Code;
use crate::domain::connection::ConnectionUrl;
use crate::domain::failure::{Certainty, Failure};
use crate::domain::ids::EffectId;
use crate::ports::boundary::{Boundary, passed};
use crate::ports::capture::{Capture, CaptureOrder, Leftover, Started};
use crate::ports::fence::Fenced;
use std::fmt::Write as _;
use std::time::{Duration, Instant};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

/// How long ended sessions may take to be gone.
const PATIENCE: Duration = Duration::from_secs(30);

/// The statement that gives a table the replica identity it had.
pub(super) fn identity(table: &str, was: &str) -> String {
    let identity = match was {
        "d" => "DEFAULT".to_owned(),
        "n" => "NOTHING".to_owned(),
        "f" => "FULL".to_owned(),
        index => format!("USING INDEX {}", identifier(index.trim_start_matches("i "))),
    };
    format!("ALTER TABLE {table} REPLICA IDENTITY {identity};\n")
}

/// Drops a database and whoever is in it.
pub(super) async fn drop_database(url: &ConnectionUrl, office: &Client, name: &str) -> Result<(), Failure> {
    let failed = |error: tokio_postgres::Error| query_failed(url, &format!("dropping the database {name}"), &error);
    // A statement of its own: it cannot be part of a transaction.
    office.batch_execute("SET client_min_messages = warning").await.map_err(failed)?;
    let drop = format!("DROP DATABASE IF EXISTS {}", identifier(name));
    match office.batch_execute(&format!("{drop} WITH (FORCE)")).await {
        // Only a superuser may force an autovacuum worker out; without FORCE the server sends it away by itself.
        Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
            office.batch_execute(&drop).await.map_err(failed)
        }
        dropped => dropped.map_err(failed),
    }
}

/// Takes away everything that belongs to `capture`, in an order in which a second try finds what is left.
pub(super) async fn end(order: &CaptureOrder<'_>) -> Result<(), Failure> {
    let (url, capture) = (order.url, order.capture);
    let name = order.effect.application_name();
    let office = connect(&url.with_database(&capture.maintenance), &name).await?;
    // First what costs most if it stays: a slot makes the server keep its log.
    drop_slot(url, &office.client, capture).await?;
    drop_database(url, &office.client, &capture.shadow()).await?;
    passed(Boundary::CaptureHalfEnded, "");
    let target = connect(url, &name).await?;
    remove(url, &target.client, capture).await?;
    let sql = "SET client_min_messages = warning; DROP SCHEMA IF EXISTS dbd_shadow CASCADE";
    target
        .client
        .batch_execute(sql)
        .await
        .map_err(|error| query_failed(url, "removing what the shadow knew", &error))?;
    target.close().await;
    office.close().await;
    Ok(())
}

/// Takes whatever capture is installed in a target away: one that was left by another run, to begin with.
pub(super) async fn end_any(url: &ConnectionUrl, effect: &EffectId) -> Result<(), Failure> {
    let session = connect(url, &effect.application_name()).await?;
    let found = recorded(&session.client).await.map_err(|error| query_failed(url, "reading the capture", &error))?;
    session.close().await;
    match found {
        Some((capture, _)) => end(&CaptureOrder { url, capture: &capture, effect }).await,
        None => Ok(()),
    }
}

/// Drops the slot, which may be in somebody's hands for a moment still.
pub(super) async fn drop_slot(url: &ConnectionUrl, client: &Client, capture: &Capture) -> Result<(), Failure> {
    let begun = Instant::now();
    loop {
        let sql = "SELECT pg_catalog.pg_terminate_backend(active_pid) FROM pg_catalog.pg_replication_slots \
             WHERE slot_name = $1 AND active_pid IS NOT NULL";
        let _ = client.query(sql, &[&capture.slot()]).await;
        let sql = "SELECT pg_catalog.pg_drop_replication_slot(slot_name) FROM pg_catalog.pg_replication_slots WHERE slot_name = $1";
        match client.query(sql, &[&capture.slot()]).await {
            Ok(_) => return Ok(()),
            Err(error) if error.code() == Some(&SqlState::OBJECT_IN_USE) && begun.elapsed() < PATIENCE => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => return Err(query_failed(url, "dropping the replication slot", &error)),
        }
    }
}

/// Takes the capture out of the database it is installed in.
async fn remove(url: &ConnectionUrl, client: &Client, capture: &Capture) -> Result<(), Failure> {
    let failed = |error: tokio_postgres::Error| query_failed(url, "taking the capture away", &error);
    client.batch_execute("SET client_min_messages = warning").await.map_err(failed)?;
    let publication = format!("DROP PUBLICATION IF EXISTS {}", identifier(&capture.publication()));
    patiently(url, client, &publication, "dropping the publication").await?;
    let rows = client
        .query(
            "SELECT t.tgrelid::regclass::text, t.tgname::text FROM pg_catalog.pg_trigger t \
             WHERE t.tgname IN ('!dbd_capture', '!dbd_truncate', '!dbd_migrated') AND NOT t.tgisinternal ORDER BY 1",
            &[],
        )
        .await
        .map_err(failed)?;
    for row in &rows {
        let (table, trigger): (String, String) = (row.get(0), row.get(1));
        let sql = format!("DROP TRIGGER IF EXISTS {} ON {table}", identifier(&trigger));
        patiently(url, client, &sql, &format!("taking the triggers off {table}")).await?;
    }
    let Some((_, _)) = recorded(client).await.map_err(failed)? else {
        return client.batch_execute("DROP SCHEMA IF EXISTS dbd_capture CASCADE").await.map_err(failed);
    };
    // What is left as it was needs no change; what the migration set since is the migration's.
    let rows = client
        .query(
            "SELECT c.oid::regclass::text, p.identity FROM dbd_capture.protected p JOIN pg_catalog.pg_class c ON c.oid = p.rel \
             WHERE p.kind = 'r' AND p.identity <> 'f' AND c.relreplident = 'f' \
               AND EXISTS (SELECT FROM dbd_capture.run WHERE capture ->> 'way' = 'slot') \
             UNION ALL SELECT c.oid::regclass::text, 'd' FROM dbd_capture.alias a JOIN pg_catalog.pg_class c ON c.oid = a.rel \
             WHERE c.relreplident = 'f' AND NOT EXISTS (SELECT FROM dbd_capture.protected p WHERE p.rel = a.rel) \
               AND EXISTS (SELECT FROM dbd_capture.run WHERE capture ->> 'way' = 'slot') ORDER BY 1",
            &[],
        )
        .await
        .map_err(failed)?;
    for row in &rows {
        let (table, was): (String, String) = (row.get(0), row.get(1));
        patiently(
            url,
            client,
            identity(&table, &was).trim_end_matches(";\n"),
            &format!("giving {table} its identity back"),
        )
        .await?;
    }
    passed(Boundary::CaptureHalfEnded, "");
    client.batch_execute("DROP SCHEMA IF EXISTS dbd_capture CASCADE").await.map_err(failed)
}

/// Takes a capture's traces out of a copy.
pub(super) async fn strip(copy: &ConnectionUrl, started: &Started) -> Result<(), Failure> {
    let session = connect(copy, "dbd").await?;
    let client = &session.client;
    let failed = |error: tokio_postgres::Error| query_failed(copy, "taking the capture out of the copy", &error);
    let triggers = "SELECT pg_catalog.format('DROP TRIGGER %I ON %s;', t.tgname, t.tgrelid::regclass) FROM pg_catalog.pg_trigger t \
         WHERE t.tgname IN ('!dbd_capture', '!dbd_truncate', '!dbd_migrated') AND NOT t.tgisinternal \
         UNION ALL SELECT pg_catalog.format('DROP PUBLICATION %I;', pubname) FROM pg_catalog.pg_publication WHERE pubname ~ '^dbd_'";
    let mut sql = String::from("SET client_min_messages = warning;\n");
    for row in client.query(triggers, &[]).await.map_err(failed)? {
        let _ = writeln!(sql, "{}", row.get::<_, String>(0));
    }
    sql.push_str("DROP SCHEMA IF EXISTS dbd_capture CASCADE;\n");
    for (table, was) in &started.identities {
        let there =
            client.query_one("SELECT pg_catalog.to_regclass($1) IS NOT NULL", &[table]).await.map_err(failed)?;
        if there.get(0) {
            sql.push_str(&identity(table, was));
        }
    }
    client.batch_execute(&sql).await.map_err(failed)?;
    session.close().await;
    Ok(())
}

/// Ends the sessions of `effect`, in whichever database they are.
pub(super) async fn fence(url: &ConnectionUrl, capture: &Capture, effect: &EffectId) -> Result<Fenced, Failure> {
    let office = connect(&url.with_database(&capture.maintenance), "dbd fence").await?;
    let name = effect.application_name();
    let failed = |error: tokio_postgres::Error| {
        query_failed(url, "ending the sessions of an earlier process", &error).certainty(Certainty::Transient)
    };
    let begun = Instant::now();
    let mut ended = 0_i64;
    loop {
        let sql = "SELECT count(*), count(*) FILTER (WHERE pg_catalog.pg_terminate_backend(pid)) FROM pg_catalog.pg_stat_activity \
             WHERE application_name = $1 AND pid <> pg_catalog.pg_backend_pid()";
        let left: i64 = office.client.query_one(sql, &[&name]).await.map_err(failed)?.get(0);
        if left == 0 {
            break;
        }
        ended = ended.max(left);
        if begun.elapsed() > PATIENCE {
            return Err(Failure::new(
                Code::InDoubt,
                format!("sessions named `{name}` on {} will not end", url.place()),
            )
            .certainty(Certainty::Transient)
            .hint("ask a superuser to end them with pg_terminate_backend, then resume"));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    office.close().await;
    passed(Boundary::SessionsEnded, "");
    Ok(Fenced::after(
        effect.clone(),
        format!("{ended} sessions named {name} ended, in whichever database, none is left"),
    ))
}

/// What captures left on this server.
pub(super) async fn leftovers(url: &ConnectionUrl) -> Result<Vec<Leftover>, Failure> {
    let session = connect(url, "dbd").await?;
    let client = &session.client;
    let failed = |error: tokio_postgres::Error| query_failed(url, "looking for what captures left", &error);
    let found = recorded(client).await.map_err(failed)?;
    let run = found.as_ref().map(|(capture, _)| capture.run.clone());
    let mut left = Vec::new();
    let slots = client
        .query(
            "SELECT slot_name::text, COALESCE(pg_catalog.pg_size_pretty(pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), restart_lsn)), 'no') \
             FROM pg_catalog.pg_replication_slots WHERE slot_name ~ '^dbd_[a-z0-9]{10}$' AND database = pg_catalog.current_database()",
            &[],
        )
        .await
        .map_err(failed)?;
    for row in &slots {
        let kept: String = row.get(1);
        let cost = format!("the server keeps {kept} of its log for it");
        left.push(Leftover { kind: "slot", name: row.get(0), run: run.clone(), cost });
    }
    let triggers = client
        .query_one("SELECT count(*) FROM pg_catalog.pg_trigger WHERE tgname = '!dbd_capture' AND NOT tgisinternal", &[])
        .await
        .map_err(failed)?;
    let count: i64 = triggers.get(0);
    if count > 0 {
        let cost = format!("every write to {count} tables is written down");
        left.push(Leftover { kind: "triggers", name: "!dbd_capture".to_owned(), run: run.clone(), cost });
    }
    let pattern = format!("{}__dbd_", url.database());
    let databases = client
        .query(
            "SELECT datname::text, CASE WHEN datname ~ '__dbd_s_' THEN 'shadow' ELSE 'failed database' END \
             FROM pg_catalog.pg_database WHERE pg_catalog.starts_with(datname, $1) AND datname ~ '__dbd_[sx]_[a-z0-9]{10}$' ORDER BY 1",
            &[&pattern],
        )
        .await
        .map_err(failed)?;
    for row in &databases {
        let kind = if row.get::<_, &str>(1) == "shadow" { "shadow" } else { "failed database" };
        left.push(Leftover {
            kind,
            name: row.get(0),
            run: run.clone(),
            cost: "a whole copy on the server's disk".to_owned(),
        });
    }
    session.close().await;
    Ok(left)
}

/// Drops the database that was gone back from.
pub(super) async fn forget(order: &CaptureOrder<'_>) -> Result<(), Failure> {
    let office =
        connect(&order.url.with_database(&order.capture.maintenance), &order.effect.application_name()).await?;
    drop_database(order.url, &office.client, &order.capture.failed()).await?;
    office.close().await;
    Ok(())
}

/// How much WAL the slot keeps; none if there is no slot.
pub(super) async fn kept(client: &Client, capture: &Capture) -> Result<Option<u64>, tokio_postgres::Error> {
    let sql = format!(
        "SELECT COALESCE(pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), restart_lsn), 0)::bigint, COALESCE(wal_status, '') \
         FROM pg_catalog.pg_replication_slots WHERE slot_name = {}",
        literal(&capture.slot())
    );
    let row = client.query_opt(&sql, &[]).await?;
    Ok(row.filter(|row| row.get::<_, &str>(1) != "lost").map(|row| u64::try_from(row.get::<_, i64>(0)).unwrap_or(0)))
}
