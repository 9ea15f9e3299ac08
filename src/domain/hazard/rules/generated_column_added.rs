//! A stored generated column is worked out for every row.

use crate::domain::hazard::act::{Act, Alter};
use crate::domain::hazard::{Case, Danger, Found, Group, Hazard, judge};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "generated_column_added",
    title: "a stored generated column is worked out for every row",
    group: Group::Locks,
    does: "The table is written anew under a lock that keeps everybody out.",
    lock: Some("AccessExclusiveLock"),
    danger: Some(Danger::Rewrite),
    setup: "create table t (id bigint primary key, a int, b text);
insert into t select n, n, 'x' from generate_series(1, 3) n;",
    bad: "alter table t add column twice int generated always as (a * 2) stored;",
    good: "alter table t add column twice int;",
    way_out: "Fill a plain column by a trigger and in batches, or work the value out in a view. PostgreSQL 18 has `VIRTUAL` columns, which are stored nowhere.",
    source: "https://www.postgresql.org/docs/current/ddl-generated-columns.html",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    let Act::Alter { table, alter: Alter::AddColumn { column, if_not_exists }, of_table: true, .. } = case.act else {
        return;
    };
    if column.stored && !judge::is_there(case, table, column, *if_not_exists) {
        let target = case.facts.target(table);
        found.heavy(
            &HAZARD,
            &target,
            format!("{} is worked out for every row: {} is rewritten", column.name, target.rel),
        );
    }
}
