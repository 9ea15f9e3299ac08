//! Folders of other tools: deployed by the real binary, and tracked as those tools would.

use crate::support::project::Project;

/// A folder, the query that shows what the tool would find, and the answer; `$1` and so on stand for digests taken by the server.
struct Folder {
    format: &'static str,
    files: &'static [(&'static str, &'static str)],
    query: &'static str,
    rows: &'static [&'static str],
}

const FOLDERS: &[Folder] = &[
    Folder {
        format: "drizzle",
        files: &[
            (
                "migrations/20240131120000_init/migration.sql",
                "CREATE TABLE a (id int PRIMARY KEY);--> statement-breakpoint\nCREATE INDEX ON a (id);",
            ),
            ("migrations/20240131120000_init/snapshot.json", "{\"id\": \"1\", \"prevIds\": []}"),
        ],
        query: "select name, created_at, hash = encode(sha256('CREATE TABLE a (id int PRIMARY KEY);--> statement-breakpoint\nCREATE INDEX ON a (id);'), 'hex'), applied_at is not null from drizzle.__drizzle_migrations order by id",
        rows: &["20240131120000_init|1706702400000|t|t"],
    },
    Folder {
        format: "prisma",
        files: &[
            ("migrations/migration_lock.toml", "provider = \"postgresql\"\n"),
            ("migrations/20240131120000_init/migration.sql", "CREATE TABLE \"User\" (\"id\" SERIAL PRIMARY KEY);\n"),
            ("migrations/20240201120000_age/migration.sql", "ALTER TABLE \"User\" ADD COLUMN \"age\" INT;\n"),
        ],
        query: "select migration_name, checksum = encode(sha256(case when migration_name like '%init' then 'CREATE TABLE \"User\" (\"id\" SERIAL PRIMARY KEY);\n' else 'ALTER TABLE \"User\" ADD COLUMN \"age\" INT;\n' end::bytea), 'hex'), length(id), finished_at is not null, rolled_back_at is null, applied_steps_count from _prisma_migrations order by 1",
        rows: &["20240131120000_init|t|36|t|t|1", "20240201120000_age|t|36|t|t|1"],
    },
    Folder {
        format: "flyway",
        files: &[
            ("migrations/V1__init.sql", "create table a (id int primary key);\n"),
            ("migrations/V1_1__more_rows.sql", "insert into a values (1);\n"),
            ("migrations/U1_1__more_rows.sql", "delete from a;\n"),
            ("migrations/R__view.sql", "create or replace view v as select id from a;\n"),
        ],
        query: "select installed_rank, version, description, type, script, checksum is not null, success from flyway_schema_history order by 1",
        rows: &[
            "1|1|init|SQL|V1__init.sql|t|t",
            "2|1.1|more rows|SQL|V1_1__more_rows.sql|t|t",
            "3|null|view|SQL|R__view.sql|t|t",
        ],
    },
    Folder {
        format: "sqlx",
        files: &[
            ("migrations/20240131120000_init.up.sql", "create table a (id int primary key);"),
            ("migrations/20240131120000_init.down.sql", "drop table a;"),
            ("migrations/20240201120000_an_index.sql", "-- no-transaction\ncreate index concurrently a_id on a (id);"),
        ],
        query: "select version, description, success, checksum = sha384(case version when 20240131120000 then 'create table a (id int primary key);' else '-- no-transaction\ncreate index concurrently a_id on a (id);' end::bytea), execution_time from _sqlx_migrations order by 1",
        rows: &["20240131120000|init|t|t|0", "20240201120000|an index|t|t|0"],
    },
    Folder {
        format: "dbmate",
        files: &[
            (
                "migrations/20240131120000_init.sql",
                "-- migrate:up\ncreate table a (id int primary key);\n\n-- migrate:down\ndrop table a;\n",
            ),
            (
                "migrations/20240201120000_index.sql",
                "-- migrate:up transaction:false\ncreate index concurrently a_id on a (id);\n\n-- migrate:down\ndrop index a_id;\n",
            ),
        ],
        query: "select version from schema_migrations order by 1",
        rows: &["20240131120000", "20240201120000"],
    },
    Folder {
        format: "goose",
        files: &[
            (
                "migrations/00001_init.sql",
                "-- +goose Up\ncreate table a (id int primary key);\n-- +goose Down\ndrop table a;\n",
            ),
            (
                "migrations/00002_f.sql",
                "-- +goose Up\n-- +goose StatementBegin\ncreate function f() returns int language plpgsql as $$\nbegin\n  return 1;\nend\n$$;\n-- +goose StatementEnd\n-- +goose Down\ndrop function f();\n",
            ),
        ],
        query: "select version_id, is_applied from goose_db_version order by id",
        rows: &["0|t", "1|t", "2|t"],
    },
    Folder {
        format: "golang-migrate",
        files: &[
            ("migrations/000001_init.up.sql", "BEGIN;\ncreate table a (id int primary key);\nCOMMIT;\n"),
            ("migrations/000001_init.down.sql", "drop table a;\n"),
            ("migrations/000002_more.up.sql", "alter table a add column b int;\n"),
            ("migrations/000002_more.down.sql", "alter table a drop column b;\n"),
        ],
        query: "select version, dirty from schema_migrations",
        rows: &["2|f"],
    },
    Folder {
        format: "refinery",
        files: &[
            ("migrations/V1__initial.sql", "create table a (id int primary key);\n"),
            ("migrations/U3__late.sql", "alter table a add column b int;\n"),
        ],
        query: "select version, name, checksum ~ '^[0-9]+$', applied_on like '20%T%Z' from refinery_schema_history order by 1",
        rows: &["1|initial|t|t", "3|late|t|t"],
    },
    Folder {
        format: "sqitch",
        files: &[
            (
                "migrations/sqitch.plan",
                "%syntax-version=1.0.0\n%project=flipr\n\nappschema 2013-12-30T23:19:37Z Marge <marge@example.com> # Adds it.\n@v1 2013-12-31T00:00:00Z Marge <marge@example.com>\nusers [appschema] 2014-01-01T00:00:00Z Marge <marge@example.com>\n",
            ),
            ("migrations/deploy/appschema.sql", "BEGIN;\nCREATE SCHEMA flipr;\nCOMMIT;\n"),
            ("migrations/revert/appschema.sql", "DROP SCHEMA flipr;\n"),
            ("migrations/deploy/users.sql", "BEGIN;\nCREATE TABLE flipr.users (id int);\nCOMMIT;\n"),
        ],
        query: "select c.change, length(c.change_id), c.note, (select count(*) from sqitch.events e where e.change_id = c.change_id and event = 'deploy'), (select tag from sqitch.tags t where t.change_id = c.change_id), (select dependency from sqitch.dependencies d where d.change_id = c.change_id) from sqitch.changes c order by committed_at",
        rows: &["appschema|40|Adds it.|1|@v1|null", "users|40||1|null|appschema"],
    },
];

