//! A column's new type rewrites the table.

use crate::domain::hazard::act::{Act, Alter};
use crate::domain::hazard::{Case, Danger, Found, Group, Hazard, types};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "column_type_rewritten",
    title: "a column's new type rewrites the table",
    group: Group::Locks,
    does: "The table and all its indexes are written anew under a lock that keeps everybody out, unless the new type has the same bytes.",
    lock: Some("AccessExclusiveLock"),
    danger: Some(Danger::Rewrite),
    setup: "create table t (id bigint primary key, a int, b text);
insert into t select n, n, 'x' from generate_series(1, 3) n;",
    bad: "alter table t alter column a type bigint;",
    good: "alter table t add column a_new bigint;",
    way_out: "Add a column of the new type, write to both, fill it in batches, then swap. Types with the same bytes need none of that: a longer `varchar`, `varchar` to `text`, more digits before the point of a `numeric`.",
    source: "https://www.postgresql.org/docs/current/sql-altertable.html#SQL-ALTERTABLE-NOTES",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    let Act::Alter { table, alter: Alter::Type { column, ty, using, .. }, of_table: true, .. } = case.act else {
        return;
    };
    let target = case.facts.target(table);
    let old = target.relation.and_then(|relation| relation.column(column)).map(|column| &column.ty);
    let verdict = types::rewrites(case.facts, old, ty, column, using.as_ref());
    let old = old.filter(|old| !old.name.is_empty());
    if verdict == Some(false) {
        // What is only likely is said, without calling it a danger.
        if old.is_none() && !types::always_free(ty) {
            let text = format!("{} is rewritten unless the old type of {column} has the bytes of {ty}", target.rel);
            found.heavy_as(&HAZARD, None, &target, text);
        } else if !case.facts.complete && old.is_some_and(|old| old.name != ty.name) && ty.name.starts_with("timestamp")
        {
            let text = format!("{} is rewritten unless the TimeZone of the session is UTC", target.rel);
            found.heavy_as(&HAZARD, None, &target, text);
        }
        return;
    }
    let from = old.map(|old| format!(" from {old}")).unwrap_or_default();
    let sure = if verdict.is_none() { "most likely rewrites" } else { "rewrites" };
    found.heavy(&HAZARD, &target, format!("changing {column}{from} to {ty} {sure} {}", target.rel));
}
