//! `dbd drift`: what changed by another way, who and when, and the two ways out, which lead where they say.

use crate::support::project::Project;

fn deployed() -> Project {
    let project = Project::new();
    project.migration("0001_notes", "create table notes (id int primary key, body text not null);");
    project.start().expect(0).outcome("succeeded");
    project
}

#[test]
fn after_a_run_there_is_no_drift_and_before_one_nothing_to_compare_with() {
    let project = Project::new();
    project.migration("0001_notes", "create table notes (id int primary key);");
    project.dbd(&["drift", "dev", "--json"]).expect(2);
    project.start().expect(0);
    let output = project.dbd(&["drift", "dev", "--json"]).expect(0);
    assert_eq!(output.json()["identical"], true, "{output:?}");
    assert_eq!(output.json()["revert"], serde_json::Value::Null);
}

#[test]
fn what_was_changed_by_hand_is_named_and_both_scripts_are_tried_out() {
    let project = deployed();
    project.sql(
        "alter table notes add column mood text, alter column body drop not null; create index by_hand on notes (mood);
         create view peek as select id from notes; create schema drizzle; create table drizzle.__drizzle_migrations (id serial, hash text); comment on table notes is 'hm'",
    );
    let output = project.dbd(&["drift", "dev", "--json", "--revert", "back.sql", "--adopt", "keep.sql"]).expect(6);
    let document = output.json();
    let changed: Vec<&str> = document["changes"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|change| change["nested"] != true)
        .map(|change| change["object"].as_str().unwrap())
        .collect();
    let expected = ["public.notes.body", "public.notes.mood", "public.by_hand", "public.peek", "table:public.notes"];
    assert_eq!(changed, expected, "{output:?}");
    assert_eq!(document["revert"]["proven"], true, "{output:?}");
    assert_eq!(document["adopt"]["proven"], true, "{output:?}");
    assert_eq!(document["revert"]["loses"][0], "the values of public.notes.mood");

    // What the files say is what they do.
    let run = |file: &str| project.sql(&fs_err::read_to_string(project.root().join(file)).unwrap());
    run("back.sql");
    project.dbd(&["drift", "dev", "--json"]).expect(0);
    run("keep.sql");
    project.dbd(&["drift", "dev", "--json"]).expect(6);
    let again = project.dbd(&["drift", "dev", "--json", "--revert", "back.sql"]).expect(2);
    assert!(again.reason().1.contains("is there already"), "{again:?}");
}
