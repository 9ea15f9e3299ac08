//! Bringing the shadow level: whole transactions, in order, each once.
//!
//! How far the shadow is stands in the shadow, written by the transaction that brought it there. For a slot that is a place in the log:
//! transactions come in the order of their commits, and one that ends before that place was applied. For triggers it is a snapshot: applied
//! is what an earlier snapshot saw, next is what the present one sees beyond it, in the order of its writing. A snapshot that sees a
//! transaction sees every one that had committed before it wrote, so nothing ever comes before what it depends on.

use super::super::connect::{Session, connect, query_failed};
use super::super::data::same_text_for_the_session;
use super::super::ledger::literal;
use super::pgoutput::{Message, message};
use super::replay::{Applier, Change, REPLAYING, Stop};
use super::shape::{OldTable, Shape, Value, shapes};
use super::{shadow, tidy};
use crate::domain::code::Code;
use crate::domain::connection::ConnectionUrl;
use crate::domain::failure::{Certainty, Failure};
use crate::ports::boundary::{Boundary, passed};
use crate::ports::capture::{Backlog, Capture, CatchUpOrder, Way};
use futures_util::StreamExt;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use tokio_postgres::error::SqlState;

/// How many changes are asked of the slot at once; a transaction comes whole, however large.
const CHANGES_AT_ONCE: i32 = 100_000;

/// How many captured rows are fetched at once.
const ROWS_AT_ONCE: u32 = 2_000;

/// How much of the log, in bytes, may be decoded again by every pass.
const FAR: i64 = 1 << 20;

/// A pass that brought fewer rows is as good as level: what came meanwhile is left for the next one.
const FEW: u64 = 200;

/// The tables whose rows tell that a transaction is dbd's own.
const SHAPE: (&str, &str) = ("dbd_capture", "shape");
const MARKER: (&str, &str) = ("dbd_capture", "marker");
const OWN: &[(&str, &str)] = &[("dbd", "ledger"), ("dbd", "batch"), ("dbd_capture", "modified"), SHAPE, MARKER];

/// A target and its shadow, with a session in each.
pub(super) struct Pair<'a> {
    pub url: &'a ConnectionUrl,
    pub capture: &'a Capture,
    pub target: Session,
    pub shadow: Session,
    own: BTreeSet<u64>,
    tables: BTreeMap<i32, OldTable>,
    state: State,
}

/// What the shadow says of itself.
struct State {
    seen: Seen,
    reached: String,
    lsn: u64,
    shapes: BTreeMap<u32, Shape>,
    blocked: Option<String>,
    residue: BTreeSet<String>,
}

/// What one pass did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Passed {
    pub transactions: u64,
    pub rows: u64,
    /// The last marker that came by.
    pub marker: u64,
    /// Whether nothing more was there.
    pub level: bool,
    /// Where in the log the last transaction ended that was looked at; 0 if there was none, or no log.
    pub place: u64,
}

/// The transactions a snapshot sees.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    min: u64,
    max: u64,
    running: BTreeSet<u64>,
}

impl Seen {
    /// Reads `xmin:xmax:xip,...`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ':');
        let min = parts.next()?.parse().ok()?;
        let max = parts.next()?.parse().ok()?;
        let running =
            parts.next()?.split(',').filter(|id| !id.is_empty()).map(|id| id.parse().ok()).collect::<Option<_>>()?;
        Some(Self { min, max, running })
    }

    fn sees(&self, xid: u64) -> bool {
        xid < self.min || xid < self.max && !self.running.contains(&xid)
    }

    /// The whole id of one whose low half is `short`: the one that is nearest.
    fn full(&self, short: u32) -> u64 {
        let near = self.max;
        let candidate = (near & !0xffff_ffff) | u64::from(short);
        if candidate > near + (1 << 31) && candidate >= 1 << 32 {
            candidate - (1 << 32)
        } else if candidate + (1 << 31) < near {
            candidate + (1 << 32)
        } else {
            candidate
        }
    }
}

