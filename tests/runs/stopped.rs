//! Runs that are stopped half-way by somebody who asks politely: they rest, and go on later.

use super::rolled_back::{change_much, gate, open_gate, until_at_gate};
use crate::support::project::{Project, Running, Session};
use rustix::process::Signal;

/// A statement that on the target waits until the test's session lets go of a lock; in the sandbox it does nothing. It asks for no
/// lock itself, so no lock timeout ends it.
pub const WAITS: &str = "do $$ begin\n  \
    while current_setting('wal_level') = 'logical'\n    \
      and exists (select from pg_locks where locktype = 'advisory' and objid = 4711 and database = (select oid from pg_database where datname = current_database()))\n  \
    loop perform pg_sleep(0.01); end loop;\nend $$;";

/// Closes the way for [`WAITS`].
pub fn closed<'p>(project: &'p Project) -> Session<'p> {
    let session = project.session();
    session.sql("select pg_advisory_lock(4711)");
    session
}

/// Waits until the migrating session waits.
#[track_caller]
pub fn until_waiting(running: &mut Running<'_>, project: &Project) {
    assert!(running.until("the migration to wait", || project.finds(&migrating(project))), "dbd ended before");
}

/// The backends that are at [`WAITS`].
pub fn migrating(project: &Project) -> String {
    format!(
        "select pid from pg_stat_activity where datname = '{}' and application_name like 'dbd:%' and state = 'active' and query like '%4711%'",
        project.database
    )
}

/// Three migrations, the second of which waits.
pub fn three_with_a_wait(project: &Project) {
    project
        .migration("0001_first", "create table first_one as select 1 as id;")
        .migration(
            "0002_waits",
            &format!("insert into first_one values (2);\n{WAITS}\ninsert into customers (name) values ('by 0002');"),
        )
        .migration("0003_last", "insert into first_one values (3);");
}

#[test]
fn asked_once_it_finishes_the_step_under_way_and_rests() {
    for signal in [Signal::INT, Signal::TERM] {
        let project = Project::new();
        change_much(&project);
        project.config(&format!("[tests]\ncommand = '{}'\n", gate("tests", 0)));
        let mut running = project.spawn(&["start", "dev", "--json"]);
        until_at_gate(&mut running, &project, "tests");
        running.signal(signal);
        open_gate(&project, "tests");
        let output = running.wait().expect(75).outcome("interrupted");
        assert!(output.stderr.contains("dbd resume"), "{output:?}");
        assert_eq!(project.value("select to_regnamespace('dbd') is null"), "t");
        project.dbd(&["resume", &output.run(), "--json"]).expect(0).outcome("succeeded");
        assert_eq!(project.tracking(), ["0001_change", "0002_units"]);
        project.assert_sound();
    }
}

#[test]
fn stopped_between_two_migrations_it_goes_on_or_is_taken_back() {
    let project = Project::new();
    three_with_a_wait(&project);
    let before = project.snapshot();
    let stop = || {
        let way = closed(&project);
        let mut running = project.spawn(&["start", "dev", "--json"]);
        until_waiting(&mut running, &project);
        running.signal(Signal::TERM);
        assert!(
            running.until("the signal to be heard", || running_said(&project, "stopping after the step")),
            "it ended"
        );
        drop(way);
        let output = running.wait().expect(75).outcome("interrupted");
        assert_eq!(project.tracking(), ["0001_first", "0002_waits"]);
        output.run()
    };
    let run = stop();
    // What may have changed the target comes first.
    project.start().expect(7).because("DBD-0701", &[&run, "dbd resume"]);
    project.dbd(&["cancel", &run, "--json"]).expect(0);
    let output = project.dbd(&["resume", &run, "--json"]).expect(4).because("DBD-0705", &["tester"]);
    super::rolled_back::assert_back(&project, &output, &before);

    let run = stop();
    project.dbd(&["resume", "--last", "--json"]).expect(0).outcome("succeeded");
    assert_eq!(project.run_in_journal(), run);
    assert_eq!(project.rows("select id from first_one order by 1"), ["1", "2", "3"]);
    assert_eq!(project.value("select count(*) from customers where name = 'by 0002'"), "1");
    project.assert_sound();
}

