//! Runs that set tables aside instead of dropping them: gone for everybody, back by a rename, dropped for good once nobody asks any more.

use super::in_place::{Kind, allowing, projects, restored, undos, ways};
use super::rolled_back::{gate, open_gate, until_at_gate};
use crate::support::pg;
use crate::support::project::Project;
use serde_json::Value;

const SOFT: &str = "[rollback]\nsoft_drop = true\n";

const fn kind(name: &'static str, before: &'static str, change: &'static str, undo: &'static str) -> Kind {
    Kind { name, before, change, undo }
}

/// Tables that go by a rename and come back by one.
const SOFTLY: &[Kind] = &[
    kind(
        "plain",
        "create table a1 (id serial primary key, n int generated always as identity, code varchar(9) not null unique, price numeric check (price > 0), big text, up text generated always as (upper(code)) stored); \
         create index a1_code on a1 (lower(code)) where price > 1; comment on table a1 is 'one'; comment on column a1.code is 'its code'; \
         insert into a1 (code, price, big) select 'c' || i, i, repeat(md5(i::text), 400) from generate_series(1, 20) i",
        "drop table a1",
        "soft_drop",
    ),
    kind(
        "with_all_that_acts",
        "create table p2 (id int primary key); insert into p2 select generate_series(1, 9); \
         create function f2() returns trigger language plpgsql as $$ begin new.a := coalesce(new.a, 't'); return new; end $$; \
         create function next2() returns int language sql as 'select 42'; create sequence s2; \
         create table a2 (id int default next2(), n int default nextval('s2'), a text, parent int not null references p2 on delete cascade, self int, primary key (id, n), unique (self), foreign key (self) references a2 (self)); \
         insert into a2 (id, a, parent, self) select i, 'a', i, i from generate_series(1, 5) i; \
         create trigger t before insert or update on a2 for each row execute function f2(); \
         create rule r as on delete to a2 do instead nothing; alter table a2 enable row level security; create policy p on a2 using (id > 0); \
         create statistics st2 on id, n from a2; grant select on a2 to public; grant update (a) on a2 to public; alter table a2 set (fillfactor = 70)",
        "drop table a2 restrict",
        "soft_drop",
    ),
    kind(
        "referred_to",
        "create table a3 (id int primary key); insert into a3 values (1); create table c3 (id int primary key, o int references a3); insert into c3 values (1, 1)",
        "drop table a3 cascade",
        "soft_drop",
    ),
    kind(
        "several",
        "create schema \"S 4\"; create table \"S 4\".\"T 4\" (id int primary key, \"a B\" text); create table b4 (id int primary key references \"S 4\".\"T 4\"); \
         insert into \"S 4\".\"T 4\" values (1, 'x'); insert into b4 values (1)",
        "drop table if exists b4, nothing4, \"S 4\".\"T 4\"",
        "soft_drop",
    ),
    kind(
        "made_anew",
        "create table a5 (id serial primary key, a text unique); create index a5_a on a5 (a); insert into a5 (a) values ('x'), ('y')",
        "drop table a5; create table a5 (id serial primary key, b int unique); create index a5_a on a5 (b); insert into a5 (b) values (7)",
        "soft_drop",
    ),
    kind(
        "renamed_before",
        "create table a6 (id int primary key); insert into a6 values (1)",
        "alter table a6 rename to b6; drop table b6; create view a6 as select 1 as id",
        "soft_drop",
    ),
    kind(
        "with_its_schema",
        "create schema \"S 8\"; grant usage on schema \"S 8\" to public; comment on schema \"S 8\" is 'eight'; create table \"S 8\".a8 (id serial primary key); insert into \"S 8\".a8 default values",
        "drop table \"S 8\".a8; drop schema \"S 8\"",
        "soft_drop",
    ),
    kind(
        "seen_through",
        "create table a9 (id int primary key, a text); insert into a9 values (1, 'a'); create view v9 as select id from a9; create view w9 as select * from v9; \
         create materialized view m9 as select count(*) from a9; create index m9_i on m9 (count); grant select on v9 to public",
        "drop table a9 cascade",
        "soft_drop",
    ),
    kind(
        "with_rows_elsewhere",
        "create table a7 (id int primary key, a text); insert into a7 values (1, 'a'); create table b7 (id int primary key, a text); insert into b7 values (1, 'b')",
        "update b7 set a = (select a7.a from a7 where a7.id = b7.id); drop table a7",
        "pre_images",
    ),
];

