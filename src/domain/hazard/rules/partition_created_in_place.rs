//! A partition is made right on its table.

use crate::domain::hazard::act::Act;
use crate::domain::hazard::{Case, Found, Group, Hazard};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "partition_created_in_place",
    title: "a partition is made right on its table",
    group: Group::Locks,
    does: "`CREATE TABLE ... PARTITION OF` keeps everybody out of the partitioned table for a moment; with a default partition, that one is read whole.",
    lock: Some("AccessExclusiveLock"),
    danger: None,
    setup: "create table m (id bigint not null) partition by range (id);
create table m1 partition of m for values from (0) to (10);",
    bad: "create table m2 partition of m for values from (10) to (20);",
    good: "create table m2 (like m including defaults including constraints);
-- next migration
alter table m attach partition m2 for values from (10) to (20);",
    way_out: "Make the table apart and attach it: `ATTACH` lets reads and writes of the others through.",
    source: "https://www.postgresql.org/docs/current/ddl-partitioning.html#DDL-PARTITIONING-DECLARATIVE-MAINTENANCE",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    let Act::CreateTable(table) = case.act else { return };
    let Some(parent) = &table.partition_of else { return };
    let target = case.facts.target(parent);
    found.brief(&HAZARD, &target, format!("everybody is kept out of {} for a moment", target.rel));
    if let Some(default) = target.relation.and_then(|parent| parent.default_partition.clone()) {
        let default = case.facts.target_of(default);
        let text = format!("every row of the default partition {} is read while nobody else can", default.rel);
        // The server says nothing of this scan, so no rehearsal can confirm it, and it is told without a danger.
        found.heavy_as(&HAZARD, None, &default, text);
    }
}
