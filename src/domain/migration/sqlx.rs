//! sqlx: `<version>_<name>.sql`, or `.up.sql` and `.down.sql`, tracked by version and SHA-384 in `_sqlx_migrations`.
//!
//! sqlx compares the checksum over bytes, so other line endings or a comment stop it; and it decides by version, but
//! refuses to go on where an applied one is missing.

use super::{
    AppliedRow, Bookkeeping, Cut, Folder, Format, FormatReader, Migration, MigrationSet, NewFile, NewName, ProofsIn,
    Standing, ToolLock, Tracking, doubled, number_and_name, passed_over, plain_number, read_down, read_file, standing,
    top_level,
};
use crate::domain::code::Code;
use crate::domain::failure::Failure;
use crate::domain::ids::{MigrationId, RunId};
use sha2::{Digest as _, Sha384};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The reader of sqlx.
pub(super) struct Sqlx;

/// The very first bytes of a file that is to run without a transaction.
const NO_TRANSACTION: &str = "-- no-transaction";

/// A file's name, taken apart.
struct Name<'a> {
    path: &'a str,
    id: &'a str,
    version: &'a str,
    description: String,
    down: bool,
}

impl<'a> Name<'a> {
    fn parse(path: &'a str) -> Option<Self> {
        let stem = path.strip_suffix(".sql")?;
        let (id, down) = match (stem.strip_suffix(".up"), stem.strip_suffix(".down")) {
            (Some(id), _) => (id, false),
            (None, Some(id)) => (id, true),
            (None, None) => (stem, false),
        };
        let (version, name) = number_and_name(id)?;
        version.parse::<i64>().ok()?;
        Some(Self { path, id, version: plain_number(version), description: name.replace('_', " "), down })
    }

    fn number(&self) -> i64 {
        self.version.parse().unwrap_or(i64::MAX)
    }
}

impl FormatReader for Sqlx {
    fn format(&self) -> Format {
        Format::Sqlx
    }

    fn name(&self) -> &'static str {
        "sqlx"
    }

    fn detect(&self, folder: &Folder) -> bool {
        folder.hints.contains(self.name()) && top_level(folder).any(|path| Name::parse(path).is_some())
    }

    fn read(&self, folder: &Folder) -> Result<MigrationSet, Failure> {
        let mut set = MigrationSet::empty(Format::Sqlx, folder);
        let (mut ups, mut downs) = (Vec::new(), BTreeMap::new());
        for path in top_level(folder) {
            match Name::parse(path) {
                Some(name) if name.down => {
                    downs.insert(name.number(), name);
                }
                Some(name) => ups.push(name),
                None => set.warnings.push(passed_over(folder, path, "20240131120000_name.sql")),
            }
        }
        ups.sort_by_key(Name::number);
        if let Some(pair) = ups.windows(2).find(|pair| pair[0].number() == pair[1].number()) {
            return Err(doubled(folder, pair[0].path, pair[1].path));
        }
        for name in ups {
            let file = read_file(folder, name.path, &cut(folder, name.path))?;
            set.warnings.extend(file.emptiness());
            let down = downs.remove(&name.number());
            let down = down.and_then(|down| read_down(folder, down.path, &cut(folder, down.path), &mut set.warnings));
            let values = [("description", name.description.as_str()), ("checksum", &checksum(&file.text))];
            set.migrations.push(file.into_migration(
                MigrationId::new(name.id),
                Bookkeeping::row(name.version, &values),
                down,
            ));
        }
        for down in downs.values() {
            let message = format!("{} takes back a migration that is not there", folder.shown(down.path));
            set.warnings.push(Failure::new(Code::OrphanFile, message).hint("add the way forward, or remove the file"));
        }
        Ok(set)
    }

    fn table_said(&self, folder: &Folder) -> Result<Option<String>, Failure> {
        Ok(folder.said.get("sqlx.migrate.table-name").cloned())
    }

    fn tracking(&self) -> Tracking {
        Tracking {
            table: Cow::Borrowed("public._sqlx_migrations"),
            more: &[],
            columns: &["version", "checksum", "success"],
            create: Cow::Borrowed(
                "CREATE TABLE IF NOT EXISTS public._sqlx_migrations (
    version BIGINT PRIMARY KEY,
    description TEXT NOT NULL,
    installed_on TIMESTAMPTZ NOT NULL DEFAULT now(),
    success BOOLEAN NOT NULL,
    checksum BYTEA NOT NULL,
    execution_time BIGINT NOT NULL
);",
            ),
            read: Cow::Borrowed(
                "SELECT version::text, encode(checksum, 'hex'), \
                to_char(installed_on AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'), NULL::text, \
                CASE WHEN NOT success THEN 'failed' END FROM public._sqlx_migrations",
            ),
            // sqlx-postgres, `generate_lock_id`.
            proofs: ProofsIn::Beside,
            lock: Some(ToolLock::OfDatabase(|database| {
                0x3d32_ad9e_i64.wrapping_mul(i64::from(crc32fast::hash(database.as_bytes())))
            })),
        }
    }

    fn key(&self, migration: &Migration) -> String {
        migration.bookkeeping.key().to_owned()
    }

    fn insert_row_sql(&self, migration: &Migration, _run: &RunId) -> String {
        let row = &migration.bookkeeping;
        format!(
            "INSERT INTO public._sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES ({}, {}, true, decode({}, 'hex'), 0)",
            row.key(),
            row.literal("description"),
            row.literal("checksum")
        )
    }

    fn delete_row_sql(&self, migration: &Migration) -> String {
        format!("DELETE FROM public._sqlx_migrations WHERE version = {}", migration.bookkeeping.key())
    }

    fn standing(&self, set: &MigrationSet, rows: &[AppliedRow]) -> Standing {
        standing::by_row(set, rows, |migration| self.key(migration), checksum)
    }

    fn new_files(&self, folder: &Folder, ids: &[&str], name: NewName<'_>) -> Result<Vec<NewFile>, Failure> {
        let number = if ids.is_empty() { name.stamp.to_owned() } else { name.number(ids.iter().copied(), 4) };
        let (lead, text) = (format!("{number}_{}", name.slug), format!("-- {}\n", name.title));
        Ok(match folder.files.keys().any(|path| path.ends_with(".up.sql")) {
            true => vec![
                NewFile::made(format!("{lead}.up.sql"), text.clone()),
                NewFile::made(format!("{lead}.down.sql"), text),
            ],
            false => vec![NewFile::made(format!("{lead}.sql"), text)],
        })
    }
}

