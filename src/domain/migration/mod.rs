//! Migrations as values: what a folder holds, how it is cut into units, how the tool that owns it keeps track.
//!
//! Pure. Files arrive as bytes in a [`Folder`]; what a database has applied arrives as [`AppliedRow`]s. One file beside
//! this one per format; adding a format means adding one file, its variants of [`Format`] and [`Bookkeeping`], and its
//! line in [`formats`].

mod batch;
mod command;
mod dbmate;
mod drizzle;
mod drizzle1;
mod flyway;
mod foreign;
mod golang_migrate;
mod goose;
mod marks;
mod naming;
mod prisma;
mod refinery;
mod renamed;
mod split;
mod sqitch;
mod sql;
mod sqlx;
mod standing;
mod statement;
mod tokens;

pub use batch::{DroppedTables, batched, columns_set, dropped_tables, granted_to, tables_of};
pub use command::keeps_track;
pub use golang_migrate::URLS_DISAGREE;
pub use naming::NewName;
pub use renamed::{Renaming, other_name, tables_beside};
use split::is_transaction_control;
pub use split::{SplitError, leaves_session_as_it_was, pieces, session_settings, split, split_at};
pub use standing::{Checksum, Entry, standing, told_at_once, tracked_elsewhere};
pub use tokens::{shown_text, tokens_digest};

use super::code::Code;
use super::digest::Digest;
use super::failure::Failure;
use super::ids::{MigrationId, RunId};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// The files of a migrations folder, as read. Paths are relative to the folder, with `/`.
#[derive(Clone, Debug, Default)]
pub struct Folder {
    /// The folder, relative to the project's root: the prefix of every file name shown to a person.
    pub dir: String,
    /// Every file below it, by path.
    pub files: BTreeMap<String, Vec<u8>>,
    /// The tools whose traces lie elsewhere in the project, by their names in the configuration: a `sqlx.toml`, a
    /// dependency on golang-migrate. They decide between formats that look alike.
    pub hints: BTreeSet<String>,
    /// What the tools' own configuration says that a reader has to know, by the tool and the tool's name for it:
    /// `flyway.placeholders.schema`.
    pub said: BTreeMap<String, String>,
    /// The table that keeps track, where dbd's configuration names another than the tool's usual one.
    pub table: Option<String>,
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
    /// Drizzle 0.x with `meta/_journal.json`, tracked in `drizzle.__drizzle_migrations`.
    Drizzle,
    /// Drizzle 1.x with a folder for each migration, tracked in `drizzle.__drizzle_migrations` by name.
    #[serde(rename = "drizzle-1")]
    Drizzle1,
    /// Prisma, tracked in `_prisma_migrations`.
    Prisma,
    /// Flyway, tracked in `flyway_schema_history`.
    Flyway,
    /// sqlx, tracked in `_sqlx_migrations`.
    Sqlx,
    /// dbmate, tracked in `schema_migrations`.
    Dbmate,
    /// goose, tracked in `goose_db_version`.
    Goose,
    /// golang-migrate, tracked in the one row of `schema_migrations`.
    GolangMigrate,
    /// refinery, tracked in `refinery_schema_history`.
    Refinery,
    /// Sqitch, tracked in the schema `sqitch`.
    Sqitch,
    /// No folder: a command of the user's, which keeps track by itself.
    Command,
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
    /// The table that keeps track, as SQL, where it is not the tool's usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// What is odd but does not stop a run, like a file that no entry names ([`Code::OrphanFile`](super::code::Code)).
    pub warnings: Vec<Failure>,
}

impl MigrationSet {
    /// What is odd about the folder, for who also says how it stands with a database: what comes out of order is told there, of those that
    /// are still to be applied.
    pub fn warnings_beside_standing(&self) -> impl Iterator<Item = &Failure> {
        self.warnings.iter().filter(|one| one.code != Code::OutOfOrder)
    }

    fn empty(format: Format, folder: &Folder) -> Self {
        Self { format, dir: folder.dir.clone(), migrations: Vec::new(), table: None, warnings: Vec::new() }
    }
}

