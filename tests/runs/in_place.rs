//! Runs that go back in place: what was written meanwhile stays, and what only the new shape could hold is kept aside.

use super::rolled_back::{gate, open_gate, until_at_gate};
use crate::support::project::{Output, Project};
use serde_json::{Value, json};

/// A change, what has to be there before it, and the way back that is expected of it.
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) before: &'static str,
    pub(super) change: &'static str,
    pub(super) undo: &'static str,
}

pub(super) const fn kind(name: &'static str, before: &'static str, change: &'static str, undo: &'static str) -> Kind {
    Kind { name, before, change, undo }
}

/// Changes that lead back exactly, rows, sequences and the order of columns too.
const EXACT: &[Kind] = &[
    kind(
        "table",
        "create table a1 (code text primary key); insert into a1 values ('x')",
        "create table n1 (id serial primary key, code text references a1); insert into n1 (code) values ('x')",
        "reverse",
    ),
    kind(
        "partitions",
        "",
        "create table n2 (id int, at date) partition by range (at); create table n2_a partition of n2 for values from ('2020-01-01') to ('2021-01-01'); insert into n2 values (1, '2020-05-05')",
        "reverse",
    ),
    kind(
        "materialized_view",
        "create table a3 (id int primary key)",
        "create materialized view m3 as select count(*) from a3",
        "reverse",
    ),
    kind(
        "column",
        "create table a4 (id int primary key); insert into a4 select generate_series(1, 9)",
        "alter table a4 add note text",
        "reverse",
    ),
    kind(
        "column_with_default",
        "create table a5 (id int primary key); insert into a5 select generate_series(1, 9)",
        "alter table a5 add state text default 'new'",
        "reverse",
    ),
    kind(
        "column_not_null_with_check",
        "create table a6 (id int primary key); insert into a6 select generate_series(1, 9)",
        "alter table a6 add qty int not null default 1 check (qty > 0)",
        "reverse",
    ),
    kind("index", "create table a7 (id int primary key, a text)", "create index a7_a on a7 (a)", "reverse"),
    kind(
        "unique",
        "create table a8 (id int primary key, a text); insert into a8 select n, n from generate_series(1, 9) n",
        "alter table a8 add unique (a)",
        "reverse",
    ),
    kind(
        "foreign_key",
        "create table a9 (id int primary key, o int references a9)",
        "alter table a9 add constraint fk foreign key (o) references a9 (id) not valid; alter table a9 validate constraint fk",
        "reverse",
    ),
    kind(
        "not_null",
        "create table a10 (id int primary key, a text); insert into a10 values (1, 'a')",
        "alter table a10 alter a set not null",
        "reverse",
    ),
    kind(
        "default",
        "create table a11 (id int primary key, a text default 'x')",
        "alter table a11 alter a set default 'z'",
        "reverse",
    ),
    kind(
        "renamed_column",
        "create table a12 (id int primary key, a text); create view v12 as select a from a12; insert into a12 values (1, 'a')",
        "alter table a12 rename a to b",
        "reverse",
    ),
    kind(
        "renamed_table",
        "create table a13 (id serial primary key, a text); insert into a13 (a) values ('a')",
        "alter table a13 rename to \"A 13\"",
        "reverse",
    ),
    kind(
        "view",
        "create table a14 (id int primary key, a text); create view v14 as select id from a14",
        "create or replace view v14 as select id, a from a14",
        "reverse",
    ),
    kind(
        "function",
        "create function f15(i int) returns int language sql as 'select i + 1'",
        "create or replace function f15(i int) returns int language sql as 'select i + 2'",
        "reverse",
    ),
    kind(
        "trigger",
        "create table a16 (id int primary key, a text); insert into a16 values (1, 'a')",
        "create function t16() returns trigger language plpgsql as $$ begin new.a := 't'; return new; end $$; create trigger t before insert or update on a16 for each row execute function t16()",
        "reverse",
    ),
    kind(
        "dropped_index",
        "create table a17 (id int primary key, a text); create index a17_a on a17 (lower(a))",
        "drop index a17_a",
        "reverse",
    ),
    kind(
        "int_to_bigint",
        "create table a18 (id serial primary key, n int); insert into a18 (n) values (5)",
        "alter table a18 alter id type bigint, alter n type bigint",
        "reverse",
    ),
    kind(
        "wider_varchar",
        "create table a19 (id int primary key, a varchar(20)); insert into a19 values (1, 'a')",
        "alter table a19 alter a type varchar(200)",
        "reverse",
    ),
    kind(
        "timestamptz",
        "create table a20 (id int primary key, a timestamp); insert into a20 values (1, '2024-02-29 12:00')",
        "alter table a20 alter a type timestamptz",
        "reverse",
    ),
    kind(
        "identity",
        "create table a21 (id int primary key, a text); insert into a21 values (1, 'a')",
        "alter table a21 alter id add generated by default as identity",
        "reverse",
    ),
    kind(
        "row_security",
        "create table a22 (id int primary key)",
        "alter table a22 enable row level security; create policy p on a22 using (id > 0)",
        "reverse",
    ),
    kind("comment", "create table a23 (id int primary key)", "comment on column a23.id is 'it''s'", "reverse"),
    kind("grant", "create table a24 (id int primary key)", "grant select on a24 to public", "reverse"),
    kind(
        "concurrently",
        "create table a25 (id int primary key, a text)",
        "create index concurrently a25_a on a25 (a)",
        "reverse",
    ),
    kind(
        "last_column_dropped",
        "create table a26 (id int primary key, a text not null default 'd'); insert into a26 select n, 'a' || n from generate_series(1, 9) n",
        "alter table a26 drop column a",
        "pre_images",
    ),
    kind(
        "dropped_table",
        "create table a27 (id serial primary key, j json, g int generated always as (5) stored); insert into a27 (j) select '{\"a\":  1}' from generate_series(1, 9)",
        "drop table a27",
        "pre_images",
    ),
    kind(
        "rewritten",
        "create table a28 (id int primary key, a text); insert into a28 select n, 'a' || n from generate_series(1, 9) n",
        "update a28 set a = left(a, 1)",
        "pre_images",
    ),
    kind(
        "narrowed",
        "create table a29 (id int primary key, a text); insert into a29 select n, repeat('a', n) from generate_series(1, 9) n",
        "alter table a29 alter a type int using length(a)",
        "pre_images",
    ),
    kind(
        "rows_gone_and_come",
        "create table a30 (id int primary key, a text); insert into a30 select n, 'a' from generate_series(1, 9) n; create table c30 (id int primary key, o int references a30); insert into c30 values (1, 1)",
        "delete from a30 where id > 5; insert into a30 select n, 'new' from generate_series(20, 25) n; insert into c30 values (2, 20)",
        "pre_images",
    ),
    kind(
        "emptied",
        "create table a31 (id int primary key, a text); insert into a31 select n, 'a' from generate_series(1, 9) n",
        "truncate a31",
        "pre_images",
    ),
    kind(
        "in_a_block",
        "create table a32 (id int primary key, a text); insert into a32 select n, 'a' from generate_series(1, 9) n",
        "do $$ begin update a32 set a = a || '!' where id < 5; end $$",
        "pre_images",
    ),
    kind(
        "type_and_its_column",
        "create table a33 (id int primary key)",
        "create type e33 as enum ('x', 'y'); alter table a33 add e e33 default 'x'; create table n33 (id int, e e33); insert into n33 values (1, 'y')",
        "reverse",
    ),
    kind(
        "split_name",
        "create table a34 (id int primary key, name text not null); insert into a34 select n, 'f' || n || ' l' || n from generate_series(1, 9) n",
        "alter table a34 add first text, add last text; update a34 set first = split_part(name, ' ', 1), last = split_part(name, ' ', 2); alter table a34 drop column name",
        "pre_images",
    ),
    kind("enum_value", "create type e50 as enum ('a', 'b')", "alter type e50 add value 'c'", "reverse"),
    kind("nothing", "", "set timezone to 'UTC'", "nothing"),
];

