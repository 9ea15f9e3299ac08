//! dbmate: `20240131120000_name.sql` with `-- migrate:up` and `-- migrate:down`, tracked by version in
//! `schema_migrations`.
//!
//! dbmate takes no lock, so two of them at once apply a migration twice; and it keeps no checksum, so it never notices an
//! edit. dbd does both beside it.

use super::marks::{self, Parts, Source};
use super::{
    AppliedRow, Folder, Format, FormatReader, Migration, MigrationSet, NewFile, NewName, ProofsIn, Standing, Tracking,
    doubled, passed_over, standing, top_level,
};
use crate::domain::failure::Failure;
use crate::domain::ids::RunId;
use crate::domain::sql::quote_literal;
use std::borrow::Cow;

/// The reader of dbmate.
pub(super) struct Dbmate;

impl FormatReader for Dbmate {
    fn format(&self) -> Format {
        Format::Dbmate
    }

    fn name(&self) -> &'static str {
        "dbmate"
    }

    fn detect(&self, folder: &Folder) -> bool {
        top_level(folder).any(|path| {
            let text = String::from_utf8_lossy(&folder.files[path]);
            marks::lines(&text).any(|(_, line)| mark(line).is_some())
        })
    }

    fn read(&self, folder: &Folder) -> Result<MigrationSet, Failure> {
        let mut set = MigrationSet::empty(Format::Dbmate, folder);
        let mut sources: Vec<Source<'_>> = Vec::new();
        // dbmate orders by the whole name; the keys of a map are in that order.
        for path in top_level(folder) {
            match version(path) {
                Some(version) => {
                    if let Some(other) = sources.iter().find(|other| other.key == version) {
                        return Err(doubled(folder, other.path, path));
                    }
                    sources.push(Source { path, id: &path[..path.len() - ".sql".len()], key: version });
                }
                None => set.warnings.push(passed_over(folder, path, "20240131120000_name.sql")),
            }
        }
        marks::read(folder, &mut set, sources.into_iter(), parts)?;
        Ok(set)
    }

    fn table_said(&self, folder: &Folder) -> Result<Option<String>, Failure> {
        Ok(folder.said.get("dbmate.table").cloned())
    }

    fn tracking(&self) -> Tracking {
        Tracking {
            table: Cow::Borrowed("public.schema_migrations"),
            more: &[],
            columns: &["version"],
            create: Cow::Borrowed(
                "CREATE TABLE IF NOT EXISTS public.schema_migrations (version varchar(128) PRIMARY KEY);",
            ),
            read: Cow::Borrowed(
                "SELECT version::text, NULL::text, NULL::text, NULL::text, NULL::text FROM public.schema_migrations",
            ),
            // dbmate takes none.
            proofs: ProofsIn::Beside,
            lock: None,
        }
    }

    fn key(&self, migration: &Migration) -> String {
        marks::key(migration)
    }

    fn insert_row_sql(&self, migration: &Migration, _run: &RunId) -> String {
        let version = quote_literal(migration.bookkeeping.key());
        format!("INSERT INTO public.schema_migrations (version) VALUES ({version})")
    }

    fn delete_row_sql(&self, migration: &Migration) -> String {
        format!("DELETE FROM public.schema_migrations WHERE version = {}", quote_literal(migration.bookkeeping.key()))
    }

    fn standing(&self, set: &MigrationSet, rows: &[AppliedRow]) -> Standing {
        standing::by_key(set, rows, marks::key)
    }

    fn new_files(&self, _folder: &Folder, ids: &[&str], name: NewName<'_>) -> Result<Vec<NewFile>, Failure> {
        let path = format!("{}_{}.sql", name.stamp(ids.iter().copied()), name.slug);
        Ok(vec![NewFile::made(path, "-- migrate:up\n\n\n-- migrate:down\n\n")])
    }
}

/// The digits in front of a file's name.
fn version(path: &str) -> Option<&str> {
    let end = path.bytes().take_while(u8::is_ascii_digit).count();
    (end > 0 && path.ends_with(".sql")).then_some(&path[..end])
}

/// A mark: whether it begins the way forward, and the options behind it.
fn mark(line: &str) -> Option<(bool, &str)> {
    let rest = line.strip_prefix("--")?.trim_start().strip_prefix("migrate:")?;
    let (up, options) = match (rest.strip_prefix("up"), rest.strip_prefix("down")) {
        (Some(options), _) => (true, options),
        (None, Some(options)) => (false, options),
        (None, None) => return None,
    };
    (options.is_empty() || options.starts_with(char::is_whitespace)).then_some((up, options.trim()))
}

