//! Holding a set of migrations against what a database has applied.
//!
//! Always entry by entry. A high-water mark, as most tools keep it, silently skips a migration that was merged late.

use super::{AppliedRow, Migration, MigrationSet, Standing, split::BOM};
use crate::domain::code::Code;
use crate::domain::digest::Digest;
use crate::domain::failure::Failure;
use std::collections::BTreeMap;

/// The set held against the rows of its tracking table, whose order does not matter.
///
/// Every migration is in exactly one of `applied` and `pending`; one that changed after it was applied is in `applied`.
/// With `errors` a deployment must not start.
#[must_use]
pub fn standing(set: &MigrationSet, rows: &[AppliedRow]) -> Standing {
    set.format.reader().standing(set, rows)
}

/// The standing of a format whose rows hold a key and the BLAKE3 digest of the file.
pub(super) fn by_key(set: &MigrationSet, rows: &[AppliedRow], key: impl Fn(&Migration) -> String) -> Standing {
    let mut unmatched: BTreeMap<&str, &AppliedRow> = rows.iter().map(|row| (row.key.as_str(), row)).collect();
    let mut applied = vec![false; set.migrations.len()];
    let mut errors = Vec::new();
    for (index, migration) in set.migrations.iter().enumerate() {
        let Some(row) = unmatched.remove(key(migration).as_str()) else { continue };
        applied[index] = true;
        match &row.digest {
            Some(digest) if !is_digest_of(digest, migration) => {
                errors.push(changed(migration, migration.digest.as_str(), digest));
            }
            _ => {}
        }
    }
    for row in unmatched.values() {
        let failure = missing(format!("{} is applied, but missing from {}", row.key, set.dir));
        let renamed = set.migrations.iter().zip(&applied).find(|(migration, applied)| {
            !**applied && row.digest.as_ref().is_some_and(|digest| is_digest_of(digest, migration))
        });
        errors.push(match renamed {
            Some((migration, _)) => failure
                .cause(format_args!("{} has the same content", migration.file))
                .hint(format!("it was renamed after it was applied: name it {} again", row.key)),
            None => failure,
        });
    }
    conclude(set, |index| applied[index], errors)
}

/// Whether the digest is the migration's, or would be with other line endings or without a byte order mark.
fn is_digest_of(digest: &str, migration: &Migration) -> bool {
    migration.digest.as_str() == digest || variants(&migration.text).any(|text| Digest::of(text).as_str() == digest)
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

/// The failure of a file that is no longer what was applied.
pub(super) fn changed(migration: &Migration, now: &str, then: &str) -> Failure {
    let message = format!("{} was changed after it was applied", migration.file);
    Failure::new(Code::ChangedAfterApply, message)
        .cause(format_args!("applied as {then}"))
        .cause(format_args!("now {now}"))
        .hint("bring the file back as it was applied, and put the change into a new migration")
}

/// The failure of a row that no migration answers for.
pub(super) fn missing(message: String) -> Failure {
    Failure::new(Code::MissingMigration, message)
        .hint("bring the file back from version control; this checkout may be older than what is deployed")
}

/// Sorts the set into applied and pending, and warns of what comes too late.
pub(super) fn conclude(set: &MigrationSet, is_applied: impl Fn(usize) -> bool, errors: Vec<Failure>) -> Standing {
    let (applied, pending): (Vec<usize>, Vec<usize>) = (0..set.migrations.len()).partition(|index| is_applied(*index));
    let newest = applied.last().copied().unwrap_or(0);
    let late = pending.iter().filter(|index| **index < newest).map(|index| {
        let (file, newest) = (&set.migrations[*index].file, &set.migrations[newest].id);
        Failure::new(Code::OutOfOrder, format!("{file} is pending, though {newest} after it is applied"))
            .hint("it runs now, after the ones it was written before; the rehearsal shows whether that works")
    });
    let warnings = late.collect();
    Standing { applied, pending, errors, warnings }
}
