//! Drizzle 1.x: `<stamp>_<name>/migration.sql` with a `snapshot.json`, tracked by name in `drizzle.__drizzle_migrations`.

use super::{
    AppliedRow, Bookkeeping, Cut, Folder, Format, FormatReader, Migration, MigrationSet, NewFile, NewName, ProofsIn,
    Standing, Tracking, read_file, standing,
};
use crate::domain::code::Code;
use crate::domain::failure::Failure;
use crate::domain::ids::{MigrationId, RunId};
use crate::domain::sql::quote_literal;
use sha2::{Digest as _, Sha256};
use std::borrow::Cow;

/// The reader of Drizzle 1.x.
pub(super) struct Drizzle1;

const FILE: &str = "migration.sql";
const SNAPSHOT: &str = "snapshot.json";

/// The mark of a row that Drizzle 0.x wrote and no 1.x has named since.
const NAMELESS: &str = "nameless";

impl FormatReader for Drizzle1 {
    fn format(&self) -> Format {
        Format::Drizzle1
    }

    fn name(&self) -> &'static str {
        "drizzle"
    }

    fn detect(&self, folder: &Folder) -> bool {
        folder.files.keys().any(|path| match path.split_once('/') {
            Some((dir, SNAPSHOT)) => folder.files.contains_key(&format!("{dir}/{FILE}")) && stamp_ms(dir).is_some(),
            _ => false,
        })
    }

    fn has_layout(&self, folder: &Folder) -> bool {
        let stamped =
            |path: &String| path.split_once('/').is_some_and(|(dir, name)| name == FILE && stamp_ms(dir).is_some());
        !folder.files.contains_key(super::drizzle::JOURNAL) && folder.files.keys().any(stamped)
    }

    fn read(&self, folder: &Folder) -> Result<MigrationSet, Failure> {
        let mut set = MigrationSet::empty(Format::Drizzle1, folder);
        for path in folder.files.keys() {
            let Some((name, FILE)) = path.split_once('/') else {
                if path.ends_with(".sql") && !path.starts_with('.') {
                    let message = format!("{} is not run: Drizzle runs {FILE} of each folder", folder.shown(path));
                    set.warnings.push(Failure::new(Code::OrphanFile, message).hint("move it out of the folder"));
                }
                continue;
            };
            let Some(when) = stamp_ms(name) else {
                let message = format!("{} does not start with a time like 20240131120000", folder.shown(name));
                return Err(Failure::new(Code::UnreadableMigration, message).hint("rename the folder"));
            };
            let file = read_file(folder, path, &Cut { separator: Some(super::drizzle::BREAKPOINT), ..Cut::default() })?;
            set.warnings.extend(file.emptiness());
            let row = Bookkeeping::row(name, &[("hash", &hash(&file.text)), ("when", &when.to_string())]);
            set.migrations.push(file.into_migration(MigrationId::new(name), row, None));
        }
        Ok(set)
    }

    fn table_said(&self, folder: &Folder) -> Result<Option<String>, Failure> {
        Ok(super::drizzle::table_said(folder))
    }

    fn tracking(&self) -> Tracking {
        Tracking {
            table: Cow::Borrowed("drizzle.__drizzle_migrations"),
            more: &[],
            columns: &["hash", "created_at"],
            // Columns are added to an empty table only: Drizzle names the rows of 0.x itself, when it finds them missing.
            create: Cow::Borrowed(
                "CREATE SCHEMA IF NOT EXISTS drizzle;
CREATE TABLE IF NOT EXISTS drizzle.__drizzle_migrations (
    id SERIAL PRIMARY KEY,
    hash text NOT NULL,
    created_at bigint,
    name text,
    applied_at timestamp with time zone DEFAULT now()
);
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM drizzle.__drizzle_migrations) THEN
        ALTER TABLE drizzle.__drizzle_migrations ADD COLUMN IF NOT EXISTS name text;
        ALTER TABLE drizzle.__drizzle_migrations
            ADD COLUMN IF NOT EXISTS applied_at timestamp with time zone DEFAULT now();
    END IF;
END
$$;",
            ),
            // The table of 0.x has no such columns.
            read: Cow::Borrowed(
                "SELECT COALESCE(to_jsonb(t) ->> 'name', t.hash), t.hash, to_jsonb(t) ->> 'applied_at', NULL::text, \
                CASE WHEN to_jsonb(t) ->> 'name' IS NULL THEN 'nameless' END \
                FROM drizzle.__drizzle_migrations t ORDER BY t.id",
            ),
            proofs: ProofsIn::Beside,
            lock: None,
        }
    }

    fn key(&self, migration: &Migration) -> String {
        migration.bookkeeping.key().to_owned()
    }

    fn insert_row_sql(&self, migration: &Migration, _run: &RunId) -> String {
        let row = &migration.bookkeeping;
        format!(
            "INSERT INTO drizzle.__drizzle_migrations (hash, created_at, name, applied_at) VALUES ({}, {}, {}, now())",
            row.literal("hash"),
            row.value("when"),
            quote_literal(row.key())
        )
    }

    fn delete_row_sql(&self, migration: &Migration) -> String {
        format!("DELETE FROM drizzle.__drizzle_migrations WHERE name = {}", quote_literal(migration.bookkeeping.key()))
    }

    fn standing(&self, set: &MigrationSet, rows: &[AppliedRow]) -> Standing {
        let nameless = rows.iter().filter(|row| row.mark.as_deref() == Some(NAMELESS)).count();
        let mut standing = standing::by_row(set, rows, |migration| self.key(migration), hash);
        if nameless > 0 {
            let table = self.tracking().table;
            standing.errors.insert(
                0,
                Failure::new(Code::ForeignTracking, format!("Drizzle 0.x wrote {nameless} of the rows of {table}"))
                    .hint("run `drizzle-kit migrate` of 1.x once, before anything new is in the folder: it names them"),
            );
        }
        standing
    }

    fn new_files(&self, folder: &Folder, ids: &[&str], name: NewName<'_>) -> Result<Vec<NewFile>, Failure> {
        let dir = format!("{}_{}", name.stamp(ids.iter().copied()), name.slug);
        let mut files = vec![NewFile::made(format!("{dir}/{FILE}"), format!("-- {}\n", name.title))];
        // The next snapshot starts from this one, so a copy of the last goes along.
        let last = folder.files.keys().rev().find(|path| path.ends_with(&format!("/{SNAPSHOT}")));
        if let Some(last) = last {
            let text = super::drizzle::next_snapshot(folder.text(last)?, &dir);
            files.extend(text.map(|text| NewFile::made(format!("{dir}/{SNAPSHOT}"), text)));
        }
        Ok(files)
    }
}