/// Drops that are done as they stand, and why.
const AS_THEY_STAND: &[Kind] = &[
    kind(
        "made_of_a_type",
        "create type e1 as enum ('a'); create table t1 (id int primary key, e e1)",
        "drop table t1",
        "holds on to type e1",
    ),
    kind(
        "parted",
        "create table t2 (id int primary key) partition by range (id); create table t2_a partition of t2 for values from (0) to (9)",
        "drop table t2",
        "its rows lie in other tables",
    ),
    kind(
        "published",
        "create table t3 (id int primary key); create publication p3 for table t3",
        "drop table t3",
        "it is published by p3",
    ),
    kind(
        "told_by_a_function",
        "create table t4 (id int primary key); create function f4() returns setof t4 language sql as 'select * from t4'",
        "drop table t4 cascade",
        "would not be as the step leaves it",
    ),
];

#[test]
fn tables_that_are_set_aside_come_back_as_they_were_and_no_row_of_them_is_copied() {
    let project = projects(SOFTLY);
    project.config(&format!("{SOFT}[environments.dev]\nverify.command = \"exit 1\"\n"));
    let before = project.snapshot();
    let files = "select relname, relfilenode from pg_class where relname in ('a1', 'a1_pkey', 'a1_code', 'a2', 'a3', 'T 4', 'a5', 'a5_a', 'a6', 'a7') order by 1";
    let lie = project.rows(files);
    let output = allowing(&project, &[]).expect(4);
    let expected: Vec<&str> = SOFTLY.iter().map(|one| one.undo).collect();
    assert_eq!(undos(&project), expected, "{:#?}", ways(&project));
    for way in ways(&project) {
        assert!(!way["undo"]["in_place"]["instead"].as_array().unwrap().is_empty(), "{way:#}");
    }
    assert_eq!(output.json()["state"], "rolled_back", "{output:?}");
    assert!(!restored(&project));
    assert_eq!(project.snapshot(), before);
    assert_eq!(project.rows(files), lie, "what came back is another table");
    assert!(!project.finds("select from pg_namespace where nspname ~ '^(dbd_keep_|aside)'"), "an empty room was left");
    project.assert_sound();
    // Once more: what was kept of the first time is in nobody's way.
    allowing(&project, &[]).expect(4);
    assert_eq!(undos(&project), expected, "{:#?}", ways(&project));
    assert!(!restored(&project));
    assert_eq!(project.snapshot(), before);
}

#[test]
fn what_could_not_be_set_aside_without_anybody_noticing_is_dropped_as_it_stands_and_said() {
    let project = projects(AS_THEY_STAND);
    project.config(SOFT);
    let output = allowing(&project, &["--dry-run"]).expect(0);
    for (one, way) in AS_THEY_STAND.iter().zip(ways(&project)) {
        assert_eq!(way["undo"]["in_place"]["instead"], Value::Null, "{}: {way:#}", one.name);
        assert!(way["why_not"].to_string().contains(one.undo), "{}: {way:#}", one.name);
    }
    assert!(output.json()["plan"]["steps"][0]["instead"].as_array().unwrap().is_empty());
}

