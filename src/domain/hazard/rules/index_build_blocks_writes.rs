//! An index is built while nobody can write.

use crate::domain::hazard::{Case, Danger, Found, Group, Hazard};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "index_build_blocks_writes",
    title: "an index is built while nobody can write",
    group: Group::Locks,
    does: "Seen in a rehearsal: PostgreSQL built an index on a table that was there before, and writers had to wait.",
    lock: Some("ShareLock"),
    danger: Some(Danger::IndexBuildBlocksWrites),
    setup: "create table t (id bigint primary key, a int, b text);
insert into t select n, n, 'x' from generate_series(1, 3) n;",
    bad: "do $$ begin execute 'create index t_a on ' || 't (a)'; end $$;",
    good: "create index concurrently t_a on t (a);",
    way_out: "Look for the page of what did it, like `dbd explain index_not_concurrent`.",
    source: "the server's DEBUG1 messages (`src/backend/catalog/index.c`) and `pg_locks`",
    judge,
};

/// Nothing: it is found by other means than looking at one act.
fn judge(_: &Case<'_>, _: &mut Found) {}
