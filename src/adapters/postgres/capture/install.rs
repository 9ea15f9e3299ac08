//! Beginning to capture, and the moment the shadow begins from.

use super::super::catalog::{Exclude, read_catalog, row_counts};
use super::super::connect::{Session, connect, query_failed};
use super::super::data::{content, same_text_for_the_session};
use super::super::ledger::{BATCH, LEDGER, identifier, literal};
use super::super::restore;
use super::facts::CAPTURED;
use crate::domain::code::Code;
use crate::domain::connection::ConnectionUrl;
use crate::domain::failure::{Certainty, Failure};
use crate::domain::schema::data::Comparable;
use crate::ports::capture::{Base, Capture, CaptureOrder, Started, Way};
use crate::ports::database::{Contents, Snapshot};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

const INSTALL: &str = include_str!("install.sql");

/// How long one try for a table's lock keeps others waiting behind it.
const LOCK_TIMEOUT: &str = "200ms";

/// How long tries for one table go on.
const LOCK_PATIENCE: Duration = Duration::from_secs(30);

/// How long transactions that were open when the capture began may stay open.
const SNAPSHOT_PATIENCE: Duration = Duration::from_secs(60);

/// Installs the capture. Whatever an earlier one left must be gone.
pub(super) async fn start(order: &CaptureOrder<'_>) -> Result<Started, Failure> {
    let (url, capture) = (order.url, order.capture);
    let failed = |what: &'static str| move |error: tokio_postgres::Error| query_failed(url, what, &error);
    let session = connect(url, &order.effect.application_name()).await?;
    let client = &session.client;
    client.batch_execute("SET client_min_messages = warning").await.map_err(failed("setting up the session"))?;
    // The ledger is published: a transaction that wrote into it is dbd's own.
    let install = format!(
        "BEGIN; {LEDGER}; {BATCH}; {INSTALL}; \
         INSERT INTO dbd_capture.run (run_id, capture) VALUES ({}, {}); \
         INSERT INTO dbd_capture.protected \
           SELECT row_number() OVER (ORDER BY c.oid), pg_catalog.format('%I.%I', n.nspname, c.relname), c.oid, c.relkind, \
             CASE WHEN c.relreplident = 'i' THEN (SELECT 'i ' || ic.relname FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid \
                    WHERE i.indrelid = c.oid AND i.indisreplident) ELSE c.relreplident::text END, \
             COALESCE((SELECT pg_catalog.jsonb_object_agg(a.attnum, a.attname) FROM pg_catalog.pg_attribute a \
               WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '{{}}'), \
             COALESCE((SELECT pg_catalog.jsonb_agg(a.attname) FROM pg_catalog.pg_attribute a \
               WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated <> ''), '[]'), \
             COALESCE((SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod)) ORDER BY a.attnum) \
               FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '[]'), \
             (SELECT pg_catalog.jsonb_agg(a.attname ORDER BY k.at) FROM pg_catalog.unnest(( \
                SELECT (i.indkey::int2[])[0:i.indnkeyatts - 1] FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indimmediate \
                  AND i.indpred IS NULL AND i.indexprs IS NULL AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a \
                    WHERE a.attrelid = c.oid AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1]) AND NOT a.attnotnull) \
                ORDER BY i.indisprimary DESC, i.indexrelid LIMIT 1)) WITH ORDINALITY k (attnum, at) \
              JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum) \
           FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') AND {CAPTURED}; \
         INSERT INTO dbd_capture.alias SELECT rel, id FROM dbd_capture.protected WHERE kind = 'r'; \
         INSERT INTO dbd_capture.sequence SELECT c.oid, pg_catalog.format('%I.%I', n.nspname, c.relname) \
           FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'S' AND {CAPTURED}; \
         COMMIT",
        literal(capture.run.as_str()),
        literal(&described(capture)?),
    );
    client.batch_execute(&install).await.map_err(failed("installing the capture"))?;
    let tables = protected(client).await.map_err(failed("reading the tables"))?;
    for (rel, name, ..) in &tables {
        watch(url, client, *rel, name).await?;
    }
    let mut started =
        Started { tables: tables.iter().map(|(_, name, _)| name.clone()).collect(), ..Started::default() };
    if capture.way == Way::Slot {
        started.identities =
            tables.iter().filter(|table| table.2 != "f").map(|(_, name, was)| (name.clone(), was.clone())).collect();
        let names: Vec<&str> = tables.iter().map(|(_, name, _)| name.as_str()).collect();
        publish(url, client, capture, &names).await?;
    }
    client.batch_execute("SELECT dbd_capture.cover()").await.map_err(failed("reading the tables' shapes"))?;
    if capture.way == Way::Slot {
        // Waits until every transaction that is open now is over.
        let sql = "SELECT lsn::text FROM pg_catalog.pg_create_logical_replication_slot($1, 'pgoutput')";
        let made = client.query_one(sql, &[&capture.slot()]).await;
        made.map_err(failed("making the replication slot"))?;
    }
    let text = serde_json::to_string(&started).map_err(|error| bug(&error))?;
    client
        .execute("UPDATE dbd_capture.run SET started = $1::text::jsonb", &[&text])
        .await
        .map_err(failed("noting the capture"))?;
    session.close().await;
    Ok(started)
}

