//! Who may act on a target.
//!
//! Two things that do not replace each other. A [`TargetLock`] keeps living processes apart: the kernel holds it and lets go when
//! the process dies, however it dies, so nobody waits for a time-out. A lease counts owners: its epoch goes up with every
//! take-over and never down, so that an old owner who wakes up late is recognised, here and wherever the epoch travelled.

use crate::entry::{MAX_NAME_LEN, name_problem};
use crate::error::{LeaseError, LockError, ReadError};
use crate::store::Journal;
use rusqlite::{OptionalExtension, Row};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::TryLockError;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A lease that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The target.
    pub target: String,
    /// The owner's number: one more than any before it for this target.
    pub epoch: u64,
}

/// A target as the journal knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseRow {
    /// The target.
    pub target: String,
    /// The last epoch handed out.
    pub epoch: u64,
    /// Who has it; `None` once released. A holder may be dead: only the [`TargetLock`] tells.
    pub holder: Option<Holder>,
}

/// Who holds a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The run.
    pub run: String,
    /// The owner, in its own words.
    pub owner: String,
    /// Since when, in unix milliseconds.
    pub since_ms: i64,
}

impl Journal {
    /// Takes the lease of `target` for `run`, from whoever holds it: the epoch is one more than the last one handed out.
    ///
    /// Hold the target's [`TargetLock`] first. From now on events of `run` with a lower epoch are refused.
    ///
    /// # Errors
    /// See [`LeaseError`].
    pub fn take_lease(&mut self, target: &str, run: &str, owner: &str, now_ms: i64) -> Result<Lease, LeaseError> {
        for (field, text) in [("target", target), ("run", run)] {
            if let Some(why) = name_problem(text) {
                return Err(LeaseError::Invalid { field, why });
            }
        }
        self.write(|conn, _| {
            let epoch = conn
                .prepare_cached(
                    "UPDATE lease SET epoch = epoch + 1, run = ?2, owner = ?3, since_ms = ?4 WHERE target = ?1 RETURNING epoch",
                )?
                .query_row((target, run, owner, now_ms), |row| row.get::<_, i64>(0))
                .optional()?;
            let epoch = match epoch {
                Some(epoch) => epoch as u64,
                None => {
                    conn.prepare_cached("INSERT INTO lease (target, run, epoch, owner, since_ms) VALUES (?1, ?2, 1, ?3, ?4)")?
                        .execute((target, run, owner, now_ms))?;
                    1
                }
            };
            Ok(Lease { target: target.to_owned(), epoch })
        })
    }

    /// Gives the lease of `target` back, if `epoch` is still the one that holds it. `false` if it had been given back or taken over.
    ///
    /// The epoch stays, so that the next owner gets a higher one.
    ///
    /// # Errors
    /// See [`LeaseError`].
    pub fn release_lease(&mut self, target: &str, epoch: u64) -> Result<bool, LeaseError> {
        let Ok(epoch) = i64::try_from(epoch) else { return Ok(false) };
        self.write(|conn, _| {
            let sql = "UPDATE lease SET run = NULL, owner = NULL, since_ms = NULL \
                 WHERE target = ?1 AND epoch = ?2 AND run IS NOT NULL";
            Ok(conn.prepare_cached(sql)?.execute((target, epoch))? == 1)
        })
    }

    /// The lease of `target`; `None` if nobody ever took it.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn lease(&self, target: &str) -> Result<Option<LeaseRow>, ReadError> {
        self.readable()?;
        let mut statement =
            self.conn.prepare_cached("SELECT target, epoch, run, owner, since_ms FROM lease WHERE target = ?1")?;
        Ok(statement.query_row([target], lease_row).optional()?)
    }

    /// All leases there ever were, by target.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn leases(&self) -> Result<Vec<LeaseRow>, ReadError> {
        self.readable()?;
        let mut statement =
            self.conn.prepare_cached("SELECT target, epoch, run, owner, since_ms FROM lease ORDER BY target")?;
        Ok(statement.query_map([], lease_row)?.collect::<rusqlite::Result<_>>()?)
    }
}

fn lease_row(row: &Row<'_>) -> rusqlite::Result<LeaseRow> {
    let run: Option<String> = row.get(2)?;
    let holder = match run {
        Some(run) => Some(Holder { run, owner: row.get(3)?, since_ms: row.get(4)? }),
        None => None,
    };
    Ok(LeaseRow { target: row.get(0)?, epoch: row.get::<_, i64>(1)? as u64, holder })
}

/// Who holds a target's lock, for the message to whoever finds it held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockOwner {
    /// The process.
    pub pid: u32,
    /// The machine it runs on.
    pub host: String,
    /// The run it works on.
    pub run: String,
    /// Since when, in unix milliseconds.
    pub since_ms: i64,
}

impl fmt::Display for LockOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "run {} (process {} on {})", self.run, self.pid, self.host)
    }
}

/// The right to act on a target, until it is dropped or its process is gone.
#[derive(Debug)]
pub struct TargetLock {
    file: fs_err::File,
}

impl TargetLock {
    /// The lock file. It stays when the lock is gone: deleting it would let two processes lock two files of the same name.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }
}

impl Drop for TargetLock {
    fn drop(&mut self) {
        // So that the next holder is not mistaken for this one. It is a courtesy: the lock itself ends with the file handle.
        let _ = self.file.set_len(0);
    }
}