#[test]
fn every_tools_folder_is_deployed_and_tracked_as_the_tool_would() {
    for folder in FOLDERS {
        let mut project = Project::empty();
        project.with_sandboxes_on_the_server();
        project.config(&format!("[migrations]\ndir = \"migrations\"\nformat = \"{}\"\n", folder.format));
        for (path, text) in folder.files {
            project.write(path, text);
        }
        let output = project.start().expect(0).outcome("succeeded");
        assert_eq!(project.rows(folder.query), folder.rows, "{}: {output:?}", folder.format);
        assert!(project.tracking().is_empty());
        let status = project.dbd(&["migrations", "status", "dev", "--json"]).expect(0).json();
        for one in status["migrations"].as_array().unwrap() {
            assert_eq!(
                (&one["state"], &one["checksum"], &one["applied_by"]),
                (&"applied".into(), &"same".into(), &output.run().into()),
                "{}",
                folder.format
            );
        }
        let again = project.start().expect(0).outcome("succeeded");
        assert_eq!(again.json()["migrations"], serde_json::json!([]), "{}", folder.format);
        assert_eq!(project.rows(folder.query), folder.rows, "{}", folder.format);
        // The next migration is found in the folder's own format, and its way forward is all that runs.
        let made = project.dbd(&["migrations", "new", "add a note", "--json"]).expect(0).json();
        let list = project.dbd(&["migrations", "list", "--json"]).expect(0).json();
        let files = list["migrations"].as_array().unwrap();
        assert!(files.iter().any(|one| one["file"] == made["file"]), "{}: {made}: {list}", folder.format);
        project.assert_sound();
    }
}

