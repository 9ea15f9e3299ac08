//! Reads the catalog of a database into a [`Catalog`].
//!
//! Everything is read in one transaction's snapshot, so what comes back is one moment's schema. PostgreSQL deparses the definitions itself
//! (`pg_get_*def`), with the settings that shape its text pinned, so that the same schema gives the same words on every server
//! and for every role. Deparsing a view takes an `ACCESS SHARE` lock on its tables; a caller that must not wait sets `lock_timeout`.

use super::catalog_queries as queries;
use crate::domain::schema::catalog::Attributes;
use crate::domain::schema::{Catalog, Kind, Object, ObjectKey, spelling};
use compact_str::CompactString;
use futures_util::TryStreamExt;
use serde_json::Value;
use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::error::Error as StdError;
use std::pin::pin;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{FromSql, Json, ToSql, Type};
use tokio_postgres::{Error, GenericClient, Row};

/// What is left out of a catalog, beyond the system's, extensions' and dbd's own objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exclude {
    /// Tables, as `schema.table`, quoted or not: the tracking tables of migration tools.
    ///
    /// Their indexes and sequences go with them, and so does a schema (other than `public`) that holds nothing else.
    pub tables: Vec<String>,
}

impl Exclude {
    /// Leaves out these tables.
    pub fn tables<T: Into<String>>(tables: impl IntoIterator<Item = T>) -> Self {
        Self { tables: tables.into_iter().map(Into::into).collect() }
    }
}

/// The settings that shape how PostgreSQL deparses, and what they are while a catalog is read.
const PINNED: &[(&str, &str)] = &[
    ("search_path", "pg_catalog"),
    ("quote_all_identifiers", "off"),
    ("DateStyle", "ISO, MDY"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("extra_float_digits", "1"),
    ("bytea_output", "hex"),
    ("lc_monetary", "C"),
    // Compiling this statement takes longer than running it.
    ("jit", "off"),
];

/// How often a read is begun again when an object vanished beneath it.
const ATTEMPTS: u32 = 3;

/// Reads every object of the user's in the database that `client` is connected to.
///
/// Works on a connection of its own as well as within the caller's open transaction, whose snapshots it then sees (one, if that is
/// `REPEATABLE READ`) and whose settings are put back before it returns. Outside a transaction it opens a read-only one for itself; if this future is dropped before it
/// is done, that transaction stays open, so the connection should then be closed. Needs no privileges beyond connecting.
///
/// # Errors
/// Whatever PostgreSQL says. Within a transaction the caller has to roll it back, as after any error; outside of one, a
/// read that failed because an object was dropped meanwhile is tried again.
pub async fn read_catalog<C: GenericClient>(client: &C, exclude: &Exclude) -> Result<Catalog, Error> {
    if in_transaction(client).await? {
        let before = pin(client).await?;
        let catalog = read_objects(client, exclude).await?;
        unpin(client, &before).await?;
        return Ok(catalog);
    }
    let mut attempt = 1;
    loop {
        client.batch_execute("begin isolation level repeatable read read only").await?;
        let read = async {
            pin(client).await?;
            read_objects(client, exclude).await
        };
        match read.await {
            Ok(catalog) => {
                client.batch_execute("commit").await?;
                return Ok(catalog);
            }
            Err(error) => {
                // The first error is the one to tell; a connection that is gone cannot roll back.
                let rolled_back = client.batch_execute("rollback").await;
                if rolled_back.is_err() || attempt == ATTEMPTS || !vanished(&error) {
                    return Err(error);
                }
                attempt += 1;
            }
        }
    }
}

/// Counts the rows of every ordinary table of the user's that `exclude` does not name, exactly.
///
/// Keys are `schema.table`, quoted as SQL needs. Partitions and inheritance children are counted as tables of their own;
/// partitioned and foreign tables are not in it. Reads every table once, so it takes as long as that does; give it a transaction
/// with a snapshot if the counts must be of one moment.
///
/// # Errors
/// Whatever PostgreSQL says, above all that the role may not read a table.
pub async fn row_counts<C: GenericClient>(client: &C, exclude: &Exclude) -> Result<BTreeMap<String, i64>, Error> {
    let tables = client.query(queries::ORDINARY_TABLES, &[&exclude.tables]).await?;
    let tables = tables.iter().map(|row| row.try_get("name")).collect::<Result<Vec<String>, _>>()?;
    let mut counts = BTreeMap::new();
    // Enough at once to save round trips, few enough to plan quickly.
    for tables in tables.chunks(50) {
        for row in client.query(&queries::row_counts(tables), &[]).await? {
            counts.insert(row.try_get("name")?, row.try_get("rows")?);
        }
    }
    Ok(counts)
}

/// Whether the connection has a transaction open.
///
/// A setting made for the transaction is gone by the next statement exactly if there is none.
async fn in_transaction<C: GenericClient>(client: &C) -> Result<bool, Error> {
    client.batch_execute("select pg_catalog.set_config('dbd.in_transaction', 'yes', true)").await?;
    let sql =
        "select coalesce(pg_catalog.current_setting('dbd.in_transaction', true), '') operator(pg_catalog.=) 'yes'";
    client.query_typed_one(sql, &[]).await?.try_get(0)
}

/// Pins the settings for the transaction, and tells what they were.
async fn pin<C: GenericClient>(client: &C) -> Result<Vec<(String, String)>, Error> {
    let names: Vec<&str> = PINNED.iter().map(|(name, _)| *name).collect();
    let sql = "select n, pg_catalog.current_setting(n) from pg_catalog.unnest($1::pg_catalog.text[]) as n";
    let rows = client.query_typed(sql, &[(&names, Type::TEXT_ARRAY)]).await?;
    let before = rows
        .iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .collect::<Result<Vec<(String, String)>, Error>>()?;
    let pinned: Vec<(String, String)> =
        PINNED.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    unpin(client, &pinned).await?;
    Ok(before)
}

/// Gives the settings these values until the transaction ends.
async fn unpin<C: GenericClient>(client: &C, settings: &[(String, String)]) -> Result<(), Error> {
    let (names, values): (Vec<&str>, Vec<&str>) =
        settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).unzip();
    let sql = "select pg_catalog.set_config(n, v, true) \
         from rows from (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[])) as s (n, v)";
    client.query_typed(sql, &[(&names, Type::TEXT_ARRAY), (&values, Type::TEXT_ARRAY)]).await?;
    Ok(())
}

