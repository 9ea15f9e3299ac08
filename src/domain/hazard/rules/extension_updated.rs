//! An extension is updated or changed.

use crate::domain::finding::Severity;
use crate::domain::hazard::act::Act;
use crate::domain::hazard::{Case, Found, Group, Hazard};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "extension_updated",
    title: "an extension is updated or changed",
    group: Group::Clients,
    does: "What its functions and types do may change for everything that uses them; there is no way back to the older version but a backup.",
    lock: None,
    danger: None,
    setup: "create table t (id bigint primary key, a int, b text);
insert into t select n, n, 'x' from generate_series(1, 3) n;",
    bad: "alter extension plpgsql update;",
    good: "create extension if not exists plpgsql;",
    way_out: "Read its release notes, and let the tests run in the sandbox.",
    source: "https://www.postgresql.org/docs/current/sql-alterextension.html",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    if let Act::UpdateExtension(name) = case.act {
        found.fixed(&HAZARD, Severity::Info, name, format!("whatever uses {name} gets its new version"));
    }
}
