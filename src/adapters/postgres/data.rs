//! Comparing what two databases hold: over two connections, or joined in SQL through `postgres_fdw`.

use super::catalog::{Exclude, read_catalog};
use super::connect::{Session, connect, look_at_one_moment, query_failed};
use super::ledger::literal;
use crate::domain::code::Code;
use crate::domain::connection::ConnectionUrl;
use crate::domain::failure::Failure;
use crate::domain::schema::catalog::Catalog;
use crate::domain::schema::data::{Comparable, DataComparison, Orphans, RowData, TableData};
use crate::ports::database::Contents;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// What shapes how values are printed, made the same on both sides, as rows are compared by their text: hashes of values are the same only
/// between servers of one major version and one architecture. For a transaction: a pooler would hand a session's settings on.
const SAME_TEXT: &str = "SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, MDY'; SET LOCAL IntervalStyle = 'postgres'; \
     SET LOCAL extra_float_digits = 1; SET LOCAL bytea_output = 'hex'; SET LOCAL lc_monetary = 'C'; SET LOCAL search_path = pg_catalog";

/// As [`SAME_TEXT`], for a session of one's own.
pub(super) fn same_text_for_the_session() -> String {
    SAME_TEXT.replace("SET LOCAL ", "SET ")
}

/// What a server hashes in a second, carefully: half of the 5.5 s per GB that were measured for hashing rows as text.
const BYTES_A_SECOND: u64 = 90 * 1024 * 1024;

/// Rows from each end of the key, of a table too large for the time that is left.
const SAMPLE: i64 = 10_000;

/// Keys of differing rows that are named.
const NAMED_KEYS: usize = 10;

/// One side, reading one snapshot.
struct Side<'a> {
    url: &'a ConnectionUrl,
    session: Session,
}

impl<'a> Side<'a> {
    async fn open(url: &'a ConnectionUrl) -> Result<Self, Failure> {
        let session = look_at_one_moment(url, "dbd compare").await?;
        let side = Self { url, session };
        side.execute(SAME_TEXT).await?;
        Ok(side)
    }

    async fn execute(&self, sql: &str) -> Result<(), Failure> {
        let failed = |error: tokio_postgres::Error| query_failed(self.url, "comparing rows", &error);
        self.session.client.batch_execute(sql).await.map_err(failed)
    }

    /// One row of a query that may take as long as is left; a failure costs this answer, not the snapshot.
    async fn ask(&self, sql: &str, left: Duration) -> Result<tokio_postgres::Row, Failure> {
        self.execute(&format!("SAVEPOINT dbd; SET LOCAL statement_timeout = {}", left.as_millis().max(1))).await?;
        let answer = self.session.client.query_one(sql, &[]).await;
        match answer {
            Ok(row) => {
                self.execute("RELEASE SAVEPOINT dbd").await?;
                Ok(row)
            }
            Err(error) => {
                let failure = query_failed(self.url, "comparing rows", &error);
                self.execute("ROLLBACK TO SAVEPOINT dbd").await?;
                Err(failure)
            }
        }
    }

    async fn sizes(&self) -> Result<BTreeMap<String, u64>, Failure> {
        let sql = "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname), pg_table_size(c.oid) \
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r'";
        let rows = self.session.client.query(sql, &[]).await;
        let rows = rows.map_err(|error| query_failed(self.url, "asking for the sizes of tables", &error))?;
        Ok(rows.iter().map(|row| (row.get(0), u64::try_from(row.get::<_, i64>(1)).unwrap_or(0))).collect())
    }