fn hash(text: &str) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(text))
}

/// The time in front of a folder's name, in milliseconds since 1970, as Drizzle computes it.
fn stamp_ms(name: &str) -> Option<i64> {
    let digits = name.get(..14).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    let part = |from: usize, to: usize| digits[from..to].parse::<i8>().ok();
    let year = digits[..4].parse::<i16>().ok()?;
    let time =
        jiff::civil::DateTime::new(year, part(4, 6)?, part(6, 8)?, part(8, 10)?, part(10, 12)?, part(12, 14)?, 0);
    let zoned = time.ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(zoned.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{folder, rows};
    use super::super::{FormatChoice, read_folder};
    use super::*;

    fn read(files: &[(&str, &str)]) -> Result<MigrationSet, Failure> {
        read_folder(&folder(files), FormatChoice::Auto)
    }

    const FILES: &[(&str, &str)] = &[
        ("20240201000000_b/migration.sql", "SELECT 2;--> statement-breakpoint\nSELECT 3;"),
        ("20240201000000_b/snapshot.json", "{}"),
        ("20240131120000_a/migration.sql", "SELECT 1;"),
        ("20240131120000_a/snapshot.json", "{}"),
    ];

    #[test]
    fn each_folder_is_a_migration_that_is_known_by_its_name() {
        let set = read(FILES).unwrap();
        let ids: Vec<&str> = set.migrations.iter().map(|one| one.id.as_str()).collect();
        assert_eq!(ids, ["20240131120000_a", "20240201000000_b"]);
        assert_eq!(set.migrations[0].bookkeeping.value("when"), "1706702400000");
        assert_eq!(set.migrations[1].units[0].statements.len(), 2);
        let standing = Drizzle1.standing(&set, &rows(&[("20240201000000_b", None)]));
        assert_eq!((standing.applied, standing.pending, standing.errors), (vec![1], vec![0], vec![]));
    }

    #[test]
    fn rows_of_the_older_drizzle_have_to_be_named_first() {
        let set = read(FILES).unwrap();
        let hash = hash("SELECT 1;");
        let mut old = rows(&[(&hash, Some(hash.clone()))]);
        old[0].mark = Some(NAMELESS.to_owned());
        assert_eq!(Drizzle1.standing(&set, &old).errors[0].code, Code::ForeignTracking);
    }

    #[test]
    fn a_folder_without_a_time_is_refused() {
        let files =
            [("20240131120000_a/migration.sql", ""), ("20240131120000_a/snapshot.json", "{}"), ("b/migration.sql", "")];
        assert_eq!(read(&files).unwrap_err().code, Code::UnreadableMigration);
        assert_eq!(stamp_ms("20241399000000_x"), None);
    }
}
