//! Evidence of real runs on a real server: a bundle that a stranger can verify, and what somebody did to the target's side of it.

use crate::support::project::Project;
use std::process::Command;

/// What `docs/verify_bundle.py` says: its status and its lines.
fn python(project: &Project, arguments: &[&str]) -> (Option<i32>, String) {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/verify_bundle.py");
    let output =
        Command::new("python3").arg(program).args(arguments).current_dir(project.root()).output().expect("python3");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_bundle_of_real_runs_verifies_anywhere_and_says_when_the_target_disagrees() {
    let mut project = Project::new();
    project.set("DBD_ACTOR", "alice");
    project.migration("0001_first", "create table first_one as select 1 as id;").start().expect(0);
    project
        .migration("0002_second", "create index concurrently second_one on first_one (id);")
        .config("[environments.dev]\nverify = { command = 'test ! -e broken' }\n")
        .start()
        .expect(0);
    project.write("broken", "").migration("0003_third", "alter table first_one add third int;");
    let back = project.start().expect(4).run();
    fs_err::remove_file(project.root().join("broken")).unwrap();
    project.set("DBD_ACTOR", "carol");
    project.dbd(&["audit", "review", &back, "--reason", "the smoke test was right"]).expect(0);
    project.dbd(&["audit", "review", &back, "--reason", " ", "--json"]).expect(2).because("DBD-0009", &["reason"]);

    let made = project.dbd(&["audit", "export", "--since", "1d", "--out", "evidence", "--json"]).expect(0).json();
    assert_eq!((&made["schema"], &made["runs"]), (&"dbd.export/1".into(), &3.into()), "{made}");
    let ledger = &made["ledgers"][0];
    assert_eq!((&ledger["reached"], &ledger["differences"]), (&true.into(), &serde_json::json!([])), "{made}");
    assert!(ledger["matched"].as_u64() > Some(3), "{made}");
    project.dbd(&["audit", "export", "--out", "evidence"]).expect(2);
    let key = made["key"].as_str().unwrap().to_owned();
    let url = project.url();
    let arguments = ["audit", "verify", "evidence", "--key", &key, "--db", &url, "--json"];
    let verified = project.dbd(&arguments).expect(0).json();
    assert_eq!((&verified["sound"], &verified["runs"]), (&true.into(), &3.into()), "{verified}");
    assert_eq!(verified["notes"], serde_json::json!([]));
    assert_eq!(python(&project, &["evidence", &key]), (Some(0), "sound\n".to_owned()));
    project.dbd(&["audit", "verify", "evidence", "--prev", "evidence/checkpoint-last.note"]).expect(0);
    project.dbd(&["audit", "verify", "evidence", "--db", "postgres://localhost/elsewhere"]).expect(2);
    project.dbd(&["audit", "verify", "nowhere", "--json"]).expect(2).because("DBD-1001", &["nowhere"]);

    let report = project.dbd(&["audit", "--since", "1d", "--json"]).expect(0).json();
    let last = &report["entries"][2];
    assert_eq!((&last["outcome"], &last["requested_by"]), (&"rolled_back".into(), &"alice".into()), "{last}");
    assert_eq!(last["preparation"]["rehearsed_before_the_change"], true, "{last}");
    assert_eq!(last["preparation"]["backup_before_the_change"], true, "{last}");
    assert_eq!(last["emergency"]["reviews"][0]["by"], "carol", "{last}");
    assert_eq!(last["emergency"]["reviews"][0]["independent"], true, "{last}");

    // The journal's own check holds it against the target and the files, too.
    let own = project.dbd(&["audit", "verify", "--json"]).expect(0).json();
    assert!(own["anchors"].as_u64() > Some(5), "{own}");
    project.assert_secret();
    let rotated = project.dbd(&["audit", "key", "rotate", "--json"]).expect(0).json();
    assert_ne!(rotated["key"], key.as_str());
    assert_eq!(project.dbd(&["audit", "key", "show", "--json"]).expect(0).json()["keys"].as_array().unwrap().len(), 2);

    // Somebody who owns the ledger takes a row out of it.
    project.sql(
        "alter table dbd.ledger disable trigger user; delete from dbd.ledger where seq = (select min(seq) from dbd.ledger)",
    );
    let verified = project.dbd(&arguments).expect(6).json();
    assert_eq!(verified["findings"][0]["code"], "DBD-1011", "{verified}");
    project.dbd(&["audit", "verify", "evidence"]).expect(0);
    let own = project.dbd(&["audit", "verify", "--json"]).expect(6).json();
    assert_eq!(own["findings"][0]["code"], "DBD-1011", "{own}");
    project.dbd(&["audit", "export", "--since", "1d", "--out", "later"]).expect(0);
    project.dbd(&["audit", "verify", "later", "--prev", "evidence/checkpoint-last.note"]).expect(6);
}

#[test]
fn a_journal_that_was_put_back_to_an_older_copy_is_betrayed_by_what_lies_around() {
    let project = Project::new();
    project.migration("0001_first", "create table first_one as select 1 as id;").start().expect(0);
    project.dbd(&["audit", "verify"]).expect(0);
    let old = fs_err::read(project.journal()).unwrap();
    project.migration("0002_second", "insert into first_one values (2);").start().expect(0);
    for entry in fs_err::read_dir(project.root().join(".dbd")).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.to_string_lossy().contains("journal.db-") {
            fs_err::remove_file(entry).unwrap();
        }
    }
    fs_err::write(project.journal(), old).unwrap();
    let verdict = project.dbd(&["audit", "verify", "--json"]).expect(6).json();
    let codes: Vec<&str> =
        verdict["findings"].as_array().unwrap().iter().map(|one| one["code"].as_str().unwrap()).collect();
    assert!(codes.len() >= 3 && codes.iter().all(|code| *code == "DBD-0803"), "{verdict}");
}