fn parts(text: &str) -> Result<Parts, (usize, String)> {
    let mut parts = Parts::default();
    let mut open: Option<(bool, usize)> = None;
    let close = |parts: &mut Parts, open: Option<(bool, usize)>, end: usize| match open {
        Some((true, start)) => parts.up.push(start..end),
        Some((false, start)) => parts.down.push(start..end),
        None => {}
    };
    for (at, line) in marks::lines(text) {
        let Some((up, options)) = mark(line) else {
            let bare = line.trim();
            if open.is_none() && !bare.is_empty() && !bare.starts_with("--") {
                return Err((at, "there is SQL before `-- migrate:up`, which dbmate does not accept".to_owned()));
            }
            continue;
        };
        close(&mut parts, open, at);
        let taken = if up { &parts.up } else { &parts.down };
        if !taken.is_empty() {
            return Err((at, format!("it has two `-- migrate:{}`", if up { "up" } else { "down" })));
        }
        let alone = match options.split_whitespace().collect::<Vec<_>>().as_slice() {
            [] | ["transaction:true"] => false,
            ["transaction:false"] => true,
            _ => return Err((at, format!("dbmate knows no option `{options}`"))),
        };
        if up {
            parts.up_alone = alone
        } else {
            parts.down_alone = alone
        }
        open = Some((up, at));
    }
    close(&mut parts, open, text.len());
    if parts.up.is_empty() {
        return Err((0, "it has no `-- migrate:up`".to_owned()));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{folder, rows};
    use super::super::{FormatChoice, UnitMode, read_folder};
    use super::*;
    use crate::domain::code::Code;

    fn read(files: &[(&str, &str)]) -> Result<MigrationSet, Failure> {
        read_folder(&folder(files), FormatChoice::Given(Format::Dbmate))
    }

    #[test]
    fn a_file_holds_both_ways() {
        let text =
            "-- migrate:up\ncreate table a (b int);\ninsert into a values (1);\n\n-- migrate:down\ndrop table a;\n";
        let set = read(&[("20240101000000_a.sql", text), ("2_late.sql", "-- migrate:up\nselect 1")]).unwrap();
        let ids: Vec<&str> = set.migrations.iter().map(|one| one.id.as_str()).collect();
        // dbmate compares the names as text.
        assert_eq!(ids, ["20240101000000_a", "2_late"]);
        let one = &set.migrations[0];
        let spans: Vec<&str> = one.units[0].statements.iter().map(|span| span.of(text)).collect();
        assert_eq!(spans, ["create table a (b int)", "insert into a values (1)"]);
        let down = one.down.as_ref().unwrap();
        assert_eq!(down.units[0].statements[0].of(&down.text), "drop table a");
        assert_eq!(down.units[0].statements[0].line, 6);
        assert_eq!(
            Dbmate.insert_row_sql(one, &RunId::parse("deploy-dev-1").unwrap()),
            "INSERT INTO public.schema_migrations (version) VALUES ('20240101000000')"
        );
        assert_eq!(Dbmate.standing(&set, &rows(&[("2", None)])).pending, [0]);
    }

    #[test]
    fn without_a_transaction_what_needs_none_runs_alone() {
        let text =
            "-- migrate:up transaction:false\ncreate index concurrently i on a (b);\ncall p();\n-- migrate:down\n";
        let set = read(&[("1_a.sql", text)]).unwrap();
        assert!(set.migrations[0].units.iter().all(|unit| unit.mode != UnitMode::Transaction));
        assert_eq!(set.migrations[0].units.len(), 2);
        assert_eq!(set.migrations[0].down, None);
    }

    #[test]
    fn marks_that_dbmate_would_not_understand_are_refused_at_their_place() {
        for (text, line) in [
            ("select 1;\n-- migrate:up\n", 1),
            ("-- migrate:up\n-- migrate:up\n", 2),
            ("-- migrate:up transaction:maybe\n", 1),
            ("-- migrate:down\nselect 1;\n", 1),
        ] {
            let failure = read(&[("1_a.sql", text)]).unwrap_err();
            assert_eq!(failure.code, Code::UnreadableMigration, "{text}");
            assert_eq!(failure.place.map(|place| place.line), Some(line), "{text}");
        }
        assert_eq!(
            read(&[("1_a.sql", "-- migrate:up\n"), ("1_b.sql", "")]).unwrap_err().code,
            Code::DuplicateMigration
        );
    }
}
