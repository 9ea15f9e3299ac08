//! The file steers its transaction in a way that cannot be resumed.

use crate::domain::hazard::{Case, Danger, Found, Group, Hazard};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "transaction_control",
    title: "the file steers its transaction in a way that cannot be resumed",
    group: Group::Running,
    does: "dbd opens and commits the transaction itself, because its record commits with it. `ROLLBACK`, two-phase commit, `BEGIN` without `COMMIT` and `SET TRANSACTION` get in the way of that.",
    lock: None,
    danger: Some(Danger::Fails),
    setup: "create table t (id bigint primary key, a int, b text);
insert into t select n, n, 'x' from generate_series(1, 3) n;",
    bad: "begin;
alter table t add column c int;",
    good: "begin;
alter table t add column c int;
commit;",
    way_out: "Leave `BEGIN` and `COMMIT` out, or write both.",
    source: "DBD-0205, or `dbd explain DBD-0205`",
    judge,
};

/// Nothing: it is found by other means than looking at one act.
fn judge(_: &Case<'_>, _: &mut Found) {}
