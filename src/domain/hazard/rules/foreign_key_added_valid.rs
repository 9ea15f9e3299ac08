//! A foreign key is tried on every row while nobody can write to either table.

use crate::domain::hazard::act::{Act, Alter, Demand, NewConstraint};
use crate::domain::hazard::{Case, Danger, Found, Group, Hazard, judge};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "foreign_key_added_valid",
    title: "a foreign key is tried on every row while nobody can write to either table",
    group: Group::Locks,
    does: "`ADD ... FOREIGN KEY` joins both tables whole, and nobody can write to either of them meanwhile.",
    lock: Some("ShareRowExclusiveLock"),
    danger: Some(Danger::FkValidationBlocksWrites),
    setup: "create table p (id int primary key);
create table t (id bigint primary key, a int, b text);
insert into t select n, n, 'x' from generate_series(1, 3) n;
insert into p select a from t;",
    bad: "alter table t add constraint t_p foreign key (a) references p (id);",
    good: "alter table t add constraint t_p foreign key (a) references p (id) not valid;
-- next migration
alter table t validate constraint t_p;",
    way_out: "Add it `NOT VALID`, and `VALIDATE` it in a migration of its own.",
    source: "https://www.postgresql.org/docs/current/sql-altertable.html#SQL-ALTERTABLE-NOTES",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    let Act::Alter { table, alter, of_table: true, .. } = case.act else { return };
    let to = match alter {
        Alter::AddConstraint(NewConstraint { demand: Demand::Foreign { to, .. }, unchecked: false, .. }) => to,
        // A column without a default is null everywhere, and PostgreSQL knows that null refers to nothing.
        Alter::AddColumn { column, if_not_exists }
            if (column.default.is_some() || column.serial) && !judge::is_there(case, table, column, *if_not_exists) =>
        {
            let foreign = column.constraints.iter().find_map(|one| match &one.demand {
                Demand::Foreign { to, .. } if !one.unchecked => Some(to),
                _ => None,
            });
            let Some(to) = foreign else { return };
            to
        }
        _ => return,
    };
    let target = case.facts.target(table);
    let parent = case.facts.rel(to);
    found.heavy(
        &HAZARD,
        &target,
        format!(
            "the foreign key is tried on every row of {}; nobody writes to it or to {parent} meanwhile",
            target.rel
        ),
    );
}
