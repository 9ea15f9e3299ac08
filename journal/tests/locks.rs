//! The lock on a target ends with its process, however that ends.

use dbd_journal::{LockError, LockOwner, lock_target};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

fn owner(run: &str) -> LockOwner {
    LockOwner { pid: std::process::id(), host: "laptop".into(), run: run.into(), since_ms: 1 }
}

/// Run by the test below, in a folder of its own. By itself it ends at once, since there is nothing to read.
#[test]
#[ignore = "the other process of the next test"]
fn somebody_who_holds_a_lock() {
    let _lock = lock_target(std::env::current_dir().unwrap().join("journal.db"), "prod", &owner("theirs")).unwrap();
    // Not with println!, which the test harness would keep for itself.
    writeln!(std::io::stdout(), "\nheld").unwrap();
    let _ = std::io::stdin().read(&mut [0]);
}

#[test]
fn a_lock_is_free_as_soon_as_its_process_was_killed() {
    let dir = tempfile::tempdir().unwrap();
    let mut other = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "locks::somebody_who_holds_a_lock"])
        .current_dir(dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(other.stdout.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap() == "held"), "the other process never got the lock");

    let journal = dir.path().join("journal.db");
    let LockError::Held { owner: Some(held), .. } = lock_target(&journal, "prod", &owner("ours")).unwrap_err() else {
        panic!("held without an owner")
    };
    assert_eq!((held.run.as_str(), held.pid), ("theirs", other.id()));
    other.kill().unwrap();
    other.wait().unwrap();
    lock_target(&journal, "prod", &owner("ours")).unwrap();
}
