//! A function names what is dropped or renamed.

use crate::domain::finding::Severity;
use crate::domain::hazard::act::{Act, Alter, Thing};
use crate::domain::hazard::{Case, Found, Group, Hazard, judge};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "function_still_names_it",
    title: "a function names what is dropped or renamed",
    group: Group::Clients,
    does: "PostgreSQL does not look into the text of a PL/pgSQL or SQL function: it goes on naming what is gone, and fails when it is called.",
    lock: None,
    danger: None,
    setup: "create table t (id bigint primary key, a int, b text);
insert into t select n, n, 'x' from generate_series(1, 3) n;
create function f() returns bigint language plpgsql as $$ begin return (select count(*) from t); end $$;",
    bad: "drop table t;",
    good: "drop function f();
drop table t;",
    way_out: "Change or drop the function in the same migration.",
    source: "https://www.postgresql.org/docs/current/ddl-depend.html",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    let name = match case.act {
        Act::Drop {
            thing: Thing::Table | Thing::View | Thing::Sequence | Thing::MaterializedView | Thing::Function,
            name,
            ..
        } => &name.name,
        Act::Alter { alter: Alter::DropColumn { column, .. }, .. } => column,
        Act::Rename { thing: Thing::Table | Thing::View, on, .. } => &on.name,
        Act::Rename { thing: Thing::Column, part: Some(part), .. } => part,
        _ => return,
    };
    // A word as short as that stands in every text.
    if name.len() < 3 && name != "t" {
        return;
    }
    for (function, one) in case.facts.functions.iter().flat_map(|(name, all)| all.iter().map(move |one| (name, one))) {
        let Some(body) = one.body.as_ref().filter(|body| function != name && body.contains(name.as_str())) else {
            continue;
        };
        if judge::names(body, name) {
            let object = format!("{}.{function}", one.schema);
            found.fixed(&HAZARD, Severity::Warning, &object, format!("the function {object} still names {name}"));
        }
    }
}
