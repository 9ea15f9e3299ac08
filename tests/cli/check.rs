//! `dbd check`: the safe form it writes, waivers on their way into a run and its record, and files that hold anything but SQL.

use crate::support::project::Project;
use serde_json::Value;

fn codes(document: &Value) -> Vec<(String, bool)> {
    let findings = document["findings"].as_array().unwrap();
    let finding = |one: &Value| (one["code"].as_str().unwrap().to_owned(), !one["danger"].is_null());
    findings.iter().map(finding).collect()
}

#[test]
fn the_safe_form_is_written_beside_the_file_and_does_the_same_without_the_danger() {
    let project = Project::new();
    let risky = "create index orders_price on orders (price);\n\
                 alter table orders add constraint dear_enough check (price > 0);\n\
                 alter table customers alter column note set not null;\n";
    project.migration("0001_risky", risky);
    project.sql("update customers set note = coalesce(note, 'x')");
    let output = project.dbd(&["check", "--against", "dev", "--fix", "--json"]).expect(0);
    assert_eq!(codes(&output.json()).iter().filter(|(_, danger)| *danger).count(), 3, "{output:?}");
    let read = |name: &str| fs_err::read_to_string(project.root().join("migrations").join(name)).unwrap();
    assert_eq!(read("0001_risky.sql"), risky);
    let (safe, next) = (read("0001_risky.sql.safe"), read("0001_risky.next.sql.safe"));

    // Nothing is written over.
    project.dbd(&["check", "--fix", "--json"]).because("DBD-0011", &["0001_risky.sql.safe"]);

    project.migration("0001_risky", &safe).migration("0002_validated", &next);
    let output = project.dbd(&["check", "--against", "dev", "--json"]).expect(0);
    assert!(codes(&output.json()).iter().all(|(_, danger)| !danger), "{output:?}");
    project.start().outcome("succeeded");
    assert_eq!(project.value("select convalidated from pg_constraint where conname = 'dear_enough'"), "t");
    assert_eq!(project.value("select indisvalid from pg_index where indexrelid = 'orders_price'::regclass"), "t");
    let not_null = "select attnotnull from pg_attribute where attrelid = 'customers'::regclass and attname = 'note'";
    assert_eq!(project.value(not_null), "t");
}

#[test]
fn what_a_file_and_the_configuration_waive_is_let_pass_and_recorded() {
    let project = Project::new();
    project.config("[check]\nallow = \"index_not_concurrent\"\nreason = \"nobody writes at night\"\n");
    project.migration(
        "0001_waived",
        "-- dbd: allow rewrite reason=a hundred rows\nalter table customers alter column note type varchar(50) using upper(note);\n\
         create index orders_price on orders (price);\n\
         -- dbd: allow scan_under_access_exclusive\nalter table orders add constraint dear_enough check (price > 0);\n",
    );
    let document = project.dbd(&["check", "--json"]).expect(6).json();
    let finding = |code: &str| {
        let findings = document["findings"].as_array().unwrap();
        let found = findings.iter().find(|one| one["code"] == code);
        found.unwrap_or_else(|| panic!("{code} is not in {document:#}"))
    };
    assert_eq!(finding("column_type_rewritten")["reason"], "a hundred rows");
    assert_eq!(finding("column_type_rewritten")["allowed_by"], "migrations/0001_waived.sql:1");
    assert_eq!(finding("index_not_concurrent")["allowed_by"], "dbd.toml");
    // Without a reason nothing is let pass, and that is said.
    assert_eq!(finding("check_added_valid")["allowed"], false);
    assert_eq!(finding("waiver_without_reason")["allowed"], false);

    let output = project.dbd(&["start", "dev", "--allow", "all", "--reason", "agreed", "--json"]).expect(0);
    let run = output.outcome("succeeded").run();
    let record = project.dbd(&["audit", "--since", "1d", "--format", "json"]).expect(0).json();
    let entries = record["entries"].as_array().or(record["runs"].as_array()).unwrap();
    let entry = entries.iter().find(|entry| entry["run"] == run.as_str()).unwrap();
    let allowed = |code: &str| {
        let all = entry["findings_allowed"].as_array().unwrap();
        let one = all.iter().find(|one| one["code"] == code).unwrap_or_else(|| panic!("{code} is not in {entry:#}"));
        (one["by"].as_str().unwrap().to_owned(), one["reason"].as_str().unwrap().to_owned())
    };
    assert_eq!(
        allowed("column_type_rewritten"),
        ("migrations/0001_waived.sql:1".to_owned(), "a hundred rows".to_owned())
    );
    assert_eq!(allowed("index_not_concurrent"), ("dbd.toml".to_owned(), "nobody writes at night".to_owned()));
}

#[test]
fn files_that_are_no_sql_are_told_of_and_nothing_panics() {
    let project = Project::empty();
    let folder = project.root().join("odd");
    fs_err::create_dir_all(&folder).unwrap();
    let mut bytes = 1_u32;
    let binary: Vec<u8> = std::iter::repeat_with(|| {
        bytes = bytes.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (bytes >> 24) as u8
    })
    .take(100_000)
    .collect();
    let deep = format!("select {}1{};", "(".repeat(20_000), ")".repeat(20_000));
    let large = "insert into t values (1, 'some text that goes on for a while');\n".repeat(820_000);
    assert!(large.len() > 50 << 20);
    let files: [(&str, &[u8]); 8] = [
        ("binary.sql", &binary),
        ("latin.sql", b"select 'gr\xfc\xdfe';"),
        ("half.sql", b"alter table t add column"),
        ("open.sql", b"select $$never closed"),
        ("nul.sql", b"select 1;\0select 2;"),
        ("deep.sql", deep.as_bytes()),
        ("large.sql", large.as_bytes()),
        ("empty.sql", b""),
    ];
    for (name, text) in files {
        fs_err::write(folder.join(name), text).unwrap();
        let output = project.dbd(&["check", &format!("odd/{name}"), "--json"]);
        assert!(!output.stderr.contains("panicked"), "{name}: {output:?}");
        let expected = if name == "empty.sql" { 0 } else { 6 };
        let findings = output.expect(expected).json()["findings"].as_array().unwrap().clone();
        assert_eq!(findings.is_empty(), name == "empty.sql", "{name}");
    }
}
