//! An index is built while nobody can write.

use crate::domain::hazard::act::Act;
use crate::domain::hazard::facts::Rel;
use crate::domain::hazard::{Case, Danger, Found, Group, Hazard};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "index_not_concurrent",
    title: "an index is built while nobody can write",
    group: Group::Locks,
    does: "`CREATE INDEX` keeps everybody who writes to the table waiting until the index is built.",
    lock: Some("ShareLock"),
    danger: Some(Danger::IndexBuildBlocksWrites),
    setup: "create table t (id bigint primary key, a int, b text);
insert into t select n, n, 'x' from generate_series(1, 3) n;",
    bad: "create index t_a on t (a);",
    good: "create index concurrently t_a on t (a);",
    way_out: "`CREATE INDEX CONCURRENTLY`, which dbd runs alone, outside a transaction. It takes longer and lets writes through; afterwards dbd checks that the index is valid.",
    source: "https://www.postgresql.org/docs/current/sql-createindex.html#SQL-CREATEINDEX-CONCURRENTLY",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    if let Act::CreateIndex { table, index, concurrently: false, if_not_exists, only: false, .. } = case.act {
        let target = case.facts.target(table);
        let name = index.as_deref().unwrap_or("an index");
        // Anything of its name will do.
        let namesake = Rel::new(&target.rel.schema, name);
        if *if_not_exists
            && (case.facts.indexes.contains_key(&namesake) || case.facts.relations.contains_key(&namesake))
        {
            return;
        }
        found.heavy(&HAZARD, &target, format!("{name} is built while nobody can write to {}", target.rel));
    }
}
