//! Migrations as values: what a folder holds, how it is cut into units, how the tool that owns it keeps track.
//!
//! Pure. Files arrive as bytes in a [`Folder`]; what a database has applied arrives as [`AppliedRow`]s. One file beside
//! this one per format; adding a format means adding one file, its variants of [`Format`] and [`Bookkeeping`], and its
//! line in [`formats`].

mod drizzle;
mod foreign;
mod split;
mod sql;
mod standing;
mod statement;

pub use split::{SplitError, pieces, session_settings, split, split_at};
pub use standing::standing;

use super::code::Code;
use super::digest::Digest;
use super::failure::Failure;
use super::ids::{MigrationId, RunId};
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

impl Folder {
    /// A file of the folder as a person sees it: relative to the project's root.
    #[must_use]
    pub fn shown(&self, path: &str) -> String {
        match self.dir.trim_end_matches('/').trim_start_matches("./") {
            "" | "." => path.to_owned(),
            dir => format!("{dir}/{path}"),
        }
    }

    /// The folder itself as a person sees it.
    fn whole(&self) -> &str {
        match self.dir.trim_end_matches('/').trim_start_matches("./") {
            "" | "." => "the project's folder",
            dir => dir,
        }
    }

    /// The text of a file of the folder, a byte order mark and all.
    ///
    /// # Errors
    /// [`Code::UnreadableMigration`] if it is not UTF-8, or not there.
    fn text(&self, path: &str) -> Result<&str, Failure> {
        let file = self.shown(path);
        let Some(bytes) = self.files.get(path) else {
            return Err(Failure::new(Code::UnreadableMigration, format!("{file} is not there")));
        };
        std::str::from_utf8(bytes).map_err(|error| {
            let utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
            let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            let (line, column) = split::line_and_column(&before, before.len());
            let found = if utf16 { "it is UTF-16" } else { "it is not UTF-8" };
            Failure::new(Code::UnreadableMigration, format!("{file} cannot be read: {found}"))
                .hint("save the file as UTF-8")
                .at(file, line, column)
        })
    }
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
    /// The text, UTF-8, byte for byte the file. Left out of the journal's events, which refer to it by a blob.
    #[serde(skip)]
    pub text: String,
    /// What runs together, in order.
    pub units: Vec<Unit>,
    /// What the tool that owns the folder records once it is applied.
    pub bookkeeping: Bookkeeping,
    /// The way back its author wrote, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub down: Option<Down>,
}

/// The way back that a migration's author wrote beside it (`0003_add_price.down.sql`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Down {
    /// The file, relative to the project's root.
    pub file: String,
    /// The digest of the file's bytes.
    pub digest: Digest,
    /// The text, left out of the journal's events like the migration's own.
    #[serde(skip)]
    pub text: String,
    /// What runs together, in order.
    pub units: Vec<Unit>,
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
        /// The schema written in the statement, if one is; as the catalog spells it.
        schema: Option<String>,
        /// The table, schema-qualified if it was written so; quoted as SQL needs it, fit for `to_regclass`.
        table: String,
        /// The index, as the catalog spells it.
        index: String,
    },
    /// `DROP INDEX CONCURRENTLY`: done when no index of that name is left; an invalid one left behind is half done.
    IndexGone {
        /// The schema written in the statement, if one is; as the catalog spells it.
        schema: Option<String>,
        /// The index, as the catalog spells it.
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
    /// One row per applied migration, an [`AppliedRow`]: `(key text, digest text)`, the second may be null; only valid
    /// when the table exists.
    pub read: &'static str,
    /// The advisory lock the owning tool takes, as the SQL expression of its `bigint` key, if it takes one.
    pub advisory_lock: Option<&'static str>,
}

/// One row of a tracking table: `key` is what the format identifies a migration by (dbd: the id; Drizzle: the hash).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedRow {
    /// What identifies the migration.
    pub key: String,
    /// What the row says beside it, if anything: dbd's is the digest of the content, Drizzle's the `created_at` in
    /// milliseconds.
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

/// How to find the format of a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormatChoice {
    /// By what lies in the folder.
    Auto,
    /// The one the configuration names.
    Given(Format),
}

impl FormatChoice {
    /// Reads the configuration's word: `auto` or the name of a format.
    ///
    /// # Errors
    /// [`Code::UnsupportedFormat`] for a tool dbd knows but does not read yet, [`Code::BadValue`] for any other word.
    pub fn parse(word: &str) -> Result<Self, Failure> {
        if word == "auto" {
            return Ok(Self::Auto);
        }
        let names = || formats().iter().map(|reader| reader.name()).collect::<Vec<_>>().join(", ");
        match formats().iter().find(|reader| reader.name() == word) {
            Some(reader) => Ok(Self::Given(reader.format())),
            None if foreign::NAMES.contains(&word) => Err(Failure::new(
                Code::UnsupportedFormat,
                format!("migrations in the format of {word} cannot be read yet"),
            )
            .hint(format!("the formats dbd reads: {}", names()))),
            None => Err(Failure::new(Code::BadValue, format!("there is no migration format \"{word}\""))
                .hint(format!("allowed are: auto, {}", names()))),
        }
    }
}

