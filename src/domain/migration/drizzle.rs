//! Drizzle 0.x: `meta/_journal.json` names the migrations, `<tag>.sql` holds each, `drizzle.__drizzle_migrations` keeps
//! track.
//!
//! Drizzle itself applies what is stamped later than the newest row, and so silently skips a migration that was merged
//! late. dbd asks of each entry by itself whether it is applied.

use super::Entry as Held;
use super::{
    AppliedRow, Bookkeeping, Checksum, Cut, Folder, Format, FormatReader, Migration, MigrationSet, NewFile, NewName,
    ProofsIn, Standing, Tracking, read_file, split::BOM, standing,
};
use crate::domain::code::Code;
use crate::domain::failure::Failure;
use crate::domain::ids::{MigrationId, RunId};
use crate::domain::sql::quote_literal;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// The reader of Drizzle 0.x.
pub(super) struct Drizzle;

pub(super) const JOURNAL: &str = "meta/_journal.json";

/// Drizzle cuts the file here before the SQL is looked at, with or without `"breakpoints": true`.
pub(super) const BREAKPOINT: &str = "--> statement-breakpoint";

#[derive(Deserialize)]
struct Journal {
    dialect: Option<String>,
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    idx: i64,
    when: i64,
    tag: String,
}

impl FormatReader for Drizzle {
    fn format(&self) -> Format {
        Format::Drizzle
    }

