//! A new serial or identity column numbers every row.

use crate::domain::hazard::act::{Act, Alter};
use crate::domain::hazard::{Case, Danger, Found, Group, Hazard, judge};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "serial_column_added",
    title: "a new serial or identity column numbers every row",
    group: Group::Locks,
    does: "Each row gets a number of its own: the table is written anew under a lock that keeps everybody out.",
    lock: Some("AccessExclusiveLock"),
    danger: Some(Danger::Rewrite),
    setup: "create table t (id bigint primary key, a int, b text);
insert into t select n, n, 'x' from generate_series(1, 3) n;",
    bad: "alter table t add column n bigserial;",
    good: "create sequence t_n;
alter table t add column n bigint;
alter table t alter column n set default nextval('t_n');",
    way_out: "Add a plain column, make the sequence its default for new rows, and number the old rows in batches.",
    source: "https://www.postgresql.org/docs/current/sql-altertable.html#SQL-ALTERTABLE-NOTES",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    let Act::Alter { table, alter: Alter::AddColumn { column, if_not_exists }, of_table: true, .. } = case.act else {
        return;
    };
    if (column.serial || column.identity) && !judge::is_there(case, table, column, *if_not_exists) {
        let target = case.facts.target(table);
        found.heavy(&HAZARD, &target, format!("{} numbers every row: {} is rewritten", column.name, target.rel));
    }
}