    /// Foreign keys with the query that counts the rows that refer to nothing; those nobody has checked first.
    async fn foreign_keys(&self) -> Result<Vec<(String, String, String)>, Failure> {
        let sql = "SELECT k.conrelid::regclass::text, quote_ident(k.conname), format( \
               'SELECT count(*) FROM ONLY %s c WHERE %s AND NOT EXISTS (SELECT FROM %s p WHERE %s)', k.conrelid::regclass, \
               (SELECT string_agg(format('c.%I IS NOT NULL', a.attname), ' AND ') FROM unnest(k.conkey) n \
                  JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = n), \
               k.confrelid::regclass, \
               (SELECT string_agg(format('p.%I = c.%I', f.attname, a.attname), ' AND ') FROM unnest(k.conkey, k.confkey) u (n, fn) \
                  JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.n \
                  JOIN pg_attribute f ON f.attrelid = k.confrelid AND f.attnum = u.fn)) \
             FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE k.contype = 'f' AND c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('dbd', 'dbd_keep') \
             ORDER BY k.convalidated, 1, 2";
        let rows = self.session.client.query(sql, &[]).await;
        let rows = rows.map_err(|error| query_failed(self.url, "reading the foreign keys", &error))?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect())
    }

    async fn orphans(&self, name: &str, until: Instant) -> Result<Vec<Orphans>, Failure> {
        let mut orphans = Vec::new();
        for (table, constraint, sql) in self.foreign_keys().await? {
            let left = until.saturating_duration_since(Instant::now());
            let rows = if left.is_zero() { None } else { self.ask(&sql, left).await.ok().map(|row| row.get(0)) };
            if rows != Some(0) {
                orphans.push(Orphans { side: name.to_owned(), table, constraint, rows });
            }
        }
        Ok(orphans)
    }
}

/// Rows as one text each, of the columns both sides have.
fn text_of(columns: &[String], of: &str) -> String {
    let columns: Vec<String> = columns.iter().map(|column| format!("{of}.{column}")).collect();
    format!("ROW({})::text", columns.join(", "))
}

/// Counts the rows and adds up their hashes: the order in which they come does not matter, and a row that is there twice counts twice.
pub(super) fn content(table: &Comparable) -> String {
    format!(
        "SELECT count(*), COALESCE(sum(hashtextextended({}, 0)), 0)::text FROM ONLY {} t",
        text_of(&table.columns, "t"),
        table.table
    )
}

/// The same of the first and the last rows by key.
fn sample(table: &Comparable) -> String {
    let end = |direction: &str| {
        let order: Vec<String> = table.key.iter().map(|column| format!("t.{column} {direction}")).collect();
        format!(
            "(SELECT {} AS row FROM ONLY {} t ORDER BY {} LIMIT {SAMPLE})",
            text_of(&table.columns, "t"),
            table.table,
            order.join(", ")
        )
    };
    format!(
        "SELECT count(*), COALESCE(sum(hashtextextended(row, 0)), 0)::text FROM ({} UNION ALL {}) ends",
        end("ASC"),
        end("DESC")
    )
}

fn unknown(table: &Comparable, how: impl Into<String>) -> TableData {
    TableData {
        table: table.table.clone(),
        source_rows: None,
        target_rows: None,
        same: None,
        how: how.into(),
        sampled: None,
        rows: None,
        columns_left_out: table.columns_left_out,
    }
}

