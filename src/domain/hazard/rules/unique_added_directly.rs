//! A unique constraint builds its index while nobody can read or write.

use crate::domain::hazard::act::{Act, Alter, Demand};
use crate::domain::hazard::{Case, Danger, Found, Group, Hazard, judge};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "unique_added_directly",
    title: "a unique constraint builds its index while nobody can read or write",
    group: Group::Locks,
    does: "Adding a unique constraint builds an index under a lock that keeps everybody out, and fails where a value comes twice.",
    lock: Some("AccessExclusiveLock"),
    danger: Some(Danger::IndexBuildBlocksWrites),
    setup: "create table t (id bigint primary key, a int, b text);
insert into t select n, n, 'x' from generate_series(1, 3) n;",
    bad: "alter table t add constraint t_k unique (a);",
    good: "create unique index concurrently t_k on t (a);
-- next migration
alter table t add constraint t_k unique using index t_k;",
    way_out: "Build the index with `CREATE UNIQUE INDEX CONCURRENTLY`, then let the constraint take it over: `USING INDEX` builds nothing.",
    source: "https://www.postgresql.org/docs/current/sql-altertable.html#SQL-ALTERTABLE-DESC-ADD-TABLE-CONSTRAINT-USING-INDEX",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    let Act::Alter { table, alter, of_table: true, .. } = case.act else { return };
    let all = match alter {
        Alter::AddConstraint(one) => vec![one],
        Alter::AddColumn { column, if_not_exists } if !judge::is_there(case, table, column, *if_not_exists) => {
            column.constraints.iter().collect()
        }
        _ => return,
    };
    if all.iter().any(|one| matches!(one.demand, Demand::Unique(_)) && one.using_index.is_none()) {
        let target = case.facts.target(table);
        found.heavy(
            &HAZARD,
            &target,
            format!("the index of the unique constraint is built while nobody can use {}", target.rel),
        );
    }
}
