//! A length that is only a habit.

use crate::domain::finding::Severity;
use crate::domain::hazard::{Case, Found, Group, Hazard, judge};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "style_varchar",
    title: "a length that is only a habit",
    group: Group::Style,
    does: "`varchar(n)` stores like `text`; a longer one needs a migration.",
    lock: None,
    danger: None,
    setup: "",
    bad: "create table n (name varchar(255));",
    good: "create table n (name text);",
    way_out: "`text`, with a check where a limit is meant.",
    source: "https://wiki.postgresql.org/wiki/Don't_Do_This#Don't_use_varchar(n)_by_default",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    for column in judge::new_columns(case.act) {
        if column.ty.name == "varchar" && !column.ty.mods.is_empty() {
            found.fixed(&HAZARD, Severity::Info, &column.name, format!("{} has a length", column.name));
        }
    }
}