impl<'a> Pair<'a> {
    /// Opens both sessions and reads how far the shadow is.
    pub async fn open(
        url: &'a ConnectionUrl,
        capture: &'a Capture,
        name: &str,
        own: &[String],
    ) -> Result<Self, Failure> {
        let place = url.with_database(&capture.shadow());
        let shadow = connect(&place, name)
            .await
            .map_err(|failure| if failure.code == Code::NoSuchDatabase { no_shadow(url) } else { failure })?;
        let target = connect(url, name).await?;
        for session in [&target, &shadow] {
            let setup = format!("{}; {REPLAYING}; SET synchronous_commit = on", same_text_for_the_session());
            session
                .client
                .batch_execute(&setup)
                .await
                .map_err(|error| query_failed(url, "setting up the session", &error))?;
        }
        let failed = |error: tokio_postgres::Error| query_failed(url, "reading how far the shadow is", &error);
        let there = "SELECT pg_catalog.to_regclass('dbd_shadow.state') IS NOT NULL";
        if !shadow.client.query_one(there, &[]).await.map_err(failed)?.get::<_, bool>(0) {
            return Err(no_shadow(url));
        }
        let row = shadow
            .client
            .query_opt(
                "SELECT seen, reached, COALESCE(lsn - '0/0'::pg_lsn, 0)::text, shape, blocked, residue::text, dressed \
                 FROM dbd_shadow.state WHERE proven",
                &[],
            )
            .await
            .map_err(failed)?
            .ok_or_else(|| no_shadow(url))?;
        let broken =
            |what: &str| Failure::new(Code::Bug, format!("what the shadow knows of itself cannot be read: {what}"));
        if row.get::<_, bool>(6) {
            shadow::undress(&shadow.client).await.map_err(failed)?;
        }
        let state = State {
            seen: Seen::parse(row.get(0)).ok_or_else(|| broken("its snapshot"))?,
            reached: row.get(1),
            lsn: row.get::<_, String>(2).parse().unwrap_or(0),
            shapes: shapes(row.get(3)).map_err(|error| broken("the shapes").source(&error))?,
            blocked: row.get(4),
            residue: serde_json::from_str(row.get(5)).map_err(|error| broken("the residue").source(&error))?,
        };
        let tables = shadow::old_tables(&shadow.client, url).await?;
        let own = own.iter().filter_map(|xid| xid.parse().ok()).collect();
        Ok(Self { url, capture, target, shadow, own, tables, state })
    }

    pub fn blocked(&self) -> Option<&String> {
        self.state.blocked.as_ref()
    }

    pub fn tables(&self) -> &BTreeMap<i32, OldTable> {
        &self.tables
    }

    /// The relations as they are where the shadow stands.
    pub fn shapes(&self) -> &BTreeMap<u32, Shape> {
        &self.state.shapes
    }

    /// Writes the next marker, durably: whoever sees it in the log has seen every commit before it, those included that were acknowledged
    /// before they were on the disk.
    pub async fn mark(&self) -> Result<u64, Failure> {
        let failed = |error: tokio_postgres::Error| query_failed(self.url, "writing the marker", &error);
        let sql =
            "INSERT INTO dbd_capture.marker AS m VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET n = m.n + 1 RETURNING n";
        let n: i64 = self.target.client.query_one(sql, &[]).await.map_err(failed)?.get(0);
        Ok(u64::try_from(n).unwrap_or(0))
    }

    /// Applies what is there. What cannot be applied is remembered in the shadow.
    pub async fn pass(&mut self) -> Result<Passed, Stop> {
        if self.capture.way == Way::Slot {
            self.shorten().await?;
        }
        let done = self.apply().await?;
        self.advance(&done).await?;
        Ok(done)
    }

    /// The same while the target is closed, so without what only later passes are the faster for.
    pub async fn last_pass(&mut self) -> Result<Passed, Stop> {
        let done = self.apply().await?;
        if !done.level {
            self.advance(&done).await?;
        }
        Ok(done)
    }

