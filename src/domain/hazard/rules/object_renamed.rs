//! Something is renamed that may be in use.

use crate::domain::finding::Severity;
use crate::domain::hazard::act::{Act, Thing};
use crate::domain::hazard::{Case, Found, Group, Hazard};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "object_renamed",
    title: "something is renamed that may be in use",
    group: Group::Clients,
    does: "The application that is still running goes on using the old name, and fails at once.",
    lock: None,
    danger: None,
    setup: "create table t (id bigint primary key, a int, b text);
insert into t select n, n, 'x' from generate_series(1, 3) n;",
    bad: "alter table t rename column b to c;",
    good: "alter table t add column c text;",
    way_out: "Add the new name beside the old one and move over; a table can keep its old name as a view, made in the same transaction.",
    source: "https://www.postgresql.org/docs/current/ddl-alter.html#DDL-ALTER-RENAMING-TABLE",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    let Act::Rename { thing, on, part, to, schema } = case.act else { return };
    if matches!(
        thing,
        Thing::Constraint | Thing::Index | Thing::Trigger | Thing::Policy | Thing::Sequence | Thing::Other
    ) {
        return;
    }
    let target = case.facts.target(on);
    let stays = case.later.iter().flat_map(|statement| &statement.acts).any(
        |act| matches!(act, Act::CreateOther { thing: Thing::View, name, .. } if case.facts.rel(name) == target.rel),
    );
    let relation = matches!(thing, Thing::Table | Thing::View | Thing::MaterializedView | Thing::Column);
    if stays || (relation && !target.existed) {
        return;
    }
    let old = part.as_ref().map_or_else(|| on.to_string(), |part| format!("{on}.{part}"));
    let how = if *schema { "moves to the schema" } else { "is called" };
    found.fixed(&HAZARD, Severity::Warning, &old, format!("{} {old} {how} {to} from then on", thing.word()));
}
