//! A new enum value goes to the end.

use crate::domain::finding::Severity;
use crate::domain::hazard::act::Act;
use crate::domain::hazard::{Case, Found, Group, Hazard};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "enum_value_unordered",
    title: "a new enum value goes to the end",
    group: Group::Clients,
    does: "Values of an enum compare in the order they were listed; without `BEFORE` or `AFTER` a new one comes last, which cannot be changed afterwards.",
    lock: None,
    danger: None,
    setup: "create type mood as enum ('glad');",
    bad: "alter type mood add value 'calm';",
    good: "alter type mood add value 'calm' before 'glad';",
    way_out: "Say where it belongs if anything sorts by it.",
    source: "https://www.postgresql.org/docs/current/sql-altertype.html",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    if let Act::EnumValue { ty, value, placed: false } = case.act {
        found.fixed(&HAZARD, Severity::Info, ty, format!("'{value}' comes after every other value of {ty}"));
    }
}
