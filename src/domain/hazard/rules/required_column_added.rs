//! A new column must not be null and has no default.

use crate::domain::finding::Severity;
use crate::domain::hazard::act::{Act, Alter, Demand};
use crate::domain::hazard::facts;
use crate::domain::hazard::{Case, Danger, Found, Group, Hazard, judge};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "required_column_added",
    title: "a new column must not be null and has no default",
    group: Group::Locks,
    does: "Every row is read under a lock that keeps everybody out, and the statement fails as soon as there is one: all rows would be null.",
    lock: Some("AccessExclusiveLock"),
    danger: Some(Danger::ScanUnderAccessExclusive),
    setup: "create table t (id bigint primary key, a int, b text);",
    bad: "alter table t add column c text not null;",
    good: "alter table t add column c text not null default '';",
    way_out: "Give it a default, which costs nothing since PostgreSQL 11; or add it nullable, fill it, and make it NOT NULL by a validated check.",
    source: "https://www.postgresql.org/docs/current/sql-altertable.html#SQL-ALTERTABLE-NOTES",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    let Act::Alter { table, alter: Alter::AddColumn { column, if_not_exists }, of_table: true, .. } = case.act else {
        return;
    };
    let primary = column.constraints.iter().any(|one| matches!(one.demand, Demand::Primary(_)));
    if (!column.not_null && !primary) || facts::fills(column) || judge::is_there(case, table, column, *if_not_exists) {
        return;
    }
    let target = case.facts.target(table);
    let fails =
        if target.size.rows.is_some_and(|rows| rows > 0) { ", and fails" } else { ", and fails if there is one" };
    let from = found.hits.len();
    found.heavy(
        &HAZARD,
        &target,
        format!(
            "{} is null in every row of {}, must not be, and has no default: every row is read{fails}",
            column.name, target.rel
        ),
    );
    // It does not get as far as keeping anybody waiting.
    if target.size.rows.is_some_and(|rows| rows > 0) {
        found.hits[from..].iter_mut().for_each(|hit| hit.severity = Severity::Error);
    }
}
