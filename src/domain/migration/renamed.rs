//! Tracking tables that bear another name than their tool gives them.
//!
//! A reader writes its SQL for the usual name; here it is written for another one. Token by token, so that what a string or a comment says stays as
//! it is.

use super::{Bookkeeping, Folder, FormatReader, Migration, MigrationSet, Tracking, formats};
use crate::domain::code::Code;
use crate::domain::failure::Failure;
use crate::domain::sql::{is_comment, quote_ident, quote_literal, range, tokens};
use std::borrow::Cow;

/// A table's schema and name, as the catalog spells them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Name {
    schema: String,
    name: String,
}

impl Name {
    /// Reads `name`, `schema.name`, with or without double quotes.
    fn parse(text: &str, schema: &str) -> Option<Self> {
        let mut parts = vec![String::new()];
        let mut quoted = false;
        let mut chars = text.trim().chars().peekable();
        while let Some(c) = chars.next() {
            let last = parts.last_mut()?;
            match c {
                '"' if quoted && chars.peek() == Some(&'"') => last.extend(chars.next()),
                '"' => quoted = !quoted,
                '.' if !quoted => parts.push(String::new()),
                c => last.push(c),
            }
        }
        if quoted || parts.iter().any(String::is_empty) {
            return None;
        }
        match parts.as_slice() {
            [name] => Some(Self { schema: schema.to_owned(), name: name.clone() }),
            [schema, name] => Some(Self { schema: schema.clone(), name: name.clone() }),
            _ => None,
        }
    }

    fn sql(&self) -> String {
        format!("{}.{}", quote_ident(&self.schema), quote_ident(&self.name))
    }
}

/// The name a table of the usual name `usual` is to have, as SQL; `None` if it is the usual one.
///
/// # Errors
/// [`Code::BadValue`] for what is no name of a table.
pub fn other_name(said: &str, usual: &str) -> Result<Option<String>, Failure> {
    let usual = Name::parse(usual, "public");
    let schema = usual.as_ref().map_or("public", |usual| &usual.schema);
    let Some(wanted) = Name::parse(said, schema) else {
        return Err(Failure::new(Code::BadValue, format!("`{said}` is no name of a table"))
            .hint("write `table` or `schema.table`, with double quotes where PostgreSQL needs them"));
    };
    Ok((Some(&wanted) != usual.as_ref()).then(|| wanted.sql()))
}

/// The tag and the body of a string like `$$...$$`: of a reader's, the body of a `DO`.
fn dollar_quoted(word: &str) -> Option<(&str, &str)> {
    let tag = &word[..word.strip_prefix('$')?.find('$')? + 2];
    Some((tag, word.strip_prefix(tag)?.strip_suffix(tag)?))
}

/// The SQL of a reader, written for the table `to` instead of `from`.
pub(super) fn rename(sql: &str, from: &str, to: &str) -> String {
    let (Some(from), Some(to)) = (Name::parse(from, "public"), Name::parse(to, "public")) else {
        return sql.to_owned();
    };
    let Ok(all) = tokens(sql) else { return sql.to_owned() };
    let places: Vec<(usize, usize)> = all.iter().filter(|token| !is_comment(token)).map(range).collect();
    let text = |index: usize| places.get(index).map_or("", |(start, end)| &sql[*start..*end]);
    let literal = quote_literal(&from.sql());
    let mut made = String::with_capacity(sql.len());
    let (mut done, mut index) = (0, 0);
    while index < places.len() {
        let (start, mut end) = places[index];
        let word = text(index);
        let own = word.strip_prefix(from.name.as_str()).filter(|rest| rest.starts_with('_'));
        let replaced = if word == from.schema && text(index + 1) == "." && text(index + 2) == from.name {
            index += 2;
            end = places[index].1;
            Some(to.sql())
        } else if word == from.schema
            && (index > 0 && text(index - 1).eq_ignore_ascii_case("exists")
                || from.schema != "public" && text(index + 1) == ".")
        {
            // A schema of the tool's own goes as a whole, with all its tables.
            Some(quote_ident(&to.schema))
        } else if word == literal {
            Some(quote_literal(&to.sql()))
        } else if let Some((tag, body)) = dollar_quoted(word) {
            Some(format!("{tag}{}{tag}", rename(body, &from.sql(), &to.sql())))
        } else {
            // Its constraints and indexes.
            own.map(|rest| quote_ident(&format!("{}{rest}", to.name)))
        };
        if let Some(replaced) = replaced {
            made.push_str(&sql[done..start]);
            made.push_str(&replaced);
            done = end;
        }
        index += 1;
    }
    made.push_str(&sql[done..]);
    made
}