/// One migration, cut into units. The text itself travels beside it; the spans point into that text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migration {
    /// Its name: the file's name without `.sql` (and without `.up`).
    pub id: MigrationId,
    /// The file, relative to the project's root.
    pub file: String,
    /// The digest of the text.
    pub digest: Digest,
    /// The text, UTF-8, byte for byte the file, or as its tool makes it of the file (Flyway's placeholders). Left out of the journal's events, which refer to it by a blob.
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

impl UnitMode {
    /// Whether it commits as it goes, so that it may fail after a part of it is committed: what the user's own tool does, batches, and
    /// statements that steer transactions of their own.
    #[must_use]
    pub fn is_piecemeal(&self) -> bool {
        matches!(self, Self::Alone { probe: AloneProbe::UserCommand | AloneProbe::Batch { .. } | AloneProbe::Unknown })
    }
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
    /// `VACUUM` and the like: running it twice does what running it once does.
    Repeatable,
    /// `REINDEX CONCURRENTLY` of an index or a table: may be repeated, once the copies an interrupted one left behind
    /// are dropped.
    Reindex {
        /// The index or the table, schema-qualified if it was written so; fit for `to_regclass`.
        relation: String,
    },
    /// `DETACH PARTITION ... CONCURRENTLY`: done when the partition is nobody's; one whose detaching is pending is half
    /// done and is finished.
    Detached {
        /// The partitioned table, fit for `to_regclass`.
        table: String,
        /// The partition, fit for `to_regclass`.
        partition: String,
    },
    /// An `UPDATE` or a `DELETE` run in batches along the primary key (`-- dbd: batch`): each batch commits with the
    /// place it reached, so it is continued from the last one.
    Batch {
        /// The table, fit for `to_regclass`.
        table: String,
        /// What the statement calls the table, quoted as SQL needs it.
        called: String,
        /// How many rows of the table one batch looks at.
        size: u32,
        /// How long to rest between two batches, in milliseconds.
        pause_ms: u64,
    },
    /// The user's own migration tool: the target's schema and rows tell, as far as they can.
    UserCommand,
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
        /// The table, as SQL, where it is not the usual one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        table: Option<String>,
    },
    /// Any other tool: what its reader needs to write the row.
    Row {
        /// What the tool identifies the migration by: the [`AppliedRow::key`] of its row.
        key: String,
        /// The values of the row that come from the folder, by the names the reader gives them.
        values: BTreeMap<String, String>,
    },
}

/// A tracking table, as SQL that an adapter can run.
#[derive(Clone, Debug)]
pub struct Tracking {
    /// The table, schema-qualified: it is left out of every comparison.
    pub table: Cow<'static, str>,
    /// Other tables the tool keeps, schema-qualified: left out as well.
    pub more: &'static [&'static str],
    /// Columns by which the table is known to be this tool's: two tools call theirs `schema_migrations`.
    pub columns: &'static [&'static str],
    /// Makes the table if it is not there; may hold several statements; harmless to repeat.
    pub create: Cow<'static, str>,
    /// One row per applied migration, an [`AppliedRow`] in five columns of type `text`: key, digest, when, by whom,
    /// mark; all but the first may be null. Only valid when the table exists.
    pub read: Cow<'static, str>,
    /// Where dbd's own [`Proof`]s of its rows are.
    pub proofs: ProofsIn,
    /// The advisory lock the owning tool takes, if it takes one.
    pub lock: Option<ToolLock>,
}

/// Where dbd keeps what it knows of the migrations it applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofsIn {
    /// In `dbd.applied`, beside the rows of the tool.
    Beside,
    /// In `dbd.applied`, whose entries count as rows, because those of the tool say too little.
    Entries,
    /// In the rows themselves: the table is dbd's own. Those written before it had a place for them are in `dbd.applied`.
    Within,
}

/// The key of a tool's advisory lock.
#[derive(Clone, Copy, Debug)]
pub enum ToolLock {
    /// The same in every database.
    Key(i64),
    /// Made of the database's name.
    OfDatabase(fn(&str) -> i64),
    /// Made of the table's name, as SQL.
    OfTable(fn(&str) -> i64),
    /// Made of the table's name, as SQL, and of the database's.
    OfTableAndDatabase(fn(&str, &str) -> i64),
}

