//! Serial instead of an identity.

use crate::domain::finding::Severity;
use crate::domain::hazard::{Case, Found, Group, Hazard, judge};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "style_serial",
    title: "serial instead of an identity",
    group: Group::Style,
    does: "The sequence of `serial` has privileges and dependencies of its own, and anybody can write past it.",
    lock: None,
    danger: None,
    setup: "",
    bad: "create table n (id bigserial primary key);",
    good: "create table n (id bigint generated always as identity primary key);",
    way_out: "`GENERATED ALWAYS AS IDENTITY`.",
    source: "https://wiki.postgresql.org/wiki/Don't_Do_This#Don't_use_serial",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    for column in judge::new_columns(case.act) {
        if column.serial {
            found.fixed(&HAZARD, Severity::Info, &column.name, format!("{} is serial", column.name));
        }
    }
}
