//! Who may see or change rows changes.

use crate::domain::finding::Severity;
use crate::domain::hazard::act::{Act, Alter, Thing};
use crate::domain::hazard::{Case, Found, Group, Hazard};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "access_changed",
    title: "who may see or change rows changes",
    group: Group::Clients,
    does: "Row security, policies and revoked privileges decide what the application that is still running gets to see; policies also keep everybody out of the table for a moment.",
    lock: Some("AccessExclusiveLock"),
    danger: None,
    setup: "create table t (id bigint primary key, a int, b text);
insert into t select n, n, 'x' from generate_series(1, 3) n;",
    bad: "alter table t enable row level security;",
    good: "grant select on t to public;",
    way_out: "Try it with the application's own role before it is deployed.",
    source: "https://www.postgresql.org/docs/current/ddl-rowsecurity.html",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    match case.act {
        Act::Alter { table, alter: Alter::RowSecurity, .. } => {
            let target = case.facts.target(table);
            if target.existed {
                let text = format!("which rows of {} the application sees may change", target.rel);
                found.fixed(&HAZARD, Severity::Warning, &target.rel, text);
            }
        }
        Act::Policy { table } | Act::DropOnTable { thing: Thing::Policy, table, .. } => {
            let target = case.facts.target(table);
            found.brief(&HAZARD, &target, format!("which rows of {} the application sees may change", target.rel));
        }
        Act::Privilege { revoked: true, objects } => {
            let all: Vec<String> = objects.iter().map(ToString::to_string).collect();
            let text = "whoever still uses this is turned away";
            found.fixed(&HAZARD, Severity::Warning, all.join(", "), text);
        }
        _ => {}
    }
}
