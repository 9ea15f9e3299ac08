//! A trigger is made, switched or dropped on a table in use.

use crate::domain::hazard::act::{Act, Alter, Thing};
use crate::domain::hazard::{Case, Found, Group, Hazard};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "trigger_on_live_table",
    title: "a trigger is made, switched or dropped on a table in use",
    group: Group::Locks,
    does: "Making or switching a trigger keeps writers out for a moment, dropping one everybody; and every write after that does something else than before.",
    lock: Some("ShareRowExclusiveLock"),
    danger: None,
    setup: "create table t (id bigint primary key, a int, b text);
insert into t select n, n, 'x' from generate_series(1, 3) n;",
    bad: "create trigger touched before update on t for each row execute function suppress_redundant_updates_trigger();",
    good: "alter table t add column touched timestamptz default now();",
    way_out: "Keep the transaction short, and try out what the trigger does to the writes of the application that is still running.",
    source: "https://www.postgresql.org/docs/current/sql-createtrigger.html",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    let table = match case.act {
        Act::CreateTrigger { table, .. } | Act::DropOnTable { thing: Thing::Trigger, table, .. } => table,
        Act::Alter { table, alter: Alter::Trigger, .. } => table,
        _ => return,
    };
    let target = case.facts.target(table);
    found.brief(
        &HAZARD,
        &target,
        format!("writers wait for a moment, and writes to {} do something else from then on", target.rel),
    );
}
