//! Writing captured changes into the shadow, in its old shape.

use super::super::connect::query_failed;
use super::super::ledger::{identifier, literal};
use super::shape::{OldTable, Shape, Value, record, shapes};
use crate::domain::code::Code;
use crate::domain::connection::ConnectionUrl;
use crate::domain::failure::{Certainty, Failure};
use std::collections::{BTreeMap, BTreeSet};
use tokio_postgres::{Client, SimpleQueryMessage};

/// How many statements go to the server at once.
const AT_ONCE: usize = 500;

/// How many bytes of them.
const BYTES_AT_ONCE: usize = 1 << 20;

/// How many rows one INSERT holds.
const ROWS_OF_INSERT: u64 = 200;

/// How rows are printed and read, on every session that captures or replays: [`same_text_for_the_session`](super::super::data::same_text_for_the_session), and that a
/// constraint may be checked where the transaction ends, as it was on the target.
pub(super) const REPLAYING: &str = "SET standard_conforming_strings = on; SET xmloption = content; SET lock_timeout = '30s'; SET client_min_messages = warning";

/// What was done to a row.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Insert { new: Vec<Value> },
    Update { old: Vec<Value>, new: Vec<Value> },
    Delete { old: Vec<Value> },
    Truncate,
}

/// Why replaying stops.
#[derive(Debug)]
pub(super) enum Stop {
    /// The old shape cannot hold it: what, and the row.
    Blocked(String),
    /// Something else went wrong, and may not the next time.
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Stop::Failed(failure)
    }
}

/// One statement and the rows it has to hit.
struct Statement {
    sql: String,
    /// What more rows of the same kind begin with, if they may be put into the same statement.
    joins: Option<String>,
    rows: u64,
    /// None for one that may hit any number.
    expected: Option<u64>,
    about: String,
}

/// The shadow, being written to within one transaction.
pub(super) struct Applier<'a> {
    url: &'a ConnectionUrl,
    client: &'a Client,
    tables: &'a BTreeMap<i32, OldTable>,
    /// The relations as they are at this point of the log.
    pub shapes: BTreeMap<u32, Shape>,
    /// The text of them, if it changed on the way.
    pub shape_text: Option<String>,
    pending: Vec<Statement>,
    bytes: usize,
    touched: BTreeSet<(i32, String)>,
    /// Whether a savepoint of an earlier flush is open.
    saved: bool,
    /// Columns only the new shape has that got a value.
    pub residue: BTreeSet<String>,
    /// Rows replayed.
    pub rows: u64,
}

impl<'a> Applier<'a> {
    pub fn new(
        url: &'a ConnectionUrl,
        client: &'a Client,
        tables: &'a BTreeMap<i32, OldTable>,
        shapes: BTreeMap<u32, Shape>,
    ) -> Self {
        Self {
            url,
            client,
            tables,
            shapes,
            shape_text: None,
            pending: Vec::new(),
            bytes: 0,
            touched: BTreeSet::new(),
            saved: false,
            residue: BTreeSet::new(),
            rows: 0,
        }
    }

    /// From here on rows have this shape.
    pub fn reshape(&mut self, text: &str) -> Result<(), Stop> {
        self.shapes = shapes(text).map_err(|error| Stop::Failed(super::install::bug(&error)))?;
        self.shape_text = Some(text.to_owned());
        Ok(())
    }

    /// One row of the triggers' table.
    pub async fn captured(&mut self, rel: u32, op: u8, old: Option<&str>, new: Option<&str>) -> Result<(), Stop> {
        let row = |text: Option<&str>| {
            text.and_then(record).ok_or_else(|| Stop::Blocked(format!("a captured row cannot be read: {text:?}")))
        };
        let change = match op {
            b'S' => return self.reshape(new.unwrap_or("[]")),
            b'I' => Change::Insert { new: row(new)? },
            b'U' => Change::Update { old: row(old)?, new: row(new)? },
            b'D' => Change::Delete { old: row(old)? },
            _ => Change::Truncate,
        };
        self.apply(rel, None, change).await
    }

