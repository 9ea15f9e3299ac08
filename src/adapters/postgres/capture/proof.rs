//! Comparing every row that was touched, on both sides: ahead while the target is open, and what was touched since while nobody can write.

use super::super::connect::query_failed;
use super::super::ledger::identifier;
use super::catch_up::Pair;
use super::shape::{OldTable, Shape};
use crate::domain::code::Code;
use crate::domain::failure::Failure;
use crate::ports::capture::{SwapOrder, Way};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use tokio_postgres::types::ToSql;

/// How many keys are compared at once.
const KEYS_AT_ONCE: usize = 5_000;

/// How many while the target is open: one row that is being written leaves the whole lot for later.
const KEYS_AHEAD: usize = 250;

/// How long comparing ahead may take.
const AHEAD: Duration = Duration::from_secs(60);

/// How many are compared in a millisecond at the very best.
const KEYS_A_MILLISECOND: i64 = 100;

/// A table that is compared whole must not be larger than this.
const SMALL: i64 = 8 << 20;

/// How many tables, or parts of them, are compared at once.
const AT_ONCE: usize = 8;

/// One table, and what of it is compared.
struct Compared {
    table: OldTable,
    /// Its name on the target.
    there: String,
    /// Columns: on the target, in the shadow.
    columns: Vec<(String, String)>,
    /// The key's columns: on the target, in the shadow, with their type.
    key: Vec<(String, String, String)>,
}

/// What of each table can be compared: asked for while the target is still open.
pub(super) struct Prepared {
    tables: BTreeMap<i32, Compared>,
    shapes: BTreeMap<u32, Shape>,
    modified: Modified,
}

/// The columns the migration itself changed, by table; an empty name for rows that it put in or took out.
type Modified = BTreeMap<i32, BTreeSet<String>>;

/// Prepares the comparison.
pub(super) async fn prepare(order: &SwapOrder<'_>, pair: &Pair<'_>) -> Result<Prepared, Failure> {
    let failed =
        |error: tokio_postgres::Error| query_failed(order.url, "preparing the comparison of touched rows", &error);
    let modified = modified(order, pair).await.map_err(failed)?;
    prepared(pair, modified).await.map_err(failed)
}

impl Prepared {
    /// Whether what is known of the migration is the same in both.
    pub(super) fn knows_what(&self, other: &Self) -> bool {
        self.shapes == other.shapes && self.modified == other.modified
    }
}

/// Forgets what was found the same: by another process, or with less known of the migration.
pub(super) async fn start_again(order: &SwapOrder<'_>, pair: &Pair<'_>) -> Result<(), Failure> {
    let sql = "UPDATE dbd_shadow.touched SET same = false WHERE same";
    let failed =
        |error: tokio_postgres::Error| query_failed(order.url, "comparing touched rows from the start", &error);
    pair.shadow.client.batch_execute(sql).await.map_err(failed)
}

async fn prepared(pair: &Pair<'_>, modified: Modified) -> Result<Prepared, tokio_postgres::Error> {
    let mut tables = BTreeMap::new();
    for id in pair.tables().keys() {
        if let Some(one) = compared(pair, *id, &modified).await? {
            tables.insert(*id, one);
        }
    }
    Ok(Prepared { tables, shapes: pair.shapes().clone(), modified })
}

/// Compares touched rows while the target is open, and remembers those that are the same: only what is touched afterwards is left for the closed
/// target, however much was written before. A row that differs may be on its way, and is left as well. Gives how many rows were found the same.
pub(super) async fn ahead(order: &SwapOrder<'_>, pair: &Pair<'_>, prepared: &Prepared) -> Result<u64, Failure> {
    let failed = |error: tokio_postgres::Error| query_failed(order.url, "comparing touched rows ahead", &error);
    let (begun, shadow) = (Instant::now(), &pair.shadow.client);
    let more =
        "SELECT id, key FROM dbd_shadow.touched WHERE NOT same AND (id, key) > ($1, $2) ORDER BY id, key LIMIT $3";
    let note = "UPDATE dbd_shadow.touched SET same = true WHERE id = $1 AND key = ANY ($2)";
    let (mut at, mut same) = ((i32::MIN, String::new()), 0);
    let most = i64::try_from(KEYS_AHEAD * AT_ONCE).unwrap_or(i64::MAX);
    while begun.elapsed() < AHEAD {
        let rows = shadow.query(more, &[&at.0, &at.1, &most]).await.map_err(failed)?;
        let Some(last) = rows.last() else { break };
        at = (last.get(0), last.get(1));
        let mut keys: BTreeMap<i32, Vec<String>> = BTreeMap::new();
        for row in &rows {
            keys.entry(row.get(0)).or_default().push(row.get(1));
        }
        // What is compared as a whole is left: it stands for rows that have no key to tell them by.
        let work = keys.iter().filter(|(_, keys)| !keys.iter().any(String::is_empty));
        let work = work.filter_map(|(id, keys)| Some((*id, prepared.tables.get(id)?, keys)));
        let work = work.filter(|(_, compared, _)| !compared.key.is_empty());
        let lots = work.flat_map(|(id, compared, keys)| keys.chunks(KEYS_AHEAD).map(move |keys| (id, compared, keys)));
        let looks = lots.map(|(id, compared, keys)| async move {
            let (ours, theirs) = sums(order, pair, compared, keys).await?;
            Ok::<_, Failure>((ours == theirs).then_some((id, keys)))
        });
        for (id, keys) in futures_util::future::try_join_all(looks).await?.into_iter().flatten() {
            same += shadow.execute(note, &[&id, &keys]).await.map_err(failed)?;
        }
    }
    Ok(same)
}

