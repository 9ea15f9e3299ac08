//! The journal cannot be trusted or written, or a disk is full: nothing is started that could not be recorded, and a run that was
//! stopped by it goes on later.

use super::rolled_back::{change_much, gate, open_gate, until_at_gate};
use crate::support::project::{Output, Project};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Command;

/// Flips bits of the first place in the file that holds `text`.
#[track_caller]
fn damage(path: &Path, text: &str) {
    let mut file = fs_err::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    let at = bytes.windows(text.len()).position(|window| window == text.as_bytes()).expect("the text is in the file");
    file.seek(SeekFrom::Start(at as u64)).unwrap();
    let flipped: Vec<u8> = text.bytes().map(|byte| byte ^ 1).collect();
    file.write_all(&flipped).unwrap();
}

/// A project with a finished run, and one that rests at the gate `tests`.
fn with_an_open_run() -> (Project, String) {
    let project = Project::new();
    project.migration("0001_first", "create table first_one as select 1 as id;").start().expect(0);
    project
        .migration("0002_second", "insert into first_one values (2);")
        .config(&format!("[tests]\ncommand = '{}'\n", gate("tests", 0)));
    let mut running = project.spawn(&["start", "dev", "--json"]);
    until_at_gate(&mut running, &project, "tests");
    running.signal(rustix::process::Signal::TERM);
    assert!(running.until("the signal to be heard", || project.said().contains("stopping after the step")), "it ended");
    open_gate(&project, "tests");
    let run = running.wait().expect(75).run();
    (project, run)
}

#[test]
fn a_journal_that_was_changed_is_found_out_and_nothing_is_done() {
    let (project, run) = with_an_open_run();
    let before = project.snapshot();
    let whole = fs_err::read(project.journal()).unwrap();
    // A word of an old event; the text is still JSON, and the file still a database.
    damage(&project.journal(), "run.lease_taken");
    let verdict = project.dbd(&["audit", "verify", "--json"]).expect(6).json();
    assert_eq!((&verdict["sound"], &verdict["first_bad"]["seq"]), (&false.into(), &2.into()), "{verdict}");
    for arguments in [&["start", "dev", "--json"][..], &["resume", &run, "--json"], &["list", "--json"]] {
        project.dbd(arguments).expect(74).because("DBD-0802", &["journal.db", "dbd audit verify"]);
    }
    assert_eq!(project.snapshot(), before);

    // With the right journal it goes on as if nothing had been.
    fs_err::write(project.journal(), whole).unwrap();
    project.dbd(&["resume", &run, "--json"]).expect(0).outcome("succeeded");
    project.assert_sound();
}

#[test]
fn a_journal_with_a_broken_page_is_found_out_and_nothing_is_done() {
    let (project, run) = with_an_open_run();
    let before = project.snapshot();
    let length = fs_err::metadata(project.journal()).unwrap().len();
    // The middle of the file, whatever is there: a whole page of noise.
    let mut file = fs_err::OpenOptions::new().write(true).open(project.journal()).unwrap();
    file.seek(SeekFrom::Start(length / 2 / 4096 * 4096)).unwrap();
    file.write_all(&[0x5a; 4096]).unwrap();
    drop(file);
    let verify = project.dbd(&["audit", "verify", "--json"]);
    assert!(matches!(verify.code, Some(6 | 74)), "{verify:?}");
    for arguments in [&["start", "dev", "--json"][..], &["resume", &run, "--json"]] {
        project.dbd(arguments).expect(74).because("DBD-0802", &["journal.db"]);
    }
    assert_eq!(project.snapshot(), before);
}

#[test]
fn something_else_in_place_of_the_journal_is_not_written_to() {
    let project = Project::new();
    change_much(&project);
    let text = "this is a letter to somebody, and no journal at all ".repeat(200);
    project.write(".dbd/journal.db", &text);
    project.start().expect(74).because("DBD-0802", &["journal.db"]);
    assert_eq!(fs_err::read_to_string(project.journal()).unwrap(), text);
    fs_err::remove_file(project.journal()).unwrap();
    fs_err::create_dir(project.journal()).unwrap();
    project.start().expect(74).because("DBD-0801", &["journal.db"]);
    assert_eq!(project.value("select to_regnamespace('dbd') is null"), "t");
}

