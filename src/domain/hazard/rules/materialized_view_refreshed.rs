//! A materialized view is refreshed while nobody can read it.

use crate::domain::hazard::act::Act;
use crate::domain::hazard::{Case, Danger, Found, Group, Hazard};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "materialized_view_refreshed",
    title: "a materialized view is refreshed while nobody can read it",
    group: Group::Locks,
    does: "`REFRESH MATERIALIZED VIEW` works the view out and writes it anew; whoever reads it waits until then.",
    lock: Some("AccessExclusiveLock"),
    danger: Some(Danger::Rewrite),
    setup: "create table t (id bigint primary key, a int, b text);
insert into t select n, n, 'x' from generate_series(1, 3) n;
create materialized view v as select id, a from t;
create unique index v_id on v (id);",
    bad: "refresh materialized view v;",
    good: "refresh materialized view concurrently v;",
    way_out: "`REFRESH MATERIALIZED VIEW CONCURRENTLY`, which needs a unique index on plain columns.",
    source: "https://www.postgresql.org/docs/current/sql-refreshmaterializedview.html",
    judge,
};

fn judge(case: &Case<'_>, found: &mut Found) {
    if let Act::Refresh { view, concurrently: false } = case.act {
        let target = case.facts.target(view);
        found.heavy(&HAZARD, &target, format!("{} is worked out anew while nobody can read it", target.rel));
    }
}