    fn name(&self) -> &'static str {
        "drizzle"
    }

    fn detect(&self, folder: &Folder) -> bool {
        folder.files.contains_key(JOURNAL)
    }

    fn read(&self, folder: &Folder) -> Result<MigrationSet, Failure> {
        let journal = journal(folder)?;
        let mut warnings = warnings(folder, &journal);
        let mut migrations = Vec::with_capacity(journal.entries.len());
        for Entry { when, tag, .. } in journal.entries {
            let path = format!("{tag}.sql");
            let Some(bytes) = folder.files.get(&path) else {
                let message = format!("{} is missing, though {} names it", folder.shown(&path), folder.shown(JOURNAL));
                return Err(Failure::new(Code::BadMigrationJournal, message)
                    .hint("bring the file back from version control, or drop the entry with `drizzle-kit drop`"));
            };
            let hash = hash(bytes);
            let file = read_file(folder, &path, &Cut { separator: Some(BREAKPOINT), ..Cut::default() })?;
            warnings.extend(file.emptiness());
            migrations.push(file.into_migration(
                MigrationId::new(tag),
                Bookkeeping::Drizzle { hash, when, table: None },
                None,
            ));
        }
        Ok(MigrationSet { format: Format::Drizzle, dir: folder.dir.clone(), migrations, table: None, warnings })
    }

    fn table_said(&self, folder: &Folder) -> Result<Option<String>, Failure> {
        Ok(table_said(folder))
    }

    fn tracking(&self) -> Tracking {
        Tracking {
            table: Cow::Borrowed("drizzle.__drizzle_migrations"),
            more: &[],
            columns: &["hash", "created_at"],
            create: Cow::Borrowed(
                "CREATE SCHEMA IF NOT EXISTS drizzle;
CREATE TABLE IF NOT EXISTS drizzle.__drizzle_migrations (
    id SERIAL PRIMARY KEY,
    hash text NOT NULL,
    created_at bigint
);",
            ),
            read: Cow::Borrowed(
                "SELECT hash, created_at::text, \
                to_char(to_timestamp(created_at / 1000.0) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'), \
                NULL::text, NULL::text FROM drizzle.__drizzle_migrations ORDER BY id",
            ),
            proofs: ProofsIn::Beside,
            // Drizzle 0.x takes none.
            lock: None,
        }
    }

    fn key(&self, migration: &Migration) -> String {
        stamp(migration).0.to_owned()
    }

    fn insert_row_sql(&self, migration: &Migration, _run: &RunId) -> String {
        let (hash, when) = stamp(migration);
        let hash = quote_literal(hash);
        format!("INSERT INTO drizzle.__drizzle_migrations (hash, created_at) VALUES ({hash}, {when})")
    }

    fn delete_row_sql(&self, migration: &Migration) -> String {
        let (hash, when) = stamp(migration);
        let hash = quote_literal(hash);
        format!("DELETE FROM drizzle.__drizzle_migrations WHERE hash = {hash} AND created_at = {when}")
    }

    /// An entry is applied when a row has its hash. Two entries may hold the same text, so each row answers for one
    /// entry, and the row with the entry's own stamp is preferred.
    fn standing(&self, set: &MigrationSet, rows: &[AppliedRow]) -> Standing {
        let stamps: Vec<(Vec<String>, String)> = set.migrations.iter().map(hashes_and_when).collect();
        let whens: BTreeSet<&str> = stamps.iter().map(|(_, when)| when.as_str()).collect();
        let mut owner: Vec<Option<usize>> = vec![None; set.migrations.len()];
        let mut used = vec![false; rows.len()];
        let mut changed = vec![false; set.migrations.len()];
        // In this order: the very row; a row with the hash whose stamp was edited since; a row with the stamp but
        // another hash.
        for pass in 0..3 {
            for (index, (hashes, when)) in stamps.iter().enumerate() {
                if owner[index].is_some() {
                    continue;
                }
                let found = rows.iter().enumerate().find(|(place, row)| {
                    let same_hash = hashes.contains(&row.key);
                    let same_when = row.digest.as_deref() == Some(when);
                    !used[*place]
                        && match pass {
                            0 => same_hash && same_when,
                            1 => same_hash && row.digest.as_deref().is_none_or(|stamp| !whens.contains(stamp)),
                            _ => same_when && !stamps.iter().any(|(hashes, _)| hashes.contains(&row.key)),
                        }
                });
                if let Some((place, _)) = found {
                    used[place] = true;
                    owner[index] = Some(place);
                    changed[index] = pass == 2;
                }
            }
        }
        let mut errors = Vec::new();
        let mut entries = vec![Held::PENDING; set.migrations.len()];
        for (index, migration) in set.migrations.iter().enumerate() {
            let Some(row) = owner[index].map(|place| &rows[place]) else { continue };
            // The key of Drizzle's row is the checksum itself.
            let summed = AppliedRow { digest: Some(row.key.clone()), ..row.clone() };
            let checksum = standing::compare(migration, &summed, |text| hash(text.as_bytes()));
            if changed[index] && checksum == Checksum::Changed {
                errors.push(standing::changed(migration, &stamps[index].0[0], &summed));
            }
            entries[index] = Held { row: Some(row.clone()), checksum };
        }
        // A second row of an applied entry is what two deployments at once leave behind; it does no harm.
        let known: BTreeSet<&str> = stamps.iter().flat_map(|(hashes, _)| hashes).map(String::as_str).collect();
        let strays = rows.iter().zip(&used).filter(|(row, used)| !**used && !known.contains(row.key.as_str()));
        errors.extend(strays.map(|(row, _)| {
            let when = row.digest.as_deref().unwrap_or("NULL");
            let message = format!("a migration applied by Drizzle is missing from {}", set.dir);
            standing::missing(message).cause(format_args!("created_at {when}, hash {}", row.key))
        }));
        let mut standing = standing::conclude(set, entries, errors);
        let whens: Vec<(&str, i64)> = set.migrations.iter().map(|one| (one.id.as_str(), stamp(one).1)).collect();
        let late = late(&whens).into_iter().filter(|(index, _)| standing.pending.contains(index));
        standing.warnings.extend(standing::told_at_once(late.map(|(_, failure)| failure).collect()));
        standing
    }

    /// The file, its entry in the journal, and a snapshot like the last one, as `drizzle-kit generate --custom` does.
    fn new_files(&self, folder: &Folder, ids: &[&str], name: NewName<'_>) -> Result<Vec<NewFile>, Failure> {
        let number = match ids.is_empty() {
            true => "0000".to_owned(),
            false => name.number(ids.iter().copied(), 4),
        };
        let tag = format!("{number}_{}", name.slug);
        let file = folder.shown(JOURNAL);
        let mut journal: serde_json::Value = match folder.files.contains_key(JOURNAL) {
            true => serde_json::from_str(folder.text(JOURNAL)?).map_err(|error| {
                Failure::new(Code::BadMigrationJournal, format!("{file} is not valid")).source(&error)
            })?,
            false => serde_json::json!({"version": "7", "dialect": "postgresql", "entries": []}),
        };
        let newest =
            journal["entries"].as_array().into_iter().flatten().filter_map(|entry| entry["when"].as_i64()).max();
        let index = journal["entries"].as_array().map_or(0, Vec::len);
        let version = journal["version"].clone();
        if let Some(entries) = journal["entries"].as_array_mut() {
            // Drizzle skips what is stamped no later than the newest.
            let when = newest.map_or(name.now_ms, |newest| name.now_ms.max(newest + 1));
            entries.push(
                serde_json::json!({"idx": index, "version": version, "when": when, "tag": tag, "breakpoints": true}),
            );
        }
        let mut files = vec![
            NewFile::made(format!("{tag}.sql"), format!("-- {}\n", name.title)),
            NewFile {
                path: JOURNAL.to_owned(),
                text: serde_json::to_string_pretty(&journal).unwrap_or_default() + "\n",
                replaces: true,
            },
        ];
        let last = folder.files.keys().rev().find(|path| path.starts_with("meta/") && path.ends_with("_snapshot.json"));
        if let Some(last) = last {
            let text = next_snapshot(folder.text(last)?, &tag);
            files.extend(text.map(|text| NewFile::made(format!("meta/{number}_snapshot.json"), text)));
        }
        Ok(files)
    }
}