#[test]
fn a_renamed_table_and_placeholders_are_read_from_the_tools_own_configuration() {
    let mut project = Project::empty();
    project.with_sandboxes_on_the_server();
    project.config("[migrations]\ndir = \"migrations\"\n");
    project.write(
        "flyway.toml",
        "[flyway]\ndefaultSchema = \"App\"\ntable = \"history\"\n[flyway.placeholders]\nplace = \"public\"\nwords = \"it''s\"\n",
    );
    project.write("migrations/V1__init.sql", "create table ${place}.a (b text default '${WORDS}');\n");
    project.write("migrations/R__view.sql", "create or replace view v as select b || '${words}' as b from a;\n");
    project.start().expect(0).outcome("succeeded");
    assert_eq!(
        project.rows("select column_default from information_schema.columns where table_name = 'a'"),
        ["'it''s'::text"]
    );
    let kept = "select version, script from \"App\".history order by installed_rank";
    assert_eq!(project.rows(kept), ["1|V1__init.sql", "null|R__view.sql"]);
    assert_eq!(project.rows("select to_regclass('public.flyway_schema_history') is null"), ["t"]);
    let status = project.dbd(&["migrations", "status", "dev", "--json"]).expect(0).json();
    assert_eq!((&status["tracking"], &status["applied"]), (&"\"App\".history".into(), &2.into()));
    let again = project.start().expect(0).outcome("succeeded");
    assert_eq!(again.json()["migrations"], serde_json::json!([]));
    // Another value: the repeatable runs again, the version is what it was.
    project.write("flyway.user.toml", "[flyway.placeholders]\nwords = \"other\"\n");
    let third = project.start().expect(0).outcome("succeeded");
    assert_eq!(third.json()["migrations"].as_array().map(Vec::len), Some(1), "{third:?}");
    assert!(project.rows("select pg_get_viewdef('v')")[0].contains("other"));
    project.write("migrations/V2__more.sql", "select '${nowhere}';\n");
    project.start().expect(3).because("DBD-0201", &["nowhere", "V2__more.sql"]);
}

#[test]
fn sqitchs_verify_scripts_are_run_before_a_change_counts() {
    let mut project = Project::empty();
    project.with_sandboxes_on_the_server();
    project.config("[migrations]\ndir = \"migrations\"\n");
    let first = "%syntax-version=1.0.0\n%project=shop\n\na 2024-01-31T12:00:00Z Marge <marge@example.com>\n";
    project.write("migrations/sqitch.plan", first);
    project.write("migrations/deploy/a.sql", "create table a (id int);\ninsert into a values (1);\n");
    project.write("migrations/verify/a.sql", "BEGIN;\nselect 1 / count(*) from a;\nROLLBACK;\n");
    project.start().expect(0).outcome("succeeded");
    let plan = format!("{first}b [a] 2024-02-01T12:00:00Z Marge <marge@example.com>\n");
    project.write("migrations/sqitch.plan", &plan);
    project.write("migrations/deploy/b.sql", "create table b (id int);\n");
    project.write("migrations/verify/b.sql", "select 1 / count(*) from b;\n");
    let before = project.snapshot();
    project.start().expect(3).because("DBD-0401", &["b.sql", "verify script", "division by zero"]);
    assert_eq!(project.snapshot(), before);
    // It looks and does nothing.
    project.write("migrations/verify/b.sql", "insert into b values (1);\n");
    project.start().expect(3).because("DBD-0401", &["verify script", "read-only"]);
    project.write("migrations/verify/b.sql", "select id from b where false;\n");
    project.start().expect(0).outcome("succeeded");
    assert_eq!(project.rows("select change from sqitch.changes order by committed_at"), ["a", "b"]);
}

