//! refinery: `V1__name.sql` and `U1__name.sql`, tracked in `refinery_schema_history`.
//!
//! `U` is no way back here, as it is with Flyway, but a migration that may come out of order. The checksum holds name and
//! version as well as the text, so a rename makes another migration.

use super::{
    AppliedRow, Bookkeeping, Cut, Folder, Format, FormatReader, Migration, MigrationSet, NewFile, NewName, ProofsIn,
    Standing, Tracking, base_name, doubled, marks, passed_over, read_file, standing,
};
use crate::domain::failure::Failure;
use crate::domain::ids::{MigrationId, RunId};
use siphasher::sip::SipHasher13;
use std::borrow::Cow;
use std::hash::{Hash, Hasher};

/// The reader of refinery.
pub(super) struct Refinery;

/// A file's name, taken apart.
struct Name<'a> {
    path: &'a str,
    id: &'a str,
    version: i32,
    name: &'a str,
    versioned: bool,
}

impl<'a> Name<'a> {
    fn parse(path: &'a str) -> Option<Self> {
        let id = base_name(path).strip_suffix(".sql")?;
        let versioned = id.starts_with('V');
        let (version, name) = id.strip_prefix(['V', 'U'])?.split_once("__")?;
        let word = |c: char| c.is_alphanumeric() || c == '_';
        let version = version.bytes().all(|byte| byte.is_ascii_digit()).then(|| version.parse().ok()).flatten()?;
        (!name.is_empty() && name.chars().all(word)).then_some(Self { path, id, version, name, versioned })
    }
}

impl FormatReader for Refinery {
    fn format(&self) -> Format {
        Format::Refinery
    }

    fn name(&self) -> &'static str {
        "refinery"
    }

    /// Its names are Flyway's too; a `U` that takes nothing back tells them apart, or the project itself.
    fn detect(&self, folder: &Folder) -> bool {
        let names: Vec<Name<'_>> = folder.files.keys().filter_map(|path| Name::parse(path)).collect();
        let late = |name: &Name<'_>| {
            !name.versioned && !names.iter().any(|other| other.versioned && other.version == name.version)
        };
        !names.is_empty() && (folder.hints.contains(self.name()) || names.iter().any(late))
    }

    fn read(&self, folder: &Folder) -> Result<MigrationSet, Failure> {
        let mut set = MigrationSet::empty(Format::Refinery, folder);
        let mut names = Vec::new();
        for path in folder.files.keys().filter(|path| path.ends_with(".sql") && !base_name(path).starts_with('.')) {
            match Name::parse(path) {
                Some(name) => names.push(name),
                None => set.warnings.push(passed_over(folder, path, "V1__name.sql or U1__name.sql")),
            }
        }
        names.sort_by_key(|name| name.version);
        if let Some(pair) = names.windows(2).find(|pair| pair[0].version == pair[1].version) {
            return Err(doubled(folder, pair[0].path, pair[1].path));
        }
        for name in names {
            let text = folder.text(name.path)?;
            let alone = marks::lines(text).any(|(_, line)| line.trim() == "-- +refinery NO TRANSACTION");
            let file = read_file(folder, name.path, &Cut { no_transaction: alone, ..Cut::default() })?;
            set.warnings.extend(file.emptiness());
            let version = name.version.to_string();
            let values = [("name", name.name), ("checksum", &checksum(name.name, name.version, &file.text))];
            set.migrations.push(file.into_migration(
                MigrationId::new(name.id),
                Bookkeeping::row(version, &values),
                None,
            ));
        }
        Ok(set)
    }

    fn tracking(&self) -> Tracking {
        Tracking {
            table: Cow::Borrowed("public.refinery_schema_history"),
            more: &[],
            columns: &["version", "name", "checksum"],
            create: Cow::Borrowed(
                "CREATE TABLE IF NOT EXISTS public.refinery_schema_history (
    version INT4 PRIMARY KEY,
    name VARCHAR(255),
    applied_on VARCHAR(255),
    checksum VARCHAR(255)
);",
            ),
            read: Cow::Borrowed(
                "SELECT version::text, checksum::text, applied_on::text, NULL::text, NULL::text \
                FROM public.refinery_schema_history",
            ),
            // refinery takes none.
            proofs: ProofsIn::Beside,
            lock: None,
        }
    }

    fn key(&self, migration: &Migration) -> String {
        marks::key(migration)
    }

    fn insert_row_sql(&self, migration: &Migration, _run: &RunId) -> String {
        let row = &migration.bookkeeping;
        format!(
            "INSERT INTO public.refinery_schema_history (version, name, applied_on, checksum) VALUES ({}, {}, \
             to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), {})",
            row.key(),
            row.literal("name"),
            row.literal("checksum")
        )
    }

    fn delete_row_sql(&self, migration: &Migration) -> String {
        format!("DELETE FROM public.refinery_schema_history WHERE version = {}", migration.bookkeeping.key())
    }

    fn standing(&self, set: &MigrationSet, rows: &[AppliedRow]) -> Standing {
        standing::by_own(set, rows, marks::key, |migration, text| {
            let row = &migration.bookkeeping;
            checksum(row.value("name"), row.key().parse().unwrap_or(0), text)
        })
    }

    fn new_files(&self, _folder: &Folder, ids: &[&str], name: NewName<'_>) -> Result<Vec<NewFile>, Failure> {
        let number = name.number(ids.iter().map(|id| id.trim_start_matches(['V', 'U'])), 1);
        Ok(vec![NewFile::made(format!("V{number}__{}.sql", name.slug), format!("-- {}\n", name.title))])
    }
}

