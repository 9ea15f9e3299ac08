//! dbd's own schema inside a target: the lease, the ledger, the fence and the probe.

use super::connect::{Session, connect, look, lost, query_failed};
use crate::domain::code::Code;
use crate::domain::connection::ConnectionUrl;
use crate::domain::failure::{Certainty, Failure};
use crate::domain::ids::EffectId;
use crate::domain::ledger::LedgerRow;
use crate::domain::migration::{AloneProbe, ProofsIn, Tracking, UnitMode};
use crate::domain::plan::PlanStep;
use crate::domain::sql::summary;
use crate::ports::boundary::{Boundary, passed};
use crate::ports::database::{Anchor, Hold, Holder, ProbeOrder, Standing};
use crate::ports::fence::Fenced;
use std::time::Duration;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, SimpleQueryMessage};

/// dbd's schema with what every deployment needs of it, harmless to repeat. Each table is a few files that the server makes durable one by one: the
/// others are made where they are used.
pub(super) const LEDGER: &str = include_str!("../../../migrations/ledger/0001_ledger.sql");

/// Where the proofs of what was applied are kept, unless the tracking table has a place for them. Harmless to repeat.
pub(super) const APPLIED: &str = include_str!("../../../migrations/ledger/0002_applied.sql");

/// Where statements that run in batches note how far they came. Harmless to repeat.
pub(super) const BATCH: &str = include_str!("../../../migrations/ledger/0003_batch.sql");

/// Makes the tables in which dbd and the tool keep track of migrations; harmless to repeat.
pub(super) fn tracking_sql(tracking: &Tracking) -> String {
    let applied = if tracking.proofs == ProofsIn::Within { "" } else { APPLIED };
    format!("{applied}\n{}", tracking.create)
}

/// How long a session that was opened earlier is given to answer before another one is asked.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);

/// How long the fence waits for a terminated session to be gone.
const FENCE_PATIENCE: Duration = Duration::from_secs(30);

/// A literal for SQL that is put together as text.
pub fn literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if text.contains('\\') { format!(" E'{}'", doubled.replace('\\', "\\\\")) } else { format!("'{doubled}'") }
}

/// An identifier for SQL that is put together as text.
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The row that goes into the ledger first. Nothing is inserted, and so no row counted, unless the lease is still ours.
pub fn ledger_insert(
    holder: &Holder,
    effect: &EffectId,
    anchor: &Anchor,
    step: &str,
    digest: &str,
    phase: &str,
    again: bool,
) -> String {
    format!(
        "INSERT INTO dbd.ledger (effect_id, phase, run_id, step, digest, origin, seq, hash, token) \
         SELECT {effect}, {phase}, {run}, {step}, {digest}, {origin}, {seq}, {hash}, {token} \
         FROM dbd.lease WHERE token = {token}{lock}{again}",
        effect = literal(effect.as_str()),
        phase = literal(phase),
        run = literal(holder.run.as_str()),
        step = literal(step),
        digest = literal(digest),
        origin = literal(&anchor.origin),
        seq = anchor.seq,
        hash = literal(&anchor.hash),
        token = literal(&holder.token),
        lock = " FOR SHARE",
        again = if again { " ON CONFLICT DO NOTHING" } else { "" },
    )
}

/// As [`ledger_insert`], for a transaction whose next statements are sent without waiting for the answer: without the lease it fails, and
/// takes all of them with it. Gives the transaction's id.
pub fn ledger_row(
    holder: &Holder,
    effect: &EffectId,
    anchor: &Anchor,
    step: &str,
    digest: &str,
    phase: &str,
) -> String {
    format!(
        "INSERT INTO dbd.ledger (effect_id, phase, run_id, step, digest, origin, seq, hash, token) \
         VALUES ({effect}, {phase}, {run}, {step}, {digest}, {origin}, {seq}, {hash}, \
         (SELECT token FROM dbd.lease WHERE token = {token} FOR SHARE)) RETURNING xid",
        effect = literal(effect.as_str()),
        phase = literal(phase),
        run = literal(holder.run.as_str()),
        step = literal(step),
        digest = literal(digest),
        origin = literal(&anchor.origin),
        seq = anchor.seq,
        hash = literal(&anchor.hash),
        token = literal(&holder.token),
    )
}

/// Whether [`ledger_row`] found no lease of ours: the row would have no token.
pub fn is_superseded(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|server| {
        server.code() == &SqlState::NOT_NULL_VIOLATION
            && (server.schema(), server.table(), server.column()) == (Some("dbd"), Some("ledger"), Some("token"))
    })
}

