//! Plain SQL files in one folder, ordered by the number or the time in front of their names, tracked in
//! `dbd.migration`.
//!
//! `0003_add_price.sql`, `3-add-price.up.sql` with `3-add-price.down.sql`, `20240131120000_add_price.sql`,
//! `2024-01-31_add_price.sql`, `v1.10_add_price.sql`. Numbers are compared as numbers, whatever their width. Two files
//! with the same number are refused, for nobody can know which comes first; two of the same day go by name. Without any
//! numbers the names alone give the order, as long as they give only one.

use super::tokens;
use super::{
    AppliedRow, Bookkeeping, Cut, Folder, Format, FormatReader, Migration, MigrationSet, NewFile, NewName, ProofsIn,
    Renaming, Standing, Tracking, read_down, read_file, standing,
};
use crate::domain::code::Code;
use crate::domain::failure::Failure;
use crate::domain::ids::{MigrationId, RunId};
use crate::domain::sql::quote_literal;
use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// The reader of plain SQL files.
pub(super) struct Sql;

impl FormatReader for Sql {
    fn format(&self) -> Format {
        Format::Sql
    }

    fn name(&self) -> &'static str {
        "sql"
    }

    fn detect(&self, folder: &Folder) -> bool {
        folder.files.keys().any(|path| Name::parse(path).is_some_and(|name| !name.down))
    }

    fn read(&self, folder: &Folder) -> Result<MigrationSet, Failure> {
        let (downs, mut ups): (Vec<Name>, Vec<Name>) =
            folder.files.keys().filter_map(|path| Name::parse(path)).partition(|name| name.down);
        put_in_order(folder, &mut ups)?;
        let mut downs: BTreeMap<&str, Name> = downs.into_iter().map(|name| (name.id, name)).collect();
        let mut warnings = Vec::new();
        let mut migrations = Vec::with_capacity(ups.len());
        for name in ups {
            let file = read_file(folder, name.path, &Cut::default())?;
            warnings.extend(file.emptiness());
            let down = downs.remove(name.id);
            let down = down.and_then(|name| read_down(folder, name.path, &Cut::default(), &mut warnings));
            migrations.push(file.into_migration(MigrationId::new(name.id), Bookkeeping::Dbd, down));
        }
        for name in downs.values() {
            let message = format!("{} takes back a migration that is not there", folder.shown(name.path));
            warnings.push(
                Failure::new(Code::OrphanFile, message).hint(format!("add {}.up.sql, or remove the file", name.id)),
            );
        }
        warnings.extend(below(folder));
        Ok(MigrationSet { format: Format::Sql, dir: folder.dir.clone(), migrations, table: None, warnings })
    }

    fn renaming(&self) -> Renaming {
        Renaming::Never
    }

    fn tracking(&self) -> Tracking {
        Tracking {
            table: Cow::Borrowed("dbd.migration"),
            more: &[],
            columns: &["id", "digest", "run_id"],
            create: Cow::Borrowed(
                "CREATE SCHEMA IF NOT EXISTS dbd;
CREATE TABLE IF NOT EXISTS dbd.migration (
    id text PRIMARY KEY,
    file text,
    digest text NOT NULL,
    run_id text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    session_user_name text DEFAULT session_user,
    tokens text,
    body text
);
DO $dbd$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_attribute WHERE attrelid = 'dbd.migration'::regclass AND attname = 'body') THEN
        ALTER TABLE dbd.migration ADD COLUMN tokens text, ADD COLUMN body text;
    END IF;
END
$dbd$;",
            ),
            read: Cow::Borrowed(
                "SELECT id, digest, to_char(applied_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'), run_id, NULL::text \
                FROM dbd.migration ORDER BY applied_at, id",
            ),
            proofs: ProofsIn::Within,
            lock: None,
        }
    }

    fn key(&self, migration: &Migration) -> String {
        migration.id.to_string()
    }

    fn insert_row_sql(&self, migration: &Migration, run: &RunId) -> String {
        let values =
            [migration.id.as_str(), &migration.file, migration.digest.as_str(), run.as_str()].map(quote_literal);
        format!("INSERT INTO dbd.migration (id, file, digest, run_id) VALUES ({})", values.join(", "))
    }

    /// One row says what the tool's own and dbd's proof of it say elsewhere.
    fn record_sql(&self, migration: &Migration, text: &str, run: &RunId) -> String {
        let (id, file) = (quote_literal(migration.id.as_str()), quote_literal(&migration.file));
        let (digest, run) = (quote_literal(migration.digest.as_str()), quote_literal(run.as_str()));
        let (tokens, body) = tokens::proof_values(migration, text);
        format!(
            "INSERT INTO dbd.migration (id, file, digest, run_id, tokens, body) \
             VALUES ({id}, {file}, {digest}, {run}, {tokens}, {body})"
        )
    }

    fn forget_sql(&self, migration: &Migration) -> Vec<String> {
        // A proof from before the row itself held it.
        let earlier = format!(
            "DO $dbd$ BEGIN IF pg_catalog.to_regclass('dbd.applied') IS NOT NULL THEN \
             DELETE FROM dbd.applied WHERE tracking = 'dbd.migration' AND key = {key}; END IF; END $dbd$",
            key = quote_literal(migration.id.as_str())
        );
        vec![self.delete_sql(migration), earlier]
    }

    fn delete_row_sql(&self, migration: &Migration) -> String {
        format!("DELETE FROM dbd.migration WHERE id = {}", quote_literal(migration.id.as_str()))
    }

    fn standing(&self, set: &MigrationSet, rows: &[AppliedRow]) -> Standing {
        standing::by_key(set, rows, |migration| self.key(migration))
    }

    fn new_files(&self, folder: &Folder, ids: &[&str], name: NewName<'_>) -> Result<Vec<NewFile>, Failure> {
        let lead = next(folder, ids.last().copied(), name)?;
        let text = format!("-- {}\n", name.title);
        Ok(match folder.files.keys().any(|path| path.ends_with(".up.sql")) {
            true => vec![
                NewFile::made(format!("{lead}.up.sql"), text.clone()),
                NewFile::made(format!("{lead}.down.sql"), text),
            ],
            false => vec![NewFile::made(format!("{lead}.sql"), text)],
        })
    }
}

