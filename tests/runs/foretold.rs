//! What a run foretells of locks and waits, what it measures, and the budget that is held against it.

use crate::support::pg;
use crate::support::project::{Output, Project};
use serde_json::{Value, json};

fn dry(project: &Project) -> Output {
    project.dbd(&["start", "dev", "--dry-run", "--allow", "all", "--reason", "a trial", "--json"])
}

/// The forecast for `sql` in files of their own: object, lock, what waits.
fn forecast(files: &[&str]) -> (Vec<Vec<String>>, Value) {
    let project = Project::new();
    // Without a key, so that no way back in place adds locks of its own.
    project.sql("create table notes (price int); insert into notes select n from generate_series(1, 100000) n");
    for (at, sql) in files.iter().enumerate() {
        project.migration(&format!("{:04}_change", at + 1), sql);
    }
    let document = dry(&project).expect(0).json();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = document["rehearsal"]["forecast"].as_array().unwrap().clone();
    let told = all.iter().map(|one| vec![text(&one["object"]), text(&one["lock"]), text(&one["blocks"])]).collect();
    (told, document)
}

#[test]
fn rows_that_an_update_holds_are_foretold_with_the_locks() {
    let (told, document) = forecast(&[
        "alter table orders add column paid boolean; select pg_sleep(0.05);",
        "update notes set price = price + 1 where price <= 120;\nselect pg_sleep(0.3);",
        "create table made_here (id int); insert into made_here values (1); update made_here set id = 2;",
    ]);
    assert_eq!(told.len(), 2, "{document:#}");
    assert_eq!(told[0], ["public.orders", "AccessExclusiveLock", "reads and writes"], "{document:#}");
    assert!(told[1][0] == "public.notes" && told[1][2].starts_with("writes"), "{document:#}");
    let rows = &document["rehearsal"]["forecast"][1];
    assert_eq!((&rows["by"], &rows["through"]), (&json!("0002_change:1"), &json!("0002_change:2")), "{rows:#}");
    assert!(rows["held_ms"].as_u64().unwrap() >= 300, "to the end of the transaction: {rows:#}");
    assert!(rows["low_ms"].as_u64() < rows["held_ms"].as_u64() && rows["held_ms"].as_u64() < rows["high_ms"].as_u64());
    assert_eq!(rows["basis"], "copy");
    let statement = &document["rehearsal"]["migrations"][1]["statements"][0];
    assert_eq!(statement["changed"], json!([["public.notes", 120]]), "{statement:#}");
    assert_eq!(document["rehearsal"]["timeline"]["held"][0]["object"], "public.notes");
}

#[test]
fn a_statement_outside_a_transaction_keeps_only_schema_changes_waiting() {
    let (told, document) = forecast(&["create index concurrently later on notes (price)"]);
    assert_eq!(told, [["public.notes", "ShareUpdateExclusiveLock", "schema changes"]], "{document:#}");
    let windows = &document["rehearsal"]["migrations"][0]["statements"][0]["windows"];
    assert!(windows.as_array().is_some_and(|all| !all.is_empty()), "{document:#}");
}

#[test]
fn temporary_files_are_traced() {
    let (_, document) = forecast(&[
        "set local work_mem = '64kB'; create table sorted as select md5(n::text) as a from generate_series(1, 20000) n order by 1;",
    ]);
    let bytes = document["rehearsal"]["migrations"][0]["statements"][1]["temp_bytes"].as_u64();
    assert!(bytes.unwrap() > 100_000, "{document:#}");
}