async fn read_objects<C: GenericClient>(client: &C, exclude: &Exclude) -> Result<Catalog, Error> {
    let version = "select current_setting('server_version_num')::int";
    let version = client.query_typed_one(version, &[]).await?.try_get(0)?;
    let mut found = Vec::new();
    let mut relations = HashMap::new();
    let (tables, left_out): (String, &[&(dyn ToSql + Sync)]) = (queries::tables(), &[&exclude.tables]);
    let tables = read_each(client, &tables, left_out, |row| {
        let kind: KindColumn = row.get("kind")?;
        let key = ObjectKey::new(kind.0, row.get::<String>("name")?);
        if row.get("attributes")? {
            row.tell(key.clone(), None, &mut found)?;
        }
        relations.insert(row.get::<u32>("relation")?, key);
        Ok(())
    });
    tables.await?;
    let ranks = ranks(relations.iter().map(|(relation, key)| (*relation, key)));
    let rank = |row: &Read<'_>| -> Result<u32, Error> {
        Ok(ranks.get(&row.get::<u32>("relation")?).copied().unwrap_or_default())
    };
    // What hangs on a relation that was left out is left out with it.
    let of = |row: &Read<'_>| -> Result<Option<&ObjectKey>, Error> { Ok(relations.get(&row.get::<u32>("relation")?)) };
    let part = |row: &Read<'_>, of: &ObjectKey| -> Result<String, Error> {
        Ok(format!("{}.{}", of.name, row.get::<&str>("part")?))
    };
    let found = RefCell::new(found);
    // All of them are sent at once; the server answers one after the other, and each answer is read while the next is worked out.
    let columns = queries::columns(version);
    let columns = read_each(client, &columns, &[], |row| {
        let Some(of) = of(row)? else { return Ok(()) };
        let kind = if of.kind.is_table() { Kind::Column } else { Kind::ViewColumn };
        let key = ObjectKey::new(kind, part(row, of)?);
        let found = &mut found.borrow_mut();
        if let Some(default) = row.get::<Option<String>>("default")? {
            let attributes = Attributes::from_iter([("expr".into(), Value::String(default))]);
            let object = Object { parent: Some(key.clone()), inherited: false, position: 0, attributes };
            let default = ObjectKey::new(Kind::Default, key.name.clone());
            found.push(Found::part(rank(row)?, row.get("part")?, default, object));
        }
        row.tell(key, Some((of.clone(), rank(row)?)), found)
    });
    let constraints = read_each(client, queries::CONSTRAINTS, &[], |row| {
        let Some(of) = of(row)? else { return Ok(()) };
        let key = ObjectKey::new(Kind::Constraint, part(row, of)?);
        row.tell(key, Some((of.clone(), rank(row)?)), &mut found.borrow_mut())
    });
    let indexes = read_each(client, queries::INDEXES, &[], |row| {
        let Some(of) = of(row)? else { return Ok(()) };
        let key = ObjectKey::new(Kind::Index, row.get::<String>("name")?);
        row.tell(key, Some((of.clone(), 0)), &mut found.borrow_mut())
    });
    let objects = queries::objects(version);
    let others = read_each(client, &objects, left_out, |row| {
        let KindColumn(kind) = row.get("kind")?;
        let parent: Option<KeyColumn> = row.get("parent")?;
        let Json(attributes) = row.get::<Json<Attributes>>("attributes")?;
        let parent = parent.map(|KeyColumn(key)| key);
        let object = Object { parent, inherited: row.get("inherited")?, position: 0, attributes };
        found.borrow_mut().push(Found::whole(ObjectKey::new(kind, row.get::<String>("name")?), object));
        Ok(())
    });
    futures_util::try_join!(columns, constraints, indexes, others)?;
    let mut found = found.into_inner();
    // Names of one schema begin alike, so that comparing them is what takes the time.
    found.sort_unstable_by(Found::order);
    let mut catalog = Catalog { objects: found.into_iter().map(|one| (one.key, one.object)).collect() };
    spelling::settle(&mut catalog);
    as_without_capture(client, &mut catalog).await?;
    Ok(catalog)
}