#[test]
fn a_table_that_was_renamed_on_a_command_line_is_named_in_dbds_configuration() {
    for (format, path, text, kept) in [
        (
            "golang-migrate",
            "000001_a.up.sql",
            "create table a ();",
            "select version::text || dirty::text from app.track",
        ),
        (
            "goose",
            "00001_a.sql",
            "-- +goose Up\ncreate table a ();\n",
            "select version_id::text || is_applied::text from app.track order by id",
        ),
        ("dbmate", "20240131120000_a.sql", "-- migrate:up\ncreate table a ();\n", "select version from app.track"),
        ("refinery", "V1__a.sql", "create table a ();", "select version::text || name from app.track"),
    ] {
        let mut project = Project::empty();
        project.with_sandboxes_on_the_server();
        project.config(&format!("[migrations]\ndir = \"migrations\"\nformat = \"{format}\"\ntable = \"app.track\"\n"));
        project.write(&format!("migrations/{path}"), text);
        project.start().expect(0).outcome("succeeded");
        let expected: &[&str] = match format {
            "golang-migrate" => &["1false"],
            "goose" => &["0true", "1true"],
            "dbmate" => &["20240131120000"],
            _ => &["1a"],
        };
        assert_eq!(project.rows(kept), expected, "{format}");
        let again = project.start().expect(0).outcome("succeeded");
        assert_eq!(again.json()["migrations"], serde_json::json!([]), "{format}");
    }
}

#[test]
fn a_run_taken_back_in_place_leaves_no_trace_in_any_tools_table() {
    for folder in FOLDERS {
        let mut project = Project::empty();
        project.with_sandboxes_on_the_server();
        let config = |verify: &str| {
            project.config(&format!(
                "[migrations]\ndir = \"migrations\"\nformat = \"{}\"\n[environments.dev]\n{verify}",
                folder.format
            ));
        };
        config("verify.command = \"exit 1\"\n");
        for (path, text) in folder.files {
            project.write(path, text);
        }
        let back = project.start().expect(4).outcome("rolled_back");
        let restored = project.events().iter().any(|one| one.body["effect"]["do"] == "restore");
        assert!(!restored, "{}: the backup was restored\n{back:?}", folder.format);
        assert_eq!(project.value("select count(*) from dbd.applied where run_id <> ''"), "0", "{}", folder.format);
        let status = project.dbd(&["migrations", "status", "dev", "--json"]).expect(0).json();
        for one in status["migrations"].as_array().unwrap() {
            assert_eq!(one["state"], "pending", "{}: {status}", folder.format);
        }
        // And so all of it is applied the next time.
        config("");
        project.start().expect(0).outcome("succeeded");
        // Sqitch's log of events is a history: it keeps the deploy that was taken back.
        let twice = |row: &&str| if folder.format == "sqitch" { row.replace("|1|", "|2|") } else { (*row).to_owned() };
        let rows: Vec<String> = folder.rows.iter().map(twice).collect();
        assert_eq!(project.rows(folder.query), rows, "{}", folder.format);
        project.assert_sound();
    }
}

#[test]
fn golang_migrates_one_row_goes_back_to_the_version_before() {
    let mut project = Project::empty();
    project.with_sandboxes_on_the_server();
    let config = "[migrations]\ndir = \"migrations\"\nformat = \"golang-migrate\"\n";
    project.config(config).write("migrations/000001_init.up.sql", "create table a (id int primary key);\n");
    project.start().expect(0).outcome("succeeded");
    project.config(&format!("{config}[environments.dev]\nverify.command = \"exit 1\"\n"));
    project.write("migrations/000002_b.up.sql", "create table b (id int primary key);\n");
    project.write("migrations/000003_c.up.sql", "create table c (id int primary key);\n");
    project.start().expect(4).outcome("rolled_back");
    assert_eq!(project.rows("select version, dirty from schema_migrations"), ["1|f"]);
    project.assert_sound();
}