/// Changes that dbd does not claim to take back in place.
const NOT_IN_PLACE: &[Kind] = &[
    kind(
        "no_key",
        "create table a51 (a int); insert into a51 values (1)",
        "update a51 set a = a + 1",
        "public.a51 has no key",
    ),
    kind(
        "in_batches",
        "create table a52 (id int primary key, a int); insert into a52 values (1, 1)",
        "-- dbd: batch\nupdate a52 set a = a + 1",
        "its batches commit one by one",
    ),
];

pub(super) fn projects(kinds: &[Kind]) -> Project {
    let mut project = Project::empty();
    project.with_sandboxes_on_the_server();
    project.set("TZ", "UTC");
    for (place, one) in kinds.iter().enumerate() {
        project.sql(one.before);
        project.migration(&format!("{:04}_{}", place + 1, one.name), &format!("{};", one.change));
    }
    project
}

pub(super) fn allowing(project: &Project, more: &[&str]) -> Output {
    let mut arguments = vec!["start", "dev", "--allow", "all", "--reason", "a trial", "--json"];
    arguments.extend(more);
    project.dbd(&arguments)
}

/// How each step is taken back, in a word.
pub(super) fn undos(project: &Project) -> Vec<String> {
    let word = |way: Value| {
        let rung = way["undo"]["in_place"]["rung"].as_str().or(way["undo"].as_str());
        rung.unwrap_or_default().to_owned()
    };
    ways(project).into_iter().map(word).collect()
}

