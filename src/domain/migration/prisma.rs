//! Prisma: `<stamp>_<name>/migration.sql`, tracked by name and SHA-256 in `_prisma_migrations`.
//!
//! Prisma compares the checksum over bytes, so a checkout with other line endings stops its deployments; and it refuses
//! to go on after a failure until a person has resolved it, even where PostgreSQL took everything back.

use super::{
    AppliedRow, Bookkeeping, Cut, Folder, Format, FormatReader, Migration, MigrationSet, NewFile, NewName, ProofsIn,
    Standing, ToolLock, Tracking, read_down, read_file, standing,
};
use crate::domain::code::Code;
use crate::domain::failure::Failure;
use crate::domain::ids::{MigrationId, RunId};
use crate::domain::sql::quote_literal;
use sha2::{Digest as _, Sha256};
use std::borrow::Cow;

/// The reader of Prisma.
pub(super) struct Prisma;

const LOCK: &str = "migration_lock.toml";
const FILE: &str = "migration.sql";

impl FormatReader for Prisma {
    fn format(&self) -> Format {
        Format::Prisma
    }

    fn name(&self) -> &'static str {
        "prisma"
    }

    fn detect(&self, folder: &Folder) -> bool {
        folder.files.contains_key(LOCK)
            || folder.files.keys().any(|path| {
                path.split_once('/')
                    .is_some_and(|(dir, file)| file == FILE && dir.starts_with(|c: char| c.is_ascii_digit()))
            })
    }

    fn read(&self, folder: &Folder) -> Result<MigrationSet, Failure> {
        provider(folder)?;
        let mut set = MigrationSet::empty(Format::Prisma, folder);
        // The keys of a map are in the order of the folders' names, which is Prisma's.
        for path in folder.files.keys() {
            let Some((name, FILE)) = path.split_once('/') else {
                if path.ends_with(".sql") && !path.ends_with("/down.sql") && !path.starts_with('.') {
                    let message = format!("{} is not run: Prisma runs {FILE} of each folder", folder.shown(path));
                    set.warnings.push(Failure::new(Code::OrphanFile, message).hint("move it out of the folder"));
                }
                continue;
            };
            let file = read_file(folder, path, &Cut::default())?;
            set.warnings.extend(file.emptiness());
            let down = format!("{name}/down.sql");
            let down = match folder.files.contains_key(&down) {
                true => read_down(folder, &down, &Cut::default(), &mut set.warnings),
                false => None,
            };
            let row = Bookkeeping::row(name, &[("checksum", &checksum(&file.text))]);
            set.migrations.push(file.into_migration(MigrationId::new(name), row, down));
        }
        Ok(set)
    }

    fn tracking(&self) -> Tracking {
        Tracking {
            table: Cow::Borrowed("public._prisma_migrations"),
            more: &[],
            columns: &["migration_name", "checksum", "rolled_back_at"],
            create: Cow::Borrowed(
                "CREATE TABLE IF NOT EXISTS public._prisma_migrations (
    id                  VARCHAR(36) PRIMARY KEY NOT NULL,
    checksum            VARCHAR(64) NOT NULL,
    finished_at         TIMESTAMPTZ,
    migration_name      VARCHAR(255) NOT NULL,
    logs                TEXT,
    rolled_back_at      TIMESTAMPTZ,
    started_at          TIMESTAMPTZ NOT NULL DEFAULT now(),
    applied_steps_count INTEGER NOT NULL DEFAULT 0
);",
            ),
            // A migration that was resolved as rolled back may have been applied by a later row.
            read: Cow::Borrowed(
                "SELECT migration_name::text, checksum::text, \
                to_char(COALESCE(finished_at, started_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'), NULL::text, \
                CASE WHEN finished_at IS NULL THEN 'failed' END \
                FROM (SELECT DISTINCT ON (migration_name) * FROM public._prisma_migrations WHERE rolled_back_at IS NULL \
                ORDER BY migration_name, (finished_at IS NULL), started_at DESC) standing",
            ),
            proofs: ProofsIn::Beside,
            lock: Some(ToolLock::Key(72_707_369)),
        }
    }

    fn key(&self, migration: &Migration) -> String {
        migration.bookkeeping.key().to_owned()
    }

    fn insert_row_sql(&self, migration: &Migration, run: &RunId) -> String {
        let row = &migration.bookkeeping;
        // The same migration of the same run has the same id, so nothing can be recorded twice.
        let seed = quote_literal(&format!("{run} {}", row.key()));
        format!(
            "INSERT INTO public._prisma_migrations (id, checksum, finished_at, migration_name, started_at, applied_steps_count) \
             VALUES (pg_catalog.md5({seed})::uuid::text, {}, clock_timestamp(), {}, now(), 1)",
            row.literal("checksum"),
            quote_literal(row.key())
        )
    }

    fn delete_row_sql(&self, migration: &Migration) -> String {
        let name = quote_literal(migration.bookkeeping.key());
        format!("DELETE FROM public._prisma_migrations WHERE migration_name = {name} AND rolled_back_at IS NULL")
    }

    fn standing(&self, set: &MigrationSet, rows: &[AppliedRow]) -> Standing {
        standing::by_row(set, rows, |migration| self.key(migration), checksum)
    }

    fn new_files(&self, folder: &Folder, ids: &[&str], name: NewName<'_>) -> Result<Vec<NewFile>, Failure> {
        let mut files = vec![NewFile::made(
            format!("{}_{}/{FILE}", name.stamp(ids.iter().copied()), name.slug),
            format!("-- {}\n", name.title),
        )];
        if !folder.files.contains_key(LOCK) {
            files.push(NewFile::made(LOCK.to_owned(), "provider = \"postgresql\"\n"));
        }
        Ok(files)
    }
}

