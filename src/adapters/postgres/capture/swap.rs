//! Closing the target for a moment, bringing the shadow level, proving it, and swapping the names.

use super::super::catalog::{Exclude, read_catalog};
use super::super::connect::{Session, connect, query_failed};
use super::super::ledger::{APPLIED, BATCH, LEDGER, identifier, ledger_insert, literal, superseded};
use super::catch_up::Pair;
use super::pooler::Pooler;
use super::replay::Stop;
use super::watchman::Watchman;
use super::{proof, shadow};
use crate::adapters::support::pg_bin::Search;
use crate::domain::code::Code;
use crate::domain::connection::ConnectionUrl;
use crate::domain::failure::{Certainty, Failure};
use crate::domain::schema::fingerprint;
use crate::ports::boundary::{Boundary, passed};
use crate::ports::capture::{Capture, CaptureOrder, SwapOrder, SwapStanding, Swapped, Way};
use crate::ports::fence::Fenced;
use futures_util::{SinkExt, StreamExt};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

/// How long the shadow may take to come close before the target is closed.
const APPROACH: Duration = Duration::from_secs(600);

/// A pass that brought no more than this is close enough.
const CLOSE: u64 = 500;

/// Or one that took no longer.
const CLOSE_BY: Duration = Duration::from_millis(50);

/// How often touched rows are compared before the target is closed, while many are found to be the same.
const ROUNDS_AHEAD: usize = 3;

/// How long opening a target again is tried.
const OPENING: Duration = Duration::from_secs(10);

/// How long a session that this role may not end is given to leave by itself.
const LOOKING_IN: Duration = Duration::from_millis(300);

/// How long the drain of a closed target may take.
const DRAIN: Duration = Duration::from_secs(60);

/// How the names stand, as the server's list of databases has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Names {
    target: bool,
    open: bool,
    shadow: bool,
    failed: bool,
}

impl Names {
    async fn read(office: &Client, capture: &Capture) -> Result<Self, tokio_postgres::Error> {
        let sql = "SELECT COALESCE(bool_or(datname = $1), false), COALESCE(bool_or(datname = $1 AND datallowconn), false), \
               COALESCE(bool_or(datname = $2), false), COALESCE(bool_or(datname = $3), false) \
             FROM pg_catalog.pg_database WHERE datname = ANY (ARRAY[$1, $2, $3]::name[])";
        let row = office.query_one(sql, &[&capture.database, &capture.shadow(), &capture.failed()]).await?;
        Ok(Self { target: row.get(0), open: row.get(1), shadow: row.get(2), failed: row.get(3) })
    }

    fn swapped(self) -> bool {
        self.target && self.failed && !self.shadow
    }
}

