//! A column may be null from now on.

use crate::domain::hazard::act::{Act, Alter};
use crate::domain::hazard::{Case, Found, Group, Hazard};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "not_null_dropped",
    title: "a column may be null from now on",
    group: Group::Clients,
    does: "Code that was written for a value gets null.",
    lock: Some("AccessExclusiveLock"),
    danger: None,
    setup: "create table t (id bigint primary key, a int not null, b text);",
    bad: "alter table t alter column a drop not null;",
    good: "alter table t alter column a set default 0;",
    way_out: "Let every reader cope with null first.",
    source: "https://www.postgresql.org/docs/current/sql-altertable.html",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    if let Act::Alter { table, alter: Alter::DropNotNull(column), of_table: true, .. } = case.act {
        let target = case.facts.target(table);
        found.brief(&HAZARD, &target, format!("{column} of {} may be null from then on", target.rel));
    }
}
