//! A foreign key's columns have no index.

use crate::domain::finding::Severity;
use crate::domain::hazard::act::{Act, Alter, Name};
use crate::domain::hazard::{Case, Found, Group, Hazard, judge};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "foreign_key_without_index",
    title: "a foreign key's columns have no index",
    group: Group::Locks,
    does: "Each delete and each change of a key in the table it refers to looks for referring rows; without an index that reads the whole table, under a lock on the row.",
    lock: None,
    danger: None,
    setup: "create table t (id bigint primary key, a int, b text);
insert into t select n, n, 'x' from generate_series(1, 3) n;",
    bad: "create table c (id int primary key, t_id bigint references t (id));",
    good: "create table c (id int primary key, t_id bigint references t (id));
create index c_t_id on c (t_id);",
    way_out: "Make an index that begins with the key's columns.",
    source: "https://www.postgresql.org/docs/current/ddl-constraints.html#DDL-CONSTRAINTS-FK",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    let (table, keys): (&Name, Vec<&Vec<String>>) = match case.act {
        Act::CreateTable(table) => {
            let all = table.constraints.iter().chain(table.columns.iter().flat_map(|column| &column.constraints));
            (&table.name, all.filter_map(|one| judge::foreign_columns(&one.demand)).collect())
        }
        Act::Alter { table, alter: Alter::AddConstraint(one), .. } => {
            (table, judge::foreign_columns(&one.demand).into_iter().collect())
        }
        Act::Alter { table, alter: Alter::AddColumn { column, .. }, .. } => {
            (table, column.constraints.iter().filter_map(|one| judge::foreign_columns(&one.demand)).collect())
        }
        _ => return,
    };
    let mut after = case.facts.clone_of(table);
    after.apply(case.act);
    case.later.iter().flat_map(|statement| &statement.acts).for_each(|act| after.apply(act));
    let rel = case.facts.rel(table);
    for columns in keys {
        let first = columns.first();
        let indexed =
            after.indexes.values().any(|index| index.table.name == rel.name && index.columns.first() == first);
        if let Some(first) = first.filter(|_| !indexed) {
            let text = format!("no index begins with {first}: deletes from the other table read all of {rel}");
            found.fixed(&HAZARD, Severity::Info, format!("{rel}.{first}"), text);
        }
    }
}
