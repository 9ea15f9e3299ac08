//! A statement that PostgreSQL refuses in a transaction stands in one.

use crate::domain::finding::Severity;
use crate::domain::hazard::{Case, Danger, Found, Group, Hazard, judge};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "concurrently_in_transaction",
    title: "a statement that PostgreSQL refuses in a transaction stands in one",
    group: Group::Running,
    does: "`CONCURRENTLY`, `VACUUM` and the like cannot run between `BEGIN` and `COMMIT`, nor in a function or a block: the migration fails.",
    lock: None,
    danger: Some(Danger::Fails),
    setup: "create table t (id bigint primary key, a int, b text);
insert into t select n, n, 'x' from generate_series(1, 3) n;",
    bad: "begin;
create index concurrently t_a on t (a);
commit;",
    good: "create index concurrently t_a on t (a);",
    way_out: "Take it out of the file's own `BEGIN` and `COMMIT`. dbd runs such a statement alone by itself.",
    source: "https://www.postgresql.org/docs/current/sql-createindex.html#SQL-CREATEINDEX-CONCURRENTLY",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    if (case.scene.in_block || case.scene.nested) && judge::runs_alone(case.act) {
        found.fixed(&HAZARD, Severity::Error, "transaction", "this cannot run in a transaction, and it stands in one");
    }
}
