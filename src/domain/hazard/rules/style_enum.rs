//! An enum instead of a table.

use crate::domain::finding::Severity;
use crate::domain::hazard::act::Act;
use crate::domain::hazard::{Case, Found, Group, Hazard};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "style_enum",
    title: "an enum instead of a table",
    group: Group::Style,
    does: "Values of an enum cannot be removed, and adding one has rules of its own.",
    lock: None,
    danger: None,
    setup: "",
    bad: "create type mood as enum ('glad', 'sad');",
    good: "create table mood (name text primary key);",
    way_out: "A table of values and a foreign key, where the values may change.",
    source: "https://www.postgresql.org/docs/current/datatype-enum.html",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    if let Act::CreateType { name, is_enum: true } = case.act {
        found.fixed(&HAZARD, Severity::Info, name, format!("{name} is an enum"));
    }
}
