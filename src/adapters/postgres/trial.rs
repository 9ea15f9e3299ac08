//! A transaction in which things are only tried.

use super::catalog::read_catalog;
use super::connect::{Session, connect, query_failed};
use super::exclude;
use crate::domain::code::Code;
use crate::domain::connection::ConnectionUrl;
use crate::domain::failure::Failure;
use crate::domain::migration::DroppedTables;
use crate::domain::rehearsal::strength;
use crate::domain::schema::catalog::Catalog;
use crate::domain::sql::summary;
use crate::domain::way::names::{Class, Named, Names};
use crate::domain::way::{Look, Writable, WritableColumn};
use crate::ports::database::{Held, SetAside, Trial, Written};
use async_trait::async_trait;
use std::collections::BTreeMap;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

/// What shapes how values are printed, while they are looked at. The time zone is the session's: types are turned by it.
const SAME_TEXT: &str = "SET LOCAL DateStyle = 'ISO, MDY'; SET LOCAL IntervalStyle = 'postgres'; SET LOCAL extra_float_digits = 1; \
     SET LOCAL bytea_output = 'hex'; SET LOCAL lc_monetary = 'C'; SET LOCAL search_path = pg_catalog; SET LOCAL row_security = off";

/// Everything of the user's that has a name: class, object id, number within, what it lies in, name, what ALTER calls it.
const NAMES: &str = include_str!("names.sql");

/// The open transaction.
pub(super) struct Tried {
    url: ConnectionUrl,
    session: Session,
}

impl Tried {
    pub(super) async fn open(url: &ConnectionUrl, timeout_ms: u64) -> Result<Self, Failure> {
        let session = connect(url, "dbd trial").await?;
        let this = Self { url: url.clone(), session };
        let limit = timeout_ms.clamp(1, i32::MAX as u64);
        this.execute(&format!(
            "SET client_min_messages = warning; SET statement_timeout = '{limit}ms'; SET lock_timeout = '30s'; BEGIN"
        ))
        .await?;
        Ok(this)
    }

    fn failed(&self, error: &tokio_postgres::Error) -> Failure {
        query_failed(&self.url, "trying the way back", error)
    }

    async fn execute(&self, sql: &str) -> Result<(), Failure> {
        self.session.client.batch_execute(sql).await.map_err(|error| self.failed(&error))
    }

    /// A query whose text comes out the same at any time; nothing is left of how that is seen to.
    async fn ask(&self, sql: &str, key: Option<&str>) -> Result<Vec<Row>, Failure> {
        self.execute(&format!("SAVEPOINT dbd_look; {SAME_TEXT}")).await?;
        let rows = match key {
            Some(key) => self.session.client.query(sql, &[&key]).await,
            None => self.session.client.query(sql, &[]).await,
        };
        self.execute("ROLLBACK TO SAVEPOINT dbd_look; RELEASE SAVEPOINT dbd_look").await?;
        rows.map_err(|error| self.failed(&error))
    }

    /// A query under the session's own settings, by which names are looked up.
    pub(super) async fn rows(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Failure> {
        self.session.client.query(sql, values).await.map_err(|error| self.failed(&error))
    }

    /// Runs one statement if it can be; what it returned, or why it could not be.
    async fn attempt(&self, sql: &str) -> Result<Result<Vec<Row>, String>, Failure> {
        self.execute("SAVEPOINT dbd_write").await?;
        match self.session.client.query(sql, &[]).await {
            Ok(rows) => {
                self.execute("RELEASE SAVEPOINT dbd_write").await?;
                Ok(Ok(rows))
            }
            Err(error) => {
                let why = error.as_db_error().map_or_else(|| error.to_string(), |server| server.message().to_owned());
                self.execute("ROLLBACK TO SAVEPOINT dbd_write; RELEASE SAVEPOINT dbd_write").await?;
                Ok(Err(why))
            }
        }
    }

    /// What the row at `place` is found by and holds.
    async fn noted(&self, table: &Writable, place: &str, how: &'static str) -> Result<Option<Written>, Failure> {
        let now = |of: &dyn Fn(&WritableColumn) -> bool| {
            let columns = table.columns.iter().filter(|column| of(column)).map(|column| format!("t.{}", column.now));
            columns.collect::<Vec<_>>().join(", ")
        };
        let sql = format!(
            "SELECT ROW({})::text, ROW({})::text FROM ONLY {} t WHERE ctid = '{place}'",
            now(&|column| column.key),
            now(&|column| column.same),
            table.now
        );
        let rows = self.ask(&sql, None).await?;
        let before = |of: &dyn Fn(&WritableColumn) -> bool| -> Vec<String> {
            table.columns.iter().filter(|column| of(column)).filter_map(|column| column.before.clone()).collect()
        };
        Ok(rows.first().map(|row| Written {
            table: table.before.clone(),
            key: before(&|column| column.key),
            at: row.get(0),
            columns: before(&|column| column.same),
            values: row.get(1),
            how,
        }))
    }
}

#[async_trait(?Send)]
impl Trial for Tried {
    async fn run(&self, statements: &[String]) -> Result<(), Failure> {
        for sql in statements {
            self.session.client.batch_execute(sql).await.map_err(|error| {
                let Some(server) = error.as_db_error() else { return self.failed(&error) };
                let blocked = super::undo::not_expressible(server.code().code());
                let code = if blocked { Code::WayBlocked } else { Code::StatementFailed };
                Failure::new(code, server.message().to_owned()).cause(format!("in: {}", summary(sql)))
            })?;
        }
        Ok(())
    }