/// Swaps.
pub(super) async fn swap(
    order: &SwapOrder<'_>,
    exclude: &Exclude,
    search: &Search,
    pooler: Option<&Pooler>,
) -> Result<Swapped, Failure> {
    let (url, capture) = (order.url, order.capture);
    let name = order.effect.application_name();
    let office = connect(&url.with_database(&capture.maintenance), &name).await?;
    let failed = |error: tokio_postgres::Error| query_failed(url, "looking at the names of the databases", &error);
    let names = Names::read(&office.client, capture).await.map_err(failed)?;
    if names.swapped() {
        let told = go_on(pooler).await;
        validate(url, &name).await?;
        return Ok(Swapped { failed: capture.failed(), pooler: told, ..Swapped::default() });
    }
    if names.target && !names.open {
        open(url, &office.client, capture).await?;
    }
    let mut pair = Pair::open(url, capture, &name, order.own).await?;
    check_holder(order, &pair.target.client).await?;
    approach(order, &mut pair).await?;
    // Comparing takes as long as much was touched: so most of it is done while the target is open.
    let mut prepared = proof::prepare(order, &pair).await?;
    proof::start_again(order, &pair).await?;
    for _ in 0..ROUNDS_AHEAD {
        let same = proof::ahead(order, &pair, &prepared).await?;
        (order.progress)(&format!("{same} touched rows are the same so far"));
        approach(order, &mut pair).await?;
        let before = std::mem::replace(&mut prepared, proof::prepare(order, &pair).await?);
        if !prepared.knows_what(&before) {
            proof::start_again(order, &pair).await?;
        } else if same <= CLOSE {
            break;
        }
    }
    bring_bookkeeping(order, &pair.shadow.client).await?;
    let dressing = shadow::dressing(&pair.shadow.client)
        .await
        .map_err(|error| query_failed(url, "reading what the shadow goes without", &error))?;

    let oid = "SELECT oid FROM pg_catalog.pg_database WHERE datname = $1";
    let oid = office.client.query_one(oid, &[&capture.database]).await.map_err(failed)?.get(0);
    let watchman = Watchman::stand(search, url, capture, oid, pooler).await;
    let mut held_back = hold_back(order, pooler).await;
    let begun = Instant::now();
    (order.progress)("closing the target");
    let result = closed(order, &office, pair, exclude, &dressing, prepared).await;
    let result = match result {
        Ok(mut swapped) => {
            swapped.fence_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            passed(Boundary::Swapped, "");
            held_back.end(order).await;
            swapped.pooler = held_back.told();
            office.close().await;
            // The swap has happened: what does not hold is told when it is settled.
            let _ = validate(url, &name).await;
            Ok(swapped)
        }
        Err(failure) => {
            let failure = reopened(order, &office, failure).await;
            held_back.end(order).await;
            Err(failure)
        }
    };
    match watchman {
        // Somebody still has to let them go on.
        Some(watchman) if held_back.stuck => watchman.act(),
        Some(watchman) => watchman.leave(),
        None => {}
    }
    result
}

/// Clients that are held back at a pooler while the target is closed.
struct HeldBack<'a> {
    pooler: Option<&'a Pooler>,
    since: Instant,
    /// What became of it, in words.
    told: Option<String>,
    /// Whether they may still be waiting.
    stuck: bool,
}

/// Holds the pooler's clients back, if there is one that can.
async fn hold_back<'a>(order: &SwapOrder<'_>, pooler: Option<&'a Pooler>) -> HeldBack<'a> {
    let mut held = HeldBack { pooler: None, since: Instant::now(), told: None, stuck: false };
    let Some(pooler) = pooler else { return held };
    match pooler.pause().await {
        Ok(()) => {
            (order.progress)("clients wait at the pooler");
            held.pooler = Some(pooler);
        }
        Err(why) => {
            let told = format!("clients were not held back at the pooler: {why}");
            (order.progress)(&told);
            held.told = Some(told);
        }
    }
    held
}

impl HeldBack<'_> {
    /// Lets them go on.
    async fn end(&mut self, order: &SwapOrder<'_>) {
        let Some(pooler) = self.pooler.take() else { return };
        let told = match pooler.resume().await {
            Ok(()) => format!("clients waited at the pooler for {} ms", self.since.elapsed().as_millis()),
            Err(why) => {
                self.stuck = true;
                why
            }
        };
        (order.progress)(&told);
        self.told = Some(told);
    }

    fn told(&mut self) -> Option<String> {
        self.told.take()
    }
}

/// Lets clients go on whom a process that died may have held back; what is to be said of it.
async fn go_on(pooler: Option<&Pooler>) -> Option<String> {
    pooler?.resume().await.err()
}

/// Opens the target after a swap that came to nothing, and says so.
async fn reopened(order: &SwapOrder<'_>, office: &Session, failure: Failure) -> Failure {
    let (url, capture) = (order.url, order.capture);
    let mut opened = settle_names(url, &office.client, capture).await;
    if opened.is_err()
        && let Ok(again) = connect(&url.with_database(&capture.maintenance), &order.effect.application_name()).await
    {
        // The connection that failed may be this one.
        opened = settle_names(url, &again.client, capture).await;
    }
    match opened {
        Ok(names) if names.swapped() => {
            failure.certainty(Certainty::InDoubt).cause("the names are swapped all the same")
        }
        Ok(_) => failure.hint("the target is open again, as it was"),
        Err(open) => failure
            .certainty(Certainty::InDoubt)
            .cause(format!("the target could not be opened again: {}", open.message))
            .hint(
                "`dbd resume` opens it; or by hand, from another database: ALTER DATABASE ... ALLOW_CONNECTIONS true",
            ),
    }
}

