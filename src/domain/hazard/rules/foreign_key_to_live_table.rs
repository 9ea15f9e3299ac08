//! A new table refers to one that is in use.

use crate::domain::hazard::act::{Act, Demand};
use crate::domain::hazard::{Case, Found, Group, Hazard};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "foreign_key_to_live_table",
    title: "a new table refers to one that is in use",
    group: Group::Locks,
    does: "A foreign key puts triggers on the table it refers to: nobody writes to that one until the transaction ends.",
    lock: Some("ShareRowExclusiveLock"),
    danger: None,
    setup: "create table t (id bigint primary key, a int, b text);
insert into t select n, n, 'x' from generate_series(1, 3) n;",
    bad: "create table c (id int primary key, t bigint references t);
select pg_sleep(0);",
    good: "create table c (id int primary key, t bigint);
-- next migration
alter table c add constraint c_t foreign key (t) references t not valid;",
    way_out: "It is short by itself. Let the transaction end soon: add the key in a migration of its own when other work goes before or after it.",
    source: "`src/backend/commands/tablecmds.c` (`ATAddForeignKeyConstraint`): ShareRowExclusiveLock on the referenced table",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    let Act::CreateTable(table) = case.act else { return };
    let all = table.constraints.iter().chain(table.columns.iter().flat_map(|column| &column.constraints));
    for constraint in all {
        if let Demand::Foreign { to, .. } = &constraint.demand
            && *to != table.name
        {
            let target = case.facts.target(to);
            let text = format!(
                "{} refers to {}: nobody writes to that one until the transaction ends",
                table.name, target.rel
            );
            found.brief(&HAZARD, &target, text);
        }
    }
}
