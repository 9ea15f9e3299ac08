//! A domain's new constraint is tried on every column of it.

use crate::domain::finding::Severity;
use crate::domain::hazard::act::Act;
use crate::domain::hazard::facts;
use crate::domain::hazard::{Case, Found, Group, Hazard};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "domain_constrained",
    title: "a domain's new constraint is tried on every column of it",
    group: Group::Locks,
    does: "Every table with a column of the domain is read, while nobody can write to it.",
    lock: Some("ShareLock"),
    danger: None,
    setup: "create domain positive as int check (value > 0);
create table t (id bigint primary key, n positive);
insert into t values (1, 1);",
    bad: "alter domain positive add constraint below check (value < 100);",
    good: "alter domain positive add constraint below check (value < 100) not valid;",
    way_out: "Add it `NOT VALID` and validate it in a migration of its own.",
    source: "https://www.postgresql.org/docs/current/sql-alterdomain.html",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    if let Act::ConstrainDomain { name, checked: true } = case.act {
        let rel = case.facts.rel(name);
        let of = |column: &facts::Column| column.ty.name == rel.name;
        let users = case.facts.relations.iter().filter(|(_, one)| !one.here && one.columns.iter().any(of));
        let users: Vec<String> = users.map(|(rel, _)| rel.to_string()).collect();
        if !users.is_empty() || !case.facts.complete {
            let on = if users.is_empty() { "the tables that use it".to_owned() } else { users.join(", ") };
            found.fixed(&HAZARD, Severity::Warning, &rel, format!("every row of {on} is read while nobody can write"));
        }
    }
}
