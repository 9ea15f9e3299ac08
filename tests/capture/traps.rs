//! Each trap on the way, one by one, on small tables.

use super::rig::{Rig, Who};
use dbd::domain::code::Code;
use dbd::ports::capture::{Captures, Way};
use std::time::Duration;

const BOTH: [Way; 2] = [Way::Triggers, Way::Slot];

/// A capture with a shadow, over what `schema` makes.
async fn captured(way: Way, schema: &str) -> Rig {
    let rig = Rig::new(way, Who::Owner, schema).await;
    rig.start().await.unwrap();
    rig.shadow().await.unwrap();
    rig
}

async fn one(rig: &Rig, sql: &str) -> String {
    let client = rig.client().await;
    let row = client.query_one(&format!("select ({sql})::text"), &[]).await.unwrap();
    row.get::<_, Option<String>>(0).unwrap_or_else(|| "NULL".to_owned())
}

/// Goes back, and checks that the shape and this are as they should be.
async fn back(rig: &Rig, expected: &[(&str, &str)]) {
    rig.swap(None).await.unwrap();
    for (sql, value) in expected {
        assert_eq!(one(rig, sql).await, *value, "{:?}: {sql}", rig.capture.way);
    }
    assert_eq!(rig.settle().await, Vec::<String>::new());
    rig.end().await;
    assert!(rig.is_clean().await);
}

#[tokio::test]
async fn tables_without_a_key_keep_taking_updates() {
    // The trap: a publication of a table without an identity makes the application's own updates fail.
    let rig = Rig::new(Way::Slot, Who::Owner, "create table t (a int, j json, p point, c char(4))").await;
    let client = rig.client().await;
    client.batch_execute("insert into t values (1, '{\"a\":  1}', '(1,2)', 'x'), (1, '{\"a\":  1}', '(1,2)', 'x'), (2, null, null, null)").await.unwrap();
    client.batch_execute("create publication trap for table t").await.unwrap();
    let refused = client.batch_execute("update t set a = 3").await.unwrap_err();
    assert_eq!(refused.code().map(|code| code.code()), Some("55000"), "the trap is there");
    client.batch_execute("drop publication trap").await.unwrap();

    for way in BOTH {
        let rig = captured(way, "create table t (a int, j json, p point, c char(4)); \
            insert into t values (1, '{\"a\":  1}', '(1,2)', 'x'), (1, '{\"a\":  1}', '(1,2)', 'x'), (2, null, null, null)").await;
        let client = rig.client().await;
        client.batch_execute("update t set c = 'one' where ctid = '(0,1)'; update t set a = a + 1, j = null where a = 2; delete from t where c = 'x'").await.unwrap();
        back(
            &rig,
            &[(
                "select string_agg(t::text, ' ' order by t::text) from t",
                "(1,\"{\"\"a\"\":  1}\",\"(1,2)\",\"one \") (3,,,)",
            )],
        )
        .await;
    }
}

#[tokio::test]
async fn the_migration_may_drop_rename_and_make_anew() {
    for way in BOTH {
        let rig = captured(way, "create table t (id int primary key, a text, b text); create table gone (id int primary key); \
            create table anew (id int primary key, x text); insert into t values (1, 'a', 'b'); insert into anew values (1, 'x')").await;
        rig.migrate(
            "alter table t drop column b; alter table t rename column a to b; alter table t rename to u; \
             drop table gone; create table anew_ (x text, id bigint primary key); insert into anew_ select x, id from anew; \
             drop table anew; alter table anew_ rename to anew",
        )
        .await;
        let client = rig.client().await;
        client.batch_execute("update u set b = 'later'; insert into u values (2, 'new'); update anew set x = 'y'; insert into anew values ('z', 2)").await.unwrap();
        back(
            &rig,
            &[
                ("select string_agg(t::text, ' ' order by id) from t", "(1,later,b) (2,new,)"),
                ("select string_agg(anew::text, ' ' order by id) from anew", "(1,y) (2,z)"),
                ("select count(*) from gone", "0"),
            ],
        )
        .await;
    }
}