    /// Has decoding begin nearer: it reads the log from where the server last noted which transactions are open, with all that was replayed
    /// since, and the server does so every fifteen seconds. Beginning a slot makes it do it at once. Whatever it says to that, decoding
    /// works as before.
    async fn shorten(&self) -> Result<(), Stop> {
        let failed = |error: tokio_postgres::Error| {
            Stop::Failed(query_failed(self.url, "looking at the replication slot", &error))
        };
        let sql = "SELECT pg_catalog.pg_backend_pid() FROM pg_catalog.pg_replication_slots \
             WHERE slot_name = $1 AND confirmed_flush_lsn - restart_lsn > $2::bigint::numeric";
        let target = &self.target.client;
        let Some(row) = target.query_opt(sql, &[&self.capture.slot(), &FAR]).await.map_err(failed)? else {
            return Ok(());
        };
        let name = literal(&format!("dbd_note_{}", row.get::<_, i32>(0)));
        let note = format!(
            "BEGIN; SET LOCAL statement_timeout = '300ms'; \
             SELECT pg_catalog.pg_create_logical_replication_slot({name}, 'pgoutput', true); \
             SELECT pg_catalog.pg_drop_replication_slot({name}); COMMIT"
        );
        // It waits for transactions that are open; a temporary slot goes with an error.
        if target.batch_execute(&note).await.is_err() {
            target.batch_execute("ROLLBACK").await.map_err(failed)?;
        }
        Ok(())
    }

    /// Tells the slot what need not be decoded again.
    async fn advance(&self, done: &Passed) -> Result<(), Stop> {
        if done.place == 0 {
            return Ok(());
        }
        let (slot, place) = (self.capture.slot(), place_of(done.place));
        let advance = "SELECT pg_catalog.pg_replication_slot_advance($1, $2::text::pg_lsn)";
        let failed =
            |error: tokio_postgres::Error| Stop::Failed(query_failed(self.url, "reading the replication slot", &error));
        self.target.client.query(advance, &[&slot, &place]).await.map_err(failed)?;
        Ok(())
    }

    async fn apply(&mut self) -> Result<Passed, Stop> {
        if let Some(blocked) = &self.state.blocked {
            return Err(Stop::Blocked(blocked.clone()));
        }
        let done = match self.capture.way {
            Way::Slot => self.pass_of_slot().await,
            Way::Triggers => self.pass_of_triggers().await,
        };
        if let Err(Stop::Blocked(why)) = &done {
            let failed =
                |error: tokio_postgres::Error| query_failed(self.url, "noting what cannot be replayed", &error);
            self.shadow.client.batch_execute("ROLLBACK").await.map_err(failed)?;
            let sql = "UPDATE dbd_shadow.state SET blocked = $1";
            self.shadow.client.execute(sql, &[why]).await.map_err(failed)?;
            let _ = self.target.client.batch_execute("ROLLBACK").await;
            self.state.blocked = Some(why.clone());
        }
        done
    }

    async fn pass_of_triggers(&mut self) -> Result<Passed, Stop> {
        let failed =
            |error: tokio_postgres::Error| Stop::Failed(query_failed(self.url, "reading the captured rows", &error));
        let target = &self.target.client;
        target.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await.map_err(failed)?;
        let sql = "SELECT pg_catalog.pg_current_snapshot()::text";
        let now: String = target.query_one(sql, &[]).await.map_err(failed)?.get(0);
        let own: Vec<String> = self.own.iter().map(u64::to_string).collect();
        let cursor = format!(
            "DECLARE dbd_changes NO SCROLL CURSOR FOR SELECT xid::text, rel, op::text, old, new FROM dbd_capture.change \
             WHERE NOT pg_catalog.pg_visible_in_snapshot(xid, {}::pg_catalog.pg_snapshot) AND (op = 'S' OR xid::text <> ALL ('{{{}}}'::text[])) ORDER BY seq",
            literal(&self.state.reached),
            own.join(",")
        );
        target.batch_execute(&cursor).await.map_err(failed)?;
        self.shadow.client.batch_execute("BEGIN; SET CONSTRAINTS ALL DEFERRED").await.map_err(failed)?;
        let mut applier = Applier::new(self.url, &self.shadow.client, &self.tables, self.state.shapes.clone());
        let mut transactions = BTreeSet::new();
        loop {
            let rows = target.query(&format!("FETCH {ROWS_AT_ONCE} FROM dbd_changes"), &[]).await.map_err(failed)?;
            for row in &rows {
                let op: &str = row.get(2);
                if op != "S" {
                    transactions.insert(row.get::<_, String>(0));
                }
                let op = op.as_bytes().first().copied().unwrap_or_default();
                applier.captured(row.get(1), op, row.get(3), row.get(4)).await?;
            }
            if rows.len() < ROWS_AT_ONCE as usize {
                break;
            }
        }
        applier.flush().await?;
        let (rows, shape, found) = (applier.rows, applier.shape_text.take(), std::mem::take(&mut applier.residue));
        let after = std::mem::take(&mut applier.shapes);
        self.arrive(&format!("reached = {}", literal(&now)), shape.as_deref(), &found).await?;
        self.target.client.batch_execute("COMMIT").await.map_err(failed)?;
        self.state.reached = now;
        self.state.shapes = after;
        self.state.residue.extend(found);
        passed(Boundary::RowsReplayed, "");
        Ok(Passed { transactions: transactions.len() as u64, rows, level: true, ..Passed::default() })
    }

