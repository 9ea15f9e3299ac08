//! Sessions and servers that end at the wrong moment: a connection cut before or after the commit, a deadlock, a server that crashes in each
//! phase, a target that is gone.

use super::rolled_back::{assert_back, gate, open_gate, until_at_gate};
use super::stopped::{WAITS, closed, three_with_a_wait, until_waiting};
use crate::support::pg;
use crate::support::project::Project;
use crate::support::proxy::{Cut, Proxy};

/// A project whose target is reached through a proxy that cuts a migrating session at its second COMMIT.
fn cut(cut: Cut) -> (Project, Proxy) {
    let mut project = Project::new();
    project
        .migration("0001_first", "create table first_one as select 1 as id;")
        .migration("0002_second", "insert into first_one values (2);")
        .migration("0003_third", "insert into first_one values (3);");
    let proxy = Proxy::before(pg::server(), cut);
    let url = format!(
        "postgres://{}:{}@127.0.0.1:{}/{}?sslmode=disable",
        pg::DEPLOYER,
        Project::password(),
        proxy.port,
        project.database
    );
    project.set("DEV_POSTGRES_URL", &url);
    (project, proxy)
}

#[test]
fn a_connection_cut_before_or_after_the_commit_costs_nothing_and_applies_nothing_twice() {
    for (how, verdict) in [(Cut::BeforeCommit, "not_applied"), (Cut::AfterCommit, "applied")] {
        let (project, proxy) = cut(how);
        let output = project.start();
        assert_eq!(proxy.cuts(), 1, "{output:?}");
        output.expect(0).outcome("succeeded");
        let verdicts: Vec<_> = project
            .events()
            .into_iter()
            .filter(|event| event.kind == "step.reconciled")
            .map(|event| event.body["verdict"]["verdict"].as_str().unwrap_or_default().to_owned())
            .collect();
        assert_eq!(verdicts, [verdict]);
        assert_eq!(project.rows("select id from first_one order by 1"), ["1", "2", "3"]);
        assert_eq!(project.tracking(), ["0001_first", "0002_second", "0003_third"]);
        project.assert_sound();
    }
}

#[test]
fn a_client_killed_while_the_server_works_on_is_fenced_before_anybody_looks() {
    let project = Project::new();
    three_with_a_wait(&project);
    let way = closed(&project);
    let mut running = project.spawn(&["start", "dev", "--json"]);
    until_waiting(&mut running, &project);
    running.kill();
    // The way stays closed: the backend would wait for ever, and is ended by the next process.
    let output = project.spawn(&["resume", "--last", "--json"]);
    let mut output = output;
    output.until_event("the verdict", |event| {
        event.kind == "step.reconciled" && event.body["verdict"]["verdict"] == "not_applied"
    });
    drop(way);
    output.wait().expect(0).outcome("succeeded");
    assert_eq!(project.rows("select id from first_one order by 1"), ["1", "2", "3"]);
    let fenced = project.events().into_iter().find(|event| event.kind == "step.fenced").unwrap();
    assert!(fenced.body["evidence"].as_str().unwrap().contains("ended, none is left"), "{}", fenced.body);
    project.assert_sound();
}

#[test]
fn a_deadlock_is_a_lock_that_was_not_to_be_had_and_is_tried_again() {
    let project = Project::new();
    project.rows(&format!("alter database {} set deadlock_timeout = '200ms'", project.database));
    project
        .migration("0001_waits", WAITS)
        .migration("0002_both", "alter table customers add column one int;\nalter table orders add column two int;\n")
        .config("[environments.dev]\nlock_timeout = '20s'\nlock_budget = '2m'\n");
    let way = closed(&project);
    let mut running = project.spawn(&["start", "dev", "--json"]);
    until_waiting(&mut running, &project);
    let holder = project.session();
    holder.sql("set deadlock_timeout = '1h'; begin; lock table orders in access exclusive mode");
    drop(way);
    let waits = format!(
        "select pid from pg_stat_activity where datname = '{}' and application_name like 'dbd:%' and wait_event_type = 'Lock'",
        project.database
    );
    assert!(running.until("the migration to wait for orders", || project.finds(&waits)), "dbd ended before");
    // Now each waits for the other. The migration notices, as this session does not look for an hour.
    holder.sql("lock table customers in access exclusive mode");
    holder.sql("commit");
    running.wait().expect(0).outcome("succeeded");
    let tries = project.events().iter().filter_map(|event| event.body["outcome"]["tries"].as_u64()).max();
    assert!(tries > Some(1), "{tries:?}");
    project.assert_sound();
}