/// A copy of a snapshot as the next one of its line: an id of its own, made of `seed`, and the old one as its parent.
pub(super) fn next_snapshot(text: &str, seed: &str) -> Option<String> {
    let mut snapshot: serde_json::Value = serde_json::from_str(text).ok()?;
    let before = snapshot.get("id")?.as_str()?.to_owned();
    let hex = hash(format!("{before} {seed}").as_bytes());
    let id = format!("{}-{}-4{}-8{}-{}", &hex[..8], &hex[8..12], &hex[12..15], &hex[15..18], &hex[18..30]);
    if snapshot.get("prevIds").is_some() {
        snapshot["prevIds"] = serde_json::json!([before]);
    } else {
        snapshot["prevId"] = before.into();
    }
    snapshot["id"] = id.into();
    Some(serde_json::to_string_pretty(&snapshot).ok()? + "\n")
}

fn journal(folder: &Folder) -> Result<Journal, Failure> {
    let file = folder.shown(JOURNAL);
    if !folder.files.contains_key(JOURNAL) {
        return Err(Failure::new(Code::BadMigrationJournal, format!("{file} is missing"))
            .hint("make it with `drizzle-kit generate`, or point [migrations] dir at drizzle.config's `out`"));
    }
    let text = folder.text(JOURNAL).map_err(|failure| Failure { code: Code::BadMigrationJournal, ..failure })?;
    let journal: Journal = serde_json::from_str(text.trim_start_matches(BOM)).map_err(|error| {
        let place = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let failure = Failure::new(Code::BadMigrationJournal, format!("{file} is not a journal of Drizzle"))
            .cause(&error)
            .at(file.clone(), place(error.line()), place(error.column()));
        if text.contains("<<<<<<<") { failure.hint("resolve the merge conflict in it") } else { failure }
    })?;
    match journal.dialect.as_deref() {
        None | Some("postgresql" | "pg") => {}
        Some(other) => {
            let message = format!("{file} is of Drizzle for {other}, and dbd deploys to PostgreSQL");
            return Err(Failure::new(Code::UnsupportedFormat, message).hint("point [migrations] dir at another folder"));
        }
    }
    let mut tags = BTreeSet::new();
    if let Some(entry) = journal.entries.iter().find(|entry| !tags.insert(entry.tag.as_str())) {
        let message = format!("{file} names {} twice", entry.tag);
        return Err(Failure::new(Code::DuplicateMigration, message).hint("remove one of the two entries"));
    }
    Ok(journal)
}

