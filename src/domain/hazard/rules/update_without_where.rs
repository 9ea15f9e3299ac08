//! UPDATE without WHERE touches every row.

use crate::domain::hazard::act::{Act, Verb};
use crate::domain::hazard::{Case, Found, Group, Hazard};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "update_without_where",
    title: "UPDATE without WHERE touches every row",
    group: Group::Clients,
    does: "Every row is written again, in one transaction, and each stays locked until it ends.",
    lock: Some("RowExclusiveLock"),
    danger: None,
    setup: "create table t (id bigint primary key, a int, b text);
insert into t select n, n, 'x' from generate_series(1, 3) n;",
    bad: "update t set b = 'y';",
    good: "update t set b = 'y' where id between 1 and 2;",
    way_out: "Work in batches by the key, apart from changes of the schema.",
    source: "https://www.postgresql.org/docs/current/routine-vacuuming.html",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    if let Act::Query { verb: Verb::Update, table: Some(table), filtered: false, .. } = case.act {
        let target = case.facts.target(table);
        found.heavy(&HAZARD, &target, format!("every row of {} is written again", target.rel));
    }
}