/// The place of each relation among all by their names, from 1 on: the order in which what hangs on them stands, `relation.part`.
fn ranks<'a>(relations: impl Iterator<Item = (u32, &'a ObjectKey)>) -> HashMap<u32, u32> {
    let mut names: Vec<(String, u32)> = relations.map(|(relation, key)| (format!("{}.", key.name), relation)).collect();
    names.sort_unstable();
    names.into_iter().zip(1..).map(|((_, relation), rank)| (relation, rank)).collect()
}

/// An object that was read, and what tells its place without a look at its name.
struct Found {
    /// The rank of the relation it hangs on by its name; 0 if its name does not begin with one.
    rank: u32,
    /// How the rest of its name begins, as a number.
    begins: u64,
    key: ObjectKey,
    object: Object,
}

impl Found {
    fn whole(key: ObjectKey, object: Object) -> Self {
        Self { rank: 0, begins: 0, key, object }
    }

    fn part(rank: u32, part: &str, key: ObjectKey, object: Object) -> Self {
        let mut begins = [0; 8];
        for (to, from) in begins.iter_mut().zip(part.bytes()) {
            *to = from;
        }
        Self { rank, begins: u64::from_be_bytes(begins), key, object }
    }

    /// The order of their keys, as long as those of one kind were all found in the same way.
    fn order(&self, other: &Self) -> Ordering {
        let place = |one: &Self| (one.key.kind, one.rank, one.begins);
        place(self).cmp(&place(other)).then_with(|| self.key.name.cmp(&other.key.name))
    }
}

/// Runs a statement and hands each row to `visit` as it comes.
async fn read_each<C: GenericClient>(
    client: &C,
    sql: &str,
    parameters: &[&(dyn ToSql + Sync)],
    mut visit: impl FnMut(&Read<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let statement = client.prepare(sql).await?;
    let columns: Vec<&str> = statement.columns().iter().map(tokio_postgres::Column::name).collect();
    let mut attributes: Vec<(usize, CompactString, Type)> = Vec::new();
    for (place, column) in statement.columns().iter().enumerate() {
        if !Read::OWN.contains(&column.name()) {
            attributes.push((place, column.name().into(), column.type_().clone()));
        }
    }
    // In the order of the map they go into.
    attributes.sort_by(|(_, one, _), (_, other, _)| one.cmp(other));
    let rows = client.query_raw(&statement, parameters.iter().copied()).await?;
    let mut rows = pin!(rows);
    while let Some(row) = rows.try_next().await? {
        visit(&Read { row, columns: &columns, attributes: &attributes })?;
    }
    Ok(())
}

/// A row of a statement that names its columns after what is done with them.
struct Read<'a> {
    row: Row,
    columns: &'a [&'a str],
    /// The columns that are attributes of the object.
    attributes: &'a [(usize, CompactString, Type)],
}