/// A table's schema and name out of its name as SQL.
fn schema_and_name(table: &str) -> (String, String) {
    renamed::parts(table)
}

impl ToolLock {
    /// The key of the lock that goes with `table` in a database of that name.
    #[must_use]
    pub fn key(self, table: &str, database: &str) -> i64 {
        match self {
            Self::Key(key) => key,
            Self::OfDatabase(key) => key(database),
            Self::OfTable(key) => key(table),
            Self::OfTableAndDatabase(key) => key(table, database),
        }
    }
}

/// One row of a tracking table: `key` is what the format identifies a migration by (dbd: the id; Drizzle: the hash).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedRow {
    /// What identifies the migration.
    pub key: String,
    /// What the row says beside it, if anything: dbd's is the digest of the content, Drizzle's the `created_at` in
    /// milliseconds, other tools' their checksum.
    pub digest: Option<String>,
    /// When it was applied, RFC 3339, if the tool keeps that.
    pub at: Option<String>,
    /// Who applied it, if the tool keeps that.
    pub by: Option<String>,
    /// What is special about the row: `failed`, or a word of the format's own.
    pub mark: Option<String>,
    /// What dbd itself kept when it applied the migration.
    pub proof: Option<Proof>,
}

/// The mark of a row whose migration failed half-way.
pub const FAILED: &str = "failed";

/// The mark of an entry of dbd's own for a version it found and had not applied itself.
pub const SEEN: &str = "seen";

/// What dbd keeps of a migration it applied, beside the owning tool's row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// The digest of the file as it was.
    pub digest: Option<String>,
    /// The digest of what the server was given, whatever its comments and white space ([`tokens_digest`]).
    pub tokens: Option<String>,
    /// The file as it was, secrets masked; not for very large ones.
    pub text: Option<String>,
    /// The run that applied it.
    pub run: Option<String>,
    /// When, RFC 3339.
    pub at: Option<String>,
}

/// The folder held against what the database has applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The migrations already applied, by their place in the set.
    pub applied: Vec<usize>,
    /// The migrations to apply, by their place in the set, in order.
    pub pending: Vec<usize>,
    /// The migrations that neither are applied nor ever will be: a baseline of Flyway stands for them.
    pub superseded: Vec<usize>,
    /// What makes a deployment unsafe: a file changed after it was applied, an applied migration that is missing.
    pub errors: Vec<Failure>,
    /// What is odd but safe, like a pending migration that comes before an applied one.
    pub warnings: Vec<Failure>,
    /// One entry per migration of the set: its row, and whether its content is still what was applied.
    pub entries: Vec<Entry>,
}

/// A file that `dbd migrations new` makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewFile {
    /// Its path within the folder.
    pub path: String,
    /// What is in it.
    pub text: String,
    /// Whether it replaces a file that is there, like a tool's journal; any other must not be there yet.
    pub replaces: bool,
}

impl NewFile {
    fn made(path: String, text: impl Into<String>) -> Self {
        Self { path, text: text.into(), replaces: false }
    }
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
        let names = || {
            let mut names: Vec<&str> = formats().iter().map(|reader| reader.name()).collect();
            names.dedup();
            names.join(", ")
        };
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

    /// Whether a folder that is said to be the tool's has this layout of its, if the tool has several: less need be there than to find it out.
    fn has_layout(&self, folder: &Folder) -> bool {
        self.detect(folder)
    }

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

    /// What dbd's own [`Proof`] is kept under: the key as the tool's row spells it, where that may be another spelling than
    /// [`FormatReader::key`].
    fn proof_key(&self, migration: &Migration) -> String {
        self.key(migration)
    }

    /// The statements that record the migration as the owning tool would: in the last unit's transaction, or after it
    /// if that runs alone.
    ///
    /// Written for the table's usual name; [`FormatReader::record_sql`] is for the one it has.
    fn insert_row_sql(&self, migration: &Migration, run: &RunId) -> String;

