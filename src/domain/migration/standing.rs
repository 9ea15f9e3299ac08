//! Holding a set of migrations against what a database has applied.
//!
//! Always entry by entry. A high-water mark, as most tools keep it, silently skips a migration that was merged late.

use super::tokens::{difference, shown_text, tokens_digest};
use super::{AppliedRow, FAILED, Migration, MigrationSet, Standing, split::BOM};
use crate::domain::code::Code;
use crate::domain::digest::Digest;
use crate::domain::failure::Failure;
use std::collections::BTreeMap;

/// Whether a migration's content is still what was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// Nothing was applied yet.
    Pending,
    /// The tool's own checksum is that of the file.
    Same,
    /// Only its line endings or its byte order mark are others.
    LineEndings,
    /// The server would be given the same: only comments and formatting changed.
    Reformatted,
    /// The statements changed.
    Changed,
    /// The tool keeps no checksum, and dbd did not apply it.
    Unknown,
}

impl Checksum {
    /// The word for it in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Same => "same",
            Self::LineEndings => "line_endings",
            Self::Reformatted => "reformatted",
            Self::Changed => "changed",
            Self::Unknown => "unknown",
        }
    }
}

/// What the database says of one migration of the set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its row, if it is applied.
    pub row: Option<AppliedRow>,
    /// Whether its content is still what was applied.
    pub checksum: Checksum,
}

impl Entry {
    /// The entry of a migration that is not applied.
    pub(super) const PENDING: Self = Self { row: None, checksum: Checksum::Pending };
}

/// The set held against the rows of its tracking table, whose order does not matter.
///
/// Every migration is in exactly one of `applied`, `pending` and `superseded`; one that changed after it was applied is
/// in `applied`. With `errors` a deployment must not start.
#[must_use]
pub fn standing(set: &MigrationSet, rows: &[AppliedRow]) -> Standing {
    set.format.reader().standing(set, rows)
}

/// The standing of a format whose rows hold a key and the BLAKE3 digest of the file.
pub(super) fn by_key(set: &MigrationSet, rows: &[AppliedRow], key: impl Fn(&Migration) -> String) -> Standing {
    by_row(set, rows, key, |text| Digest::of(text).to_string())
}

/// The standing of a format whose rows hold a key and a checksum of the file's text, or no checksum at all.
pub(super) fn by_row(
    set: &MigrationSet,
    rows: &[AppliedRow],
    key: impl Fn(&Migration) -> String,
    sum: impl Fn(&str) -> String,
) -> Standing {
    by_own(set, rows, key, |_, text| sum(text))
}

/// As [`by_row`], for a checksum into which more of the migration goes than its text.
pub(super) fn by_own(
    set: &MigrationSet,
    rows: &[AppliedRow],
    key: impl Fn(&Migration) -> String,
    sum: impl Fn(&Migration, &str) -> String,
) -> Standing {
    let mut unmatched: BTreeMap<&str, &AppliedRow> = rows.iter().map(|row| (row.key.as_str(), row)).collect();
    let mut entries = vec![Entry::PENDING; set.migrations.len()];
    let mut errors = Vec::new();
    for (entry, migration) in entries.iter_mut().zip(&set.migrations) {
        let Some(row) = unmatched.remove(key(migration).as_str()) else { continue };
        let checksum = compare(migration, row, |text| sum(migration, text));
        if row.mark.as_deref() == Some(FAILED) {
            errors.push(half_way(set, &migration.file, row));
        } else if checksum == Checksum::Changed {
            let now = sum(migration, &migration.text);
            errors.push(changed(migration, &now, row));
        }
        *entry = Entry { row: Some(row.clone()), checksum };
    }
    for row in unmatched.values() {
        if row.mark.as_deref() == Some(FAILED) {
            errors.push(half_way(set, &row.key, row));
            continue;
        }
        let failure = missing(format!("{} is applied, but missing from {}", row.key, set.dir));
        let renamed = set.migrations.iter().zip(&entries).find(|(migration, entry)| {
            entry.row.is_none()
                && row.digest.is_some()
                && compare(migration, row, |text| sum(migration, text)) != Checksum::Changed
        });
        errors.push(match renamed {
            Some((migration, _)) => failure
                .cause(format_args!("{} has the same content", migration.file))
                .hint(format!("it was renamed after it was applied: name it {} again", row.key)),
            None => failure,
        });
    }
    conclude(set, entries, errors)
}