#[test]
fn a_server_that_crashes_in_any_phase_leaves_the_run_whole_or_back() {
    let server: &'static pg::Server = Box::leak(Box::new(pg::another("phases")));
    let finish = |project: &Project, running: crate::support::project::Running<'_>| {
        let output = running.wait();
        match output.code {
            Some(75) => project.dbd(&["resume", &output.run(), "--json"]),
            _ => output,
        }
    };
    let project = Project::on_own_server(server);
    project.migration("0001_first", "create table first_one as select 1 as id;");
    let before = project.snapshot();
    // The server commits without waiting for its log: what the test itself made is not to go with the crash.
    project.rows("checkpoint");

    // While the target is dumped: nothing was touched.
    let holder = project.session();
    holder.sql("begin; lock table empty_one in access exclusive mode");
    let mut running = project.spawn(&["start", "dev", "--json"]);
    running.until_event("the dump", |event| event.intends("dump"));
    server.crash();
    server.recover();
    finish(&project, running).expect(3).outcome("refused");
    // A crash lets sequences skip; nothing else of a crash is to be seen.
    let after = project.snapshot();
    assert_eq!((after.schema, after.rows), (before.schema, before.rows));
    drop(holder);

    // While the sandbox is tested: the target is not needed then.
    project.config(&format!("[tests]\ncommand = '{}'\n", gate("tests", 0)));
    let mut running = project.spawn(&["start", "dev", "--json"]);
    until_at_gate(&mut running, &project, "tests");
    server.crash();
    server.recover();
    open_gate(&project, "tests");
    let first = finish(&project, running).expect(0).outcome("succeeded").run();
    assert_eq!(project.rows("select id from first_one"), ["1"]);
    let between = project.snapshot();

    // While it is verified, and the verification fails: all the way back.
    project.migration("0002_second", "insert into first_one values (2);");
    project.config(&format!("[environments.dev]\nverify = {{ command = '{}' }}\n", gate("verify", 1)));
    let mut running = project.spawn(&["start", "dev", "--json"]);
    until_at_gate(&mut running, &project, "verify");
    server.crash();
    server.recover();
    open_gate(&project, "verify");
    let output = finish(&project, running).expect(4);
    assert_back(&project, &output, &between);

    // While it is restored.
    for name in ["verify-go", "verify-began"] {
        fs_err::remove_file(project.root().join(name)).unwrap();
    }
    let mut running = project.spawn(&["start", "dev", "--json"]);
    until_at_gate(&mut running, &project, "verify");
    let holder = project.session();
    holder.sql("begin; lock table orders in access share mode");
    open_gate(&project, "verify");
    let waits = "select pid from pg_stat_activity where application_name like 'dbd:%' and wait_event_type = 'Lock'";
    assert!(running.until("the restore to wait", || project.finds(waits)), "dbd ended before");
    server.crash();
    server.recover();
    let output = finish(&project, running).expect(4);
    assert_back(&project, &output, &between);
    drop(holder);
    assert_ne!(first, output.run());
}

#[test]
fn a_target_that_disappears_leaves_the_run_open_and_says_so() {
    let project = Project::new();
    three_with_a_wait(&project);
    let way = closed(&project);
    let mut running = project.spawn(&["start", "dev", "--json"]);
    until_waiting(&mut running, &project);
    drop(way);
    let gone = project.database.clone();
    project.elsewhere(&format!("drop database {gone} with (force)"));
    let output = running.wait().expect(75);
    let run = output.run();
    let again = project.dbd(&["resume", &run, "--json"]).expect(75);
    assert!(
        again.stderr.contains("there is no database") || again.stdout.contains("there is no database"),
        "{again:?}"
    );
    assert!(
        project.events().iter().all(|event| !event.kind.starts_with("run.rolled") && event.kind != "run.succeeded")
    );
}