/// What a holder that lost its lease is told.
pub fn superseded(holder: &Holder) -> Failure {
    Failure::new(
        Code::LostOwnership,
        format!("{}: another process took this target over, nothing was changed", holder.run),
    )
    .hint(format!("`dbd status {}` says who holds it", holder.run))
}

/// As [`superseded`], naming who has the lease now, if that can be read.
async fn superseded_by(client: &Client, holder: &Holder) -> Failure {
    let failure = superseded(holder);
    match client.query_opt("SELECT owner, run_id, since::text FROM dbd.lease", &[]).await {
        Ok(Some(row)) => {
            let (owner, run, since): (String, String, String) = (row.get(0), row.get(1), row.get(2));
            failure.cause(format!("the lease is held by {owner} for {run} since {since}"))
        }
        _ => failure,
    }
}

/// Installs the schema and writes the lease; gives the session it did that in.
pub async fn prepare(url: &ConnectionUrl, tracking: Option<&Tracking>, holder: &Holder) -> Result<Session, Failure> {
    let session = connect(url, &format!("dbd prepare {}", holder.run)).await?;
    let failed = |error: &tokio_postgres::Error| query_failed(url, "installing dbd's bookkeeping", error);
    // In one journey. Two first deployments at once would both find nothing there.
    let begin = "SET client_min_messages = warning; SET lock_timeout = '5s'; \
                 BEGIN; SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('dbd prepare')::bigint);";
    let create = tracking.map_or_else(String::new, tracking_sql);
    let everything = format!("{begin}\n{LEDGER}\n{create}");
    session.client.batch_execute(&everything).await.map_err(|error| failed(&error))?;
    if !write_lease(&session.client, holder).await.map_err(|error| failed(&error))? {
        return Err(superseded_by(&session.client, holder).await);
    }
    passed(Boundary::PrepareOpen, "");
    session.client.batch_execute("COMMIT").await.map_err(|error| failed(&error))?;
    passed(Boundary::Prepared, "");
    Ok(session)
}

/// Writes the lease alone.
pub async fn take_lease(url: &ConnectionUrl, holder: &Holder) -> Result<(), Failure> {
    let session = connect(url, &format!("dbd lease {}", holder.run)).await?;
    let failed = |error: &tokio_postgres::Error| query_failed(url, "taking the lease", error);
    session.client.batch_execute("SET lock_timeout = '10s'").await.map_err(|error| failed(&error))?;
    if !write_lease(&session.client, holder).await.map_err(|error| failed(&error))? {
        return Err(superseded_by(&session.client, holder).await);
    }
    passed(Boundary::LeaseWritten, "");
    session.close().await;
    Ok(())
}

/// Whether the lease is still `holder`'s.
///
/// # Errors
/// [`Code::LostOwnership`], naming who has it now, if it is not; those of the connection.
pub async fn check_lease(url: &ConnectionUrl, hold: Option<&Hold>, holder: &Holder) -> Result<(), Failure> {
    let held = hold.and_then(|hold| hold.session.downcast_ref::<Session>());
    if let Some(Session { client, .. }) = held {
        // A session that was lost, or hangs at a connection that is gone, says nothing about the lease.
        match tokio::time::timeout(ANSWER_PATIENCE, lease_is_held(client, holder)).await {
            Ok(Ok(true)) => return Ok(()),
            Ok(Ok(false)) => return Err(superseded_by(client, holder).await),
            Ok(Err(_)) | Err(_) => {}
        }
    }
    let session = connect(url, &format!("dbd lease {}", holder.run)).await?;
    let mine =
        lease_is_held(&session.client, holder).await.map_err(|error| query_failed(url, "reading the lease", &error))?;
    if !mine {
        return Err(superseded_by(&session.client, holder).await);
    }
    session.close().await;
    Ok(())
}

/// Whether the lease is the holder's, in one journey there and back.
pub async fn lease_is_held(client: &Client, holder: &Holder) -> Result<bool, tokio_postgres::Error> {
    let sql = format!("SELECT FROM dbd.lease WHERE token = {}", literal(&holder.token));
    let messages = client.simple_query(&sql).await?;
    Ok(messages.iter().any(|message| matches!(message, SimpleQueryMessage::Row(_))))
}