pub(super) fn bug(error: &serde_json::Error) -> Failure {
    Failure::new(Code::Bug, "what a capture keeps cannot be written as JSON").source(error)
}

fn described(capture: &Capture) -> Result<String, Failure> {
    let mut value = serde_json::to_value(capture).map_err(|error| bug(&error))?;
    value["slot"] = capture.slot().into();
    Ok(value.to_string())
}

/// The captured tables: relation, name, replica identity before.
async fn protected(client: &Client) -> Result<Vec<(u32, String, String)>, tokio_postgres::Error> {
    let rows = client
        .query("SELECT rel, name, identity FROM dbd_capture.protected WHERE kind = 'r' ORDER BY name", &[])
        .await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect())
}

/// Begins to capture one table, in a short transaction of its own: nobody waits long behind it.
async fn watch(url: &ConnectionUrl, client: &Client, rel: u32, name: &str) -> Result<(), Failure> {
    patiently(url, client, &format!("SELECT dbd_capture.watch({rel})"), &format!("beginning to capture {name}")).await
}

/// Runs a statement that takes a lock, again and again with a short wait, so that nobody waits long behind it.
pub(super) async fn patiently(url: &ConnectionUrl, client: &Client, sql: &str, what: &str) -> Result<(), Failure> {
    let begun = Instant::now();
    let mut wait = Duration::from_millis(20);
    loop {
        let tried =
            client.batch_execute(&format!("BEGIN; SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'; {sql}; COMMIT")).await;
        let Err(error) = tried else { return Ok(()) };
        let _ = client.batch_execute("ROLLBACK").await;
        let contention = [SqlState::LOCK_NOT_AVAILABLE, SqlState::T_R_DEADLOCK_DETECTED];
        if !error.code().is_some_and(|code| contention.contains(code)) || begun.elapsed() > LOCK_PATIENCE {
            return Err(query_failed(url, what, &error));
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_millis(500));
    }
}

async fn publish(url: &ConnectionUrl, client: &Client, capture: &Capture, tables: &[&str]) -> Result<(), Failure> {
    let own = ["dbd_capture.shape", "dbd_capture.marker", "dbd_capture.modified", "dbd.ledger", "dbd.batch"];
    // No column lists: they would keep a migration from dropping the column. Not all tables: it would take a superuser.
    let all: Vec<String> = own.iter().chain(tables).map(|name| format!("ONLY {name}")).collect();
    let sql = format!("CREATE PUBLICATION {} FOR TABLE {}", identifier(&capture.publication()), all.join(", "));
    patiently(url, client, &sql, "publishing the tables").await
}

/// What `start` left, if it came to its end and is this capture's.
pub(super) async fn started(url: &ConnectionUrl, capture: &Capture) -> Result<Option<Started>, Failure> {
    let session = connect(url, "dbd").await?;
    let found = recorded(&session.client).await.map_err(|error| query_failed(url, "reading the capture", &error))?;
    session.close().await;
    let Some((there, started)) = found else { return Ok(None) };
    Ok(started.filter(|_| there == *capture))
}

/// The capture that is installed in a database.
pub(super) async fn recorded(client: &Client) -> Result<Option<(Capture, Option<Started>)>, tokio_postgres::Error> {
    let there: bool =
        client.query_one("SELECT pg_catalog.to_regclass('dbd_capture.run') IS NOT NULL", &[]).await?.get(0);
    if !there {
        return Ok(None);
    }
    let row = client.query_opt("SELECT capture::text, started::text FROM dbd_capture.run", &[]).await?;
    Ok(row.and_then(|row| {
        let started: Option<String> = row.get(1);
        let capture = serde_json::from_str(row.get(0)).ok()?;
        Some((capture, started.and_then(|text| serde_json::from_str(&text).ok())))
    }))
}

