//! What people decide about runs: approve, reject, cancel, roll back; and two of them at once.

use super::rolled_back::{BY_THE_BACKUP, change_much, gate, open_gate, until_at_gate};
use crate::support::project::{Output, Project};

/// A project with `prod` as its environment, and [`change_much`].
fn prod() -> Project {
    let mut project = Project::new();
    change_much(&project);
    let url = project.url();
    project.set("PROD_POSTGRES_URL", &url);
    project
}

#[track_caller]
fn waiting(project: &Project) -> Output {
    let before = project.snapshot();
    let output = project.dbd(&["start", "prod", "--json"]).expect(75).outcome("waiting");
    assert!(
        output.json()["hints"][0].as_str().unwrap().contains(&format!("dbd approve {}", output.run())),
        "{output:?}"
    );
    assert_eq!(project.snapshot(), before);
    assert_eq!(project.value("select to_regnamespace('dbd') is null"), "t");
    project.assert_sound();
    output
}

#[test]
fn prod_waits_for_an_approval_and_then_deploys_that_very_plan() {
    let project = prod();
    let run = waiting(&project).run();
    // Asking again changes nothing.
    project.dbd(&["resume", &run, "--json"]).expect(75).outcome("waiting");
    let status = project.dbd(&["status", &run, "--json"]).expect(0);
    assert!(status.stdout.contains("waiting"), "{status:?}");

    project.dbd(&["approve", &run, "--reason", "seen by two people", "--json"]).expect(0);
    project.dbd(&["approve", &run, "--json"]).expect(2).because("DBD-0702", &["not waiting"]);
    project.dbd(&["reject", &run, "--json"]).expect(2).because("DBD-0702", &["not waiting"]);
    project.dbd(&["resume", &run, "--json"]).expect(0).outcome("succeeded");
    assert_eq!(project.tracking(), ["0001_change", "0002_units"]);
    project.dbd(&["approve", &run, "--json"]).expect(2).because("DBD-0702", &["succeeded"]);
    let audit = project.dbd(&["audit", "--since", "1d", "--json"]).expect(0);
    assert!(audit.stdout.contains("seen by two people"), "{audit:?}");
    project.assert_sound();
}

#[test]
fn a_plan_that_is_rejected_or_cancelled_is_refused() {
    let project = prod();
    let before = project.snapshot();
    for (command, code) in [("reject", "DBD-0704"), ("cancel", "DBD-0705")] {
        let run = waiting(&project).run();
        project
            .dbd(&[command, &run, "--reason", "on a Friday", "--json"])
            .expect(0)
            .outcome("refused")
            .because(code, &["tester", "on a Friday"]);
        // A run that is over is told once more; it cannot be decided about.
        project.dbd(&["resume", &run, "--json"]).expect(0).outcome("refused");
        project.dbd(&["cancel", &run, "--json"]).expect(2).because("DBD-0703", &["settled"]);
        project.dbd(&["rollback", &run, "--json"]).expect(2).because("DBD-0703", &["settled"]);
        assert_eq!(project.snapshot(), before);
        project.assert_sound();
    }
}

#[test]
fn yes_approves_beforehand() {
    let project = prod();
    project.dbd(&["start", "prod", "--yes", "--json"]).expect(0).outcome("succeeded");
    project.assert_sound();
}

