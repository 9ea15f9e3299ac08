//! An index is built anew while nobody can write.

use crate::domain::finding::Severity;
use crate::domain::hazard::act::{Act, ReindexOf};
use crate::domain::hazard::{Case, Danger, Found, Group, Hazard};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "reindex_not_concurrent",
    title: "an index is built anew while nobody can write",
    group: Group::Locks,
    does: "`REINDEX` keeps writers out of the table until the indexes are built, and everybody out of the index itself, which most queries plan with.",
    lock: Some("ShareLock"),
    danger: Some(Danger::IndexBuildBlocksWrites),
    setup: "create table t (id bigint primary key, a int, b text);
insert into t select n, n, 'x' from generate_series(1, 3) n;",
    bad: "reindex table t;",
    good: "reindex table concurrently t;",
    way_out: "`REINDEX ... CONCURRENTLY`, alone, outside a transaction (PostgreSQL 12).",
    source: "https://www.postgresql.org/docs/current/sql-reindex.html",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    let Act::Reindex { of, name, concurrently: false } = case.act else { return };
    let rel = case.facts.rel(name);
    let table = match of {
        ReindexOf::Table => Some(rel.clone()),
        ReindexOf::Index => case.facts.indexes.get(&rel).map(|index| index.table.clone()),
        ReindexOf::More => None,
    };
    match table {
        Some(table) => {
            let target = case.facts.target_of(table);
            found.heavy(&HAZARD, &target, format!("REINDEX of {rel} keeps writers out of {}", target.rel));
        }
        None if *of == ReindexOf::Index && case.facts.complete => {}
        None => {
            found.fixed(&HAZARD, Severity::Warning, name, format!("REINDEX of {name} keeps writers out of its tables"))
        }
    }
}
