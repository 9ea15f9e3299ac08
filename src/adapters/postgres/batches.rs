//! A large `UPDATE` or `DELETE` in batches along the table's primary key.
//!
//! Each batch is a transaction of its own that checks the lease and writes the place it reached beside the rows it changed, so a run
//! that was killed goes on behind the last batch that committed, and no row is touched twice.

use super::apply::{Trouble, ours, theirs, too_long};
use super::connect::Session;
use super::ledger::{BATCH, identifier, literal, superseded};
use crate::domain::code::Code;
use crate::domain::failure::{Certainty, Failure};
use crate::domain::migration::{Span, batched, columns_set};
use crate::ports::database::ApplyOrder;
use backon::{BackoffBuilder, ExponentialBuilder};
use std::time::{Duration, Instant};
use tokio_postgres::SimpleQueryMessage;

/// How far a replica may be behind before the next batch waits for it.
const LAG: Duration = Duration::from_secs(2);

/// How many batches go by between two looks at the replicas.
const LOOK_EVERY: u64 = 4;

/// What the comment above the statement asks for.
pub struct Batches<'a> {
    /// The table, fit for `to_regclass`.
    pub table: &'a str,
    /// What the statement calls it, quoted already.
    pub called: &'a str,
    /// Rows looked at by one batch.
    pub size: u32,
    /// The rest between two.
    pub pause_ms: u64,
}

/// The columns of the primary key, with their types.
struct Key {
    columns: Vec<(String, String)>,
    /// The table's own name, quoted.
    table: String,
}

impl Key {
    async fn of(order: &ApplyOrder<'_>, session: &Session, span: &Span, table: &str) -> Result<Self, Trouble> {
        let sql = "SELECT a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod), i.indrelid::regclass::text \
                   FROM pg_catalog.pg_index i JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey) \
                   WHERE i.indrelid = pg_catalog.to_regclass($1) AND i.indisprimary \
                   ORDER BY pg_catalog.array_position(i.indkey::int2[], a.attnum)";
        let rows = session
            .client
            .query(sql, &[&table])
            .await
            .map_err(|error| ours(order, "looking for a primary key", &error))?;
        let Some(first) = rows.first() else {
            let failure = Failure::new(
                Code::StatementFailed,
                format!("{}:{}: {table} has no primary key to cut batches along", order.file, span.line),
            )
            .hint("take the `-- dbd: batch` away, or give the table a primary key first")
            .at(order.file, span.line, 1);
            return Err(Trouble::Certain(failure));
        };
        let table = first.get(2);
        let set = columns_set(span.of(order.text));
        if let Some(column) = rows.iter().map(|row| row.get::<_, String>(0)).find(|column| set.contains(column)) {
            let failure = Failure::new(
                Code::StatementFailed,
                format!(
                    "{}:{}: it changes {column}, a part of the key that batches are cut along",
                    order.file, span.line
                ),
            )
            .hint("take the `-- dbd: batch` away: a row that moves along the key would be changed twice or not at all")
            .at(order.file, span.line, 1);
            return Err(Trouble::Certain(failure));
        }
        Ok(Self { columns: rows.iter().map(|row| (row.get(0), row.get(1))).collect(), table })
    }

    /// The key as one value, of rows called `called`.
    fn row(&self, called: &str) -> String {
        let columns: Vec<String> =
            self.columns.iter().map(|(name, _)| format!("{called}.{}", identifier(name))).collect();
        format!("ROW({})", columns.join(", "))
    }

    /// A place in the key, from its recorded form.
    fn place(&self, values: &[String]) -> String {
        let typed = self.columns.iter().zip(values).map(|((_, kind), value)| format!("{}::{kind}", literal(value)));
        format!("ROW({})", typed.collect::<Vec<_>>().join(", "))
    }