/// Writes the lease, unless a process that came later has it; says whether it did.
///
/// Epochs count the take-overs of one journal, so those of another journal say nothing about ours. The same epoch under another token
/// is a copy of our journal that went its own way: whoever came first stays.
async fn write_lease(client: &Client, holder: &Holder) -> Result<bool, tokio_postgres::Error> {
    let rows = client
        .execute(
            "INSERT INTO dbd.lease AS held (id, token, run_id, owner) VALUES (1, $1, $2, $3) \
             ON CONFLICT (id) DO UPDATE SET token = EXCLUDED.token, run_id = EXCLUDED.run_id, owner = EXCLUDED.owner, since = clock_timestamp() \
             WHERE held.token = EXCLUDED.token OR CASE WHEN pg_catalog.left(held.token, pg_catalog.length($4)) = $4 \
               THEN pg_catalog.substring(held.token, pg_catalog.length($4) + 1) ~ '^[0-9]+(@|$)' AND \
                 pg_catalog.split_part(pg_catalog.substring(held.token, pg_catalog.length($4) + 1), '@', 1)::bigint < $5 \
               ELSE true END",
            &[
                &holder.token,
                &holder.run.as_str(),
                &holder.owner,
                &holder.prefix(),
                &i64::try_from(holder.epoch).unwrap_or(i64::MAX),
            ],
        )
        .await?;
    Ok(rows > 0)
}

/// Runs bookkeeping statements in one transaction, if the lease is still ours.
pub async fn record(url: &ConnectionUrl, holder: &Holder, statements: &[String]) -> Result<(), Failure> {
    let session = connect(url, &format!("dbd record {}", holder.run)).await?;
    let failed = |error: &tokio_postgres::Error| query_failed(url, "recording migrations", error);
    let client = &session.client;
    client.batch_execute("BEGIN; SET LOCAL lock_timeout = '10s'").await.map_err(|error| failed(&error))?;
    let mine = client
        .query_opt("SELECT 1 FROM dbd.lease WHERE token = $1 FOR SHARE", &[&holder.token])
        .await
        .map_err(|error| failed(&error))?;
    if mine.is_none() {
        return Err(superseded(holder));
    }
    for sql in statements {
        client.batch_execute(sql).await.map_err(|error| failed(&error))?;
    }
    client.batch_execute("COMMIT").await.map_err(|error| failed(&error))?;
    session.close().await;
    Ok(())
}

/// Whether the schema is there.
pub async fn is_prepared(url: &ConnectionUrl) -> Result<bool, Failure> {
    let session = connect(url, "dbd").await?;
    let row = session
        .client
        .query_one("SELECT pg_catalog.to_regclass('dbd.lease') IS NOT NULL AND pg_catalog.to_regclass('dbd.ledger') IS NOT NULL", &[])
        .await
        .map_err(|error| query_failed(url, "looking for dbd's bookkeeping", &error))?;
    session.close().await;
    Ok(row.get(0))
}

/// Ends the sessions of `effect` and waits until they are gone: a client that was killed leaves its backend at work.
pub async fn fence(url: &ConnectionUrl, effect: &EffectId) -> Result<Fenced, Failure> {
    let session = connect(url, "dbd fence").await?;
    let name = effect.application_name();
    let failed = |error: &tokio_postgres::Error| {
        query_failed(url, "ending the sessions of an earlier process", error).certainty(Certainty::Transient)
    };
    let deadline = tokio::time::Instant::now() + FENCE_PATIENCE;
    let sessions = |count: i64| if count == 1 { "1 session".to_owned() } else { format!("{count} sessions") };
    let mut ended = 0_i64;
    let mut wait = Duration::from_millis(5);
    loop {
        let row = session
            .client
            .query_one(
                "SELECT count(*), count(*) FILTER (WHERE pg_catalog.pg_terminate_backend(pid)) FROM pg_catalog.pg_stat_activity \
                 WHERE datname = pg_catalog.current_database() AND pid <> pg_catalog.pg_backend_pid() AND (application_name = $1 OR pid IN ( \
                   SELECT pid FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 2 \
                   AND classid::bigint = (pg_catalog.hashtext('dbd effect')::bigint & 4294967295) \
                   AND objid::bigint = (pg_catalog.hashtext($2)::bigint & 4294967295)))",
                &[&name, &effect.as_str()],
            )
            .await
            .map_err(|error| failed(&error))?;
        let left: i64 = row.get(0);
        if left == 0 {
            break;
        }
        ended = ended.max(left);
        if tokio::time::Instant::now() > deadline {
            return Err(Failure::new(
                Code::InDoubt,
                format!("{} named `{name}` on {} will not end", sessions(left), url.place()),
            )
            .certainty(Certainty::Transient)
            .hint("ask a superuser to end them with pg_terminate_backend, then resume"));
        }
        // Waiting for a state of the server that it does not announce.
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_millis(250));
    }
    session.close().await;
    passed(Boundary::SessionsEnded, "");
    Ok(Fenced::after(effect.clone(), format!("{} named {name} ended, none is left", sessions(ended))))
}