fn checksum(text: &str) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(text))
}

/// Refuses a folder that is for another database.
fn provider(folder: &Folder) -> Result<(), Failure> {
    if !folder.files.contains_key(LOCK) {
        return Ok(());
    }
    let provider = folder.text(LOCK)?.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == "provider").then(|| value.trim().trim_matches('"').to_owned())
    });
    match provider.as_deref() {
        None | Some("postgresql" | "postgres") => Ok(()),
        Some(other) => {
            let message = format!("{} is of Prisma for {other}, and dbd deploys to PostgreSQL", folder.shown(LOCK));
            Err(Failure::new(Code::UnsupportedFormat, message).hint("point [migrations] dir at another folder"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{folder, rows};
    use super::super::{FAILED, FormatChoice, read_folder};
    use super::*;

    fn read(files: &[(&str, &str)]) -> Result<MigrationSet, Failure> {
        read_folder(&folder(files), FormatChoice::Auto)
    }

    #[test]
    fn each_folder_is_a_migration_in_the_order_of_the_names() {
        let set = read(&[
            ("migration_lock.toml", "# do not edit\nprovider = \"postgresql\"\n"),
            ("20240201000000_b/migration.sql", "SELECT 2;"),
            ("20240101000000_a/migration.sql", "CREATE TABLE a ();"),
            ("20240101000000_a/down.sql", "DROP TABLE a;"),
            ("seed.sql", "SELECT 3;"),
        ])
        .unwrap();
        let ids: Vec<&str> = set.migrations.iter().map(|one| one.id.as_str()).collect();
        assert_eq!(ids, ["20240101000000_a", "20240201000000_b"]);
        assert_eq!(set.migrations[0].file, "migrations/20240101000000_a/migration.sql");
        assert!(set.migrations[0].down.is_some());
        assert_eq!(set.warnings.iter().map(|one| one.code).collect::<Vec<_>>(), [Code::OrphanFile]);
        // The SHA-256 of `SELECT 2;`.
        assert_eq!(checksum("SELECT 2;"), set.migrations[1].bookkeeping.value("checksum"));
        let insert = Prisma.insert_row_sql(&set.migrations[1], &RunId::parse("deploy-dev-1").unwrap());
        assert!(insert.contains("'20240201000000_b'") && insert.contains(&checksum("SELECT 2;")), "{insert}");
    }

    #[test]
    fn a_migration_that_failed_under_prisma_stops_the_run() {
        let set = read(&[("20240101000000_a/migration.sql", "SELECT 1;\r\n")]).unwrap();
        let mut applied = rows(&[("20240101000000_a", Some(checksum("SELECT 1;\n")))]);
        let healed = Prisma.standing(&set, &applied);
        assert_eq!((healed.applied.as_slice(), healed.errors.len()), (&[0][..], 0));
        assert_eq!(healed.entries[0].checksum, standing::Checksum::LineEndings);
        applied[0].mark = Some(FAILED.to_owned());
        let failed = Prisma.standing(&set, &applied);
        assert_eq!(failed.errors[0].code, Code::FailedMigration);
        assert!(failed.errors[0].hints.iter().any(|hint| hint.contains("migrate resolve")));
    }

    #[test]
    fn a_folder_for_another_database_is_refused() {
        let failure = read(&[("migration_lock.toml", "provider = \"mysql\"\n")]).unwrap_err();
        assert_eq!(failure.code, Code::UnsupportedFormat);
    }
}
