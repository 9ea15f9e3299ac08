//! What is replicated changes.

use crate::domain::finding::Severity;
use crate::domain::hazard::act::{Act, Alter};
use crate::domain::hazard::{Case, Found, Group, Hazard};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "replication_changed",
    title: "what is replicated changes",
    group: Group::Clients,
    does: "Subscribers of a publication get other rows, or other keys for them, than they were set up for.",
    lock: Some("AccessExclusiveLock"),
    danger: None,
    setup: "create table t (id bigint primary key, a int, b text);
insert into t select n, n, 'x' from generate_series(1, 3) n;",
    bad: "alter table t replica identity full;",
    good: "alter table t add column c int;",
    way_out: "Tell whoever runs the subscribers, and change both sides in the order the manual gives.",
    source: "https://www.postgresql.org/docs/current/logical-replication-publication.html",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    match case.act {
        Act::Alter { table, alter: Alter::ReplicaIdentity, .. } => {
            let target = case.facts.target(table);
            found.brief(&HAZARD, &target, format!("subscribers get other keys for the rows of {}", target.rel));
        }
        Act::Publication(name) => {
            found.fixed(&HAZARD, Severity::Info, name, format!("subscribers of {name} get other rows"))
        }
        _ => {}
    }
}