/// The anchors that the journal `origin` left in the ledger.
pub async fn anchors(url: &ConnectionUrl, origin: &str) -> Result<Vec<Anchor>, Failure> {
    let session = connect(url, "dbd").await?;
    let failed = |error: &tokio_postgres::Error| query_failed(url, "reading dbd's ledger", error);
    let exists: bool = session
        .client
        .query_one("SELECT pg_catalog.to_regclass('dbd.ledger') IS NOT NULL", &[])
        .await
        .map_err(|error| failed(&error))?
        .get(0);
    let rows = if exists {
        session
            .client
            .query("SELECT DISTINCT seq, hash FROM dbd.ledger WHERE origin = $1 ORDER BY seq", &[&origin])
            .await
            .map_err(|error| failed(&error))?
    } else {
        Vec::new()
    };
    session.close().await;
    Ok(rows
        .iter()
        .map(|row| Anchor {
            origin: origin.to_owned(),
            seq: u64::try_from(row.get::<_, i64>(0)).unwrap_or(0),
            hash: row.get(1),
        })
        .collect())
}

/// Every row that the journal `origin` wrote, by place.
pub async fn rows(url: &ConnectionUrl, origin: &str) -> Result<Vec<LedgerRow>, Failure> {
    let session = look(url, "dbd audit").await?;
    let failed = |error: &tokio_postgres::Error| query_failed(url, "reading dbd's ledger", error);
    let exists: bool = session
        .client
        .query_one("SELECT pg_catalog.to_regclass('dbd.ledger') IS NOT NULL", &[])
        .await
        .map_err(|error| failed(&error))?
        .get(0);
    let rows = if exists {
        session
            .client
            .query(
                "SELECT effect_id, phase, run_id, step, digest, seq, hash, role, xid, \
                 (extract(epoch FROM at) * 1000)::bigint FROM dbd.ledger WHERE origin = $1 ORDER BY seq, effect_id, phase",
                &[&origin],
            )
            .await
            .map_err(|error| failed(&error))?
    } else {
        Vec::new()
    };
    session.close().await;
    Ok(rows
        .iter()
        .map(|row| LedgerRow {
            effect: row.get(0),
            phase: row.get(1),
            run: row.get(2),
            step: row.get(3),
            digest: row.get(4),
            // A place that cannot be one matches no event.
            seq: u64::try_from(row.get::<_, i64>(5)).unwrap_or(0),
            hash: row.get(6),
            role: row.get(7),
            xid: row.get(8),
            at_ms: row.get(9),
        })
        .collect())
}

/// The transaction that wrote that the statement of `effect` was begun.
pub async fn began(url: &ConnectionUrl, effect: &EffectId) -> Result<Option<String>, Failure> {
    let session = connect(url, "dbd").await?;
    let row = session
        .client
        .query_opt("SELECT xid::text FROM dbd.ledger WHERE effect_id = $1 AND phase = 'started'", &[&effect.as_str()])
        .await
        .map_err(|error| query_failed(url, "reading dbd's ledger", &error))?;
    session.close().await;
    Ok(row.map(|row| row.get(0)))
}

