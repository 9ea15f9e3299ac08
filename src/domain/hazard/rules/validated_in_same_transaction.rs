//! A constraint is validated in the transaction that added it.

use crate::domain::hazard::act::{Act, Alter, Demand};
use crate::domain::hazard::{Case, Danger, Found, Group, Hazard};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "validated_in_same_transaction",
    title: "a constraint is validated in the transaction that added it",
    group: Group::Locks,
    does: "`NOT VALID` spares the scan under the strong lock; `VALIDATE` in the same transaction does it all the same, as the lock lasts to the end. dbd runs a file in one transaction.",
    lock: Some("AccessExclusiveLock"),
    danger: Some(Danger::ScanUnderAccessExclusive),
    setup: "create table t (id bigint primary key, a int, b text);
insert into t select n, n, 'x' from generate_series(1, 3) n;",
    bad: "begin;
alter table t add constraint t_a check (a > 0) not valid;
alter table t validate constraint t_a;
commit;",
    good: "alter table t add constraint t_a check (a > 0) not valid;
-- next migration
alter table t validate constraint t_a;",
    way_out: "Put `VALIDATE` into a migration of its own, or `COMMIT;` between the two.",
    source: "https://www.postgresql.org/docs/current/sql-altertable.html#SQL-ALTERTABLE-NOTES",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    let Act::Alter { table, alter: Alter::Validate(name), .. } = case.act else { return };
    let target = case.facts.target(table);
    if !case.scene.not_valid.contains(&(target.rel.clone(), name.clone())) {
        return;
    }
    let held = target.relation.and_then(|relation| relation.constraints.iter().find(|held| held.name == *name));
    let foreign = held.is_some_and(|held| matches!(held.demand, Demand::Foreign { .. }));
    // Without the file's own BEGIN it is the runner's transaction that keeps the earlier lock, and not this script's doing.
    let danger = match (foreign, case.scene.in_block) {
        (true, true) => Some(Danger::FkValidationBlocksWrites),
        (true, false) => None,
        (false, true) => Some(Danger::ScanUnderAccessExclusive),
        (false, false) => Some(Danger::StatementWhileHoldingAccessExclusive),
    };
    found.heavy_as(
        &HAZARD,
        danger,
        &target,
        format!("{name} is validated while the lock of adding it still keeps {} shut", target.rel),
    );
}