#[test]
fn a_journal_from_before_the_run_is_refused_by_what_the_target_knows() {
    let project = Project::new();
    project.migration("0001_first", "create table first_one as select 1 as id;").start().expect(0);
    let old = fs_err::read(project.journal()).unwrap();
    project.migration("0002_second", "insert into first_one values (2);");
    project.config(&format!("[environments.dev]\nverify = {{ command = '{}' }}\n", gate("verify", 0)));
    let mut running = project.spawn(&["start", "dev", "--json"]);
    until_at_gate(&mut running, &project, "verify");
    running.kill();
    let run = project.run_in_journal();
    let now = fs_err::read_dir(project.root().join(".dbd"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file());
    let now: Vec<_> = now.map(|path| (fs_err::read(&path).unwrap(), path)).collect();
    // Somebody brings the journal back from a backup: the run is gone from it, and its steps are in the target.
    for (_, path) in &now {
        fs_err::remove_file(path).unwrap();
    }
    fs_err::write(project.journal(), old).unwrap();
    project.dbd(&["resume", &run, "--json"]).expect(2).because("DBD-0008", &[&run]);
    let before = project.snapshot();
    let again = project.start();
    assert!(matches!(again.code, Some(0 | 74)), "{again:?}");
    assert_eq!(project.snapshot(), before, "nothing is deployed twice");
    for entry in fs_err::read_dir(project.root().join(".dbd"))
        .unwrap()
        .map(Result::unwrap)
        .filter(|entry| entry.path().is_file())
    {
        fs_err::remove_file(entry.path()).unwrap();
    }
    for (bytes, path) in now {
        fs_err::write(path, bytes).unwrap();
    }
    open_gate(&project, "verify");
    project.dbd(&["resume", &run, "--json"]).expect(0).outcome("succeeded");
    project.assert_sound();
}

/// A small file system, gone when dropped. Mounting takes root.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(at: &Path, size: &str) -> Option<Self> {
        fs_err::create_dir_all(at).unwrap();
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size},mode=755"), "tmpfs"])
            .arg(at)
            .output();
        let mounted = status.is_ok_and(|output| output.status.success());
        mounted.then(|| Self(at.to_owned()))
    }

    /// Takes all the room there is.
    fn fill(&self) {
        let mut file = fs_err::File::create(self.0.join("filler")).unwrap();
        while file.write_all(&[7; 4096]).is_ok() {}
        let _ = file.sync_all();
    }

    fn make_room(&self) {
        fs_err::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_under_the_journal_stops_the_run_before_its_next_effect() {
    let project = Project::new();
    change_much(&project);
    let Some(disk) = SmallDisk::mount(&project.root().join(".dbd"), "4m") else { return limited_journal(&project) };
    project.config(&format!("[tests]\ncommand = '{}'\n", gate("tests", 0)));
    let before = project.snapshot();
    let mut running = project.spawn(&["start", "dev", "--json"]);
    until_at_gate(&mut running, &project, "tests");
    disk.fill();
    open_gate(&project, "tests");
    let output = running.wait().expect(74);
    output.clone().because("DBD-0801", &["journal.db", "disk"]);
    assert_eq!(project.snapshot(), before);
    assert_eq!(project.value("select to_regnamespace('dbd') is null"), "t");
    project.start().expect(74);
    assert_eq!(project.snapshot(), before);

    disk.make_room();
    project.dbd(&["resume", "--last", "--json"]).expect(0).outcome("succeeded");
    assert_eq!(project.tracking(), ["0001_change", "0002_units"]);
    project.assert_sound();
}

/// Without root: a limit on how large a file may get.
fn limited_journal(project: &Project) {
    let before = project.snapshot();
    let output = by_shell(project, "trap '' XFSZ; ulimit -f 8");
    assert!(matches!(output.code, Some(74)), "{output:?}");
    assert_eq!(project.snapshot(), before);
}

/// `dbd start dev --json` by a shell that does something first.
fn by_shell(project: &Project, first: &str) -> Output {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &format!("{first}; exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_dbd")]);
    project.spawn_by(shell, &["start", "dev", "--json"]).wait()
}

#[test]
fn a_limit_on_the_size_of_files_stops_the_run_with_the_target_untouched() {
    let project = Project::new();
    change_much(&project);
    project.sql(
        "create table large as select n, md5(n::text) || md5((-n)::text) as noise from generate_series(1, 30000) n",
    );
    let before = project.snapshot();
    // Enough for the journal, not for the dump.
    let output = by_shell(&project, "trap '' XFSZ; ulimit -f 1200").expect(3);
    assert!(["DBD-0301", "DBD-0108", "DBD-0014", "DBD-0304"].contains(&output.reason().0.as_str()), "{output:?}");
    assert_eq!(project.snapshot(), before);
    project.assert_sound();
}

#[test]
fn a_full_disk_under_the_artifacts_refuses_the_run() {
    let project = Project::new();
    change_much(&project);
    let Some(disk) = SmallDisk::mount(&project.root().join(".deployments"), "6m") else { return };
    // What is known beforehand is refused beforehand.
    disk.fill();
    let output = project.start().expect(3).because("DBD-0108", &[".deployments", "free", "[artifacts] dir"]);
    assert!(output.json()["checkpoint"].is_null(), "{output:?}");
    disk.make_room();

    // A dump that waits for a table, while something else takes the room.
    project.sql(
        "create table large as select n, md5(n::text) || md5((-n)::text) as noise from generate_series(1, 60000) n",
    );
    let before = project.snapshot();
    let holder = project.session();
    holder.sql("begin; lock table large in access exclusive mode");
    let mut running = project.spawn(&["start", "dev", "--json"]);
    running.until_event("the preflight to be over", |event| event.intends("dump"));
    disk.fill();
    holder.sql("rollback");
    running.wait().expect(3).because("DBD-0108", &[".deployments", "make room"]);
    assert_eq!(project.snapshot(), before);
    disk.make_room();
    project.start().expect(0).outcome("succeeded");
    project.assert_sound();
}
