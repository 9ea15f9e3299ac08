//! A new column's type is a domain with a constraint.

use crate::domain::hazard::act::{Act, Alter};
use crate::domain::hazard::facts::UserType;
use crate::domain::hazard::{Case, Danger, Found, Group, Hazard, judge};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "constrained_domain_column_added",
    title: "a new column's type is a domain with a constraint",
    group: Group::Locks,
    does: "Even with a constant default or none, PostgreSQL writes the table anew to try the domain's constraint on each row, under a lock that keeps everybody out.",
    lock: Some("AccessExclusiveLock"),
    danger: Some(Danger::Rewrite),
    setup: "create table t (id bigint primary key, a int, b text);
insert into t select n, n, 'x' from generate_series(1, 3) n;
create domain positive as int check (value > 0);",
    bad: "alter table t add column n positive;",
    good: "alter table t add column n int;
alter table t add constraint n_positive check (n > 0) not valid;",
    way_out: "Use the plain type and a check that is added `NOT VALID`.",
    source: "`src/backend/commands/tablecmds.c` (`ATExecAddColumn`): `DomainHasConstraints`",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    let Act::Alter { table, alter: Alter::AddColumn { column, if_not_exists }, of_table: true, .. } = case.act else {
        return;
    };
    if matches!(case.facts.user_type(&column.ty), Some(UserType::Domain { constrained: true, .. }))
        && !column.ty.array
        && !judge::is_there(case, table, column, *if_not_exists)
    {
        let target = case.facts.target(table);
        found.heavy(
            &HAZARD,
            &target,
            format!("the domain of {} has a constraint: {} is rewritten", column.name, target.rel),
        );
    }
}
