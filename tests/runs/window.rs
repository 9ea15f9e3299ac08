//! The rollback window: who looks after it between two commands, and what is left when it is over.

use crate::support::project::{Output, Project, Running, watching_command_lines};
use dbd_journal::lock_target;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::time::Instant;

/// A deployment that goes back by a swap, as a user would have it: `rollback` is the section of that name, `window` how long it stays open.
fn deployed(project: &Project, rollback: &str, window: &str) -> Output {
    project.migration(
        "0001_change",
        "drop view dear cascade;\nalter table orders alter column price type numeric(14, 2), add column paid boolean not null default false;\n",
    );
    project.config(&format!(
        "[rollback]\nin_place = false\nwatch_interval = '200ms'\n{rollback}\n[environments.dev]\nrollback_window = '{window}'\n"
    ));
    project.quiet();
    project.start().expect(0).outcome("succeeded")
}

/// A row that the old shape has no room for, and what is said of it.
const TOO_MUCH: &str = "insert into orders (customer, price, paid) values (1, 99999999999, true)";
const ROOM: &str = "numeric field overflow";

/// Waits until `happened`, which nobody here makes happen.
#[track_caller]
fn until(project: &Project, what: &str, happened: impl Fn() -> bool) {
    let deadline = Instant::now() + crate::support::project::DEADLINE;
    while !happened() {
        assert!(Instant::now() < deadline, "waited in vain for {what}\n{:#?}\n{}", project.events(), log(project));
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// What the watcher of the newest run wrote down.
fn log(project: &Project) -> String {
    fs_err::read_to_string(project.artifact(&project.run_in_journal(), "watch.log")).unwrap_or_default()
}

/// The process that watches `run`, if one does.
fn watcher(project: &Project, run: &str) -> Option<Pid> {
    let mine = dbd_journal::LockOwner {
        pid: std::process::id(),
        host: "tests".to_owned(),
        run: "a look".to_owned(),
        since_ms: 0,
    };
    match lock_target(project.journal(), &format!("{run}.watch"), &mine) {
        Err(dbd_journal::LockError::Held { owner: Some(owner), .. }) => Pid::from_raw(owner.pid.try_into().unwrap()),
        _ => None,
    }
}

#[track_caller]
fn watched(project: &Project, run: &str) -> Pid {
    watcher(project, run).unwrap_or_else(|| panic!("nobody watches {run}\n{}", log(project)))
}

/// Waits until a process that is no child of this one is gone.
#[track_caller]
fn until_gone(project: &Project, pid: Pid) {
    until(project, "the end of the watcher", || {
        match fs_err::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())) {
            // Whoever inherits it may be late to look.
            Ok(stat) => stat.contains(") Z "),
            Err(_) => test_kill_process(pid).is_err(),
        }
    });
}

fn count(project: &Project, kind: &str) -> usize {
    project.events().iter().filter(|event| event.kind == kind).count()
}

fn captured(project: &Project) -> bool {
    project.finds("select from pg_namespace where nspname = 'dbd_capture'")
}

#[test]
fn when_the_window_is_over_the_capture_and_the_copy_go_without_another_command() {
    let project = Project::new();
    let output = watching_command_lines(|| deployed(&project, "", "3s"));
    let run = output.run();
    assert!(output.stderr.contains("watched by pid"), "{output:?}");
    until(&project, "the end of the capture", || count(&project, "capture.ended") == 1);
    // Triggers, schema, copy: all of it, and the watcher with it.
    until(&project, "the end of the watcher", || watcher(&project, &run).is_none());
    assert!(log(&project).contains("its window is over"), "{}", log(&project));
    assert_eq!(count(&project, "way.checked"), 0, "a round without news was recorded");
    project.assert_sound();
}

