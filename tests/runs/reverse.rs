//! The way back that is made from the catalogs and tried in the sandbox.

use crate::support::project::Project;
use serde_json::{Value, json};

/// What the rehearsal says of the way back from `sql`.
fn reverse(sql: &str) -> Value {
    let mut project = Project::new();
    project.with_sandboxes_on_the_server();
    project.migration("0001_change", sql);
    let output = project.dbd(&["start", "dev", "--dry-run", "--allow", "all", "--reason", "a trial", "--json"]);
    let document = output.json();
    let reverse = document["rehearsal"]["reverse"].clone();
    assert!(reverse.is_object(), "{output:?}");
    reverse
}

#[test]
fn what_only_adds_can_be_taken_back_and_loses_what_was_added() {
    let way = reverse(
        "alter table orders add note text default 'x'; alter table customers alter name type varchar(200); create index on orders (note);
         create table extra (id int)",
    );
    assert_eq!(way["proven"], true, "{way:#}");
    assert_eq!(way["method"], "generated");
    // What was written into it is kept aside.
    assert_eq!(way["loses"], json!([]));
}

#[test]
fn what_throws_values_away_is_kept_first_and_leads_back() {
    let way = reverse("alter table customers drop column note; update orders set price = price + 1");
    assert_eq!((&way["proven"], &way["method"]), (&json!(true), &json!("generated")), "{way:#}");
    // A column that comes back elsewhere is another order for who writes without naming columns.
    let way = reverse("alter table customers drop column name");
    assert_eq!(way["proven"], false, "{way:#}");
    assert!(way["why"].as_str().unwrap().contains("columns of public.customers come back in another order"), "{way:#}");
}

#[test]
fn what_cannot_be_found_again_is_said() {
    let mut project = Project::new();
    project.with_sandboxes_on_the_server();
    project.sql("create table keyless (a int); insert into keyless values (1)");
    project.migration("0001_more", "update keyless set a = a + 1");
    let document = project.dbd(&["start", "dev", "--dry-run", "--json"]).json();
    let way = &document["rehearsal"]["reverse"];
    assert_eq!((&way["proven"], &way["method"]), (&json!(false), &json!("none")), "{way:#}");
    assert!(way["why"].as_str().unwrap().contains("public.keyless has no key"), "{way:#}");
}
