//! `dbd compare`: schemas and rows of two databases, over two connections and through `postgres_fdw`.

use crate::support::project::Project;
use serde_json::Value;

/// Two databases with the same tables and not quite the same rows.
fn sides() -> (Project, Project, String, String) {
    let (project, other) = (Project::empty(), Project::empty());
    let tables = "create table same (id int primary key, t text); insert into same select n, 'row ' || n from generate_series(1, 500) n;
         create table parent (id int primary key); insert into parent select generate_series(1, 10);
         create table child (a int, b text, parent int, primary key (a, b));
         create table heap (x float8, y timestamptz); insert into heap values (0.1, '2020-01-01 00:00:00+02'), (null, null);
         create type mood as enum ('ok'); create table moods (m mood); create table empty (a int);";
    project.sql(tables);
    other.sql(tables);
    project.sql(
        "insert into child values (1, 'x', 1), (2, 'y', 2), (3, 'only here', null); insert into heap values (1, now())",
    );
    other.sql(
        "insert into child values (1, 'x', 1), (2, 'y', 99), (4, 'only there', null); insert into moods values ('ok')",
    );
    for side in [&project, &other] {
        side.sql("alter table child add foreign key (parent) references parent not valid");
    }
    let (source, target) = (project.superuser_url(), other.superuser_url());
    (project, other, source, target)
}

fn table<'v>(document: &'v Value, name: &str) -> &'v Value {
    let tables = document["data"]["tables"].as_array().unwrap();
    tables.iter().find(|table| table["table"] == name).unwrap_or_else(|| panic!("{name} is not in {document:#}"))
}

#[test]
fn rows_are_compared_over_two_connections_and_orphans_named() {
    let (project, _other, source, target) = sides();
    let output = project.dbd(&["compare", &source, &target, "--data", "--json"]).expect(6);
    let document = output.json();
    assert_eq!(document["identical"], true, "{output:?}");
    assert_eq!(document["data"]["via"], "direct");
    assert_eq!(document["data"]["complete"], true, "{document:#}");
    assert_eq!(table(&document, "public.same")["same"], true);
    assert_eq!(table(&document, "public.same")["source_rows"], 500);
    assert_eq!(table(&document, "public.child")["same"], false);
    assert_eq!(table(&document, "public.heap")["target_rows"], 2);
    assert_eq!(table(&document, "public.heap")["same"], false);
    // What differs comes first.
    assert_eq!(document["data"]["tables"][0]["same"], false);
    let orphans = document["data"]["orphans"].as_array().unwrap();
    assert_eq!(orphans.len(), 1, "{document:#}");
    assert_eq!((&orphans[0]["side"], &orphans[0]["rows"]), (&"target".into(), &1.into()));

    let text = project.dbd(&["compare", &source, &target, "--data"]).expect(6).stdout;
    assert!(text.contains("public.child differs, 3 rows in the source and 3 in the target"), "{text}");
    project.dbd(&["compare", &source, &source, "--data", "--json"]).expect(0);
}

#[test]
fn through_fdw_the_rows_that_differ_are_named_and_nothing_is_left() {
    let (project, _other, source, target) = sides();
    let output = project.dbd(&["compare", &source, &target, "--data", "--via", "fdw", "--json"]).expect(6);
    let document = output.json();
    assert_eq!(document["data"]["via"], "fdw");
    let child = table(&document, "public.child");
    assert_eq!(child["rows"]["only_in_source"], 1, "{document:#}");
    assert_eq!(child["rows"]["only_in_target"], 1);
    assert_eq!(child["rows"]["differing"], 1);
    assert_eq!(child["rows"]["keys"], serde_json::json!(["(2,y)", "(3,\"only here\")", "(4,\"only there\")"]));
    assert_eq!(table(&document, "public.same")["same"], true);
    assert_eq!(table(&document, "public.heap")["same"], false);
    assert_eq!(table(&document, "public.moods")["same"], false);
    let left = "select (select count(*) from pg_foreign_server) + (select count(*) from pg_extension where extname = 'postgres_fdw') \
         + (select count(*) from pg_namespace where nspname like 'dbd_compare%')";
    assert_eq!(project.value(left), "0");
}

#[test]
fn a_table_there_is_no_time_for_is_said_not_to_be_known() {
    let (project, _other, source, target) = sides();
    let output = project.dbd(&["compare", &source, &target, "--data", "--budget", "0s", "--json"]).expect(0);
    let document = output.json();
    assert_eq!(document["data"]["complete"], false);
    assert_eq!(table(&document, "public.same")["same"], Value::Null);
    assert_eq!(document["data"]["orphans"][0]["rows"], Value::Null);
}

#[test]
fn a_file_has_no_rows_to_compare() {
    let project = Project::empty();
    project.write("schema.sql", "create table t (a int);");
    let output = project.dbd(&["compare", "schema.sql", &project.url(), "--data", "--json"]).expect(2);
    output.because("DBD-0009", &["not with a .sql file"]);
}