#[test]
fn a_finished_run_is_taken_back_once_and_only_from_the_top() {
    let project = Project::new();
    project.config(BY_THE_BACKUP);
    project.migration("0001_one", "create table one as select 1 as id; update orders set price = price + 1;");
    let before = project.snapshot();
    let first = project.start().expect(0).run();
    let between = project.snapshot();
    change_much(&project);
    // In `change_much` the names start at 0001 as well; two files of one number would be refused.
    for (from, to) in [("0001_change", "0002_change"), ("0002_units", "0003_units")] {
        let path = |name: &str| project.root().join(format!("migrations/{name}.sql"));
        fs_err::rename(path(from), path(to)).unwrap();
    }
    let second = project.start().expect(0).run();

    project.dbd(&["rollback", &first, "--json"]).expect(3).because("DBD-0602", &[&second]);
    let output =
        project.dbd(&["rollback", &second, "--reason", "slow pages", "--json"]).expect(0).outcome("rolled_back");
    assert_eq!(output.json()["rollback"]["requested_reason"], "slow pages");
    assert_eq!(project.snapshot(), between);
    assert_eq!(project.tracking(), ["0001_one"]);
    project.dbd(&["rollback", &second, "--json"]).expect(2).because("DBD-0703", &["rolled back"]);
    project.assert_sound();

    // Every row there is now was written by the restore: how old it really is nobody can tell, so a person has to say yes.
    project.dbd(&["rollback", &first, "--json"]).expect(3).because("DBD-0603", &["--yes"]);
    project.dbd(&["rollback", &first, "--yes", "--json"]).expect(0).outcome("rolled_back");
    assert_eq!(project.snapshot(), before);
    assert!(project.tracking().is_empty());
    // Whatever went back can be deployed again.
    project.start().expect(0).outcome("succeeded");
    assert_eq!(project.tracking(), ["0001_one", "0002_change", "0003_units"]);
    project.assert_sound();
}

#[test]
fn rows_written_since_are_only_given_up_when_somebody_says_yes() {
    let project = Project::new();
    change_much(&project);
    project.config(BY_THE_BACKUP);
    let before = project.snapshot();
    let run = project.start().expect(0).run();
    project
        .session()
        .sql("insert into orders (customer, price) values (1, 1), (1, 2); delete from orders where id = 5");
    let after = project.snapshot();
    let refused = project.dbd(&["rollback", &run, "--json"]).expect(3);
    assert!(refused.stderr.contains("2 in public.orders"), "{refused:?}");
    refused.because("DBD-0603", &["2 row", "public.orders", "--yes"]);
    assert_eq!(project.snapshot(), after);
    let output = project.dbd(&["rollback", &run, "--yes", "--json"]).expect(0).outcome("rolled_back");
    assert_eq!(output.json()["rollback"]["loss"]["written"]["public.orders"], 2, "{output:?}");
    assert_eq!(project.snapshot(), before);
    assert!(project.artifact(&run, "before-rollback.dump").is_file());
    project.assert_sound();
}

#[test]
fn of_two_starts_at_once_one_is_told_who_is_at_work() {
    let project = Project::new();
    change_much(&project);
    project.config(&format!("[tests]\ncommand = '{}'\n", gate("tests", 0)));
    let mut running = project.spawn(&["start", "dev", "--json"]);
    until_at_gate(&mut running, &project, "tests");
    let status = project.dbd(&["list", "--json"]).expect(0);
    let first = project.run_in_journal();
    assert!(status.stdout.contains(&first), "{status:?}");
    let pid = running.pid().to_string();
    project.start().expect(7).because("DBD-0701", &[&first, &pid]);
    project.dbd(&["resume", &first, "--json"]).expect(7).because("DBD-0701", &[&first, &pid]);
    // Of another journal, as it would be on another host: then the target itself knows.
    let elsewhere = project.root().join("elsewhere.db");
    let other = project.dbd(&["start", "dev", "--json", "--journal", elsewhere.to_str().unwrap()]).expect(7);
    other.because("DBD-0109", &[&first]);
    open_gate(&project, "tests");
    running.wait().expect(0).outcome("succeeded");
    project.start().expect(0).outcome("succeeded");
    project.assert_sound();
}

#[test]
fn a_run_that_is_cancelled_while_it_works_stops_and_goes_back() {
    let project = Project::new();
    change_much(&project);
    project.config(&format!("{BY_THE_BACKUP}[environments.dev]\nverify = {{ command = '{}' }}\n", gate("verify", 0)));
    let before = project.snapshot();
    let mut running = project.spawn(&["start", "dev", "--json"]);
    until_at_gate(&mut running, &project, "verify");
    project.dbd(&["cancel", &project.run_in_journal(), "--reason", "wrong day", "--json"]).expect(0);
    open_gate(&project, "verify");
    let output = running.wait().expect(4).because("DBD-0705", &["wrong day"]);
    super::rolled_back::assert_back(&project, &output, &before);
}
