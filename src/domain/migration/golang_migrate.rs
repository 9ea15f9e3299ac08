//! golang-migrate: `<version>_<name>.up.sql` and `.down.sql`, tracked by one row in `schema_migrations`.
//!
//! The tool keeps nothing but the newest version, so it silently skips a migration that was merged late. dbd keeps an
//! entry of its own for each one it applies, and one for the version it found: what lies between is known from them.

use super::{
    AppliedRow, Bookkeeping, Cut, Folder, Format, FormatReader, Migration, MigrationSet, NewFile, NewName, ProofsIn,
    SEEN, Standing, ToolLock, Tracking, doubled, number_and_name, passed_over, plain_number, read_down, read_file,
    standing, top_level,
};
use crate::domain::code::Code;
use crate::domain::failure::Failure;
use crate::domain::ids::{MigrationId, RunId};
use crate::domain::sql::{quote_ident, quote_literal};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// What is said where the URLs of the environments name different tables.
pub const URLS_DISAGREE: &str = "golang-migrate: URLs disagree";

/// The reader of golang-migrate.
pub(super) struct GolangMigrate;

/// The mark of the tool's own row: everything up to it is applied, as far as the tool knows.
const NEWEST: &str = "newest";
/// The mark of the tool's row when the last migration did not come to its end.
const DIRTY: &str = "dirty";

/// A file's name, taken apart.
struct Name<'a> {
    path: &'a str,
    id: &'a str,
    version: u64,
    down: bool,
}

impl<'a> Name<'a> {
    fn parse(path: &'a str) -> Option<Self> {
        let stem = path.strip_suffix(".sql")?;
        let (id, down) = match stem.strip_suffix(".up") {
            Some(id) => (id, false),
            None => (stem.strip_suffix(".down")?, true),
        };
        let (version, _) = number_and_name(id)?;
        Some(Self {
            path,
            id,
            version: plain_number(version).parse().ok().filter(|version| *version <= i64::MAX as u64)?,
            down,
        })
    }
}

impl FormatReader for GolangMigrate {
    fn format(&self) -> Format {
        Format::GolangMigrate
    }

