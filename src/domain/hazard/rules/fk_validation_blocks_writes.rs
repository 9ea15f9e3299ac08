//! A foreign key is tried while nobody can write.

use crate::domain::hazard::{Case, Danger, Found, Group, Hazard};

/// The hazard.
pub static HAZARD: Hazard = Hazard {
    code: "fk_validation_blocks_writes",
    title: "a foreign key is tried while nobody can write",
    group: Group::Locks,
    does: "Seen in a rehearsal: PostgreSQL tried a foreign key on every row of a table that was there before, and writers had to wait.",
    lock: Some("ShareRowExclusiveLock"),
    danger: Some(Danger::FkValidationBlocksWrites),
    setup: "create table p (id int primary key);
create table t (id bigint primary key, a int, b text);
insert into t select n, n, 'x' from generate_series(1, 3) n;
insert into p select a from t;",
    bad: "do $$ begin execute 'alter table t add foreign key (a) ' || 'references p'; end $$;",
    good: "alter table t add constraint t_p foreign key (a) references p not valid;",
    way_out: "Look for the page of what did it, like `dbd explain foreign_key_added_valid`.",
    source: "the server's DEBUG1 messages (`src/backend/commands/tablecmds.c`) and `pg_locks`",
    judge,
};

/// Nothing: it is found by other means than looking at one act.
fn judge(_: &Case<'_>, _: &mut Found) {}