#[tokio::test]
async fn what_the_migration_rewrote_goes_back_and_what_was_written_later_stays() {
    for way in BOTH {
        let mut rig = captured(way, "create table t (id int primary key, status text, n int); insert into t values (1, 'old', 0), (2, 'old', 0), (3, 'old', 0); create table alone (id int primary key, n int); insert into alone values (1, 1), (2, 2)").await;
        let xid = rig
            .migrate("update t set status = 'NEW'; delete from t where id = 3; insert into t values (9, 'seed', 0)")
            .await;
        rig.own.push(xid);
        let client = rig.client().await;
        // A statement that runs alone, without a row in the ledger.
        client
            .batch_execute("set dbd.migrating = 'on'; update alone set n = 9; set dbd.migrating = 'off'")
            .await
            .unwrap();
        client.batch_execute("select dbd_capture.cover()").await.unwrap();
        // The trap: the whole new row carries the migration's own change back.
        client
            .batch_execute("update t set n = n + 1 where id = 1; update t set status = 'mine' where id = 2")
            .await
            .unwrap();
        back(
            &rig,
            &[
                ("select string_agg(t::text, ' ' order by id) from t", "(1,old,1) (2,mine,0) (3,old,0)"),
                ("select string_agg(alone::text, ' ' order by id) from alone", "(1,1) (2,2)"),
            ],
        )
        .await;
    }
}

#[tokio::test]
async fn what_a_migration_wrote_at_the_last_moment_is_its_own() {
    // The trap: which columns are compared was decided before the target is closed. What a migration wrote may come after that: its session
    // outlived the process, or its commit was asynchronous and not yet in the part of the log that a slot is told of.
    for way in BOTH {
        let mut rig = captured(
            way,
            "create table t (id int primary key, status text, n int); insert into t values (1, 'old', 0), (2, 'old', 0)",
        )
        .await;
        rig.at_closing = Some(
            "begin; set local dbd.migrating = 'on'; update t set status = 'NEW'; select dbd_capture.cover(); commit; \
             update t set n = n + 1 where id = 1"
                .to_owned(),
        );
        back(&rig, &[("select string_agg(t::text, ' ' order by id) from t", "(1,old,1) (2,old,0)")]).await;
    }
}

#[tokio::test]
async fn what_is_written_after_it_was_compared_is_compared_again() {
    // The trap: rows are compared while the target is open, and one of them is written to before it is closed.
    for way in BOTH {
        let mut rig =
            captured(way, "create table t (id int primary key, n int); insert into t values (1, 0), (2, 0)").await;
        rig.client().await.batch_execute("update t set n = 1").await.unwrap();
        rig.catch_up().await.unwrap();
        // A replay that does not do what was done.
        let shadow = rig.client_of(&rig.capture.shadow()).await.unwrap();
        let falsify = "create function falsify() returns trigger language plpgsql as $$ begin new.n := new.n + 100; return new; end $$; \
                       create trigger falsify before update on t for each row execute function falsify(); \
                       alter table t enable always trigger falsify";
        shadow.batch_execute(falsify).await.unwrap();
        drop(shadow);
        rig.at_closing = Some("update t set n = 2 where id = 2".to_owned());
        let failure = rig.swap(None).await.unwrap_err();
        assert_eq!(failure.code, Code::CopyDiffers, "{failure:?}");
        assert!(failure.causes.iter().any(|cause| cause.contains("1 of 1 rows")), "{failure:?}");
        let steps = rig.steps.borrow().join("\n");
        assert!(steps.contains("2 touched rows are the same so far"), "{steps}");
        rig.end().await;
        assert!(rig.is_clean().await);
    }
}