    /// One change. `names` are the columns of its values where they are not simply those of the shape, in its order.
    pub async fn apply(&mut self, rel: u32, names: Option<&[String]>, change: Change) -> Result<(), Stop> {
        let tables = self.tables;
        let shape = self.shapes.get(&rel).cloned().ok_or_else(|| {
            Stop::Blocked(format!(
                "a row of a relation that nobody told of (oid {rel}): somebody else changed the schema"
            ))
        })?;
        let table =
            tables.get(&shape.id).ok_or_else(|| Stop::Blocked(format!("relation {rel} stands for no table")))?;
        let statement = match change {
            Change::Insert { new } => {
                let new = self.old_shape(table, &shape, names, new)?;
                self.touch(shape.id, table, &new);
                insert(table, &new)
            }
            Change::Update { old, new } => {
                let new: Vec<Value> = new
                    .into_iter()
                    .zip(&old)
                    .map(|(new, old)| if new == Value::Unchanged { old.clone() } else { new })
                    .collect();
                let old = self.old_shape(table, &shape, names, old)?;
                let new = self.old_shape(table, &shape, names, new)?;
                self.touch(shape.id, table, &old);
                self.touch(shape.id, table, &new);
                // Only what this write changed: the rest may be the migration's work.
                let set: Vec<(String, Value)> = new
                    .iter()
                    .zip(&old)
                    .filter(|(new, old)| new != old && !table.generated.contains(&new.0))
                    .map(|(new, _)| new.clone())
                    .collect();
                if set.is_empty() {
                    self.rows += 1;
                    return Ok(());
                }
                update(table, &set, &old)?
            }
            Change::Delete { old } => {
                let old = self.old_shape(table, &shape, names, old)?;
                self.touch(shape.id, table, &old);
                delete(table, &old)?
            }
            Change::Truncate => {
                self.touched.insert((shape.id, String::new()));
                Statement {
                    sql: format!("TRUNCATE {}{}", only(table), table.name),
                    joins: None,
                    rows: 0,
                    expected: None,
                    about: format!("TRUNCATE {}", table.name),
                }
            }
        };
        self.rows += 1;
        self.queue(statement);
        if self.pending.len() >= AT_ONCE || self.bytes >= BYTES_AT_ONCE {
            self.flush().await?;
        }
        Ok(())
    }

    /// A row's values by their names in the old shape; what only the new one has is noted and left out.
    fn old_shape(
        &mut self,
        table: &OldTable,
        shape: &Shape,
        names: Option<&[String]>,
        row: Vec<Value>,
    ) -> Result<Vec<(String, Value)>, Stop> {
        let strange = || {
            Stop::Blocked(format!(
                "a row of {} has another shape than it had when the migration was over: somebody else changed the schema",
                table.name
            ))
        };
        let mut found = Vec::with_capacity(row.len());
        let count = names.map_or(shape.columns.len(), <[String]>::len);
        if row.len() != count {
            return Err(strange());
        }
        for (at, value) in row.into_iter().enumerate() {
            let column = match names {
                None => &shape.columns[at],
                Some(names) => shape.columns.iter().find(|column| column.0 == names[at]).ok_or_else(strange)?,
            };
            match &column.1 {
                Some(old) => found.push((old.clone(), value)),
                None if value != Value::Null => {
                    self.residue.insert(format!("{}.{}", table.name, identifier(&column.0)));
                }
                None => {}
            }
        }
        Ok(found)
    }

    fn touch(&mut self, id: i32, table: &OldTable, row: &[(String, Value)]) {
        let key = table.key.as_ref().and_then(|key| {
            let values: Option<Vec<&str>> = key
                .iter()
                .map(|name| match row.iter().find(|(column, _)| column == name) {
                    Some((_, Value::Text(text))) => Some(text.as_str()),
                    _ => None,
                })
                .collect();
            serde_json::to_string(&values?).ok()
        });
        self.touched.insert((id, key.unwrap_or_default()));
    }

