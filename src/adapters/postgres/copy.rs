//! Rows of the target into a sandbox by dbd's own COPY: masked on the target's side, so that no raw value leaves it, and some of them alone.
//!
//! The sandbox has its tables and no constraint yet. A sample picks rows by a hash of their key, the same rows each time; then whatever they
//! refer to is fetched until nothing is missing. That the foreign keys hold is proven when they are added afterwards.

use super::connect::{Session, connect, look_at_one_moment, query_failed};
use crate::domain::code::Code;
use crate::domain::connection::ConnectionUrl;
use crate::domain::copying::Mask;
use crate::domain::failure::Failure;
use crate::domain::sql::{quote_ident, quote_literal};
use crate::ports::database::{CopyOrder, CopyReport};
use futures_util::{SinkExt, StreamExt};
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use tokio_postgres::Client;

/// How many keys are fetched by one statement.
const KEYS: usize = 2_000;

/// What both sides must agree about, as values go over as text. In the source for the transaction alone: its session may be a pooler's.
const AGREED: &str = "SET LOCAL search_path = ''; SET LOCAL \"DateStyle\" = 'ISO, YMD'; SET LOCAL \"IntervalStyle\" = 'postgres'; \
                      SET LOCAL bytea_output = 'hex'; SET LOCAL extra_float_digits = 1; SET LOCAL statement_timeout = 0; \
                      SET LOCAL idle_in_transaction_session_timeout = 0";

/// A table as it is copied.
struct Table {
    /// Its name, schema and all.
    name: String,
    /// Its own name as the planner knows it: about so many rows, or -1.
    planned: f32,
    /// Columns that are stored, quoted.
    columns: Vec<String>,
    /// What is read for each.
    expressions: Vec<String>,
    /// The expression a row is picked by.
    key: String,
}

/// A foreign key: the rows of `child` must find theirs in `parent`.
struct Reference {
    name: String,
    child: String,
    parent: String,
    /// Of each column: in the child, its type, the operator, in the parent.
    columns: Vec<(String, String, String, String)>,
}

pub async fn copy_rows(order: &CopyOrder<'_>) -> Result<CopyReport, Failure> {
    let source = look_at_one_moment(order.source, "dbd copy").await?;
    let sandbox = connect(order.sandbox, order.application_name).await?;
    let done = both(order, &source, &sandbox).await;
    sandbox.close().await;
    source.close().await;
    done
}

async fn both(order: &CopyOrder<'_>, source: &Session, sandbox: &Session) -> Result<CopyReport, Failure> {
    let from = |what: &'static str| move |error: tokio_postgres::Error| query_failed(order.source, what, &error);
    let into = |what: &'static str| move |error: tokio_postgres::Error| query_failed(order.sandbox, what, &error);
    let there = &source.client;
    there
        .batch_execute(&format!("{AGREED}; SET LOCAL row_security = off"))
        .await
        .map_err(from("setting up the session"))?;
    if let Some(snapshot) = &order.snapshot {
        let set = format!("SET TRANSACTION SNAPSHOT {}", quote_literal(snapshot));
        there.batch_execute(&set).await.map_err(from("taking the dump's snapshot"))?;
    }
    let agreed = AGREED.replace("SET LOCAL ", "SET ");
    sandbox.client.batch_execute(&agreed).await.map_err(into("setting up the session"))?;
    let key: String =
        there.query_one("SELECT pg_catalog.gen_random_uuid()::text", &[]).await.map_err(from("choosing a key"))?.get(0);
    let tables = tables(order, there, &key).await?;
    let mut report = CopyReport::default();
    for (place, table) in tables.values().enumerate() {
        (order.progress)(place as u64, Some(tables.len() as u64));
        let picked = match &order.sample {
            Some(sample) if !order.whole.contains(&table.name) => {
                match sample.millionths(rows_of(order, there, table).await?) {
                    1_000_000.. => String::new(),
                    part => format!(
                        " WHERE (pg_catalog.hashtextextended({}, 0) & 1048575) * 1000000 < {part}::bigint * 1048576",
                        table.key
                    ),
                }
            }
            _ => String::new(),
        };
        let query = format!("SELECT {} FROM ONLY {} t{picked}", table.expressions.join(", "), table.name);
        report.rows += copy(order, there, &sandbox.client, table, &table.name, &query).await?;
    }
    report.tables = tables.len() as u64;
    if order.sample.is_some() {
        report.fetched = fetch_parents(order, there, &sandbox.client, &tables).await?;
        report.rows += report.fetched;
    }
    sequences(order, there, &sandbox.client).await?;
    Ok(report)
}

