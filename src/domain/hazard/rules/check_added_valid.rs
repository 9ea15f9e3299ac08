//! A check constraint is tried on every row while nobody can read or write.

use crate::domain::hazard::act::{Act, Alter, Demand};
use crate::domain::hazard::{Case, Danger, Found, Group, Hazard, judge};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "check_added_valid",
    title: "a check constraint is tried on every row while nobody can read or write",
    group: Group::Locks,
    does: "`ADD ... CHECK` reads the whole table under a lock that keeps everybody out, and fails if one row does not fit.",
    lock: Some("AccessExclusiveLock"),
    danger: Some(Danger::ScanUnderAccessExclusive),
    setup: "create table t (id bigint primary key, a int, b text);
insert into t select n, n, 'x' from generate_series(1, 3) n;",
    bad: "alter table t add constraint t_a check (a > 0);",
    good: "alter table t add constraint t_a check (a > 0) not valid;
-- next migration
alter table t validate constraint t_a;",
    way_out: "Add it `NOT VALID`, which looks at no row that is there, and `VALIDATE` it in a migration of its own, which lets reads and writes through.",
    source: "https://www.postgresql.org/docs/current/sql-altertable.html#SQL-ALTERTABLE-NOTES",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    let Act::Alter { table, alter, of_table: true, .. } = case.act else { return };
    let checks = match alter {
        Alter::AddConstraint(one) => vec![one],
        Alter::AddColumn { column, if_not_exists } if !judge::is_there(case, table, column, *if_not_exists) => {
            column.constraints.iter().collect()
        }
        _ => return,
    };
    if checks.iter().any(|one| matches!(one.demand, Demand::Check(_)) && !one.unchecked) {
        let target = case.facts.target(table);
        found.heavy(&HAZARD, &target, format!("the check reads all of {} while nobody else can", target.rel));
    }
}