#[tokio::test]
async fn rows_that_fall_with_others_fall_once() {
    for way in BOTH {
        let rig = captured(way, "create table p (id int primary key); create table c (id int primary key, p int not null references p on delete cascade on update cascade); \
            comment on constraint c_p_fkey on c is 'kept'; insert into p values (1), (2), (3); insert into c select n, n % 3 + 1 from generate_series(1, 9) n").await;
        let before = rig.fingerprint().await;
        let client = rig.client().await;
        client.batch_execute("delete from p where id = 1; update p set id = 20 where id = 2; truncate c; insert into c values (100, 3)").await.unwrap();
        rig.swap(None).await.unwrap();
        assert_eq!(one(&rig, "select string_agg(c::text, ' ') from c").await, "(100,3)");
        assert_eq!(one(&rig, "select string_agg(p::text, ' ' order by id) from p").await, "(3) (20)");
        rig.settle().await;
        assert_eq!(rig.fingerprint().await, before, "the foreign key is as it was");
        let orphan = rig.client().await.batch_execute("insert into c values (1, 999)").await;
        assert!(orphan.is_err(), "the foreign key holds again");
        rig.end().await;
    }
}

#[tokio::test]
async fn triggers_and_rules_act_once_and_are_as_they_were() {
    for way in BOTH {
        let rig = captured(way, "create table t (id int primary key, n int default 0); create table seen (id serial primary key, what text); \
            create function twice() returns trigger language plpgsql as $$ begin update t set n = n + 10 where id = new.id; insert into seen (what) values ('t'); return null; end $$; \
            create trigger aaa after insert on t for each row execute function twice(); \
            create function always() returns trigger language plpgsql as $$ begin new.n := new.n + 1; return new; end $$; \
            create trigger bbb before update on t for each row execute function always(); alter table t enable always trigger bbb; \
            create table off (id int); create trigger ccc before insert on off for each row execute function always(); alter table off disable trigger ccc").await;
        let before = rig.fingerprint().await;
        // The application's trigger changes the row that its statement has just made: captured after it, not before.
        rig.client().await.batch_execute("insert into t (id) values (1); insert into t (id) values (2)").await.unwrap();
        assert_eq!(one(&rig, "select string_agg(t::text, ' ' order by id) from t").await, "(1,11) (2,11)");
        rig.swap(None).await.unwrap();
        assert_eq!(one(&rig, "select string_agg(t::text, ' ' order by id) from t").await, "(1,11) (2,11)");
        assert_eq!(one(&rig, "select count(*) from seen").await, "2");
        assert_eq!(rig.fingerprint().await, before);
        rig.client().await.batch_execute("insert into t (id) values (3)").await.unwrap();
        assert_eq!(one(&rig, "select n from t where id = 3").await, "11", "they act again");
        assert_eq!(one(&rig, "select max(id) from seen").await, "3", "and the sequence goes on");
        rig.end().await;
    }
}

#[tokio::test]
async fn what_the_old_shape_cannot_hold_is_said_and_stops_it() {
    for way in BOTH {
        let rig = captured(way, "create table t (id int primary key, n int not null, u text unique)").await;
        rig.migrate("alter table t alter id type bigint; alter table t drop column n; alter table t add more text; alter table t drop constraint t_u_key").await;
        let client = rig.client().await;
        client.batch_execute("insert into t (id, u, more) values (3000000000, 'a', 'kept aside')").await.unwrap();
        let backlog = rig.catch_up().await.unwrap();
        let blocked = backlog.blocked.expect("it cannot be held");
        assert!(blocked.contains("3000000000") && blocked.contains("public.t"), "{blocked}");
        assert!(!backlog.level);
        client.batch_execute("delete from t").await.unwrap();
        assert_eq!(rig.catch_up().await.unwrap().blocked.as_deref(), Some(blocked.as_str()), "it stays so");
        let failure = rig.swap(None).await.unwrap_err();
        assert_eq!(failure.code, Code::WouldLoseRows);
        rig.client().await.batch_execute("insert into t (id) values (1)").await.expect("the target is open");
        rig.end().await;
        assert!(rig.is_clean().await);
    }
}

#[tokio::test]
async fn values_only_the_new_shape_has_are_named() {
    for way in BOTH {
        let rig = captured(way, "create table t (id int primary key)").await;
        rig.migrate("alter table t add more text, add \"Less\" int").await;
        rig.client().await.batch_execute("insert into t values (1, 'x', null)").await.unwrap();
        let backlog = rig.catch_up().await.unwrap();
        assert_eq!((backlog.residue, backlog.blocked), (vec!["public.t.\"more\"".to_owned()], None));
        back(&rig, &[("select string_agg(t::text, ' ') from t", "(1)")]).await;
    }
}

