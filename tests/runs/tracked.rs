//! Where the tools keep track: told to do it elsewhere, by a variable, a URL or a file of theirs.

use crate::support::pg;
use crate::support::project::Project;
use serde_json::json;

const GOOSE: (&str, &str) = ("00001_a.sql", "-- +goose Up\ncreate table a (id int primary key);\n");
const SQITCH: &str = "%syntax-version=1.0.0\n%project=shop\n\na 2024-01-31T12:00:00Z Marge <marge@example.com>\n";

#[test]
fn what_a_tool_is_told_by_variables_urls_and_files_counts_and_is_in_no_comparison() {
    let table = "create table a (id int primary key);\n";
    let dbmate = format!("-- migrate:up\n{table}");
    for (format, files, variable, kept, expected) in [
        (
            "dbmate",
            &[("migrations/20240131120000_a.sql", dbmate.as_str())][..],
            Some(("DBMATE_MIGRATIONS_TABLE", "app.track")),
            "select version from app.track",
            "20240131120000",
        ),
        (
            "goose",
            &[("migrations/00001_a.sql", GOOSE.1), (".env", "GOOSE_TABLE=app.track\n")],
            None,
            "select max(version_id) from app.track",
            "1",
        ),
        (
            "flyway",
            &[("migrations/V1__a.sql", table), ("flyway.conf", "flyway.table=not_this\n")],
            Some(("FLYWAY_TABLE", "track")),
            "select script from track",
            "V1__a.sql",
        ),
        (
            "golang-migrate",
            &[("migrations/000001_a.up.sql", table)],
            Some(("DEV_POSTGRES_URL", "&x-migrations-table=My+track")),
            "select version from \"My track\"",
            "1",
        ),
        (
            "sqitch",
            &[
                ("migrations/sqitch.plan", SQITCH),
                ("migrations/deploy/a.sql", table),
                ("migrations/sqitch.conf", "[core]\n\tengine = pg\n[engine \"pg\"]\n\tregistry = app\n"),
            ],
            None,
            "select change from app.changes",
            "a",
        ),
    ] {
        let mut project = Project::empty();
        project.with_sandboxes_on_the_server();
        project.config(&format!("[migrations]\ndir = \"migrations\"\nformat = \"{format}\"\n"));
        for (path, text) in files {
            project.write(path, text);
        }
        match variable {
            Some((name, value)) if value.starts_with('&') => {
                let url = project.url() + value;
                project.set(name, &url);
            }
            Some((name, value)) => {
                project.set(name, value);
            }
            None => {}
        }
        project.start().expect(0).outcome("succeeded");
        assert_eq!(project.rows(kept), [expected], "{format}");
        assert_eq!(project.start().expect(0).json()["migrations"], json!([]), "{format}");
        project.dbd(&["drift", "dev", "--json"]).expect(0);
        let bare = format!("{}_bare", project.database);
        project.elsewhere(&format!("create database {bare} template template0"));
        pg::program("psql", &["-Xqd", &bare, "-c", table, "-c", &format!("alter table a owner to {}", pg::DEPLOYER)]);
        let other = project.url().replace(&project.database, &bare);
        for sides in [["dev", &other], [&other, "dev"]] {
            let told = project.dbd(&["compare", sides[0], sides[1], "--json"]).expect(0).json();
            assert_eq!(told["changes"], json!([]), "{format}: {told}");
        }
        project.elsewhere(&format!("drop database {bare}"));
    }
}

#[test]
fn a_tool_that_is_told_of_another_table_than_before_is_not_believed() {
    let mut project = Project::empty();
    project.with_sandboxes_on_the_server();
    project.config("[migrations]\ndir = \"migrations\"\n").write(&format!("migrations/{}", GOOSE.0), GOOSE.1);
    project.start().expect(0).outcome("succeeded");
    project.set("GOOSE_TABLE", "elsewhere");
    project.start().expect(3).because("DBD-0214", &["public.goose_db_version", "public.elsewhere", "table ="]);
    let status = project.dbd(&["migrations", "status", "dev"]).expect(0);
    assert!(status.stderr.contains("public.goose_db_version"), "{status:?}");
}

