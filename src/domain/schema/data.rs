//! What two databases hold, table by table, beside how they are made.

use super::catalog::{Catalog, Kind, Object, ObjectKey};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A table of both sides and what can be compared of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparable {
    /// `schema.table`, quoted as SQL needs.
    pub table: String,
    /// The columns both sides have in the same type, quoted, by name.
    pub columns: Vec<String>,
    /// How many columns only one side has, or in another type.
    pub columns_left_out: usize,
    /// The columns of the primary key, quoted, in its order; empty without one, or if the sides do not agree on it.
    pub key: Vec<String>,
}

/// What came of comparing the rows of one table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableData {
    /// The table.
    pub table: String,
    /// Its rows in the source; none if they were not counted.
    pub source_rows: Option<i64>,
    /// Its rows in the target; none if they were not counted.
    pub target_rows: Option<i64>,
    /// Whether they are the same; none if that is not known.
    pub same: Option<bool>,
    /// How that is known, or why it is not.
    pub how: String,
    /// How many rows from each end of the key were compared, where not all were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampled: Option<i64>,
    /// Rows by key, where they were compared one by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<RowData>,
    /// How many columns were left out, as only one side has them, or in another type.
    #[serde(default, skip_serializing_if = "is_none")]
    pub columns_left_out: usize,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_none(count: &usize) -> bool {
    *count == 0
}

/// Rows compared one by one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowData {
    /// Rows that only the source has.
    pub only_in_source: i64,
    /// Rows that only the target has.
    pub only_in_target: i64,
    /// Rows of both that are not the same.
    pub differing: i64,
    /// The keys of the first of them, as PostgreSQL prints a row.
    pub keys: Vec<String>,
}

/// Rows of a table that refer to nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orphans {
    /// `source` or `target`.
    pub side: String,
    /// The table that refers.
    pub table: String,
    /// The foreign key.
    pub constraint: String,
    /// How many rows; none if there was no time to look.
    pub rows: Option<i64>,
}

/// What two databases hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataComparison {
    /// How the sides were brought together: `direct` (two connections) or `fdw`.
    pub via: String,
    /// The tables, those that differ first, those that are not known next.
    pub tables: Vec<TableData>,
    /// Orphaned rows; foreign keys without any are not listed.
    pub orphans: Vec<Orphans>,
    /// The time it was given, in milliseconds.
    pub budget_ms: u64,
    /// Whether every row of every table and every foreign key was looked at.
    pub complete: bool,
}

impl DataComparison {
    /// Puts the tables in order and says whether all of it was looked at.
    #[must_use]
    pub fn new(via: &str, mut tables: Vec<TableData>, orphans: Vec<Orphans>, budget_ms: u64) -> Self {
        let rank = |table: &TableData| match table.same {
            Some(false) => 0,
            None => 1,
            Some(true) => 2,
        };
        tables.sort_by(|a, b| rank(a).cmp(&rank(b)).then_with(|| a.table.cmp(&b.table)));
        let complete = tables.iter().all(|table| table.same.is_some() && table.sampled.is_none())
            && orphans.iter().all(|orphans| orphans.rows.is_some());
        Self { via: via.to_owned(), tables, orphans, budget_ms, complete }
    }

    /// Whether nothing was found: no table known to differ, no orphan.
    #[must_use]
    pub fn nothing_found(&self) -> bool {
        self.tables.iter().all(|table| table.same != Some(false))
            && self.orphans.iter().all(|one| one.rows.is_none_or(|rows| rows == 0))
    }
}

type Families<'a> = BTreeMap<&'a ObjectKey, Vec<(&'a ObjectKey, &'a Object)>>;

fn of<'f, 'a>(
    families: &'f Families<'a>,
    table: &ObjectKey,
) -> impl Iterator<Item = (&'a ObjectKey, &'a Object)> + use<'f, 'a> {
    families.get(table).into_iter().flatten().copied()
}

