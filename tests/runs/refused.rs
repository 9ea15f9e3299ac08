//! Runs that are refused: the target is as it was, and somebody is told why and what to do.

use crate::support::pg;
use crate::support::project::{Output, Project};
use serde_json::Value;

/// Runs dbd, expects a refusal, and that the target is untouched.
#[track_caller]
fn refused(project: &Project, arguments: &[&str]) -> Output {
    let before = project.snapshot();
    let output = project.dbd(arguments).expect(3).outcome("refused");
    assert_eq!(output.json()["state"], "refused");
    assert_eq!(project.snapshot(), before);
    // Not even dbd's own bookkeeping.
    assert_eq!(project.value("select to_regnamespace('dbd') is null"), "t");
    project.assert_sound();
    output
}

#[track_caller]
fn start_is_refused(project: &Project) -> Output {
    refused(project, &["start", "dev", "--json"])
}

/// The codes of the findings, with their severities.
fn findings(output: &Output) -> Vec<String> {
    let findings = output.json()["findings"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    findings
        .iter()
        .map(|finding| {
            format!("{} {} {}", text(&finding["severity"]), text(&finding["code"]), text(&finding["object"]))
        })
        .collect()
}

fn rehearsal(project: &Project, output: &Output) -> Value {
    serde_json::from_slice(&fs_err::read(project.artifact(&output.run(), "rehearsal.json")).unwrap()).unwrap()
}

#[test]
fn sql_that_does_not_parse_is_refused_with_its_place() {
    let project = Project::new();
    project.migration("0001_bad", "create table fine (id int);\n\nalter table orders ad column x int;\n");
    let output = start_is_refused(&project).because("DBD-0202", &["migrations/0001_bad.sql"]);
    let reason = &output.json()["reasons"][0];
    assert_eq!(
        (&reason["place"]["line"], &reason["place"]["file"]),
        (&Value::from(3), &Value::from("migrations/0001_bad.sql")),
        "{output:?}"
    );
}

#[test]
fn a_statement_that_fails_in_the_sandbox_is_refused_with_its_place() {
    let project = Project::new();
    project.migration("0001_first", "\n  alter table orders add column price int;\n");
    let output =
        start_is_refused(&project).because("DBD-0401", &["migrations/0001_first.sql:2", "42701", "already exists"]);
    let reason = &output.json()["reasons"][0];
    assert_eq!(
        (&reason["place"]["line"], &reason["place"]["column"]),
        (&Value::from(2), &Value::from(3)),
        "{output:?}"
    );

    // A table that is missing in the second statement of the second migration.
    fs_err::remove_file(project.root().join("migrations/0001_first.sql")).unwrap();
    project
        .migration("0001_fine", "create table fine (id int);")
        .migration("0002_second", "alter table fine add column x int;\nselect * from\n  nowhere;\n");
    let output = start_is_refused(&project)
        .because("DBD-0401", &["migrations/0002_second.sql:3", "nowhere", "42P01", "in: select * from"]);
    let reason = &output.json()["reasons"][0];
    assert_eq!(
        (&reason["place"]["line"], &reason["place"]["column"]),
        (&Value::from(3), &Value::from(3)),
        "{output:?}"
    );
    let rehearsal = rehearsal(&project, &output);
    let statements = rehearsal["migrations"][1]["statements"].as_array().unwrap();
    assert_eq!(statements.len(), 2, "{rehearsal:#}");
    assert_eq!(statements[0]["error"], Value::Null);
    assert!(statements[1]["error"].as_str().unwrap().contains("does not exist"), "{rehearsal:#}");
}

#[test]
fn a_dropped_table_is_refused_until_it_is_allowed_with_a_reason() {
    let project = Project::new();
    project.migration("0001_drop", "drop table orders cascade;");
    let output = start_is_refused(&project)
        .because("DBD-0405", &["table_removed", "public.orders", "120 rows", "--allow table_removed"]);
    assert!(findings(&output).contains(&"error table_removed public.orders".to_owned()), "{:?}", findings(&output));

    let allow = ["start", "dev", "--json", "--allow", "table_removed"];
    let silent = project.dbd(&allow).expect(2);
    silent.because("DBD-0009", &["--reason"]);
    let wrong = [&["start", "dev", "--json", "--allow", "rows_removed", "--reason", "something else"][..]].concat();
    refused(&project, &wrong).because("DBD-0405", &["table_removed"]);

    let output = project
        .dbd(&[&allow[..], &["--reason", "orders moved to another service"]].concat())
        .expect(0)
        .outcome("succeeded");
    let document = output.json();
    let allowed = document["findings"].as_array().unwrap().iter().find(|one| one["code"] == "table_removed").unwrap();
    assert_eq!(allowed["allowed"], true);
    assert_eq!(project.value("select to_regclass('orders') is null"), "t");
    let audit = project.dbd(&["audit", "--since", "1d", "--json"]).expect(0);
    assert!(audit.stdout.contains("orders moved to another service"), "{audit:?}");
    project.assert_sound();
}

#[test]
fn a_column_with_values_is_kept_and_one_without_may_go() {
    let project = Project::new();
    project.migration("0001_drop", "drop view dear cascade; alter table orders drop column old_note;");
    let output = start_is_refused(&project)
        .because("DBD-0405", &["column_removed", "public.orders.old_note", "it holds values"]);
    assert!(
        findings(&output).contains(&"error column_removed public.orders.old_note".to_owned()),
        "{:?}",
        findings(&output)
    );

    project.migration("0001_drop", "alter table empty_one drop column nothing;");
    let output = project.start().expect(0).outcome("succeeded");
    assert!(
        findings(&output).contains(&"warning column_removed public.empty_one.nothing".to_owned()),
        "{:?}",
        findings(&output)
    );
    project.assert_sound();
}

#[test]
fn rows_that_a_migration_deletes_are_counted_and_refused() {
    let project = Project::new();
    project.migration("0001_tidy", "delete from orders where price > 100;");
    let output =
        start_is_refused(&project).because("DBD-0405", &["rows_removed", "public.orders loses 20 of its 120 rows"]);
    assert_eq!(findings(&output), ["error rows_removed public.orders"]);
    let allow = ["start", "dev", "--json", "--allow", "all", "--reason", "they are test orders"];
    project.dbd(&allow).expect(0).outcome("succeeded");
    assert_eq!(project.value("select count(*) from orders"), "100");
    project.assert_sound();
}

#[test]
fn tests_that_fail_in_the_sandbox_refuse_the_run_and_keep_what_they_said() {
    let project = Project::new();
    project
        .migration("0001_price", "alter table orders add column currency text;")
        .write(
            "fail.sh",
            "echo \"talking to $DATABASE_URL\"\necho 'Tests:       2 failed, 1 skipped, 7 passed, 10 total'\nexit 3\n",
        )
        .config("[tests]\ncommand = 'sh fail.sh'\n");
    let output =
        start_is_refused(&project).because("DBD-0404", &["sh fail.sh", "status 3", "7 passed, 2 failed", "tests.log"]);
    let tests = &output.json()["tests"];
    assert_eq!(
        (&tests["status"], &tests["passed"], &tests["failed"], &tests["skipped"]),
        (&3.into(), &7.into(), &2.into(), &1.into())
    );
    let log = fs_err::read_to_string(project.artifact(&output.run(), "tests.log")).unwrap();
    assert!(log.contains("7 passed, 10 total"), "{log}");

    project.config("[tests]\ncommand = 'exec sleep 600'\ntimeout = '200ms'\n");
    start_is_refused(&project).because("DBD-0410", &["exec sleep 600", "200 ms", "tests.log"]);
}

#[test]
fn a_server_that_does_not_let_dbd_in_is_named_with_what_to_do() {
    let mut project = Project::new();
    project.migration("0001_price", "alter table orders add column currency text;");
    let cases = [
        (project.url_with("wrong:Xq7", &project.database), "DBD-0102", ["refused user `deployer`", "percent-encoded"]),
        (project.url_with(pg::PASSWORD, "no_such_db"), "DBD-0103", ["no database `no_such_db`", "createdb"]),
        // Nobody listens on the port of a socket that was closed.
        (
            format!("postgres://deployer:Xq7%2Ftr0mbone%409%3Ak@127.0.0.1:{}/shop", free_port()),
            "DBD-0101",
            ["127.0.0.1", "cannot be reached"],
        ),
    ];
    for (url, code, words) in cases {
        project.set("DEV_POSTGRES_URL", &url);
        let output = start_is_refused(&project).because(code, &words);
        assert!(!output.stdout.contains("wrong:Xq7") && !output.stderr.contains("wrong:Xq7"), "{output:?}");
    }
    let doctor = project.dbd(&["doctor", "dev", "--json"]).expect(3);
    assert!(doctor.stdout.contains("DBD-0101"), "{doctor:?}");
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn what_is_asked_for_wrongly_is_a_usage_error_that_names_the_nearest() {
    let project = Project::new();
    project.migration("0001_price", "alter table orders add column currency text;");
    let error = |output: Output, code: &str, words: &[&str]| {
        let output = output.expect(2).because(code, words);
        assert!(output.json()["error"].is_object(), "{output:?}");
        assert!(!project.journal().exists(), "nothing is recorded of what was not asked for rightly");
    };
    error(project.dbd(&["start", "dve", "--json"]), "DBD-0004", &["`dve`", "`dev`"]);
    error(project.dbd(&["start", "prod", "--json"]), "DBD-0004", &["`prod`", "known environments: `dev`"]);
    error(project.dbd(&["start", "--json"]), "DBD-0009", &["dbd --help"]);
    project.config("[journal]\npaht = 'elsewhere.db'\n");
    error(project.start(), "DBD-0002", &["journal.paht", "journal.path", "dbd.toml"]);
    project.config("[environments.dev]\nlock_timeout = '3 weeks'\n");
    error(project.start(), "DBD-0003", &["lock_timeout", "10m"]);
    fs_err::remove_file(project.root().join("dbd.toml")).unwrap();
    for command in ["resume", "rollback", "cancel", "approve"] {
        error(project.dbd(&[command, "deploy-dev-1", "--json"]), "DBD-0008", &["dbd start"]);
    }
    assert_eq!(project.value("select to_regnamespace('dbd') is null"), "t");
    project.assert_secret();
}

#[test]
fn a_file_in_place_of_the_artifacts_folder_refuses_the_run() {
    let project = Project::new();
    project
        .migration("0001_price", "alter table orders add column currency text;")
        .write("taken", "")
        .config("[artifacts]\ndir = 'taken'\n");
    start_is_refused(&project).because("DBD-0014", &["taken", "[artifacts] dir"]);
}

#[test]
fn a_dry_run_plans_and_touches_nothing() {
    let project = Project::new();
    project.migration(
        "0001_price",
        "alter table customers alter column note type varchar(200), add column currency text;",
    );
    let before = project.snapshot();
    let output = project.dbd(&["start", "dev", "--dry-run", "--json"]).expect(0).outcome("planned");
    let document = output.json();
    assert_eq!(document["plan"]["steps"].as_array().unwrap().len(), 1, "{output:?}");
    assert_eq!(document["rehearsal"]["schema"], "dbd.rehearsal/1");
    assert_eq!(project.snapshot(), before);
    assert_eq!(project.value("select to_regnamespace('dbd') is null"), "t");
    project.assert_sound();
}
