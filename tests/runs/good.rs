//! Runs that go well.

use crate::support::pg;
use crate::support::project::{Project, showing_the_password, watching_command_lines};

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
    let ids: Vec<_> =
        document["migrations"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
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

#[test]
fn a_drizzle_folder_is_tracked_exactly_as_drizzle_would() {
    let project = Project::empty();
    let first = "CREATE TABLE \"products\" (\n\t\"id\" serial PRIMARY KEY NOT NULL,\n\t\"name\" text NOT NULL\n);\n\
                 --> statement-breakpoint\nCREATE INDEX \"products_name\" ON \"products\" USING btree (\"name\");";
    let second = "ALTER TABLE \"products\" ADD COLUMN \"price\" numeric(10, 2);";
    let journal = |entries: &str| format!(r#"{{"version": "7", "dialect": "postgresql", "entries": [{entries}]}}"#);
    let entry = |idx: u32, when: u64, tag: &str| {
        format!(r#"{{"idx": {idx}, "version": "7", "when": {when}, "tag": "{tag}", "breakpoints": true}}"#)
    };
    let entries = [entry(0, 1_727_000_000_111, "0000_brave_hulk"), entry(1, 1_727_000_000_222, "0001_calm_thor")];
    project
        .write("drizzle/0000_brave_hulk.sql", first)
        .write("drizzle/meta/_journal.json", &journal(&entries[0]))
        .start()
        .expect(0)
        .outcome("succeeded");
    project
        .write("drizzle/0001_calm_thor.sql", second)
        .write("drizzle/meta/_journal.json", &journal(&entries.join(", ")));
    let output = project.start().expect(0).outcome("succeeded");
    assert_eq!(output.json()["migrations"].as_array().unwrap().len(), 1, "{output:?}");

    // Drizzle's migrator: `hash` is the SHA-256 of the file's text, `created_at` the entry's `when`.
    let sha256 =
        |text: &str| project.value(&format!("select encode(sha256(convert_to($dbd${text}$dbd$, 'UTF8')), 'hex')"));
    assert_eq!(
        project.rows("select id, hash, created_at from drizzle.__drizzle_migrations order by id"),
        [format!("1|{}|1727000000111", sha256(first)), format!("2|{}|1727000000222", sha256(second))]
    );
    assert!(project.tracking().is_empty());
    let again = project.start().expect(0);
    assert_eq!(again.json()["migrations"], serde_json::json!([]), "{again:?}");
    project.assert_sound();
}

#[test]
fn tests_see_the_migrated_copy_and_verification_sees_the_target() {
    let _shown = showing_the_password();
    let project = Project::new();
    let ask = |file: &str| {
        let psql = pg::server().bin.join("psql");
        let sql = "select count(*) || ' ' || coalesce(sum(customers.id), 0) from orders join customers on customers.id = customer where paid is null";
        format!(
            "{} -XAtc \"{sql}\" \"$DATABASE_URL\" >{file} && echo $DBD_RUN_ID >>{file} && echo 'ok 12 passed, 0 failed, 3 skipped'",
            psql.display()
        )
    };
    project.migration("0001_paid", "alter table orders add column paid boolean;").config(&format!(
        "[tests]\ncommand = '''{} && echo $DATABASE_URL >where'''\n[environments.dev.verify]\ncommand = '''{}'''\n",
        ask("tested"),
        ask("verified"),
    ));
    let before = project.rows("select * from orders order by id");
    let output = project.start().expect(0).outcome("succeeded");
    let read = |name: &str| fs_err::read_to_string(project.root().join(name)).unwrap();
    assert_eq!(read("tested"), format!("120 2460\n{}\n", output.run()));
    assert_eq!(read("verified"), read("tested"));
    assert!(
        !read("where").contains(&project.database)
            || !read("where").contains(&pg::server().socket.display().to_string()),
        "{}",
        read("where")
    );
    assert_eq!(output.json()["tests"]["status"], 0);
    assert_eq!(output.json()["verify"]["status"], 0);
    assert_eq!(project.rows("select id, customer, price, old_note from orders order by id"), before);
    for name in [
        "deployment.log",
        "backup.dump",
        "rollback-state.json",
        "schema-comparison.json",
        "rehearsal.json",
        "report.md",
        "report.html",
    ] {
        assert!(project.artifact(&output.run(), name).is_file(), "{name} is missing");
    }
    assert_eq!(read(".deployments/.gitignore"), "*\n");
    project.assert_sound();
}

#[test]
fn a_target_whose_expressions_are_spelled_another_way_after_a_dump_is_deployed_to() {
    // PostgreSQL casts the array whole, and each of its elements once it has read its own dump.
    let mut project = Project::empty();
    project.with_sandboxes_on_the_server();
    project.sql(
        "create table t (id int primary key, s varchar(20) check (s in ('a', 'b')), g bool generated always as (s in ('a', 'b')) stored, \
           d bool default ('a'::varchar in ('a', 'b')), n numeric check (n = any (array[1, 2]))); \
         create unique index on t (s) where s in ('a', 'b'); \
         create view v as select * from t where s in ('a', 'b'); \
         create function f() returns trigger language plpgsql as 'begin return new; end'; \
         create trigger watched before insert on t for each row when (new.s in ('a', 'b')) execute function f(); \
         create domain short as varchar(5) check (value in ('a', 'b')); \
         create policy mine on t using (s in ('a', 'b')); \
         create rule kept as on delete to t where old.s in ('a', 'b') do instead nothing;",
    );
    project.write("migrations/0001_more.sql", "create table more (kind varchar(9) check (kind in ('x', 'y')));\n");
    project.start().expect(0).outcome("succeeded");
    project.write("migrations/0002_last.sql", "create table last (id int primary key);\n");
    project.start().expect(0).outcome("succeeded");
    project.dbd(&["drift", "dev"]).expect(0);
    project.assert_sound();
}

#[test]
fn a_role_that_had_nothing_here_so_far_is_there_in_the_rehearsal_too() {
    let project = Project::new();
    let role = format!("reporting_{}", std::process::id());
    project.elsewhere(&format!("create role {role}"));
    // As a history of somebody's has it: the server tells whether there is such a role.
    project.migration(
        "0001_change",
        &format!(
            "create table reports (id int primary key);\ngrant select on reports to {role};\n\
             do $$ begin\n  if exists (select from pg_roles where rolname = '{role}') then\n    grant insert on reports to {role};\n  end if;\nend $$;\n"
        ),
    );
    project.start().expect(0).outcome("succeeded");
    let may = |what: &str| format!("has_table_privilege('{role}', 'reports', '{what}')");
    assert_eq!(project.value(&format!("select {} and {}", may("select"), may("insert"))), "t");
    project.sql("drop table reports");
    project.elsewhere(&format!("drop role {role}"));
    project.assert_sound();
}
