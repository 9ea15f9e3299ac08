//! A journal in a folder of its own, events, and a stranger's connection to the file.

use dbd_journal::{Journal, NewEvent, OpenOptions, RawValue};
use rusqlite::Connection;
use std::path::PathBuf;

/// A place for one journal.
pub struct Place {
    pub dir: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("journal.db")
    }

    pub fn open(&self) -> Journal {
        Journal::open(self.path(), &options()).unwrap()
    }

    pub fn read_only(&self) -> Journal {
        Journal::open_read_only(self.path()).unwrap()
    }

    /// What anybody with the sqlite3 shell has: no settings, no respect.
    pub fn stranger(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }
}

pub fn options() -> OpenOptions {
    OpenOptions::new("dbd/test/0001", 1_000)
}

pub fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

/// An event of `run` whose writer knows `expected_rseq`.
pub fn event(run: &str, expected_rseq: u64) -> NewEvent {
    NewEvent {
        run: run.to_owned(),
        expected_rseq,
        ts_ms: 2_000,
        kind: "step.succeeded".to_owned(),
        v: 1,
        cause: None,
        epoch: 0,
        actor: raw(r#"{"type":"human","id":"alice"}"#),
        by: raw(r#"{"dbd":"0.1.0"}"#),
        body: raw(r#"{"rows":3}"#),
        blobs: Vec::new(),
    }
}

/// Removes every trigger, as somebody would who means it.
pub fn drop_triggers(stranger: &Connection) {
    let names: Vec<String> = stranger
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'trigger'")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    for name in names {
        stranger.execute_batch(&format!("DROP TRIGGER {name}")).unwrap();
    }
}