    /// The place `size` rows behind `reached`; `None` when fewer are left.
    async fn next(
        &self,
        order: &ApplyOrder<'_>,
        session: &Session,
        reached: &[String],
        size: u32,
    ) -> Result<Option<Vec<String>>, Trouble> {
        let texts: Vec<String> = self.columns.iter().map(|(name, _)| format!("t.{}::text", identifier(name))).collect();
        let by: Vec<String> = self.columns.iter().map(|(name, _)| format!("t.{}", identifier(name))).collect();
        let behind = match reached {
            [] => String::new(),
            reached => format!("WHERE {} > {}", self.row("t"), self.place(reached)),
        };
        let sql = format!(
            "SELECT ARRAY[{}] FROM {} t {behind} ORDER BY {} OFFSET {} LIMIT 1",
            texts.join(", "),
            self.table,
            by.join(", "),
            size.saturating_sub(1)
        );
        let row = session.client.query_opt(&sql, &[]).await.map_err(|error| ours(order, "cutting a batch", &error))?;
        Ok(row.map(|row| row.get(0)))
    }
}

/// Runs the statement to its end. The number of rows it changed, those of earlier tries included.
pub async fn run(
    order: &ApplyOrder<'_>,
    session: &Session,
    span: &Span,
    batches: &Batches<'_>,
    left: Duration,
) -> Result<u64, Trouble> {
    let begun = Instant::now();
    let client = &session.client;
    let key = Key::of(order, session, span, batches.table).await?;
    let effect = order.effect.as_str();
    let there = client.query_one("SELECT pg_catalog.to_regclass('dbd.batch') IS NOT NULL", &[]).await;
    if !there.map_err(|error| ours(order, "looking for dbd's record of batches", &error))?.get::<_, bool>(0) {
        client.batch_execute(BATCH).await.map_err(|error| ours(order, "making dbd's record of batches", &error))?;
    }
    let recorded = client
        .query_opt("SELECT reached, batches, rows FROM dbd.batch WHERE effect_id = $1", &[&effect])
        .await
        .map_err(|error| ours(order, "reading how far the batches came", &error))?;
    let mut reached: Vec<String> = recorded.as_ref().map_or_else(Vec::new, |row| read_place(row.get(0)));
    let number = |column| recorded.as_ref().map_or(0, |row| u64::try_from(row.get::<_, i64>(column)).unwrap_or(0));
    let (mut count, mut rows) = (number(1), number(2));
    loop {
        if begun.elapsed() > left {
            return Err(Trouble::Certain(too_long(order)));
        }
        let upper = key.next(order, session, &reached, batches.size).await?;
        let mut conditions = Vec::new();
        if !reached.is_empty() {
            conditions.push(format!("{} > {}", key.row(batches.called), key.place(&reached)));
        }
        if let Some(upper) = &upper {
            conditions.push(format!("{} <= {}", key.row(batches.called), key.place(upper)));
        }
        let sql = match conditions.as_slice() {
            [] => span.of(order.text).to_owned(),
            some => batched(span.of(order.text), &some.join(" AND ")).map_err(|said| {
                let failure = Failure::new(Code::Bug, format!("{}:{}: no batch of it parses", order.file, span.line));
                Trouble::Certain(failure.cause(said))
            })?,
        };
        let place = upper.as_ref().unwrap_or(&reached);
        rows += one(order, session, span, &sql, place, rows).await?;
        count += 1;
        (order.progress)(&format!("{}: batch {count}, {rows} rows changed", batches.table));
        let Some(upper) = upper else { return Ok(rows) };
        reached = upper;
        if batches.pause_ms > 0 && !order.watch {
            tokio::time::sleep(Duration::from_millis(batches.pause_ms)).await;
        }
        if count.is_multiple_of(LOOK_EVERY) {
            wait_for_replicas(order, session, left.saturating_sub(begun.elapsed())).await?;
        }
    }
}

