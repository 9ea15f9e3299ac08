//! A waiver gives no reason.

use crate::domain::hazard::{Case, Found, Group, Hazard};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "waiver_without_reason",
    title: "a waiver gives no reason",
    group: Group::Running,
    does: "`-- dbd: allow CODE` lets a finding pass, and the record of the run names the reason. Without one it is not taken into account.",
    lock: None,
    danger: None,
    setup: "create table t (id bigint primary key, a int, b text);
insert into t select n, n, 'x' from generate_series(1, 3) n;",
    bad: "-- dbd: allow column_dropped
alter table t drop column b;",
    good: "-- dbd: allow column_dropped reason=nobody reads it since 2.3
alter table t drop column b;",
    way_out: "Say why: `-- dbd: allow CODE reason=...`.",
    source: "docs/guides/hazards.md",
    judge,
};

/// Nothing: it is found by other means than looking at one act.
fn judge(_: &Case<'_>, _: &mut Found) {}