/// Compares touched rows for as long as the budget lasts: how many were compared, how many there are. The target is closed; what was found the
/// same [`ahead`] and not touched since counts as compared, unless the migration turns out to have changed more than was known then.
pub(super) async fn touched(order: &SwapOrder<'_>, pair: &Pair<'_>, earlier: Prepared) -> Result<(u64, u64), Failure> {
    let failed = |error: tokio_postgres::Error| query_failed(order.url, "comparing touched rows", &error);
    let begun = Instant::now();
    let shadow = &pair.shadow.client;
    let mut keys: BTreeMap<i32, Vec<String>> = BTreeMap::new();
    // No more than there is time for: millions of keys take long to read alone.
    let most = i64::try_from(order.proof_budget.as_millis()).unwrap_or(i64::MAX).saturating_mul(KEYS_A_MILLISECOND);
    // A migration may have come in with the last of what was written: one whose process died, or whose commit was not yet on the disk. It
    // need not have changed a shape.
    let modified = modified(order, pair).await.map_err(failed)?;
    let known = earlier.shapes == *pair.shapes() && earlier.modified == modified;
    let wanted: [&(dyn ToSql + Sync); 2] = [&most, &known];
    let (rows, all) = tokio::join!(
        shadow.query("SELECT id, key FROM dbd_shadow.touched WHERE NOT (same AND $2) LIMIT $1", &wanted),
        shadow.query_one("SELECT count(*), count(*) FILTER (WHERE same) FROM dbd_shadow.touched", &[])
    );
    let prepared = if known { earlier } else { prepared(pair, modified).await.map_err(failed)? };
    for row in rows.map_err(failed)? {
        keys.entry(row.get(0)).or_default().push(row.get(1));
    }
    let all = all.map_err(failed)?;
    let count = |at: usize| u64::try_from(all.get::<_, i64>(at)).unwrap_or(0);
    let mut work = Vec::new();
    for (id, keys) in &keys {
        let Some(compared) = prepared.tables.get(id) else { continue };
        if keys.iter().any(String::is_empty) || compared.key.is_empty() {
            work.push((compared, keys.as_slice(), true));
        } else {
            work.extend(keys.chunks(KEYS_AT_ONCE).map(|keys| (compared, keys, false)));
        }
    }
    let mut proven = if known { count(1) } else { 0 };
    for some in work.chunks(AT_ONCE) {
        if begun.elapsed() > order.proof_budget {
            break;
        }
        // Both servers' sessions are kept busy: nobody waits for an answer before the next question.
        let some = some.iter().map(|(compared, keys, whole)| async move {
            let done = if *whole {
                compare_whole(order, pair, compared).await?
            } else {
                compare(order, pair, compared, keys).await?;
                true
            };
            Ok::<u64, Failure>(if done { keys.len() as u64 } else { 0 })
        });
        proven += futures_util::future::try_join_all(some).await?.into_iter().sum::<u64>();
    }
    Ok((proven, count(0)))
}