/// Opens the target unless the names are swapped.
async fn settle_names(url: &ConnectionUrl, office: &Client, capture: &Capture) -> Result<Names, Failure> {
    let failed = |error: tokio_postgres::Error| query_failed(url, "looking at the names of the databases", &error);
    let names = Names::read(office, capture).await.map_err(failed)?;
    if !names.swapped() && names.target && !names.open {
        open(url, office, capture).await?;
    }
    Ok(names)
}

async fn open(url: &ConnectionUrl, office: &Client, capture: &Capture) -> Result<(), Failure> {
    let sql = format!("ALTER DATABASE {} WITH ALLOW_CONNECTIONS true", identifier(&capture.database));
    let begun = Instant::now();
    loop {
        let Err(error) = office.batch_execute(&sql).await else { return Ok(()) };
        let failure = query_failed(url, "opening the target again", &error);
        // The watchman of the process that died may be at it at the same moment: then one of the two is refused.
        let names = Names::read(office, capture)
            .await
            .map_err(|error| query_failed(url, "opening the target again", &error))?;
        if names.open {
            return Ok(());
        }
        if begun.elapsed() > OPENING {
            return Err(failure);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn check_holder(order: &SwapOrder<'_>, target: &Client) -> Result<(), Failure> {
    let mine = target
        .query_one("SELECT EXISTS (SELECT FROM dbd.lease WHERE token = $1)", &[&order.holder.token])
        .await
        .map_err(|error| query_failed(order.url, "reading the lease", &error))?;
    if mine.get(0) { Ok(()) } else { Err(superseded(order.holder)) }
}

/// Replays until only a little is left: the target is closed for as long as the rest takes.
async fn approach(order: &SwapOrder<'_>, pair: &mut Pair<'_>) -> Result<(), Failure> {
    let begun = Instant::now();
    // Decoding sees only what is on the disk: without the marker, what was committed asynchronously would be left for the closed target.
    let marker = if order.capture.way == Way::Slot { pair.mark().await? } else { 0 };
    let mut seen = 0;
    loop {
        let pass = Instant::now();
        let done = pair.pass().await.map_err(|stop| stopped(order, stop))?;
        seen = seen.max(done.marker);
        if seen >= marker && done.level && (done.rows <= CLOSE || pass.elapsed() < CLOSE_BY) {
            return Ok(());
        }
        (order.progress)(&format!("{} rows replayed", done.rows));
        if begun.elapsed() > APPROACH {
            return Err(Failure::new(
                Code::NotRestored,
                format!("{}: more is written than can be replayed", order.url.place()),
            )
            .certainty(Certainty::Transient)
            .hint("try again when less is written"));
        }
    }
}

fn stopped(order: &SwapOrder<'_>, stop: Stop) -> Failure {
    match stop {
        Stop::Failed(failure) => failure,
        Stop::Blocked(why) => Failure::new(
            Code::WouldLoseRows,
            format!("{} cannot go back without losing what was written", order.url.place()),
        )
        .cause(why)
        .hint("roll forward: mend it by a new migration")
        .hint("or go back by the backup, which forgets what was written since: `dbd rollback` says how much"),
    }
}

/// dbd's own schema is in no dump: it is made in the shadow, and filled when the target is closed.
async fn bring_bookkeeping(order: &SwapOrder<'_>, shadow: &Client) -> Result<(), Failure> {
    let tracking =
        order.tracking.filter(|tracking| tracking.table.starts_with("dbd.")).map_or("", |tracking| &*tracking.create);
    let sql = format!("BEGIN; DROP SCHEMA IF EXISTS dbd CASCADE; {LEDGER}; {APPLIED}; {BATCH}; {tracking}; COMMIT");
    shadow
        .batch_execute(&sql)
        .await
        .map_err(|error| query_failed(order.url, "preparing the shadow's bookkeeping", &error))
}

/// From the moment the target is closed to the swapped names.
async fn closed(
    order: &SwapOrder<'_>,
    office: &Session,
    mut pair: Pair<'_>,
    exclude: &Exclude,
    dressing: &str,
    prepared: proof::Prepared,
) -> Result<Swapped, Failure> {
    let (url, capture) = (order.url, order.capture);
    let failed = |what: &'static str| move |error: tokio_postgres::Error| query_failed(url, what, &error);
    let pids = pids(&pair).await.map_err(failed("asking for the backends of this process"))?;
    let close = format!("ALTER DATABASE {} WITH ALLOW_CONNECTIONS false", identifier(&capture.database));
    office.client.batch_execute(&close).await.map_err(failed("closing the target"))?;
    passed(Boundary::TargetClosed, "");
    let ended = empty(order, &office.client, &capture.database, &pids).await?;
    passed(Boundary::TargetEmpty, "");
    (order.progress)("nobody is in the target");

    let target = &pair.target.client;
    let undecided =
        "SELECT gid FROM pg_catalog.pg_prepared_xacts WHERE database = pg_catalog.current_database() LIMIT 1";
    if let Some(row) = target.query_opt(undecided, &[]).await.map_err(failed("looking for prepared transactions"))? {
        return Err(Failure::new(
            Code::WouldLoseRows,
            format!("the prepared transaction `{}` of {} is open", row.get::<_, String>(0), url.place()),
        )
        .hint("commit it or roll it back, then go back"));
    }
    check_holder(order, target).await?;
    // Its commit is flushed, and with it every commit before that was acknowledged without.
    let marker = pair.mark().await?;
    drain(order, &mut pair, marker).await?;
    passed(Boundary::ShadowLevel, "");
    (order.progress)("the shadow is level");

    let target = &pair.target.client;
    if let Some(expected) = order.expected {
        let catalog = read_catalog(target, exclude).await.map_err(failed("reading the catalog"))?;
        let found = fingerprint(&catalog);
        if found != *expected {
            return Err(Failure::new(Code::TargetChanged, "the target's schema is not the one the migration left")
                .cause(format!("left {}, found {}", expected.short(), found.short()))
                .hint("somebody else changed the schema: going back would undo that as well, so decide by hand"));
        }
    }
    let proven = proof::touched(order, &pair, prepared).await?;
    (order.progress)("touched rows are the same");
    dress(order, &pair, dressing).await?;
    passed(Boundary::ShadowDressed, "");
    (order.progress)("the shadow is ready");

    pair.close().await;
    empty(order, &office.client, &capture.database, &[]).await?;
    empty(order, &office.client, &capture.shadow(), &[]).await?;
    (order.progress)("swapping the names");
    rename(order, &office.client).await?;
    Ok(Swapped { ended, proven: proven.0, touched: proven.1, failed: capture.failed(), ..Swapped::default() })
}

async fn pids(pair: &Pair<'_>) -> Result<Vec<i32>, tokio_postgres::Error> {
    let mut pids = Vec::new();
    for session in [&pair.target, &pair.shadow] {
        pids.push(session.client.query_one("SELECT pg_catalog.pg_backend_pid()", &[]).await?.get(0));
    }
    Ok(pids)
}

/// Ends every session in a database but `ours`, and waits until they are gone, those included that were about to come in.
///
/// A backend that starts holds a lock on its database until it is listed; so who asks for the locks first and for the list then misses nobody.
/// Autovacuum has no user, and the renaming sends it away; of what kind another role's session is, an ordinary role is not told.
async fn empty(order: &SwapOrder<'_>, office: &Client, database: &str, ours: &[i32]) -> Result<u64, Failure> {
    let failed = |error: tokio_postgres::Error| query_failed(order.url, "ending the sessions", &error);
    let begun = Instant::now();
    let mut ended = 0;
    loop {
        let starting: i64 = office
            .query_one(
                "SELECT count(*) FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_database d ON d.oid = l.objid \
                 WHERE l.locktype = 'object' AND l.classid = 'pg_catalog.pg_database'::regclass AND d.datname = $1 \
                   AND l.pid <> ALL ($2) AND l.pid NOT IN (SELECT pid FROM pg_catalog.pg_stat_activity WHERE usesysid IS NULL)",
                &[&database, &ours],
            )
            .await
            .map_err(failed)?
            .get(0);
        let counted = office
            .query_one(
                "SELECT count(*), count(*) FILTER (WHERE pg_catalog.pg_terminate_backend(pid)), min(pid), min(usename) FROM pg_catalog.pg_stat_activity \
                 WHERE datname = $1 AND pid <> ALL ($2) AND usesysid IS NOT NULL",
                &[&database, &ours],
            )
            .await;
        let row = match counted {
            Ok(row) => row,
            // A superuser's session, which this role may not end; it may be on its way out, as one that only looked in is.
            Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
                if begun.elapsed() < LOOKING_IN {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    continue;
                }
                return Err(whose(office, database, ours, failed(error)).await);
            }
            Err(error) => return Err(failed(error)),
        };
        let left: i64 = row.get(0);
        if left == 0 && starting == 0 {
            return Ok(ended);
        }
        ended = ended.max(u64::try_from(left).unwrap_or(0));
        if begun.elapsed() > order.fence_timeout {
            let (pid, user): (Option<i32>, Option<String>) = (row.get(2), row.get(3));
            return Err(Failure::new(
                Code::SessionsInTheWay,
                format!("{left} sessions in {database} would not end within {:?}", order.fence_timeout),
            )
            .certainty(Certainty::Transient)
            .cause(format!(
                "one of them is pid {} of {}",
                pid.unwrap_or_default(),
                user.unwrap_or_default()
            )));
        }
        // Waiting for a state of the server that it does not announce.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Names the sessions that are in the way.
async fn whose(office: &Client, database: &str, ours: &[i32], failure: Failure) -> Failure {
    let sql = "SELECT pg_catalog.format('pid %s of %s, %s', pid, usename, COALESCE(NULLIF(application_name, ''), backend_type)) \
               FROM pg_catalog.pg_stat_activity WHERE datname = $1 AND pid <> ALL ($2) AND usesysid IS NOT NULL LIMIT 5";
    let there = office.query(sql, &[&database, &ours]).await.unwrap_or_default();
    there.iter().fold(failure, |failure, row| failure.cause(format!("in {database}: {}", row.get::<_, String>(0))))
}

/// Replays the last of it: nobody writes any more.
async fn drain(order: &SwapOrder<'_>, pair: &mut Pair<'_>, marker: u64) -> Result<(), Failure> {
    let begun = Instant::now();
    loop {
        let done = pair.last_pass().await.map_err(|stop| stopped(order, stop))?;
        let over = match order.capture.way {
            Way::Slot => done.marker >= marker,
            Way::Triggers => true,
        };
        if over {
            return Ok(());
        }
        if begun.elapsed() > DRAIN {
            return Err(Failure::new(Code::NotRestored, "the last of what was written did not come in time")
                .certainty(Certainty::Transient));
        }
    }
}

/// Gives the shadow what it went without, in one transaction: sequences, triggers, foreign keys, dbd's bookkeeping with this effect's row.
async fn dress(order: &SwapOrder<'_>, pair: &Pair<'_>, dressing: &str) -> Result<(), Failure> {
    let url = order.url;
    let failed = |error: tokio_postgres::Error| query_failed(url, "making the shadow ready", &error);
    let (target, shadow) = (&pair.target.client, &pair.shadow.client);
    // `pg_sequence_last_value` is null where no value was taken yet.
    let sequences = target
        .query(
            "SELECT s.name, CASE WHEN c.relkind = 'S' THEN pg_catalog.pg_sequence_last_value(c.oid) END::text FROM dbd_capture.sequence s JOIN pg_catalog.pg_class c \
             ON c.oid = CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_class WHERE oid = s.rel) THEN s.rel ELSE pg_catalog.to_regclass(s.name)::oid END \
             WHERE c.relkind = 'S'",
            &[],
        )
        .await
        .map_err(failed)?;
    let mut sql = String::from("BEGIN;\n");
    for row in &sequences {
        let (name, last): (String, Option<String>) = (row.get(0), row.get(1));
        let Some(last) = last else { continue };
        let _ = writeln!(sql, "SELECT pg_catalog.setval({}::regclass, {last}, true);", literal(&name));
    }
    sql.push_str(dressing);
    shadow.batch_execute(&sql).await.map_err(failed)?;
    // A target that an earlier dbd made ready may lack a table, or a column of one.
    let own = "SELECT c.relname::text, pg_catalog.array_agg(pg_catalog.quote_ident(a.attname) ORDER BY a.attnum) \
               FROM pg_catalog.pg_class c JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
               WHERE c.relnamespace = pg_catalog.to_regnamespace('dbd') AND c.relkind = 'r' GROUP BY 1";
    let tables = shadow.query(own, &[]).await.map_err(failed)?;
    let there = target.query(own, &[]).await.map_err(failed)?;
    let there: BTreeMap<String, Vec<String>> = there.iter().map(|row| (row.get(0), row.get(1))).collect();
    for row in &tables {
        let (table, columns): (String, Vec<String>) = (row.get(0), row.get(1));
        // What this run applied is applied no more.
        let without = match table.as_str() {
            "applied" | "migration" => format!(" WHERE run_id IS DISTINCT FROM {}", literal(order.holder.run.as_str())),
            _ => String::new(),
        };
        let Some(of_target) = there.get(&table) else { continue };
        let columns: Vec<String> = columns.into_iter().filter(|column| of_target.contains(column)).collect();
        let columns = columns.join(", ");
        let from = format!("COPY (SELECT {columns} FROM dbd.{}{without}) TO STDOUT", identifier(&table));
        let mut from = Box::pin(target.copy_out(&from).await.map_err(failed)?);
        let to = format!("COPY dbd.{} ({columns}) FROM STDIN", identifier(&table));
        let mut to = Box::pin(shadow.copy_in::<_, std::io::Cursor<Vec<u8>>>(&to).await.map_err(failed)?);
        while let Some(piece) = from.next().await {
            to.send(std::io::Cursor::new(piece.map_err(failed)?.to_vec())).await.map_err(failed)?;
        }
        to.as_mut().finish().await.map_err(failed)?;
    }
    let row = ledger_insert(order.holder, order.effect, order.anchor, "swap", "swap", "applied", false);
    let written = shadow.execute(&row, &[]).await.map_err(failed)?;
    if written != 1 {
        return Err(superseded(order.holder));
    }
    shadow.batch_execute("COMMIT").await.map_err(failed)
}

/// Both names or none.
async fn rename(order: &SwapOrder<'_>, office: &Client) -> Result<(), Failure> {
    let (url, capture) = (order.url, order.capture);
    let failed = |error: tokio_postgres::Error| {
        let certainty = if super::super::connect::lost(&error) { Certainty::InDoubt } else { Certainty::Transient };
        query_failed(url, "swapping the names", &error).certainty(certainty)
    };
    office.batch_execute("BEGIN").await.map_err(failed)?;
    let swapped = async {
        let away =
            format!("ALTER DATABASE {} RENAME TO {}", identifier(&capture.database), identifier(&capture.failed()));
        office.batch_execute(&away).await.map_err(failed)?;
        // Whoever opened it meanwhile may have let somebody in whose rows nobody captured after the marker.
        let sql = "SELECT datallowconn FROM pg_catalog.pg_database WHERE datname = $1";
        let open: bool = office.query_one(sql, &[&capture.failed()]).await.map_err(failed)?.get(0);
        if open {
            return Err(Failure::new(
                Code::TargetChanged,
                format!("{} was opened while it was to be closed", url.place()),
            )
            .certainty(Certainty::Transient));
        }
        let here =
            format!("ALTER DATABASE {} RENAME TO {}", identifier(&capture.shadow()), identifier(&capture.database));
        office.batch_execute(&here).await.map_err(failed)
    };
    if let Err(failure) = swapped.await {
        let _ = office.batch_execute("ROLLBACK").await;
        return Err(failure);
    }
    passed(Boundary::SwapOpen, "");
    office.batch_execute("COMMIT").await.map_err(failed)
}

/// How a swap that was cut off stands: the server's list of databases tells.
pub(super) async fn standing(
    order: &CaptureOrder<'_>,
    fenced: &Fenced,
    pooler: Option<&Pooler>,
) -> Result<SwapStanding, Failure> {
    let (url, capture) = (order.url, order.capture);
    let office = connect(&url.with_database(&capture.maintenance), "dbd probe").await?;
    let names = settle_names(url, &office.client, capture).await?;
    office.close().await;
    let told = go_on(pooler).await;
    if names.swapped() {
        validate(url, "dbd probe").await?;
        let swapped = Swapped { failed: capture.failed(), pooler: told, ..Swapped::default() };
        let evidence = format!("{}; the database gone back from is {}", fenced.evidence(), capture.failed());
        return Ok(SwapStanding::Swapped { swapped, evidence });
    }
    if !names.target {
        return Err(Failure::new(
            Code::InDoubt,
            format!("there is no database {} on {}", capture.database, url.place()),
        )
        .cause(format!("{} is {}there", capture.shadow(), if names.shadow { "" } else { "not " }))
        .hint("somebody renamed or dropped databases: ask them"));
    }
    let mut evidence = match names.open {
        true => format!("{}; the target has its name and is open", fenced.evidence()),
        false => format!("{}; the target had its name and was closed: it is open again", fenced.evidence()),
    };
    if let Some(told) = told {
        evidence = format!("{evidence}; {told}");
    }
    Ok(SwapStanding::NotSwapped { evidence })
}

/// Checks the foreign keys that came back without a look at the rows, and tells which do not hold. Nobody is kept waiting by it.
async fn validate(url: &ConnectionUrl, name: &str) -> Result<Vec<String>, Failure> {
    let session = connect(url, name).await?;
    let client = &session.client;
    let failed = |error: tokio_postgres::Error| query_failed(url, "checking the foreign keys", &error);
    let mut told = Vec::new();
    let there = "SELECT pg_catalog.to_regclass('dbd_shadow.reference') IS NOT NULL";
    if client.query_one(there, &[]).await.map_err(failed)?.get(0) {
        let references = client
            .query(
                "SELECT r.tab, r.name FROM dbd_shadow.reference r JOIN pg_catalog.pg_constraint k \
                   ON k.conrelid = pg_catalog.to_regclass(r.tab) AND k.conname = r.name \
                 WHERE r.in_steps AND NOT k.convalidated",
                &[],
            )
            .await
            .map_err(failed)?;
        for row in &references {
            let (table, name): (String, String) = (row.get(0), row.get(1));
            let sql = format!("ALTER TABLE {table} VALIDATE CONSTRAINT {}", identifier(&name));
            if let Err(error) = client.batch_execute(&sql).await {
                let why = query_failed(url, "checking it", &error).causes.join("; ");
                told.push(format!("the foreign key {name} of {table} does not hold: {why}"));
            }
        }
    }
    session.close().await;
    Ok(told)
}

/// What follows at leisure, on the database that is now the target.
pub(super) async fn settle(order: &CaptureOrder<'_>) -> Result<Vec<String>, Failure> {
    let url = order.url;
    let session = connect(url, &order.effect.application_name()).await?;
    let client = &session.client;
    let failed = |error: tokio_postgres::Error| query_failed(url, "looking after what was swapped in", &error);
    let mut told = validate(url, &order.effect.application_name()).await?;
    let views = client
        .query(
            "SELECT c.oid::regclass::text FROM pg_catalog.pg_class c WHERE c.relkind = 'm' AND c.relispopulated ORDER BY c.oid",
            &[],
        )
        .await
        .map_err(failed)?;
    for row in &views {
        let view: String = row.get(0);
        if let Err(error) = client.batch_execute(&format!("REFRESH MATERIALIZED VIEW {view}")).await {
            told.push(format!(
                "the materialised view {view} could not be refreshed: {}",
                query_failed(url, "refreshing it", &error).causes.join("; ")
            ));
        }
    }
    client.batch_execute("SET client_min_messages = error; ANALYZE").await.map_err(failed)?;
    session.close().await;
    Ok(told)
}