/// Whether any process of dbd has said this on its standard error.
fn running_said(project: &Project, text: &str) -> bool {
    project.said().contains(text)
}

#[test]
fn asked_twice_it_stops_at_once_and_what_was_under_way_is_looked_up() {
    let project = Project::new();
    three_with_a_wait(&project);
    let way = closed(&project);
    let mut running = project.spawn(&["start", "dev", "--json"]);
    until_waiting(&mut running, &project);
    running.signal(Signal::INT);
    assert!(running.until("the signal to be heard", || running_said(&project, "stopping after the step")), "it ended");
    running.signal(Signal::INT);
    // The way is still closed: it cannot have waited for the step.
    let output = running.wait().expect(75).outcome("interrupted");
    assert_eq!(project.tracking(), ["0001_first"]);
    drop(way);
    project.dbd(&["resume", &output.run(), "--json"]).expect(0).outcome("succeeded");
    assert_eq!(project.rows("select id from first_one order by 1"), ["1", "2", "3"]);
    project.assert_sound();

    // The same with a command: it is ended with everything it had started.
    project
        .migration("0004_more", "create table more (id int);")
        .write(
            "tests.sh",
            "sleep 7200.5 &\n(trap '' INT TERM; sleep 7200.5) &\necho $! >child; touch tests-began; wait\n",
        )
        .config("[tests]\ncommand = 'sh tests.sh'\n");
    let mut running = project.spawn(&["start", "dev", "--json"]);
    until_at_gate(&mut running, &project, "tests");
    running.signal(Signal::TERM);
    assert!(
        running.until("the signal to be heard", || project.said().matches("stopping after the step").count() == 2),
        "it ended"
    );
    running.signal(Signal::TERM);
    let output = running.wait().expect(75);
    // What is run is frozen; the script it names is the user's.
    project.write("tests.sh", "exit 0");
    project.dbd(&["resume", &output.run(), "--json"]).expect(0).outcome("succeeded");
    let child = fs_err::read_to_string(project.root().join("child")).unwrap();
    // It was killed; whoever inherited it may not have looked after it yet.
    let alive = || {
        let status = fs_err::read_to_string(std::path::Path::new("/proc").join(child.trim()).join("stat"));
        status.is_ok_and(|status| !status.rsplit(')').next().unwrap_or_default().trim_start().starts_with(['Z', 'X']))
    };
    assert!(!alive(), "the command's child outlived the run");
    project.assert_sound();
}

#[test]
fn a_file_that_changed_since_the_plan_is_refused_with_both_digests() {
    let project = Project::new();
    three_with_a_wait(&project);
    project.config(&format!("[tests]\ncommand = '{}'\n", gate("tests", 0)));
    let mut running = project.spawn(&["start", "dev", "--json"]);
    until_at_gate(&mut running, &project, "tests");
    running.signal(Signal::TERM);
    assert!(running.until("the signal to be heard", || running_said(&project, "stopping after the step")), "it ended");
    open_gate(&project, "tests");
    let run = running.wait().expect(75).run();
    let path = project.root().join("migrations/0003_last.sql");
    let text = fs_err::read_to_string(&path).unwrap();
    project.migration("0003_last", "drop table first_one;");
    let digest = |text: &str| dbd::domain::digest::Digest::of(text).short().to_owned();
    let refused = project.dbd(&["resume", &run, "--json"]).expect(3);
    refused.because("DBD-0210", &["migrations/0003_last.sql", &digest(&text), &digest("drop table first_one;")]);
    assert_eq!(project.value("select to_regnamespace('dbd') is null"), "t");
    project.migration("0003_last", &text);
    project.dbd(&["resume", &run, "--json"]).expect(0).outcome("succeeded");
    project.assert_sound();
}