/// Every table with rows of its own, as a dump would have it, by name.
async fn tables(order: &CopyOrder<'_>, there: &Client, key: &str) -> Result<BTreeMap<String, Table>, Failure> {
    let failed = |error| query_failed(order.source, "reading the tables to copy", &error);
    let rows = there
        .query(
            "SELECT n.nspname::text, c.relname::text, c.reltuples, \
               ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 \
                     AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attnum), \
               ARRAY(SELECT pg_catalog.format_type(a.atttypid, a.atttypmod) FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid \
                     AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attnum), \
               ARRAY(SELECT a.attname::text FROM pg_catalog.pg_index i JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid \
                     AND a.attnum = ANY (i.indkey) WHERE i.indrelid = c.oid AND i.indisprimary ORDER BY a.attnum) \
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'dbd') AND n.nspname !~ '^dbd_keep' \
               AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid \
                               AND d.deptype = 'e') \
             ORDER BY 1, 2",
            &[],
        )
        .await
        .map_err(failed)?;
    let mut unused: BTreeSet<String> = order.masks.iter().map(ToString::to_string).collect();
    let mut tables = BTreeMap::new();
    for row in rows {
        let (schema, bare): (String, String) = (row.get(0), row.get(1));
        let (columns, kinds, keys): (Vec<String>, Vec<String>, Vec<String>) = (row.get(3), row.get(4), row.get(5));
        let mut expressions = Vec::new();
        for (column, kind) in columns.iter().zip(&kinds) {
            let ours = |mask: &&Mask| mask.schema == schema && mask.table == bare && mask.column == *column;
            expressions.push(match order.masks.iter().find(ours) {
                Some(mask) => {
                    unused.remove(&mask.to_string());
                    mask.expression(kind, key).map_err(|why| {
                        Failure::new(Code::BadValue, why)
                            .hint("mask it otherwise in [sandbox.mask]: null, number, constant:0")
                    })?
                }
                None => quote_ident(column),
            });
        }
        let key = match keys.as_slice() {
            [] => "t::text".to_owned(),
            keys => {
                keys.iter().map(|key| format!("t.{}::text", quote_ident(key))).collect::<Vec<_>>().join(" || '/' || ")
            }
        };
        let name = format!("{}.{}", quote_ident(&schema), quote_ident(&bare));
        let columns = columns.iter().map(|column| quote_ident(column)).collect();
        tables.insert(name.clone(), Table { name, planned: row.get(2), columns, expressions, key });
    }
    // A mask that fits nothing is a mask that protects nothing.
    match unused.first() {
        None => Ok(tables),
        Some(column) => Err(Failure::new(
            Code::BadValue,
            format!("[sandbox.mask] names {column}, which is no stored column of a table of the target"),
        )
        .hint("correct its name, or take it out; nothing was copied")),
    }
}

async fn rows_of(order: &CopyOrder<'_>, there: &Client, table: &Table) -> Result<u64, Failure> {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    if table.planned > 0.0 {
        return Ok(table.planned as u64);
    }
    // Never analyzed: nobody knows but the table itself.
    let sql = format!("SELECT pg_catalog.count(*) FROM ONLY {}", table.name);
    let row = there.query_one(&sql, &[]).await.map_err(|error| query_failed(order.source, "counting rows", &error))?;
    Ok(u64::try_from(row.get::<_, i64>(0)).unwrap_or(0))
}

/// The rows of `query` into `place`, which is `table` or what it is a partition of.
async fn copy(
    order: &CopyOrder<'_>,
    there: &Client,
    here: &Client,
    table: &Table,
    place: &str,
    query: &str,
) -> Result<u64, Failure> {
    if table.columns.is_empty() {
        return Ok(0);
    }
    let reading = |error| query_failed(order.source, &format!("reading {}", table.name), &error);
    let writing = |error| query_failed(order.sandbox, &format!("copying {}", table.name), &error);
    let mut rows = pin!(there.copy_out(&format!("COPY ({query}) TO STDOUT")).await.map_err(reading)?);
    let sink =
        here.copy_in(&format!("COPY {place} ({}) FROM STDIN", table.columns.join(", "))).await.map_err(writing)?;
    let mut sink = pin!(sink);
    while let Some(piece) = rows.next().await {
        sink.send(piece.map_err(reading)?).await.map_err(writing)?;
    }
    sink.finish().await.map_err(writing)
}

