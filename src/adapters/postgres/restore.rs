//! Around a restore in place: empty the target first, prove the rows last, all in one transaction.

use super::connect::{NOTICE_DEAD_CLIENTS, connect, look, query_failed};
use super::ledger::{ledger_insert, literal};
use crate::domain::connection::ConnectionUrl;
use crate::domain::event::Loss;
use crate::domain::failure::Failure;
use crate::domain::ids::EffectId;
use crate::ports::database::{Anchor, Holder, RestoreOf, RestoreScript};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use tokio_postgres::Client;

/// Drops everything a dump brings back: what belongs to an extension stays, and so do dbd's own schemas. Extensions younger than the dump go.
const EMPTY: &str = include_str!("empty_target.sql");

/// The SQL around the restore of a dump.
pub fn script(holder: &Holder, effect: &EffectId, anchor: &Anchor, of: &RestoreOf<'_>) -> RestoreScript {
    let RestoreOf { rows, xid, lock_timeout_ms, .. } = of;
    let insert = ledger_insert(holder, effect, anchor, "restore", "restore", "applied", false);
    let mut prologue = format!(
        "{NOTICE_DEAD_CLIENTS}\nSET LOCAL lock_timeout = '{lock_timeout_ms}ms';\nSET LOCAL statement_timeout = 0;\nSET LOCAL client_min_messages = warning;\n\
         DO $dbd$\nDECLARE written bigint;\nBEGIN\n  {insert};\n  GET DIAGNOSTICS written = ROW_COUNT;\n  \
         IF written <> 1 THEN RAISE EXCEPTION 'another process took this target over'; END IF;\nEND\n$dbd$;\n"
    );
    prologue.push_str(&unwritten(of));
    prologue.push_str(&EMPTY.replace("{dump_xid}", &short_xid(xid).to_string()));
    let mut epilogue = String::from("SET LOCAL search_path = pg_catalog;\n");
    let _ = writeln!(
        epilogue,
        "DO $dbd$\nBEGIN\n  IF to_regclass('dbd.migration') IS NOT NULL THEN\n    DELETE FROM dbd.migration WHERE run_id = {run};\n  END IF;\n  \
         IF to_regclass('dbd.applied') IS NOT NULL THEN\n    DELETE FROM dbd.applied WHERE run_id = {run};\n  END IF;\nEND\n$dbd$;",
        run = literal(holder.run.as_str())
    );
    for (table, expected) in *rows {
        // The proof is part of the transaction: if it fails, nothing was restored.
        let _ = writeln!(
            epilogue,
            "DO $dbd$\nDECLARE found bigint;\nBEGIN\n  SELECT count(*) INTO found FROM ONLY {table};\n  IF found <> {expected} THEN\n    \
             RAISE EXCEPTION '% has % rows after the restore, {expected} in the backup', {}, found;\n  END IF;\nEND\n$dbd$;",
            literal(table)
        );
    }
    epilogue.push_str("ANALYZE;\n");
    RestoreScript { prologue, epilogue }
}

/// Locks every table, then makes sure that nobody wrote since it was counted what they wrote: without that a row could slip in between
/// the count and the locks, and be forgotten unseen.
fn unwritten(of: &RestoreOf<'_>) -> String {
    if of.tables.is_empty() {
        return String::new();
    }
    let counted = written_by_others(of.xid, of.known);
    let mut sql = format!("LOCK TABLE ONLY {} IN ACCESS EXCLUSIVE MODE;\n", of.tables.join(", ONLY "));
    sql.push_str("DO $dbd$\nDECLARE found bigint;\nBEGIN\n");
    for table in of.tables {
        let expected = of.written.get(table).copied().unwrap_or(0);
        let _ = writeln!(
            sql,
            "  SELECT count(*) FILTER (WHERE {counted}) INTO found FROM ONLY {table};\n  IF found <> {expected} THEN\n    \
             RAISE EXCEPTION 'rows were written to % while the restore was being prepared', {};\n  END IF;",
            literal(table)
        );
    }
    sql.push_str("END\n$dbd$;\n");
    sql
}