/// Each step's way back, as the rehearsal recorded it.
pub(super) fn ways(project: &Project) -> Vec<Value> {
    let events = project.events();
    let rehearsal = events.iter().rev().find(|event| event.body["outcome"]["of"] == "rehearsal");
    let rehearsal = rehearsal.expect("there was a rehearsal");
    rehearsal.body["outcome"]["ways"].as_array().cloned().unwrap_or_default()
}

/// Whether the backup was restored by any run.
pub(super) fn restored(project: &Project) -> bool {
    project.events().iter().any(|event| event.kind == "step.intended" && event.body["effect"]["do"] == "restore")
}

#[test]
fn every_kind_of_change_that_is_called_exact_leads_back_exactly_and_none_other_is() {
    let project = projects(EXACT);
    project.config("[environments.dev]\nverify.command = \"exit 1\"\n");
    let before = project.snapshot();
    let output = allowing(&project, &[]).expect(4);
    let expected: Vec<&str> = EXACT.iter().map(|one| one.undo).collect();
    assert_eq!(undos(&project), expected, "{:#?}", ways(&project));
    assert_eq!(output.json()["state"], "rolled_back", "{output:?}");
    assert!(!restored(&project), "the backup was restored\n{output:?}");
    assert_eq!(project.snapshot(), before);
    assert_eq!(project.value("select count(*) from dbd.migration"), "0");
    // What the migrations themselves had put into new tables is kept, as nobody can tell it from what others did.
    assert_eq!(project.value("select count(*) from dbd.ledger where step like 'undo of %'"), EXACT.len().to_string());
    project.assert_sound();

    let project = projects(NOT_IN_PLACE);
    let output = allowing(&project, &["--dry-run"]).expect(0);
    for (one, way) in NOT_IN_PLACE.iter().zip(ways(&project)) {
        assert_eq!(way["undo"], "restore", "{}: {way:#}", one.name);
        assert!(way["why_not"].to_string().contains(one.undo), "{}: {way:#}", one.name);
    }
    assert_eq!(output.json()["rehearsal"]["reverse"]["proven"], false);
}

