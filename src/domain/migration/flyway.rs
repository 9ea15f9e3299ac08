//! Flyway: `V1.2__name.sql`, `U1.2__name.sql` (the way back), `B5__name.sql` (a baseline), `R__name.sql` (run whenever it
//! changes), tracked in `flyway_schema_history`.
//!
//! Flyway skips what is numbered below the newest unless told otherwise, and stops at a checksum that a comment changed.

use super::{
    AppliedRow, Bookkeeping, Checksum, Cut, Folder, Format, FormatReader, Migration, MigrationSet, NewFile, NewName,
    ProofsIn, ReadFile, Standing, ToolLock, Tracking, base_name, doubled, down, read_text, standing,
};
use crate::domain::code::Code;
use crate::domain::failure::Failure;
use crate::domain::ids::{MigrationId, RunId};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The reader of Flyway.
pub(super) struct Flyway;

/// The table, unless it was renamed.
const TABLE: &str = "flyway_schema_history";

/// The mark of a row that stands for everything up to its version.
const BASELINE: &str = "baseline";

/// `Flyway` as a number, to which the table's name adds its own.
const LOCK_BASE: i64 = 77_431_708_279_161;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Versioned,
    Undo,
    Baseline,
    Repeatable,
}

/// A file's name, taken apart.
struct Name<'a> {
    path: &'a str,
    id: &'a str,
    kind: Kind,
    /// As Flyway writes it into its table: dots for underscores.
    version: String,
    description: String,
}

impl<'a> Name<'a> {
    fn parse(path: &'a str) -> Option<Self> {
        let id = base_name(path).strip_suffix(".sql")?;
        let (head, description) = id.split_once("__")?;
        let kind = match head.chars().next()? {
            'V' => Kind::Versioned,
            'U' => Kind::Undo,
            'B' => Kind::Baseline,
            'R' => Kind::Repeatable,
            _ => return None,
        };
        let version = head[1..].replace('_', ".");
        let numbered =
            version.split('.').all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
        let fits = if kind == Kind::Repeatable { version.is_empty() } else { numbered };
        fits.then(|| Self { path, id, kind, version, description: description.replace('_', " ") })
    }
}

/// A version as Flyway compares it: numbers of any width, `1` and `1.0` the same. Shorter numbers are smaller, so the
/// length comes first.
fn order(version: &str) -> Vec<(usize, String)> {
    let part = |part: &str| {
        let digits = part.trim_start_matches('0');
        (digits.len(), digits.to_owned())
    };
    let mut parts: Vec<_> = version.split('.').map(part).collect();
    while parts.last().is_some_and(|(width, _)| *width == 0) && parts.len() > 1 {
        parts.pop();
    }
    parts
}

/// The key of a version, the same for all its spellings.
fn version_key(version: &str) -> String {
    let part = |(_, digits): (usize, String)| if digits.is_empty() { "0".to_owned() } else { digits };
    order(version).into_iter().map(part).collect::<Vec<_>>().join(".")
}

impl FormatReader for Flyway {
    fn format(&self) -> Format {
        Format::Flyway
    }