#[test]
fn a_row_the_old_shape_cannot_hold_is_in_the_status_while_nobody_runs_anything() {
    let project = Project::new();
    let run = deployed(&project, "", "1h").run();
    assert!(project.dbd(&["status", &run]).expect(0).stdout.contains("watched by pid"));
    project.sql("insert into orders (customer, price, paid) values (2, 12, true)");
    project.sql(TOO_MUCH);
    until(&project, "the news", || count(&project, "way.checked") > 0 && log(&project).contains(ROOM));
    for command in ["status", "show"] {
        let told = project.dbd(&[command, &run]).expect(0).stdout;
        assert!(told.contains(ROOM) && told.contains("orders"), "{command}: {told}");
    }
    let document = project.dbd(&["status", &run, "--json"]).expect(0).json();
    assert!(document["window"]["blocked"].as_str().is_some_and(|why| why.contains(ROOM)), "{document}");
    assert!(log(&project).contains(ROOM), "{}", log(&project));
    // It is not told again and again, and the way back says it before anything is done.
    project.dbd(&["rollback", &run, "--json"]).expect(5).because("DBD-0605", &[ROOM, "orders"]);
    assert_eq!(project.dbd(&["status", &run, "--json"]).json()["state"], "succeeded");
    let before = count(&project, "way.checked");
    project.sql(TOO_MUCH);
    let pid = watched(&project, &run);
    kill_process(pid, Signal::KILL).unwrap();
    until_gone(&project, pid);
    let once = project.dbd(&["watch", &run, "--once", "--json"]).expect(0).json();
    assert!(once["readiness"]["blocked"].as_str().is_some_and(|why| why.contains(ROOM)), "{once}");
    assert_eq!(count(&project, "way.checked"), before);
    // The way by the backup is still there, and takes everything of the capture away.
    project.dbd(&["rollback", &run, "--restore", "--yes", "--json"]).expect(0).outcome("rolled_back");
    project.assert_sound();
}

#[test]
fn a_rollback_goes_through_while_the_window_is_watched_and_ends_the_watch() {
    let project = Project::new();
    let before = project.snapshot();
    let run = deployed(&project, "", "1h").run();
    let pid = watched(&project, &run);
    project.sql("insert into orders (customer, price, paid) values (2, 12, true)");
    project.sql("delete from orders where id = 7");
    project.quiet();
    let output = project.dbd(&["rollback", &run, "--json"]).expect(0).outcome("rolled_back");
    assert_eq!(project.snapshot().schema, before.schema, "{output:?}");
    assert_eq!(project.value("select count(*) from orders where price = 12 and id > 120"), "1");
    assert_eq!(project.value("select count(*) from orders where id = 7"), "0");
    until_gone(&project, pid);
    assert!(log(&project).contains("it was taken back"), "{}", log(&project));
    project.assert_sound();
}

#[test]
fn a_watcher_that_is_killed_loses_nothing_and_the_next_one_goes_on() {
    let project = Project::new();
    let run = deployed(&project, "", "1h").run();
    let pid = watched(&project, &run);
    let second = project.dbd(&["watch", &run, "--json"]).expect(7).because("DBD-0701", &["is watched already", &run]);
    assert!(second.stdout.contains(&pid.as_raw_nonzero().to_string()), "{second:?}");
    kill_process(pid, Signal::KILL).unwrap();
    until_gone(&project, pid);
    assert!(project.dbd(&["status", &run]).expect(0).stdout.contains("nothing watches it"));
    project.sql("insert into orders (customer, price, paid) values (3, 13, true)");
    let once = project.dbd(&["watch", &run, "--once", "--json"]).expect(0).json();
    assert_eq!((&once["state"], &once["readiness"]["level"]), (&"open".into(), &true.into()), "{once}");
    assert_eq!(once["readiness"]["rows"], 1, "{once}");
    project.quiet();
    project.dbd(&["rollback", &run, "--json"]).expect(0).outcome("rolled_back");
    assert_eq!(project.value("select count(*) from orders where price = 13 and id > 120"), "1");
    let over = project.dbd(&["watch", &run, "--once", "--json"]).expect(0).json();
    assert_eq!(over["state"], "over", "{over}");
    project.assert_sound();
}

#[test]
fn a_round_that_hangs_does_not_keep_a_rollback_out() {
    let project = Project::new();
    let run = deployed(&project, "watch = 'never'", "1h").run();
    // Somebody holds what was captured, so that a round cannot remove what it has replayed.
    let other = project.session();
    other.sql("begin; lock table dbd_capture.change in share mode");
    project.sql("select 1");
    let mut watching: Running<'_> = project.spawn(&["watch", &run]);
    let waits = "select from pg_stat_activity where wait_event_type = 'Lock' and query like '%dbd_capture.change%' and application_name like 'dbd%'";
    assert!(watching.until("a round that hangs", || project.finds(waits)));
    let mut gc = project.spawn(&["sandbox", "gc"]);
    assert!(gc.until("the round cut off", || !project.finds(waits)) || !gc.is_running());
    other.sql("rollback");
    drop(other);
    gc.wait().expect(0);
    assert!(watching.is_running(), "it goes on with the next round");
    project.quiet();
    project.dbd(&["rollback", &run, "--json"]).expect(0).outcome("rolled_back");
    watching.wait().expect(0);
    project.assert_sound();
}