impl Read<'_> {
    /// Columns that are no attribute of the object.
    const OWN: &'static [&'static str] =
        &["relation", "kind", "name", "part", "parent", "inherited", "position", "comment", "default", "attributes"];

    fn get<'r, T: FromSql<'r>>(&'r self, column: &str) -> Result<T, Error> {
        self.row.try_get(column)
    }

    /// The value of a column the statement may not have.
    fn find<'r, T: FromSql<'r>>(&'r self, column: &str) -> Result<Option<T>, Error> {
        match self.columns.iter().position(|name| *name == column) {
            Some(place) => self.row.try_get(place),
            None => Ok(None),
        }
    }

    /// Adds the object to those that were found, and the comment on it. What its name begins with is told with its parent, by the rank.
    fn tell(&self, key: ObjectKey, parent: Option<(ObjectKey, u32)>, found: &mut Vec<Found>) -> Result<(), Error> {
        if let Some(comment) = self.find::<String>("comment")? {
            let attributes = Attributes::from_iter([("text".into(), Value::String(comment))]);
            let object = Object { parent: Some(key.clone()), inherited: false, position: 0, attributes };
            found.push(Found::whole(ObjectKey::new(Kind::Comment, key.to_string()), object));
        }
        let mut attributes = Attributes::with_capacity(self.attributes.len());
        for (place, name, kind) in self.attributes {
            if let Some(value) = self.value(*place, kind)? {
                attributes.insert(name.clone(), value);
            }
        }
        let (parent, rank) = parent.map_or((None, 0), |(parent, rank)| (Some(parent), rank));
        let object = Object {
            parent,
            inherited: self.find("inherited")?.unwrap_or_default(),
            position: self.find::<i16>("position")?.map_or(0, i32::from),
            attributes,
        };
        found.push(match rank {
            0 => Found::whole(key, object),
            rank => Found::part(rank, self.get("part")?, key, object),
        });
        Ok(())
    }

    /// What a column holds, as `to_jsonb` would say it.
    fn value(&self, place: usize, kind: &Type) -> Result<Option<Value>, Error> {
        Ok(match *kind {
            Type::BOOL => self.row.try_get::<_, Option<bool>>(place)?.map(Value::Bool),
            Type::INT2 => self.row.try_get::<_, Option<i16>>(place)?.map(Value::from),
            Type::INT4 => self.row.try_get::<_, Option<i32>>(place)?.map(Value::from),
            Type::CHAR => {
                self.row.try_get::<_, Option<i8>>(place)?.map(|byte| (byte.cast_unsigned() as char).to_string().into())
            }
            Type::TEXT_ARRAY => self.row.try_get::<_, Option<Vec<String>>>(place)?.map(Value::from),
            Type::JSONB => self.row.try_get(place)?,
            _ => self.row.try_get::<_, Option<String>>(place)?.map(Value::String),
        })
    }
}

/// A capture makes whole rows the identity of every table while it lasts (`capture/install.sql`): what is told is what they go back to.
async fn as_without_capture<C: GenericClient>(client: &C, catalog: &mut Catalog) -> Result<(), Error> {
    let there = "select to_regclass('dbd_capture.protected') is not null";
    if !client.query_typed_one(there, &[]).await?.try_get::<_, bool>(0)? {
        return Ok(());
    }
    for row in client.query(queries::IDENTITIES_BEFORE_CAPTURE, &[]).await? {
        let (name, identity, index): (String, String, Option<String>) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let key = ObjectKey::new(Kind::Table, name);
        if let Some(table) = catalog.get(&key).cloned() {
            let mut table = table;
            table.attributes.insert("replica_identity".into(), Value::String(identity));
            if let Some(index) = index {
                table.attributes.insert("replica_identity_index".into(), Value::String(index));
            }
            catalog.insert(key, table);
        }
    }
    Ok(())
}

/// Whether the error is that of an object dropped between the snapshot and its deparsing, which looks at the newest state.
fn vanished(error: &Error) -> bool {
    let Some(database) = error.as_db_error() else { return false };
    let states = [SqlState::UNDEFINED_TABLE, SqlState::UNDEFINED_OBJECT, SqlState::UNDEFINED_FUNCTION];
    states.contains(database.code())
        || (*database.code() == SqlState::INTERNAL_ERROR
            && ["cache lookup failed", "could not open relation", "could not find"]
                .iter()
                .any(|text| database.message().contains(text)))
}

/// A column that holds a kind.
struct KindColumn(Kind);

impl<'a> FromSql<'a> for KindColumn {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        let text = <&str>::from_sql(kind, raw)?;
        Kind::parse(text).map(Self).ok_or_else(|| format!("no such kind of object: {text}").into())
    }

    fn accepts(kind: &Type) -> bool {
        <&str as FromSql>::accepts(kind)
    }
}

/// A column that holds a key, `kind:name`.
struct KeyColumn(ObjectKey);

impl<'a> FromSql<'a> for KeyColumn {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        let text = <&str>::from_sql(kind, raw)?;
        ObjectKey::parse(text).map(Self).ok_or_else(|| format!("not an object's key: {text}").into())
    }

    fn accepts(kind: &Type) -> bool {
        <&str as FromSql>::accepts(kind)
    }
}