    fn queue(&mut self, statement: Statement) {
        self.bytes += statement.sql.len();
        if let (Some(joins), Some(last)) = (&statement.joins, self.pending.last_mut())
            && last.joins.is_some()
            && last.rows < ROWS_OF_INSERT
            && last.sql.starts_with(joins.as_str())
        {
            last.sql.push_str(", ");
            last.sql.push_str(&statement.sql[joins.len()..]);
            last.rows += 1;
            last.expected = last.expected.map(|rows| rows + 1);
            return;
        }
        self.pending.push(statement);
    }

    /// Notes a column that the migration itself changed.
    pub fn modified(&mut self, id: i32, column: &str) {
        self.pending.push(Statement {
            sql: format!("INSERT INTO dbd_shadow.modified VALUES ({id}, {}) ON CONFLICT DO NOTHING", literal(column)),
            joins: None,
            rows: 0,
            expected: None,
            about: "noting what the migration changed".to_owned(),
        });
    }

    /// Sends what is queued. If one of it fails or misses its row, which one is found out.
    pub async fn flush(&mut self) -> Result<(), Stop> {
        if !self.touched.is_empty() {
            let rows: Vec<String> =
                std::mem::take(&mut self.touched).iter().map(|(id, key)| format!("({id}, {})", literal(key))).collect();
            for rows in rows.chunks(1000) {
                self.pending.push(Statement {
                    sql: format!(
                        "INSERT INTO dbd_shadow.touched AS t (id, key) VALUES {} ON CONFLICT (id, key) DO UPDATE SET same = false WHERE t.same",
                        rows.join(", ")
                    ),
                    joins: None,
                    rows: 0,
                    expected: None,
                    about: "noting which rows were touched".to_owned(),
                });
            }
        }
        let pending = std::mem::take(&mut self.pending);
        self.bytes = 0;
        if pending.is_empty() {
            return Ok(());
        }
        let mut script =
            String::from(if self.saved { "RELEASE SAVEPOINT dbd; SAVEPOINT dbd;\n" } else { "SAVEPOINT dbd;\n" });
        let before = if self.saved { 2 } else { 1 };
        for statement in &pending {
            script.push_str(&statement.sql);
            script.push_str(";\n");
        }
        let failed = |error| Stop::Failed(query_failed(self.url, "replaying rows into the shadow", &error));
        let all_hit = match self.client.simple_query(&script).await {
            Ok(messages) => {
                let counts = counts(&messages);
                counts.iter().skip(before).zip(&pending).all(|(rows, one)| one.expected.is_none_or(|it| it == *rows))
            }
            Err(error) if unrepresentable(&error) => false,
            Err(error) => return Err(failed(error)),
        };
        self.saved = true;
        if all_hit {
            return Ok(());
        }
        self.client.batch_execute("ROLLBACK TO SAVEPOINT dbd").await.map_err(failed)?;
        Err(self.first_of(&pending).await?)
    }

    /// Which of the statements the server refuses, or which misses its row: they are run one by one.
    async fn first_of(&self, pending: &[Statement]) -> Result<Stop, Stop> {
        for one in pending {
            for (sql, about, expected) in one.singly() {
                match self.client.simple_query(&sql).await {
                    Ok(messages) => {
                        let hit = counts(&messages).first().copied().unwrap_or(0);
                        if expected.is_some_and(|expected| expected != hit) {
                            return Ok(Stop::Blocked(format!(
                                "the shadow has {hit} such rows where 1 was changed: {about}"
                            )));
                        }
                    }
                    Err(error) if unrepresentable(&error) => {
                        let said = error.as_db_error().map_or_else(
                            || error.to_string(),
                            |server| format!("{} (SQLSTATE {})", server.message(), server.code().code()),
                        );
                        return Ok(Stop::Blocked(format!("{said}: {about}")));
                    }
                    Err(error) => return Err(query_failed(self.url, "replaying rows into the shadow", &error).into()),
                }
            }
        }
        let all = "replaying rows into the shadow failed, and one by one it does not";
        Ok(Stop::Failed(Failure::new(Code::QueryFailed, all).certainty(Certainty::Transient)))
    }
}

