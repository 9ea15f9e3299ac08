//! A run goes on only from the target it left: what somebody changed meanwhile is theirs.

use super::rolled_back::{gate, until_at_gate};
use super::stopped::{closed, three_with_a_wait, until_waiting};
use crate::support::project::Project;

/// A run that was killed between its second and its third migration, or in its verification.
fn killed(project: &Project, verifying: bool) -> String {
    three_with_a_wait(project);
    if verifying {
        project.config(&format!("[environments.dev]\nverify = {{ command = '{}' }}\n", gate("verify", 0)));
        let mut running = project.spawn(&["start", "dev", "--json"]);
        until_at_gate(&mut running, project, "verify");
        running.kill();
    } else {
        let way = closed(project);
        let mut running = project.spawn(&["start", "dev", "--json"]);
        until_waiting(&mut running, project);
        running.kill();
        drop(way);
    }
    project.run_in_journal()
}

#[test]
fn a_schema_changed_while_nobody_worked_on_the_run_halts_it_until_it_is_put_back() {
    for verifying in [false, true] {
        let project = Project::new();
        let run = killed(&project, verifying);
        project.sql("create table somebody_elses (id int); insert into somebody_elses values (1)");
        for _ in 0..7 {
            // As often as one likes: to look is not to wear the run out.
            let output = project.dbd(&["resume", &run, "--json"]).expect(5).outcome("needs_operator");
            output.because("DBD-0406", &[&run, "left as", "dbd rollback", "dbd resume"]);
        }
        let status = project.dbd(&["status", &run, "--json"]).expect(0);
        assert!(status.stdout.contains("DBD-0406"), "{status:?}");
        assert_eq!(project.rows("select id from somebody_elses"), ["1"]);
        // A ruling is for what nobody can tell.
        project
            .dbd(&["resume", &run, "--ruling", "applied", "--reason", "?", "--json"])
            .expect(2)
            .because("DBD-0702", &[]);
        project.sql("drop table somebody_elses");
        super::rolled_back::open_gate(&project, "verify");
        project.dbd(&["resume", &run, "--json"]).expect(0).outcome("succeeded");
        assert_eq!(project.rows("select id from first_one order by 1"), ["1", "2", "3"]);
        project.assert_sound();
    }
}

#[test]
fn going_back_over_somebody_elses_schema_dumps_it_first() {
    let project = Project::new();
    let before = project.snapshot();
    let run = killed(&project, false);
    project.sql("create table somebody_elses (id int)");
    project.dbd(&["resume", &run, "--json"]).expect(5);
    project
        .dbd(&["rollback", &run, "--restore", "--reason", "too many cooks", "--json"])
        .expect(0)
        .outcome("rolled_back");
    assert_eq!(project.snapshot(), before);
    let dump = project.artifact(&run, "before-rollback.dump");
    let output = std::process::Command::new(crate::support::pg::server().bin.join("pg_restore"))
        .arg("--list")
        .arg(&dump)
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("somebody_elses"), "{output:?}");
    project.assert_sound();
}

#[test]
fn what_nobody_can_tell_waits_for_a_ruling_and_goes_on_from_it() {
    for (ruling, count) in [("applied", "1"), ("not-applied", "2")] {
        let project = Project::new();
        project
            .write("verify.sh", "echo once >>verified; echo seen so far; touch began; [ -e go ] || exec sleep 7200.5\n")
            .migration("0001_first", "create table first_one as select 1 as id;")
            .config("[environments.dev]\nverify = { command = 'sh verify.sh', repeatable = false }\n");
        let mut running = project.spawn(&["start", "dev", "--json"]);
        let began = project.root().join("began");
        assert!(running.until("the verification to begin", || began.exists()));
        running.kill();
        project.write("go", "");
        let run = project.run_in_journal();
        for _ in 0..2 {
            let output = project.dbd(&["resume", &run, "--json"]).expect(5).outcome("needs_operator");
            output.because("DBD-0706", &["run verify", "verify.log", "--ruling applied", "--ruling not-applied"]);
        }
        // Not without a reason, and nothing else before.
        project.dbd(&["resume", &run, "--ruling", ruling, "--json"]).expect(2).because("DBD-0009", &["reason"]);
        project.dbd(&["rollback", &run, "--json"]).expect(5).because("DBD-0706", &["--ruling"]);
        let output = project.dbd(&["resume", &run, "--ruling", ruling, "--reason", "I looked", "--json"]);
        output.expect(0).outcome("succeeded");
        let ruled = project.events().into_iter().find(|event| event.kind == "step.ruled").expect("it is recorded");
        assert_eq!((ruled.body["applied"] == (ruling == "applied"), &ruled.body["reason"]), (true, &"I looked".into()));
        let audit = project.dbd(&["show", &run, "--events", "--json"]).expect(0);
        assert!(audit.stdout.contains("I looked") && audit.stdout.contains("tester"), "{audit:?}");
        assert_eq!(fs_err::read_to_string(project.root().join("verified")).unwrap().lines().count().to_string(), count);
        project.dbd(&["resume", &run, "--ruling", "applied", "--reason", "again", "--json"]).expect(0);
        project.assert_sound();
    }
}

#[test]
fn a_statement_nobody_can_tell_about_waits_for_a_ruling() {
    let made = || {
        let project = Project::new();
        project
            .migration(
                "0001_alone",
                "-- dbd: no-transaction\ndo $$ begin create table by_do as select 1 as id; end $$;\n",
            )
            .migration("0002_after", "create table after_one as select 1 as id;");
        project
    };
    let (_, gaps) = made().drill(None, &["start", "dev", "--json"]);
    let at = gaps.iter().position(|gap| gap.0 == "alone done" && gap.1 == "target").expect("it gets there") + 1;
    let project = made();
    let (output, passed) = project.drill(Some(at), &["start", "dev", "--json"]);
    assert!(output.code.is_none() && passed.last() == Some(&gaps[at - 1]), "{output:?}\n{passed:?}");
    let run = project.run_in_journal();
    let asked = project.dbd(&["resume", &run, "--json"]).expect(5);
    asked.because("DBD-0706", &["migrate 1", "nothing in the catalog tells"]);
    // It happened, and whoever says it did not is found out: the target is not as it was before that step.
    project
        .dbd(&["resume", &run, "--ruling", "not-applied", "--reason", "a guess", "--json"])
        .expect(5)
        .because("DBD-0406", &["left as"]);
    let cancelled = project.dbd(&["cancel", &run, "--json"]).expect(0);
    assert_eq!(cancelled.json()["state"], "abandoned");

    let project = made();
    project.drill(Some(at), &["start", "dev", "--json"]);
    let run = project.run_in_journal();
    project.dbd(&["resume", &run, "--json"]).expect(5);
    project
        .dbd(&["resume", &run, "--ruling", "applied", "--reason", "the table is there", "--json"])
        .expect(0)
        .outcome("succeeded");
    assert_eq!(project.rows("select id from after_one"), ["1"]);
    project.assert_sound();
}

#[test]
fn a_sandbox_on_a_server_is_called_after_its_run_and_its_project() {
    // Two projects may begin a run in the same millisecond; the tests that tidy up after one must not meet the other's.
    let mut project = Project::empty();
    project.with_sandboxes_on_the_server();
    project.write("migrations/0001_a.sql", "create table a (id int primary key);\n");
    let output = project.start().expect(0);
    let name = project.sandbox_of(output.json()["run"].as_str().unwrap());
    assert!(output.stderr.contains(&format!("create sandbox database {name} on ")), "{output:?}");
}
