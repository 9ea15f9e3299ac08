//! Locks, time limits, sessions that are ended and servers that go away while a migration is under way.

use super::rolled_back::{assert_back, gate, open_gate, until_at_gate};
use super::stopped::{WAITS, closed, migrating, three_with_a_wait, until_waiting};
use crate::support::pg;
use crate::support::project::Project;
use std::collections::BTreeSet;

/// A migration that needs a lock on `orders`, after one that needs none; and a gate before the deployment, while everything is free.
fn needs_a_lock(project: &Project, budget: &str) {
    project
        .migration("0001_free", "create table free as select 1 as id;")
        .migration("0002_lock", "insert into free values (2);\nalter table orders add column paid boolean;\n")
        .config(&format!(
            "[tests]\ncommand = '{}'\n[environments.dev]\nlock_timeout = '50ms'\nlock_budget = '{budget}'\n",
            gate("tests", 0)
        ));
}

/// How often a migrating session was seen to wait for a lock: each try has a session of its own.
fn waiting_for_a_lock(project: &Project) -> Vec<String> {
    project.rows(&format!(
        "select pid from pg_stat_activity where datname = '{}' and application_name like 'dbd:%' and wait_event_type = 'Lock'",
        project.database
    ))
}

#[test]
fn a_lock_that_is_not_to_be_had_is_tried_for_and_then_everything_goes_back() {
    let project = Project::new();
    needs_a_lock(&project, "700ms");
    let before = project.snapshot();
    let mut running = project.spawn(&["start", "dev", "--json"]);
    until_at_gate(&mut running, &project, "tests");
    let holder = project.session();
    holder.sql("begin; lock table orders in share mode");
    open_gate(&project, "tests");
    // The restore of what the first migration did needs the lock as well; it is free again once the deployment has failed.
    running.until_event("the rollback", |event| event.kind == "rollback.started");
    holder.sql("rollback");
    let output = running.wait().expect(4).because("DBD-0402", &["migrations/0002_lock.sql:2", "tried", "lock_budget"]);
    assert_back(&project, &output, &before);
}

#[test]
fn a_lock_that_is_let_go_in_time_is_only_waited_for() {
    let project = Project::new();
    project
        .migration("0001_waits", WAITS)
        .migration("0002_lock", "alter table orders add column paid boolean;")
        .config("[environments.dev]\nlock_timeout = '50ms'\nlock_budget = '10m'\n");
    let way = closed(&project);
    let mut running = project.spawn(&["start", "dev", "--json"]);
    until_waiting(&mut running, &project);
    let holder = project.session();
    holder.sql("begin; lock table orders in access exclusive mode");
    drop(way);
    let seen = std::cell::RefCell::new(BTreeSet::new());
    let tried_twice = || {
        seen.borrow_mut().extend(waiting_for_a_lock(&project));
        seen.borrow().len() > 1
    };
    assert!(running.until("a second try", tried_twice), "dbd ended while the lock was held");
    holder.sql("rollback");
    let output = running.wait().expect(0).outcome("succeeded");
    let tries = project.events().iter().filter_map(|event| event.body["outcome"]["tries"].as_u64()).max();
    assert!(tries > Some(1), "{output:?}");
    project.assert_sound();
}

#[test]
fn a_migration_that_takes_too_long_is_taken_back() {
    let project = Project::new();
    three_with_a_wait(&project);
    project.config("[environments.dev]\nmigration_timeout = '1500ms'\n");
    let before = project.snapshot();
    let _way = closed(&project);
    let output = project.start().expect(4).because("DBD-0403", &["0002_waits.sql", "migration_timeout"]);
    assert_back(&project, &output, &before);
}