    /// The statements that take exactly that record back, for the table's usual name.
    fn delete_row_sql(&self, migration: &Migration) -> String;

    /// The table's usual name.
    fn usual_table(&self) -> &'static str {
        match self.tracking().table {
            Cow::Borrowed(table) => table,
            // Only a renamed one is made anew.
            Cow::Owned(_) => "",
        }
    }

    /// Statements of the tool's that have to run without an error before the migration counts as applied. They only look.
    fn verify_sql(&self, _migration: &Migration) -> Option<String> {
        None
    }

    /// What of its table's name the tool lets people choose.
    fn renaming(&self) -> Renaming {
        Renaming::Table
    }

    /// The table's name, as the tool's own configuration says it.
    ///
    /// # Errors
    /// [`Code::BadValue`] where it says more than one.
    fn table_said(&self, _folder: &Folder) -> Result<Option<String>, Failure> {
        Ok(None)
    }

    /// The statements that take exactly the record of a migration back.
    fn delete_sql(&self, migration: &Migration) -> String {
        renamed::for_its_table(self, migration, self.delete_row_sql(migration))
    }

    /// The statements after which the tool knows nothing of the migration, and neither does dbd: what [`FormatReader::record_sql`] wrote is
    /// gone. Empty where the tool keeps its record by itself.
    fn forget_sql(&self, migration: &Migration) -> Vec<String> {
        let table = self.tracking().named(migration.bookkeeping.table()).table;
        // The tool's own first: one of them reads dbd's entries to find the version before.
        vec![
            self.delete_sql(migration),
            format!(
                "DELETE FROM dbd.applied WHERE tracking = {} AND key = {}",
                crate::domain::sql::quote_literal(&table),
                crate::domain::sql::quote_literal(&self.proof_key(migration))
            ),
        ]
    }

    /// Holds the set against what the database has applied, entry by entry; the order of `rows` does not matter.
    fn standing(&self, set: &MigrationSet, rows: &[AppliedRow]) -> Standing;

    /// The files of a new, empty migration, named as the tool would name it. `ids` are those of the folder, in order.
    ///
    /// # Errors
    /// The tool's own journal cannot be read.
    fn new_files(&self, folder: &Folder, ids: &[&str], name: NewName<'_>) -> Result<Vec<NewFile>, Failure>;

    /// [`FormatReader::insert_row_sql`] for the table as it is called, and beside it dbd's own [`Proof`]. `text` is the migration's text, which may have
    /// travelled apart from it.
    fn record_sql(&self, migration: &Migration, text: &str, run: &RunId) -> String {
        let row = renamed::for_its_table(self, migration, self.insert_row_sql(migration, run));
        let tracking = self.tracking().named(migration.bookkeeping.table());
        let looked = self.verify_sql(migration).map(|sql| format!("{LOOK}{sql};\n{LOOKED}{VERIFIED}"));
        let looked = looked.unwrap_or_default();
        format!(
            "{looked}{row};\n{}",
            tokens::proof_sql(&tracking.table, &self.proof_key(migration), migration, text, run)
        )
    }
}

/// Ends the statements that verify a migration, where there are any, within what records it.
pub const VERIFIED: &str = "\n-- dbd: verified\n";

/// Whatever is done between the two is undone, and nothing can be done to rows.
const LOOK: &str = "SAVEPOINT dbd_verify;\nSET LOCAL transaction_read_only = on;\n";
const LOOKED: &str = "ROLLBACK TO SAVEPOINT dbd_verify;\nRELEASE SAVEPOINT dbd_verify;";

/// The formats dbd reads, the most particular first. Plain SQL, which would take almost any folder for its own, is the
/// last, and is asked only when no tool dbd merely recognises claims the folder.
#[must_use]
pub fn formats() -> &'static [&'static dyn FormatReader] {
    &[
        &drizzle::Drizzle,
        &drizzle1::Drizzle1,
        &prisma::Prisma,
        &sqitch::Sqitch,
        &dbmate::Dbmate,
        &goose::Goose,
        &refinery::Refinery,
        &flyway::Flyway,
        &sqlx::Sqlx,
        &golang_migrate::GolangMigrate,
        &sql::Sql,
    ]
}

