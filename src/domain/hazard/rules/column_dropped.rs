//! A column is dropped.

use crate::domain::finding::Severity;
use crate::domain::hazard::act::{Act, Alter};
use crate::domain::hazard::{Case, Found, Group, Hazard};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "column_dropped",
    title: "a column is dropped",
    group: Group::Clients,
    does: "The application that is still running may name it, also by `SELECT *` or a prepared statement; its values are gone.",
    lock: Some("AccessExclusiveLock"),
    danger: None,
    setup: "create table t (id bigint primary key, a int, b text);
insert into t select n, n, 'x' from generate_series(1, 3) n;",
    bad: "alter table t drop column b;",
    good: "alter table t alter column b drop not null;",
    way_out: "First let no version in use name it, then drop it.",
    source: "https://www.postgresql.org/docs/current/ddl-alter.html#DDL-ALTER-REMOVING-A-COLUMN",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    if let Act::Alter { table, alter: Alter::DropColumn { column, if_exists, .. }, of_table: true, .. } = case.act {
        let target = case.facts.target(table);
        let known = target.relation.filter(|relation| relation.columns_known);
        let gone = known.is_some_and(|relation| relation.column(column).is_none());
        if target.existed && !(*if_exists && gone) {
            let severity = if target.size.rows == Some(0) { Severity::Info } else { Severity::Warning };
            found.fixed(
                &HAZARD,
                severity,
                format!("{}.{column}", target.rel),
                format!("{column} of {} goes with its values", target.rel),
            );
        }
    }
}