    async fn mark(&self) -> Result<(), Failure> {
        self.execute("SAVEPOINT dbd_trial").await
    }

    async fn back(&self) -> Result<(), Failure> {
        self.execute("ROLLBACK TO SAVEPOINT dbd_trial; RELEASE SAVEPOINT dbd_trial").await
    }

    async fn catalog(&self, tracking: &str) -> Result<Catalog, Failure> {
        read_catalog(&self.session.client, &exclude(tracking)).await.map_err(|error| self.failed(&error))
    }

    async fn names(&self) -> Result<Names, Failure> {
        let rows = self.ask(NAMES, None).await?;
        let one = |row: &Row| {
            let class = match row.get::<_, &str>(0) {
                "schema" => Class::Schema,
                "relation" => Class::Relation,
                "type" => Class::Type,
                "routine" => Class::Routine,
                "column" => Class::Column,
                "constraint" => Class::Constraint,
                "trigger" => Class::Trigger,
                _ => Class::EnumValue,
            };
            let named = Named { within: row.get(3), name: row.get(4), what: row.get(5) };
            ((class, row.get(1), row.get(2)), named)
        };
        Ok(Names { all: rows.iter().map(one).collect() })
    }

    async fn locks(&self) -> Result<BTreeMap<u32, String>, Failure> {
        let rows = self
            .ask(
                "SELECT relation, mode FROM pg_catalog.pg_locks WHERE pid = pg_catalog.pg_backend_pid() AND locktype = 'relation' AND granted",
                None,
            )
            .await?;
        let mut found: BTreeMap<u32, String> = BTreeMap::new();
        for row in rows {
            let (oid, mode): (u32, String) = (row.get(0), row.get(1));
            let stronger = found.get(&oid).is_none_or(|held| strength(held) < strength(&mode));
            if stronger && strength(&mode) >= strength("RowExclusiveLock") {
                found.insert(oid, mode);
            }
        }
        Ok(found)
    }

    async fn wrote(&self) -> Result<BTreeMap<u32, (i64, i64)>, Failure> {
        let rows = self
            .ask(
                "SELECT relid, n_tup_ins + n_tup_del, n_tup_upd FROM pg_catalog.pg_stat_xact_user_tables \
                 WHERE n_tup_ins + n_tup_upd + n_tup_del > 0",
                None,
            )
            .await?;
        Ok(rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect())
    }

    async fn look(&self, tables: &[Look]) -> Result<BTreeMap<String, Held>, Failure> {
        let mut found = BTreeMap::new();
        for table in tables {
            let rows = match self.ask(&hashes(table), None).await {
                Ok(rows) => Ok((rows, table.clone())),
                // A value of a new type that the old one cannot hold: that column is another one by now, and not looked at.
                Err(_) => {
                    let mut less = table.clone();
                    less.columns.retain(|(_, value)| !value.contains("::"));
                    self.ask(&hashes(&less), None).await.map(|rows| (rows, less))
                }
            };
            let (rows, table) = rows?;
            let Some(row) = rows.first() else { continue };
            let mut held = Held { rows: row.get(0), keys: row.get(1), columns: BTreeMap::new() };
            if table.key.is_empty() {
                held.columns.insert("*".to_owned(), row.get(2));
            } else {
                for (at, (name, _)) in table.columns.iter().enumerate() {
                    held.columns.insert(name.clone(), row.get(at + 2));
                }
            }
            found.insert(table.table.clone(), held);
        }
        Ok(found)
    }