fn cut(folder: &Folder, path: &str) -> Cut<'static> {
    let alone = folder.files.get(path).is_some_and(|bytes| bytes.starts_with(NO_TRANSACTION.as_bytes()));
    Cut { no_transaction: alone, ..Cut::default() }
}

fn checksum(text: &str) -> String {
    data_encoding::HEXLOWER.encode(&Sha384::digest(text))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{folder, rows};
    use super::super::{FormatChoice, UnitMode, read_folder};
    use super::*;

    fn read(files: &[(&str, &str)]) -> Result<MigrationSet, Failure> {
        read_folder(&folder(files), FormatChoice::Given(Format::Sqlx))
    }

    #[test]
    fn versions_order_the_migrations_and_their_descriptions_are_sqlxs() {
        let set = read(&[
            ("20240131120000_add_price_list.up.sql", "SELECT 2;"),
            ("20240131120000_add_price_list.down.sql", "SELECT 3;"),
            ("0001_init.sql", "-- no-transaction\nCREATE INDEX CONCURRENTLY i ON a (b);\nCALL p();"),
            ("notes.sql", "SELECT 1;"),
        ])
        .unwrap();
        let ids: Vec<&str> = set.migrations.iter().map(|one| one.id.as_str()).collect();
        assert_eq!(ids, ["0001_init", "20240131120000_add_price_list"]);
        assert!(set.migrations[0].units.iter().all(|unit| unit.mode != UnitMode::Transaction));
        assert_eq!(set.migrations[1].bookkeeping.value("description"), "add price list");
        assert!(set.migrations[1].down.is_some());
        assert_eq!(set.warnings.iter().map(|one| one.code).collect::<Vec<_>>(), [Code::OrphanFile]);
        assert_eq!(read(&[("1_a.sql", ""), ("01_b.sql", "")]).unwrap_err().code, Code::DuplicateMigration);
    }

    #[test]
    fn the_checksum_is_the_sha_384_of_the_bytes() {
        // `printf '' | sha384sum`
        assert!(checksum("").starts_with("38b060a751ac96384cd9327eb1b1e36a21fdb71114be0743"));
        let set = read(&[("1_a.sql", "SELECT 1;\n")]).unwrap();
        let standing = |text: &str| Sqlx.standing(&set, &rows(&[("1", Some(checksum(text)))]));
        assert_eq!(standing("SELECT 1;\n").errors, []);
        assert_eq!(standing("SELECT 1;\r\n").errors, []);
        assert_eq!(standing("SELECT 2;\n").errors[0].code, Code::ChangedAfterApply);
        let insert = Sqlx.insert_row_sql(&set.migrations[0], &RunId::parse("deploy-dev-1").unwrap());
        assert!(insert.contains(&format!("decode('{}', 'hex')", checksum("SELECT 1;\n"))), "{insert}");
    }

    #[test]
    fn the_lock_is_made_of_the_databases_name() {
        let lock = Sqlx.tracking().lock.unwrap();
        // 0x3d32ad9e times the CRC-32 of `123456789`, which is 0xcbf43926 by definition of that CRC.
        assert_eq!(lock.key("public._sqlx_migrations", "123456789"), 0x3d32_ad9e * 0xcbf4_3926);
    }
}