/// SipHash-1-3 over name, version and text, in decimal (`refinery_core::Migration::unapplied`).
fn checksum(name: &str, version: i32, text: &str) -> String {
    let mut hasher = SipHasher13::new();
    name.hash(&mut hasher);
    version.hash(&mut hasher);
    text.hash(&mut hasher);
    hasher.finish().to_string()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{folder, rows};
    use super::super::{FormatChoice, read_folder};
    use super::*;
    use crate::domain::code::Code;

    fn read(files: &[(&str, &str)]) -> Result<MigrationSet, Failure> {
        read_folder(&folder(files), FormatChoice::Given(Format::Refinery))
    }

    #[test]
    fn a_u_is_a_migration_of_its_own() {
        let set = read(&[
            ("V2__b.sql", "SELECT 2"),
            ("sub/V1__a.sql", "SELECT 1"),
            ("U10__late.sql", "SELECT 10"),
            ("V3-c.sql", ""),
        ])
        .unwrap();
        let ids: Vec<&str> = set.migrations.iter().map(|one| one.id.as_str()).collect();
        assert_eq!(ids, ["V1__a", "V2__b", "U10__late"]);
        assert_eq!(set.warnings.iter().map(|one| one.code).collect::<Vec<_>>(), [Code::OrphanFile]);
        assert_eq!(read(&[("V1__a.sql", ""), ("U1__b.sql", "")]).unwrap_err().code, Code::DuplicateMigration);
    }

    #[test]
    fn the_checksum_is_siphash_over_name_version_and_text() {
        // The standard library's hasher is SipHash-1-3 with the same keys today; refinery relied on that once.
        let mut hasher = std::collections::hash_map::DefaultHasher::new();
        ("initial", 1_i32, "CREATE TABLE a ();").hash(&mut hasher);
        let sum = checksum("initial", 1, "CREATE TABLE a ();");
        assert_eq!(sum, hasher.finish().to_string());
        let set = read(&[("V1__initial.sql", "CREATE TABLE a ();")]).unwrap();
        assert_eq!(Refinery.standing(&set, &rows(&[("1", Some(sum.clone()))])).errors, []);
        let renamed = read(&[("V1__renamed.sql", "CREATE TABLE a ();")]).unwrap();
        assert_eq!(Refinery.standing(&renamed, &rows(&[("1", Some(sum))])).errors[0].code, Code::ChangedAfterApply);
    }
}
