//! A key of four bytes or less.

use crate::domain::finding::Severity;
use crate::domain::hazard::act::Demand;
use crate::domain::hazard::{Case, Found, Group, Hazard, judge};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "style_integer_key",
    title: "a key of four bytes or less",
    group: Group::Style,
    does: "Two thousand million rows are reached sooner than one thinks, and widening the key rewrites the table.",
    lock: None,
    danger: None,
    setup: "",
    bad: "create table n (id int primary key);",
    good: "create table n (id bigint primary key);",
    way_out: "`bigint`.",
    source: "https://wiki.postgresql.org/wiki/Don't_Do_This",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    for column in judge::new_columns(case.act) {
        if matches!(column.ty.name.as_str(), "int4" | "int2")
            && !column.ty.array
            && (column.serial
                || column.identity
                || column.constraints.iter().any(|one| matches!(one.demand, Demand::Primary(_))))
        {
            found.fixed(
                &HAZARD,
                Severity::Info,
                &column.name,
                format!("{} is a key of four bytes or less", column.name),
            );
        }
    }
}
