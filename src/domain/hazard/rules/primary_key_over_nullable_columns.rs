//! A primary key makes its columns NOT NULL, which reads every row.

use crate::domain::hazard::act::{Act, Alter, Demand};
use crate::domain::hazard::facts::Rel;
use crate::domain::hazard::{Case, Danger, Found, Group, Hazard};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "primary_key_over_nullable_columns",
    title: "a primary key makes its columns NOT NULL, which reads every row",
    group: Group::Locks,
    does: "A primary key's columns are NOT NULL. Where they are not yet, every row is read under a lock that keeps everybody out, also with `USING INDEX`.",
    lock: Some("AccessExclusiveLock"),
    danger: Some(Danger::ScanUnderAccessExclusive),
    setup: "create table t (a int, b text);
insert into t select n, 'x' from generate_series(1, 3) n;
create unique index t_k on t (a);",
    bad: "alter table t add constraint t_k primary key using index t_k;",
    good: "alter table t add constraint a_there check (a is not null) not valid;
-- next migration
alter table t validate constraint a_there;
-- next migration
alter table t alter column a set not null;
-- next migration
alter table t add constraint t_k primary key using index t_k;",
    way_out: "Make the columns NOT NULL first, by a check that is validated before.",
    source: "https://www.postgresql.org/docs/current/sql-altertable.html",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    let Act::Alter { table, alter: Alter::AddConstraint(one), .. } = case.act else { return };
    let Demand::Primary(keys) = &one.demand else { return };
    let target = case.facts.target(table);
    let index = one.using_index.as_ref().and_then(|name| case.facts.indexes.get(&Rel::new(&target.rel.schema, name)));
    let keys = index.map_or(keys, |index| &index.columns);
    let known = |key: &&String| target.relation.is_some_and(|relation| relation.column(key).is_some());
    let nullable: Vec<&String> =
        keys.iter().filter(known).filter(|key| !case.facts.proves_not_null(&target, key)).collect();
    if let Some(key) = nullable.first() {
        found.heavy(
            &HAZARD,
            &target,
            format!("{key} can be null so far: every row of {} is read while nobody else can", target.rel),
        );
    }
}