/// One format of migrations folder: how it is recognised, read and kept track of.
///
/// A reader has no state; all of it is in the folder and in the tracking table.
pub trait FormatReader: Sync {
    /// The format.
    fn format(&self) -> Format;

    /// Its name in the configuration.
    fn name(&self) -> &'static str;

    /// Whether the folder looks like one of this format. The first of [`formats`] to say yes reads it.
    fn detect(&self, folder: &Folder) -> bool;

    /// Reads the folder. A folder without migrations gives an empty set.
    ///
    /// # Errors
    /// A migration that cannot be read, does not parse, cannot be resumed or has a double; a broken journal of the
    /// tool.
    fn read(&self, folder: &Folder) -> Result<MigrationSet, Failure>;

    /// The table the owning tool keeps track in.
    fn tracking(&self) -> Tracking;

    /// What identifies the migration in that table: the [`AppliedRow::key`] of its row.
    fn key(&self, migration: &Migration) -> String;

    /// One `INSERT` that records the migration as the owning tool would: in the last unit's transaction, or after it if
    /// that runs alone.
    fn insert_sql(&self, migration: &Migration, run: &RunId) -> String;

    /// One `DELETE` that takes exactly that record back.
    fn delete_sql(&self, migration: &Migration) -> String;

    /// Holds the set against what the database has applied, entry by entry; the order of `rows` does not matter.
    fn standing(&self, set: &MigrationSet, rows: &[AppliedRow]) -> Standing;
}

/// The formats dbd reads, the most particular first. Plain SQL, which would take almost any folder for its own, is the
/// last, and is asked only when no tool dbd merely recognises claims the folder.
#[must_use]
pub fn formats() -> &'static [&'static dyn FormatReader] {
    &[&drizzle::Drizzle, &sql::Sql]
}

impl Format {
    /// What reads this format and keeps its track.
    #[must_use]
    pub fn reader(self) -> &'static dyn FormatReader {
        match self {
            Self::Sql => &sql::Sql,
            Self::Drizzle => &drizzle::Drizzle,
        }
    }
}

/// Reads a folder of migrations.
///
/// # Errors
/// [`Code::UnsupportedFormat`] when it belongs to a tool dbd does not read yet, [`Code::NoMigrations`] when the format
/// is to be found out and nothing in the folder is a migration, and whatever the format's reader refuses.
pub fn read_folder(folder: &Folder, choice: FormatChoice) -> Result<MigrationSet, Failure> {
    match choice {
        FormatChoice::Given(format) => {
            if format == Format::Sql {
                foreign::refuse_marked(folder)?;
            }
            format.reader().read(folder)
        }
        FormatChoice::Auto => {
            let reader = formats().iter().find(|reader| reader.format() != Format::Sql && reader.detect(folder));
            if let Some(reader) = reader {
                return reader.read(folder);
            }
            foreign::refuse(folder)?;
            if sql::Sql.detect(folder) {
                return sql::Sql.read(folder);
            }
            Err(Failure::new(Code::NoMigrations, format!("there are no migrations in {}", folder.whole()))
                .hint("name the folder in dbd.toml: [migrations] dir = \"...\"")
                .hint("make the first migration with `dbd migrations new <name>`"))
        }
    }
}

/// Cuts a file and takes its digest. `separator` is where the owning tool cuts before it looks at the SQL.
fn read_file(folder: &Folder, path: &str, separator: Option<&str>) -> Result<ReadFile, Failure> {
    let text = folder.text(path)?;
    let file = folder.shown(path);
    let units = match separator {
        Some(separator) => split::split_at(text, separator),
        None => split::split(text),
    };
    let units = units.map_err(|error| error.into_failure(&file))?;
    Ok(ReadFile { digest: Digest::of(text), text: text.to_owned(), file, units })
}

/// A file, cut.
struct ReadFile {
    file: String,
    digest: Digest,
    text: String,
    units: Vec<Unit>,
}

impl ReadFile {
    /// What to say when it holds no statement.
    fn emptiness(&self) -> Option<Failure> {
        self.units.is_empty().then(|| {
            Failure::new(Code::EmptyMigration, format!("{} holds no statement", self.file))
                .hint("applying it changes nothing; write the statements before it is applied, or remove it")
        })
    }

    fn into_migration(self, id: MigrationId, bookkeeping: Bookkeeping, down: Option<Down>) -> Migration {
        let Self { file, digest, text, units } = self;
        Migration { id, file, digest, text, units, bookkeeping, down }
    }

