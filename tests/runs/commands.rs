//! The user's own tool as the migration, and what becomes of the target when it fails, or is killed, half-way.

use super::rolled_back::{gate, open_gate, until_at_gate};
use crate::support::pg;
use crate::support::project::{Output, Project, Snapshot};
use rustix::process::Signal;
use std::process::Command;

/// A project whose migrations are the shell script `body`: `sql` runs a text in a session of its own, `on_target` says where it is.
fn tool(body: &str) -> Project {
    let mut project = Project::new();
    project.with_sandboxes_on_the_server();
    write_tool(&project, body);
    project
}

fn write_tool(project: &Project, body: &str) {
    let psql = pg::server().bin.join("psql");
    // Nothing secret on a command line: psql goes by the variables.
    let script = format!(
        "set -e\nsql() {{ {} -qXv ON_ERROR_STOP=1 -c \"$1\"; }}\non_target() {{ [ \"$PGDATABASE\" = {} ]; }}\n{body}\n",
        psql.display(),
        project.database
    );
    project.write("migrate.sh", &script);
    project.config("[migrations]\nformat = 'command'\ncommand = 'sh migrate.sh'\n");
}

/// A part that is committed, and then a failure on the target that the sandbox knows nothing of.
const HALF: &str = "sql 'create table made (id int primary key); insert into made values (1)'\n\
     if on_target; then sql 'select 1/0'; fi\n\
     sql 'create table made_too (id int)'";

#[track_caller]
fn assert_back(project: &Project, before: &Snapshot) {
    assert_eq!(&project.snapshot(), before);
    project.assert_sound();
}

fn did(project: &Project, effect: &str) -> bool {
    project.events().iter().any(|event| event.intends(effect))
}

/// The texts of everything a person reads about a run.
fn told(project: &Project, run: &str) -> String {
    let mut text = String::new();
    for arguments in [vec!["status", run], vec!["show", run], vec!["show", run, "--events"], vec!["logs", run]] {
        text += &project.dbd(&arguments).stdout;
    }
    text + &fs_err::read_to_string(project.artifact(run, "report.md")).unwrap_or_default()
}

#[test]
fn a_command_that_fails_after_a_part_of_it_was_committed_is_taken_back() {
    let project = tool(HALF);
    let before = project.snapshot();
    let output = project.start().expect(4).outcome("rolled_back");
    let output = output.because(
        "DBD-0409",
        &["after a part of it was committed", "status 1", "the schema is not the one before it", "migrate.log"],
    );
    assert_back(&project, &before);
    assert_eq!(output.json()["rollback"]["loss"]["rows"], 0, "{output:?}");
    assert_eq!(output.json()["rollback"]["partly_committed"], true, "{output:?}");
    let told = told(&project, &output.run());
    for words in ["step 1 failed after a part of it was committed", "**failed after a part of it was committed**"] {
        assert!(told.contains(words), "`{words}` is not said\n{told}");
    }
    // Once it does what it did in the sandbox, it goes through.
    write_tool(&project, "sql 'create table made (id int primary key); insert into made values (1)'");
    project.start().expect(0).outcome("succeeded");
    assert_eq!(project.rows("select id from made"), ["1"]);
    project.assert_sound();
}

#[test]
fn rows_that_the_part_wrote_with_its_change_of_the_schema_are_its_own() {
    let project = tool(
        "sql 'begin; alter table orders add column paid boolean; update orders set paid = price > 50; \
           insert into tool_versions values (2); commit'\n\
         if on_target; then exit 7; fi",
    );
    project.sql("create table tool_versions (v int primary key); insert into tool_versions values (1)");
    let before = project.snapshot();
    project.start().expect(4).outcome("rolled_back").because("DBD-0409", &["status 7", "tool_versions"]);
    assert_back(&project, &before);
}