/// Locks `target` for this process, on `<journal>.locks/<target>.lock`, without waiting. The journal need not exist yet.
///
/// The lock is the kernel's and belongs to the open file: children do not inherit it, and no time-out is involved.
///
/// # Errors
/// [`LockError::Held`] with the owner, as far as it is known, when a living process has it.
pub fn lock_target(journal: impl AsRef<Path>, target: &str, owner: &LockOwner) -> Result<TargetLock, LockError> {
    let failed = |source| LockError::Io { target: target.to_owned(), source };
    let folder = locks_folder(journal.as_ref());
    fs_err::create_dir_all(&folder).map_err(failed)?;
    let mut options = fs_err::OpenOptions::new();
    options.options_mut().mode(0o600);
    let mut file = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(folder.join(file_name(target)))
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let owner = file.read_to_string(&mut text).ok().and_then(|_| serde_json::from_str(&text).ok());
            return Err(LockError::Held { target: target.to_owned(), owner });
        }
        Err(TryLockError::Error(source)) => return Err(failed(source)),
    }
    let text = serde_json::to_vec(owner).map_err(|error| failed(error.into()))?;
    file.set_len(0).map_err(failed)?;
    file.rewind().map_err(failed)?;
    file.write_all(&text).map_err(failed)?;
    Ok(TargetLock { file })
}

/// Beside the journal. Links are followed, so that one journal has one folder of locks whichever way it is reached.
fn locks_folder(journal: &Path) -> PathBuf {
    let mut folder = fs_err::canonicalize(journal).unwrap_or_else(|_| journal.to_owned()).into_os_string();
    folder.push(".locks");
    PathBuf::from(folder)
}

/// A file name for a target: different targets get different names, also where upper and lower case are the same.
fn file_name(target: &str) -> String {
    use fmt::Write as _;
    let mut name = String::with_capacity(target.len() + 5);
    for (index, byte) in target.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
            b'.' if index > 0 => name.push('.'),
            _ => {
                let _ = write!(name, "%{byte:02x}"); // writing to a string does not fail
            }
        }
    }
    if name.len() > MAX_NAME_LEN {
        // No other name has a `%%` in it.
        name = format!("%%{}", blake3::hash(target.as_bytes()).to_hex());
    }
    name.push_str(".lock");
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn owner(run: &str) -> LockOwner {
        LockOwner { pid: 42, host: "laptop".into(), run: run.into(), since_ms: 1_000 }
    }

    #[test]
    fn a_held_target_names_its_owner_and_is_free_again_when_the_lock_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let journal = dir.path().join(".dbd/journal.db");
        let lock = lock_target(&journal, "prod", &owner("deploy-prod-1")).unwrap();
        assert_eq!(lock.path(), dir.path().join(".dbd/journal.db.locks/prod.lock"));
        let error = lock_target(&journal, "prod", &owner("deploy-prod-2")).unwrap_err();
        assert_eq!(error.to_string(), "target prod is held by run deploy-prod-1 (process 42 on laptop)");
        let other = lock_target(&journal, "dev", &owner("deploy-dev-1")).unwrap();
        drop(lock);
        let lock = lock_target(&journal, "prod", &owner("deploy-prod-2")).unwrap();
        let LockError::Held { owner: Some(held), .. } = lock_target(&journal, "prod", &owner("x")).unwrap_err() else {
            panic!("held without an owner")
        };
        assert_eq!(held, owner("deploy-prod-2"));
        drop((lock, other));
    }

    #[test]
    fn a_shorter_owner_leaves_nothing_of_a_longer_one_that_died() {
        let dir = tempfile::tempdir().unwrap();
        let journal = dir.path().join("journal.db");
        let lock = lock_target(&journal, "prod", &owner("a")).unwrap();
        let path = lock.path().to_owned();
        drop(lock);
        fs_err::write(&path, serde_json::to_vec(&owner(&"long".repeat(50))).unwrap()).unwrap();
        let _lock = lock_target(&journal, "prod", &owner("b")).unwrap();
        let LockError::Held { owner: Some(held), .. } = lock_target(&journal, "prod", &owner("c")).unwrap_err() else {
            panic!("held without an owner")
        };
        assert_eq!(held.run, "b");
    }

    #[test]
    fn a_lock_without_readable_owner_is_still_held() {
        let dir = tempfile::tempdir().unwrap();
        let journal = dir.path().join("journal.db");
        let lock = lock_target(&journal, "prod", &owner("a")).unwrap();
        fs_err::write(lock.path(), "{").unwrap();
        let error = lock_target(&journal, "prod", &owner("b")).unwrap_err();
        assert!(matches!(&error, LockError::Held { owner: None, .. }));
        assert_eq!(error.to_string(), "target prod is held");
    }

    #[test]
    fn different_targets_have_different_safe_file_names() {
        let (long, longer) = ("x".repeat(300), "x".repeat(301));
        let targets =
            ["prod", "Prod", "a/b", "a_b", "a%2fb", "..", ".", "", "ü", "a.b", "a b", long.as_str(), longer.as_str()];
        let names: BTreeSet<_> = targets.iter().map(|target| file_name(target).to_lowercase()).collect();
        assert_eq!(names.len(), targets.len());
        for name in &names {
            assert!(!name.contains('/') && !name.starts_with("..") && name.len() < 255, "{name}");
        }
        assert_eq!(file_name("eu-west"), "eu-west.lock");
        assert_eq!(file_name("a/b"), "a%2fb.lock");
    }
}
