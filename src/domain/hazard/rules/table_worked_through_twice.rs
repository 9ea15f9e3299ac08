//! The same table is worked through more than once.

use crate::domain::finding::Severity;
use crate::domain::hazard::act::Act;
use crate::domain::hazard::{Case, Found, Group, Hazard, judge};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "table_worked_through_twice",
    title: "the same table is worked through more than once",
    group: Group::Locks,
    does: "Each `ALTER TABLE` that scans or rewrites does so for itself; several actions in one share the work.",
    lock: None,
    danger: None,
    setup: "create table t (id bigint primary key, a int, b text);
insert into t select n, n, 'x' from generate_series(1, 3) n;",
    bad: "alter table t alter column a set not null;
alter table t alter column b set not null;",
    good: "alter table t alter column a set not null, alter column b set not null;",
    way_out: "Write them as one `ALTER TABLE` with several actions.",
    source: "https://www.postgresql.org/docs/current/sql-altertable.html",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    if let Act::Alter { table, alter, of_table: true, .. } = case.act {
        let target = case.facts.target(table);
        if target.live && case.scene.worked.contains(&target.rel) && judge::works(case, &target, alter) {
            let text =
                format!("{} was worked through already; one ALTER TABLE with both actions does it once", target.rel);
            found.fixed(&HAZARD, Severity::Info, &target.rel, text);
        }
    }
}