#[test]
fn nobody_sees_or_feels_what_was_set_aside_until_it_comes_back_or_is_dropped_for_good() {
    let mut project = Project::empty();
    project.with_sandboxes_on_the_server();
    project.config(&format!("{SOFT}[environments.dev]\nverify.command = \"{}\"\n", gate("verify", 0)));
    project.sql(
        "create table orders (id int primary key, a text); insert into orders select n, 'a' || n from generate_series(1, 9) n;
         create table notes (id serial primary key, o int not null references orders, note text unique);
         insert into notes (o, note) select n, 'n' || n from generate_series(1, 9) n",
    );
    project.migration("0001_no_notes", "drop table notes;");
    // The plan says in which other form the statement is run, and binds it.
    let dry = allowing(&project, &["--dry-run"]).expect(0).json();
    assert!(dry["findings"].to_string().contains("it is set aside with its 9 row(s)"), "{dry:#}");
    let instead = &dry["plan"]["steps"][0]["instead"][0];
    assert_eq!((&instead["file"], &instead["line"]), (&"migrations/0001_no_notes.sql".into(), &1.into()), "{dry:#}");
    assert!(instead["sql"].as_str().unwrap().contains("ALTER TABLE public.notes SET SCHEMA dbd_keep_"), "{instead:#}");
    let mut running = project.spawn(&["start", "dev", "--allow", "all", "--reason", "a trial", "--json"]);
    until_at_gate(&mut running, &project, "verify");
    assert!(!project.finds("select from pg_class where relname ~ 'notes' and relnamespace = 'public'::regnamespace"));
    // The foreign key, the unique index and the names are nobody's concern any more.
    project.sql(
        "delete from orders where id = 3; insert into orders values (10, 'since'); create table notes (id serial primary key, note text unique); insert into notes (note) values ('n1'); drop table notes",
    );
    open_gate(&project, "verify");
    let output = running.wait().expect(0);
    output.json();
    let run = output.run();
    let text = project.dbd(&["show", &run]).expect(0).stdout;
    assert!(text.contains("migrations/0001_no_notes.sql:1") && text.contains("SET SCHEMA dbd_keep_"), "{text}");
    let kept = "select nspname from pg_namespace where nspname ~ '^dbd_keep_'";
    let room = project.value(kept);
    assert_eq!(project.value(&format!("select count(*) from {room}.notes")), "9");
    assert!(!project.finds(
        "select from pg_namespace n, aclexplode(n.nspacl) a where n.nspname ~ '^dbd_keep_' and a.grantee <> n.nspowner"
    ));
    // No drift, and no part of a backup.
    project.dbd(&["drift", "dev", "--json"]).expect(0);
    let made = project.dbd(&["backup", "create", "dev", "--json"]).expect(0).json();
    let path = project.root().join(made["backup"]["path"].as_str().or(made["path"].as_str()).unwrap());
    let listed = pg::program("pg_restore", &["--list", path.to_str().unwrap()]);
    assert!(listed.contains("orders") && !listed.contains("dbd_keep"), "{listed}");
    // A row of another table stands in the way of the foreign key: nothing is lost, and the way is free once that is mended.
    let output = project.dbd(&["rollback", &run, "--yes", "--json"]).expect(5);
    assert!(output.json().to_string().contains("notes_o_fkey"), "{output:?}");
    assert_eq!(project.value(&format!("select count(*) from {room}.notes")), "9");
    project.sql("insert into orders values (3, 'again')");
    project.dbd(&["rollback", &run, "--yes", "--json"]).expect(0);
    assert_eq!(project.value("select count(*) from notes"), "9");
    assert_eq!(project.rows("select * from orders where id = 3"), ["3|again"]);
    assert!(!project.finds(kept));
    assert!(!restored(&project));
    project.assert_sound();
}

#[test]
fn killed_on_the_way_there_or_back_the_table_comes_back_whole() {
    let project = || {
        let mut project = Project::empty();
        project.with_sandboxes_on_the_server();
        project.sql("create table a (id serial primary key, b int references a); insert into a (b) values (null), (1); create table c (id int primary key, a int references a)");
        project.migration("0001_less", "drop table a cascade; create table a (other int);");
        project.config(&format!("{SOFT}[environments.dev]\nverify.command = \"exit 1\"\n"));
        project
    };
    let start = ["start", "dev", "--allow", "all", "--reason", "a trial", "--json"];
    let (_, gaps) = project().drill(None, &start);
    let of = |name: &str| -> Vec<usize> {
        let places = gaps.iter().enumerate().filter(|(_, gap)| (gap.0.as_str(), gap.1.as_str()) == (name, "target"));
        places.map(|(place, _)| place + 1).collect()
    };
    let (rows, ran, committed) = (of("ledger row written"), of("statement ran"), of("after commit"));
    assert_eq!((rows.len(), committed.len()), (2, 2), "there and back: {gaps:?}");
    // In the middle of the way there, at its end; at the beginning of the way back, after its third statement and its last, at its end.
    let back = ran.iter().position(|place| *place > rows[1]).unwrap();
    for at in [ran[0], committed[0], rows[1], ran[back + 2], *ran.last().unwrap(), committed[1]] {
        let project = project();
        let before = project.snapshot();
        let (killed, _) = project.drill(Some(at), &start);
        assert!(killed.code.is_none(), "{killed:?}");
        let mut output = project.dbd(&["resume", "--last", "--json"]);
        while output.code == Some(75) {
            output = project.dbd(&["resume", "--last", "--json"]);
        }
        output.expect(4).outcome("rolled_back");
        assert_eq!(project.snapshot(), before, "killed at gap {at}");
        assert!(!restored(&project), "killed at gap {at}");
        assert!(!project.finds("select from pg_namespace where nspname ~ '^(dbd_keep_|aside)'"));
        project.assert_sound();
    }
}