/// Fetches what the picked rows refer to, and what that refers to, until nothing is missing. How many rows that were.
async fn fetch_parents(
    order: &CopyOrder<'_>,
    there: &Client,
    here: &Client,
    tables: &BTreeMap<String, Table>,
) -> Result<u64, Failure> {
    let references = references(order, there).await?;
    let mut fetched = 0;
    // A key that is to be found nowhere (a foreign key that was never validated) must not be looked for for ever.
    let mut given_up: BTreeSet<&str> = BTreeSet::new();
    loop {
        let mut moved = false;
        for one in references.iter().filter(|one| !given_up.contains(one.name.as_str())).collect::<Vec<_>>() {
            let missing = missing(order, here, one).await?;
            if missing.is_empty() {
                continue;
            }
            let mut found = 0;
            for keys in missing.chunks(KEYS) {
                found += fetch(order, there, here, tables, one, keys).await?;
            }
            moved |= found > 0;
            fetched += found;
            if found == 0 {
                given_up.insert(&one.name);
            }
        }
        if !moved {
            return Ok(fetched);
        }
    }
}

async fn references(order: &CopyOrder<'_>, there: &Client) -> Result<Vec<Reference>, Failure> {
    let rows = there
        .query(
            "SELECT k.oid::text, pg_catalog.format('%I.%I', cn.nspname, c.relname), pg_catalog.format('%I.%I', pn.nspname, p.relname), \
               ARRAY(SELECT pg_catalog.quote_ident(a.attname) FROM pg_catalog.unnest(k.conkey) WITH ORDINALITY u(n, o) \
                     JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.n ORDER BY u.o), \
               ARRAY(SELECT pg_catalog.format_type(a.atttypid, a.atttypmod) FROM pg_catalog.unnest(k.conkey) WITH ORDINALITY u(n, o) \
                     JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.n ORDER BY u.o), \
               ARRAY(SELECT pg_catalog.format('OPERATOR(%I.%s)', n.nspname, o.oprname) \
                     FROM pg_catalog.unnest(k.conpfeqop) WITH ORDINALITY u(n, o_) \
                     JOIN pg_catalog.pg_operator o ON o.oid = u.n JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace ORDER BY u.o_), \
               ARRAY(SELECT pg_catalog.quote_ident(a.attname) FROM pg_catalog.unnest(k.confkey) WITH ORDINALITY u(n, o) \
                     JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.n ORDER BY u.o) \
             FROM pg_catalog.pg_constraint k \
             JOIN pg_catalog.pg_class c ON c.oid = k.conrelid JOIN pg_catalog.pg_namespace cn ON cn.oid = c.relnamespace \
             JOIN pg_catalog.pg_class p ON p.oid = k.confrelid JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace \
             WHERE k.contype = 'f' AND k.conparentid = 0 ORDER BY 2, 1",
            &[],
        )
        .await
        .map_err(|error| query_failed(order.source, "reading the foreign keys", &error))?;
    Ok(rows
        .iter()
        .map(|row| {
            let (own, kinds): (Vec<String>, Vec<String>) = (row.get(3), row.get(4));
            let (operators, theirs): (Vec<String>, Vec<String>) = (row.get(5), row.get(6));
            let columns = own.into_iter().zip(kinds).zip(operators).zip(theirs);
            Reference {
                name: row.get(0),
                child: row.get(1),
                parent: row.get(2),
                columns: columns.map(|(((own, kind), operator), theirs)| (own, kind, operator, theirs)).collect(),
            }
        })
        .collect())
}