/// One batch, tried again while its locks are not to be had and the budget lasts.
async fn one(
    order: &ApplyOrder<'_>,
    session: &Session,
    span: &Span,
    sql: &str,
    place: &[String],
    before: u64,
) -> Result<u64, Trouble> {
    let begun = Instant::now();
    let budget = Duration::from_millis(order.lock_budget_ms);
    let mut waits = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(20))
        .with_max_delay(Duration::from_secs(1))
        .without_max_times()
        .with_jitter()
        .build();
    loop {
        match once(order, session, span, sql, place, before).await {
            Err(Trouble::Contention(failure)) if begun.elapsed() < budget => {
                session
                    .client
                    .batch_execute("ROLLBACK")
                    .await
                    .map_err(|error| ours(order, "taking a batch back", &error))?;
                (order.progress)(&format!("{}; trying again", failure.message));
                tokio::time::sleep(waits.next().unwrap_or(Duration::from_secs(1))).await;
            }
            Err(trouble) => {
                // The session is given up anyway; a transaction it left open would keep its locks until then.
                let _ = session.client.batch_execute("ROLLBACK").await;
                return Err(trouble);
            }
            Ok(rows) => return Ok(rows),
        }
    }
}

async fn once(
    order: &ApplyOrder<'_>,
    session: &Session,
    span: &Span,
    sql: &str,
    place: &[String],
    before: u64,
) -> Result<u64, Trouble> {
    let client = &session.client;
    let begin = format!("BEGIN; SET LOCAL lock_timeout = '{}ms'", order.lock_timeout_ms);
    client.batch_execute(&begin).await.map_err(|error| ours(order, "beginning a batch", &error))?;
    let mine = client
        .query_opt("SELECT 1 FROM dbd.lease WHERE token = $1 FOR SHARE", &[&order.holder.token])
        .await
        .map_err(|error| ours(order, "reading the lease", &error))?;
    if mine.is_none() {
        return Err(Trouble::Certain(superseded(order.holder)));
    }
    let messages = client.simple_query(sql).await.map_err(|error| theirs(order, Some(span), &error, "in a batch: "))?;
    let changed: u64 = messages
        .iter()
        .map(|message| match message {
            SimpleQueryMessage::CommandComplete(rows) => *rows,
            _ => 0,
        })
        .sum();
    let rows = i64::try_from(before + changed).unwrap_or(i64::MAX);
    client
        .execute(
            "INSERT INTO dbd.batch (effect_id, run_id, reached, batches, rows) VALUES ($1, $2, $3, 1, $4) \
             ON CONFLICT (effect_id) DO UPDATE SET reached = EXCLUDED.reached, batches = dbd.batch.batches + 1, \
             rows = EXCLUDED.rows, at = clock_timestamp()",
            &[&order.effect.as_str(), &order.holder.run.as_str(), &write_place(place), &rows],
        )
        .await
        .map_err(|error| ours(order, "recording a batch", &error))?;
    client.batch_execute("COMMIT").await.map_err(|error| {
        // Whether this batch counts is told by its own record, which the next try reads.
        match ours(order, "committing a batch", &error) {
            Trouble::Certain(failure) => Trouble::Certain(failure.certainty(Certainty::InDoubt)),
            other => other,
        }
    })?;
    Ok(changed)
}

async fn wait_for_replicas(order: &ApplyOrder<'_>, session: &Session, left: Duration) -> Result<(), Trouble> {
    let begun = Instant::now();
    let sql =
        "SELECT COALESCE(max(EXTRACT(EPOCH FROM replay_lag) * 1000), 0)::bigint FROM pg_catalog.pg_stat_replication";
    let mut said = false;
    while begun.elapsed() < left {
        let row =
            session.client.query_one(sql, &[]).await.map_err(|error| ours(order, "looking at the replicas", &error))?;
        let lag = Duration::from_millis(u64::try_from(row.get::<_, i64>(0)).unwrap_or(0));
        if lag < LAG {
            return Ok(());
        }
        if !said {
            (order.progress)(&format!("a replica is {} ms behind; waiting for it", lag.as_millis()));
            said = true;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

fn read_place(text: &str) -> Vec<String> {
    serde_json::from_str(text).unwrap_or_default()
}

fn write_place(place: &[String]) -> String {
    serde_json::to_string(place).unwrap_or_default()
}