    /// Removes the captured rows that are in the shadow for good.
    pub async fn prune(&self) -> Result<(), Failure> {
        if self.capture.way == Way::Triggers {
            let sql = format!(
                "DELETE FROM dbd_capture.change WHERE pg_catalog.pg_visible_in_snapshot(xid, {}::pg_catalog.pg_snapshot)",
                literal(&self.state.reached)
            );
            self.target
                .client
                .batch_execute(&sql)
                .await
                .map_err(|error| query_failed(self.url, "removing captured rows that are replayed", &error))?;
        }
        Ok(())
    }

    async fn pass_of_slot(&mut self) -> Result<Passed, Stop> {
        let sql = "SELECT data FROM pg_catalog.pg_logical_slot_peek_binary_changes($1, NULL, $2, \
             'proto_version', '1', 'publication_names', $3)";
        let (slot, publication) = (self.capture.slot(), self.capture.publication());
        let failed =
            |error: tokio_postgres::Error| Stop::Failed(query_failed(self.url, "reading the replication slot", &error));
        let begun = Instant::now();
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 3] = [&slot, &CHANGES_AT_ONCE, &publication];
        let statement = self.target.client.prepare(sql).await.map_err(failed)?;
        let stream = loop {
            let parameters = parameters.iter().copied().map(|one| one as &dyn tokio_postgres::types::ToSql);
            match self.target.client.query_raw(&statement, parameters).await {
                Ok(stream) => break stream,
                // The backend of a process that was killed may hold it for a moment still.
                Err(error)
                    if error.code() == Some(&SqlState::OBJECT_IN_USE) && begun.elapsed() < Duration::from_secs(10) =>
                {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(error) => return Err(failed(error)),
            }
        };
        let mut stream = Box::pin(stream);
        self.shadow.client.batch_execute("BEGIN; SET CONSTRAINTS ALL DEFERRED").await.map_err(failed)?;
        let mut applier = Applier::new(self.url, &self.shadow.client, &self.tables, self.state.shapes.clone());
        let mut relations: BTreeMap<u32, (String, String, Vec<String>)> = BTreeMap::new();
        let mut done = Passed::default();
        let mut messages = 0;
        let mut open: Option<Open> = None;
        let (mut end, mut last) = (0, 0);
        while let Some(row) = stream.next().await {
            let row = match row {
                Ok(row) => row,
                Err(error) if error.code() == Some(&SqlState::OBJECT_IN_USE) => {
                    let failure = query_failed(self.url, "reading the replication slot", &error);
                    return Err(Stop::Failed(failure.certainty(Certainty::Transient)));
                }
                Err(error) => return Err(failed(error)),
            };
            messages += 1;
            let data: &[u8] = row.get(0);
            let read = message(data).ok_or_else(|| {
                Stop::Failed(Failure::new(Code::Bug, "a message of the replication slot cannot be read"))
            })?;
            match read {
                Message::Begin { xid } => {
                    let full = self.state.seen.full(xid);
                    // Of the migration's own transactions the shape they leave is still wanted.
                    let (skipped, own) = (self.state.seen.sees(full), self.own.contains(&full));
                    open = Some(Open { skipped, own, ..Open::default() });
                }
                Message::Relation { rel, schema, name, columns } => {
                    relations.insert(rel, (schema, name, columns));
                }
                Message::Commit { end: place } => {
                    let transaction = open.take().unwrap_or_default();
                    done.marker = done.marker.max(transaction.marker);
                    last = place;
                    // Before the place the shadow is at: it was applied, and the slot was not told.
                    if place > self.state.lsn {
                        end = place;
                        if let Some(text) = &transaction.shape {
                            applier.reshape(text)?;
                        }
                        for (id, column) in &transaction.modified {
                            applier.modified(*id, column);
                        }
                        if !transaction.skipped && !transaction.own {
                            done.transactions += u64::from(!transaction.changes.is_empty());
                            for (rel, change) in transaction.changes {
                                let names = relations.get(&rel).map(|(_, _, columns)| columns.as_slice());
                                applier.apply(rel, names, change).await?;
                            }
                        }
                    }
                }
                Message::Other => {}
                change => {
                    let transaction = open.get_or_insert_default();
                    self.change(transaction, &relations, change)?;
                }
            }
        }
        applier.flush().await?;
        done.rows = applier.rows;
        done.level = messages < CHANGES_AT_ONCE;
        let (shape, found) = (applier.shape_text.take(), std::mem::take(&mut applier.residue));
        let after = std::mem::take(&mut applier.shapes);
        if end == 0 {
            self.shadow.client.batch_execute("ROLLBACK").await.map_err(failed)?;
        } else {
            self.arrive(&format!("lsn = '{}'", place_of(end)), shape.as_deref(), &found).await?;
            self.state.lsn = end;
            self.state.shapes = after;
            self.state.residue.extend(found);
            passed(Boundary::RowsReplayed, "");
        }
        // Also if all of it had been applied before, and the process that did it died before it said so.
        done.place = last;
        Ok(done)
    }