    async fn write(&self, table: &Writable, adds: bool, notes: &mut Vec<String>) -> Result<Vec<Written>, Failure> {
        let mut written = Vec::new();
        let now = &table.now;
        let Some(mut place) = self
            .ask(&format!("SELECT ctid::text FROM ONLY {now} LIMIT 1"), None)
            .await?
            .first()
            .map(|row| row.get::<_, String>(0))
        else {
            notes.push(format!("{} is empty: nothing could be written to it in the trial", table.before));
            return Ok(written);
        };
        // The added row first: it is made of the sampled one, which is changed afterwards.
        let insert = |every: bool| -> Option<String> {
            let mut values = Vec::new();
            for column in &table.columns {
                let other = other(column);
                values.push(match (column.key, every && !column.fixed) {
                    (true, _) if column.kind.contains("int") => {
                        format!("(SELECT max({0}) + 1 FROM ONLY {now})", column.now)
                    }
                    (true, _) => other?,
                    (false, true) => other.unwrap_or_else(|| format!("t.{}", column.now)),
                    (false, false) => format!("t.{}", column.now),
                });
            }
            let names: Vec<&str> = table.columns.iter().map(|column| column.now.as_str()).collect();
            Some(format!(
                "INSERT INTO {now} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM ONLY {now} t WHERE t.ctid = '{place}' RETURNING ctid::text",
                names.join(", "),
                values.join(", ")
            ))
        };
        let mut why = "its key is of a type that dbd makes no values of".to_owned();
        let mut inserted = None;
        for every in [false, true] {
            let Some(sql) = insert(every).filter(|_| adds && inserted.is_none()) else { continue };
            match self.attempt(&sql).await? {
                Ok(rows) => inserted = rows.first().map(|row| row.get::<_, String>(0)),
                Err(said) => why = said,
            }
        }
        match inserted {
            Some(place) => written.extend(self.noted(table, &place, "an insert").await?),
            None if !adds => {}
            None => notes.push(format!("no row could be added to {} in the trial: {why}", table.before)),
        }
        let mut changed = false;
        for column in table.columns.iter().filter(|column| !column.key && !column.fixed).take(24) {
            let Some(value) = other(column) else { continue };
            let sql =
                format!("UPDATE ONLY {now} t SET {} = {value} WHERE ctid = '{place}' RETURNING ctid::text", column.now);
            if let Ok(rows) = self.attempt(&sql).await?
                && let Some(row) = rows.first()
            {
                place = row.get(0);
                changed = true;
            }
        }
        match changed {
            true => written.extend(self.noted(table, &place, "an update").await?),
            false => notes.push(format!("no row of {} could be changed in the trial", table.before)),
        }
        Ok(written)
    }

    async fn set_aside(
        &self,
        dropped: &DroppedTables,
        known: &Names,
        room: &str,
        first: usize,
        about: &str,
    ) -> Result<SetAside, Failure> {
        self.put_aside(dropped, known, room, first, about).await
    }

    async fn ties(&self, rooms: &[String]) -> Result<Vec<String>, Failure> {
        self.tied(rooms).await
    }

    async fn read(&self, written: &Written) -> Result<Option<String>, Failure> {
        let of = |columns: &[String]| columns.iter().map(|column| format!("t.{column}")).collect::<Vec<_>>().join(", ");
        let sql = format!(
            "SELECT ROW({})::text FROM ONLY {} t WHERE ROW({})::text = $1",
            of(&written.columns),
            written.table,
            of(&written.key)
        );
        Ok(self.ask(&sql, Some(&written.at)).await?.first().map(|row| row.get(0)))
    }

    async fn end(&self) {
        let _ = self.execute("ROLLBACK").await;
    }
}

/// Another value of the column's type, made of the one that is there.
fn other(column: &WritableColumn) -> Option<String> {
    let name = &column.now;
    let kind = column.kind.as_str();
    let is = |kinds: &[&str]| kinds.iter().any(|one| kind.starts_with(one)) && !kind.ends_with("[]");
    if is(&["smallint", "integer", "bigint", "numeric", "real", "double precision"]) {
        Some(format!("COALESCE(t.{name}, 0) + 1"))
    } else if is(&["text", "character"]) {
        Some(format!("COALESCE(t.{name}, '') || '~'"))
    } else if is(&["boolean"]) {
        Some(format!("NOT COALESCE(t.{name}, false)"))
    } else if is(&["date", "timestamp"]) {
        Some(format!("t.{name} + interval '1 day'"))
    } else if is(&["uuid"]) {
        Some("pg_catalog.gen_random_uuid()".to_owned())
    } else {
        None
    }
}

/// How many rows, which, and what each column holds in which.
fn hashes(table: &Look) -> String {
    let sum = |parts: &[&str]| format!("COALESCE(sum(hashtextextended(ROW({})::text, 0)), 0)::text", parts.join(", "));
    let key: Vec<&str> = table.key.iter().map(String::as_str).collect();
    let values: Vec<&str> = table.columns.iter().map(|(_, value)| value.as_str()).collect();
    let mut columns = vec!["count(*)".to_owned()];
    if key.is_empty() {
        columns.extend([sum(&[]), sum(&values)]);
    } else {
        columns.push(sum(&key));
        // The key's own text, so that a key whose type is another by now is the same key.
        columns.extend(values.iter().map(|value| sum(&[key.as_slice(), &[value]].concat())));
    }
    format!("SELECT {} FROM ONLY {} t", columns.join(", "), table.table)
}
