//! An index is dropped under a lock that keeps everybody out.

use crate::domain::finding::Severity;
use crate::domain::hazard::act::Act;
use crate::domain::hazard::{Case, Found, Group, Hazard};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "index_dropped_not_concurrently",
    title: "an index is dropped under a lock that keeps everybody out",
    group: Group::Locks,
    does: "`DROP INDEX` waits for every query on the table to end, and whoever comes after it waits behind it.",
    lock: Some("AccessExclusiveLock"),
    danger: None,
    setup: "create table t (id bigint primary key, a int, b text);
insert into t select n, n, 'x' from generate_series(1, 3) n;
create index t_a on t (a);",
    bad: "drop index t_a;",
    good: "drop index concurrently t_a;",
    way_out: "`DROP INDEX CONCURRENTLY`, alone, outside a transaction.",
    source: "https://www.postgresql.org/docs/current/sql-dropindex.html",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    if let Act::DropIndex { index, concurrently: false, .. } = case.act
        && let Some(known) = case.facts.indexes.get(&case.facts.rel(index))
    {
        let target = case.facts.target_of(known.table.clone());
        found.brief(&HAZARD, &target, format!("dropping {index} keeps everybody out of {} for a moment", target.rel));
    } else if let Act::DropIndex { index, concurrently: false, .. } = case.act
        && !case.facts.complete
    {
        let rel = case.facts.rel(index);
        found.fixed(
            &HAZARD,
            Severity::Info,
            &rel,
            format!("dropping {rel} keeps everybody out of its table for a moment"),
        );
    }
}