/// The snapshot the dump is taken at.
pub(super) async fn base(order: &CaptureOrder<'_>, exclude: &Exclude) -> Result<Base, Failure> {
    let url = order.url;
    let failed = |error: tokio_postgres::Error| query_failed(url, "taking the snapshot of the base", &error);
    let session = connect(url, &order.effect.application_name()).await?;
    let client = &session.client;
    // A commit may stand in the log before the slot and not be seen yet, as long as it waits for a standby.
    let horizon = "SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text";
    let horizon: String = client.query_one(horizon, &[]).await.map_err(failed)?.get(0);
    let passed = format!(
        "SELECT pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot()) >= {}::pg_catalog.xid8",
        literal(&horizon)
    );
    let begun = Instant::now();
    while order.capture.way == Way::Slot && !client.query_one(&passed, &[]).await.map_err(failed)?.get::<_, bool>(0) {
        if begun.elapsed() > SNAPSHOT_PATIENCE {
            return Err(Failure::new(
                Code::LockTimeout,
                format!("{}: a transaction has been open for more than {SNAPSHOT_PATIENCE:?}", url.place()),
            )
            .certainty(Certainty::Transient)
            .hint("end it, or wait until it is over: pg_stat_activity names it"));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let names: Vec<String> = protected(client).await.map_err(failed)?.into_iter().map(|(_, name, _)| name).collect();
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        // Before the snapshot: neither TRUNCATE nor a rewrite heeds one that is older.
        let lock = if names.is_empty() {
            String::new()
        } else {
            format!("LOCK TABLE ONLY {} IN ACCESS SHARE MODE", names.join(", ONLY "))
        };
        let begin = format!(
            "{}; SET idle_in_transaction_session_timeout = 0; \
             BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL lock_timeout = '2s'; {lock}",
            same_text_for_the_session()
        );
        let Err(error) = client.batch_execute(&begin).await else { break };
        let _ = client.batch_execute("ROLLBACK").await;
        if error.code() != Some(&SqlState::LOCK_NOT_AVAILABLE) || Instant::now() > deadline {
            return Err(failed(error));
        }
    }
    let row = client
        .query_one(
            "SELECT pg_catalog.pg_export_snapshot(), pg_catalog.pg_current_snapshot()::text, \
               pg_catalog.txid_snapshot_xmin(pg_catalog.txid_current_snapshot())::text",
            &[],
        )
        .await
        .map_err(failed)?;
    let (name, seen, xid): (String, String, String) = (row.get(0), row.get(1), row.get(2));
    let catalog = read_catalog(client, exclude).await.map_err(failed)?;
    let rows = row_counts(client, exclude).await.map_err(failed)?;
    let seen_since = restore::seen(client, rows.keys(), &xid).await.map_err(failed)?;
    let contents = contents(&session, url).await?;
    Ok(Base {
        snapshot: Snapshot { name: Some(name), catalog, rows, xid, seen: seen_since, hold: Box::new(session) },
        seen,
        contents,
    })
}

/// The rows of every captured table, in the transaction that is open.
async fn contents(session: &Session, url: &ConnectionUrl) -> Result<Contents, Failure> {
    let failed = |error: tokio_postgres::Error| query_failed(url, "reading the rows of the base", &error);
    let rows = session
        .client
        .query("SELECT name, types::text FROM dbd_capture.protected WHERE kind = 'r' ORDER BY name", &[])
        .await
        .map_err(failed)?;
    let mut tables = BTreeMap::new();
    for row in rows {
        let types: Vec<(String, String)> = serde_json::from_str(row.get(1)).map_err(|error| bug(&error))?;
        tables.insert(row.get::<_, String>(0), types.into_iter().map(|(name, _)| name).collect::<Vec<_>>());
    }
    hashes(&session.client, &tables).await.map_err(failed)
}

/// How many rows each table has, and the sum of their hashes.
pub(super) async fn hashes(
    client: &Client,
    tables: &BTreeMap<String, Vec<String>>,
) -> Result<Contents, tokio_postgres::Error> {
    let mut contents = Contents::new();
    for (table, columns) in tables {
        let one = Comparable {
            table: table.clone(),
            columns: columns.iter().map(|name| identifier(name)).collect(),
            columns_left_out: 0,
            key: Vec::new(),
        };
        let row = client.query_one(&content(&one), &[]).await?;
        contents.insert(table.clone(), (row.get(0), row.get(1)));
    }
    Ok(contents)
}
