//! Runs that go well.

use crate::support::project::{Project, watching_command_lines};

#[test]
fn plain_sql_is_deployed_and_a_second_run_finds_nothing_to_do() {
    let project = Project::new();
    project
        .migration("0001_price", "alter table orders add column currency text not null default 'EUR';\ncreate table taxes (id int primary key);\n")
        .migration(
            "0002_several_units",
            "create index concurrently orders_price on orders (price);\n\
             alter table customers add column email text;\n\
             create index concurrently customers_email on customers (email);\n\
             insert into taxes values (1), (2);\n",
        );
    let output = watching_command_lines(|| project.start()).expect(0).outcome("succeeded");
    let document = output.json();
    assert_eq!(document["schema"], "dbd.run/1");
    assert_eq!(document["state"], "succeeded");
    assert_eq!(document["environment"], "dev");
    let ids: Vec<_> = document["migrations"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["0001_price", "0002_several_units"]);
    assert_eq!(document["migrations"][1]["statements"], 4);
    assert_eq!(project.tracking(), ids);
    assert_eq!(project.rows("select id from taxes order by 1"), ["1", "2"]);
    assert_eq!(
        project.rows("select relname, indisvalid from pg_index join pg_class on pg_class.oid = indexrelid where relname in ('orders_price', 'customers_email') order by 1"),
        ["customers_email|t", "orders_price|t"]
    );
    project.assert_sound();

    let before = project.snapshot();
    let again = project.start().expect(0).outcome("succeeded");
    assert_eq!(again.json()["migrations"], serde_json::json!([]));
    assert_eq!(project.snapshot(), before);
    project.assert_sound();
}
