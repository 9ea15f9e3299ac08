//! A setting of the table rewrites it.

use crate::domain::hazard::act::{Act, Alter};
use crate::domain::hazard::{Case, Danger, Found, Group, Hazard};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "table_rewritten",
    title: "a setting of the table rewrites it",
    group: Group::Locks,
    does: "`SET LOGGED`, `SET UNLOGGED`, `SET ACCESS METHOD` and `SET TABLESPACE` write the table anew under a lock that keeps everybody out.",
    lock: Some("AccessExclusiveLock"),
    danger: Some(Danger::Rewrite),
    setup: "create table t (id bigint primary key, a int, b text);
insert into t select n, n, 'x' from generate_series(1, 3) n;",
    bad: "alter table t set unlogged;",
    good: "create unlogged table t2 (like t including all);",
    way_out: "Plan a window, or make a table as it should be and move over.",
    source: "https://www.postgresql.org/docs/current/sql-altertable.html",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    if let Act::Alter { table, alter: Alter::Rewrite(words), of_table: true, .. } = case.act {
        let target = case.facts.target(table);
        let unlogged = target.relation.and_then(|relation| relation.unlogged);
        if (*words == "SET LOGGED" && unlogged == Some(false)) || (*words == "SET UNLOGGED" && unlogged == Some(true)) {
            return;
        }
        found.heavy(&HAZARD, &target, format!("{words} rewrites {}", target.rel));
    }
}
