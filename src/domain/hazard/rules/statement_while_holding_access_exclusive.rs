//! Rows are changed while an earlier statement keeps everybody out.

use crate::domain::hazard::act::{Act, Verb};
use crate::domain::hazard::{Case, Danger, Found, Group, Hazard};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "statement_while_holding_access_exclusive",
    title: "rows are changed while an earlier statement keeps everybody out",
    group: Group::Locks,
    does: "A lock lasts to the end of its transaction. Rows that are changed after an `ALTER TABLE` in the same one keep everybody waiting for as long as that takes.",
    lock: None,
    danger: Some(Danger::StatementWhileHoldingAccessExclusive),
    setup: "create table t (id bigint primary key, a int, b text);
insert into t select n, n, 'x' from generate_series(1, 3) n;",
    bad: "alter table t add column c int;
update t set c = 1 where id > 0;",
    good: "alter table t add column c int;
-- next migration
update t set c = 1 where id > 0;",
    way_out: "Put the change of rows into a migration of its own, in batches.",
    source: "https://www.postgresql.org/docs/current/explicit-locking.html#LOCKING-TABLES",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    let Act::Query { verb, table: Some(table), from_query, .. } = case.act else { return };
    let many = matches!(verb, Verb::Update | Verb::Delete) || *from_query;
    let Some(shut) = case.scene.exclusive.first().filter(|_| many) else { return };
    let target = case.facts.target(table);
    // While nobody knows how long it takes, it is not said that it takes long.
    let danger = target.size.rows.filter(|rows| *rows >= 100_000).map(|_| Danger::StatementWhileHoldingAccessExclusive);
    found.heavy_as(
        &HAZARD,
        danger,
        &target,
        format!("rows of {} are changed while the transaction keeps everybody out of {shut}", target.rel),
    );
}