#[test]
fn a_reformatted_file_is_no_change_and_an_edit_is_shown() {
    let mut project = Project::empty();
    project.with_sandboxes_on_the_server();
    let flyway = |text: &str| {
        // Flyway knows it as version 1, and its row says `001.0`.
        project.write("migrations/V001.0__init.sql", text);
    };
    flyway("create table a (id int primary key);\n");
    project.write("migrations/R__view.sql", "create or replace view v as select 1 as one;\n");
    project.start().expect(0).outcome("succeeded");
    flyway("-- (c) somebody\r\nCREATE TABLE a\r\n  (id int primary key);\r\n");
    let status = project.dbd(&["migrations", "status", "dev", "--json"]).expect(0).json();
    assert_eq!(status["migrations"][0]["checksum"], "reformatted");
    // A repeatable runs again once it changed, and only then.
    project.write("migrations/R__view.sql", "create or replace view v as select 2 as one;\n");
    let status = project.dbd(&["migrations", "status", "dev", "--json"]).expect(0).json();
    let view = &status["migrations"][1];
    assert_eq!((view["state"].as_str(), view["checksum"].as_str()), (Some("pending"), Some("changed")), "{view}");
    assert!(view["applied_at"].is_string() && view["applied_by"].is_string(), "{view}");
    let again = project.start().expect(0).outcome("succeeded").json();
    assert_eq!(again["migrations"].as_array().unwrap().len(), 1, "{again}");
    assert_eq!(project.value("select one from v"), "2");
    flyway("create table a (id bigint primary key);\n");
    let refused = project.start().expect(3);
    refused.because("DBD-0204", &["+create table a (id bigint primary key);", "-create table a (id int primary key);"]);
    project.assert_sound();
}

#[test]
fn a_table_of_dbds_own_from_before_it_held_the_proofs_is_read_and_gets_a_place_for_them() {
    let mut project = Project::empty();
    project.with_sandboxes_on_the_server();
    project.write("migrations/1_init.sql", "create table a (id int primary key);\n");
    project.start().expect(0).outcome("succeeded");
    // As an earlier dbd would have left it.
    project.sql(
        "create table dbd.applied (tracking text not null, key text not null, file text, digest text, tokens text, body text, run_id text not null, \
         applied_at timestamptz not null default clock_timestamp(), primary key (tracking, key)); \
         insert into dbd.applied select 'dbd.migration', id, file, digest, tokens, body, run_id from dbd.migration; \
         alter table dbd.migration drop column tokens, drop column body",
    );
    project.write("migrations/1_init.sql", "-- (c) somebody\r\nCREATE TABLE a\r\n  (id int primary key);\r\n");
    let checksum = || {
        let status = project.dbd(&["migrations", "status", "dev", "--json"]).expect(0).json();
        status["migrations"][0]["checksum"].as_str().unwrap().to_owned()
    };
    assert_eq!(checksum(), "reformatted");
    project.write("migrations/2_more.sql", "create table b (id int primary key);\n");
    project.start().expect(0).outcome("succeeded");
    assert_eq!(checksum(), "reformatted");
    let places = "select id, tokens is not null, body from dbd.migration order by id";
    assert_eq!(project.rows(places), ["1_init|f|null", "2_more|t|create table b (id int primary key);\n"]);
    // An edit is shown as a patch against what the other table holds.
    project.write("migrations/1_init.sql", "create table a (id bigint primary key);\n");
    let refused = project.start().expect(3);
    refused.because("DBD-0204", &["+create table a (id bigint primary key);", "-create table a (id int primary key);"]);
    project.assert_sound();
}

