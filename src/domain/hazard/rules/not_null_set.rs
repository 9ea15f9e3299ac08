//! SET NOT NULL reads every row while nobody can read or write.

use crate::domain::hazard::act::{Act, Alter, Demand, NewConstraint};
use crate::domain::hazard::{Case, Danger, Found, Group, Hazard};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "not_null_set",
    title: "SET NOT NULL reads every row while nobody can read or write",
    group: Group::Locks,
    does: "`SET NOT NULL` reads the whole table under a lock that keeps everybody out, unless a valid check proves that there is no null.",
    lock: Some("AccessExclusiveLock"),
    danger: Some(Danger::ScanUnderAccessExclusive),
    setup: "create table t (id bigint primary key, a int, b text);
insert into t select n, n, 'x' from generate_series(1, 3) n;",
    bad: "alter table t alter column a set not null;",
    good: "alter table t add constraint a_there check (a is not null) not valid;
-- next migration
alter table t validate constraint a_there;
-- next migration
alter table t alter column a set not null;
-- next migration
alter table t drop constraint a_there;",
    way_out: "Add `CHECK (column IS NOT NULL) NOT VALID`, validate it in a migration of its own, then `SET NOT NULL`, which takes the check's word, then drop the check.",
    source: "https://www.postgresql.org/docs/current/sql-altertable.html#SQL-ALTERTABLE-DESC-SET-DROP-NOT-NULL",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    let Act::Alter { table, alter, of_table: true, .. } = case.act else { return };
    let column = match alter {
        Alter::SetNotNull(column) => column,
        Alter::AddConstraint(NewConstraint { demand: Demand::NotNull(column), unchecked: false, .. }) => column,
        _ => return,
    };
    let target = case.facts.target(table);
    if !case.facts.proves_not_null(&target, column) {
        found.heavy(
            &HAZARD,
            &target,
            format!("every row of {} is read for a null in {column} while nobody else can", target.rel),
        );
    }
}