    fn name(&self) -> &'static str {
        "flyway"
    }

    fn detect(&self, folder: &Folder) -> bool {
        folder.files.keys().any(|path| Name::parse(path).is_some())
    }

    fn read(&self, folder: &Folder) -> Result<MigrationSet, Failure> {
        let mut set = MigrationSet::empty(Format::Flyway, folder);
        let (mut names, mut undos) = (Vec::new(), BTreeMap::new());
        for path in folder.files.keys().filter(|path| path.ends_with(".sql") && !base_name(path).starts_with('.')) {
            match Name::parse(path) {
                Some(name) if name.kind == Kind::Undo => {
                    undos.insert(version_key(&name.version), name);
                }
                Some(name) => names.push(name),
                None if callback(path) => {
                    let message = format!("{} is a callback, and dbd runs none", folder.shown(path));
                    set.warnings
                        .push(Failure::new(Code::OrphanFile, message).hint("see what it does, and do it otherwise"));
                }
                None => set.warnings.push(super::passed_over(folder, path, "V1__name.sql")),
            }
        }
        let repeatable = |name: &Name<'_>| name.kind == Kind::Repeatable;
        names.sort_by(|a, b| {
            let last = repeatable(a).cmp(&repeatable(b));
            // A baseline stands for its own version too, so it comes first.
            let kind = (b.kind == Kind::Baseline).cmp(&(a.kind == Kind::Baseline));
            last.then_with(|| order(&a.version).cmp(&order(&b.version)))
                .then(kind)
                .then_with(|| a.description.cmp(&b.description))
        });
        for pair in names.windows(2) {
            let same_version = !repeatable(&pair[0]) && version_key(&pair[0].version) == version_key(&pair[1].version);
            if pair[0].kind == pair[1].kind && (same_version || repeatable(&pair[0]) && pair[0].id == pair[1].id) {
                return Err(doubled(folder, pair[0].path, pair[1].path));
            }
        }
        for name in names {
            let file = script(folder, name.path)?;
            set.warnings.extend(file.emptiness());
            let back = match name.kind {
                Kind::Versioned => undos.remove(&version_key(&name.version)),
                _ => None,
            };
            let back = match back {
                Some(undo) => down(script(folder, undo.path), &mut set.warnings),
                None => None,
            };
            let (key, kind) = match name.kind {
                Kind::Repeatable => (format!("R {}", name.description), "SQL"),
                Kind::Baseline => (format!("B {}", version_key(&name.version)), "SQL_BASELINE"),
                Kind::Versioned | Kind::Undo => (version_key(&name.version), "SQL"),
            };
            // Flyway takes the file for a version, and what it has made of it for a repeatable, which runs again with other values.
            let checksum = match name.kind {
                Kind::Repeatable => checksum(&file.text),
                _ => checksum(folder.text(name.path)?),
            };
            let values = [
                ("version", name.version.as_str()),
                ("description", &name.description),
                ("type", kind),
                ("script", name.path),
                ("checksum", &checksum),
            ];
            set.migrations.push(file.into_migration(MigrationId::new(name.id), Bookkeeping::row(key, &values), back));
        }
        for undo in undos.values() {
            let message = format!("{} takes back a migration that is not there", folder.shown(undo.path));
            set.warnings.push(Failure::new(Code::OrphanFile, message).hint("add the migration, or remove the file"));
        }
        Ok(set)
    }

    fn table_said(&self, folder: &Folder) -> Result<Option<String>, Failure> {
        let table = folder.said.get("flyway.table").map_or(TABLE, String::as_str);
        Ok(Some(format!("\"{}\".\"{table}\"", schema(folder))))
    }

    fn tracking(&self) -> Tracking {
        Tracking {
            table: Cow::Borrowed("public.flyway_schema_history"),
            more: &[],
            columns: &["installed_rank", "version", "script", "checksum"],
            create: Cow::Borrowed(
                "CREATE TABLE IF NOT EXISTS public.flyway_schema_history (
    installed_rank INT NOT NULL,
    version VARCHAR(50),
    description VARCHAR(200) NOT NULL,
    type VARCHAR(20) NOT NULL,
    script VARCHAR(1000) NOT NULL,
    checksum INTEGER,
    installed_by VARCHAR(100) NOT NULL,
    installed_on TIMESTAMP NOT NULL DEFAULT now(),
    execution_time INTEGER NOT NULL,
    success BOOLEAN NOT NULL,
    CONSTRAINT flyway_schema_history_pk PRIMARY KEY (installed_rank)
);
CREATE INDEX IF NOT EXISTS flyway_schema_history_s_idx ON public.flyway_schema_history (success);",
            ),
            // The newest row of a version or of a repeatable counts; one that was undone or deleted is as if it never was.
            read: Cow::Borrowed(
                "SELECT CASE WHEN version IS NULL THEN 'R ' || description WHEN type = 'SQL_BASELINE' THEN 'B ' || version ELSE version END, \
                checksum::text, to_char(installed_on, 'YYYY-MM-DD\"T\"HH24:MI:SS.MS'), installed_by::text, \
                CASE WHEN NOT success THEN 'failed' WHEN type IN ('BASELINE', 'SQL_BASELINE') THEN 'baseline' END \
                FROM (SELECT DISTINCT ON (version, CASE WHEN version IS NULL THEN description END) * \
                  FROM public.flyway_schema_history WHERE type <> 'SCHEMA' \
                  ORDER BY version, CASE WHEN version IS NULL THEN description END, installed_rank DESC) newest \
                WHERE type NOT IN ('UNDO_SQL', 'UNDO_JDBC', 'DELETE')",
            ),
            proofs: ProofsIn::Beside,
            lock: Some(ToolLock::OfTable(|table| {
                let (schema, name) = super::schema_and_name(table);
                // As Flyway quotes it.
                LOCK_BASE + java_hash(&format!("\"{schema}\".\"{name}\""))
            })),
        }
    }

    fn key(&self, migration: &Migration) -> String {
        migration.bookkeeping.key().to_owned()
    }

    fn proof_key(&self, migration: &Migration) -> String {
        // The row has the version as the file spells it: `001`, `1.0`.
        let (row, key) = (&migration.bookkeeping, migration.bookkeeping.key());
        match (key.starts_with("R "), key.starts_with("B ")) {
            (true, _) => key.to_owned(),
            (_, true) => format!("B {}", row.value("version")),
            _ => row.value("version").to_owned(),
        }
    }

    fn insert_row_sql(&self, migration: &Migration, _run: &RunId) -> String {
        let row = &migration.bookkeeping;
        let version = if row.value("version").is_empty() { "NULL".to_owned() } else { row.literal("version") };
        format!(
            "INSERT INTO public.flyway_schema_history (installed_rank, version, description, type, script, checksum, \
             installed_by, execution_time, success) SELECT COALESCE(max(installed_rank), 0) + 1, {version}, {}, {}, {}, {}, \
             current_user, 0, true FROM public.flyway_schema_history",
            row.literal("description"),
            row.literal("type"),
            row.literal("script"),
            row.value("checksum")
        )
    }

    fn delete_row_sql(&self, migration: &Migration) -> String {
        let script = migration.bookkeeping.literal("script");
        format!(
            "DELETE FROM public.flyway_schema_history WHERE installed_rank = \
             (SELECT max(installed_rank) FROM public.flyway_schema_history WHERE script = {script})"
        )
    }

    fn standing(&self, set: &MigrationSet, rows: &[AppliedRow]) -> Standing {
        let normal = |row: &AppliedRow| {
            let key = match (row.key.strip_prefix("B "), row.key.starts_with("R ")) {
                (_, true) => row.key.clone(),
                (Some(version), _) => format!("B {}", version_key(version)),
                (None, _) => version_key(&row.key),
            };
            AppliedRow { key, ..row.clone() }
        };
        let is_repeatable = |key: &str| key.starts_with("R ");
        let all: Vec<AppliedRow> = rows.iter().map(normal).collect();
        let baseline = all
            .iter()
            .filter(|row| row.mark.as_deref() == Some(BASELINE))
            .map(|row| order(row.key.trim_start_matches("B ")))
            .max();
        // An empty history begins with the newest baseline script of the folder; a history never needs one.
        let first = set.migrations.iter().rev().find(|one| one.bookkeeping.value("type") == "SQL_BASELINE");
        let first = first.filter(|_| all.is_empty()).map(|one| order(one.bookkeeping.value("version")));
        let superseded = |migration: &Migration| {
            let row = &migration.bookkeeping;
            let marker =
                |applied: &AppliedRow| applied.mark.as_deref() == Some(BASELINE) && !applied.key.starts_with("B ");
            let has_row = all.iter().any(|applied| applied.key == row.key() && !marker(applied));
            if is_repeatable(row.key()) || has_row {
                return false;
            }
            let version = order(row.value("version"));
            match row.value("type") {
                "SQL_BASELINE" => first.as_ref() != Some(&version),
                _ => baseline.iter().chain(&first).any(|base| version <= *base),
            }
        };
        // Neither a baseline's row nor a repeatable that is gone has to have a file.
        let has_file = |row: &&AppliedRow| {
            row.mark.as_deref() != Some(BASELINE) && !is_repeatable(&row.key)
                || set.migrations.iter().any(|one| one.bookkeeping.key() == row.key)
        };
        let rows: Vec<AppliedRow> = all.iter().filter(has_file).cloned().collect();
        let sum = |migration: &Migration, text: &str| match text == migration.text {
            true => migration.bookkeeping.value("checksum").to_owned(),
            false => checksum(text),
        };
        let mut standing = standing::by_own(set, &rows, |migration| self.key(migration), sum);
        // A repeatable that changed runs again: what is an error for a version is the very idea of it.
        let again: Vec<usize> = (0..set.migrations.len())
            .filter(|index| {
                is_repeatable(set.migrations[*index].bookkeeping.key())
                    && standing.entries[*index].checksum == Checksum::Changed
            })
            .collect();
        for index in &again {
            let file = &set.migrations[*index].file;
            let about = |failure: &Failure| {
                failure.code == Code::ChangedAfterApply && failure.message.starts_with(&format!("{file} "))
            };
            standing.errors.retain(|failure| !about(failure));
            standing.applied.retain(|place| place != index);
            standing.pending.push(*index);
        }
        standing.pending.sort_unstable();
        let gone = |index: &usize| superseded(&set.migrations[*index]);
        standing.superseded = standing.pending.iter().copied().filter(gone).collect();
        standing.pending.retain(|index| !gone(index));
        // A repeatable never comes too late, and nothing comes too late for it.
        let versions = |places: &[usize]| -> Vec<usize> {
            let versioned = |place: &usize| !is_repeatable(set.migrations[*place].bookkeeping.key());
            places.iter().copied().filter(versioned).collect()
        };
        let (applied, pending) = (versions(&standing.applied), versions(&standing.pending));
        standing.warnings.retain(|failure| failure.code != Code::OutOfOrder);
        standing.warnings.extend(standing::too_late(set, &pending, applied.last().copied()));
        standing
    }

    fn new_files(&self, _folder: &Folder, ids: &[&str], name: NewName<'_>) -> Result<Vec<NewFile>, Failure> {
        let last =
            ids.iter().filter_map(|id| id.strip_prefix('V')?.split_once("__")).map(|(version, _)| version).next_back();
        let version = match last.map(|last| last.rsplit_once(['.', '_']).unwrap_or(("", last))) {
            None => "1".to_owned(),
            Some(("", digits)) => name.number(std::iter::once(digits), 1),
            Some((head, digits)) => {
                let last = last.unwrap_or_default();
                let separator = &last[head.len()..=head.len()];
                format!("{head}{separator}{}", name.number(std::iter::once(digits), 1))
            }
        };
        Ok(vec![NewFile::made(format!("V{version}__{}.sql", name.slug), format!("-- {}\n", name.title))])
    }
}

