//! A schema is dropped.

use crate::domain::finding::Severity;
use crate::domain::hazard::act::{Act, Thing};
use crate::domain::hazard::{Case, Found, Group, Hazard};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "schema_dropped",
    title: "a schema is dropped",
    group: Group::Clients,
    does: "`DROP SCHEMA` takes everything in it. It is gone for the application that is still running, and so is its data.",
    lock: None,
    danger: None,
    setup: "create schema s;
create table s.t (id int);",
    bad: "drop schema s cascade;",
    good: "comment on schema s is 'no longer used';",
    way_out: "First let no version in use name it any more, then drop it. The backup that dbd takes before is the only way back.",
    source: "https://www.postgresql.org/docs/current/ddl-depend.html",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    if let Act::Drop { thing: Thing::Schema, name, .. } = case.act {
        let target = case.facts.target(name);
        let empty = target.size.rows == Some(0);
        let _ = empty;
        found.fixed(&HAZARD, Severity::Warning, name, format!("{name} goes, with all that is in it"));
    }
}
