//! A table is emptied.

use crate::domain::finding::Severity;
use crate::domain::hazard::act::Act;
use crate::domain::hazard::{Case, Danger, Found, Group, Hazard};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "table_truncated",
    title: "a table is emptied",
    group: Group::Clients,
    does: "`TRUNCATE` gives the table and its indexes new, empty files under a lock that keeps everybody out; every row is gone, and with `CASCADE` every row of the tables that refer to it.",
    lock: Some("AccessExclusiveLock"),
    danger: Some(Danger::Rewrite),
    setup: "create table t (id bigint primary key, a int, b text);
insert into t select n, n, 'x' from generate_series(1, 3) n;",
    bad: "truncate t;",
    good: "delete from t where id = 1;",
    way_out: "Delete what has to go, in batches, after a look at how much that is.",
    source: "https://www.postgresql.org/docs/current/sql-truncate.html",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    if let Act::Truncate { table, .. } = case.act {
        let target = case.facts.target(table);
        found.heavy(&HAZARD, &target, format!("every row of {} goes", target.rel));
        if target.size.rows.is_none_or(|rows| rows > 0)
            && let Some(hit) = found.hits.last_mut().filter(|hit| hit.hazard.code == HAZARD.code)
        {
            hit.severity = hit.severity.max(Severity::Warning);
        }
    }
}
