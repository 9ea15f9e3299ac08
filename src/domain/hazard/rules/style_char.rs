//! Char(n) pads with blanks.

use crate::domain::finding::Severity;
use crate::domain::hazard::{Case, Found, Group, Hazard, judge};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "style_char",
    title: "char(n) pads with blanks",
    group: Group::Style,
    does: "Values are padded, and comparisons ignore the blanks.",
    lock: None,
    danger: None,
    setup: "",
    bad: "create table n (code char(3));",
    good: "create table n (code text);",
    way_out: "`text`.",
    source: "https://wiki.postgresql.org/wiki/Don't_Do_This#Don't_use_char(n)",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    for column in judge::new_columns(case.act) {
        if column.ty.name == "bpchar" {
            found.fixed(&HAZARD, Severity::Info, &column.name, format!("{} is padded with blanks", column.name));
        }
    }
}
