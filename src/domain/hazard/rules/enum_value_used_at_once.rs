//! A new enum value is used in the transaction that adds it.

use crate::domain::finding::Severity;
use crate::domain::hazard::act::{Act, Alter};
use crate::domain::hazard::{Case, Danger, Found, Group, Hazard};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "enum_value_used_at_once",
    title: "a new enum value is used in the transaction that adds it",
    group: Group::Running,
    does: "PostgreSQL refuses to use a value of an enum before the transaction that added it is committed (55P04).",
    lock: None,
    danger: Some(Danger::Fails),
    setup: "create type mood as enum ('glad');
create table feeling (now mood);",
    bad: "begin;
alter type mood add value 'calm';
insert into feeling values ('calm');
commit;",
    good: "alter type mood add value 'calm';
insert into feeling values ('calm');",
    way_out: "Leave out the file's own `BEGIN` and `COMMIT`: dbd then commits new values before it goes on. Or use the value in the next migration.",
    source: "https://www.postgresql.org/docs/current/sql-altertype.html",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    if !case.scene.in_block && !case.scene.nested {
        return;
    }
    let used: Vec<&String> = match case.act {
        Act::Query { strings, .. } => strings.iter().collect(),
        Act::CreateTable(table) => table
            .columns
            .iter()
            .filter_map(|column| column.default.as_ref())
            .flat_map(|default| &default.strings)
            .collect(),
        Act::Alter { alter: Alter::Default(_, Some(default)), .. } => default.strings.iter().collect(),
        Act::Alter { alter: Alter::AddColumn { column, .. }, .. } => {
            column.default.iter().flat_map(|default| &default.strings).collect()
        }
        _ => return,
    };
    if let Some(value) = used.into_iter().find(|value| case.scene.enum_values.contains(*value)) {
        found.fixed(
            &HAZARD,
            Severity::Error,
            value,
            format!("'{value}' can be used only after the transaction that adds it is committed"),
        );
    }
}