#[test]
fn the_sandbox_is_as_a_live_table_is_when_a_statement_runs_in_it() {
    // As many rows as there are pages, and as pages whose rows everybody sees; what the trials of the way back wrote is gone.
    let pages = "select from generate_series(1, pg_relation_size('notes') / 8192)";
    let visible = "select from generate_series(1, (select relallvisible from pg_class where relname = 'notes'))";
    let update = "update notes set price = price + 1 where price < 50000";
    let rows = |document: &Value, at: usize| {
        document["rehearsal"]["migrations"][0]["statements"][at]["rows"].as_u64().unwrap_or_default()
    };
    let (_, alone) = forecast(&[&format!("{pages};\n{visible};")]);
    let there = rows(&alone, 0);
    assert!(there > 100, "{alone:#}");
    assert_eq!(rows(&alone, 1), there, "after the restore: {alone:#}");
    let (_, written) = forecast(&[&format!("{pages};\n{visible};\n{update};")]);
    assert_eq!(written["rehearsal"]["migrations"][0]["statements"][2]["rows"], 49_999, "{written:#}");
    assert_eq!((rows(&written, 0), rows(&written, 1)), (there, there), "after the trials: {written:#}");
}

#[test]
fn a_forecast_over_the_budget_refuses_the_run_and_names_the_statement_and_the_way_out() {
    let project = Project::new();
    project
        .migration("0001_change", "alter table orders add column paid boolean;\nselect pg_sleep(0.2);\n")
        .config("[environments.dev.budget]\nblocked_reads = '50ms'\nblocked_writes = '10s'\nduration = '60ms'\n");
    let before = project.snapshot();
    let output = project.start().expect(3).outcome("refused");
    let (code, text) = output.reason();
    assert_eq!(code, "DBD-0405");
    assert!(text.contains("over_budget"), "{text}");
    let document = output.json();
    let findings = document["findings"].as_array().unwrap();
    let of = |code: &str| findings.iter().find(|one| one["code"] == code).unwrap_or_else(|| panic!("{findings:#?}"));
    let reads = of("blocked_reads_over_budget");
    assert_eq!((&reads["severity"], &reads["object"]), (&json!("error"), &json!("public.orders")));
    let message = reads["message"].as_str().unwrap();
    for words in
        ["the budget is 50 ms", "0001_change:1 takes AccessExclusiveLock", "pg_sleep", "a migration of its own"]
    {
        assert!(message.contains(words), "{message}");
    }
    assert_eq!(of("duration_over_budget")["severity"], "error");
    assert!(!findings.iter().any(|one| one["code"] == "blocked_writes_over_budget"));
    assert_eq!(project.snapshot(), before);
    let codes = "--allow=blocked_reads_over_budget";
    project
        .dbd(&["start", "dev", codes, "--allow=duration_over_budget", "--reason", "at night", "--json"])
        .expect(0)
        .outcome("succeeded");
}

#[test]
fn what_was_measured_stands_beside_the_forecast_and_teaches_the_next_one() {
    let project = Project::new();
    project.migration("0001_one", "alter table orders add column paid boolean;\nselect pg_sleep(0.1);\n");
    let run = project.start().expect(0).run();
    let steps: Vec<Value> = project
        .events()
        .into_iter()
        .filter(|event| event.kind == "step.succeeded" && event.body["outcome"]["of"] == "step")
        .map(|event| event.body["outcome"]["held_ms"].clone())
        .collect();
    assert!(steps[0][0].as_u64().unwrap() >= 100, "from the statement to the commit: {steps:?}");
    let report = fs_err::read_to_string(project.artifact(&run, "report.md")).unwrap();
    let told = report.split("## Locks foretold and measured").nth(1).unwrap().split("\n## ").next().unwrap();
    assert!(told.contains("`0001_one:1, through 0001_one:2`") && told.contains('█'), "{told}");
    let page = fs_err::read_to_string(project.artifact(&run, "report.html")).unwrap();
    assert!(page.contains("<svg class=\"timeline\"") && !page.contains("<script"));

    project.migration("0002_two", "alter table orders add column paid_at date;\nselect pg_sleep(0.1);\n");
    let document = dry(&project).expect(0).json();
    let correction = &document["rehearsal"]["correction"];
    assert_eq!(correction["runs"], 1, "{document:#}");
    assert!((50..=400).contains(&correction["percent"].as_u64().unwrap()), "{correction}");
}