#[tokio::test]
async fn somebody_elses_change_of_the_schema_stops_the_swap() {
    for way in BOTH {
        let rig = captured(way, "create table t (id int primary key)").await;
        let left = rig.fingerprint().await;
        rig.client().await.batch_execute("create index on t ((id + 1))").await.unwrap();
        let failure = rig.swap(Some(&left)).await.unwrap_err();
        assert_eq!(failure.code, Code::TargetChanged);
        let client = rig.client().await;
        // The shadow had been got ready already: it is captured on all the same.
        client.batch_execute("insert into t values (1)").await.unwrap();
        let now = rig.fingerprint().await;
        rig.swap(Some(&now)).await.unwrap();
        assert_eq!(one(&rig, "select count(*) from t").await, "1");
        rig.end().await;
    }
}

#[tokio::test]
async fn sessions_are_ended_and_those_of_a_prepared_transaction_are_in_the_way() {
    let rig = captured(Way::Triggers, "create table t (id int primary key)").await;
    let prepared = rig.client().await;
    let name = format!("prepared_{}", rig.capture.database);
    prepared.batch_execute(&format!("begin; insert into t values (7); prepare transaction '{name}'")).await.unwrap();
    let refused = rig.captures.look(&rig.url).await.unwrap().refused;
    assert!(refused.iter().any(|why| why.contains("prepared transaction")), "{refused:?}");
    assert_eq!(rig.swap(None).await.unwrap_err().code, Code::WouldLoseRows);
    let prepared = rig.client().await;
    prepared.batch_execute(&format!("commit prepared '{name}'")).await.unwrap();
    drop(prepared);

    let idle = rig.client().await;
    idle.batch_execute("begin; insert into t values (1)").await.unwrap();
    let swapped = rig.swap(None).await.unwrap();
    assert!(swapped.ended >= 1);
    assert!(idle.batch_execute("commit").await.is_err());
    assert_eq!(one(&rig, "select string_agg(t::text, ' ') from t").await, "(7)", "the other was not committed");
    assert!(rig.client_of(&rig.capture.failed()).await.is_err(), "the failed database is closed");
    rig.end().await;
}

#[tokio::test]
async fn settings_rights_and_comment_of_the_database_come_along() {
    let rig = Rig::new(Way::Triggers, Who::Superuser, "create table t (id int)").await;
    let name = &rig.capture.database;
    let admin = rig.admin("postgres").await;
    admin
        .batch_execute(&format!(
            "alter database {name} set search_path = public, \"$user\"; alter database {name} set work_mem = '5MB'; \
             alter role reader in database {name} set statement_timeout = '7s'; comment on database {name} is 'it''s mine'; \
             revoke connect on database {name} from public; grant connect on database {name} to reader with grant option; \
             alter database {name} connection limit 77"
        ))
        .await
        .unwrap();
    let told = format!(
        "select datconnlimit::text || (select string_agg(x::text, ' ' order by x::text) from aclexplode(datacl) x) || shobj_description(oid, 'pg_database') \
         || (select string_agg(setrole::text || setconfig::text, ' ' order by setrole) from pg_db_role_setting where setdatabase = d.oid) \
         || datcollate || encoding || datdba from pg_database d where datname = '{name}'"
    );
    let before: String = admin.query_one(&told, &[]).await.unwrap().get(0);
    rig.start().await.unwrap();
    rig.shadow().await.unwrap();
    rig.swap(None).await.unwrap();
    let after: String = admin.query_one(&told, &[]).await.unwrap().get(0);
    assert_eq!(before, after);
    rig.end().await;
}