fn counts(messages: &[SimpleQueryMessage]) -> Vec<u64> {
    let one = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::CommandComplete(rows) => Some(*rows),
        _ => None,
    };
    messages.iter().filter_map(one).collect()
}

impl Statement {
    /// Row by row.
    fn singly(&self) -> Vec<(String, String, Option<u64>)> {
        let whole = || vec![(self.sql.clone(), self.about.clone(), self.expected)];
        let Some(joins) = &self.joins else { return whole() };
        // Rows are joined by `), (`, which a literal may hold as well: then all of them are told.
        let rows: Vec<&str> = self.sql[joins.len()..].split("), (").collect();
        if rows.len() as u64 != self.rows {
            return whole();
        }
        rows.iter()
            .map(|row| {
                let row = format!("({})", row.trim_start_matches('(').trim_end_matches(')'));
                let sql = format!("{joins}{row}");
                let about: String = sql.chars().take(400).collect();
                (sql, about, Some(1))
            })
            .collect()
    }
}

/// Whether an error says that the shadow cannot hold a row, and not that something went wrong on the way.
fn unrepresentable(error: &tokio_postgres::Error) -> bool {
    let code = error.code().map(|code| code.code().to_owned()).unwrap_or_default();
    // Data exceptions, violated constraints, what does not exist or fit, and what a function of the user's raised.
    ["22", "23", "42", "44", "0A", "P0"].iter().any(|class| code.starts_with(class)) || code == "428C9"
}

fn only(table: &OldTable) -> &'static str {
    if table.partitioned { "" } else { "ONLY " }
}

fn value(value: &Value) -> String {
    match value {
        Value::Text(text) => literal(text),
        Value::Null | Value::Unchanged => "NULL".to_owned(),
    }
}

fn shown(row: &[(String, Value)]) -> String {
    let fields: Vec<String> = row
        .iter()
        .map(|(name, one)| {
            let text: String = value(one).chars().take(60).collect();
            format!("{name} = {text}")
        })
        .collect();
    fields.join(", ").chars().take(400).collect()
}

fn insert(table: &OldTable, new: &[(String, Value)]) -> Statement {
    let kept: Vec<&(String, Value)> = new.iter().filter(|(name, _)| !table.generated.contains(name)).collect();
    let columns: Vec<String> = kept.iter().map(|(name, _)| identifier(name)).collect();
    let values: Vec<String> = kept.iter().map(|(_, one)| value(one)).collect();
    let about = format!("INSERT into {}: {}", table.name, shown(new));
    if kept.is_empty() {
        let sql = format!("INSERT INTO {} DEFAULT VALUES", table.name);
        return Statement { sql, joins: None, rows: 1, expected: Some(1), about };
    }
    let joins = format!("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE VALUES ", table.name, columns.join(", "));
    let sql = format!("{joins}({})", values.join(", "));
    Statement { sql, joins: Some(joins), rows: 1, expected: Some(1), about }
}

fn update(table: &OldTable, set: &[(String, Value)], old: &[(String, Value)]) -> Result<Statement, Stop> {
    let set: Vec<String> = set.iter().map(|(name, one)| format!("{} = {}", identifier(name), value(one))).collect();
    let about = format!("UPDATE of {}: {}", table.name, shown(old));
    let sql = format!("UPDATE {}{} SET {} WHERE {}", only(table), table.name, set.join(", "), this_row(table, old)?);
    Ok(Statement { sql, joins: None, rows: 1, expected: Some(1), about })
}

fn delete(table: &OldTable, old: &[(String, Value)]) -> Result<Statement, Stop> {
    let about = format!("DELETE from {}: {}", table.name, shown(old));
    let sql = format!("DELETE FROM {}{} WHERE {}", only(table), table.name, this_row(table, old)?);
    Ok(Statement { sql, joins: None, rows: 1, expected: Some(1), about })
}

