//! A column's new type has its constraints tried again.

use crate::domain::hazard::act::{Act, Alter, Demand};
use crate::domain::hazard::facts::{self, demand_columns};
use crate::domain::hazard::{Case, Danger, Found, Group, Hazard, types};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "type_change_rechecks",
    title: "a column's new type has its constraints tried again",
    group: Group::Locks,
    does: "Also where the rows stay as they are, checks on the column are tried on every row again; a foreign key is tried again when the rows are rewritten; an index that would sort differently is built anew.",
    lock: Some("AccessExclusiveLock"),
    danger: Some(Danger::ScanUnderAccessExclusive),
    setup: "create table t (id bigint primary key, b varchar(10) constraint b_there check (b <> ''));
insert into t select n, 'x' from generate_series(1, 3) n;",
    bad: "alter table t alter column b type varchar(20);",
    good: "alter table t drop constraint b_there;
alter table t alter column b type varchar(20);
-- next migration
alter table t add constraint b_there check (b <> '') not valid;",
    way_out: "Drop the constraint first and bring it back `NOT VALID`, to be validated later.",
    source: "`src/backend/commands/tablecmds.c` (`ATPostAlterTypeCleanup`)",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    let Act::Alter { table, alter: Alter::Type { column, ty, collation, using }, of_table: true, .. } = case.act else {
        return;
    };
    let target = case.facts.target(table);
    let Some(relation) = target.relation else { return };
    let held = relation.column(column);
    let old = held.map(|column| &column.ty);
    let rewritten = types::rewrites(case.facts, old, ty, column, using.as_ref()) != Some(false);
    let names = |demand: &Demand| demand_columns(demand).contains(column);
    if rewritten {
        let key =
            relation.constraints.iter().any(|held| matches!(held.demand, Demand::Primary(_)) && names(&held.demand));
        let refers = |held: &facts::Held| match &held.demand {
            Demand::Foreign { to, to_columns, .. } if held.valid && case.facts.rel(to) == target.rel => {
                if to_columns.is_empty() { key } else { to_columns.contains(column) }
            }
            _ => false,
        };
        let own = relation
            .constraints
            .iter()
            .find(|held| held.valid && matches!(held.demand, Demand::Foreign { .. }) && names(&held.demand));
        let other = case.facts.relations.values().find(|other| other.constraints.iter().any(refers));
        if own.is_some() || other.is_some() {
            let text = format!("the foreign keys over {column} are tried on every row again; nobody writes meanwhile");
            found.heavy_as(&HAZARD, Some(Danger::FkValidationBlocksWrites), &target, text);
        }
        return;
    }
    if relation
        .constraints
        .iter()
        .any(|held| held.valid && matches!(held.demand, Demand::Check(_)) && names(&held.demand))
    {
        found.heavy(
            &HAZARD,
            &target,
            format!("the checks on {column} read every row of {} again while nobody else can", target.rel),
        );
    }
    let recollated = held.is_some_and(|held| held.collation != *collation);
    let reordered = recollated || old.is_some_and(|old| types::reorders(old, ty));
    let built = |index: &facts::Index| index.computes_with(column) || (reordered && index.columns.contains(column));
    if case.facts.indexes.values().any(|index| index.table == target.rel && built(index)) {
        let text = format!("the indexes over {column} are built anew while nobody can use {}", target.rel);
        found.heavy_as(&HAZARD, Some(Danger::IndexBuildBlocksWrites), &target, text);
    }
}