    fn into_down(self) -> Down {
        let Self { file, digest, text, units } = self;
        Down { file, digest, text, units }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of text files, `migrations/`.
    pub(super) fn folder(files: &[(&str, &str)]) -> Folder {
        let files = files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect();
        Folder { dir: "migrations".to_owned(), files }
    }

    /// Rows of a tracking table.
    pub(super) fn rows(rows: &[(&str, Option<String>)]) -> Vec<AppliedRow> {
        rows.iter().map(|(key, digest)| AppliedRow { key: (*key).to_owned(), digest: digest.clone() }).collect()
    }

    #[test]
    fn the_format_is_found_by_what_lies_in_the_folder() {
        let journal = r#"{"dialect": "postgresql", "entries": []}"#;
        for (files, expected) in [
            (&[("0001_a.sql", "SELECT 1")][..], Ok(Format::Sql)),
            (&[("meta/_journal.json", journal), ("0001_a.sql", "SELECT 1")], Ok(Format::Drizzle)),
            (&[("migration_lock.toml", ""), ("20240101000000_a/migration.sql", "")], Err("Prisma")),
            (&[("20240101000000_a/migration.sql", "")], Err("Prisma")),
            (&[("20240101000000_a/migration.sql", ""), ("20240101000000_a/snapshot.json", "")], Err("Drizzle 1.x")),
            (&[("V1__init.sql", "")], Err("Flyway")),
            (&[("V1.2__init.sql", ""), ("R__views.sql", "")], Err("Flyway")),
            (&[("1_a.sql", "-- migrate:up\nSELECT 1;\n-- migrate:down\n")], Err("dbmate")),
            (&[("1_a.sql", "-- +goose Up\nSELECT 1;\n")], Err("goose")),
            (&[("1_a.sql", "--liquibase formatted sql\n")], Err("Liquibase")),
            (&[("sqitch.plan", ""), ("deploy/a.sql", "")], Err("Sqitch")),
            (&[("atlas.sum", ""), ("1_a.sql", "")], Err("Atlas")),
            (&[("20240101_a.ts", "")], Err("programming language")),
        ] {
            match (read_folder(&folder(files), FormatChoice::Auto), expected) {
                (Ok(set), Ok(format)) => assert_eq!(set.format, format, "{files:?}"),
                (Err(failure), Err(name)) => {
                    assert_eq!(failure.code, Code::UnsupportedFormat, "{files:?}");
                    assert!(failure.message.contains(name), "{}", failure.message);
                }
                (found, _) => panic!("{files:?}: {found:?}"),
            }
        }
        let nothing = read_folder(&folder(&[("README.md", "")]), FormatChoice::Auto).unwrap_err();
        assert_eq!(nothing.code, Code::NoMigrations);
    }

    #[test]
    fn a_foreign_folder_is_read_as_plain_sql_only_where_that_means_the_same() {
        let given = FormatChoice::Given(Format::Sql);
        assert_eq!(read_folder(&folder(&[("V1__a.sql", "SELECT 1")]), given).map(|set| set.migrations.len()), Ok(1));
        let both_ways = folder(&[("1_a.sql", "-- +goose Up\nSELECT 1;\n-- +goose Down\nSELECT 2;\n")]);
        assert_eq!(read_folder(&both_ways, given).unwrap_err().code, Code::UnsupportedFormat);
        assert_eq!(read_folder(&folder(&[]), given).map(|set| set.migrations), Ok(vec![]));
    }

    #[test]
    fn the_configuration_names_a_format() {
        assert_eq!(FormatChoice::parse("auto"), Ok(FormatChoice::Auto));
        for reader in formats() {
            assert_eq!(FormatChoice::parse(reader.name()), Ok(FormatChoice::Given(reader.format())));
            assert_eq!(reader.format().reader().name(), reader.name());
        }
        assert_eq!(FormatChoice::parse("prisma").unwrap_err().code, Code::UnsupportedFormat);
        assert_eq!(FormatChoice::parse("SQL").unwrap_err().code, Code::BadValue);
    }

    #[test]
    fn the_folder_is_the_prefix_of_every_file() {
        for (dir, shown) in [("db/migrations", "db/migrations/a"), ("./db/", "db/a"), (".", "a"), ("", "a")] {
            assert_eq!(Folder { dir: dir.to_owned(), ..Folder::default() }.shown("a"), shown);
        }
    }

    #[test]
    fn a_migration_survives_the_journal_without_its_text() {
        let set =
            read_folder(&folder(&[("1_a.sql", "SELECT 1"), ("1_a.down.sql", "SELECT 2")]), FormatChoice::Auto).unwrap();
        let mut back: MigrationSet = serde_json::from_str(&serde_json::to_string(&set).unwrap()).unwrap();
        assert_ne!(back, set);
        back.migrations[0].text = "SELECT 1".to_owned();
        back.migrations[0].down.as_mut().unwrap().text = "SELECT 2".to_owned();
        assert_eq!(back, set);
    }
}