/// Keys in the child that the parent does not have, as text.
async fn missing(order: &CopyOrder<'_>, here: &Client, one: &Reference) -> Result<Vec<Vec<String>>, Failure> {
    let texts: Vec<String> = one.columns.iter().map(|(own, ..)| format!("c.{own}::text")).collect();
    let given: Vec<String> = one.columns.iter().map(|(own, ..)| format!("c.{own} IS NOT NULL")).collect();
    let equal: Vec<String> =
        one.columns.iter().map(|(own, _, operator, theirs)| format!("p.{theirs} {operator} c.{own}")).collect();
    let sql = format!(
        "SELECT DISTINCT ARRAY[{}] FROM {} c WHERE {} AND NOT EXISTS (SELECT FROM {} p WHERE {})",
        texts.join(", "),
        one.child,
        given.join(" AND "),
        one.parent,
        equal.join(" AND ")
    );
    let rows =
        here.query(&sql, &[]).await.map_err(|error| query_failed(order.sandbox, "looking for parents", &error))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// The rows of the parent that have these keys, from each of its tables that has rows.
async fn fetch(
    order: &CopyOrder<'_>,
    there: &Client,
    here: &Client,
    tables: &BTreeMap<String, Table>,
    one: &Reference,
    keys: &[Vec<String>],
) -> Result<u64, Failure> {
    let leaves = there
        .query(
            "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_partition_tree(pg_catalog.to_regclass($1)) t \
             JOIN pg_catalog.pg_class c ON c.oid = t.relid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r'",
            &[&one.parent],
        )
        .await
        .map_err(|error| query_failed(order.source, "reading partitions", &error))?;
    let mut leaves: Vec<String> = leaves.iter().map(|row| row.get(0)).collect();
    if leaves.is_empty() {
        leaves.push(one.parent.clone());
    }
    let mut found = 0;
    for leaf in leaves {
        let Some(table) = tables.get(&leaf) else { continue };
        // A masked key is looked for by its mask, as that is what the child holds.
        let read = |column: &str| {
            let at = table.columns.iter().position(|one| one == column);
            at.map_or_else(|| column.to_owned(), |at| table.expressions[at].clone())
        };
        let rows: Vec<String> = keys
            .iter()
            .map(|key| {
                let values = key.iter().zip(&one.columns);
                let values: Vec<String> =
                    values.map(|(value, (_, kind, ..))| format!("{}::{kind}", quote_literal(value))).collect();
                format!("({})", values.join(", "))
            })
            .collect();
        let names: Vec<String> = (0..one.columns.len()).map(|at| format!("dbd_key_{at}")).collect();
        let equal: Vec<String> = one
            .columns
            .iter()
            .zip(&names)
            .map(|((_, _, operator, theirs), name)| format!("{} {operator} dbd_keys.{name}", read(theirs)))
            .collect();
        let query = format!(
            "SELECT {} FROM ONLY {leaf} t WHERE EXISTS (SELECT FROM (VALUES {}) dbd_keys ({}) WHERE {})",
            table.expressions.join(", "),
            rows.join(", "),
            names.join(", "),
            equal.join(" AND ")
        );
        found += copy(order, there, here, table, &table.name, &query).await?;
    }
    Ok(found)
}

/// Where the sequences stand.
async fn sequences(order: &CopyOrder<'_>, there: &Client, here: &Client) -> Result<(), Failure> {
    let rows = there
        .query(
            "SELECT pg_catalog.format('%I.%I', schemaname, sequencename), last_value FROM pg_catalog.pg_sequences \
             WHERE last_value IS NOT NULL AND schemaname <> 'dbd'",
            &[],
        )
        .await
        .map_err(|error| query_failed(order.source, "reading sequences", &error))?;
    for row in rows {
        let (name, value): (String, i64) = (row.get(0), row.get(1));
        here.execute("SELECT pg_catalog.setval(pg_catalog.to_regclass($1), $2)", &[&name, &value])
            .await
            .map_err(|error| query_failed(order.sandbox, "setting sequences", &error))?;
    }
    Ok(())
}

/// Another database with the same content on the same server, which nobody may be using; how to connect to it.
pub async fn duplicate(url: &ConnectionUrl, name: &str) -> Result<ConnectionUrl, Failure> {
    let failed = |error| query_failed(url, "copying the sandbox", &error);
    let session = connect(&url.with_database("postgres"), "dbd").await?;
    let row = session.client.query_one("SHOW server_version_num", &[]).await.map_err(failed)?;
    let version = row.get::<_, String>(0).parse::<u32>().unwrap_or(0);
    // Files are copied as they are: a fifth of the time, where nothing has to survive a crash.
    let strategy = if version >= 150_000 { " STRATEGY file_copy" } else { "" };
    if version >= 180_000 {
        // Blocks are shared where the file system can. A server that was built where nothing can does not know the value, and copies.
        let _ = session.client.batch_execute("SET file_copy_method = clone").await;
    }
    let sql = format!("CREATE DATABASE {} TEMPLATE {}{strategy}", quote_ident(name), quote_ident(&url.database()));
    session.client.batch_execute(&sql).await.map_err(failed)?;
    session.close().await;
    Ok(url.with_database(name))
}