/// A table's schema and name, as the catalog spells them, out of its name as SQL.
pub(super) fn parts(table: &str) -> (String, String) {
    Name::parse(table, "public")
        .map_or_else(|| ("public".to_owned(), table.to_owned()), |name| (name.schema, name.name))
}

impl Tracking {
    /// The same table by another name, if it has one.
    #[must_use]
    pub fn named(mut self, other: Option<&str>) -> Self {
        let Some(other) = other else { return self };
        let usual = self.table.clone();
        self.read = rename(&self.read, &usual, other).into();
        self.create = rename(&self.create, &usual, other).into();
        let schema = |name: &str| Name::parse(name, "public").map_or_else(String::new, |name| name.schema);
        let (of_usual, of_other) = (schema(&usual), schema(other));
        if of_usual == "public" && of_other != of_usual {
            // `CREATE SCHEMA IF NOT EXISTS` asks for the privilege also where there is nothing to make.
            let make = format!(
                "DO $dbd$ BEGIN IF pg_catalog.to_regnamespace({literal}) IS NULL THEN CREATE SCHEMA {name}; END IF; END $dbd$;\n",
                literal = quote_literal(&quote_ident(&of_other)),
                name = quote_ident(&of_other)
            );
            self.create.to_mut().insert_str(0, &make);
        }
        self.table = Cow::Owned(other.to_owned());
        self
    }
}

impl Bookkeeping {
    /// The table the row goes into, where it is not the tool's usual one.
    pub(super) fn table(&self) -> Option<&str> {
        match self {
            Self::Dbd => None,
            Self::Drizzle { table, .. } => table.as_deref(),
            Self::Row { values, .. } => values.get(TABLE).map(String::as_str),
        }
    }

    fn set_table(&mut self, name: &str) {
        match self {
            Self::Dbd => {}
            Self::Drizzle { table, .. } => *table = Some(name.to_owned()),
            Self::Row { values, .. } => {
                values.insert(TABLE.to_owned(), name.to_owned());
            }
        }
    }
}

/// The value of a row that names its table.
const TABLE: &str = "tracking table";

/// The SQL of one migration's row, for the table it goes into.
pub(super) fn for_its_table(reader: &(impl FormatReader + ?Sized), migration: &Migration, sql: String) -> String {
    match migration.bookkeeping.table() {
        Some(other) => rename(&sql, &reader.tracking().table, other),
        None => sql,
    }
}

/// The table in which a folder's migrations are tracked, as SQL, where it is not the tool's usual one: as dbd's configuration says, else as the
/// tool's own does.
///
/// # Errors
/// [`Code::BadValue`] for what is no name of a table, or none that the tool's can have.
pub(super) fn table_of(reader: &dyn FormatReader, folder: &Folder) -> Result<Option<String>, Failure> {
    let said = match folder.table.clone() {
        Some(said) => Some(said),
        None => reader.table_said(folder)?,
    };
    let Some(said) = said else { return Ok(None) };
    let Some(other) = other_name(&said, &reader.tracking().table)? else { return Ok(None) };
    let message = || format!("the table that keeps track of {} migrations cannot be `{said}`", reader.name());
    let (_, usual) = parts(&reader.tracking().table);
    match reader.renaming() {
        Renaming::Never => Err(Failure::new(Code::BadValue, message())
            .hint(format!("it is always {}: take `table` out of [migrations]", reader.tracking().table))),
        Renaming::Schema if parts(&other).1 != usual => Err(Failure::new(Code::BadValue, message())
            .hint(format!("only its schema can be another one: write `{said}.{usual}`"))),
        Renaming::Table if !tables_beside(&other).is_empty() => {
            Err(Failure::new(Code::BadValue, message()).hint("that is what Sqitch calls its own; name it otherwise"))
        }
        _ => Ok(Some(other)),
    }
}

/// What of a tool's tracking table may have another name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renaming {
    /// Nothing.
    Never,
    /// Table and schema.
    Table,
    /// The schema, with every table that the tool keeps in it.
    Schema,
}

/// The other tables that a tool keeps beside its tracking table, schema-qualified; `tracking` may be a renamed one.
#[must_use]
pub fn tables_beside(tracking: &str) -> Vec<String> {
    let (schema, name) = parts(tracking);
    let of_tool = |one: &Tracking| !one.more.is_empty() && parts(&one.table).1 == name;
    let beside = formats().iter().map(|format| format.tracking()).filter(of_tool).flat_map(|one| one.more.iter());
    beside.map(|table| Name { schema: schema.clone(), name: parts(table).1 }.sql()).collect()
}