impl Format {
    /// What reads this format and keeps its track.
    #[must_use]
    pub fn reader(self) -> &'static dyn FormatReader {
        match self {
            Self::Sql => &sql::Sql,
            Self::Drizzle => &drizzle::Drizzle,
            Self::Drizzle1 => &drizzle1::Drizzle1,
            Self::Prisma => &prisma::Prisma,
            Self::Flyway => &flyway::Flyway,
            Self::Sqlx => &sqlx::Sqlx,
            Self::Dbmate => &dbmate::Dbmate,
            Self::Goose => &goose::Goose,
            Self::GolangMigrate => &golang_migrate::GolangMigrate,
            Self::Refinery => &refinery::Refinery,
            Self::Sqitch => &sqitch::Sqitch,
            Self::Command => &command::Command,
        }
    }
}

/// The reader of a folder.
///
/// # Errors
/// [`Code::UnsupportedFormat`] when it belongs to a tool dbd does not read, [`Code::NoMigrations`] when the format is to
/// be found out and nothing in the folder is a migration.
pub fn reader_of(folder: &Folder, choice: FormatChoice) -> Result<&'static dyn FormatReader, Failure> {
    match choice {
        FormatChoice::Given(format) => {
            if format == Format::Sql {
                foreign::refuse_marked(folder)?;
            }
            // Two versions of a tool share a name; what lies in the folder tells which it is.
            let reader = format.reader();
            let mut namesakes = formats().iter().filter(|other| other.name() == reader.name());
            Ok(namesakes.find(|other| other.has_layout(folder)).copied().unwrap_or(reader))
        }
        FormatChoice::Auto => {
            let found = formats().iter().find(|reader| reader.format() != Format::Sql && reader.detect(folder));
            if let Some(reader) = found {
                return Ok(*reader);
            }
            foreign::refuse(folder)?;
            if sql::Sql.detect(folder) {
                return Ok(&sql::Sql);
            }
            Err(Failure::new(Code::NoMigrations, format!("there are no migrations in {}", folder.whole()))
                .hint("name the folder in dbd.toml: [migrations] dir = \"...\"")
                .hint("make the first migration with `dbd migrations new <name>`"))
        }
    }
}

/// The table in which a folder is tracked, where it is not the tool's usual one; nothing in it is read as SQL.
///
/// # Errors
/// Those of [`reader_of`], and [`Code::BadValue`] for a table that cannot be its.
pub fn table_of(folder: &Folder, choice: FormatChoice) -> Result<Option<String>, Failure> {
    renamed::table_of(reader_of(folder, choice)?, folder)
}

/// Reads a folder of migrations.
///
/// # Errors
/// Those of [`reader_of`], and whatever the format's reader refuses.
pub fn read_folder(folder: &Folder, choice: FormatChoice) -> Result<MigrationSet, Failure> {
    reader_of(folder, choice)?.read(folder)?.tracked(folder)
}

/// How a tool cuts a file before it looks at the SQL.
#[derive(Clone, Debug, Default)]
struct Cut<'a> {
    /// Where it cuts, wherever that stands.
    separator: Option<&'a str>,
    /// The parts of the file that count, in bytes; the whole file if none are given.
    pieces: Option<Vec<Range<usize>>>,
    /// Whether the file asks for no transaction around it: a statement that may commit by itself then runs alone.
    no_transaction: bool,
}

/// Cuts a file and takes its digest.
fn read_file(folder: &Folder, path: &str, cut: &Cut<'_>) -> Result<ReadFile, Failure> {
    read_text(folder, path, folder.text(path)?.to_owned(), cut)
}

/// Cuts a file of which the server is given `text`, and takes its digest.
fn read_text(folder: &Folder, path: &str, text: String, cut: &Cut<'_>) -> Result<ReadFile, Failure> {
    let file = folder.shown(path);
    let units = split::cut(&text, cut).map_err(|error| error.into_failure(&file))?;
    Ok(ReadFile { digest: Digest::of(&text), text, file, units })
}