#[tokio::test]
async fn dbds_own_bookkeeping_comes_along_without_what_the_run_applied() {
    let rig = captured(Way::Slot, "create table t (id int primary key)").await;
    let client = rig.client().await;
    client.batch_execute(include_str!("../../migrations/ledger/0002_applied.sql")).await.unwrap();
    // As a dbd that did not know the column yet would have made it.
    client.batch_execute("alter table dbd.applied drop column body").await.unwrap();
    rig.migrate(&format!(
        "insert into dbd.applied (tracking, key, run_id) values ('x', 'earlier', ''), ('x', 'mine', '{}')",
        rig.capture.run
    ))
    .await;
    rig.swap(None).await.unwrap();
    assert_eq!(one(&rig, "select string_agg(key, ' ') from dbd.applied").await, "earlier");
    assert_eq!(one(&rig, "select string_agg(step, ' ' order by seq) from dbd.ledger").await, "one swap");
    assert_eq!(one(&rig, "select token from dbd.lease").await, rig.holder.token);
    let change = rig.client().await.batch_execute("delete from dbd.ledger").await;
    assert!(change.is_err(), "the ledger is still append-only");
    // Again is no error: it is swapped.
    assert_eq!(rig.swap(None).await.unwrap().failed, rig.capture.failed());
    rig.end().await;
}

#[tokio::test]
async fn another_holder_swaps_nothing() {
    let mut rig = captured(Way::Triggers, "create table t (id int primary key)").await;
    rig.holder.token = "somebody else".to_owned();
    assert_eq!(rig.swap(None).await.unwrap_err().code, Code::LostOwnership);
    rig.client().await.batch_execute("insert into t values (1)").await.expect("the target is open");
}

#[tokio::test]
async fn a_slot_that_keeps_too_much_is_dropped_and_that_is_said() {
    let mut rig = captured(Way::Slot, "create table t (id int primary key, t text)").await;
    rig.client()
        .await
        .batch_execute("insert into t select n, repeat('x', 500) from generate_series(1, 2000) n")
        .await
        .unwrap();
    rig.wal_limit = Some(1000);
    let blocked = rig.catch_up().await.unwrap().blocked.expect("it is lost");
    assert!(blocked.contains("was dropped"), "{blocked}");
    assert_eq!(rig.swap(None).await.unwrap_err().code, Code::WouldLoseRows);
    rig.end().await;
    assert!(rig.is_clean().await);
}

#[tokio::test]
async fn what_a_target_does_not_allow_is_said_before() {
    let rig = Rig::new(
        Way::Triggers,
        Who::Owner,
        "create unlogged table u (id int); create table keyless (id int); create table t (id int primary key); select lo_create(0)",
    )
    .await;
    let facts = rig.captures.look(&rig.url).await.unwrap();
    let all = facts.refused.join("\n");
    assert!(facts.ways.is_empty() && all.contains("large objects") && all.contains("unlogged table u"), "{facts:?}");
    assert!(facts.not_these[0].1.contains("REPLICATION"), "{facts:?}");
    assert!(facts.notes.iter().any(|note| note.contains("keyless")), "{facts:?}");
    let client = rig.client().await;
    client.batch_execute("drop table u; select lo_unlink(oid) from pg_largeobject_metadata").await.unwrap();
    let facts = rig.captures.look(&rig.url).await.unwrap();
    assert_eq!((facts.ways, facts.refused), (vec![Way::Triggers], vec![]));
    assert_eq!(facts.maintenance.as_deref(), Some("postgres"));

    // A superuser's session cannot be ended by the owner; a role without CREATEDB makes no shadow.
    let admin = rig.admin(&rig.capture.database).await;
    let refused = rig.captures.look(&rig.url).await.unwrap().refused;
    assert!(refused.iter().any(|why| why.contains("sessions of postgres")), "{refused:?}");
    admin.batch_execute(&format!("alter role {} nocreatedb", rig.url.user())).await.unwrap();
    admin.batch_execute("create table theirs (id int)").await.unwrap();
    let refused = rig.captures.look(&rig.url).await.unwrap().refused;
    assert!(refused.iter().any(|why| why.contains("may not create databases")), "{refused:?}");
    assert!(refused.iter().any(|why| why.contains("theirs is owned by")), "{refused:?}");

    let rig = Rig::new(Way::Slot, Who::Superuser, "create table t (id int)").await;
    assert_eq!(rig.captures.look(&rig.url).await.unwrap().ways, vec![Way::Slot, Way::Triggers]);
}