/// What the migration after `last` is called, in the way that one is.
fn next(folder: &Folder, last: Option<&str>, name: NewName<'_>) -> Result<String, Failure> {
    let Some(last) = last else { return Ok(format!("{:04}_{}", 1, name.slug)) };
    let Some((_, behind)) = Lead::read(last) else {
        // Among names alone the order is theirs.
        if natural(last, name.slug) == Ordering::Less {
            return Ok(name.slug.to_owned());
        }
        let message = format!(
            "a migration named {} would come before {last}, as those of {} have no number",
            name.slug,
            folder.whole()
        );
        return Err(Failure::new(Code::BadArgument, message)
            .hint(format!("choose a name that comes after {last}, or put a number in front of each file's name")));
    };
    let lead = &last[..last.len() - behind.len()];
    let separator = behind.chars().next().filter(|c| ['_', '-', '.'].contains(c)).unwrap_or('_');
    let (letter, number) = lead.split_at(lead.find(|c: char| c.is_ascii_digit()).unwrap_or(0));
    Ok(format!("{letter}{}{separator}{}", name.after(number), name.slug))
}

/// The name of a file, taken apart.
struct Name<'a> {
    path: &'a str,
    /// The name without `.sql`, `.up.sql` or `.down.sql`.
    id: &'a str,
    down: bool,
    lead: Option<Lead>,
}

impl<'a> Name<'a> {
    /// `None` for what is no migration: another ending, a hidden file, a file of a folder below.
    fn parse(path: &'a str) -> Option<Self> {
        let stem = strip_ending(path, ".sql")?;
        if path.contains('/') || path.starts_with('.') {
            return None;
        }
        let (id, down) = match (strip_ending(stem, ".up"), strip_ending(stem, ".down")) {
            (Some(id), _) => (id, false),
            (None, Some(id)) => (id, true),
            (None, None) => (stem, false),
        };
        Some(Self { path, id, down, lead: Lead::parse(id) })
    }
}

fn strip_ending<'a>(name: &'a str, ending: &str) -> Option<&'a str> {
    let at = name.len().checked_sub(ending.len()).filter(|at| *at > 0 && name.is_char_boundary(*at))?;
    name[at..].eq_ignore_ascii_case(ending).then_some(&name[..at])
}