    /// One change of a transaction that is not over.
    fn change(
        &self,
        transaction: &mut Open,
        relations: &BTreeMap<u32, (String, String, Vec<String>)>,
        read: Message,
    ) -> Result<(), Stop> {
        let whole = |old: Option<Vec<Value>>, rel: u32| {
            old.ok_or_else(|| {
                let name = relations.get(&rel).map_or_else(String::new, |(schema, name, _)| format!("{schema}.{name}"));
                Stop::Blocked(format!(
                    "a change of {name} came without the whole old row: somebody changed its replica identity"
                ))
            })
        };
        let rel = match &read {
            Message::Insert { rel, .. } | Message::Update { rel, .. } | Message::Delete { rel, .. } => *rel,
            Message::Truncate { rels } => {
                if !transaction.skipped {
                    transaction.changes.extend(rels.iter().map(|rel| (*rel, Change::Truncate)));
                }
                return Ok(());
            }
            _ => return Ok(()),
        };
        let name = relations.get(&rel).map(|(schema, name, _)| (schema.as_str(), name.as_str()));
        if let Some(name) = name.filter(|name| OWN.contains(name)) {
            transaction.own = true;
            // Those before it are the migration's as well, and whatever they changed is not compared.
            let before = std::mem::take(&mut transaction.changes);
            let ids = before.iter().filter_map(|(rel, _)| self.state.shapes.get(rel)).map(|shape| shape.id);
            transaction.modified.extend(ids.map(|id| (id, String::new())));
            if let (true, Message::Insert { new, .. } | Message::Update { new, .. }) = (name == MARKER, &read)
                && let Some(Value::Text(text)) = new.last()
            {
                transaction.marker = text.parse().unwrap_or(0);
            }
            if let (true, Message::Insert { new, .. }) = (name == SHAPE, &read)
                && let Some(Value::Text(text)) = new.last()
                && !text.is_empty()
            {
                transaction.shape = Some(text.clone());
            }
            return Ok(());
        }
        // A migration may rewrite a great many rows: none of them is kept, only which columns they changed.
        if transaction.own && !transaction.skipped {
            self.modifies(transaction, rel, relations, &read);
        }
        if transaction.skipped || transaction.own {
            return Ok(());
        }
        let change = match read {
            Message::Insert { new, .. } => Change::Insert { new },
            Message::Update { old, new, .. } => Change::Update { old: whole(old, rel)?, new },
            Message::Delete { old, .. } => Change::Delete { old: whole(old, rel)? },
            _ => return Ok(()),
        };
        transaction.changes.push((rel, change));
        Ok(())
    }