/// Whether a row was written since `xid`, and not by the transactions `known`.
fn written_by_others(xid: &str, known: &[String]) -> String {
    let known: Vec<String> = known.iter().map(|xid| short_xid(xid).to_string()).collect();
    let newer = newer(xid);
    if known.is_empty() {
        return newer;
    }
    format!("{newer} AND xmin::text <> ALL ('{{{}}}'::text[])", known.join(","))
}

/// The 32 bits of a transaction id that rows carry.
fn short_xid(xid: &str) -> u32 {
    #[allow(clippy::cast_possible_truncation)] // PostgreSQL itself compares the low half, modulo its epoch.
    xid.parse::<u64>().map_or(0, |full| full as u32)
}

/// The most transactions that are told apart. A server where more of them ended while one went on would rather count too much as written.
const MOST_SEEN: usize = 10_000;

/// The transactions from `xid` on whose rows the snapshot of `client` sees in `tables`.
///
/// A snapshot's oldest running transaction may belong to another database and be long at it; everything that ended meanwhile is
/// younger, and yet seen. The rows themselves tell, where a list of running transactions does not know of their subtransactions.
pub async fn seen(
    client: &Client,
    tables: impl Iterator<Item = &String>,
    xid: &str,
) -> Result<Vec<String>, tokio_postgres::Error> {
    let newer = newer(xid);
    let mut seen = BTreeSet::new();
    for table in tables {
        let sql = format!("SELECT DISTINCT xmin::text FROM ONLY {table} WHERE {newer} LIMIT {}", MOST_SEEN + 1);
        seen.extend(client.query(&sql, &[]).await?.iter().map(|row| row.get::<_, String>(0)));
        if seen.len() > MOST_SEEN {
            return Ok(Vec::new());
        }
    }
    Ok(seen.into_iter().collect())
}

/// Whether a row was written by a transaction that is not older than `xid`.
pub(super) fn newer(xid: &str) -> String {
    format!("pg_catalog.age(xmin) <= pg_catalog.age('{}'::pg_catalog.xid)", short_xid(xid))
}

/// What a restore would forget.
pub async fn loss(
    url: &ConnectionUrl,
    tables: Vec<String>,
    xid: &str,
    rows: &BTreeMap<String, i64>,
    known: &[String],
) -> Result<Loss, Failure> {
    let session = look(url, "dbd").await?;
    let written = written_by_others(xid, known);
    let mut loss = Loss::default();
    for table in tables {
        let sql = format!("SELECT count(*) FILTER (WHERE {written}), count(*) FROM ONLY {table}");
        let row = session
            .client
            .query_one(&sql, &[])
            .await
            .map_err(|error| query_failed(url, &format!("counting what was written to {table}"), &error))?;
        let (written, all): (i64, i64) = (row.get(0), row.get(1));
        if written > 0 {
            loss.written.insert(table.clone(), written);
        }
        if let Some(before) = rows.get(&table)
            && all - written < *before
        {
            loss.missing.insert(table, before - (all - written));
        }
    }
    session.close().await;
    Ok(loss)
}

/// The schemas a restore leaves standing. The counterpart of the second part of `empty_target.sql`.
pub async fn kept_schemas(url: &ConnectionUrl) -> Result<Vec<String>, Failure> {
    let session = connect(url, "dbd").await?;
    let rows = session
        .client
        .query(
            "SELECT n.nspname::text FROM pg_catalog.pg_namespace n WHERE n.nspname = 'public' OR n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND ( \
               EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_namespace'::regclass AND d.objid = n.oid AND d.deptype = 'e') \
               OR EXISTS (SELECT FROM pg_catalog.pg_depend d \
                 JOIN pg_catalog.pg_depend e ON e.classid = d.classid AND e.objid = d.objid AND e.deptype = 'e' \
                 WHERE d.refclassid = 'pg_catalog.pg_namespace'::regclass AND d.refobjid = n.oid AND d.deptype = 'n'))",
            &[],
        )
        .await
        .map_err(|error| query_failed(url, "looking for schemas of extensions", &error))?;
    session.close().await;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