/// What tells this row from the others: its key, else all of it.
fn this_row(table: &OldTable, row: &[(String, Value)]) -> Result<String, Stop> {
    if let Some(key) = &table.key {
        let mut parts = Vec::new();
        for name in key {
            match row.iter().find(|(column, _)| column == name) {
                Some((_, Value::Text(text))) => parts.push(format!("{} = {}", identifier(name), literal(text))),
                _ => {
                    return Err(Stop::Blocked(format!(
                        "the key of {} ({}) is no longer part of its rows: {}",
                        table.name,
                        key.join(", "),
                        shown(row)
                    )));
                }
            }
        }
        return Ok(parts.join(" AND "));
    }
    // `format` prints as the type's output function does; a cast to text does not for every type, and not every type has an equality.
    let parts: Vec<String> = row
        .iter()
        .map(|(name, one)| {
            let column = identifier(name);
            match one {
                Value::Text(text) => {
                    let text = literal(text);
                    let printed =
                        format!("{column} IS DISTINCT FROM NULL AND pg_catalog.format('%s', {column}) = {text}");
                    // An index may find it, and most rows need not be printed.
                    let quick =
                        if has_equality(table, name) { format!("{column} = {text} AND ") } else { String::new() };
                    format!("({quick}{printed})")
                }
                // Not `IS NULL`: a composite value whose fields are all NULL is that, too, and is printed.
                Value::Null | Value::Unchanged => format!("{column} IS NOT DISTINCT FROM NULL"),
            }
        })
        .collect();
    let all = if parts.is_empty() { "true".to_owned() } else { parts.join(" AND ") };
    Ok(format!("(tableoid, ctid) = (SELECT tableoid, ctid FROM {}{} WHERE {all} LIMIT 1)", only(table), table.name))
}

/// Whether equal is what is printed the same, and maybe a little more, for a column's type.
fn has_equality(table: &OldTable, column: &str) -> bool {
    let kinds = [
        "integer",
        "bigint",
        "smallint",
        "boolean",
        "uuid",
        "date",
        "text",
        "character varying",
        "timestamp",
        "numeric",
        "bytea",
    ];
    table
        .columns
        .iter()
        .any(|(name, kind)| name == column && !kind.ends_with(']') && kinds.iter().any(|one| kind.starts_with(one)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(key: Option<&[&str]>) -> OldTable {
        OldTable {
            name: "public.t".to_owned(),
            partitioned: false,
            generated: vec!["g".to_owned()],
            columns: Vec::new(),
            key: key.map(|key| key.iter().map(|name| (*name).to_owned()).collect()),
        }
    }

    fn row(values: &[(&str, Option<&str>)]) -> Vec<(String, Value)> {
        let value = |text: Option<&str>| text.map_or(Value::Null, |text| Value::Text(text.to_owned()));
        values.iter().map(|(name, text)| ((*name).to_owned(), value(*text))).collect()
    }

    #[test]
    fn computed_columns_take_no_value_and_rows_are_joined() {
        let one = insert(&table(None), &row(&[("id", Some("1")), ("g", Some("2")), ("n", None)]));
        assert_eq!(one.sql, "INSERT INTO public.t (\"id\", \"n\") OVERRIDING SYSTEM VALUE VALUES ('1', NULL)");
        let mut two = one;
        two.sql.push_str(", ('2', 'a), (b')");
        two.rows = 2;
        assert_eq!(two.singly().len(), 1, "a literal that looks like the border of rows");
    }

    #[test]
    fn a_row_is_found_by_its_key_or_by_all_of_it() {
        let old = row(&[("id", Some("1")), ("n", None)]);
        assert_eq!(this_row(&table(Some(&["id"])), &old).unwrap(), "\"id\" = '1'");
        assert!(this_row(&table(None), &old).unwrap().contains("ctid"));
        assert!(matches!(this_row(&table(Some(&["gone"])), &old), Err(Stop::Blocked(_))));
    }
}
