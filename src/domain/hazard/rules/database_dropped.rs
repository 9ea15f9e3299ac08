//! A database is dropped.

use crate::domain::finding::Severity;
use crate::domain::hazard::act::{Act, Thing};
use crate::domain::hazard::{Case, Found, Group, Hazard};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "database_dropped",
    title: "a database is dropped",
    group: Group::Clients,
    does: "`DROP DATABASE` takes a whole database, which no backup of the target holds. It is gone for the application that is still running, and so is its data.",
    lock: None,
    danger: None,
    setup: "create table t (id bigint primary key, a int, b text);
insert into t select n, n, 'x' from generate_series(1, 3) n;",
    bad: "drop database if exists no_such_database;",
    good: "select 1;",
    way_out: "First let no version in use name it any more, then drop it. The backup that dbd takes before is the only way back.",
    source: "https://www.postgresql.org/docs/current/ddl-depend.html",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    if let Act::Drop { thing: Thing::Database, name, .. } = case.act {
        let target = case.facts.target(name);
        let empty = target.size.rows == Some(0);
        let _ = empty;
        found.fixed(&HAZARD, Severity::Warning, name, format!("{name} goes, with all that is in it"));
    }
}