/// Scripts that Flyway runs around migrations, by their names.
fn callback(path: &str) -> bool {
    let name = base_name(path);
    ["before", "after"].iter().any(|word| name.starts_with(word))
        && name[word_end(name)..].starts_with(char::is_uppercase)
}

fn word_end(name: &str) -> usize {
    if name.starts_with("before") { "before".len() } else { "after".len() }
}

/// What a script's `.conf` says of `key`.
fn conf_says(folder: &Folder, path: &str, key: &str, value: &str) -> Result<bool, Failure> {
    let conf = format!("{path}.conf");
    let conf = if folder.files.contains_key(&conf) { folder.text(&conf)? } else { "" };
    Ok(conf.lines().filter_map(|line| line.split_once('=')).any(|(k, v)| k.trim() == key && v.trim() == value))
}

/// A script, its placeholders replaced.
fn script(folder: &Folder, path: &str) -> Result<ReadFile, Failure> {
    let cut = Cut { no_transaction: conf_says(folder, path, "executeInTransaction", "false")?, ..Cut::default() };
    let text = folder.text(path)?;
    let said = |key: &str| folder.said.get(&format!("flyway.{key}")).map(String::as_str);
    let replaced =
        said("placeholderReplacement") != Some("false") && !conf_says(folder, path, "placeholderReplacement", "false")?;
    match replaced {
        true => read_text(folder, path, replace(folder, path, text)?, &cut),
        false => read_text(folder, path, text.to_owned(), &cut),
    }
}

