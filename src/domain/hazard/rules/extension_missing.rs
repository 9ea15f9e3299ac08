//! The server does not offer an extension.

use crate::domain::finding::Severity;
use crate::domain::hazard::act::Act;
use crate::domain::hazard::{Case, Danger, Found, Group, Hazard};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "extension_missing",
    title: "the server does not offer an extension",
    group: Group::Running,
    does: "`CREATE EXTENSION` fails on a server where the extension's files are not installed.",
    lock: None,
    danger: Some(Danger::Fails),
    setup: "create table t (id bigint primary key, a int, b text);
insert into t select n, n, 'x' from generate_series(1, 3) n;",
    bad: "create extension no_such_extension;",
    good: "create extension if not exists plpgsql;",
    way_out: "Install it on the target's server, or ask the provider which extensions there are (`pg_available_extensions`).",
    source: "https://www.postgresql.org/docs/current/view-pg-available-extensions.html",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    if let Act::CreateExtension(name) = case.act
        && case.facts.available_extensions.as_ref().is_some_and(|all| !all.contains(name))
        && !case.facts.extensions.contains(name)
    {
        found.fixed(&HAZARD, Severity::Error, name, format!("the server does not offer the extension {name}"));
    }
}