/// What became of the fenced effect.
pub async fn probe(order: &ProbeOrder<'_>, fenced: &Fenced) -> Result<Standing, Failure> {
    let url = order.url;
    let session = connect(url, "dbd probe").await?;
    let failed = |error: &tokio_postgres::Error| {
        query_failed(url, "reading dbd's ledger", error).certainty(Certainty::Transient)
    };
    let exists: bool = session
        .client
        .query_one("SELECT pg_catalog.to_regclass('dbd.ledger') IS NOT NULL", &[])
        .await
        .map_err(|error| failed(&error))?
        .get(0);
    if !exists {
        return Ok(Standing::NotApplied { evidence: "dbd's ledger is not there yet".to_owned() });
    }
    let rows = session
        .client
        .query("SELECT phase, xid FROM dbd.ledger WHERE effect_id = $1", &[&fenced.effect().as_str()])
        .await
        .map_err(|error| failed(&error))?;
    let phase = |name: &str| rows.iter().find(|row| row.get::<_, &str>(0) == name).map(|row| row.get::<_, String>(1));
    if let Some(xid) = phase("applied").or_else(|| phase("finished")) {
        let evidence = format!("the ledger has its row, written by transaction {xid}");
        return Ok(Standing::Applied { xid: Some(xid), evidence });
    }
    let started = phase("started");
    let standing = match (order.step.map(|step| &step.mode), started) {
        (Some(UnitMode::Alone { probe }), Some(_)) => ask_catalog(&session, order, fenced, probe).await?,
        (Some(UnitMode::Alone { .. }), None) => {
            Standing::NotApplied { evidence: "the ledger has no row of it: it was never started".to_owned() }
        }
        _ => {
            Standing::NotApplied { evidence: "the ledger has no row of it: its transaction did not commit".to_owned() }
        }
    };
    session.close().await;
    passed(Boundary::Probed, "");
    Ok(standing)
}

/// A statement outside a transaction was started and not finished: the catalog tells.
async fn ask_catalog(
    session: &Session,
    order: &ProbeOrder<'_>,
    fenced: &Fenced,
    probe: &AloneProbe,
) -> Result<Standing, Failure> {
    let url = order.url;
    let failed = |error: &tokio_postgres::Error| {
        if lost(error) {
            query_failed(url, "asking the catalog", error).certainty(Certainty::Transient)
        } else {
            query_failed(url, "asking the catalog", error)
        }
    };
    let (done, evidence) = match probe {
        AloneProbe::IndexValid { schema, table, index } => {
            match index_state(&session.client, schema.as_deref(), Some(table), index)
                .await
                .map_err(|error| failed(&error))?
            {
                Some((_, true)) => (true, format!("the index {index} is there and valid")),
                Some((name, false)) => {
                    drop_invalid(session, &name).await.map_err(|error| failed(&error))?;
                    (false, format!("the index {name} was there, invalid; it was dropped"))
                }
                None => (false, format!("there is no index {index}")),
            }
        }
        AloneProbe::IndexGone { schema, index } => {
            match index_state(&session.client, schema.as_deref(), None, index).await.map_err(|error| failed(&error))? {
                None => (true, format!("the index {index} is gone")),
                Some((_, valid)) => {
                    (false, format!("the index {index} is still there, {}", if valid { "valid" } else { "invalid" }))
                }
            }
        }
        AloneProbe::Reindex { relation } => {
            let dropped = drop_copies(session, relation).await.map_err(|error| failed(&error))?;
            (false, format!("it may be repeated; {dropped} half-built copies of {relation} were dropped"))
        }
        AloneProbe::Detached { table, partition } => {
            let done = finish_detach(session, table, partition).await.map_err(|error| failed(&error))?;
            let is = if done { "no partition of" } else { "still a partition of" };
            (done, format!("{partition} is {is} {table}"))
        }
        AloneProbe::Batch { table, .. } => {
            (false, format!("the batches of {table} that committed are recorded; it goes on behind the last one"))
        }
        AloneProbe::Repeatable => (false, "whether it ran or not, running it again is the same".to_owned()),
        AloneProbe::Unknown | AloneProbe::UserCommand => {
            return Ok(Standing::Unknown {
                evidence: "it was started, its outcome was not recorded, and nothing in the catalog tells".to_owned(),
            });
        }
    };
    if !done {
        return Ok(Standing::NotApplied { evidence });
    }
    if let Some(step) = order.step {
        for sql in order.around.after {
            session.client.batch_execute(sql).await.map_err(|error| {
                let transient = lost(&error);
                let failure = query_failed(url, &super::apply::added("after", "the step"), &error)
                    .cause(format!("in: {}", summary(sql)));
                if transient { failure.certainty(Certainty::Transient) } else { failure }
            })?;
        }
        finish_alone(session, order.holder, fenced.effect(), order.anchor, step, order.bookkeeping.as_deref())
            .await
            .map_err(|error| error.map_or_else(|| superseded(order.holder), |error| failed(&error)))?;
    }
    Ok(Standing::Applied { xid: None, evidence })
}