async fn modified(order: &SwapOrder<'_>, pair: &Pair<'_>) -> Result<Modified, tokio_postgres::Error> {
    let mut modified = Modified::new();
    for row in pair.shadow.client.query("SELECT id, col FROM dbd_shadow.modified", &[]).await? {
        modified.entry(row.get(0)).or_default().insert(row.get(1));
    }
    let sql = "SELECT DISTINCT a.id FROM dbd_capture.modified m JOIN dbd_capture.alias a ON a.rel = m.rel";
    // A slot told which columns it were.
    if pair.capture.way == Way::Triggers {
        for row in pair.target.client.query(sql, &[]).await? {
            modified.entry(row.get(0)).or_default().insert(String::new());
        }
    }
    for (id, table) in pair.tables() {
        if let Some(columns) = order.modified.get(&table.name) {
            let one = modified.entry(*id).or_default();
            one.extend(columns.iter().cloned());
            if columns.is_empty() {
                one.insert(String::new());
            }
        }
    }
    Ok(modified)
}

/// What of a table can be compared; none if nothing can.
async fn compared(pair: &Pair<'_>, id: i32, modified: &Modified) -> Result<Option<Compared>, tokio_postgres::Error> {
    let Some(table) = pair.tables().get(&id) else { return Ok(None) };
    let none = BTreeSet::new();
    let changed = modified.get(&id).unwrap_or(&none);
    if changed.contains("") {
        return Ok(None);
    }
    let mut stands = pair.shapes().values().filter(|shape| shape.id == id);
    // A table whose rows are in several relations now is not compared.
    let (Some(shape), None) = (stands.next(), stands.next()) else { return Ok(None) };
    let rows = pair
        .target
        .client
        .query(
            "SELECT c.oid::regclass::text, a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod) FROM pg_catalog.pg_class c \
             JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped WHERE c.oid = $1",
            &[&shape.rel],
        )
        .await?;
    let Some(first) = rows.first() else { return Ok(None) };
    let there: String = first.get(0);
    let types: BTreeMap<String, String> = rows.iter().map(|row| (row.get(1), row.get(2))).collect();
    let mut columns = Vec::new();
    for (now, old) in &shape.columns {
        let Some(old) = old else { continue };
        let same_type = table.columns.iter().any(|(name, kind)| name == old && types.get(now) == Some(kind));
        if same_type && !changed.contains(old) {
            columns.push((identifier(now), identifier(old)));
        }
    }
    let mut key = Vec::new();
    for name in table.key.iter().flatten() {
        let now = shape.columns.iter().find(|(_, old)| old.as_ref() == Some(name)).map(|(now, _)| identifier(now));
        let kind = table.columns.iter().find(|(column, _)| column == name).map(|(_, kind)| kind.clone());
        match (now, kind) {
            (Some(now), Some(kind)) => key.push((now, identifier(name), kind)),
            _ => return Ok(None),
        }
    }
    Ok(Some(Compared { table: table.clone(), there, columns, key }))
}

impl Compared {
    fn only(&self) -> &'static str {
        if self.table.partitioned { "" } else { "ONLY " }
    }

    fn from(&self, target: bool) -> String {
        if target { format!("ONLY {}", self.there) } else { format!("{}{}", self.only(), self.table.name) }
    }

    fn row(&self, target: bool) -> String {
        let columns: Vec<String> =
            self.columns.iter().map(|(now, old)| format!("t.{}", if target { now } else { old })).collect();
        format!("ROW({})::text", columns.join(", "))
    }

    /// Rows of the given keys, one array of text for each of the key's columns.
    fn keyed(&self, target: bool, wanted: &str) -> String {
        let arrays: Vec<String> = (1..=self.key.len()).map(|at| format!("pg_catalog.unnest(${at}::text[])")).collect();
        let names: Vec<String> = (1..=self.key.len()).map(|at| format!("k{at}")).collect();
        let on: Vec<String> = self
            .key
            .iter()
            .zip(&names)
            .map(|((now, old, kind), name)| format!("t.{} = k.{name}::{kind}", if target { now } else { old }))
            .collect();
        format!(
            "SELECT {wanted} FROM ROWS FROM ({}) AS k ({}) JOIN {} t ON {}",
            arrays.join(", "),
            names.join(", "),
            self.from(target),
            on.join(" AND ")
        )
    }
}

const SUM: &str = "count(*), COALESCE(sum(pg_catalog.hashtextextended({row}, 0)), 0)::text";

