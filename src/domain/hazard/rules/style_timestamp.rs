//! A time without its zone.

use crate::domain::finding::Severity;
use crate::domain::hazard::{Case, Found, Group, Hazard, judge};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "style_timestamp",
    title: "a time without its zone",
    group: Group::Style,
    does: "`timestamp` is a picture of a clock, not a point in time.",
    lock: None,
    danger: None,
    setup: "",
    bad: "create table n (at timestamp);",
    good: "create table n (at timestamptz);",
    way_out: "`timestamptz`.",
    source: "https://wiki.postgresql.org/wiki/Don't_Do_This#Don't_use_timestamp_(without_time_zone)",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    for column in judge::new_columns(case.act) {
        if column.ty.name == "timestamp" {
            found.fixed(&HAZARD, Severity::Info, &column.name, format!("{} has no time zone", column.name));
        }
    }
}