/// What is odd about the folder but does not stop a run.
fn warnings(folder: &Folder, journal: &Journal) -> Vec<Failure> {
    let mut warnings = Vec::new();
    let named: BTreeSet<String> = journal.entries.iter().map(|entry| format!("{}.sql", entry.tag)).collect();
    let top_level = folder.files.keys().filter(|path| !path.contains('/') && path.ends_with(".sql"));
    for path in top_level.filter(|path| !path.starts_with('.') && !named.contains(*path)) {
        let message = format!("{} is not run: {} does not name it", folder.shown(path), folder.shown(JOURNAL));
        warnings.push(Failure::new(Code::OrphanFile, message).hint("remove the file, or generate the migration again"));
    }
    let mut places: BTreeMap<i64, &str> = BTreeMap::new();
    for entry in &journal.entries {
        if let Some(other) = places.insert(entry.idx, &entry.tag) {
            let message = format!("{other} and {} both have the index {}", entry.tag, entry.idx);
            warnings.push(Failure::new(Code::DuplicateMigration, message).hint(
                "dbd applies them in the journal's order; generate the later one again to give it its own index",
            ));
        }
    }
    let whens: Vec<(&str, i64)> = journal.entries.iter().map(|entry| (entry.tag.as_str(), entry.when)).collect();
    let late = late(&whens).into_iter().map(|(_, failure)| failure).collect();
    warnings.extend(standing::told_at_once(late));
    warnings
}

/// The entries, by their place, that are stamped no later than one before them: Drizzle holds each stamp against the newest row, and that is all
/// it does.
fn late(entries: &[(&str, i64)]) -> Vec<(usize, Failure)> {
    let mut late = Vec::new();
    let mut newest: Option<(&str, i64)> = None;
    for (index, (tag, when)) in entries.iter().enumerate() {
        match newest {
            Some((before, stamp)) if *when <= stamp => {
                let message = format!("{tag} is stamped no later than {before}, which comes before it");
                let hint =
                    format!("dbd applies it; Drizzle itself skips it silently where {before} is applied already");
                late.push((index, Failure::new(Code::OutOfOrder, message).hint(hint)));
            }
            _ => newest = Some((tag, *when)),
        }
    }
    late
}

fn hash(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(bytes))
}

/// The hash and the `when` of a migration of this format.
fn stamp(migration: &Migration) -> (&str, i64) {
    match &migration.bookkeeping {
        Bookkeeping::Drizzle { hash, when, .. } => (hash, *when),
        // A set holds migrations of its own format only; a digest matches no row, so nothing is taken for applied.
        Bookkeeping::Dbd | Bookkeeping::Row { .. } => (migration.digest.as_str(), 0),
    }
}

/// Every hash the migration's row may have, its own first: the line endings of another checkout do not make another
/// migration.
fn hashes_and_when(migration: &Migration) -> (Vec<String>, String) {
    let (own, when) = stamp(migration);
    let others = standing::variants(&migration.text).map(|text| hash(text.as_bytes()));
    (std::iter::once(own.to_owned()).chain(others).collect(), when.to_string())
}