#[test]
fn a_migrating_session_that_is_ended_is_looked_up_and_tried_again() {
    let project = Project::new();
    three_with_a_wait(&project);
    let way = closed(&project);
    let mut running = project.spawn(&["start", "dev", "--json"]);
    until_waiting(&mut running, &project);
    project.rows(&format!("select pg_terminate_backend(pid) from ({}) m", migrating(&project)));
    running.until_event("a verdict", |event| {
        event.kind == "step.reconciled" && event.body["verdict"]["verdict"] == "not_applied"
    });
    drop(way);
    running.wait().expect(0).outcome("succeeded");
    assert_eq!(project.rows("select id from first_one order by 1"), ["1", "2", "3"]);
    assert_eq!(project.tracking(), ["0001_first", "0002_waits", "0003_last"]);
    project.assert_sound();
}

#[test]
fn a_migration_that_ends_its_own_session_every_time_is_not_tried_for_ever() {
    let project = Project::new();
    project
        .migration("0001_first", "create table first_one as select 1 as id;")
        .migration(
            "0002_suicide",
            "do $$ begin if current_setting('wal_level') = 'logical' then perform pg_terminate_backend(pg_backend_pid()); end if; end $$;",
        );
    let before = project.snapshot();
    let output = project.start().expect(4).because("DBD-0408", &["0002_suicide"]);
    assert_back(&project, &output, &before);
}

#[test]
fn a_server_that_crashes_under_a_migration_is_waited_for() {
    static SERVER: std::sync::OnceLock<pg::Server> = std::sync::OnceLock::new();
    let server = SERVER.get_or_init(|| pg::another("crash"));
    let project = Project::on_own_server(server);
    three_with_a_wait(&project);
    let way = closed(&project);
    let mut running = project.spawn(&["start", "dev", "--json"]);
    until_waiting(&mut running, &project);
    server.crash();
    drop(way);
    // It looks what became of the step, and cannot; the server comes back while it does.
    server.recover();
    let output = running.wait();
    let finished = match output.code {
        Some(0) => output,
        // Under load it may have given up waiting: then it rests, and goes on later.
        _ => project.dbd(&["resume", &output.expect(75).run(), "--json"]),
    };
    finished.expect(0).outcome("succeeded");
    assert_eq!(project.rows("select id from first_one order by 1"), ["1", "2", "3"]);
    assert_eq!(project.tracking(), ["0001_first", "0002_waits", "0003_last"]);
    project.assert_sound();
}

#[test]
fn somebody_who_keeps_a_table_locked_is_no_reason_to_wait_for_ever() {
    let project = Project::new();
    project.migration("0001_free", "create table free as select 1 as id;");
    let holder = project.session();
    holder.sql("begin; lock table orders in access exclusive mode");
    let output = project.start().expect(3).because("DBD-0402", &["pg_locks"]);
    holder.sql("rollback");
    assert_eq!(output.json()["outcome"], "refused");
    project.assert_sound();
}

#[test]
fn a_statement_outside_a_transaction_is_looked_up_in_the_catalog() {
    let project = Project::new();
    project.migration(
        "0001_alone",
        &format!(
            "create table t (id int);\ncreate index concurrently t_id on t (id);\n{WAITS}\n\
             drop index concurrently t_id;\ncreate index concurrently t_id2 on t (id);\n"
        ),
    );
    let way = closed(&project);
    let mut running = project.spawn(&["start", "dev", "--json"]);
    until_waiting(&mut running, &project);
    running.kill();
    drop(way);
    // A build that waits for somebody's old snapshot is killed half-way: what it leaves is an invalid index.
    let old = project.session();
    old.sql("begin isolation level repeatable read; insert into customers (name) values ('keeps builds waiting')");
    let mut running = project.spawn(&["resume", "--last", "--json"]);
    let half_way = "select 1 from pg_index where indexrelid::regclass::text = 't_id2' and not indisvalid";
    assert!(running.until("the build to be half-way", || project.finds(half_way)), "dbd ended before");
    running.kill();
    assert!(project.finds(half_way));
    old.sql("rollback");
    project.dbd(&["resume", "--last", "--json"]).expect(0).outcome("succeeded");
    assert_eq!(
        project.rows("select indexrelid::regclass, indisvalid from pg_index where indrelid = 't'::regclass"),
        ["t_id2|t"]
    );
    assert_eq!(project.tracking(), ["0001_alone"]);
    project.assert_sound();
}