/// How a row's checksum fits the migration.
pub(super) fn compare(migration: &Migration, row: &AppliedRow, sum: impl Fn(&str) -> String) -> Checksum {
    match (&row.digest, &row.proof) {
        (Some(digest), _) if *digest == sum(&migration.text) => Checksum::Same,
        (Some(digest), _) if variants(&migration.text).any(|text| sum(&text) == *digest) => Checksum::LineEndings,
        // A text that did not travel along tells nothing.
        (Some(_), _) if migration.text.is_empty() && !migration.units.is_empty() => Checksum::Unknown,
        (_, Some(_)) if is_proven(migration, row) => {
            let bytes = row.proof.as_ref().and_then(|proof| proof.digest.as_deref());
            if bytes == Some(migration.digest.as_str()) { Checksum::Same } else { Checksum::Reformatted }
        }
        (Some(_), _) => Checksum::Changed,
        (None, Some(proof)) if proof.tokens.is_some() => Checksum::Changed,
        (None, _) => Checksum::Unknown,
    }
}

/// Whether dbd applied exactly these statements.
pub(super) fn is_proven(migration: &Migration, row: &AppliedRow) -> bool {
    let tokens = tokens_digest(&migration.text, &migration.units);
    let proven = row.proof.as_ref().and_then(|proof| proof.tokens.as_deref());
    proven.is_some() && tokens.as_ref().map(Digest::as_str) == proven
}

/// The text as another checkout or another editor may have it: other line endings, with or without a byte order mark.
pub(super) fn variants(text: &str) -> impl Iterator<Item = String> + use<'_> {
    let bare = text.strip_prefix(BOM).unwrap_or(text).replace("\r\n", "\n");
    // An empty text is one that did not travel with its migration; nothing can be said of it.
    let bare = (!text.is_empty()).then_some(bare);
    bare.into_iter().flat_map(|lf| {
        let crlf = lf.replace('\n', "\r\n");
        let marked = [format!("{BOM}{lf}"), format!("{BOM}{crlf}")];
        [lf, crlf].into_iter().chain(marked)
    })
}

/// The failure of a file that is no longer what was applied; with the difference, where the text was kept.
pub(super) fn changed(migration: &Migration, now: &str, row: &AppliedRow) -> Failure {
    let message = format!("{} was changed after it was applied", migration.file);
    let then = row.digest.as_deref().or(row.proof.as_ref().and_then(|proof| proof.digest.as_deref()));
    let mut failure = Failure::new(Code::ChangedAfterApply, message)
        .cause(format_args!("applied as {}", then.unwrap_or("another text")))
        .cause(format_args!("now {now}"));
    let text = row.proof.as_ref().and_then(|proof| proof.text.as_deref());
    if let Some((then, now)) = text.zip(shown_text(&migration.text)) {
        failure.causes.extend(difference(then, &now));
    }
    failure.hint("bring the file back as it was applied, and put the change into a new migration")
}

