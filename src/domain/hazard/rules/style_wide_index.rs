//! An index over more than three columns.

use crate::domain::finding::Severity;
use crate::domain::hazard::act::Act;
use crate::domain::hazard::{Case, Found, Group, Hazard};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "style_wide_index",
    title: "an index over more than three columns",
    group: Group::Style,
    does: "It is large, slow to keep, and rarely used beyond its first columns.",
    lock: None,
    danger: None,
    setup: "",
    bad: "create table n (a int, b int, c int, d int);
create index n_all on n (a, b, c, d);",
    good: "create table n (a int, b int, c int, d int);
create index n_a on n (a, b);",
    way_out: "Begin with the columns that narrow most.",
    source: "https://www.postgresql.org/docs/current/indexes-multicolumn.html",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    if let Act::CreateIndex { table, unique: false, parts, .. } = case.act
        && *parts > 3
    {
        found.fixed(&HAZARD, Severity::Info, table, format!("an index of {table} has {parts} columns"));
    }
}
