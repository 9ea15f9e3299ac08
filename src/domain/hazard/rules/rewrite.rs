//! A table is written anew.

use crate::domain::hazard::{Case, Danger, Found, Group, Hazard};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "rewrite",
    title: "a table is written anew",
    group: Group::Locks,
    does: "Seen in a rehearsal: the file of a table or index that was there before changed, under a lock that keeps everybody out.",
    lock: Some("AccessExclusiveLock"),
    danger: Some(Danger::Rewrite),
    setup: "create table t (id bigint primary key, a int, b text);
insert into t select n, n, 'x' from generate_series(1, 3) n;",
    bad: "do $$ begin execute 'alter table t alter column a type ' || 'big' || 'int'; end $$;",
    good: "alter table t add column a_new bigint;",
    way_out: "Look for the page of what did it, like `dbd explain column_type_rewritten`.",
    source: "`pg_class.relfilenode`, before and after",
    judge,
};

/// Nothing: it is found by other means than looking at one act.
fn judge(_: &Case<'_>, _: &mut Found) {}