#[tokio::test]
async fn what_is_bound_to_the_database_and_would_stay_behind_is_said_before() {
    for who in [Who::Owner, Who::Superuser] {
        let rig = Rig::new(Way::Triggers, who, "create table t (id int primary key)").await;
        // Each with what takes it away again; `pg_extension` is the database's own, and no such extension is at hand.
        let limits = [
            (
                "select pg_create_logical_replication_slot('theirs_' || current_database(), 'pgoutput')",
                "replication slot theirs_",
                "select pg_drop_replication_slot('theirs_' || current_database())",
            ),
            (
                "do $$ begin execute format('create subscription %I connection ''dbname=nowhere'' publication p with (connect = false, slot_name = none)', 'sub_' || current_database()); end $$",
                "subscribes to another one",
                "do $$ begin execute format('drop subscription %I', 'sub_' || current_database()); end $$",
            ),
            (
                "set allow_system_table_mods = on; update pg_extension set extname = 'pg_cron' where extname = 'plpgsql'",
                "extension pg_cron keeps state of its own",
                "set allow_system_table_mods = on; update pg_extension set extname = 'plpgsql' where extname = 'pg_cron'",
            ),
            (
                "create table hidden (id int primary key); do $$ begin execute format('alter table hidden owner to %I', (select datdba::regrole::text from pg_database where datname = current_database())); end $$; \
                 alter table hidden enable row level security, force row level security",
                "hidden has FORCE ROW LEVEL SECURITY",
                "drop table hidden",
            ),
        ];
        for (make, said, unmake) in limits {
            // Who is above the rows sees all of them.
            if who == Who::Superuser && said.contains("FORCE") {
                continue;
            }
            rig.admin(&rig.capture.database).await.batch_execute(make).await.unwrap();
            let facts = rig.captures.look(&rig.url).await.unwrap();
            assert!(facts.refused.iter().any(|why| why.contains(said)), "{who:?}, {said}: {:?}", facts.refused);
            assert!(facts.ways.is_empty(), "{facts:?}");
            rig.admin(&rig.capture.database).await.batch_execute(unmake).await.unwrap();
        }
        // What dbd itself keeps is nothing of that kind.
        let client = rig.client().await;
        client.batch_execute("create schema dbd_keep_k1; create unlogged table dbd_keep_k1.t (id int); alter table dbd_keep_k1.t force row level security").await.unwrap();
        let refused = rig.captures.look(&rig.url).await.unwrap().refused;
        let of_sessions = |why: &String| why.contains("sessions of");
        assert!(refused.iter().all(of_sessions), "{refused:?}");
    }
}

#[tokio::test]
async fn what_another_run_left_is_found_and_taken_away() {
    for way in BOTH {
        let rig = captured(way, "create table t (id int primary key); create table keyless (id int); alter table keyless replica identity nothing").await;
        let before = rig.fingerprint().await;
        let kinds = |left: Vec<dbd::ports::capture::Leftover>| left.iter().map(|one| one.kind).collect::<Vec<_>>();
        let first = kinds(rig.captures.leftovers(&rig.url).await.unwrap());
        assert_eq!(first, if way == Way::Slot { ["slot", "shadow"] } else { ["triggers", "shadow"] });
        let mut later = rig.capture.clone();
        later.run = dbd::domain::ids::RunId::parse("deploy-dev-99").unwrap();
        let other = Rig::of(rig.url.clone(), later);
        other.start().await.unwrap();
        assert!(rig.captures.started(&rig.url, &rig.capture).await.unwrap().is_none());
        assert!(other.captures.started(&rig.url, &other.capture).await.unwrap().is_some());
        assert!(rig.client_of(&rig.capture.shadow()).await.is_err());
        other.end().await;
        assert!(rig.is_clean().await);
        assert_eq!(rig.fingerprint().await, before);
        assert_eq!(one(&rig, "select relreplident from pg_class where relname = 'keyless'").await, "n");
    }
}

