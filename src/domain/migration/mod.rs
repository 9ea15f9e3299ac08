//! Migrations as values: what a folder holds, how it is cut into units, how the tool that owns it keeps track.
//!
//! Pure. Files arrive as bytes in a [`Folder`]; what a database has applied arrives as [`AppliedRow`]s. One file beside this one
//! per format; adding a format means adding one file and its line in [`formats`].

use super::digest::Digest;
use super::failure::Failure;
use super::ids::MigrationId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The files of a migrations folder, as read. Paths are relative to the folder, with `/`.
#[derive(Clone, Debug, Default)]
pub struct Folder {
    /// The folder, relative to the project's root: the prefix of every file name shown to a person.
    pub dir: String,
    /// Every file below it, by path.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// A format of migrations folder dbd can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Plain SQL files, numbered or stamped, tracked by dbd itself.
    Sql,
    /// Drizzle with `meta/_journal.json`, tracked in `drizzle.__drizzle_migrations`.
    Drizzle,
}

/// Everything a folder says: the migrations in order, and what is odd about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigrationSet {
    /// The format it was read as.
    pub format: Format,
    /// The folder, relative to the project's root.
    pub dir: String,
    /// The migrations, in the order they are applied.
    pub migrations: Vec<Migration>,
    /// What is odd but does not stop a run, like a file that no entry names ([`Code::OrphanFile`](super::code::Code)).
    pub warnings: Vec<Failure>,
}

/// One migration, cut into units. The text itself travels beside it; the spans point into that text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migration {
    /// Its name: the file's name without `.sql` (and without `.up`).
    pub id: MigrationId,
    /// The file, relative to the project's root.
    pub file: String,
    /// The digest of the file's bytes.
    pub digest: Digest,
    /// The text, UTF-8. Left out of the journal's events, which refer to it by a blob.
    #[serde(skip)]
    pub text: String,
    /// What runs together, in order.
    pub units: Vec<Unit>,
    /// What the tool that owns the folder records once it is applied.
    pub bookkeeping: Bookkeeping,
}

/// Statements that run together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// In one transaction, or alone outside any.
    pub mode: UnitMode,
    /// The statements, in order; exactly one when the mode is `Alone`.
    pub statements: Vec<Span>,
}

/// How a unit runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "mode")]
pub enum UnitMode {
    /// All statements and the bookkeeping commit together.
    Transaction,
    /// One statement that PostgreSQL refuses to run in a transaction.
    Alone {
        /// How the catalog tells whether it has run.
        probe: AloneProbe,
    },
}

/// How to find out whether a statement outside a transaction has run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "by")]
pub enum AloneProbe {
    /// `CREATE INDEX CONCURRENTLY`: a valid index of that name is done, an invalid one is half done and is dropped.
    IndexValid {
        /// The schema written in the statement, if one is.
        schema: Option<String>,
        /// The table, as written (schema-qualified if it was).
        table: String,
        /// The index.
        index: String,
    },
    /// `DROP INDEX CONCURRENTLY`: done when no index of that name is left; an invalid one left behind is half done.
    IndexGone {
        /// The schema written in the statement, if one is.
        schema: Option<String>,
        /// The index.
        index: String,
    },
    /// `VACUUM`, `REINDEX CONCURRENTLY` and the like: running it twice does what running it once does.
    Repeatable,
    /// Nothing in the catalog tells: after a crash a person has to say.
    Unknown,
}

/// One statement within the migration's text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// The byte at which it starts: its first token, comments before it left out.
    pub start: usize,
    /// Its length in bytes, without the closing semicolon.
    pub len: usize,
    /// The line it starts on, from 1.
    pub line: u32,
}

impl Span {
    /// The statement's text. The span must belong to `text`.
    #[must_use]
    pub fn of<'a>(&self, text: &'a str) -> &'a str {
        &text[self.start..self.start + self.len]
    }
}

/// What the owning tool records about one applied migration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "tool")]
pub enum Bookkeeping {
    /// dbd's own `dbd.migration(id, digest, ...)`.
    Dbd,
    /// Drizzle 0.x: `drizzle.__drizzle_migrations(hash, created_at)`.
    Drizzle {
        /// The SHA-256 of the file, in hexadecimal.
        hash: String,
        /// The journal entry's `when`, in milliseconds since 1970.
        when: i64,
    },
}

/// A tracking table, as SQL that an adapter can run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracking {
    /// The table, schema-qualified: it is left out of every comparison.
    pub table: &'static str,
    /// Makes the table if it is not there; may hold several statements; harmless to repeat.
    pub create: &'static str,
    /// One row per applied migration: `(key text, digest text)`; only valid when the table exists.
    pub read: &'static str,
    /// The advisory lock the owning tool takes, as the SQL expression of its `bigint` key, if it takes one.
    pub advisory_lock: Option<&'static str>,
}

/// One row of a tracking table: `key` is what the format identifies a migration by (dbd: the id; Drizzle: the hash).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedRow {
    /// What identifies the migration.
    pub key: String,
    /// What the row says of its content, if anything.
    pub digest: Option<String>,
}

/// The folder held against what the database has applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The migrations already applied, by their place in the set.
    pub applied: Vec<usize>,
    /// The migrations to apply, by their place in the set, in order.
    pub pending: Vec<usize>,
    /// What makes a deployment unsafe: a file changed after it was applied, an applied migration that is missing.
    pub errors: Vec<Failure>,
    /// What is odd but safe, like a pending migration that comes before an applied one.
    pub warnings: Vec<Failure>,
}