    fn name(&self) -> &'static str {
        "golang-migrate"
    }

    fn detect(&self, folder: &Folder) -> bool {
        folder.hints.contains(self.name()) && top_level(folder).any(|path| Name::parse(path).is_some())
    }

    fn read(&self, folder: &Folder) -> Result<MigrationSet, Failure> {
        let mut set = MigrationSet::empty(Format::GolangMigrate, folder);
        let (mut ups, mut downs) = (Vec::new(), BTreeMap::new());
        for path in top_level(folder) {
            match Name::parse(path) {
                Some(name) if name.down => {
                    downs.insert(name.version, name);
                }
                Some(name) => ups.push(name),
                None => set.warnings.push(passed_over(folder, path, "000001_name.up.sql")),
            }
        }
        ups.sort_by_key(|name| name.version);
        if let Some(pair) = ups.windows(2).find(|pair| pair[0].version == pair[1].version) {
            return Err(doubled(folder, pair[0].path, pair[1].path));
        }
        for name in ups {
            let file = read_file(folder, name.path, &Cut::default())?;
            set.warnings.extend(file.emptiness());
            let down = downs.remove(&name.version);
            let down = down.and_then(|down| read_down(folder, down.path, &Cut::default(), &mut set.warnings));
            let row = Bookkeeping::row(name.version.to_string(), &[]);
            set.migrations.push(file.into_migration(MigrationId::new(name.id), row, down));
        }
        for down in downs.values() {
            let message = format!("{} takes back a migration that is not there", folder.shown(down.path));
            set.warnings.push(Failure::new(Code::OrphanFile, message).hint("add the way forward, or remove the file"));
        }
        Ok(set)
    }

    fn table_said(&self, folder: &Folder) -> Result<Option<String>, Failure> {
        let said = |key: &str| folder.said.get(key).map(String::as_str);
        if let Some(failure) = said(URLS_DISAGREE) {
            return Err(Failure::new(Code::BadValue, failure).hint(
                "dbd keeps track in the same table everywhere: let all URLs name it, or dbd.toml in [migrations] table",
            ));
        }
        // Unless it says to be quoted, all of it is the table's name.
        let quoted = said("golang-migrate.x-migrations-table-quoted").is_some_and(|word| ["1", "true"].contains(&word));
        Ok(said("golang-migrate.x-migrations-table").map(|name| match quoted {
            true => name.to_owned(),
            false => quote_ident(name),
        }))
    }

    fn tracking(&self) -> Tracking {
        Tracking {
            table: Cow::Borrowed("public.schema_migrations"),
            more: &[],
            columns: &["version", "dirty"],
            create: Cow::Borrowed(
                "CREATE TABLE IF NOT EXISTS public.schema_migrations (
    version bigint NOT NULL PRIMARY KEY,
    dirty boolean NOT NULL
);",
            ),
            read: Cow::Borrowed(
                "SELECT version::text, NULL::text, NULL::text, NULL::text, CASE WHEN dirty THEN 'dirty' ELSE 'newest' END \
                FROM public.schema_migrations",
            ),
            // The one row says too little.
            proofs: ProofsIn::Entries,
            // golang-migrate, `GenerateAdvisoryLockId` with the schema, the table and the database.
            lock: Some(ToolLock::OfTableAndDatabase(|table, database| {
                let (schema, name) = super::schema_and_name(table);
                let seed = format!("{schema}\0{name}\0{database}");
                i64::from(crc32fast::hash(seed.as_bytes()).wrapping_mul(1_486_364_155))
            })),
        }
    }

    fn key(&self, migration: &Migration) -> String {
        migration.bookkeeping.key().to_owned()
    }

    fn insert_row_sql(&self, migration: &Migration, _run: &RunId) -> String {
        let version = migration.bookkeeping.key();
        let table = quote_literal(&self.tracking().table);
        // The version that was found is kept; the row only ever moves on, so that the tool runs nothing again.
        format!(
            "INSERT INTO dbd.applied (tracking, key, run_id) SELECT {table}, version::text, '' FROM public.schema_migrations \
             WHERE NOT dirty ON CONFLICT DO NOTHING;\n\
             INSERT INTO public.schema_migrations (version, dirty) SELECT {version}, false \
             WHERE NOT EXISTS (SELECT FROM public.schema_migrations WHERE version >= {version});\n\
             DELETE FROM public.schema_migrations WHERE version < {version}"
        )
    }

    fn delete_row_sql(&self, migration: &Migration) -> String {
        let version = migration.bookkeeping.key();
        let table = quote_literal(&self.tracking().table);
        format!(
            "DELETE FROM dbd.applied WHERE tracking = {table} AND key = '{version}';\n\
             INSERT INTO public.schema_migrations (version, dirty) SELECT max(key::bigint), false FROM dbd.applied \
             WHERE tracking = {table} AND EXISTS (SELECT FROM public.schema_migrations WHERE version = {version}) \
             HAVING max(key::bigint) IS NOT NULL ON CONFLICT DO NOTHING;\n\
             DELETE FROM public.schema_migrations WHERE version = {version}"
        )
    }

    fn standing(&self, set: &MigrationSet, rows: &[AppliedRow]) -> Standing {
        let number = |row: &AppliedRow| row.key.parse::<u64>().unwrap_or(0);
        let of = |mark: &'static str| rows.iter().filter(move |row| row.mark.as_deref() == Some(mark));
        let newest = of(NEWEST).chain(of(DIRTY)).max_by_key(|row| number(row));
        let own: BTreeMap<u64, &AppliedRow> = rows
            .iter()
            .filter(|row| row.mark.is_none() || row.mark.as_deref() == Some(SEEN))
            .map(|row| (number(row), row))
            .collect();
        // The row that says so: its own entry; a version that was seen above it, with nothing of dbd's between; or the
        // tool's row, where nothing of dbd's is above.
        let answers = |version: u64| match own.range(version..).next() {
            Some((at, row)) if *at == version || row.mark.as_deref() == Some(SEEN) => Some(*row),
            Some(_) => None,
            None => newest.filter(|row| version <= number(row)),
        };
        let mut synthetic: Vec<AppliedRow> = Vec::new();
        for migration in &set.migrations {
            let version = migration.bookkeeping.key();
            if let Some(row) = version.parse().ok().and_then(answers) {
                // Only its own entry holds its content.
                let proof = row.proof.clone().filter(|_| row.key == version);
                let at = row.at.clone().filter(|_| row.key == version);
                synthetic.push(AppliedRow { key: version.to_owned(), proof, at, ..AppliedRow::default() });
            }
        }
        let known = |row: &&AppliedRow| !set.migrations.iter().any(|migration| migration.bookkeeping.key() == row.key);
        synthetic.extend(
            rows.iter()
                .filter(known)
                .filter(|row| number(row) > 0)
                .map(|row| AppliedRow { key: row.key.clone(), ..AppliedRow::default() }),
        );
        synthetic.dedup_by(|a, b| a.key == b.key);
        let mut standing = standing::by_row(set, &synthetic, |migration| self.key(migration), |_| String::new());
        if let Some(row) = of(DIRTY).next() {
            let message = format!("version {} is dirty: golang-migrate did not bring it to its end", row.key);
            standing.errors.insert(
                0,
                Failure::new(Code::FailedMigration, message)
                    .cause("a file without a transaction of its own may be half applied; else PostgreSQL took it back")
                    .hint("see what of it is in the database; take that back or finish it by hand")
                    .hint("then say which version is true with `migrate force <version>`"),
            );
        }
        standing
    }

    fn new_files(&self, _folder: &Folder, ids: &[&str], name: NewName<'_>) -> Result<Vec<NewFile>, Failure> {
        let lead = format!("{}_{}", name.number(ids.iter().copied(), 6), name.slug);
        let text = format!("-- {}\n", name.title);
        Ok(vec![NewFile::made(format!("{lead}.up.sql"), text.clone()), NewFile::made(format!("{lead}.down.sql"), text)])
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::folder;
    use super::super::{FormatChoice, read_folder};
    use super::*;

    fn read(files: &[(&str, &str)]) -> Result<MigrationSet, Failure> {
        read_folder(&folder(files), FormatChoice::Given(Format::GolangMigrate))
    }

    /// Five migrations, held against rows of version and mark.
    fn check(rows: &[(&str, &str)]) -> (Vec<usize>, Vec<usize>, Vec<Code>) {
        let names: Vec<String> = (1..=5).map(|n| format!("00000{n}_m.up.sql")).collect();
        let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "SELECT 1")).collect();
        let set = read(&files).unwrap();
        let row = |(key, mark): &(&str, &str)| AppliedRow {
            key: (*key).to_owned(),
            mark: Some((*mark).to_owned()).filter(|mark| !mark.is_empty()),
            ..AppliedRow::default()
        };
        let standing = GolangMigrate.standing(&set, &rows.iter().map(row).collect::<Vec<_>>());
        (standing.applied, standing.pending, standing.errors.iter().map(|error| error.code).collect())
    }

    #[test]
    fn the_one_row_stands_for_all_before_it_until_dbd_keeps_entries() {
        assert_eq!(check(&[]), (vec![], vec![0, 1, 2, 3, 4], vec![]));
        assert_eq!(check(&[("3", NEWEST)]), (vec![0, 1, 2], vec![3, 4], vec![]));
        // dbd found version 2 and applied 4: the third one was merged later, and is applied now.
        assert_eq!(check(&[("4", NEWEST), ("2", SEEN), ("4", "")]), (vec![0, 1, 3], vec![2, 4], vec![]));
        // The tool itself went on to 5 afterwards.
        assert_eq!(check(&[("5", NEWEST), ("2", SEEN), ("4", "")]), (vec![0, 1, 3, 4], vec![2], vec![]));
        // dbd from the beginning, then the tool up to 3, which dbd found when it applied 4.
        assert_eq!(check(&[("4", NEWEST), ("1", ""), ("3", SEEN), ("4", "")]), (vec![0, 1, 2, 3], vec![4], vec![]));
    }

    #[test]
    fn a_dirty_version_and_one_that_is_missing_stop_the_run() {
        assert_eq!(check(&[("3", DIRTY)]).2, [Code::FailedMigration]);
        assert_eq!(check(&[("9", NEWEST)]).2, [Code::MissingMigration]);
    }

    #[test]
    fn each_version_is_a_pair_of_files() {
        let set = read(&[
            ("000010_b.up.sql", "SELECT 1"),
            ("000002_a.up.sql", "SELECT 1"),
            ("000002_a.down.sql", "SELECT 2"),
            ("000003_c.down.sql", "SELECT 2"),
            ("seed.sql", "SELECT 2"),
        ])
        .unwrap();
        let ids: Vec<&str> = set.migrations.iter().map(|one| one.id.as_str()).collect();
        assert_eq!(ids, ["000002_a", "000010_b"]);
        assert!(set.migrations[0].down.is_some());
        let codes: Vec<Code> = set.warnings.iter().map(|one| one.code).collect();
        assert_eq!(codes, [Code::OrphanFile, Code::OrphanFile]);
        let twice = read(&[("1_a.up.sql", ""), ("01_b.up.sql", "")]).unwrap_err();
        assert_eq!(twice.code, Code::DuplicateMigration);
    }
}
