//! One owner: of several processes one works, and one that lost the target while it slept does nothing more to it.

use super::rolled_back::{gate, open_gate, until_at_gate};
use super::stopped::{closed, three_with_a_wait, until_waiting};
use crate::support::project::{Output, Project};
use rustix::process::Signal;

/// Makes a second project folder with a copy of everything, as another host would have it, and gives its root.
fn copy_of(project: &Project, name: &str) -> std::path::PathBuf {
    let there = project.root().parent().unwrap().join(name);
    let copied = std::process::Command::new("cp").arg("-a").arg(project.root()).arg(&there).status();
    assert!(copied.is_ok_and(|status| status.success()));
    there
}

#[test]
fn of_many_resumes_at_once_one_works_and_the_others_name_it() {
    let project = Project::new();
    three_with_a_wait(&project);
    project.config(&format!("[environments.dev]\nverify = {{ command = '{}' }}\n", gate("verify", 0)));
    let way = closed(&project);
    let mut running = project.spawn(&["start", "dev", "--json"]);
    until_waiting(&mut running, &project);
    running.kill();
    drop(way);
    let run = project.run_in_journal();
    let mut all: Vec<_> = (0..5).map(|_| project.spawn(&["resume", &run, "--json"])).collect();
    // The one that works waits at the gate; every other one has ended by then or will.
    let began = project.root().join("verify-began");
    let deadline = std::time::Instant::now() + crate::support::project::DEADLINE;
    while !began.exists() || all.iter_mut().filter_map(|one| one.is_running().then_some(())).count() > 1 {
        assert!(std::time::Instant::now() < deadline, "more than one goes on");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let owner = all.iter_mut().find_map(|one| one.is_running().then(|| one.pid().to_string())).expect("one works");
    open_gate(&project, "verify");
    let outputs: Vec<Output> = all.into_iter().map(|one| one.wait()).collect();
    let (worked, told): (Vec<Output>, Vec<Output>) = outputs.into_iter().partition(|one| one.code == Some(0));
    assert_eq!((worked.len(), told.len()), (1, 4), "{worked:?} {told:?}");
    let host = dbd::wire::host_name();
    for output in told {
        output.expect(7).because("DBD-0701", &[&run, &owner, &host]);
    }
    assert_eq!(project.rows("select id from first_one order by 1"), ["1", "2", "3"]);
    project.assert_sound();
}

#[test]
fn an_owner_that_slept_while_another_host_finished_commits_nothing_and_says_who_did() {
    let project = Project::new();
    three_with_a_wait(&project);
    let way = closed(&project);
    let mut sleeper = project.spawn(&["start", "dev", "--json"]);
    until_waiting(&mut sleeper, &project);
    sleeper.signal(Signal::STOP);
    let elsewhere = copy_of(&project, "elsewhere");
    // Its sessions look alive to everybody: while they are, nobody else gets in, and is told who is there.
    let there = elsewhere.to_str().unwrap();
    let run = project.run_in_journal();
    let refused = project.dbd(&["-C", there, "resume", &run, "--json"]).expect(7);
    let host = dbd::wire::host_name();
    refused.because("DBD-0109", &[&run, &format!("{host}:{}", sleeper.pid())]);
    // The network gives them up.
    let ended = format!(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = '{}' and application_name like 'dbd%' \
         and application_name <> 'dbd tests'",
        project.database
    );
    project.rows(&ended);
    drop(way);
    project.dbd(&["-C", there, "resume", &run, "--json"]).expect(0).outcome("succeeded");
    let before = project.snapshot();
    let ledger = project.rows("select * from dbd.ledger order by seq");

    sleeper.signal(Signal::CONT);
    let output = sleeper.wait();
    assert!(matches!(output.code, Some(7 | 74)), "{output:?}");
    assert_eq!(project.snapshot(), before);
    assert_eq!(project.rows("select * from dbd.ledger order by seq"), ledger);
    // Its copy of the journal went its own way: what is in the target is not in it.
    project.dbd(&["resume", &run, "--json"]).expect(74).because("DBD-0803", &["the ledger in", "provable"]);
    assert_eq!(project.snapshot(), before);
}

#[test]
fn an_owner_whose_lease_was_taken_between_two_steps_does_not_take_it_back() {
    let project = Project::new();
    project
        .migration("0001_first", "create table first_one as select 1 as id;")
        .config(&format!("[environments.dev]\nverify = {{ command = '{}' }}\n", gate("verify", 1)));
    let mut running = project.spawn(&["start", "dev", "--json"]);
    until_at_gate(&mut running, &project, "verify");
    // Somebody with a journal of their own.
    project
        .session()
        .sql("update dbd.lease set token = 'dbd/other/1#1@0', run_id = 'deploy-dev-1', owner = 'elsewhere pid 7'");
    let before = project.snapshot();
    open_gate(&project, "verify");
    // It was to go back, and has no right to.
    running.wait().expect(7).because("DBD-0407", &["elsewhere pid 7", "deploy-dev-1"]);
    assert_eq!(project.snapshot(), before);
    assert_eq!(project.value("select owner from dbd.lease"), "elsewhere pid 7");
}