/// Compares `tables` over a connection to each side, smallest first, within `budget`.
pub async fn direct(
    source: &ConnectionUrl,
    target: &ConnectionUrl,
    tables: &[Comparable],
    budget: Duration,
) -> Result<DataComparison, Failure> {
    let until = Instant::now() + budget;
    let (ours, theirs) = tokio::try_join!(Side::open(source), Side::open(target))?;
    let (our_sizes, their_sizes) = tokio::try_join!(ours.sizes(), theirs.sizes())?;
    let size = |table: &Comparable| {
        let of = |sizes: &BTreeMap<String, u64>| sizes.get(&table.table).copied().unwrap_or(0);
        of(&our_sizes).max(of(&their_sizes))
    };
    let mut order: Vec<&Comparable> = tables.iter().collect();
    order.sort_by_key(|table| size(table));
    let mut found = Vec::new();
    for table in order {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            found.push(unknown(table, "the time was over"));
            continue;
        }
        let large = size(table) / BYTES_A_SECOND > left.as_secs();
        if large && table.key.is_empty() {
            found.push(unknown(table, "too large for the time that was left, and without a shared key to sample by"));
            continue;
        }
        let sql = if large { sample(table) } else { content(table) };
        let (our, their) = tokio::join!(ours.ask(&sql, left), theirs.ask(&sql, left));
        found.push(match (our, their) {
            (Ok(our), Ok(their)) => {
                let (our_rows, our_sum): (i64, String) = (our.get(0), our.get(1));
                let (their_rows, their_sum): (i64, String) = (their.get(0), their.get(1));
                let same = our_rows == their_rows && our_sum == their_sum;
                let how = match (large, our_rows == their_rows) {
                    (true, _) => format!("a hash of the first and last {SAMPLE} rows by key; too large for the whole"),
                    (false, true) => "a hash of every row".to_owned(),
                    (false, false) => "the row counts".to_owned(),
                };
                TableData {
                    source_rows: (!large).then_some(our_rows),
                    target_rows: (!large).then_some(their_rows),
                    same: Some(same),
                    sampled: large.then_some(SAMPLE),
                    ..unknown(table, how)
                }
            }
            (Err(failure), _) | (_, Err(failure)) => unknown(table, told(&failure)),
        });
    }
    let mut orphans = ours.orphans("source", until).await?;
    orphans.extend(theirs.orphans("target", until).await?);
    ours.session.close().await;
    theirs.session.close().await;
    Ok(DataComparison::new("direct", found, orphans, millis(budget)))
}