/// The numbers in front of a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Lead {
    numbers: Vec<Number>,
    /// A day without a time: more than one migration may well be written on it.
    day_only: bool,
}

/// A whole number of any width, its leading zeros gone. Shorter ones are smaller, so the length is compared first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Number {
    width: usize,
    digits: String,
}

impl Number {
    fn new(digits: &str) -> Self {
        let digits = digits.trim_start_matches('0').to_owned();
        Self { width: digits.len(), digits }
    }
}

impl Lead {
    fn parse(name: &str) -> Option<Self> {
        Self::read(name).map(|(lead, _)| lead)
    }

    /// The numbers, and what follows them.
    fn read(name: &str) -> Option<(Self, &str)> {
        let name = match name.strip_prefix(['v', 'V']) {
            Some(rest) if rest.starts_with(|c: char| c.is_ascii_digit()) => rest,
            _ => name,
        };
        let (first, mut rest) = digits(name)?;
        let mut numbers = Vec::new();
        let day = match written_day(name) {
            Some((day, behind)) => {
                numbers.push(Number::new(&day));
                rest = behind;
                true
            }
            None => {
                numbers.push(Number::new(first));
                first.len() == 8 && is_day(&first[..4], &first[4..6], &first[6..])
            }
        };
        // Behind a day comes the time, in one number or in several; behind another number only the parts of a version.
        let separators: &[char] = if day { &['-', '_', '.', ':', 'T', 't'] } else { &['.'] };
        while let Some((number, behind)) = rest.strip_prefix(separators).and_then(digits) {
            if behind.starts_with(char::is_alphanumeric) && !behind.starts_with(separators) {
                break;
            }
            numbers.push(Number::new(number));
            rest = behind;
        }
        let day_only = day && numbers.len() == 1;
        Some((Self { numbers, day_only }, rest))
    }
}

/// The digits in front and what follows; `None` without any.
fn digits(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// `2024-01-31`, `2024_01_31` or `2024.01.31` in front, as `20240131`, and what follows.
fn written_day(name: &str) -> Option<(String, &str)> {
    let (year, rest) = digits(name)?;
    let separator = rest.chars().next().filter(|c| ['-', '_', '.'].contains(c))?;
    let (month, rest) = digits(&rest[1..])?;
    let (day, rest) = digits(rest.strip_prefix(separator)?)?;
    is_day(year, month, day).then(|| (format!("{year}{month}{day}"), rest))
}

fn is_day(year: &str, month: &str, day: &str) -> bool {
    let within =
        |text: &str, width, low, high| text.len() == width && text.parse().is_ok_and(|n: u32| low <= n && n <= high);
    within(year, 4, 1970, 2199) && within(month, 2, 1, 12) && within(day, 2, 1, 31)
}

/// Puts the migrations into the order they are applied in, or says why there is none.
fn put_in_order(folder: &Folder, names: &mut [Name]) -> Result<(), Failure> {
    names.sort_by(|a, b| {
        // What has no number comes last, though it never stays beside what has one.
        let numbered = b.lead.is_some().cmp(&a.lead.is_some());
        let number = |name: &Name| name.lead.as_ref().map(|lead| lead.numbers.clone());
        numbered.then_with(|| number(a).cmp(&number(b))).then_with(|| a.id.cmp(b.id)).then_with(|| a.path.cmp(b.path))
    });
    for pair in names.windows(2) {
        let [a, b] = pair else { continue };
        let (first, second) = (folder.shown(a.path), folder.shown(b.path));
        let same_number = match (&a.lead, &b.lead) {
            (Some(a), Some(b)) => a.numbers == b.numbers && !a.day_only,
            _ => false,
        };
        if a.id == b.id || same_number {
            let what = if a.id == b.id { "name" } else { "number" };
            let message = format!("{first} and {second} have the same {what}");
            return Err(Failure::new(Code::DuplicateMigration, message)
                .hint("give the one that is not applied anywhere yet the next free number")
                .hint("a way back is recognised by its ending, .down.sql"));
        }
        if a.lead.is_some() && b.lead.is_none() {
            let message = format!("{second} has no number, so its place among the numbered migrations is not known");
            return Err(Failure::new(Code::UnreadableMigration, message)
                .hint("put its number in front of its name, or move it out of the folder"));
        }
        if a.lead.is_none() && natural(a.id, b.id) == Ordering::Greater {
            let message = format!("it is not known whether {second} or {first} comes first");
            return Err(Failure::new(Code::UnreadableMigration, message)
                .hint("put a number in front of each name, like 0001_name.sql"));
        }
    }
    Ok(())
}

/// Compares names as people count: `step2` before `step10`.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let order = match (digits(a), digits(b)) {
            (Some((left, rest_a)), Some((right, rest_b))) => {
                (a, b) = (rest_a, rest_b);
                Number::new(left).cmp(&Number::new(right))
            }
            _ => {
                let (mut left, mut right) = (a.chars(), b.chars());
                let order = left.next().cmp(&right.next());
                (a, b) = (left.as_str(), right.as_str());
                order
            }
        };
        if order != Ordering::Equal || a.is_empty() && b.is_empty() {
            return order;
        }
    }
}