/// The table as `drizzle.config.*` names it: `migrations: { table, schema }`.
pub(super) fn table_said(folder: &Folder) -> Option<String> {
    let said = |key: &str| folder.said.get(&format!("drizzle.migrations.{key}")).map(String::as_str);
    let (schema, table) = (said("schema"), said("table"));
    (schema.is_some() || table.is_some())
        .then(|| format!("\"{}\".\"{}\"", schema.unwrap_or("drizzle"), table.unwrap_or("__drizzle_migrations")))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{folder, rows};
    use super::super::{FormatChoice, UnitMode, read_folder};
    use super::*;

    /// A folder whose journal names `entries` (index, when, tag), holding `files`.
    fn project(entries: &[(i64, i64, &str)], files: &[(&str, &str)]) -> Folder {
        let entry = |(idx, when, tag): &(i64, i64, &str)| {
            format!(r#"{{"idx": {idx}, "version": "7", "when": {when}, "tag": "{tag}", "breakpoints": true}}"#)
        };
        let entries: Vec<String> = entries.iter().map(entry).collect();
        let journal = format!(r#"{{"version": "7", "dialect": "postgresql", "entries": [{}]}}"#, entries.join(", "));
        let mut folder = folder(files);
        folder.files.insert(JOURNAL.to_owned(), journal.into_bytes());
        folder
    }

    fn read(folder: &Folder) -> Result<MigrationSet, Failure> {
        read_folder(folder, FormatChoice::Auto)
    }

    #[test]
    fn the_journal_names_the_migrations_and_their_order() {
        let set = read(&project(
            &[(0, 100, "0000_b"), (1, 200, "0001_a")],
            &[("0001_a.sql", "SELECT 2;"), ("0000_b.sql", "SELECT 1;"), ("0001_stray.sql", "SELECT 3;")],
        ))
        .unwrap();
        let ids: Vec<&str> = set.migrations.iter().map(|migration| migration.id.as_str()).collect();
        assert_eq!(ids, ["0000_b", "0001_a"]);
        assert_eq!(
            set.migrations[0].bookkeeping,
            Bookkeeping::Drizzle {
                hash: "17db4fd369edb9244b9f91d9aeed145c3d04ad8ba6e95d06247f07a63527d11a".to_owned(),
                when: 100,
                table: None
            }
        );
        let [orphan] = set.warnings.as_slice() else { panic!("{:?}", set.warnings) };
        assert_eq!(orphan.code, Code::OrphanFile);
        assert!(orphan.message.contains("migrations/0001_stray.sql"));
    }

    #[test]
    fn a_file_is_cut_at_its_breakpoints_with_and_without_semicolons() {
        let text = "CREATE TABLE a ()\n--> statement-breakpoint\nCREATE TABLE b ();--> statement-breakpoint\n\
                    --> statement-breakpoint CREATE TABLE c ();\nCREATE TABLE d ();";
        let set = read(&project(&[(0, 100, "0000_a")], &[("0000_a.sql", text)])).unwrap();
        let [unit] = set.migrations[0].units.as_slice() else { panic!("{:?}", set.migrations[0].units) };
        assert_eq!(unit.mode, UnitMode::Transaction);
        let found: Vec<(u32, &str)> = unit.statements.iter().map(|span| (span.line, span.of(text))).collect();
        assert_eq!(
            found,
            [(1, "CREATE TABLE a ()"), (3, "CREATE TABLE b ()"), (4, "CREATE TABLE c ()"), (5, "CREATE TABLE d ()")]
        );
    }

    #[test]
    fn an_error_behind_a_breakpoint_is_placed_in_the_file() {
        let text = "SELECT 1;\n--> statement-breakpoint\nSELECT 2;\n  SELEC 3;";
        let failure = read(&project(&[(0, 100, "0000_a")], &[("0000_a.sql", text)])).unwrap_err();
        assert_eq!(failure.code, Code::SyntaxError);
        assert_eq!(failure.place.map(|place| (place.line, place.column)), Some((4, 3)));
    }

    #[test]
    fn a_broken_journal_is_refused() {
        let missing = read(&project(&[(0, 100, "0000_a")], &[])).unwrap_err();
        assert_eq!(missing.code, Code::BadMigrationJournal);
        assert!(missing.message.contains("migrations/0000_a.sql"), "{}", missing.message);

        let twice = read(&project(&[(0, 1, "0000_a"), (1, 2, "0000_a")], &[("0000_a.sql", "")])).unwrap_err();
        assert_eq!(twice.code, Code::DuplicateMigration);

        let conflict = "{\n<<<<<<< HEAD\n\"entries\": []}";
        let conflict = read(&folder(&[(JOURNAL, conflict)])).unwrap_err();
        assert_eq!(conflict.code, Code::BadMigrationJournal);
        assert_eq!(conflict.place.map(|place| place.line), Some(2));
        assert_eq!(conflict.hints, ["resolve the merge conflict in it"]);

        let mysql = read(&folder(&[(JOURNAL, r#"{"dialect": "mysql", "entries": []}"#)])).unwrap_err();
        assert_eq!(mysql.code, Code::UnsupportedFormat);

        let none = read_folder(&folder(&[]), FormatChoice::Given(Format::Drizzle)).unwrap_err();
        assert_eq!(none.code, Code::BadMigrationJournal);
    }

    #[test]
    fn what_drizzle_would_silently_skip_is_named() {
        let files = &[("0000_a.sql", "SELECT 1"), ("0001_b.sql", "SELECT 2"), ("0001_c.sql", "SELECT 3")];
        let set = read(&project(&[(0, 100, "0000_a"), (1, 300, "0001_b"), (1, 200, "0001_c")], files)).unwrap();
        assert_eq!(set.migrations.len(), 3);
        let codes: Vec<Code> = set.warnings.iter().map(|warning| warning.code).collect();
        assert_eq!(codes, [Code::DuplicateMigration, Code::OutOfOrder]);
        assert!(set.warnings[1].message.starts_with("0001_c "), "{}", set.warnings[1].message);
        // Where it is applied nobody has to be told any more.
        let row = |index: usize| {
            let (hash, when) = stamp(&set.migrations[index]);
            (hash.to_owned(), Some(when.to_string()))
        };
        let held = |indices: &[usize]| {
            let all: Vec<(String, Option<String>)> = indices.iter().map(|index| row(*index)).collect();
            let all: Vec<(&str, Option<String>)> =
                all.iter().map(|(hash, when)| (hash.as_str(), when.clone())).collect();
            Drizzle.standing(&set, &rows(&all)).warnings
        };
        assert!(held(&[])[0].message.starts_with("0001_c "));
        assert!(held(&[0, 1])[0].message.starts_with("0001_c "));
        assert_eq!(held(&[0, 1, 2]), []);
    }

    #[test]
    fn the_record_is_the_one_drizzle_would_write() {
        let set = read(&project(&[(0, 100, "0000_a")], &[("0000_a.sql", "SELECT 1;")])).unwrap();
        let run = RunId::parse("deploy-dev-1").unwrap();
        let hash = hash(b"SELECT 1;");
        assert_eq!(
            Drizzle.insert_row_sql(&set.migrations[0], &run),
            format!("INSERT INTO drizzle.__drizzle_migrations (hash, created_at) VALUES ('{hash}', 100)")
        );
        assert_eq!(
            Drizzle.delete_sql(&set.migrations[0]),
            format!("DELETE FROM drizzle.__drizzle_migrations WHERE hash = '{hash}' AND created_at = 100")
        );
        assert_eq!(Drizzle.key(&set.migrations[0]), hash);
        for sql in [Drizzle.tracking().create, Drizzle.tracking().read] {
            assert!(super::super::split(&sql).is_ok(), "{sql}");
        }
    }

    #[test]
    fn each_entry_is_judged_by_its_hash() {
        let files =
            &[("0_a.sql", "SELECT 1"), ("1_b.sql", "SELECT 2"), ("2_c.sql", "SELECT 1"), ("3_d.sql", "SELECT 4\n")];
        let set = read(&project(&[(0, 100, "0_a"), (1, 200, "1_b"), (2, 300, "2_c"), (3, 400, "3_d")], files)).unwrap();
        let h = |text: &str| hash(text.as_bytes());
        let check = |applied: &[(&str, &str)]| {
            let applied: Vec<(String, Option<String>)> = applied
                .iter()
                .map(|(text, when)| (h(text), Some((*when).to_owned()).filter(|w| !w.is_empty())))
                .collect();
            let applied: Vec<(&str, Option<String>)> = applied.iter().map(|(k, d)| (k.as_str(), d.clone())).collect();
            let standing = Drizzle.standing(&set, &rows(&applied));
            let errors: Vec<Code> = standing.errors.iter().map(|failure| failure.code).collect();
            let warnings = standing.warnings.iter().map(|one| 1 + one.causes.len()).sum::<usize>();
            (standing.applied, standing.pending, errors, warnings)
        };
        // (what is applied: text and created_at; then applied, pending, errors, number of warnings)
        assert_eq!(check(&[]), (vec![], vec![0, 1, 2, 3], vec![], 0));
        // Two entries with the same text: one row answers for one of them, its own.
        assert_eq!(check(&[("SELECT 1", "300")]), (vec![2], vec![0, 1, 3], vec![], 2));
        assert_eq!(check(&[("SELECT 1", "100"), ("SELECT 1", "100")]), (vec![0], vec![1, 2, 3], vec![], 0));
        assert_eq!(check(&[("SELECT 1", "100"), ("SELECT 1", "300")]), (vec![0, 2], vec![1, 3], vec![], 1));
        // A stamp that was edited in the journal afterwards does not matter, nor does a missing one.
        assert_eq!(check(&[("SELECT 2", "150")]), (vec![1], vec![0, 2, 3], vec![], 1));
        assert_eq!(check(&[("SELECT 2", "")]), (vec![1], vec![0, 2, 3], vec![], 1));
        // Another checkout's line endings do not matter either.
        assert_eq!(check(&[("SELECT 4\r\n", "400")]), (vec![3], vec![0, 1, 2], vec![], 3));
        assert_eq!(check(&[("SELECT 9", "200")]), (vec![1], vec![0, 2, 3], vec![Code::ChangedAfterApply], 1));
        assert_eq!(check(&[("SELECT 9", "999")]), (vec![], vec![0, 1, 2, 3], vec![Code::MissingMigration], 0));
    }
}
