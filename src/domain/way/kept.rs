//! Tables as values that can be kept: which columns, found again by which key, and how SQL writes that.

use super::KEEP;
use super::names::Renamed;
use crate::domain::schema::catalog::{Catalog, Kind, Object, ObjectKey};
use crate::domain::schema::data::columns_of;
use crate::domain::sql::quote_ident;
use std::collections::BTreeMap;

/// A name in a schema, as SQL writes it.
pub(super) fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", quote_ident(schema), quote_ident(name))
}

/// A table of what is kept.
pub(super) fn kept(name: &str) -> String {
    qualified(KEEP, name)
}

/// One column.
#[derive(Clone, Debug)]
pub(super) struct Column<'a> {
    /// Its type, as SQL writes it.
    pub kind: &'a str,
    /// Its collation, where it is not the type's own.
    pub collation: Option<&'a str>,
    /// Whether PostgreSQL computes it.
    pub generated: bool,
    /// Whether it counts by itself and takes no value from an UPDATE.
    pub always: bool,
    /// Whether it takes no NULL.
    pub not_null: bool,
    /// Whether it is a parent's, and is altered there.
    pub inherited: bool,
    /// What it is when nothing is said.
    pub default: Option<&'a str>,
}

impl Column<'_> {
    /// Whether its type is one of PostgreSQL's own: others may go with the step, and what is kept must not hold on to them.
    pub fn plain(&self) -> bool {
        !self.kind.split('(').next().unwrap_or_default().contains('.')
    }

    /// `expression` of this column as it is kept.
    pub fn held(&self, expression: &str) -> String {
        if self.plain() { expression.to_owned() } else { format!("{expression}::text") }
    }

    /// `expression`, as it was kept, of this column's type again.
    pub fn back(&self, expression: &str) -> String {
        if self.plain() { expression.to_owned() } else { format!("{expression}::{}", self.kind) }
    }

    /// Whether both hold the same values in the same way.
    pub fn like(&self, other: &Self) -> bool {
        self.kind == other.kind && self.collation == other.collation
    }

    /// Whether its default is the same for every row, as far as the text shows.
    pub fn constant(&self) -> Option<&str> {
        self.default.filter(|default| !default.contains('(') && !default.contains("CURRENT_"))
    }
}

/// A foreign key.
#[derive(Clone, Debug)]
pub(super) struct Refers<'a> {
    /// The constraint.
    pub name: &'a str,
    /// Its columns.
    pub columns: Vec<String>,
    /// The table it refers to.
    pub table: &'a str,
    /// The columns it refers to.
    pub to: Vec<String>,
}

/// One table.
#[derive(Clone, Debug, Default)]
pub(super) struct Table<'a> {
    /// Its columns by name, as SQL writes them.
    pub columns: BTreeMap<&'a str, Column<'a>>,
    /// What tells its rows apart, the primary key first.
    pub keys: Vec<Vec<String>>,
    /// What it refers to.
    pub refers: Vec<Refers<'a>>,
    /// Its triggers, with whether they fire.
    pub triggers: Vec<(&'a ObjectKey, &'a Object)>,
    /// Whether its rows lie in its partitions.
    pub partitioned: bool,
    /// Whether it is one.
    pub partition: bool,
    /// The tables it inherits from, as the catalog writes them.
    pub parents: Vec<&'a str>,
}

impl Table<'_> {
    /// The columns that hold values of their own.
    pub fn stored(&self) -> impl Iterator<Item = (&str, &Column<'_>)> {
        self.columns.iter().filter(|(_, column)| !column.generated).map(|(name, column)| (*name, column))
    }
}

/// The tables of a catalog, foreign ones left out, as they hold their rows elsewhere.
pub(super) fn tables(catalog: &Catalog) -> BTreeMap<&str, Table<'_>> {
    let families = catalog.families();
    let mut found = BTreeMap::new();
    for (key, object) in catalog.of_kind(Kind::Table) {
        let mut table = Table {
            partitioned: object.text("partition_key").is_some(),
            partition: object.text("partition_bound").is_some(),
            ..Table::default()
        };
        table.parents = object.get("parents").as_array().into_iter().flatten().filter_map(|one| one.as_str()).collect();
        let mut unique = Vec::new();
        for (child, object) in families.get(key).into_iter().flatten() {
            match child.kind {
                Kind::Column => {
                    let default = catalog.find(Kind::Default, &child.name).and_then(|default| default.text("expr"));
                    let column = Column {
                        kind: object.text("type").unwrap_or_default(),
                        collation: object.text("collation"),
                        generated: object.text("generated").is_some(),
                        always: object.text("identity") == Some("a"),
                        not_null: object.is("not_null"),
                        inherited: object.inherited,
                        default,
                    };
                    table.columns.insert(child.last_part(), column);
                }
                Kind::Constraint => {
                    let definition = object.text("definition").unwrap_or_default();
                    if let Some(columns) = columns_of(definition, "PRIMARY KEY (") {
                        table.keys.insert(0, columns);
                    } else if let Some(columns) = columns_of(definition, "UNIQUE (") {
                        unique.push(columns);
                    } else if let Some(columns) = columns_of(definition, "FOREIGN KEY (")
                        && let Some((_, rest)) = definition.split_once(" REFERENCES ")
                        && let Some((other, to)) = rest.split_once('(')
                        && let Some(to) = columns_of(to, "")
                    {
                        table.refers.push(Refers { name: child.last_part(), columns, table: other, to });
                    }
                }
                Kind::Trigger => table.triggers.push((child, object)),
                _ => {}
            }
        }
        unique.retain(|columns| {
            columns.iter().all(|column| table.columns.get(column.as_str()).is_some_and(|column| column.not_null))
        });
        table.keys.extend(unique);
        found.insert(key.name.as_str(), table);
    }
    found
}