/// The text with the values of its placeholders, as Flyway reads them: everywhere, also in strings and comments, whatever the case of the name.
fn replace(folder: &Folder, path: &str, text: &str) -> Result<String, Failure> {
    let said =
        |key: &str| folder.said.get(&format!("flyway.{key}")).map(String::as_str).filter(|value| !value.is_empty());
    let prefix = said("placeholderPrefix").unwrap_or("${");
    let suffix = said("placeholderSuffix").unwrap_or("}");
    let (mut made, mut at) = (String::with_capacity(text.len()), 0);
    while let Some(start) = text[at..].find(prefix).map(|start| at + start) {
        let inner = start + prefix.len();
        let Some(end) = text[inner..].find(suffix).map(|end| inner + end) else { break };
        made.push_str(&text[at..start]);
        made.push_str(&value(folder, path, &text[inner..end]).map_err(|failure| {
            let (line, column) = super::split::line_and_column(text, start);
            failure.at(folder.shown(path), line, column)
        })?);
        at = end + suffix.len();
    }
    made.push_str(&text[at..]);
    Ok(made)
}

/// The value of a placeholder.
fn value(folder: &Folder, path: &str, name: &str) -> Result<String, Failure> {
    let file = folder.shown(path);
    let given = folder.said.iter().find_map(|(key, value)| {
        key.strip_prefix("flyway.placeholders.").filter(|key| key.eq_ignore_ascii_case(name)).map(|_| value)
    });
    if let Some(value) = given {
        if value.contains("${") {
            let message =
                format!("{file} has the placeholder `{name}`, whose value comes from the environment: {value}");
            return Err(Failure::new(Code::UnreadableMigration, message).hint(
                "write the value itself into Flyway's configuration: what was rehearsed has to be what is deployed",
            ));
        }
        return Ok(value.clone());
    }
    let said = |key: &str| folder.said.get(&format!("flyway.{key}")).cloned();
    let separator = said("placeholderSeparator").unwrap_or_else(|| ":".to_owned());
    let own = name.to_ascii_lowercase();
    let own = own.strip_prefix("flyway").and_then(|rest| rest.strip_prefix(&separator));
    match own {
        Some("filename") => return Ok(base_name(path).to_owned()),
        Some("table") => return Ok(said("table").unwrap_or_else(|| TABLE.to_owned())),
        Some("defaultschema") => return Ok(schema(folder)),
        Some(_) => {
            let message =
                format!("{file} has the placeholder `{name}`, which is another one each time or in each database");
            return Err(Failure::new(Code::UnreadableMigration, message)
                .hint("use now(), current_user or current_database() in the statement itself"));
        }
        None => {}
    }
    Err(Failure::new(
        Code::UnreadableMigration,
        format!("{file} has the placeholder `{name}`, and nothing gives it a value"),
    )
    .hint(format!(
        "give it one in flyway.conf, `flyway.placeholders.{name}=...`, or under [flyway.placeholders] in flyway.toml"
    ))
    .hint(format!("or say that it is none: placeholderReplacement=false in {}", base_name(&format!("{path}.conf")))))
}