#[test]
fn what_another_tool_left_undone_stops_the_run_before_anything_is_touched() {
    let mut project = Project::empty();
    project.with_sandboxes_on_the_server();
    project.write("migrations/20240131120000_init/migration.sql", "create table a (id int);");
    project.sql(
        "create table _prisma_migrations (id varchar(36) primary key, checksum varchar(64) not null, finished_at timestamptz, \
         migration_name varchar(255) not null, logs text, rolled_back_at timestamptz, started_at timestamptz not null default now(), \
         applied_steps_count integer not null default 0); \
         insert into _prisma_migrations (id, checksum, migration_name) values ('1', 'x', '20240131120000_init')",
    );
    project.start().expect(3).because("DBD-0213", &["prisma migrate resolve"]);
    // The same folder's table, while the folder is read as something else.
    project.sql("update _prisma_migrations set finished_at = now()");
    fs_err::remove_dir_all(project.root().join("migrations")).unwrap();
    project.migration("0001_init", "create table a (id int);");
    project.start().expect(3).because("DBD-0214", &["_prisma_migrations", "format"]);
    assert!(!project.finds("select 1 from pg_class where relname = 'a'"));
    project.assert_sound();
}

#[test]
fn a_database_is_adopted_only_once_a_replay_has_proven_it() {
    let mut project = Project::empty();
    project.with_sandboxes_on_the_server();
    project
        .migration("0001_a", "create table a (id int primary key);")
        .migration("0002_rows", "insert into a values (1);")
        .migration("0003_b", "create table b (id int references a);");
    project.sql("create table a (id int primary key); insert into a values (7)");
    let adopted = project.dbd(&["migrations", "adopt", "dev", "--json"]).expect(0).json();
    assert_eq!(adopted["adopted"], serde_json::json!(["0001_a", "0002_rows"]));
    assert_eq!(adopted["unproven"], serde_json::json!(["0002_rows"]));
    assert_eq!(project.tracking(), ["0001_a", "0002_rows"]);
    project.sql("alter table a add column stray int");
    let refused = project.dbd(&["migrations", "adopt", "dev", "--json"]).expect(3);
    refused.because("DBD-0215", &["a.stray"]);
    project.sql("alter table a drop column stray");
    let deployed = project.start().expect(0).outcome("succeeded").json();
    assert_eq!(deployed["migrations"].as_array().unwrap().len(), 1);
    let nothing = project.dbd(&["migrations", "adopt", "dev", "--json"]).expect(0).json();
    assert_eq!(nothing["adopted"], serde_json::json!([]));
    project.assert_sound();
}

#[test]
fn batches_go_on_behind_the_last_one_after_a_kill() {
    let mut project = Project::empty();
    project.with_sandboxes_on_the_server();
    project.sql("create table big (a int, b text, n int not null default 0, primary key (a, b)); insert into big select x % 7, 'k' || x from generate_series(1, 100) x");
    project.migration(
        "0001_fill",
        "create table before_it ();\n-- dbd: batch size=10\nupdate big set n = n + 1 where b <> 'k3' or b is null;\ncreate table after_it ();",
    );
    let holder = project.session();
    holder.sql("begin; select from big where a = 4 and b = 'k4' for update");
    let mut running = project.spawn(&["start", "dev", "--json"]);
    let stuck = "select 1 from dbd.batch where batches >= 3";
    let there = "select 1 from pg_class where relname = 'batch' and relnamespace = 'dbd'::regnamespace";
    let ready = || {
        project.finds("select 1 from pg_namespace where nspname = 'dbd'")
            && project.finds(there)
            && project.finds(stuck)
    };
    assert!(running.until("three batches", ready), "dbd ended while a row was locked");
    running.kill();
    assert!(project.finds("select 1 from big where n = 1"));
    assert!(project.finds("select 1 from big where n = 0 and b <> 'k3'"));
    holder.sql("rollback");
    project.dbd(&["resume", "--last", "--json"]).expect(0).outcome("succeeded");
    assert_eq!(project.rows("select n, count(*) from big group by 1 order by 1"), ["0|1", "1|99"]);
    assert_eq!(project.tracking(), ["0001_fill"]);
    assert!(project.finds("select 1 from pg_class where relname = 'after_it'"));
    project.assert_sound();
}

