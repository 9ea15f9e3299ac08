//! Json instead of jsonb.

use crate::domain::finding::Severity;
use crate::domain::hazard::{Case, Found, Group, Hazard, judge};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "style_json",
    title: "json instead of jsonb",
    group: Group::Style,
    does: "`json` keeps the text, cannot be compared, and so breaks `DISTINCT` and `UNION`.",
    lock: None,
    danger: None,
    setup: "",
    bad: "create table n (meta json);",
    good: "create table n (meta jsonb);",
    way_out: "`jsonb`.",
    source: "https://www.postgresql.org/docs/current/datatype-json.html",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    for column in judge::new_columns(case.act) {
        if column.ty.name == "json" {
            found.fixed(&HAZARD, Severity::Info, &column.name, format!("{} is json", column.name));
        }
    }
}