/// The way back that is a file of its own. One that cannot be read is no reason not to go forward, so it only warns.
fn read_down(folder: &Folder, path: &str, cut: &Cut<'_>, warnings: &mut Vec<Failure>) -> Option<Down> {
    down(read_file(folder, path, cut), warnings)
}

fn down(read: Result<ReadFile, Failure>, warnings: &mut Vec<Failure>) -> Option<Down> {
    match read {
        // An empty one is none: tools make it so.
        Ok(file) => (!file.units.is_empty()).then(|| file.into_down()),
        Err(failure) => {
            warnings.push(failure.hint("the way back is left out of account until it is corrected"));
            None
        }
    }
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

impl Bookkeeping {
    /// The row of a tool, from the names and values its reader knows.
    fn row(key: impl Into<String>, values: &[(&str, &str)]) -> Self {
        let values = values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self::Row { key: key.into(), values }
    }

    /// The key of a tool's row; empty for the formats that keep theirs otherwise, which no row has.
    fn key(&self) -> &str {
        match self {
            Self::Row { key, .. } => key,
            Self::Dbd | Self::Drizzle { .. } => "",
        }
    }

    /// A value of a tool's row; empty if there is none.
    fn value(&self, name: &str) -> &str {
        match self {
            Self::Row { values, .. } => values.get(name).map_or("", String::as_str),
            Self::Dbd | Self::Drizzle { .. } => "",
        }
    }

    /// A value of a tool's row as a literal.
    fn literal(&self, name: &str) -> String {
        crate::domain::sql::quote_literal(self.value(name))
    }
}

/// A file's name apart from the folders before it.
fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// `0003_add_price` as number and name; `None` without a number, or when nothing parts the two.
fn number_and_name(stem: &str) -> Option<(&str, &str)> {
    let (number, name) = stem.split_once('_')?;
    (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())).then_some((number, name))
}

/// A number without its leading zeros.
fn plain_number(digits: &str) -> &str {
    let plain = digits.trim_start_matches('0');
    if plain.is_empty() && !digits.is_empty() { "0" } else { plain }
}

/// Two files with one number: nobody can know which comes first.
fn doubled(folder: &Folder, first: &str, second: &str) -> Failure {
    let (first, second) = (folder.shown(first), folder.shown(second));
    Failure::new(Code::DuplicateMigration, format!("{first} and {second} have the same number"))
        .hint("give the one that is not applied anywhere yet the next free number")
}

/// A file whose name the tool that owns the folder passes over.
fn passed_over(folder: &Folder, path: &str, pattern: &str) -> Failure {
    Failure::new(Code::OrphanFile, format!("{} is not run: its name is not like {pattern}", folder.shown(path)))
        .hint("rename it, or move it out of the folder")
}