/// The tables both sides have, with what can be compared of each. Foreign tables hold their rows elsewhere, partitioned ones in their partitions.
#[must_use]
pub fn comparable(source: &Catalog, target: &Catalog) -> Vec<Comparable> {
    let tables = source.of_kind(Kind::Table).filter(|(key, table)| {
        target
            .get(key)
            .is_some_and(|other| table.text("partition_key").is_none() && other.text("partition_key").is_none())
    });
    let (sources, targets) = (source.families(), target.families());
    tables
        .map(|(table, _)| {
            let columns = |families: &Families<'_>| -> Vec<(String, String)> {
                let columns = of(families, table).filter(|(key, _)| key.kind == Kind::Column);
                let column = columns.map(|(key, object)| {
                    (key.last_part().to_owned(), object.text("type").unwrap_or_default().to_owned())
                });
                column.collect()
            };
            let (ours, theirs) = (columns(&sources), columns(&targets));
            let shared: Vec<String> =
                ours.iter().filter(|column| theirs.contains(column)).map(|(name, _)| name.clone()).collect();
            let names: BTreeSet<&String> = ours.iter().chain(&theirs).map(|(name, _)| name).collect();
            let key = |families: &Families<'_>| {
                let constraints = of(families, table).filter(|(key, _)| key.kind == Kind::Constraint);
                constraints.filter_map(|(_, object)| object.text("definition")).find_map(primary_key)
            };
            let key = key(&sources).filter(|found| key(&targets).as_ref() == Some(found)).unwrap_or_default();
            Comparable {
                table: table.name.clone(),
                columns_left_out: names.len() - shared.len(),
                key: if key.iter().all(|column| shared.contains(column)) { key } else { Vec::new() },
                columns: shared,
            }
        })
        .collect()
}

/// Every ordinary table with all of its columns: for comparing a database with itself at another time.
#[must_use]
pub fn every_row(catalog: &Catalog) -> Vec<Comparable> {
    let mut tables = comparable(catalog, catalog);
    tables.retain(|table| !table.columns.is_empty());
    tables
}

/// The columns of `PRIMARY KEY (a, b)`, as PostgreSQL deparses it.
fn primary_key(definition: &str) -> Option<Vec<String>> {
    columns_of(definition, "PRIMARY KEY (")
}

/// The columns between `lead` and the next closing parenthesis.
pub(crate) fn columns_of(definition: &str, lead: &str) -> Option<Vec<String>> {
    let (columns, _) = definition.strip_prefix(lead)?.split_once(')')?;
    Some(columns.split(", ").map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::super::diff::tests::catalog;
    use super::*;
    use serde_json::json;

    fn side(kind: &str, key: &str) -> Catalog {
        catalog(&[
            ("table:public.t", "", json!({})),
            ("column:public.t.id", "table:public.t", json!({"type": "integer"})),
            ("column:public.t.a", "table:public.t", json!({"type": kind})),
            ("column:public.t.b", "table:public.t", json!({"type": "text"})),
            ("constraint:public.t.t_pkey", "table:public.t", json!({"definition": key})),
            ("table:public.p", "", json!({"partition_key": "LIST (a)"})),
        ])
    }

    #[test]
    fn columns_of_another_type_and_partitioned_tables_are_left_out() {
        let found = comparable(&side("text", "PRIMARY KEY (id)"), &side("bigint", "PRIMARY KEY (id)"));
        assert_eq!(
            found,
            [Comparable {
                table: "public.t".to_owned(),
                columns: vec!["b".to_owned(), "id".to_owned()],
                columns_left_out: 1,
                key: vec!["id".to_owned()],
            }]
        );
    }

    #[test]
    fn a_key_the_sides_do_not_share_is_none() {
        let found = comparable(&side("text", "PRIMARY KEY (id)"), &side("text", "PRIMARY KEY (id, a)"));
        assert_eq!(found[0].key, Vec::<String>::new());
        let found = comparable(&side("text", "PRIMARY KEY (a)"), &side("bigint", "PRIMARY KEY (a)"));
        assert_eq!(found[0].key, Vec::<String>::new());
    }

    #[test]
    fn what_differs_comes_first_and_what_is_unknown_next() {
        let table = |name: &str, same| TableData {
            table: name.to_owned(),
            source_rows: Some(1),
            target_rows: Some(1),
            same,
            how: String::new(),
            sampled: None,
            rows: None,
            columns_left_out: 0,
        };
        let tables = vec![table("a", Some(true)), table("b", None), table("c", Some(false))];
        let data = DataComparison::new("direct", tables, Vec::new(), 1);
        assert_eq!(data.tables.iter().map(|table| table.table.as_str()).collect::<Vec<_>>(), ["c", "b", "a"]);
        assert!(!data.complete && !data.nothing_found());
        assert!(DataComparison::new("direct", vec![table("a", Some(true))], Vec::new(), 1).nothing_found());
    }
}