/// As if a month had passed since anything was done to the target.
fn age_the_ledger(project: &Project) {
    project.sql(
        "alter table dbd.ledger disable trigger user; update dbd.ledger set at = at - interval '31 days'; alter table dbd.ledger enable trigger user",
    );
}

#[test]
fn what_is_kept_goes_with_prune_once_it_is_old_and_not_while_its_run_is_open() {
    let mut project = Project::empty();
    project.with_sandboxes_on_the_server();
    project.sql("create table a (id int primary key, note text, old text); insert into a values (1, 'x', 'y'); create table b (id int primary key)");
    project.migration("0001_less", "alter table a drop column old; drop table b;");
    project.config(SOFT);
    allowing(&project, &[]).expect(0);
    let run = project.run_in_journal();
    let kept = "select (select count(*) from pg_class where relnamespace = to_regnamespace('dbd_keep') and relkind = 'r') || ' ' \
                || (select count(*) from pg_namespace where nspname ~ '^dbd_keep_')";
    assert_eq!(project.value(kept), "1 1");
    // Young: it stays.
    let output = project.dbd(&["backup", "prune", "--json"]).expect(0).json();
    assert_eq!((&output["kept_tables_removed"], project.value(kept).as_str()), (&serde_json::json!([]), "1 1"));
    // Old, by the ledger: both go, and what others keep under like names does not.
    project
        .sql("create schema dbd_keep_mine; create table dbd_keep_mine.t (id int); create table dbd_keep.mine (id int)");
    age_the_ledger(&project);
    let output = project.dbd(&["backup", "prune", "--json"]).expect(0).json();
    assert_eq!(output["kept_tables_removed"][0]["tables"], 2, "{output:#}");
    assert_eq!(project.value(kept), "1 1", "only what is somebody else's is left");
    assert!(project.finds("select from pg_class where oid = 'dbd_keep.mine'::regclass"));
    // A way back that rests on what is gone takes nothing back;
    // the backup does, as nobody wrote since.
    project.dbd(&["rollback", &run, "--yes", "--json"]).expect(0);
    assert!(restored(&project));
    assert_eq!(project.rows("select * from a"), ["1|x|y"]);

    // What an open run keeps stays, whatever its age.
    let mut project = Project::empty();
    project.with_sandboxes_on_the_server();
    project.sql("create table b (id int primary key)");
    project.migration("0001_less", "drop table b;");
    project.config(&format!("{SOFT}[environments.dev]\nverify.command = \"{}\"\n", gate("verify", 0)));
    let mut running = project.spawn(&["start", "dev", "--allow", "all", "--reason", "a trial", "--json"]);
    until_at_gate(&mut running, &project, "verify");
    age_the_ledger(&project);
    project.dbd(&["backup", "prune", "--json"]).expect(0);
    assert!(project.finds("select from pg_namespace where nspname ~ '^dbd_keep_'"));
    open_gate(&project, "verify");
    running.wait().expect(0);
}