#[test]
fn the_urls_of_two_environments_have_to_name_one_table() {
    let mut project = Project::empty();
    project.write("go.mod", "require github.com/golang-migrate/migrate/v4 v4.18.1\n");
    project.write("migrations/000001_a.up.sql", "create table a ();\n");
    let url = project.url() + "&x-migrations-table=one";
    project.set("PROD_POSTGRES_URL", &url);
    project
        .dbd(&["migrations", "list", "--json"])
        .expect(2)
        .because("DBD-0003", &["dev", "prod", "x-migrations-table"]);
    project.set("DEV_POSTGRES_URL", &url);
    project.dbd(&["migrations", "list", "--json"]).expect(0);
}

#[test]
fn sqitch_is_told_of_what_was_taken_back() {
    let mut project = Project::empty();
    project.with_sandboxes_on_the_server();
    let plan = format!(
        "{SQITCH}@v1 2024-01-31T12:30:00Z Marge <marge@example.com>\n\
         b [a !c] 2024-02-01T12:00:00Z Marge <marge@example.com> # Adds b.\n@v2 2024-02-01T12:30:00Z Marge <marge@example.com>\n"
    );
    project.config("[migrations]\ndir = \"migrations\"\n[environments.dev]\nverify.command = \"exit 1\"\n");
    project.write("migrations/sqitch.plan", &plan);
    project.write("migrations/deploy/a.sql", "create table a (id int primary key);\n");
    project.write("migrations/deploy/b.sql", "alter table a add b text;\n");
    project.start().expect(4).outcome("rolled_back");
    assert_eq!(
        project.rows("select event, change, note, requires, conflicts, tags from sqitch.events order by committed_at"),
        [
            "deploy|a||{}|{}|{@v1}",
            "deploy|b|Adds b.|{a}|{c}|{@v2}",
            "revert|b|Adds b.|{a}|{c}|{@v2}",
            "revert|a||{}|{}|{@v1}",
        ]
    );
    assert_eq!(project.value("select (select count(*) from sqitch.changes) + (select count(*) from sqitch.tags)"), "0");
    project.assert_sound();
}

#[test]
fn a_tag_that_sqitchs_plan_got_later_is_noted_with_the_next_change() {
    let mut project = Project::empty();
    project.with_sandboxes_on_the_server();
    project.config("[migrations]\ndir = \"migrations\"\n");
    project.write("migrations/sqitch.plan", SQITCH);
    project.write("migrations/deploy/a.sql", "create table a (id int primary key);\n");
    project.start().expect(0).outcome("succeeded");
    let plan = format!(
        "{SQITCH}@v1 2024-01-31T12:30:00Z Marge <marge@example.com>\nb 2024-02-01T12:00:00Z Marge <marge@example.com>\n"
    );
    project.write("migrations/sqitch.plan", &plan);
    project.write("migrations/deploy/b.sql", "alter table a add b text;\n");
    project.start().expect(0).outcome("succeeded");
    let tagged = "select t.tag, c.change from sqitch.tags t join sqitch.changes c using (change_id)";
    assert_eq!(project.rows(tagged), ["@v1|a"]);
}

#[test]
fn what_its_tool_left_undone_is_shown_as_failed() {
    let mut project = Project::empty();
    project.with_sandboxes_on_the_server();
    project.config("[migrations]\ndir = \"migrations\"\nformat = \"sqlx\"\n");
    project.write("migrations/1_a.sql", "create table a ();\n").write("migrations/2_b.sql", "create table b ();\n");
    project.start().expect(0).outcome("succeeded");
    project.sql("update _sqlx_migrations set success = false where version = 2");
    let text = project.dbd(&["migrations", "status", "dev"]).expect(3).stdout;
    assert!(text.contains("1 applied, 0 pending, 1 failed") && text.contains("  failed   2_b"), "{text}");
    let told = project.dbd(&["migrations", "status", "dev", "--json"]).expect(3).json();
    assert_eq!(told["migrations"][1]["state"], "failed", "{told}");
}