    /// Notes which columns of the old shape a migration's own row changed; an empty name stands for rows that came or went.
    fn modifies(
        &self,
        transaction: &mut Open,
        rel: u32,
        relations: &BTreeMap<u32, (String, String, Vec<String>)>,
        read: &Message,
    ) {
        let (Some(shape), Some((_, _, names))) = (self.state.shapes.get(&rel), relations.get(&rel)) else { return };
        let Message::Update { old: Some(old), new, .. } = read else {
            transaction.modified.insert((shape.id, String::new()));
            return;
        };
        for ((name, old), new) in names.iter().zip(old).zip(new) {
            if old != new && *new != Value::Unchanged {
                let renamed =
                    shape.columns.iter().find(|column| column.0 == *name).and_then(|column| column.1.as_ref());
                transaction.modified.insert((shape.id, renamed.unwrap_or(name).clone()));
            }
        }
    }

    /// Writes how far the shadow is, and commits.
    async fn arrive(&self, place: &str, shape: Option<&str>, residue: &BTreeSet<String>) -> Result<(), Stop> {
        let mut sql = format!("UPDATE dbd_shadow.state SET {place}");
        if let Some(shape) = shape {
            sql.push_str(&format!(", shape = {}", literal(shape)));
        }
        let all: BTreeSet<&String> = self.state.residue.iter().chain(residue).collect();
        if all.len() > self.state.residue.len() {
            let text = serde_json::to_string(&all).map_err(|error| Stop::Failed(super::install::bug(&error)))?;
            sql.push_str(&format!(", residue = {}", literal(&text)));
        }
        let tried = self.shadow.client.batch_execute(&format!("{sql}; COMMIT")).await;
        tried.map_err(|error| match error.code().map(|code| code.code()) {
            // A constraint that is checked where the transaction ends.
            Some(code) if code.starts_with("23") => Stop::Blocked(format!("{error}")),
            _ => Stop::Failed(query_failed(self.url, "replaying rows into the shadow", &error)),
        })
    }

    pub fn residue(&self) -> Vec<String> {
        self.state.residue.iter().cloned().collect()
    }

    pub async fn close(self) {
        self.target.close().await;
        self.shadow.close().await;
    }
}

fn place_of(lsn: u64) -> String {
    format!("{:X}/{:X}", lsn >> 32, lsn & 0xffff_ffff)
}

/// A transaction whose end was not read yet.
#[derive(Default)]
struct Open {
    skipped: bool,
    own: bool,
    marker: u64,
    shape: Option<String>,
    modified: BTreeSet<(i32, String)>,
    changes: Vec<(u32, Change)>,
}

fn no_shadow(url: &ConnectionUrl) -> Failure {
    Failure::new(Code::NotRestored, format!("there is no second copy of {} to go back to", url.place()))
        .hint("it was removed, or never came to be: go back by the backup")
}