fn told(failure: &Failure) -> String {
    std::iter::once(&failure.message).chain(failure.causes.first()).cloned().collect::<Vec<_>>().join(": ")
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The name under which the other side is seen while one transaction lasts.
const REMOTE: &str = "dbd_compare";

/// Compares `tables` in the source's database, which sees the target through `postgres_fdw`, row by row where there is a key.
///
/// Everything that is made for it (the extension if it is not there, a server, a user mapping, schemas of foreign tables) is made in one transaction that is
/// rolled back at the end. So nothing is left, also if this process or its server dies on the way.
///
/// # Errors
/// [`Code::CannotCompare`] if the role may not make a foreign server, or the source's server cannot reach the target.
pub async fn through_fdw(
    source: &ConnectionUrl,
    target: &ConnectionUrl,
    tables: &[Comparable],
    budget: Duration,
) -> Result<DataComparison, Failure> {
    let until = Instant::now() + budget;
    let session = connect(source, "dbd compare").await?;
    let side = Side { url: source, session };
    side.execute(&format!("BEGIN ISOLATION LEVEL REPEATABLE READ; SET LOCAL lock_timeout = '30s'; {SAME_TEXT}"))
        .await?;
    let spaces = bring_in(&side, target, tables).await.map_err(|failure| {
        Failure::new(Code::CannotCompare, format!("{} cannot be seen from {} through postgres_fdw", target.place(), source.place()))
            .cause(told(&failure))
            .hint("the role needs CREATE on the database and USAGE on postgres_fdw, and the source's server must reach the target")
            .hint("leave --via fdw out: two connections need none of that")
    })?;
    let mut found = Vec::new();
    for table in tables {
        let left = until.saturating_duration_since(Instant::now());
        let Some(remote) = spaces.get(&table.table).filter(|_| !left.is_zero()) else {
            let why = if left.is_zero() { "the time was over" } else { "it could not be imported" };
            found.push(unknown(table, why));
            continue;
        };
        let sql = if table.key.is_empty() { counts(table, remote) } else { joined(table, remote) };
        found.push(match side.ask(&sql, left).await {
            Ok(row) => {
                let (our_rows, their_rows): (i64, i64) = (row.get(0), row.get(1));
                if table.key.is_empty() {
                    let (ours, theirs): (String, String) = (row.get(2), row.get(3));
                    let how = "a hash of every row; there is no shared key to join by";
                    let (source_rows, target_rows) = (Some(our_rows), Some(their_rows));
                    let same = Some(our_rows == their_rows && ours == theirs);
                    TableData { source_rows, target_rows, same, ..unknown(table, how) }
                } else {
                    let rows = RowData {
                        only_in_source: row.get(2),
                        only_in_target: row.get(3),
                        differing: row.get(4),
                        keys: row.get::<_, Option<Vec<String>>>(5).unwrap_or_default(),
                    };
                    TableData {
                        source_rows: Some(our_rows),
                        target_rows: Some(their_rows),
                        same: Some(rows.only_in_source + rows.only_in_target + rows.differing == 0),
                        rows: Some(rows),
                        ..unknown(table, "joined by the primary key, row by row")
                    }
                }
            }
            Err(failure) => unknown(table, told(&failure)),
        });
    }
    side.execute("ROLLBACK").await?;
    side.session.close().await;
    let (ours, theirs) = tokio::try_join!(Side::open(source), Side::open(target))?;
    let mut orphans = ours.orphans("source", until).await?;
    orphans.extend(theirs.orphans("target", until).await?);
    ours.session.close().await;
    theirs.session.close().await;
    Ok(DataComparison::new("fdw", found, orphans, millis(budget)))
}

/// Makes the target's tables visible; gives each table's name on this side.
async fn bring_in(
    side: &Side<'_>,
    target: &ConnectionUrl,
    tables: &[Comparable],
) -> Result<BTreeMap<String, String>, Failure> {
    // The mapping holds the password: where the role may, the server is kept from logging the statement.
    for setting in ["log_statement = 'none'", "log_min_error_statement = 'panic'", "log_min_duration_statement = -1"] {
        let set = format!("SAVEPOINT quiet; SET LOCAL {setting}; RELEASE SAVEPOINT quiet");
        if side.execute(&set).await.is_err() {
            side.execute("ROLLBACK TO SAVEPOINT quiet").await?;
        }
    }
    let mut options = vec![
        format!("host {}", literal(&target.host())),
        format!("port {}", literal(&target.port().to_string())),
        format!("dbname {}", literal(&target.database())),
    ];
    if !target.is_socket() {
        options.push(format!("sslmode {}", literal(&target.ssl_mode())));
    }
    let mut user = vec![format!("user {}", literal(&target.user()))];
    match target.password() {
        Some(password) => user.push(format!("password {}", literal(password.expose()))),
        // Without one only a superuser's mapping is let through, and has to say so.
        None => user.push("password_required 'false'".to_owned()),
    }
    side.execute("CREATE EXTENSION IF NOT EXISTS postgres_fdw").await?;
    side.execute(&format!(
        "CREATE SERVER {REMOTE} FOREIGN DATA WRAPPER postgres_fdw OPTIONS ({}); \
         CREATE USER MAPPING FOR CURRENT_USER SERVER {REMOTE} OPTIONS ({})",
        options.join(", "),
        user.join(", ")
    ))
    .await?;
    let mut spaces: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for table in tables {
        if let Some((space, name)) = split(&table.table) {
            spaces.entry(space).or_default().push(name);
        }
    }
    let mut seen = BTreeMap::new();
    for (at, (space, names)) in spaces.iter().enumerate() {
        let here = format!("{REMOTE}_{at}");
        side.execute(&format!("CREATE SCHEMA {here}")).await?;
        let import = |names: &[&str]| {
            format!(
                "SAVEPOINT import; IMPORT FOREIGN SCHEMA {space} LIMIT TO ({}) FROM SERVER {REMOTE} INTO {here} OPTIONS (import_collate 'false'); \
                 RELEASE SAVEPOINT import",
                names.join(", ")
            )
        };
        // All at once; if one of them has a type that is not here, one by one, and that one is told.
        let mut brought: BTreeSet<&str> = BTreeSet::new();
        if side.execute(&import(names)).await.is_ok() {
            brought.extend(names);
        } else {
            side.execute("ROLLBACK TO SAVEPOINT import").await?;
            for name in names {
                match side.execute(&import(&[name])).await {
                    Ok(()) => {
                        brought.insert(name);
                    }
                    Err(failure) if names.len() == 1 && tables.len() == 1 => return Err(failure),
                    Err(_) => side.execute("ROLLBACK TO SAVEPOINT import").await?,
                }
            }
        }
        for name in brought {
            seen.insert(format!("{space}.{name}"), format!("{here}.{name}"));
        }
    }
    Ok(seen)
}

/// The schema and the name, quotes kept.
fn split(table: &str) -> Option<(&str, &str)> {
    let parts = crate::domain::schema::catalog::parts(table);
    match parts.as_slice() {
        [space, name] => Some((space, name)),
        _ => None,
    }
}

fn counts(table: &Comparable, remote: &str) -> String {
    let of = |from: &str| {
        let text = text_of(&table.columns, "t");
        format!("(SELECT count(*) AS n, COALESCE(sum(hashtextextended({text}, 0)), 0)::text AS s FROM {from} t)")
    };
    format!("SELECT a.n, b.n, a.s, b.s FROM {} a, {} b", of(&format!("ONLY {}", table.table)), of(remote))
}

fn joined(table: &Comparable, remote: &str) -> String {
    let key = table.key.join(", ");
    let side = |from: &str| format!("SELECT {key}, {} AS it FROM {from} t", text_of(&table.columns, "t"));
    format!(
        "WITH s AS MATERIALIZED ({}), t AS MATERIALIZED ({}), \
         d AS MATERIALIZED (SELECT ROW({key})::text AS k, s.it AS a, t.it AS b FROM s FULL JOIN t USING ({key}) WHERE s.it IS DISTINCT FROM t.it) \
         SELECT (SELECT count(*) FROM s), (SELECT count(*) FROM t), count(*) FILTER (WHERE b IS NULL), count(*) FILTER (WHERE a IS NULL), \
                count(*) FILTER (WHERE a IS NOT NULL AND b IS NOT NULL), (array_agg(k ORDER BY k))[1:{NAMED_KEYS}] FROM d",
        side(&format!("ONLY {}", table.table)),
        side(remote)
    )
}

/// The rows of each of `tables`, within whatever transaction is open.
async fn contents_in(side: &Side<'_>, tables: &[Comparable]) -> Result<Contents, Failure> {
    let mut contents = Contents::new();
    for table in tables {
        let row = side.session.client.query_one(&content(table), &[]).await;
        let row =
            row.map_err(|error| query_failed(side.url, &format!("looking at the rows of {}", table.table), &error))?;
        contents.insert(table.table.clone(), (row.get(0), row.get(1)));
    }
    Ok(contents)
}

/// The rows of each of `tables`.
pub async fn contents(url: &ConnectionUrl, tables: &[Comparable]) -> Result<Contents, Failure> {
    let side = Side::open(url).await?;
    let contents = contents_in(&side, tables).await?;
    side.session.close().await;
    Ok(contents)
}

/// Runs `script` in a transaction that is rolled back; what was there at its end.
pub async fn try_script(
    url: &ConnectionUrl,
    script: &str,
    exclude: &Exclude,
    tables: &[Comparable],
) -> Result<(Catalog, Contents), Failure> {
    let session = connect(url, "dbd reverse").await?;
    let side = Side { url, session };
    side.execute(&format!("BEGIN; {SAME_TEXT}")).await?;
    let ran = side.session.client.batch_execute(script).await;
    ran.map_err(|error| query_failed(url, "the way back", &error))?;
    let catalog = read_catalog(&side.session.client, exclude).await;
    let catalog = catalog.map_err(|error| query_failed(url, "reading the catalog", &error))?;
    let contents = contents_in(&side, tables).await?;
    side.execute("ROLLBACK").await?;
    side.session.close().await;
    Ok((catalog, contents))
}