/// The SQL files at the top of the folder, hidden ones left out.
fn top_level(folder: &Folder) -> impl Iterator<Item = &str> {
    let wanted =
        |path: &&str| !path.contains('/') && !path.starts_with('.') && path.to_ascii_lowercase().ends_with(".sql");
    folder.files.keys().map(String::as_str).filter(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of text files, `migrations/`.
    pub(super) fn folder(files: &[(&str, &str)]) -> Folder {
        let files = files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect();
        Folder { dir: "migrations".to_owned(), files, ..Folder::default() }
    }

    /// Rows of a tracking table.
    pub(super) fn rows(rows: &[(&str, Option<String>)]) -> Vec<AppliedRow> {
        let row = |key: &str, digest: &Option<String>| AppliedRow {
            key: key.to_owned(),
            digest: digest.clone(),
            ..AppliedRow::default()
        };
        rows.iter().map(|(key, digest)| row(key, digest)).collect()
    }

    #[test]
    fn the_format_is_found_by_what_lies_in_the_folder() {
        let journal = r#"{"dialect": "postgresql", "entries": []}"#;
        for (files, expected) in [
            (&[("0001_a.sql", "SELECT 1")][..], Ok(Format::Sql)),
            (&[("meta/_journal.json", journal), ("0001_a.sql", "SELECT 1")], Ok(Format::Drizzle)),
            (&[("migration_lock.toml", ""), ("20240101000000_a/migration.sql", "")], Ok(Format::Prisma)),
            (&[("20240101000000_a/migration.sql", "")], Ok(Format::Prisma)),
            (&[("20240101000000_a/migration.sql", ""), ("20240101000000_a/snapshot.json", "")], Ok(Format::Drizzle1)),
            (&[("V1__init.sql", "")], Ok(Format::Flyway)),
            (&[("V1.2__init.sql", ""), ("R__views.sql", "")], Ok(Format::Flyway)),
            (&[("V1__init.sql", ""), ("U2__late.sql", "")], Ok(Format::Refinery)),
            (&[("1_a.sql", "-- migrate:up\nSELECT 1;\n-- migrate:down\n")], Ok(Format::Dbmate)),
            (&[("1_a.sql", "-- +goose Up\nSELECT 1;\n")], Ok(Format::Goose)),
            (&[("1_a.sql", "--liquibase formatted sql\n")], Err("Liquibase")),
            (&[("sqitch.plan", "%project=a\n")], Ok(Format::Sqitch)),
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
        let mut hinted = folder(&[("1_a.up.sql", "SELECT 1"), ("1_a.down.sql", "SELECT 2")]);
        assert_eq!(read_folder(&hinted, FormatChoice::Auto).unwrap().format, Format::Sql);
        for (hint, format) in [("sqlx", Format::Sqlx), ("golang-migrate", Format::GolangMigrate)] {
            hinted.hints = [hint.to_owned()].into();
            assert_eq!(read_folder(&hinted, FormatChoice::Auto).unwrap().format, format);
        }
        assert_eq!(read_folder(&folder(&[]), given).map(|set| set.migrations), Ok(vec![]));
    }

    #[test]
    fn the_configuration_names_a_format() {
        assert_eq!(FormatChoice::parse("auto"), Ok(FormatChoice::Auto));
        for reader in formats() {
            assert_eq!(reader.format().reader().name(), reader.name());
            let given = FormatChoice::parse(reader.name());
            // Drizzle has two layouts under one name.
            let expected = if reader.format() == Format::Drizzle1 { Format::Drizzle } else { reader.format() };
            assert_eq!(given, Ok(FormatChoice::Given(expected)));
        }
        let stamped = folder(&[("20240101000000_a/migration.sql", "SELECT 1"), ("20240101000000_a/snapshot.json", "")]);
        let drizzle = FormatChoice::parse("drizzle").unwrap();
        assert_eq!(read_folder(&stamped, drizzle).unwrap().format, Format::Drizzle1);
        // Drizzle itself needs the SQL alone, and packages leave the rest out.
        let bare = folder(&[("20240101000000_a/migration.sql", "SELECT 1")]);
        assert_eq!(read_folder(&bare, drizzle).unwrap().format, Format::Drizzle1);
        assert_eq!(read_folder(&bare, FormatChoice::Auto).unwrap().format, Format::Prisma);
        assert_eq!(FormatChoice::parse("liquibase").unwrap_err().code, Code::UnsupportedFormat);
        assert_eq!(FormatChoice::parse("SQL").unwrap_err().code, Code::BadValue);
    }

    #[test]
    fn the_next_file_is_named_as_its_tool_would_name_it() {
        let name =
            NewName { title: "Add a note", slug: "add_a_note", stamp: "20240131120000", now_ms: 1_706_702_400_000 };
        let journal = r#"{"version": "7", "dialect": "postgresql", "entries": [{"idx": 0, "when": 9999999999999, "tag": "0000_a"}]}"#;
        let plan = "%project=p\na 2013-12-30T23:19:37Z M <m@e>\n";
        for (format, files, expected) in [
            (Format::Sql, &[("0009_a.sql", "SELECT 1")][..], &["0010_add_a_note.sql"][..]),
            (Format::Sql, &[], &["0001_add_a_note.sql"]),
            (Format::Sql, &[("20230101000000_a.sql", "SELECT 1")], &["20240131120000_add_a_note.sql"]),
            (Format::Sql, &[("1_a.up.sql", "SELECT 1")], &["2_add_a_note.up.sql", "2_add_a_note.down.sql"]),
            (
                Format::Drizzle,
                &[
                    ("meta/_journal.json", journal),
                    ("0000_a.sql", "SELECT 1"),
                    ("meta/0000_snapshot.json", r#"{"id": "x", "prevId": "y"}"#),
                ],
                &["0001_add_a_note.sql", "meta/_journal.json", "meta/0001_snapshot.json"],
            ),
            (Format::Drizzle1, &[], &["20240131120000_add_a_note/migration.sql"]),
            (Format::Prisma, &[("migration_lock.toml", "")], &["20240131120000_add_a_note/migration.sql"]),
            (Format::Flyway, &[("V1.9__a.sql", "SELECT 1"), ("R__b.sql", "SELECT 1")], &["V1.10__add_a_note.sql"]),
            (Format::Sqlx, &[], &["20240131120000_add_a_note.sql"]),
            (Format::Dbmate, &[], &["20240131120000_add_a_note.sql"]),
            (Format::Goose, &[("00001_a.sql", "-- +goose Up\n")], &["00002_add_a_note.sql"]),
            (Format::GolangMigrate, &[], &["000001_add_a_note.up.sql", "000001_add_a_note.down.sql"]),
            (Format::Refinery, &[("V1__a.sql", ""), ("U7__b.sql", "")], &["V8__add_a_note.sql"]),
            (
                Format::Sqitch,
                &[("sqitch.plan", plan), ("deploy/a.sql", "SELECT 1")],
                &["deploy/add_a_note.sql", "revert/add_a_note.sql", "verify/add_a_note.sql", "sqitch.plan"],
            ),
        ] {
            let mut folder = folder(files);
            let reader = format.reader();
            let set = reader.read(&folder).map_or_else(|_| Vec::new(), |set| set.migrations);
            let ids: Vec<&str> = set.iter().map(|one| one.id.as_str()).collect();
            let made = reader.new_files(&folder, &ids, name).unwrap();
            assert_eq!(made.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), expected, "{format:?}");
            // With the new files in place the folder has one migration more, and it comes last.
            folder.files.extend(made.into_iter().map(|file| (file.path, file.text.into_bytes())));
            let after = reader.read(&folder).unwrap().migrations;
            assert_eq!(after.len(), ids.len() + 1, "{format:?}");
            assert!(after.iter().any(|one| one.id.as_str().contains("add_a_note")), "{format:?}");
        }
    }

    #[test]
    fn what_a_tool_records_is_sql_that_can_be_taken_back() {
        let run = RunId::parse("deploy-dev-1").unwrap();
        for reader in formats() {
            let tracking = reader.tracking();
            for sql in [&tracking.create, &tracking.read] {
                assert!(split(sql).is_ok(), "{}: {sql}", reader.name());
            }
            let bookkeeping = match reader.format() {
                Format::Sql => Bookkeeping::Dbd,
                Format::Drizzle => Bookkeeping::Drizzle { hash: "it's".to_owned(), when: 1, table: None },
                Format::Sqitch => Bookkeeping::row("1", &[("insert", "SELECT 1")]),
                _ => Bookkeeping::row(
                    "1",
                    &[("checksum", "1"), ("when", "1"), ("name", "it's"), ("description", "it's")],
                ),
            };
            let text = "SELECT 'it''s'";
            let migration = Migration {
                id: MigrationId::new("1_a"),
                file: "migrations/1_a.sql".to_owned(),
                digest: Digest::of(text),
                text: text.to_owned(),
                units: split(text).unwrap(),
                bookkeeping,
                down: None,
            };
            let record = reader.record_sql(&migration, text, &run);
            assert!(record.contains("tokens, body"), "{record}");
            for sql in [&record, &reader.delete_sql(&migration)] {
                assert!(split(sql).is_ok(), "{}: {sql}", reader.name());
            }
        }
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