#[tokio::test]
async fn a_copy_of_the_target_is_freed_of_the_capture() {
    for way in BOTH {
        let rig = captured(way, "create table t (id int primary key); create table k (id int)").await;
        let started = rig.captures.started(&rig.url, &rig.capture).await.unwrap().unwrap();
        let admin = rig.admin("postgres").await;
        let copy = format!("copy_of_{}", rig.capture.database);
        admin
            .batch_execute(&format!("create database {copy} template template0 owner {}", rig.url.user()))
            .await
            .unwrap();
        // A copy as a physical one would be: with everything the capture put in.
        let script = crate::support::pg::program("pg_dump", &["--exclude-schema=dbd", &rig.capture.database]);
        let place = rig.url.with_database(&copy);
        let session = rig.client_of(&copy).await.unwrap();
        session
            .batch_execute(
                &script
                    .lines()
                    .filter(|line| !line.starts_with('\\') && !line.starts_with("COPY"))
                    .filter(|line| !line.contains("OVERRIDING"))
                    .fold(String::new(), |all, line| {
                        // Rows of COPY are not SQL; the tables here have none but the capture's own.
                        if line.contains('\t') { all } else { all + line + "\n" }
                    }),
            )
            .await
            .unwrap_or_else(|error| panic!("{:?}", error.as_db_error()));
        rig.captures.strip(&place, &started).await.unwrap();
        let left = session.query_one("select (select count(*) from pg_trigger where not tgisinternal) + (select count(*) from pg_namespace where nspname = 'dbd_capture') \
            + (select count(*) from pg_publication) + (select count(*) from pg_class where relreplident = 'f')", &[]).await.unwrap();
        assert_eq!(left.get::<_, i64>(0), 0);
        rig.end().await;
    }
}

#[tokio::test]
async fn partitions_made_meanwhile_are_captured_into_their_table() {
    for way in BOTH {
        let rig = captured(way, "create table t (k int, v text, primary key (k)) partition by range (k); create table t1 partition of t for values from (0) to (10); \
            create table rest partition of t default; insert into t values (1, 'a'), (11, 'b')").await;
        rig.migrate("create table t2 partition of t for values from (20) to (30)").await;
        rig.client().await.batch_execute("insert into t values (21, 'new'), (2, 'c'); update t set k = 22 where k = 1; update t set v = 'z' where k = 21").await.unwrap();
        back(&rig, &[("select string_agg(t::text, ' ' order by k) from t", "(2,c) (11,b) (21,z) (22,a)")]).await;
    }
}

#[tokio::test]
async fn long_values_that_did_not_change_are_kept() {
    for way in BOTH {
        let rig = captured(
            way,
            "create table t (id int primary key, long text, n int); \
            insert into t select 1, string_agg(md5(n::text), ''), 0 from generate_series(1, 2000) n",
        )
        .await;
        let before = one(&rig, "select md5(long) from t").await;
        rig.client().await.batch_execute("update t set n = 1").await.unwrap();
        back(&rig, &[("select md5(long) || n from t", &format!("{before}1"))]).await;
    }
}

#[tokio::test]
async fn transactions_that_were_open_when_the_copy_was_made_are_captured() {
    for way in BOTH {
        let rig =
            Rig::new(way, Who::Owner, "create table t (id int primary key, n int default 0); insert into t values (1)")
                .await;
        rig.start().await.unwrap();
        let open = rig.client().await;
        open.batch_execute("begin; insert into t values (2); savepoint a; update t set n = 5 where id = 1")
            .await
            .unwrap();
        let rollback = rig.client().await;
        rollback.batch_execute("begin; insert into t values (3)").await.unwrap();
        if way == Way::Triggers {
            rig.shadow().await.unwrap();
            open.batch_execute("commit").await.unwrap();
        } else {
            // A slot's base waits for what was open before.
            let later = async {
                tokio::time::sleep(Duration::from_millis(200)).await;
                open.batch_execute("commit").await.unwrap();
                rollback.batch_execute("rollback; begin; insert into t values (4)").await.unwrap();
            };
            let (shadow, ()) = tokio::join!(rig.shadow(), later);
            shadow.unwrap();
        }
        rollback.batch_execute("rollback").await.unwrap();
        back(&rig, &[("select string_agg(t::text, ' ' order by id) from t", "(1,5) (2,0)")]).await;
    }
}
