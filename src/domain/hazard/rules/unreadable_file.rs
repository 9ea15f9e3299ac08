//! The file cannot be read as SQL.

use crate::domain::hazard::{Case, Danger, Found, Group, Hazard};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "unreadable_file",
    title: "the file cannot be read as SQL",
    group: Group::Running,
    does: "It is not UTF-8, holds a NUL byte, or is too large to be judged.",
    lock: None,
    danger: Some(Danger::Fails),
    setup: "create table t (id bigint primary key, a int, b text);
insert into t select n, n, 'x' from generate_series(1, 3) n;",
    bad: "copy t from stdin;",
    good: "insert into t values (4, 4, 'x');",
    way_out: "Save it as UTF-8; write rows as `INSERT`; keep bulk data out of migrations.",
    source: "https://www.postgresql.org/docs/current/multibyte.html",
    judge,
};

/// Nothing: it is found by other means than looking at one act.
fn judge(_: &Case<'_>, _: &mut Found) {}
