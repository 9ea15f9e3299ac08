//! VACUUM FULL or CLUSTER rewrites the table.

use crate::domain::finding::Severity;
use crate::domain::hazard::act::Act;
use crate::domain::hazard::{Case, Danger, Found, Group, Hazard};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "table_repacked",
    title: "VACUUM FULL or CLUSTER rewrites the table",
    group: Group::Locks,
    does: "The table and its indexes are written anew under a lock that keeps everybody out.",
    lock: Some("AccessExclusiveLock"),
    danger: Some(Danger::Rewrite),
    setup: "create table t (id bigint primary key, a int, b text);
insert into t select n, n, 'x' from generate_series(1, 3) n;",
    bad: "vacuum full t;",
    good: "vacuum t;",
    way_out: "Plain `VACUUM` makes the room usable again beside traffic. To give it back to the disk, `pg_repack` or `pg_squeeze` do it with short locks.",
    source: "https://www.postgresql.org/docs/current/sql-vacuum.html",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    let Act::Repack { words, table } = case.act else { return };
    match table {
        Some(table) => {
            let target = case.facts.target(table);
            found.heavy(&HAZARD, &target, format!("{words} rewrites {}", target.rel));
        }
        None => found.fixed(
            &HAZARD,
            Severity::Warning,
            "every table",
            format!("{words} without a table rewrites one table after the other"),
        ),
    }
}
