//! A constraint is dropped.

use crate::domain::hazard::act::{Act, Alter};
use crate::domain::hazard::{Case, Found, Group, Hazard};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "constraint_dropped",
    title: "a constraint is dropped",
    group: Group::Clients,
    does: "What the constraint kept out can come in, and code that relied on it meets it.",
    lock: Some("AccessExclusiveLock"),
    danger: None,
    setup: "create table t (id bigint primary key, a int, constraint t_a check (a > 0));",
    bad: "alter table t drop constraint t_a;",
    good: "comment on constraint t_a on t is 'to be dropped';",
    way_out: "Make sure that nothing relies on it; dropping a key also takes away its index.",
    source: "https://www.postgresql.org/docs/current/sql-altertable.html",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    if let Act::Alter { table, alter: Alter::DropConstraint { name, .. }, .. } = case.act {
        let target = case.facts.target(table);
        found.brief(&HAZARD, &target, format!("{name} no longer guards {}", target.rel));
    }
}
