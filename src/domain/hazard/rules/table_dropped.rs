//! A table is dropped.

use crate::domain::finding::Severity;
use crate::domain::hazard::act::{Act, Thing};
use crate::domain::hazard::{Case, Found, Group, Hazard};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "table_dropped",
    title: "a table is dropped",
    group: Group::Clients,
    does: "`DROP TABLE` takes the table with all its rows. It is gone for the application that is still running, and so is its data.",
    lock: Some("AccessExclusiveLock"),
    danger: None,
    setup: "create table t (id bigint primary key, a int, b text);
insert into t select n, n, 'x' from generate_series(1, 3) n;",
    bad: "drop table t;",
    good: "comment on table t is 'no longer used';",
    way_out: "First let no version in use name it any more, then drop it. The backup that dbd takes before is the only way back.",
    source: "https://www.postgresql.org/docs/current/ddl-depend.html",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    if let Act::Drop { thing: Thing::Table, name, .. } = case.act {
        let target = case.facts.target(name);
        let empty = target.size.rows == Some(0);
        if target.existed {
            let severity = if empty { Severity::Info } else { Severity::Warning };
            let rows = target.size.rows.map(|rows| format!(" with about {rows} row(s)")).unwrap_or_default();
            found.fixed(&HAZARD, severity, &target.rel, format!("{} goes{rows}", target.rel));
        }
    }
}