/// SQL files in folders below, which are not read: one warning a folder.
fn below(folder: &Folder) -> Vec<Failure> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let hidden = |path: &str| path.split('/').any(|part| part.starts_with('.'));
    for path in folder.files.keys().filter(|path| strip_ending(path, ".sql").is_some() && !hidden(path)) {
        if let Some((below, _)) = path.rsplit_once('/') {
            *counts.entry(below).or_default() += 1;
        }
    }
    let warning = |(below, count): (&str, usize)| {
        let files = if count == 1 { "1 file is".to_owned() } else { format!("{count} files are") };
        let message =
            format!("{files} not run in {}: dbd reads no folder below {}", folder.shown(below), folder.whole());
        Failure::new(Code::OrphanFile, message).hint("move what is to be run up, and the rest out of the folder")
    };
    counts.into_iter().map(warning).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{folder, rows};
    use super::super::{FormatChoice, read_folder};
    use super::*;
    use crate::domain::digest::Digest;

    fn read(files: &[(&str, &str)]) -> Result<MigrationSet, Failure> {
        read_folder(&folder(files), FormatChoice::Given(Format::Sql))
    }

    /// The ids in order, of files that hold one statement each.
    fn order(names: &[&str]) -> Result<Vec<String>, Failure> {
        let files: Vec<(&str, &str)> = names.iter().map(|name| (*name, "SELECT 1")).collect();
        read(&files).map(|set| set.migrations.iter().map(|migration| migration.id.to_string()).collect())
    }

    #[test]
    fn the_next_migration_is_called_like_the_last_and_comes_after_it() {
        let name = NewName { title: "Foo", slug: "foo", stamp: "20240131120000", now_ms: 0 };
        for (last, made) in [
            ("0009_a.sql", Ok("0010_foo.sql")),
            ("003-a.sql", Ok("004-foo.sql")),
            ("v1.9_a.sql", Ok("v1.10_foo.sql")),
            ("V1__a.sql", Ok("V2_foo.sql")),
            ("2023-05-06_a.sql", Ok("2024-01-31_foo.sql")),
            ("2023_05_06_120000_a.sql", Ok("2024_01_31_120000_foo.sql")),
            ("20230506_a.sql", Ok("20240131_foo.sql")),
            ("alpha.sql", Ok("foo.sql")),
            ("init.sql", Err(Code::BadArgument)),
        ] {
            let mut folder = folder(&[(last, "SELECT 1")]);
            let id = last.trim_end_matches(".sql");
            let found = Sql.new_files(&folder, &[id], name).map(|files| files[0].path.clone());
            assert_eq!(found.as_deref().map_err(|failure| failure.code), made, "{last}");
            let Ok(made) = made else { continue };
            folder.files.insert(made.to_owned(), b"SELECT 1".to_vec());
            let order: Vec<String> =
                Sql.read(&folder).unwrap().migrations.iter().map(|one| format!("{}.sql", one.id)).collect();
            assert_eq!(order, [last, made], "{last}");
        }
    }

    #[test]
    fn numbers_of_any_width_are_compared_as_numbers() {
        for (names, expected) in [
            (&["10_b.sql", "9_a.sql", "0001_z.sql"][..], &["0001_z", "9_a", "10_b"][..]),
            (
                &["20240131120000_b.sql", "20240131115959_a.sql", "7.sql"],
                &["7", "20240131115959_a", "20240131120000_b"],
            ),
            (&["1.10_b.sql", "1.9_a.sql", "1_0.sql"], &["1_0", "1.9_a", "1.10_b"]),
            (&["v2_b.sql", "V1_a.sql"], &["V1_a", "v2_b"]),
            (
                &["99999999999999999999999999999999999999999_b.sql", "9_a.sql"],
                &["9_a", "99999999999999999999999999999999999999999_b"],
            ),
            (&["2024-02-01_a.sql", "2024-01-31_b.sql"], &["2024-01-31_b", "2024-02-01_a"]),
            (&["2024_01_31_120000_b.sql", "2024_01_31_090000_c.sql"], &["2024_01_31_090000_c", "2024_01_31_120000_b"]),
            (&["2024-01-31T12-00_b.sql", "2024-01-31T09-30_c.sql"], &["2024-01-31T09-30_c", "2024-01-31T12-00_b"]),
            (&["0000_a.sql", "1_b.SQL"], &["0000_a", "1_b"]),
            (&["b.sql", "a.sql"], &["a", "b"]),
            (&["init.sql"], &["init"]),
        ] {
            assert_eq!(order(names).unwrap(), expected, "{names:?}");
        }
    }

    #[test]
    fn two_migrations_of_one_day_go_by_name_but_two_of_one_number_are_refused() {
        assert_eq!(order(&["2024-01-31_b.sql", "2024-01-31_a.sql"]).unwrap(), ["2024-01-31_a", "2024-01-31_b"]);
        assert_eq!(order(&["20240131_b.sql", "20240131_a.sql"]).unwrap(), ["20240131_a", "20240131_b"]);
        for names in [
            &["0001_a.sql", "1_b.sql"][..],
            &["20240131120000_a.sql", "20240131120000_b.sql"],
            &["0001_a.sql", "0001_a.up.sql"],
            &["99999999_a.sql", "99999999_b.sql"],
            &["a.sql", "a.up.sql"],
        ] {
            let failure = order(names).unwrap_err();
            assert_eq!(failure.code, Code::DuplicateMigration, "{names:?}");
            for name in names {
                assert!(failure.message.contains(&format!("migrations/{name}")), "{}", failure.message);
            }
        }
    }

    #[test]
    fn an_order_that_cannot_be_known_is_refused() {
        for names in [&["0001_a.sql", "seed.sql"][..], &["step10.sql", "step2.sql"]] {
            assert_eq!(order(names).unwrap_err().code, Code::UnreadableMigration, "{names:?}");
        }
    }

    #[test]
    fn a_down_file_is_set_aside_beside_its_migration() {
        let set = read(&[
            ("1_a.up.sql", "CREATE TABLE a ()"),
            ("1_a.down.sql", "DROP TABLE a"),
            ("2_b.sql", "CREATE TABLE b ()"),
            ("2_b.down.sql", "DROP TABL b"),
            ("3_c.down.sql", "DROP TABLE c"),
        ])
        .unwrap();
        assert_eq!(set.migrations.len(), 2);
        let down = set.migrations[0].down.as_ref().unwrap();
        assert_eq!((down.file.as_str(), down.units.len()), ("migrations/1_a.down.sql", 1));
        assert_eq!(down.digest, Digest::of("DROP TABLE a"));
        assert_eq!(set.migrations[1].down, None);
        let codes: Vec<Code> = set.warnings.iter().map(|warning| warning.code).collect();
        assert_eq!(codes, [Code::SyntaxError, Code::OrphanFile]);
    }

    #[test]
    fn what_is_no_migration_is_left_alone_and_what_might_be_is_named() {
        let set = read(&[
            ("1_a.sql", "-- nothing yet\n"),
            ("README.md", "x"),
            ("._1_a.sql", "junk"),
            (".sql", "junk"),
            ("seeds/a.sql", "SELECT 1"),
            ("seeds/b.sql", "SELECT 1"),
            (".git/x.sql", "SELECT 1"),
        ])
        .unwrap();
        assert_eq!(set.migrations.len(), 1);
        let messages: Vec<&str> = set.warnings.iter().map(|warning| warning.message.as_str()).collect();
        assert_eq!(
            messages,
            [
                "migrations/1_a.sql holds no statement",
                "2 files are not run in migrations/seeds: dbd reads no folder below migrations",
            ]
        );
    }

    #[test]
    fn text_that_is_not_utf_8_is_refused_with_its_place() {
        let mut folder = folder(&[]);
        folder.files.insert("1_a.sql".to_owned(), b"SELECT 1;\nSELECT '\xff'".to_vec());
        let failure = read_folder(&folder, FormatChoice::Auto).unwrap_err();
        assert_eq!(failure.code, Code::UnreadableMigration);
        assert_eq!(failure.place.map(|place| (place.line, place.column)), Some((2, 9)));
        folder.files.insert("1_a.sql".to_owned(), b"\xff\xfeS\0".to_vec());
        assert!(read_folder(&folder, FormatChoice::Auto).unwrap_err().message.ends_with("it is UTF-16"));
    }

    #[test]
    fn the_record_quotes_what_it_is_given() {
        let set = read(&[("1_it's.sql", "SELECT 1")]).unwrap();
        let migration = &set.migrations[0];
        let run = RunId::parse("deploy-dev-1").unwrap();
        let digest = &migration.digest;
        assert_eq!(
            Sql.insert_row_sql(migration, &run),
            format!(
                "INSERT INTO dbd.migration (id, file, digest, run_id) \
                 VALUES ('1_it''s', 'migrations/1_it''s.sql', '{digest}', 'deploy-dev-1')"
            )
        );
        assert_eq!(Sql.delete_sql(migration), "DELETE FROM dbd.migration WHERE id = '1_it''s'");
        for sql in [Sql.tracking().create, Sql.tracking().read] {
            assert!(super::super::split(&sql).is_ok(), "{sql}");
        }
    }

    #[test]
    fn each_migration_is_judged_by_itself() {
        let set = read(&[("1_a.sql", "SELECT 1"), ("2_b.sql", "SELECT 2;\n"), ("3_c.sql", "SELECT 3")]).unwrap();
        let digest = |text: &str| Digest::of(text).to_string();
        let check = |applied: &[(&str, Option<String>)]| Sql.standing(&set, &rows(applied));

        let fresh = check(&[]);
        assert_eq!((fresh.applied, fresh.pending), (vec![], vec![0, 1, 2]));
        assert!(fresh.errors.is_empty() && fresh.warnings.is_empty());

        let late = check(&[("3_c", Some(digest("SELECT 3"))), ("1_a", None)]);
        assert_eq!((late.applied, late.pending), (vec![0, 2], vec![1]));
        assert!(late.errors.is_empty());
        assert_eq!(late.warnings.iter().map(|w| w.code).collect::<Vec<_>>(), [Code::OutOfOrder]);

        let edited = check(&[("1_a", Some(digest("SELECT 9")))]);
        assert_eq!((edited.applied, edited.pending), (vec![0], vec![1, 2]));
        assert_eq!(edited.errors.iter().map(|e| e.code).collect::<Vec<_>>(), [Code::ChangedAfterApply]);

        let gone = check(&[("0_z", Some(digest("SELECT 0")))]);
        assert_eq!(gone.errors.iter().map(|e| e.code).collect::<Vec<_>>(), [Code::MissingMigration]);

        let renamed = check(&[("1_old", Some(digest("SELECT 1")))]);
        assert_eq!(renamed.errors.len(), 1);
        assert!(renamed.errors[0].hints.iter().any(|hint| hint.contains("1_old")), "{:?}", renamed.errors);
    }

    #[test]
    fn other_line_endings_are_no_change() {
        let set = read(&[("1_a.sql", "SELECT 1;\r\nSELECT 2;\r\n")]).unwrap();
        for text in ["SELECT 1;\nSELECT 2;\n", "\u{feff}SELECT 1;\nSELECT 2;\n", "\u{feff}SELECT 1;\r\nSELECT 2;\r\n"] {
            let standing = Sql.standing(&set, &rows(&[("1_a", Some(Digest::of(text).to_string()))]));
            assert_eq!(standing.errors, [], "{text:?}");
        }
        let standing = Sql.standing(&set, &rows(&[("1_a", Some(Digest::of("SELECT 1; SELECT 2;").to_string()))]));
        assert_eq!(standing.errors.len(), 1);
    }
}
