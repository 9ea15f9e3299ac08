//! A statement failed in the rehearsal.

use crate::domain::hazard::{Case, Danger, Found, Group, Hazard};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "statement_fails",
    title: "a statement failed in the rehearsal",
    group: Group::Running,
    does: "It ran on a copy of the target and failed there, so it will fail on the target: rows that do not fit, names that are not there, rights that are missing.",
    lock: None,
    danger: Some(Danger::Fails),
    setup: "create table t (id bigint primary key, a int, b text);
insert into t select n, n, 'x' from generate_series(1, 3) n;",
    bad: "alter table t add constraint t_b unique (b);",
    good: "create index concurrently t_b on t (b);",
    way_out: "The message is PostgreSQL's. Correct the migration, or the data first.",
    source: "the rehearsal",
    judge,
};

/// Nothing: it is found by other means than looking at one act.
fn judge(_: &Case<'_>, _: &mut Found) {}
