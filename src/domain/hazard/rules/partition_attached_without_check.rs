//! A partition is attached and every row of it is tried.

use crate::domain::hazard::act::{Act, Alter, Demand};
use crate::domain::hazard::facts::{Held, Rel};
use crate::domain::hazard::{Case, Danger, Found, Group, Hazard};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "partition_attached_without_check",
    title: "a partition is attached and every row of it is tried",
    group: Group::Locks,
    does: "`ATTACH PARTITION` reads the new partition to see that its rows belong there, under a lock that keeps everybody out of it; a default partition is read as well.",
    lock: Some("AccessExclusiveLock"),
    danger: Some(Danger::ScanUnderAccessExclusive),
    setup: "create table m (id bigint not null) partition by range (id);
create table t (id bigint not null);
insert into t values (1), (2), (3);",
    bad: "alter table m attach partition t for values from (0) to (10);",
    good: "alter table t add constraint t_range check (id is not null and id >= 0 and id < 10) not valid;
-- next migration
alter table t validate constraint t_range;
-- next migration
alter table m attach partition t for values from (0) to (10);",
    way_out: "Add a check that says the same as the partition's bounds, validate it, attach, then drop the check.",
    source: "https://www.postgresql.org/docs/current/ddl-partitioning.html#DDL-PARTITIONING-DECLARATIVE-MAINTENANCE",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    let Act::Alter { table, alter: Alter::Attach { child, default }, of_table: true, .. } = case.act else { return };
    let target = case.facts.target(child);
    let parent = case.facts.rel(table);
    let indexed = |columns: &Vec<String>| {
        case.facts.indexes.values().any(|index| index.table == target.rel && index.columns == *columns)
    };
    let lacks = |rel: &Rel| case.facts.indexes.values().any(|index| index.table == *rel && !indexed(&index.columns));
    if target.relation.is_some() && lacks(&parent) {
        let text = format!("the indexes {parent} has and {} lacks are built while nobody can use it", target.rel);
        found.heavy_as(&HAZARD, Some(Danger::IndexBuildBlocksWrites), &target, text);
    }
    let whole = case.facts.target(table).relation;
    let has_key = |columns: &[String]| {
        let own = target.relation.map(|child| child.constraints.as_slice()).unwrap_or_default();
        own.iter().any(|held| matches!(&held.demand, Demand::Foreign { columns: own, .. } if own.as_slice() == columns))
    };
    let lacks_key = |held: &Held| matches!(&held.demand, Demand::Foreign { columns, .. } if !has_key(columns));
    if target.relation.is_some() && whole.is_some_and(|parent| parent.constraints.iter().any(lacks_key)) {
        let text =
            format!("the foreign keys {parent} has are tried on every row of {}; nobody writes to it", target.rel);
        found.heavy_as(&HAZARD, Some(Danger::FkValidationBlocksWrites), &target, text);
    }
    // A default partition beside no other takes every row.
    if *default && whole.is_some_and(|parent| parent.columns_known && parent.children.is_empty()) {
        return;
    }
    let key = case.facts.target(table).relation.map(|parent| parent.partition_key.clone()).unwrap_or_default();
    // What a check says of other columns proves nothing.
    let proven = target.relation.is_some_and(|relation| {
        relation.constraints.iter().any(|held| match &held.demand {
            Demand::Check(check) => held.valid && key.iter().all(|column| check.columns.contains(column)),
            _ => false,
        })
    });
    if !proven {
        found.heavy(&HAZARD, &target, format!("every row of {} is read while nobody else can", target.rel));
    }
    if let Some(default) = case.facts.target(table).relation.and_then(|parent| parent.default_partition.clone()) {
        let default = case.facts.target_of(default);
        found.heavy(
            &HAZARD,
            &default,
            format!("every row of the default partition {} is read while nobody else can", default.rel),
        );
    }
}