impl MigrationSet {
    /// The table that keeps track of the set.
    #[must_use]
    pub fn tracking(&self) -> Tracking {
        self.format.reader().tracking().named(self.table.as_deref())
    }

    /// Has the set tracked where the configuration says, dbd's before the tool's own.
    pub(super) fn tracked(mut self, folder: &Folder) -> Result<Self, Failure> {
        let reader = self.format.reader();
        let Some(other) = table_of(reader, folder)? else { return Ok(self) };
        for migration in &mut self.migrations {
            migration.bookkeeping.set_table(&other);
        }
        self.table = Some(other);
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::folder;
    use super::super::{Format, FormatChoice, formats, read_folder, split};
    use super::*;
    use crate::domain::ids::RunId;

    #[test]
    fn a_name_is_read_as_postgresql_would_write_it() {
        let usual = "public.flyway_schema_history";
        for (said, expected) in [
            ("flyway_schema_history", None),
            ("public.flyway_schema_history", None),
            ("history", Some("public.history")),
            ("app.history", Some("app.history")),
            ("App.\"The.History\"", Some("\"App\".\"The.History\"")),
        ] {
            assert_eq!(other_name(said, usual).unwrap().as_deref(), expected, "{said}");
        }
        for bad in ["", "a.b.c", "a.", "\"a"] {
            assert_eq!(other_name(bad, usual).unwrap_err().code, Code::BadValue, "{bad}");
        }
    }

    #[test]
    fn sql_is_written_for_the_other_table_and_strings_stay_as_they_are() {
        let sql = "INSERT INTO public.h (a) SELECT 'public.h is a name', max(public.h.a) FROM public.h; -- public.h\nCREATE INDEX h_idx ON public.h (a)";
        assert_eq!(
            rename(sql, "public.h", "app.\"The H\""),
            "INSERT INTO app.\"The H\" (a) SELECT 'public.h is a name', max(app.\"The H\".a) FROM app.\"The H\"; -- public.h\nCREATE INDEX \"The H_idx\" ON app.\"The H\" (a)"
        );
        assert_eq!(rename("SELECT 'public.h'", "public.h", "app.j"), "SELECT 'app.j'");
    }

    #[test]
    fn every_format_that_may_be_renamed_is_renamed_whole() {
        let run = RunId::parse("deploy-dev-1").unwrap();
        let journal =
            r#"{"version": "7", "dialect": "postgresql", "entries": [{"idx": 0, "when": 1, "tag": "0000_a"}]}"#;
        for (format, files) in [
            (Format::Drizzle, &[("meta/_journal.json", journal), ("0000_a.sql", "SELECT 1")][..]),
            (
                Format::Drizzle1,
                &[("20240101000000_a/migration.sql", "SELECT 1"), ("20240101000000_a/snapshot.json", "")],
            ),
            (Format::Prisma, &[("20240101000000_a/migration.sql", "SELECT 1")]),
            (Format::Flyway, &[("V1__a.sql", "SELECT 1")]),
            (Format::Sqlx, &[("1_a.sql", "SELECT 1")]),
            (Format::Dbmate, &[("1_a.sql", "-- migrate:up\nSELECT 1;\n")]),
            (Format::Goose, &[("1_a.sql", "-- +goose Up\nSELECT 1;\n")]),
            (Format::GolangMigrate, &[("1_a.up.sql", "SELECT 1")]),
            (Format::Refinery, &[("V1__a.sql", "SELECT 1")]),
        ] {
            let folder = Folder { table: Some("app.\"My Track\"".to_owned()), ..folder(files) };
            let set = read_folder(&folder, FormatChoice::Given(format)).unwrap();
            let reader = format.reader();
            let usual = reader.tracking().table;
            let tracking = set.tracking();
            assert_eq!(tracking.table, "app.\"My Track\"", "{format:?}");
            let one = &set.migrations[0];
            let (record, forget) = (reader.record_sql(one, &one.text, &run), reader.delete_sql(one));
            for sql in [&*tracking.create, &tracking.read, &record, &forget] {
                assert!(split(sql).is_ok(), "{format:?}: {sql}");
                assert!(sql.contains("app.\"My Track\""), "{format:?}: {sql}");
                assert!(!sql.contains(&*usual), "{format:?}: {sql}");
            }
        }
        for format in formats().iter().filter(|format| format.renaming() != Renaming::Table) {
            assert!(matches!(format.format(), Format::Sql | Format::Sqitch), "{}", format.name());
        }
        let folder = Folder { table: Some("mine".to_owned()), ..folder(&[("1_a.sql", "SELECT 1")]) };
        assert_eq!(read_folder(&folder, FormatChoice::Auto).unwrap_err().code, Code::BadValue);
    }

    #[test]
    fn sqitchs_registry_is_renamed_with_every_table_in_it() {
        let plan = "%project=p\na 2013-12-30T23:19:37Z M <m@e>\n@v1 2013-12-30T23:20:37Z M <m@e>\n";
        let files = [("sqitch.plan", plan), ("deploy/a.sql", "SELECT 'sqitch.changes'")];
        let set =
            |table: &str| read_folder(&Folder { table: Some(table.to_owned()), ..folder(&files) }, FormatChoice::Auto);
        let renamed = set("our.changes").unwrap();
        let (reader, one) = (renamed.format.reader(), &renamed.migrations[0]);
        let record = reader.record_sql(one, &one.text, &RunId::parse("deploy-dev-1").unwrap());
        let tracking = renamed.tracking();
        for sql in [&*tracking.create, &tracking.read, &record, &reader.delete_sql(one)] {
            assert!(split(sql).is_ok() && sql.contains("our.changes"), "{sql}");
            assert!(!sql.replace("''sqitch.changes''", "").contains("sqitch."), "{sql}");
        }
        assert!(tracking.create.contains("EXISTS our;") && record.contains("our.events"), "{}", tracking.create);
        assert!(tables_beside(&tracking.table).contains(&"our.tags".to_owned()));
        assert_eq!(tables_beside("our.schema_migrations"), [""; 0]);
        assert!(set("our").unwrap_err().hints[0].contains("`our.changes`"));
        // Whoever else has a table of that name would have tables of his own taken for Sqitch's.
        let goose =
            Folder { table: Some("app.changes".to_owned()), ..folder(&[("1_a.sql", "-- +goose Up\nSELECT 1;\n")]) };
        assert_eq!(read_folder(&goose, FormatChoice::Auto).unwrap_err().code, Code::BadValue);
    }

    #[test]
    fn the_registry_is_found_in_sqitchs_own_configuration() {
        let plan = ("sqitch.plan", "%project=p\na 2013-12-30T23:19:37Z M <m@e>\n");
        let table = |conf: &str, said: bool| {
            let mut folder = folder(&[plan, ("deploy/a.sql", "SELECT 1")]);
            match said {
                true => folder.said.insert("sqitch.conf".to_owned(), conf.to_owned()).map(|_| ()),
                false => folder.files.insert("sqitch.conf".to_owned(), conf.into()).map(|_| ()),
            };
            read_folder(&folder, FormatChoice::Auto).map(|set| set.tracking().table.into_owned())
        };
        let engine = "[core]\n\tengine = pg\n[engine \"pg\"]\n\tregistry = \"Our own\" # here\n\ttarget = prod\n";
        assert_eq!(table(engine, true).unwrap(), "\"Our own\".changes");
        assert_eq!(table(engine, false).unwrap(), "\"Our own\".changes");
        assert_eq!(table("[engine \"mysql\"]\nregistry = x\n; registry = y\n", true).unwrap(), "sqitch.changes");
        let targets = "[target \"dev\"]\n\turi = db:pg:a\n\tregistry = r\n[target \"prod\"]\n\turi = db:pg:b\n";
        assert!(table(targets, true).unwrap_err().message.contains("prod"));
        assert_eq!(table(&format!("{targets}\tregistry = r\n"), true).unwrap(), "r.changes");
    }

    #[test]
    fn what_the_tools_own_configuration_says_counts_unless_dbds_says_otherwise() {
        let mut folder = folder(&[("V1__a.sql", "SELECT 1")]);
        folder.said.insert("flyway.table".to_owned(), "history".to_owned());
        assert_eq!(read_folder(&folder, FormatChoice::Auto).unwrap().tracking().table, "public.history");
        folder.said.insert("flyway.schemas".to_owned(), "app,other".to_owned());
        assert_eq!(read_folder(&folder, FormatChoice::Auto).unwrap().tracking().table, "app.history");
        folder.table = Some("public.flyway_schema_history".to_owned());
        let set = read_folder(&folder, FormatChoice::Auto).unwrap();
        assert_eq!((set.tracking().table.as_ref(), set.table), ("public.flyway_schema_history", None));
    }
}