/// Replays for as long as there is more than a little and time is left.
pub(super) async fn catch_up(order: &CatchUpOrder<'_>) -> Result<Backlog, Failure> {
    let begun = Instant::now();
    let (url, capture) = (order.url, order.capture);
    let mut pair = Pair::open(url, capture, &order.effect.application_name(), order.own).await?;
    let mut backlog = Backlog::default();
    let failed = |error: tokio_postgres::Error| query_failed(url, "asking how far the target is", &error);
    if capture.way == Way::Slot
        && let Some(lost) = lost_slot(order, &pair).await?
    {
        let blocked = match (pair.state.blocked.take(), lost) {
            (None, Lost::Gone(why) | Lost::Dropped(why)) => why,
            // Both are to be known: what was in the way first, and that the server is rid of the slot.
            (Some(before), Lost::Dropped(why)) => format!("{before}; {why}"),
            (Some(before), Lost::Gone(_)) => before,
        };
        let sql = "UPDATE dbd_shadow.state SET blocked = $1";
        pair.shadow.client.execute(sql, &[&blocked]).await.map_err(failed)?;
        pair.state.blocked = Some(blocked);
    }
    // Decoding sees only what is on the disk.
    let marker = if capture.way == Way::Slot && pair.blocked().is_none() { pair.mark().await? } else { 0 };
    loop {
        match pair.pass().await {
            Ok(done) => {
                backlog.transactions += done.transactions;
                backlog.rows += done.rows;
                backlog.level |= done.level && (capture.way == Way::Triggers || done.marker >= marker);
                pair.prune().await?;
                if begun.elapsed() > order.budget || backlog.level && done.rows <= FEW {
                    break;
                }
            }
            Err(Stop::Blocked(_)) => break,
            Err(Stop::Failed(failure)) => return Err(failure),
        }
    }
    backlog.blocked = pair.blocked().cloned();
    backlog.level &= backlog.blocked.is_none();
    backlog.residue = pair.residue();
    backlog.waiting = match capture.way {
        Way::Slot => tidy::kept(&pair.target.client, capture).await.map_err(failed)?.unwrap_or(0),
        Way::Triggers => {
            let sql = "SELECT count(*) FROM dbd_capture.change";
            u64::try_from(pair.target.client.query_one(sql, &[]).await.map_err(failed)?.get::<_, i64>(0)).unwrap_or(0)
        }
    };
    pair.close().await;
    Ok(backlog)
}

/// How a slot came to be no more, in a sentence.
enum Lost {
    /// It was not there.
    Gone(String),
    /// It kept more than it may, and was dropped now.
    Dropped(String),
}

/// Whether the slot is gone, or keeps more than it may and is dropped now.
async fn lost_slot(order: &CatchUpOrder<'_>, pair: &Pair<'_>) -> Result<Option<Lost>, Failure> {
    let failed = |error: tokio_postgres::Error| query_failed(order.url, "looking at the replication slot", &error);
    let kept = tidy::kept(&pair.target.client, order.capture).await.map_err(failed)?;
    Ok(match (kept, order.wal_limit) {
        (None, _) => Some(Lost::Gone(format!(
            "the replication slot {} is gone: what was written since cannot be told",
            order.capture.slot()
        ))),
        (Some(kept), Some(limit)) if kept > limit => {
            tidy::drop_slot(order.url, &pair.target.client, order.capture).await?;
            Some(Lost::Dropped(format!(
                "the replication slot {} kept {kept} bytes of the server's log, more than the {limit} it may: it was dropped",
                order.capture.slot()
            )))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::Seen;

    #[test]
    fn a_snapshot_sees_what_had_ended() {
        let seen = Seen::parse("10:20:12,15").unwrap();
        let found: Vec<u64> = (8..22).filter(|xid| seen.sees(*xid)).collect();
        assert_eq!(found, [8, 9, 10, 11, 13, 14, 16, 17, 18, 19]);
        assert!(Seen::parse("1:2:").unwrap().sees(1));
        assert!(Seen::parse("1:2").is_none());
    }

    #[test]
    fn half_an_id_is_the_nearest_whole_one() {
        let seen = Seen::parse("4294967290:4294967300:").unwrap();
        assert_eq!(seen.full(5), 4_294_967_301);
        assert_eq!(seen.full(u32::MAX), 4_294_967_295);
        assert_eq!(Seen::parse("5:10:").unwrap().full(12), 12);
        assert_eq!(Seen::parse("4294967200:4294967290:").unwrap().full(3), 4_294_967_299);
    }
}
