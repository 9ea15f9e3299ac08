//! A statement is put together while it runs.

use crate::domain::finding::Severity;
use crate::domain::hazard::act::Act;
use crate::domain::hazard::{Case, Found, Group, Hazard};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "dynamic_sql",
    title: "a statement is put together while it runs",
    group: Group::Running,
    does: "What it will do cannot be told from its text; only running it shows that.",
    lock: None,
    danger: None,
    setup: "create table t (id bigint primary key, a int, b text);
insert into t select n, n, 'x' from generate_series(1, 3) n;",
    bad: "do $$ declare s text; begin select b into s from t limit 0; if s is not null then execute s; end if; end $$;",
    good: "do $$ begin execute 'comment on table t is ''x'''; end $$;",
    way_out: "`dbd check --rehearse`, or the rehearsal of `dbd start`, which watches it run.",
    source: "https://www.postgresql.org/docs/current/plpgsql-statements.html#PLPGSQL-STATEMENTS-EXECUTING-DYN",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    if *case.act == Act::Dynamic {
        found.fixed(&HAZARD, Severity::Info, "statement", "what this does shows only when it runs");
    }
}