/// A command that writes what a query says of the sandbox into a file of the project.
fn asks(query: &str, file: &str) -> String {
    format!(
        "{} -XAtq -v ON_ERROR_STOP=1 \"$DATABASE_URL\" -c \"{query}\" > {file}",
        pg::server().bin.join("psql").display()
    )
}

fn answer(project: &Project, file: &str) -> String {
    fs_err::read_to_string(project.root().join(file)).unwrap().trim().to_owned()
}

#[test]
fn what_the_trial_of_the_way_back_rolled_back_is_gone_before_anything_is_foretold() {
    let project = Project::new();
    project.sql(
        "create table wares (id int primary key, note text not null, status text);
         insert into wares select n, repeat(md5(n::text), 4), 'open' from generate_series(1, 20000) n",
    );
    // Its way back fills the column again, in the trial as well: every row has a second version then, and a third.
    project
        .migration("0001_change", "alter table wares drop column status;")
        .config(&format!("[tests]\ncommand = '''{}'''\n", asks("select pg_relation_size('wares')", "size.txt")));
    let before: i64 = project.value("select pg_relation_size('wares')").parse().unwrap();
    let output = project
        .dbd(&["start", "dev", "--json", "--allow", "column_removed", "--reason", "test"])
        .expect(0)
        .outcome("succeeded");
    let rehearsal: Value =
        serde_json::from_slice(&fs_err::read(project.artifact(&output.run(), "rehearsal.json")).unwrap()).unwrap();
    assert_eq!(rehearsal["reverse"]["proven"], true, "the way back was tried: {:#}", rehearsal["reverse"]);
    let seen: i64 = answer(&project, "size.txt").parse().unwrap();
    assert!(seen < before * 3 / 2, "the table has {before} bytes, and in the sandbox {seen}");
    project.assert_sound();
}

#[test]
fn a_sample_brings_along_whatever_its_rows_refer_to() {
    let project = Project::new();
    project.sql(
        "create table regions (id int primary key, over int references regions);
         insert into regions select n, nullif(n / 2, 0) from generate_series(1, 4000) n;
         create table shops (id int primary key, region int not null references regions);
         insert into shops select n, n * 4 from generate_series(1, 1000) n;
         create table sales (shop int not null references shops, amount int, primary key (shop, amount)) partition by hash (shop);
         create table sales_0 partition of sales for values with (modulus 2, remainder 0);
         create table sales_1 partition of sales for values with (modulus 2, remainder 1);
         insert into sales select n % 1000 + 1, n from generate_series(1, 5000) n; analyze;",
    );
    let query = "select (select count(*) from sales) > 0 and (select count(*) from sales) < 2500, (select count(*) from regions) < 4000,
        (select count(*) from sales s left join shops p on p.id = s.shop where p.id is null) +
        (select count(*) from regions r left join regions p on p.id = r.over where r.over is not null and p.id is null),
        (select count(*) from pg_constraint where contype = 'f' and not convalidated), (select count(*) from customers)";
    project.migration("0001_change", "alter table sales add column at date;").config(&format!(
        "[sandbox]\ndata = 'sample'\n[sandbox.sample]\nrows = 40\npercent = 5\n[tests]\ncommand = '''{}'''\n",
        asks(query, "seen.txt")
    ));
    let output = project.start().expect(0).outcome("succeeded");
    let report = fs_err::read_to_string(project.artifact(&output.run(), "report.md")).unwrap();
    assert!(report.contains("the sandbox has a sample") && report.contains("a guess"), "{report}");
    assert_eq!(answer(&project, "seen.txt"), "t|t|0|0|40", "whole where it is small");
    let rehearsal: Value =
        serde_json::from_slice(&fs_err::read(project.artifact(&output.run(), "rehearsal.json")).unwrap()).unwrap();
    assert_eq!(rehearsal["forecast"][0]["basis"], "sample", "it says that it is a guess: {rehearsal:#}");
}