#[test]
fn what_a_tool_notes_of_itself_in_other_transactions_is_nobodys_loss() {
    let body = "sql 'update knex_migrations_lock set is_locked = 1'\n\
        sql 'alter table orders add column paid boolean'\n\
        sql \"insert into knex_migrations (name) values ('20240101_paid')\"\n\
        if on_target; then exit 1; fi\n\
        sql 'update knex_migrations_lock set is_locked = 0'";
    let project = tool(body);
    project.sql(
        "create table knex_migrations (id serial primary key, name text, migration_time timestamptz default now()); \
         create table knex_migrations_lock (index serial primary key, is_locked int); \
         insert into knex_migrations_lock (is_locked) values (0)",
    );
    let before = project.snapshot();
    let output = project.start().expect(4).outcome("rolled_back");
    assert_eq!(output.json()["rollback"]["loss"]["rows"], 0, "{output:?}");
    assert_back(&project, &before);
}

#[test]
fn a_command_that_waited_for_an_approval_goes_on_unless_it_is_another_one_by_then() {
    let project = tool("sql 'create table made (id int)'");
    let config = fs_err::read_to_string(project.root().join("dbd.toml")).unwrap();
    let config = format!("{config}[environments.dev]\napproval = true\n");
    project.config(&config);
    let run = project.start().expect(75).outcome("waiting").run();
    project.dbd(&["approve", &run, "--json"]);
    project.config(&config.replace("sh migrate.sh", "sh another.sh"));
    project.dbd(&["resume", &run, "--json"]).expect(3).because("DBD-0210", &["migrations.command changed"]);
    project.config(&config);
    project.dbd(&["resume", &run, "--json"]).expect(0).outcome("succeeded");
    assert!(project.finds("select 1 from pg_class where relname = 'made'"));
}

#[test]
fn a_whole_command_is_taken_back_with_its_rows_when_the_verification_fails() {
    let project =
        tool("sql 'begin; alter table orders add column paid boolean; update orders set paid = true; commit'");
    let config = fs_err::read_to_string(project.root().join("dbd.toml")).unwrap();
    project.config(&format!("{config}[environments.dev]\nverify = {{ command = 'false' }}\n"));
    let before = project.snapshot();
    project.start().expect(4).outcome("rolled_back").because("DBD-0502", &[]);
    assert_back(&project, &before);
}

#[test]
fn a_part_that_changed_rows_alone_is_found_and_taken_back_once_somebody_says_so() {
    for restore in [false, true] {
        let project = tool("sql 'update orders set price = price * 2 where id <= 3'\nif on_target; then exit 1; fi");
        let before = project.snapshot();
        let halted = project.start().expect(5).outcome("needs_operator");
        // Nobody can tell its rows from the application's.
        let halted =
            halted.because("DBD-0603", &["3 row(s) in public.orders", "--restore", "a part of it may be committed"]);
        assert_ne!(project.snapshot(), before);
        let run = halted.run();
        let mut arguments = vec!["rollback", &run, "--yes", "--json"];
        arguments.extend(restore.then_some("--restore"));
        project.dbd(&arguments).expect(0).outcome("rolled_back");
        assert_back(&project, &before);
    }
}

#[test]
fn rows_that_the_application_wrote_meanwhile_are_not_forgotten_unasked() {
    let body = format!("sql 'create table made (id int)'\nif on_target; then {}; fi", gate("migrate", 1));
    let project = tool(&body);
    let before = project.snapshot();
    let mut running = project.spawn(&["start", "dev", "--json"]);
    until_at_gate(&mut running, &project, "migrate");
    let other = project.session();
    other.sql("insert into orders (customer, price, old_note) values (1, 4711, 'paid meanwhile')");
    drop(other);
    open_gate(&project, "migrate");
    let halted = running.wait().expect(5).outcome("needs_operator");
    let halted = halted.because("DBD-0603", &["1 row(s) in public.orders", "--restore"]);
    assert_eq!(project.value("select count(*) from orders where old_note = 'paid meanwhile'"), "1");
    assert!(project.finds("select 1 from pg_class where relname = 'made'"), "nothing is taken back yet");
    let output = project.dbd(&["rollback", &halted.run(), "--restore", "--yes", "--json"]).expect(0);
    let output = output.outcome("rolled_back");
    assert_back(&project, &before);
    let kept = output.json()["rollback"]["kept"].as_str().unwrap().to_owned();
    let text = Command::new(pg::server().bin.join("pg_restore"))
        .args(["--data-only", "--file=-"])
        .arg(project.root().join(kept))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&text.stdout).matches("paid meanwhile").count(), 1);
}