/// The schema Flyway works in.
fn schema(folder: &Folder) -> String {
    let said = |key: &str| folder.said.get(&format!("flyway.{key}"));
    let first = said("schemas").and_then(|all| all.split(',').next()).map(|one| one.trim().to_owned());
    said("defaultSchema").cloned().or(first).filter(|schema| !schema.is_empty()).unwrap_or_else(|| "public".to_owned())
}

/// CRC-32 of the lines without their ends and without a byte order mark, as a signed number (`ChecksumCalculator`).
fn checksum(text: &str) -> String {
    let mut hasher = crc32fast::Hasher::new();
    let text = text.strip_prefix(super::split::BOM).unwrap_or(text);
    for line in text.replace("\r\n", "\n").split(['\n', '\r']) {
        hasher.update(line.as_bytes());
    }
    #[allow(clippy::cast_possible_wrap)] // Java's int.
    let signed = hasher.finalize() as i32;
    signed.to_string()
}

/// `String.hashCode` of Java, for ASCII.
fn java_hash(text: &str) -> i64 {
    i64::from(text.bytes().fold(0_i32, |hash, byte| hash.wrapping_mul(31).wrapping_add(i32::from(byte))))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{folder, rows};
    use super::super::{FormatChoice, UnitMode, read_folder};
    use super::*;

    fn read(files: &[(&str, &str)]) -> Result<MigrationSet, Failure> {
        read_folder(&folder(files), FormatChoice::Auto)
    }

    fn ids(set: &MigrationSet) -> Vec<&str> {
        set.migrations.iter().map(|one| one.id.as_str()).collect()
    }

    #[test]
    fn versions_go_by_their_numbers_and_repeatables_come_last() {
        let set = read(&[
            ("V1__init.sql", "SELECT 1"),
            ("V1_10__b.sql", "SELECT 2"),
            ("V1.2__a.sql", "SELECT 3"),
            ("sub/V2__c.sql", "SELECT 4"),
            ("U2__c.sql", "SELECT 5"),
            ("R__views.sql", "SELECT 6"),
            ("R__a_function.sql", "SELECT 7"),
            ("afterMigrate.sql", "SELECT 8"),
        ])
        .unwrap();
        assert_eq!(ids(&set), ["V1__init", "V1.2__a", "V1_10__b", "V2__c", "R__a_function", "R__views"]);
        assert!(set.migrations[3].down.is_some());
        assert_eq!(set.warnings.len(), 1);
        let row = &set.migrations[2].bookkeeping;
        assert_eq!((row.key(), row.value("version"), row.value("script")), ("1.10", "1.10", "V1_10__b.sql"));
        assert_eq!(set.migrations[4].bookkeeping.value("description"), "a function");
        assert_eq!(read(&[("V1__a.sql", ""), ("V1.0__b.sql", "")]).unwrap_err().code, Code::DuplicateMigration);
    }

    #[test]
    fn the_checksum_is_flyways() {
        // Line ends and the mark in front do not count; CRC-32 of "123456789" is 0xcbf43926, as a Java int negative.
        assert_eq!(checksum("123456789"), "-873187034");
        assert_eq!(checksum("\u{feff}1234\r\n56789\n"), "-873187034");
    }

    #[test]
    fn the_lock_is_flyways() {
        // "Flyway" in ASCII, plus the hash of the quoted table's name.
        assert_eq!(LOCK_BASE, 0x466c_7977_6179);
        assert_eq!(java_hash("hello"), 99_162_322);
    }

    #[test]
    fn a_repeatable_runs_again_when_it_changed() {
        let set = read(&[("V1__a.sql", "SELECT 1"), ("V2__b.sql", "SELECT 2"), ("R__v.sql", "SELECT 3")]).unwrap();
        let check = |applied: &[(&str, Option<String>)]| {
            let standing = Flyway.standing(&set, &rows(applied));
            (standing.applied, standing.pending, standing.errors.len(), standing.warnings.len())
        };
        let sum = |text: &str| Some(checksum(text));
        assert_eq!(check(&[]), (vec![], vec![0, 1, 2], 0, 0));
        assert_eq!(check(&[("1", sum("SELECT 1")), ("R v", sum("SELECT 3"))]), (vec![0, 2], vec![1], 0, 0));
        assert_eq!(check(&[("1.0", sum("SELECT 1")), ("R v", sum("old"))]), (vec![0], vec![1, 2], 0, 0));
        assert_eq!(check(&[("2", sum("SELECT 2"))]), (vec![1], vec![0, 2], 0, 1));
        assert_eq!(check(&[("1", sum("SELECT 9"))]), (vec![0], vec![1, 2], 1, 0));
        assert_eq!(check(&[("9", sum("SELECT 9"))]).2, 1);
        // When it ran last, and that it is another one since, is still told.
        let changed = Flyway.standing(&set, &rows(&[("1", sum("SELECT 1")), ("R v", sum("old"))]));
        assert_eq!((changed.entries[2].row.is_some(), changed.entries[2].checksum), (true, Checksum::Changed));
        let late = Flyway.standing(&set, &rows(&[("2", sum("SELECT 2")), ("R v", sum("SELECT 3"))]));
        assert!(late.warnings[0].message.contains("though V2__b after it"), "{}", late.warnings[0].message);
    }

    #[test]
    fn a_baseline_stands_for_all_before_it() {
        let set = read(&[
            ("V1__a.sql", "SELECT 1"),
            ("V2__b.sql", "SELECT 2"),
            ("B2__all.sql", "SELECT 12"),
            ("V3__c.sql", "SELECT 3"),
        ])
        .unwrap();
        assert_eq!(ids(&set), ["V1__a", "B2__all", "V2__b", "V3__c"]);
        let fresh = Flyway.standing(&set, &[]);
        assert_eq!((fresh.pending, fresh.superseded), (vec![1, 3], vec![0, 2]));
        let mut marked = rows(&[("2", None)]);
        marked[0].mark = Some(BASELINE.to_owned());
        let based = Flyway.standing(&set, &marked);
        assert_eq!(based.errors, []);
        assert_eq!(based.pending, [3]);
        let old = Flyway.standing(&set, &rows(&[("1", Some(checksum("SELECT 1")))]));
        assert_eq!((old.pending, old.superseded), (vec![2, 3], vec![1]));
    }

    fn said(files: &[(&str, &str)], said: &[(&str, &str)]) -> Result<MigrationSet, Failure> {
        let said = said.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        read_folder(&Folder { said, ..folder(files) }, FormatChoice::Auto)
    }

    #[test]
    fn placeholders_get_their_values_from_flyways_configuration() {
        let text = "CREATE TABLE ${Schema}.a (b text DEFAULT '${x}'); -- ${flyway:filename} ${flyway:table} ${flyway:defaultSchema}";
        let values =
            [("flyway.placeholders.schema", "app"), ("flyway.placeholders.X", "it is"), ("flyway.schemas", "one, two")];
        let set = said(&[("V1__a.sql", text), ("R__b.sql", "SELECT '${x}'")], &values).unwrap();
        assert_eq!(
            set.migrations[0].text,
            "CREATE TABLE app.a (b text DEFAULT 'it is'); -- V1__a.sql flyway_schema_history one"
        );
        let statement = set.migrations[0].units[0].statements[0].of(&set.migrations[0].text);
        assert_eq!(statement, "CREATE TABLE app.a (b text DEFAULT 'it is')");
        // Of a version Flyway sums up the file, of a repeatable what it has made of it.
        assert_eq!(set.migrations[0].bookkeeping.value("checksum"), checksum(text));
        assert_eq!(set.migrations[1].bookkeeping.value("checksum"), checksum("SELECT 'it is'"));
        let standing =
            Flyway.standing(&set, &rows(&[("1", Some(checksum(text))), ("R b", Some(checksum("SELECT 'old'")))]));
        assert_eq!((standing.applied, standing.pending, standing.errors), (vec![0], vec![1], vec![]));
        let other =
            [("flyway.placeholderPrefix", "#["), ("flyway.placeholderSuffix", "]"), ("flyway.placeholders.x", "1")];
        let set = said(&[("V1__a.sql", "SELECT '${x}', #[x]")], &other).unwrap();
        assert_eq!(set.migrations[0].text, "SELECT '${x}', 1");
        let off = said(&[("V1__a.sql", "SELECT '${x}'")], &[("flyway.placeholderReplacement", "false")]).unwrap();
        assert_eq!(off.migrations[0].text, "SELECT '${x}'");
    }

    #[test]
    fn a_placeholder_without_a_value_is_named_at_its_place() {
        let failure = read(&[("V1__a.sql", "SELECT 1;\nCREATE SCHEMA ${name};")]).unwrap_err();
        assert_eq!(failure.code, Code::UnreadableMigration);
        assert!(failure.message.contains("`name`"), "{}", failure.message);
        assert_eq!(failure.place.map(|place| (place.line, place.column)), Some((2, 15)));
        for (text, values) in
            [("SELECT '${flyway:timestamp}'", [("a", "")]), ("SELECT '${x}'", [("flyway.placeholders.x", "${HOME}")])]
        {
            assert_eq!(said(&[("V1__a.sql", text)], &values).unwrap_err().code, Code::UnreadableMigration);
        }
        let conf = [("V1__a.sql", "SELECT '${x}'"), ("V1__a.sql.conf", "placeholderReplacement=false\n")];
        assert!(read(&conf).is_ok());
        let alone = [("V1__a.sql", "CALL p();"), ("V1__a.sql.conf", "executeInTransaction = false\n")];
        assert_ne!(read(&alone).unwrap().migrations[0].units[0].mode, UnitMode::Transaction);
    }
}