#[test]
fn a_table_that_is_set_aside_while_writes_are_captured_is_back_after_a_swap_and_captured_no_more() {
    let project = Project::new();
    project.sql("create table old (id serial primary key, note text); insert into old (note) values ('a'), ('b')");
    // The second migration goes back by a swap alone, and the whole run with it.
    project.migration("0001_no_old", "drop table old;").migration(
        "0002_batches",
        "alter table orders add column twice numeric;\n-- dbd: batch\nupdate orders set twice = price * 2;\n",
    );
    project.config(&format!("{SOFT}[environments.dev]\nverify.command = \"{}\"\n", gate("verify", 1)));
    let before = project.snapshot();
    project.quiet();
    let mut running = project.spawn(&["start", "dev", "--allow", "all", "--reason", "a trial", "--json"]);
    until_at_gate(&mut running, &project, "verify");
    assert_eq!(project.value("select count(*) from pg_namespace where nspname ~ '^dbd_keep_'"), "1");
    let other = project.session();
    other.sql("update orders set price = 4711 where id = 3");
    drop(other);
    open_gate(&project, "verify");
    let output = running.wait().expect(4).outcome("rolled_back");
    assert!(project.events().iter().any(|event| event.body["outcome"]["of"] == "swapped"), "{output:?}");
    assert_eq!(project.snapshot().schema, before.schema);
    assert_eq!(project.rows("select * from old order by 1"), ["1|a", "2|b"]);
    assert_eq!(project.value("select price from orders where id = 3"), "4711.00");
    project.assert_sound();
    // And where it succeeds, nothing of the capture stays on what was set aside.
    project.write("verify-go", "");
    project.config(SOFT);
    project.quiet();
    allowing(&project, &[]).expect(0);
    let room = project.value("select nspname from pg_namespace where nspname ~ '^dbd_keep_'");
    assert_eq!(project.value(&format!("select count(*) from {room}.old")), "2");
    assert!(!project.finds("select from pg_trigger where tgname ~ '^!dbd_'"));
    project.assert_sound();
}

#[test]
fn a_role_that_was_dropped_meanwhile_is_granted_nothing_and_the_table_comes_back_all_the_same() {
    let project = Project::new();
    let role = format!("\"Passing by {}\"", project.database);
    let unknown = format!("\"Still {}\"", project.database);
    project.elsewhere(&format!("create role {role}; create role {unknown}"));
    project.sql(&format!(
        "create table passed (id int primary key, a text); insert into passed values (1, 'a'); grant select, update on passed to {role}; \
         grant select on passed to {unknown}, reader; grant insert on orders to {role}"
    ));
    project.migration("0001_drop", "drop table passed;\n");
    project.config(SOFT);
    let run = allowing(&project, &[]).expect(0).outcome("succeeded").run();
    project.rows(&format!("drop owned by {role}; drop role {role}"));
    let output = project.dbd(&["rollback", &run, "--json"]).expect(0).outcome("rolled_back");
    let way = output.json()["rollback"]["way"].to_string();
    assert!(way.contains("left out, as the role is gone: GRANT"), "{output:?}");
    let event = project.events().into_iter().find(|event| event.body["outcome"]["left_out"].is_array());
    let left_out = event.expect("it is recorded").body["outcome"]["left_out"].to_string();
    assert!(left_out.contains("Passing by") && !left_out.contains("Still"), "{left_out}");
    let log = fs_err::read_to_string(project.root().join(".deployments").join(&run).join("deployment.log")).unwrap();
    assert!(log.contains("Took back step 1 of 1, 0001_drop") && !log.contains("from its backup"), "{log}");
    let granted = "select distinct grantee from information_schema.role_table_grants where table_name = 'passed' and grantee <> 'deployer' order by 1";
    let expected = [format!("Still {}", project.database), "reader".to_owned()];
    assert_eq!(project.rows(granted), expected);
    assert_eq!(project.rows("select * from passed"), ["1|a"]);
    project.assert_sound();
    project.rows(&format!("drop owned by {unknown}; drop role {unknown}"));
}

#[test]
fn another_difference_is_not_taken_for_a_role_that_is_gone() {
    let project = Project::new();
    let role = format!("leaving_{}", project.database);
    project.elsewhere(&format!("create role {role}"));
    project.sql(&format!("create table passed (id int primary key); grant select on passed to {role}"));
    project.migration("0001_drop", "drop table passed;\n");
    project.config(SOFT);
    let run = allowing(&project, &[]).expect(0).outcome("succeeded").run();
    project.rows(&format!("drop owned by {role}; drop role {role}"));
    project.sql("revoke select on orders from reader");
    project.dbd(&["rollback", &run, "--json"]).expect(5).because("DBD-0601", &["checkpoint"]);
}
