//! The text is no SQL that PostgreSQL parses.

use crate::domain::hazard::{Case, Danger, Found, Group, Hazard};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "syntax_error",
    title: "the text is no SQL that PostgreSQL parses",
    group: Group::Running,
    does: "The migration fails at this place.",
    lock: None,
    danger: Some(Danger::Fails),
    setup: "create table t (id bigint primary key, a int, b text);
insert into t select n, n, 'x' from generate_series(1, 3) n;",
    bad: "alter table t add colum c int;",
    good: "alter table t add column c int;",
    way_out: r"Correct it. Commands of psql, like `\i`, are not SQL.",
    source: "PostgreSQL's own parser",
    judge,
};

/// Nothing: it is found by other means than looking at one act.
fn judge(_: &Case<'_>, _: &mut Found) {}