#[test]
fn what_was_written_meanwhile_survives_the_way_back_and_what_had_no_place_is_kept_aside() {
    let mut project = Project::new();
    project.with_sandboxes_on_the_server();
    project.config(&format!("[environments.dev]\nverify.command = \"{}\"\n", gate("verify", 1)));
    project.sql("create table plain (id int primary key, a text, b text not null default 'none'); insert into plain select n, 'a' || n, 'b' || n from generate_series(1, 9) n");
    project
        .migration(
            "0001_prices",
            "update orders set price = price * 2; alter table orders add column paid boolean not null default false;\n\
             delete from plain where id = 9; alter table plain drop column b;",
        )
        .migration("0002_more", "create table extra (id serial primary key, belongs int references orders);");
    let mut running = project.spawn(&["start", "dev", "--allow", "all", "--reason", "a trial", "--json"]);
    until_at_gate(&mut running, &project, "verify");
    assert_eq!(project.value("select price from orders where id = 4"), "8.00");
    project.sql(
        "update orders set price = 7 where id = 3; update orders set old_note = 'since', paid = true where id = 5;
         insert into orders (customer, price, old_note, paid) values (1, 5, 'new', true); delete from orders where id = 11;
         update plain set a = 'since' where id = 2; insert into plain values (10, 'new');
         insert into extra (belongs) values (1), (5)",
    );
    open_gate(&project, "verify");
    let output = running.wait().expect(4);
    assert_eq!(output.json()["state"], "rolled_back", "{output:?}");
    assert!(!restored(&project));
    let shape = "select string_agg(column_name, ',' order by ordinal_position) from information_schema.columns where table_schema = 'public' and table_name = ";
    assert_eq!(project.value(&format!("{shape}'orders'")), "id,customer,price,old_note");
    assert_eq!(project.value(&format!("{shape}'plain'")), "id,a,b");
    assert_eq!(
        project.rows("select id, price, old_note from orders where id in (3, 4, 5, 11, 121) order by id"),
        ["3|7.00|note 3", "4|4.00|note 4", "5|5.00|since", "121|5.00|new"]
    );
    assert_eq!(
        project.rows("select * from plain where id in (1, 2, 9, 10) order by id"),
        ["1|a1|b1", "2|since|b2", "9|a9|b9", "10|new|none"]
    );
    assert!(!project.finds("select from pg_class where relname = 'extra'"));
    // The values that only the new shape could hold, and the rows of the new table.
    let kept = project.rows(
        "select c.relname from pg_class c join pg_description d on d.objoid = c.oid and d.objsubid = 0 \
         where c.relnamespace = 'dbd_keep'::regnamespace and c.relkind = 'r' and d.description like '%only the new shape%' order by d.description",
    );
    assert_eq!(kept.len(), 2, "{kept:?}");
    assert_eq!(project.rows(&format!("select belongs from dbd_keep.{} order by 1", kept[0])), ["1", "5"]);
    assert_eq!(project.rows(&format!("select id, paid from dbd_keep.{} order by 1", kept[1])), ["5|t", "121|t"]);
    assert!(!project.finds(
        "select from information_schema.role_table_grants where table_schema = 'dbd_keep' and grantee <> 'deployer'"
    ));
    project.assert_sound();
    // Kept rows are no drift, and no part of the next run.
    project.config("");
    allowing(&project, &[]).expect(0).outcome("succeeded");
    project.assert_sound();
}

#[test]
fn what_the_old_shape_cannot_hold_stops_the_way_back_before_anything_is_lost() {
    let mut project = Project::empty();
    project.with_sandboxes_on_the_server();
    project.config(&format!(
        "[environments.dev]\nverify.command = \"{}\"\n[rollback]\ncapture = \"off\"\n",
        gate("verify", 1)
    ));
    project.sql("create table counters (id int primary key, n int); insert into counters values (1, 1), (2, 2)");
    project.migration("0001_wider", "alter table counters alter n type bigint;");
    let mut running = project.spawn(&["start", "dev", "--allow", "all", "--reason", "a trial", "--json"]);
    until_at_gate(&mut running, &project, "verify");
    project.sql("update counters set n = 5000000000 where id = 2");
    open_gate(&project, "verify");
    let output = running.wait();
    assert_ne!(output.json()["state"], "rolled_back", "{output:?}");
    assert!(!restored(&project), "a row that somebody was told is saved was forgotten\n{output:?}");
    assert_eq!(project.rows("select * from counters order by id"), ["1|1", "2|5000000000"]);
    let failed = project
        .events()
        .into_iter()
        .find(|event| event.kind == "step.failed" && event.body["failure"]["code"] == "DBD-0605");
    let failed = failed.unwrap_or_else(|| panic!("nobody was told\n{output:?}"));
    let message = failed.body["failure"]["message"].to_string();
    assert!(message.contains("public.counters.n holds a value that integer cannot hold"), "{message}");
    // Once it fits, the way is free.
    project.sql("update counters set n = 5 where id = 2");
    project.dbd(&["rollback", &output.run(), "--yes", "--json"]).expect(0);
    assert_eq!(project.rows("select * from counters order by id"), ["1|1", "2|5"]);
    assert_eq!(project.value("select format_type(atttypid, atttypmod) from pg_attribute where attrelid = 'counters'::regclass and attname = 'n'"), "integer");
    assert!(!restored(&project));
}

