//! A new column's default differs from row to row.

use crate::domain::hazard::act::{Act, Alter};
use crate::domain::hazard::facts::UserType;
use crate::domain::hazard::{Case, Danger, Found, Group, Hazard, judge};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "volatile_default_added",
    title: "a new column's default differs from row to row",
    group: Group::Locks,
    does: "A default that is the same for all rows is stored once. One that calls a volatile function is worked out for each row: the table is written anew under a lock that keeps everybody out.",
    lock: Some("AccessExclusiveLock"),
    danger: Some(Danger::Rewrite),
    setup: "create table t (id bigint primary key, a int, b text);
insert into t select n, n, 'x' from generate_series(1, 3) n;",
    bad: "alter table t add column key uuid default gen_random_uuid();",
    good: "alter table t add column key uuid;
alter table t alter column key set default gen_random_uuid();",
    way_out: "Add the column without the default, then set the default, which counts for new rows only, then fill the old rows in batches. `now()` is not volatile.",
    source: "https://www.postgresql.org/docs/current/sql-altertable.html#SQL-ALTERTABLE-NOTES",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    let Act::Alter { table, alter: Alter::AddColumn { column, if_not_exists }, of_table: true, .. } = case.act else {
        return;
    };
    let of_domain = match case.facts.user_type(&column.ty) {
        Some(UserType::Domain { default, .. }) if !column.ty.array => default.as_deref(),
        _ => None,
    };
    if !column.stored
        && column
            .default
            .as_ref()
            .or(of_domain)
            .is_some_and(|default| default.functions.iter().any(|name| case.facts.is_volatile(name)))
        && !judge::is_there(case, table, column, *if_not_exists)
    {
        let target = case.facts.target(table);
        found.heavy(
            &HAZARD,
            &target,
            format!("the default of {} differs from row to row: {} is rewritten", column.name, target.rel),
        );
    }
}
