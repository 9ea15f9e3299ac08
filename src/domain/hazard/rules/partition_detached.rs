//! A partition is detached under a lock that keeps everybody out.

use crate::domain::hazard::act::{Act, Alter};
use crate::domain::hazard::{Case, Found, Group, Hazard};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "partition_detached",
    title: "a partition is detached under a lock that keeps everybody out",
    group: Group::Locks,
    does: "`DETACH PARTITION` keeps everybody out of the partitioned table for a moment, and waits for all its queries before.",
    lock: Some("AccessExclusiveLock"),
    danger: None,
    setup: "create table m (id bigint not null) partition by range (id);
create table m1 partition of m for values from (0) to (10);",
    bad: "alter table m detach partition m1;",
    good: "alter table m detach partition m1 concurrently;",
    way_out: "`DETACH PARTITION ... CONCURRENTLY` (PostgreSQL 14), alone, outside a transaction; not where there is a default partition.",
    source: "https://www.postgresql.org/docs/current/sql-altertable.html#SQL-ALTERTABLE-DETACH-PARTITION",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    if let Act::Alter { table, alter: Alter::Detach { concurrently: false, .. }, .. } = case.act {
        let target = case.facts.target(table);
        found.brief(&HAZARD, &target, format!("everybody is kept out of {} for a moment", target.rel));
    }
}