/// Writes that a statement outside a transaction is done, with the bookkeeping that belongs to it. `Err(None)`: the lease is lost.
pub async fn finish_alone(
    session: &Session,
    holder: &Holder,
    effect: &EffectId,
    anchor: &Anchor,
    step: &PlanStep,
    bookkeeping: Option<&str>,
) -> Result<(), Option<tokio_postgres::Error>> {
    let client = &session.client;
    client.batch_execute("BEGIN").await?;
    let insert = ledger_insert(holder, effect, anchor, &step_name(step), step.digest.as_str(), "finished", false);
    if client.execute(&insert, &[]).await? == 0 {
        client.batch_execute("ROLLBACK").await?;
        return Err(None);
    }
    if let Some(sql) = bookkeeping {
        client.batch_execute(sql).await?;
    }
    client.batch_execute("COMMIT").await?;
    Ok(())
}

/// The step as the ledger names it: `migration 3, unit 1`, counted from 1.
pub fn step_name(step: &PlanStep) -> String {
    format!("migration {}, unit {}", step.migration + 1, step.unit + 1)
}

/// The index's qualified name and whether it is valid and ready. Without a schema it is looked up as a session of the user would find
/// it: in the schema of its table, else along the search path.
async fn index_state(
    client: &Client,
    schema: Option<&str>,
    table: Option<&str>,
    index: &str,
) -> Result<Option<(String, bool)>, tokio_postgres::Error> {
    let rows = client
        .query(
            "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), i.indisvalid AND i.indisready \
             FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relname = $1 AND CASE \
               WHEN $2::text IS NOT NULL THEN n.nspname = $2 \
               WHEN $3::text IS NOT NULL THEN i.indrelid = pg_catalog.to_regclass($3) \
               ELSE pg_catalog.pg_table_is_visible(c.oid) END",
            &[&index, &schema, &table],
        )
        .await?;
    Ok(rows.first().map(|row| (row.get(0), row.get(1))))
}

/// Drops an invalid index that an interrupted build left behind; `name` is quoted already.
pub async fn drop_invalid(session: &Session, name: &str) -> Result<(), tokio_postgres::Error> {
    session.client.batch_execute("SET lock_timeout = '60s'").await?;
    session.client.batch_execute(&format!("DROP INDEX CONCURRENTLY IF EXISTS {name}")).await
}

/// Drops the copies that an interrupted `REINDEX CONCURRENTLY` left beside the index or the table's indexes; how many.
async fn drop_copies(session: &Session, relation: &str) -> Result<usize, tokio_postgres::Error> {
    let rows = session
        .client
        .query(
            "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_index i \
             JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE NOT i.indisvalid AND c.relname ~ '_cc(new|old)[0-9]*$' \
               AND i.indrelid IN (pg_catalog.to_regclass($1), (SELECT o.indrelid FROM pg_catalog.pg_index o WHERE o.indexrelid = pg_catalog.to_regclass($1)))",
            &[&relation],
        )
        .await?;
    for row in &rows {
        drop_invalid(session, row.get(0)).await?;
    }
    Ok(rows.len())
}

/// Brings a detaching that was begun to its end; whether the partition is nobody's now.
pub async fn finish_detach(session: &Session, table: &str, partition: &str) -> Result<bool, tokio_postgres::Error> {
    let row = session
        .client
        .query_opt(
            "SELECT pg_catalog.to_jsonb(i) ->> 'inhdetachpending' = 'true' FROM pg_catalog.pg_inherits i \
             WHERE i.inhrelid = pg_catalog.to_regclass($1) AND i.inhparent = pg_catalog.to_regclass($2)",
            &[&partition, &table],
        )
        .await?;
    match row.map(|row| row.get::<_, Option<bool>>(0)) {
        None => Ok(true),
        Some(Some(true)) => {
            session.client.batch_execute("SET lock_timeout = '60s'").await?;
            session.client.batch_execute(&format!("ALTER TABLE {table} DETACH PARTITION {partition} FINALIZE")).await?;
            Ok(true)
        }
        Some(_) => Ok(false),
    }
}

/// Drops what a failed statement outside a transaction left half done, so that it can be tried again.
pub async fn clean_up_alone(session: &Session, probe: &AloneProbe) -> Result<(), tokio_postgres::Error> {
    match probe {
        AloneProbe::IndexValid { schema, table, index } => {
            if let Some((name, false)) = index_state(&session.client, schema.as_deref(), Some(table), index).await? {
                drop_invalid(session, &name).await?;
            }
        }
        AloneProbe::Reindex { relation } => {
            drop_copies(session, relation).await?;
        }
        _ => {}
    }
    Ok(())
}
