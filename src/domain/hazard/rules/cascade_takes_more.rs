//! CASCADE takes along what the statement does not name.

use crate::domain::finding::Severity;
use crate::domain::hazard::act::{Act, Alter, Demand};
use crate::domain::hazard::facts;
use crate::domain::hazard::{Case, Found, Group, Hazard};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "cascade_takes_more",
    title: "CASCADE takes along what the statement does not name",
    group: Group::Clients,
    does: "Views, foreign keys, columns of a dropped type, and with `TRUNCATE` the rows of other tables go without a word.",
    lock: None,
    danger: None,
    setup: "create table p (id int primary key);
create table t (id int primary key, p int constraint t_p references p);",
    bad: "drop table p cascade;",
    good: "alter table t drop constraint t_p;
drop table p;",
    way_out: "Drop what depends on it by name, without `CASCADE`; then the statement fails if something was forgotten. The rehearsal's comparison lists what falls.",
    source: "https://www.postgresql.org/docs/current/ddl-depend.html",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    let (what, target) = match case.act {
        Act::Drop { cascade: true, name, .. } => (name.to_string(), Some(case.facts.target(name))),
        Act::Truncate { cascade: true, table } => (table.to_string(), Some(case.facts.target(table))),
        Act::Alter {
            table,
            alter: Alter::DropColumn { cascade: true, .. } | Alter::DropConstraint { cascade: true, .. },
            ..
        } => {
            let target = case.facts.target(table);
            if !target.existed {
                return;
            }
            (table.to_string(), Some(target))
        }
        _ => return,
    };
    let rel = target.map(|target| target.rel).unwrap_or_default();
    let refers = |relation: &facts::Relation| {
        relation
            .constraints
            .iter()
            .any(|held| matches!(&held.demand, Demand::Foreign { to, .. } if case.facts.rel(to) == rel))
    };
    let known: Vec<String> =
        case.facts.relations.iter().filter(|(_, relation)| refers(relation)).map(|(rel, _)| rel.to_string()).collect();
    let named = if known.is_empty() { String::new() } else { format!("; referring to it: {}", known.join(", ")) };
    // Where nothing but what the migration made itself can fall, nobody misses it.
    let here = case.facts.relations.get(&rel).is_some_and(|relation| relation.here);
    if !here {
        found.fixed(
            &HAZARD,
            Severity::Warning,
            &what,
            format!("CASCADE takes along whatever depends on {what}{named}"),
        );
    }
}