/// What tells the rows of a table apart in both shapes.
pub(super) fn shared_key(old: &Table<'_>, new: &Table<'_>) -> Option<Vec<String>> {
    let stands = |column: &String| {
        let (Some(was), Some(is)) = (old.columns.get(column.as_str()), new.columns.get(column.as_str())) else {
            return false;
        };
        // Numbers that only became wider are the same numbers.
        was.like(is) || was.plain() && is.plain()
    };
    old.keys.iter().find(|key| new.keys.contains(key) && key.iter().all(stands)).cloned()
}

/// A table to be looked at, column by column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// The table, as SQL writes it.
    pub table: String,
    /// What tells its rows apart, as expressions on `t`; empty if nothing does.
    pub key: Vec<String>,
    /// Each column's name and its value as an expression on `t`.
    pub columns: Vec<(String, String)>,
}

/// How to look at what `table` holds in the shape `before`, and at the same in the shape `now`: a column whose type is another by now is
/// turned back.
///
/// `None` where the table is not in both, or holds no rows of its own.
#[must_use]
pub fn look(before: &Catalog, now: &Catalog, table: &str) -> Option<(Look, Look)> {
    let (old, new) = (tables(before), tables(now));
    let (old, new) = (old.get(table)?, new.get(table)?);
    if old.partitioned || new.partitioned {
        return None;
    }
    let key = shared_key(old, new).unwrap_or_default();
    let turned = |name: &str| {
        let (was, is) = (old.columns.get(name)?, new.columns.get(name)?);
        Some(if was.like(is) { format!("t.{name}") } else { format!("t.{name}::{}", was.kind) })
    };
    // Without a key whole rows are looked at, and those are of the columns both have.
    let counts = |name: &&&str| !key.is_empty() || turned(name).is_some();
    let was = Look {
        table: table.to_owned(),
        key: key.iter().map(|column| format!("t.{column}")).collect(),
        columns: old.columns.keys().filter(counts).map(|name| ((*name).to_owned(), format!("t.{name}"))).collect(),
    };
    let is = Look {
        table: table.to_owned(),
        key: key.iter().filter_map(|column| turned(column)).collect(),
        columns: old.columns.keys().filter_map(|name| Some(((*name).to_owned(), turned(name)?))).collect(),
    };
    Some((was, is))
}

/// The columns of a table that hold values of their own, and are in both shapes: what may have been changed where all of it may.
#[must_use]
pub fn stored(before: &Catalog, now: &Catalog, table: &str) -> Vec<String> {
    let (old, new) = (tables(before), tables(now));
    let (Some(old), Some(new)) = (old.get(table), new.get(table)) else { return Vec::new() };
    let both = old.stored().filter(|(name, _)| new.columns.get(name).is_some_and(|column| !column.generated));
    both.map(|(name, _)| name.to_owned()).collect()
}

/// What a table is to somebody who writes to it and knows both shapes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writable {
    /// The table as it was called before.
    pub before: String,
    /// The table as it is called now.
    pub now: String,
    /// Its columns.
    pub columns: Vec<WritableColumn>,
}

/// A column of a [`Writable`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WritableColumn {
    /// Its name before the migration; none if it is new.
    pub before: Option<String>,
    /// Its name now.
    pub now: String,
    /// Its type now.
    pub kind: String,
    /// Whether it is part of the key.
    pub key: bool,
    /// Whether it is to be left as it is, as it refers to another table.
    pub fixed: bool,
    /// Whether it counts when values are compared: it is of the same type in both shapes.
    pub same: bool,
}

/// How to write to `table` in the shape of now; `None` where rows could not be found again.
#[must_use]
pub fn writable(before: &Catalog, now: &Catalog, renamed: &Renamed, table: &str) -> Option<Writable> {
    let (old, new) = (tables(before), tables(now));
    let (old, new) = (old.get(table)?, new.get(table)?);
    let key = shared_key(old, new)?;
    if old.partitioned || new.partitioned {
        return None;
    }
    let refers: Vec<&String> = new.refers.iter().flat_map(|refers| &refers.columns).collect();
    let columns = new.stored().map(|(name, column)| {
        let was = old.columns.get(name).filter(|was| !was.generated);
        let key = key.iter().any(|one| one == name);
        WritableColumn {
            before: was.map(|_| name.to_owned()),
            now: renamed.column(table, name).to_owned(),
            kind: column.kind.to_owned(),
            key,
            fixed: refers.iter().any(|one| *one == name),
            same: was.is_some_and(|was| was.like(column)),
        }
    });
    Some(Writable { before: table.to_owned(), now: renamed.table(table).to_owned(), columns: columns.collect() })
}

/// The tables whose columns come back in another order, for people.
#[must_use]
pub fn moved(before: &Catalog, found: &Catalog) -> Vec<String> {
    let order = |catalog: &Catalog| {
        let mut tables: BTreeMap<String, Vec<(i32, String)>> = BTreeMap::new();
        for (key, object) in catalog.of_kind(Kind::Column) {
            let Some(table) = &object.parent else { continue };
            tables.entry(table.name.clone()).or_default().push((object.position, key.last_part().to_owned()));
        }
        for columns in tables.values_mut() {
            columns.sort();
        }
        tables
    };
    let (was, is) = (order(before), order(found));
    let names = |columns: &[(i32, String)]| columns.iter().map(|(_, name)| name.clone()).collect::<Vec<_>>();
    was.iter()
        .filter(|(table, columns)| is.get(*table).is_some_and(|now| names(now) != names(columns)))
        .map(|(table, _)| table.clone())
        .collect()
}