#[test]
fn somebody_elses_table_made_meanwhile_is_not_dropped_unasked() {
    let body = format!("sql 'create table made (id int)'\nif on_target; then {}; fi", gate("migrate", 1));
    let project = tool(&body);
    let mut running = project.spawn(&["start", "dev", "--json"]);
    until_at_gate(&mut running, &project, "migrate");
    project.sql("create table somebody_elses (id int)");
    open_gate(&project, "migrate");
    running.wait().expect(5).outcome("needs_operator").because("DBD-0603", &["somebody else changed the schema"]);
    assert!(project.finds("select 1 from pg_class where relname = 'somebody_elses'"));
}

#[test]
fn a_command_that_fails_before_it_changed_anything_leaves_nothing_to_take_back() {
    let project = tool("sql 'create table made (id int)'");
    write_tool(&project, "if on_target; then echo no such server >&2; exit 9; fi\nsql 'create table made (id int)'");
    let before = project.snapshot();
    let output = project.start().expect(4).outcome("rolled_back");
    output.because("DBD-0409", &["status 9", "no such server", "nothing of it was committed"]);
    assert!(!did(&project, "restore") && !did(&project, "assess_loss"), "{:?}", project.events());
    assert_back(&project, &before);
}

#[test]
fn a_command_that_takes_too_long_half_way_is_ended_and_taken_back() {
    let project = tool("sql 'create table made (id int)'\nif on_target; then sql 'select pg_sleep(7200)'; fi");
    let config = fs_err::read_to_string(project.root().join("dbd.toml")).unwrap();
    project.config(&format!("{config}[environments.dev]\nmigration_timeout = '4s'\n"));
    let before = project.snapshot();
    let output = project.start().expect(4).outcome("rolled_back");
    output.because("DBD-0410", &["after a part of it was committed"]);
    // The server would have gone on with what was sent to it.
    assert!(!project.finds("select 1 from pg_stat_activity where query = 'select pg_sleep(7200)'"));
    assert_back(&project, &before);
}

/// Kills dbd while the command waits on the target, and resumes.
fn killed_at_the_gate(body: &str, resumed: i32, outcome: &str) -> (Project, Snapshot, Output) {
    let project = tool(body);
    let before = project.snapshot();
    {
        let mut running =
            project.spawn(&["start", "dev", "--allow", "rows_removed", "--reason", "they are old", "--json"]);
        until_at_gate(&mut running, &project, "migrate");
        running.kill();
    }
    let output = {
        let mut again = project.spawn(&["resume", "--last", "--json"]);
        // What is left of the command must not go on by itself.
        again.until_event("the fence", |event| event.kind == "step.fenced");
        open_gate(&project, "migrate");
        again.wait().expect(resumed).outcome(outcome)
    };
    (project, before, output)
}

#[test]
fn a_command_that_was_killed_half_way_is_taken_back_and_not_run_again() {
    let body = format!(
        "if on_target; then echo ran >>ran; fi\nsql 'create table made (id int)'\n\
         if on_target; then ({}); fi\nsql 'create table made_too (id int)'",
        gate("migrate", 0)
    );
    let (project, before, output) = killed_at_the_gate(&body, 4, "rolled_back");
    output.because("DBD-0409", &["was cut off, after a part of it was committed"]);
    assert_eq!(fs_err::read_to_string(project.root().join("ran")).unwrap(), "ran\n");
    assert_back(&project, &before);
}

#[test]
fn a_command_that_was_killed_before_it_changed_anything_is_run_again() {
    let body = format!("if on_target; then ({}); fi\nsql 'create table made (id int)'", gate("migrate", 0));
    let (project, _, _) = killed_at_the_gate(&body, 0, "succeeded");
    assert!(project.finds("select 1 from pg_class where relname = 'made'"));
    project.assert_sound();
}

