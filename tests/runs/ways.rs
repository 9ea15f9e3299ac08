//! Ways back that lose nothing, while somebody else goes on writing.

use super::rolled_back::{gate, open_gate, until_at_gate};
use crate::support::project::Project;

/// A migration that changes what the application reads and writes.
fn change(project: &Project) {
    project.migration(
        "0001_change",
        "drop view dear cascade;\n\
         alter table orders alter column price type numeric(12, 4), add column paid boolean not null default false;\n\
         create table later (id serial primary key);\ninsert into later default values;\n",
    );
}

/// The state of what others wrote while the new schema stood.
fn written(project: &Project) -> Vec<String> {
    let mut rows = project.rows("select id, customer, price::numeric(10, 2), old_note from orders order by id");
    rows.extend(project.rows("select id, name, note from customers order by id"));
    rows
}

#[test]
fn what_others_write_meanwhile_stays_when_the_run_goes_back_by_a_swap() {
    let project = Project::new();
    change(&project);
    project.config(&format!(
        "[rollback]\nin_place = false\n[environments.dev]\nverify = {{ command = '{}' }}\n",
        gate("verify", 1)
    ));
    let before = project.snapshot();
    project.quiet();
    let mut running = project.spawn(&["start", "dev", "--json"]);
    until_at_gate(&mut running, &project, "verify");
    let other = project.session();
    other.sql("insert into orders (customer, price, old_note, paid) values (1, 4711, 'paid meanwhile', true)");
    other.sql("update customers set note = 'moved' where id = 3");
    other.sql("delete from orders where id = 5");
    let after = written(&project);
    drop(other);
    open_gate(&project, "verify");
    let output = running.wait().expect(4).outcome("rolled_back");
    assert_eq!(project.snapshot().schema, before.schema);
    assert_eq!(written(&project), after, "{output:?}");
    project.assert_sound();
}