#[test]
fn what_a_killed_watcher_left_at_work_on_the_server_is_ended_before_anybody_replays() {
    let project = Project::new();
    let run = deployed(&project, "watch = 'never'", "1h").run();
    let other = project.session();
    other.sql("begin; lock table dbd_capture.change in share mode");
    let mut watching = project.spawn(&["watch", &run]);
    let waiting = "select pid from pg_stat_activity where wait_event_type = 'Lock' and query like '%dbd_capture.change%' and application_name like 'dbd%'";
    assert!(watching.until("a round under way", || project.finds(waiting)));
    let backend = project.value(waiting);
    watching.kill();
    let mut back = project.spawn(&["rollback", &run, "--json"]);
    assert!(back.until("a replay of the rollback", || project.finds(&format!("{waiting} and pid <> {backend}"))));
    assert!(!project.finds(&format!("select from pg_stat_activity where pid = {backend}")), "two replay");
    other.sql("rollback");
    drop(other);
    back.wait().expect(0).outcome("rolled_back");
    project.assert_sound();
}

#[test]
fn a_watcher_ends_with_the_project_it_watches_for() {
    let project = Project::new();
    let run = deployed(&project, "", "1h").run();
    let pid = watched(&project, &run);
    fs_err::remove_dir_all(project.root()).unwrap();
    until_gone(&project, pid);
}

#[test]
fn nothing_watches_where_it_must_not_and_that_is_said_plainly() {
    let mut project = Project::new();
    project.set("CI", "true");
    let output = deployed(&project, "", "1h");
    let run = output.run();
    assert!(output.stderr.contains("nothing watches its rollback window"), "{output:?}");
    assert!(output.stderr.contains(&format!("dbd watch {run}")), "{output:?}");
    assert!(watcher(&project, &run).is_none() && log(&project).is_empty());
    assert!(captured(&project));
    // A second deployment ends it, as ever.
    project.migration("0002_more", "create table more (id int primary key);\n");
    project.start().expect(0).outcome("succeeded");
    assert_eq!(count(&project, "capture.ended"), 1);
    let over = project.dbd(&["watch", &run, "--once", "--json"]).expect(0).json();
    assert_eq!(over["state"], "over", "{over}");
    project.assert_sound();
}

#[test]
fn a_slot_that_keeps_too_much_is_dropped_and_that_is_said() {
    let server = Box::leak(Box::new(crate::support::pg::another("slot")));
    let project = Project::on_own_server(server);
    project.elsewhere("alter role deployer replication");
    let run = deployed(&project, "capture = 'slot'\nslot_limit_mb = 64\nwatch = 'never'", "1h").run();
    let slots = "select slot_name from pg_replication_slots where database = 'target'";
    assert_eq!(project.rows(slots).len(), 1);
    // Whole segments of the log lie behind it.
    for _ in 0..6 {
        project.rows("select pg_logical_emit_message(false, 'dbd tests', 'one more'), pg_switch_wal()");
    }
    let once = project.dbd(&["watch", &run, "--once"]).expect(0);
    assert!(once.stderr.contains("it was dropped") && once.stderr.contains("would lose"), "{once:?}");
    assert!(project.rows(slots).is_empty());
    assert!(project.dbd(&["status", &run]).expect(0).stdout.contains("it was dropped"));
    assert_eq!(count(&project, "way.checked"), 1);
    project.dbd(&["watch", &run, "--once"]).expect(0);
    assert_eq!(count(&project, "way.checked"), 1, "it is news once");
    project.dbd(&["rollback", &run, "--restore", "--yes", "--json"]).expect(0).outcome("rolled_back");
    project.assert_sound();
}

#[test]
fn a_slot_goes_with_its_window_without_another_command() {
    let server = Box::leak(Box::new(crate::support::pg::another("window")));
    let project = Project::on_own_server(server);
    project.elsewhere("alter role deployer replication");
    let output = watching_command_lines(|| deployed(&project, "capture = 'slot'", "4s"));
    let run = output.run();
    assert!(output.stderr.contains("watched by pid"), "{output:?}");
    // The window may be over before anybody could look for it: the plan tells that there was one.
    let by_slot = project.events().iter().any(|event| event.body["plan"]["capture"] == "slot");
    assert!(by_slot, "{:#?}", project.events());
    until(&project, "the end of the capture", || count(&project, "capture.ended") == 1);
    until(&project, "the end of the watcher", || watcher(&project, &run).is_none());
    assert!(log(&project).contains("its window is over"), "{}", log(&project));
    // A slot that stays keeps the server's log until the disk is full.
    assert!(project.rows("select slot_name from pg_replication_slots").is_empty());
    assert!(project.rows("select pubname from pg_publication").is_empty());
    project.assert_sound();
}
