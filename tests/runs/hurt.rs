//! A journal that is whole in itself and not the one that was written: shorter, older, or gone another way.

use super::rolled_back::{gate, open_gate, until_at_gate};
use crate::support::project::Project;
use std::path::{Path, PathBuf};

/// A finished run, then one that was killed in its verification. Gives the copy of the journal's files between the two as well.
fn with_a_killed_run() -> (Project, String, Vec<(PathBuf, Vec<u8>)>) {
    let project = Project::new();
    project.migration("0001_first", "create table first_one as select 1 as id;").start().expect(0);
    let old = files(&project);
    project.migration("0002_second", "insert into first_one values (2);");
    project.config(&format!("[environments.dev]\nverify = {{ command = '{}' }}\n", gate("verify", 0)));
    let mut running = project.spawn(&["start", "dev", "--json"]);
    until_at_gate(&mut running, &project, "verify");
    running.kill();
    drop(running);
    open_gate(&project, "verify");
    let run = project.run_in_journal();
    (project, run, old)
}

fn files(project: &Project) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = project.journal().parent().unwrap().to_owned();
    let entries = fs_err::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let named = |path: &PathBuf| path.is_file() && path.to_string_lossy().contains("journal.db");
    entries.filter(named).map(|path| (path.clone(), fs_err::read(&path).unwrap())).collect()
}

/// Puts `copy` in place of the journal, but for files whose name ends in `without`.
fn put_back(project: &Project, copy: &[(PathBuf, Vec<u8>)], without: &str) {
    for (path, _) in files(project) {
        fs_err::remove_file(path).unwrap();
    }
    for (path, bytes) in
        copy.iter().filter(|(path, _)| without.is_empty() || !path.to_string_lossy().ends_with(without))
    {
        fs_err::write(path, bytes).unwrap();
    }
}

fn beside(project: &Project, ending: &str) -> PathBuf {
    Path::new(&format!("{}{ending}", project.journal().display())).to_owned()
}

/// That nothing goes on, everybody says why, and nothing was done to the target.
#[track_caller]
fn refused(project: &Project, run: &str, words: &[&str]) {
    let before = project.snapshot();
    project.dbd(&["resume", run, "--json"]).expect(74).because("DBD-0803", words);
    project.start().expect(74).because("DBD-0803", &["provable"]);
    let verdict = project.dbd(&["audit", "verify", "--json"]).expect(6).json();
    assert_eq!(verdict["sound"], false, "{verdict}");
    assert!(!verdict["findings"].as_array().unwrap().is_empty(), "{verdict}");
    assert_eq!(project.snapshot(), before);
}

#[test]
fn a_tail_lost_to_a_flipped_bit_is_known_by_the_head_beside_the_journal() {
    let (project, run, _) = with_a_killed_run();
    let whole = files(&project);
    let wal = beside(&project, "-wal");
    let mut bytes = fs_err::read(&wal).unwrap();
    // In the middle of the last third of the log: some events of the run are left, the last ones are not.
    let at = bytes.len() * 5 / 6;
    bytes[at] ^= 0x10;
    fs_err::write(&wal, bytes).unwrap();
    refused(&project, &run, &["ends with event", "remembers event", "provable"]);
    // The whole log lost.
    put_back(&project, &whole, "-wal");
    refused(&project, &run, &["remembers event"]);
    // The whole journal lost: another one is not begun in its place.
    put_back(&project, &whole, "");
    fs_err::remove_file(project.journal()).unwrap();
    let _ = fs_err::remove_file(&wal);
    project.start().expect(74).because("DBD-0803", &["nothing of it is provable"]);

    put_back(&project, &whole, "");
    project.dbd(&["resume", &run, "--json"]).expect(0).outcome("succeeded");
    project.assert_sound();
}

#[test]
fn an_older_copy_without_the_head_is_known_by_the_target_and_the_files_of_the_run() {
    let (project, run, old) = with_a_killed_run();
    let whole = files(&project);
    put_back(&project, &old, ".head");
    let (artifacts, aside) = (project.root().join(".deployments"), project.root().join("aside"));
    fs_err::rename(&artifacts, &aside).unwrap();
    // The run is not in it; the target's ledger knows its steps.
    project.dbd(&["resume", &run, "--json"]).expect(2).because("DBD-0008", &[&run]);
    let before = project.snapshot();
    project.start().expect(74).because("DBD-0803", &["the ledger in", "provable"]);
    let verdict = project.dbd(&["audit", "verify", "--json"]).expect(6);
    assert!(verdict.stdout.contains("the ledger in"), "{verdict:?}");
    assert_eq!(project.snapshot(), before);
    // The files of the run alone know it too, also without a look at the target.
    let _ = fs_err::remove_dir_all(&artifacts);
    fs_err::rename(&aside, &artifacts).unwrap();
    project.start().expect(74).because("DBD-0803", &["rollback-state.json", &run]);

    // Going on with the old copy makes a fork: of what the target knows, the journal has another event.
    put_back(&project, &whole, "");
    let finished = project.dbd(&["resume", &run, "--json"]).expect(0);
    // The report and the state beside the run know the end; a journal cut before it, with no head beside it, is found out by them alone.
    project.sql("select 1");
    project.rows(
        "alter table dbd.ledger disable trigger all; delete from dbd.ledger; alter table dbd.ledger enable trigger all",
    );
    put_back(&project, &whole, ".head");
    let place = format!(".deployments/{}", finished.run());
    refused(&project, &run, &[&place]);
    let report = project.artifact(&run, "report.md");
    fs_err::remove_file(project.artifact(&run, "rollback-state.json")).unwrap();
    assert!(report.is_file());
    project.dbd(&["resume", &run, "--json"]).expect(74).because("DBD-0803", &["report.md"]);
}