#[test]
fn the_tools_own_lock_keeps_both_out() {
    let mut project = Project::empty();
    project.with_sandboxes_on_the_server();
    project.config("[migrations]\nformat = \"prisma\"\n");
    project.write("migrations/20240131120000_init/migration.sql", "create table a (id int);");
    let holder = project.session();
    holder.sql("set application_name = 'migrator'; select pg_advisory_lock(72707369)");
    project.start().expect(3).because("DBD-0110", &["prisma"]);
    holder.sql("select pg_advisory_unlock(72707369)");
    project.start().expect(0).outcome("succeeded");
    project.assert_sound();
}

#[test]
fn a_command_migrates_the_sandbox_and_then_the_target() {
    let _shown = crate::support::project::showing_the_password();
    let mut project = Project::new();
    project.with_sandboxes_on_the_server();
    let psql = crate::support::pg::server().bin.join("psql");
    project.write("up.sql", "create table if not exists tool_versions (v int); create table if not exists made (id int); insert into tool_versions select 1 where not exists (select from tool_versions);");
    project.config(&format!(
        "[migrations]\nformat = \"command\"\ncommand = \"{} -qXv ON_ERROR_STOP=1 -1f up.sql $DATABASE_URL && echo $DBD_RUN_ID >>ran\"\n",
        psql.display()
    ));
    let output = project.start().expect(0).outcome("succeeded");
    assert_eq!(project.rows("select v from tool_versions"), ["1"]);
    let ran = fs_err::read_to_string(project.root().join("ran")).unwrap();
    assert_eq!(ran, format!("{0}\n{0}\n", output.run()));
    // Nothing is left to do, which only the command can know.
    project.start().expect(0).outcome("succeeded");
    project.write("up.sql", "create table half (id int); select 1/0;");
    let before = project.snapshot();
    project.start().expect(3).because("DBD-0409", &["division by zero"]);
    assert_eq!(project.snapshot(), before);
    project.assert_sound();
}

#[test]
fn what_was_half_done_outside_a_transaction_is_finished_or_cleaned_up() {
    let mut project = Project::new();
    project.with_sandboxes_on_the_server();
    project.sql(
        "create table p (id int) partition by range (id); create table p1 partition of p for values from (1) to (10); \
         insert into p values (1); create table t (id int primary key); insert into t values (1)",
    );
    project.migration(
        "0001_both",
        "alter table p detach partition p1 concurrently;\nreindex table concurrently t;\ncreate table last_one ();",
    );
    let reader = project.session();
    reader.sql("begin; select * from p");
    let mut running = project.spawn(&["start", "dev", "--json"]);
    let pending = "select 1 from pg_inherits where inhdetachpending";
    assert!(running.until("the partition to be half detached", || project.finds(pending)), "dbd ended before");
    running.kill();
    assert!(project.finds(pending));
    reader.sql(
        "rollback; begin isolation level repeatable read; insert into customers (name) values ('keeps builds waiting')",
    );
    let mut running = project.spawn(&["resume", "--last", "--json"]);
    let copied = "select 1 from pg_class where relname like 't_pkey_cc%'";
    assert!(running.until("the index to be half rebuilt", || project.finds(copied)), "dbd ended before");
    assert!(!project.finds("select 1 from pg_inherits where inhparent = 'p'::regclass"));
    running.kill();
    assert!(project.finds(copied));
    reader.sql("rollback");
    project.dbd(&["resume", "--last", "--json"]).expect(0).outcome("succeeded");
    assert_eq!(
        project.rows("select relname from pg_class join pg_index on oid = indexrelid where indrelid = 't'::regclass"),
        ["t_pkey"]
    );
    assert_eq!(project.rows("select id from p1"), ["1"]);
    assert!(project.finds("select 1 from pg_class where relname = 'last_one'"));
    project.assert_sound();
}
