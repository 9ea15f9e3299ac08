//! The migration waits for locks without an end.

use crate::domain::finding::Severity;
use crate::domain::hazard::act::Act;
use crate::domain::hazard::{Case, Found, Group, Hazard, judge};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "lock_timeout_switched_off",
    title: "the migration waits for locks without an end",
    group: Group::Locks,
    does: "While a statement waits for a strong lock, everybody who comes after it waits too, even to read. dbd sets a short `lock_timeout` and tries again; this takes it away.",
    lock: None,
    danger: None,
    setup: "create table t (id bigint primary key, a int, b text);
insert into t select n, n, 'x' from generate_series(1, 3) n;",
    bad: "set lock_timeout = 0;
alter table t add column c int;",
    good: "set lock_timeout = '2s';
alter table t add column c int;",
    way_out: "Leave `lock_timeout` to dbd (`lock_timeout` and `lock_budget` of the environment), or set a short one.",
    source: "https://www.postgresql.org/docs/current/runtime-config-client.html#GUC-LOCK-TIMEOUT",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    if let Act::Set { name, values } = case.act
        && name == "lock_timeout"
        && values.first().is_none_or(|value| judge::milliseconds(value).is_none_or(|ms| ms == 0 || ms > 60_000))
    {
        found.fixed(
            &HAZARD,
            Severity::Warning,
            "lock_timeout",
            "whoever comes after a statement that waits for its lock waits as well",
        );
    }
}
