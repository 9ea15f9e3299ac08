//! One transaction keeps everybody out of several tables.

use crate::domain::finding::Severity;
use crate::domain::hazard::act::Act;
use crate::domain::hazard::{Case, Found, Group, Hazard, judge};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "wide_lock_window",
    title: "one transaction keeps everybody out of several tables",
    group: Group::Locks,
    does: "Each table's lock is waited for while those taken before are held; two such transactions that take them in another order lock each other up.",
    lock: Some("AccessExclusiveLock"),
    danger: None,
    setup: "create table t (id bigint primary key, a int, b text);
insert into t select n, n, 'x' from generate_series(1, 3) n;
create table p (id int primary key);",
    bad: "alter table t add column c int;
alter table p add column c int;",
    good: "alter table t add column c int;
-- next migration
alter table p add column c int;",
    way_out: "One table a migration, where nothing speaks for doing them together.",
    source: "https://www.postgresql.org/docs/current/explicit-locking.html#LOCKING-TABLES",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    let Act::Alter { table, of_table: true, alter, .. } = case.act else { return };
    let target = case.facts.target(table);
    if !judge::takes_access_exclusive(alter) || !target.existed || case.scene.exclusive.contains(&target.rel) {
        return;
    }
    if let Some(first) = case.scene.exclusive.first() {
        found.fixed(
            &HAZARD,
            Severity::Info,
            &target.rel,
            format!("{} is waited for while nobody can use {first}", target.rel),
        );
    }
}
