//! Every row is read while nobody can read or write.

use crate::domain::hazard::{Case, Danger, Found, Group, Hazard};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "scan_under_access_exclusive",
    title: "every row is read while nobody can read or write",
    group: Group::Locks,
    does: "Seen in a rehearsal: PostgreSQL verified a whole table that was there before, under a lock that keeps everybody out.",
    lock: Some("AccessExclusiveLock"),
    danger: Some(Danger::ScanUnderAccessExclusive),
    setup: "create table t (id bigint primary key, a int, b text);
insert into t select n, n, 'x' from generate_series(1, 3) n;",
    bad: "do $$ begin execute 'alter table t alter column a set ' || 'not null'; end $$;",
    good: "alter table t add constraint a_there check (a is not null) not valid;",
    way_out: "Look for the page of what did it, like `dbd explain not_null_set`.",
    source: "the server's DEBUG1 messages (`src/backend/commands/tablecmds.c`) and `pg_locks`",
    judge,
};

/// Nothing: it is found by other means than looking at one act.
fn judge(_: &Case<'_>, _: &mut Found) {}