async fn compare_whole(order: &SwapOrder<'_>, pair: &Pair<'_>, compared: &Compared) -> Result<bool, Failure> {
    let failed = |error: tokio_postgres::Error| query_failed(order.url, "comparing touched rows", &error);
    let size = format!("SELECT pg_catalog.pg_table_size('{}'::regclass)", compared.there.replace('\'', "''"));
    if compared.table.partitioned
        || pair.target.client.query_one(&size, &[]).await.map_err(failed)?.get::<_, i64>(0) > SMALL
    {
        return Ok(false);
    }
    let sql = |target: bool| {
        format!("SELECT {} FROM {} t", SUM.replace("{row}", &compared.row(target)), compared.from(target))
    };
    let (ours, theirs) = (sql(true), sql(false));
    let (ours, theirs) =
        tokio::join!(pair.target.client.query_one(&ours, &[]), pair.shadow.client.query_one(&theirs, &[]));
    let (ours, theirs) = (ours.map_err(failed)?, theirs.map_err(failed)?);
    let told = |row: &tokio_postgres::Row| (row.get::<_, i64>(0), row.get::<_, String>(1));
    if told(&ours) == told(&theirs) {
        return Ok(true);
    }
    let cause = format!("{} has {} rows, the shadow {}", compared.table.name, told(&ours).0, told(&theirs).0);
    Err(differs(compared, cause))
}

/// How many rows with the given keys there are and what they add up to, in the target and in the shadow.
async fn sums(
    order: &SwapOrder<'_>,
    pair: &Pair<'_>,
    compared: &Compared,
    keys: &[String],
) -> Result<((i64, String), (i64, String)), Failure> {
    let failed = |error: tokio_postgres::Error| query_failed(order.url, "comparing touched rows", &error);
    let columns = key_columns(compared, keys)?;
    let parameters: Vec<&(dyn ToSql + Sync)> = columns.iter().map(|one| one as _).collect();
    let sql = |target: bool| compared.keyed(target, &SUM.replace("{row}", &compared.row(target)));
    let (ours, theirs) = (sql(true), sql(false));
    let (ours, theirs) = tokio::join!(
        pair.target.client.query_one(&ours, &parameters),
        pair.shadow.client.query_one(&theirs, &parameters)
    );
    let told = |row: tokio_postgres::Row| (row.get::<_, i64>(0), row.get::<_, String>(1));
    Ok((told(ours.map_err(failed)?), told(theirs.map_err(failed)?)))
}

/// Keys by column.
fn key_columns(compared: &Compared, keys: &[String]) -> Result<Vec<Vec<String>>, Failure> {
    let mut columns: Vec<Vec<String>> = vec![Vec::with_capacity(keys.len()); compared.key.len()];
    for key in keys {
        let values: Vec<String> = serde_json::from_str(key).map_err(|error| super::install::bug(&error))?;
        for (column, value) in columns.iter_mut().zip(values) {
            column.push(value);
        }
    }
    Ok(columns)
}

async fn compare(order: &SwapOrder<'_>, pair: &Pair<'_>, compared: &Compared, keys: &[String]) -> Result<(), Failure> {
    let failed = |error: tokio_postgres::Error| query_failed(order.url, "comparing touched rows", &error);
    let (ours, theirs) = sums(order, pair, compared, keys).await?;
    if ours == theirs {
        return Ok(());
    }
    let columns = key_columns(compared, keys)?;
    let parameters: Vec<&(dyn ToSql + Sync)> = columns.iter().map(|one| one as _).collect();
    // Which one it is.
    let rows = |target: bool| compared.keyed(target, &format!("ROW(k.*)::text, {}", compared.row(target)));
    let ours = pair.target.client.query(&rows(true), &parameters).await.map_err(failed)?;
    let theirs = pair.shadow.client.query(&rows(false), &parameters).await.map_err(failed)?;
    let map = |rows: &[tokio_postgres::Row]| -> BTreeMap<String, String> {
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    };
    let (ours, theirs) = (map(&ours), map(&theirs));
    let all: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    let differing: Vec<&String> = all.into_iter().filter(|key| ours.get(*key) != theirs.get(*key)).collect();
    let first = differing.first().map_or(String::new(), |key| {
        let shown = |side: &BTreeMap<String, String>| {
            side.get(*key).map_or("no row".to_owned(), |row| row.chars().take(200).collect())
        };
        format!("key {key}: {} on the target, {} in the shadow", shown(&ours), shown(&theirs))
    });
    Err(differs(compared, format!("{} of {} rows, {first}", differing.len(), keys.len())))
}

fn differs(compared: &Compared, cause: String) -> Failure {
    Failure::new(Code::CopyDiffers, format!("rows of {} are not the same on the target and in the shadow", compared.table.name))
        .cause(cause)
        .hint("a trigger of the application may write the same row twice in one statement, or the migration may have changed these rows itself")
}
