//! An exclusion constraint builds its index while nobody can read or write.

use crate::domain::hazard::act::{Act, Alter, Demand};
use crate::domain::hazard::{Case, Danger, Found, Group, Hazard};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "exclusion_constraint_added",
    title: "an exclusion constraint builds its index while nobody can read or write",
    group: Group::Locks,
    does: "`EXCLUDE` builds an index and compares every row with the others under a lock that keeps everybody out.",
    lock: Some("AccessExclusiveLock"),
    danger: Some(Danger::IndexBuildBlocksWrites),
    setup: "create table t (id bigint primary key, a int, b text);
insert into t select n, n, 'x' from generate_series(1, 3) n;",
    bad: "alter table t add constraint t_x exclude using btree (a with =);",
    good: "create table t2 (id bigint primary key, a int, b text, constraint t_x exclude using btree (a with =));",
    way_out: "There is no way to do it beside traffic. Make a new table that has it and move over, or plan a window.",
    source: "https://www.postgresql.org/docs/current/sql-altertable.html",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    if let Act::Alter { table, alter: Alter::AddConstraint(one), .. } = case.act
        && matches!(one.demand, Demand::Exclude(_))
    {
        let target = case.facts.target(table);
        found.heavy(
            &HAZARD,
            &target,
            format!("the index of the exclusion is built while nobody can use {}", target.rel),
        );
    }
}