#[test]
fn a_supplied_way_back_is_used_if_it_works_and_said_to_be_broken_if_not() {
    let mut project = Project::empty();
    project.with_sandboxes_on_the_server();
    project.sql("create table goods (id int primary key, price int); insert into goods values (1, 10), (2, 20)");
    project
        .write("migrations/0001_cents.up.sql", "update goods set price = price * 100;")
        .write("migrations/0001_cents.down.sql", "update goods set price = price / 100;")
        .write("migrations/0002_two.up.sql", "alter table goods add a int, add b int;")
        .write("migrations/0002_two.down.sql", "alter table goods drop a;");
    let output = allowing(&project, &["--dry-run"]).expect(0);
    let found = ways(&project);
    assert_eq!(found[0]["undo"]["in_place"]["method"], "supplied", "{found:#?}");
    assert_eq!(found[0]["undo"]["in_place"]["before"], Value::Null);
    assert_eq!(found[1]["undo"]["in_place"]["method"], "generated", "{found:#?}");
    assert!(found[1]["why_not"][0].as_str().unwrap().contains("0002_two.down.sql does not lead back"), "{found:#?}");
    let text = output.json().to_string();
    assert!(text.contains("down_does_not_work"), "{text}");
    // Under a gate it is an error.
    project.config("[environments.dev]\nrequire_reverse = true\n");
    project.start().expect(3).because("DBD-0405", &["down_does_not_work", "0002_two.down.sql"]);
    // What was written through the supplied way's own meaning survives it.
    fs_err::remove_file(project.root().join("migrations/0002_two.down.sql")).unwrap();
    project.config(&format!("[environments.dev]\nverify.command = \"{}\"\n", gate("verify", 1)));
    let mut running = project.spawn(&["start", "dev", "--json"]);
    until_at_gate(&mut running, &project, "verify");
    project.sql("insert into goods values (3, 3000, 1, 2)");
    open_gate(&project, "verify");
    running.wait().expect(4);
    assert_eq!(project.rows("select * from goods order by id"), ["1|10", "2|20", "3|30"]);
    assert!(!restored(&project));
    project.assert_sound();
}

#[test]
fn a_run_that_has_to_be_reversible_and_is_not_is_refused_with_the_reason() {
    let mut project = Project::empty();
    project.with_sandboxes_on_the_server();
    project.config("[environments.dev]\nrequire_reverse = true\n[rollback]\ncapture = \"off\"\n");
    project.sql("create table notes (note text); insert into notes values ('a')");
    project.migration("0001_loud", "update notes set note = upper(note);");
    project.start().expect(3).because("DBD-0405", &["not_reversible", "public.notes has no key"]);
    let allowed = project.dbd(&["start", "dev", "--allow", "not_reversible", "--reason", "meant", "--json"]);
    allowed.expect(0).outcome("succeeded");
    project.assert_sound();
}

#[test]
fn a_step_that_writes_where_it_did_not_in_the_rehearsal_is_not_committed() {
    let mut project = Project::empty();
    project.with_sandboxes_on_the_server();
    project.config(&format!("[tests]\ncommand = \"{}\"\n", gate("tests", 0)));
    project.sql(
        "create table switch (id int primary key, on_ boolean); insert into switch values (1, false);
         create table other (id int primary key, a text); insert into other values (1, 'a')",
    );
    project.migration(
        "0001_maybe",
        "do $$ begin if (select on_ from switch) then update other set a = 'lost'; end if; end $$;",
    );
    let mut running = project.spawn(&["start", "dev", "--json"]);
    until_at_gate(&mut running, &project, "tests");
    project.sql("update switch set on_ = true");
    open_gate(&project, "tests");
    let output = running.wait();
    assert_ne!(output.code, Some(0), "{output:?}");
    assert!(output.json().to_string().contains("it wrote to public.other, and did not in the rehearsal"), "{output:?}");
    assert_eq!(project.rows("select * from other"), ["1|a"]);
    assert_eq!(json!(restored(&project)), json!(false));
    project.assert_sound();
}