#[test]
fn a_masked_value_never_reaches_the_sandbox_and_joins_still_hold() {
    let project = Project::new();
    project.sql(
        "create table people (email text primary key, name varchar(40) not null, phone text, salary int, born date, ref uuid unique);
         insert into people select 'p' || n || '@shop.example', 'Person ' || n, '555-' || n, n, '1990-01-01', gen_random_uuid() from generate_series(1, 50) n;
         create table letters (id int generated always as identity, person text not null references people, body text);
         insert into letters (person, body) select 'p' || n || '@shop.example', 'dear ' || n from generate_series(1, 50) n;",
    );
    let query = "select count(*) filter (where email like 'p%@shop.example' or name like 'Person%' or phone like '555%' or born is not null or salary <> 7),
        count(distinct email), count(distinct ref), (select count(*) from people join letters on person = email), min(length(phone))::text,
        (select count(*) from letters where body like 'dear%') from people";
    project.migration("0001_change", "alter table people add column note text;").config(&format!(
        "[sandbox.mask]\n'public.people.email' = 'hash'\n'letters.person' = 'hash'\n'people.name' = 'name'\n'people.phone' = 'text'\n\
         'people.salary' = 'constant:7'\n'people.born' = 'null'\n'people.ref' = 'hash'\n'letters.body' = 'text'\n\
         [tests]\ncommand = '''{}'''\n",
        asks(query, "seen.txt")
    ));
    let output = project.start().expect(0).outcome("succeeded");
    assert_eq!(answer(&project, "seen.txt"), "0|50|50|50|5|0", "{output:?}");
    let report = fs_err::read_to_string(project.artifact(&output.run(), "report.md")).unwrap();
    assert!(report.contains("8 column(s) were masked"), "{report}");
    assert_eq!(project.value("select count(*)::text from people where email like 'p%@shop.example'"), "50");
}

#[test]
fn a_mask_that_fits_no_column_refuses_the_run_and_others_are_suggested() {
    let project = Project::new();
    project.sql("create table people (id int primary key, email text, phone_number text)");
    project.migration("0001_change", "create table more (id int);").config("[sandbox.mask]\n'people.mail' = 'email'\n");
    project.start().expect(3).because("DBD-0003", &["public.people.mail", "[sandbox.mask]"]);
    project.config("[sandbox.mask]\n'people.email' = 'email'\n");
    let document = project.start().expect(0).json();
    let found: Vec<_> =
        document["findings"].as_array().unwrap().iter().map(|one| (&one["code"], &one["object"])).collect();
    assert_eq!(found, [(&json!("personal_column_unmasked"), &json!("public.people.phone_number"))], "{document:#}");
    project.config("[sandbox.mask]\n'people.email' = 'mail'\n");
    project.start().expect(2).because("DBD-0003", &["email, name, text"]);
}

#[test]
fn the_running_applications_tests_have_to_pass_too_on_a_database_of_their_own() {
    let project = Project::new();
    let old = asks("select count(note) from customers; insert into orders (customer) values (1)", "old.txt");
    let new = asks("select count(*) from orders", "new.txt");
    project
        .migration("0001_change", "alter table orders add column paid boolean;")
        .config(&format!("[tests]\nprevious = '''{old}'''\ncommand = '''{new}'''\n"));
    project.start().expect(0).outcome("succeeded");
    assert_eq!((answer(&project, "old.txt").as_str(), answer(&project, "new.txt").as_str()), ("40", "120"));

    project.migration("0002_drop", "alter table customers drop column note;");
    let before = project.snapshot();
    let output = project.dbd(&["start", "dev", "--allow", "all", "--reason", "a trial", "--json"]);
    let output = output.expect(3).because("DBD-0420", &["still runs", "tests-previous.log"]);
    assert!(project.artifact(&output.run(), "tests-previous.log").exists());
    assert_eq!(project.snapshot(), before);
}