#[test]
fn a_command_that_had_done_everything_when_it_was_killed_is_done() {
    let change = "sql 'begin; create table made (id int); insert into made values (1); insert into empty_one values (1); \
        update orders set price = price * 2 where id <= 3; commit'";
    let body =
        format!("if on_target; then echo ran >>ran; fi\n{change}\nif on_target; then ({}); fi", gate("migrate", 0));
    let (project, _, _) = killed_at_the_gate(&body, 0, "succeeded");
    assert_eq!(fs_err::read_to_string(project.root().join("ran")).unwrap(), "ran\n");
    assert_eq!(project.rows("select id from made"), ["1"]);
    project.assert_sound();
}

#[test]
fn rows_that_are_still_to_be_removed_are_seen_missing_in_their_number() {
    let body = format!(
        "sql 'create table made (id int)'\nif on_target; then ({}); fi\nsql 'delete from orders where id <= 2'",
        gate("migrate", 0)
    );
    let (project, before, _) = killed_at_the_gate(&body, 4, "rolled_back");
    assert_back(&project, &before);
}

#[test]
fn the_rehearsed_schema_alone_is_no_proof_that_all_rows_are_written() {
    let body = format!(
        "sql 'create table made (id int)'\nif on_target; then ({}); fi\nsql 'insert into empty_one values (1)'",
        gate("migrate", 0)
    );
    let (project, before, _) = killed_at_the_gate(&body, 4, "rolled_back");
    assert_back(&project, &before);
}

#[test]
fn what_a_killed_tool_left_at_work_on_the_server_is_waited_for_before_anything_is_said() {
    // It goes by a name of its own, so nobody can tell its session from the application's.
    let body = "if on_target; then PGAPPNAME=tool; touch waits; fi\nsql 'alter table orders add column paid boolean'";
    let project = tool(body);
    let before = project.snapshot();
    let mut running = project.spawn(&["start", "dev", "--json"]);
    running.until_event("the end of the rehearsal", |event| event.intends("drop_sandbox"));
    let reader = project.session();
    reader.sql("begin; select count(*) from orders");
    let waiting = "select 1 from pg_stat_activity where application_name = 'tool' and wait_event_type = 'Lock'";
    assert!(running.until("the tool to wait for its lock", || project.finds(waiting)), "dbd ended before");
    running.kill();
    let mut resumed = project.spawn(&["-v", "resume", "--last", "--json"]);
    let said = || project.said().contains("may still be at work for the command");
    assert!(resumed.until("the session to be named", said), "dbd ended before");
    assert!(project.finds(waiting), "nobody ended what may be the application's");
    // Now its statement is done, long after its client is gone.
    reader.sql("rollback");
    let output = resumed.wait();
    // All of it is done: the schema is the rehearsed one, and it wrote no row in the sandbox.
    output.expect(0).outcome("succeeded");
    assert!(project.finds("select 1 from pg_attribute where attrelid = 'orders'::regclass and attname = 'paid'"));
    assert_ne!(project.snapshot().schema, before.schema);
    drop(reader);
    project.assert_sound();
}

#[test]
fn a_command_that_was_stopped_half_way_is_taken_back_by_the_next_resume() {
    let project = tool(&format!(
        "sql 'create table made (id int)'\nif on_target; then ({}); fi\nsql 'create table made_too (id int)'",
        gate("migrate", 0)
    ));
    let before = project.snapshot();
    let mut running = project.spawn(&["start", "dev", "--json"]);
    until_at_gate(&mut running, &project, "migrate");
    running.signal(Signal::INT);
    let heard = || project.said().contains("stopping after the step");
    assert!(running.until("the signal to be heard", heard), "dbd ended before");
    // It does not wait for the command any more.
    running.signal(Signal::INT);
    running.wait().expect(75);
    project.dbd(&["resume", "--last", "--json"]).expect(4).outcome("rolled_back");
    assert_back(&project, &before);
}

// Other steps that commit as they go

/// A procedure that commits a part and fails on the target.
fn call_half(project: &Project) {
    project.sql(&format!(
        "create procedure halve() language plpgsql as $$ begin \
           update orders set price = price / 2 where id <= 3; commit; \
           perform pg_advisory_lock(4711); \
           if current_database() = '{}' then raise exception 'not on this one'; end if; \
         end $$",
        project.database
    ));
    project.migration("0001_halve", "-- dbd: no-transaction\ncall halve();\n");
}