/// Another table than the one that keeps track of `tool`'s folder says that migrations were applied here: another tool's, or the one this tool
/// usually has. `others` are those tables, each with its tool's name.
#[must_use]
pub fn tracked_elsewhere(tool: &str, others: &[(&'static str, &'static str)], table: &str) -> Failure {
    let own = others.iter().find(|(other, _)| *other == tool);
    let Some((other, theirs)) = own.or(others.first()) else {
        return Failure::new(Code::Bug, "no other table keeps track of migrations");
    };
    let message = format!("{theirs} says that {other} has applied migrations here, {table} is empty");
    let failure = Failure::new(Code::ForeignTracking, message)
        .cause("to apply the folder anew would run what is applied already");
    match own {
        Some(_) => failure
            .hint(format!(
                "dbd was told to look in {table}: by `table` under [migrations], or by {tool}'s own files and variables"
            ))
            .hint(format!("if {theirs} is the right one, write in dbd.toml: [migrations] table = \"{theirs}\"")),
        None => {
            failure.hint(format!("if the folder is {other}'s, say so in dbd.toml: [migrations] format = \"{other}\""))
        }
    }
    .hint("if dbd is to keep track from now on, prove it first: `dbd migrations adopt <env>`")
}

/// How many things of a kind are named one by one.
const MOST_NAMED: usize = 8;

/// Failures of one kind as one: the first, and the others below it.
#[must_use]
pub fn told_at_once(failures: Vec<Failure>) -> Option<Failure> {
    let mut failures = failures.into_iter();
    let first = failures.next()?;
    // What is below one that was told so already goes along.
    let others: Vec<String> = failures.flat_map(|one| [vec![one.message], one.causes].concat()).collect();
    let more = others.len().saturating_sub(MOST_NAMED);
    let mut all = others.iter().take(MOST_NAMED).fold(first, |all, one| all.cause(one));
    if more > 0 {
        all = all.cause(format_args!("and {more} more"));
    }
    Some(all)
}

/// The failure of a row that no migration answers for.
pub(super) fn missing(message: String) -> Failure {
    Failure::new(Code::MissingMigration, message)
        .hint("bring the file back from version control; this checkout may be older than what is deployed")
}

/// The failure of a migration that its own tool did not bring to an end.
fn half_way(set: &MigrationSet, what: &str, row: &AppliedRow) -> Failure {
    let reader = set.format.reader();
    let failure = Failure::new(
        Code::FailedMigration,
        format!("{what} failed under {}, and {} still says so", reader.name(), reader.tracking().table),
    )
    .cause(format_args!("its row: {}{}", row.key, row.at.as_ref().map_or(String::new(), |at| format!(", {at}"))));
    failure.hint("see what of it is in the database; take that back or finish it by hand").hint(format!(
        "then settle the row the way {} does it ({})",
        reader.name(),
        remedy(set)
    ))
}

fn remedy(set: &MigrationSet) -> &'static str {
    use super::Format;
    match set.format {
        Format::Prisma => "`prisma migrate resolve --rolled-back` or `--applied`",
        Format::Flyway => "`flyway repair`",
        Format::GolangMigrate => "`migrate force` with the version that is true",
        Format::Sqlx => "delete the row whose success is false",
        _ => "correct or delete the row",
    }
}

/// What is to be said of `pending` migrations that come before the `newest` one applied.
pub(super) fn too_late(set: &MigrationSet, pending: &[usize], newest: Option<usize>) -> Option<Failure> {
    let newest = newest?;
    let late = pending.iter().filter(|index| **index < newest).map(|index| {
        let (file, newest) = (&set.migrations[*index].file, &set.migrations[newest].id);
        Failure::new(Code::OutOfOrder, format!("{file} is pending, though {newest} after it is applied"))
            .hint("it runs now, after the ones it was written before; the rehearsal shows whether that works")
    });
    told_at_once(late.collect())
}

/// Sorts the set into applied and pending, and warns of what comes too late.
pub(super) fn conclude(set: &MigrationSet, entries: Vec<Entry>, errors: Vec<Failure>) -> Standing {
    let (applied, pending): (Vec<usize>, Vec<usize>) =
        (0..set.migrations.len()).partition(|index| entries[*index].row.is_some());
    let warnings = too_late(set, &pending, applied.last().copied()).into_iter().collect();
    Standing { applied, pending, superseded: Vec::new(), errors, warnings, entries }
}