#[test]
fn a_procedure_that_fails_after_a_commit_is_taken_back_by_the_swap_and_what_others_wrote_stays() {
    let mut project = Project::new();
    project.with_sandboxes_on_the_server();
    call_half(&project);
    let before = project.snapshot();
    let row = "select price from orders where id <= 3 order by id";
    let prices = project.rows(row);
    project.quiet();
    let mut running = project.spawn(&["start", "dev", "--json"]);
    running.until_event("the capture to be on", |event| event.intends("raise_shadow"));
    let other = project.session();
    other.sql("select pg_advisory_lock(4711)");
    let waits = "select 1 from pg_stat_activity where query = 'call halve()' and wait_event = 'advisory'";
    assert!(running.until("the procedure to have committed", || project.finds(waits)), "dbd ended before");
    other.sql("insert into orders (customer, price, old_note) values (1, 4711, 'paid meanwhile')");
    drop(other);
    let output = running.wait().expect(4).outcome("rolled_back");
    output.because("DBD-0401", &["a part of it may be committed", "not on this one"]);
    assert!(did(&project, "swap"), "{:?}", project.events());
    assert_eq!(project.rows(row), prices);
    assert_eq!(project.value("select count(*) from orders where old_note = 'paid meanwhile'"), "1");
    assert_eq!(project.snapshot().schema, before.schema);
    project.assert_sound();
}

#[test]
fn a_procedure_that_fails_after_a_commit_is_taken_back_by_the_backup_once_somebody_says_so() {
    let mut project = Project::new();
    project.with_sandboxes_on_the_server();
    project.config(super::rolled_back::BY_THE_BACKUP);
    call_half(&project);
    let before = project.snapshot();
    let halted =
        project.start().expect(5).outcome("needs_operator").because("DBD-0603", &["3 row(s) in public.orders"]);
    project.dbd(&["rollback", &halted.run(), "--yes", "--json"]).expect(0).outcome("rolled_back");
    assert_back(&project, &before);
}

/// A project with batches of which the third fails on the target.
fn batches() -> Project {
    let mut project = Project::new();
    project.with_sandboxes_on_the_server();
    project.config(super::rolled_back::BY_THE_BACKUP);
    project.sql(&format!(
        "create function here() returns boolean language sql volatile as $$ select current_database() = '{}' $$; \
         create table big (id int primary key, n int); insert into big select i, i from generate_series(1, 50) i",
        project.database
    ));
    project.migration(
        "0001_batches",
        "-- dbd: batch size=10\nupdate big set n = case when here() and id > 25 then 1 / (n - n) else n + 1 end;",
    );
    project
}

#[test]
fn batches_that_fail_half_way_are_no_rollback_of_nothing() {
    let project = batches();
    let before = project.snapshot();
    let halted = project.start().expect(5).outcome("needs_operator");
    let halted = halted.because("DBD-0603", &["20 row(s) in public.big", "a part of it may be committed"]);
    project.dbd(&["rollback", &halted.run(), "--yes", "--json"]).expect(0).outcome("rolled_back");
    assert_back(&project, &before);
}

#[test]
fn batches_of_an_earlier_try_count_though_the_next_one_fails_at_once() {
    let project = batches();
    let before = project.snapshot();
    let other = project.session();
    {
        let mut running = project.spawn(&["start", "dev", "--json"]);
        running.until_event("the end of the rehearsal", |event| event.intends("drop_sandbox"));
        other.sql("begin; select * from big where id = 21 for update");
        let there = "select 1 from pg_class where relname = 'batch' and relnamespace = to_regnamespace('dbd')";
        let two = || project.finds(there) && project.finds("select 1 from dbd.batch where batches >= 2");
        assert!(running.until("two batches", two), "dbd ended before");
        running.kill();
    }
    other.sql("rollback");
    drop(other);
    let halted = project.dbd(&["resume", "--last", "--json"]).expect(5).outcome("needs_operator");
    let halted = halted.because("DBD-0603", &["20 row(s) in public.big", "a part of it may be committed"]);
    project.dbd(&["rollback", &halted.run(), "--yes", "--json"]).expect(0).outcome("rolled_back");
    assert_back(&project, &before);
}
