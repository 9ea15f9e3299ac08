//! `format = "command"`: the user's own tool does the migrating, for folders that cannot be read.
//!
//! There is one migration, the command, and it is always pending: what it finds to do, only it knows. It is run on the
//! sandbox first, and the schema it leaves there is the one it has to leave on the target.

use super::{
    AloneProbe, AppliedRow, Bookkeeping, Entry, Folder, Format, FormatReader, Migration, MigrationSet, NewFile,
    NewName, Renaming, Span, Standing, Tracking, Unit, UnitMode, sql, standing,
};
use crate::domain::code::Code;
use crate::domain::digest::Digest;
use crate::domain::failure::Failure;
use crate::domain::ids::{MigrationId, RunId};

/// The reader of no folder.
pub(super) struct Command;

impl MigrationSet {
    /// The set of one: a command of the user's, as it stands in the configuration.
    #[must_use]
    pub fn of_command(command: &str) -> Self {
        let statement = Span { start: 0, len: command.len(), line: 1 };
        let mode = UnitMode::Alone { probe: AloneProbe::UserCommand };
        let migration = Migration {
            id: MigrationId::new("command"),
            file: "migrations.command".to_owned(),
            digest: Digest::of(command),
            text: command.to_owned(),
            units: vec![Unit { mode, statements: vec![statement] }],
            bookkeeping: Bookkeeping::row("command", &[]),
            down: None,
        };
        Self {
            format: Format::Command,
            dir: "a command".to_owned(),
            migrations: vec![migration],
            table: None,
            warnings: Vec::new(),
        }
    }
}

impl FormatReader for Command {
    fn format(&self) -> Format {
        Format::Command
    }

    fn name(&self) -> &'static str {
        "command"
    }

    fn detect(&self, _folder: &Folder) -> bool {
        false
    }

    fn read(&self, _folder: &Folder) -> Result<MigrationSet, Failure> {
        Err(Failure::new(Code::BadValue, "the format \"command\" reads no folder").hint("set migrations.command"))
    }

    fn renaming(&self) -> Renaming {
        Renaming::Never
    }

    fn tracking(&self) -> Tracking {
        // The tool keeps a table of its own, which is a part of the schema it makes.
        sql::Sql.tracking()
    }

    fn key(&self, migration: &Migration) -> String {
        migration.bookkeeping.key().to_owned()
    }

    fn insert_row_sql(&self, _migration: &Migration, _run: &RunId) -> String {
        String::new()
    }

    fn delete_row_sql(&self, _migration: &Migration) -> String {
        String::new()
    }

    fn forget_sql(&self, _migration: &Migration) -> Vec<String> {
        Vec::new()
    }

    fn record_sql(&self, _migration: &Migration, _text: &str, _run: &RunId) -> String {
        String::new()
    }

    fn standing(&self, set: &MigrationSet, _rows: &[AppliedRow]) -> Standing {
        standing::conclude(set, vec![Entry::PENDING; set.migrations.len()], Vec::new())
    }

    fn new_files(&self, _folder: &Folder, _ids: &[&str], _name: NewName<'_>) -> Result<Vec<NewFile>, Failure> {
        Err(Failure::new(Code::UnsupportedFormat, "the migrations are a command's, and only its tool can make one")
            .hint("make it with that tool; dbd runs the command"))
    }
}

/// Tables in which tools that are run as a command keep track, beside those of the formats that are read: their names are nobody else's.
const TRACKING: &[&str] = &[
    "__efmigrationshistory",
    "__mikro_orm_migrations",
    "alembic_version",
    "ar_internal_metadata",
    "databasechangelog",
    "databasechangeloglock",
    "django_migrations",
    "knex_migrations",
    "knex_migrations_lock",
    "kysely_migration",
    "kysely_migration_lock",
    "mikro_orm_migrations",
    "pgmigrations",
    "sequelizemeta",
];

/// Whether a table, as SQL writes it, is one in which a migration tool keeps track.
#[must_use]
pub fn keeps_track(table: &str) -> bool {
    let table = table.replace('"', "").to_ascii_lowercase();
    let name = table.rsplit('.').next().unwrap_or(&table);
    // One in a schema of its own is not known by its name alone.
    let usual = |usual: &str| match usual.replace('"', "").strip_prefix("public.").unwrap_or(usual) {
        usual if usual.contains('.') => usual == table,
        usual => usual == name,
    };
    TRACKING.contains(&name) || super::formats().iter().any(|format| usual(format.usual_table()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_of_tools_are_known_and_nobody_elses() {
        for table in
            ["public._prisma_migrations", "app.schema_migrations", "public.\"SequelizeMeta\"", "knex_migrations"]
        {
            assert!(keeps_track(table), "{table}");
        }
        for table in ["public.orders", "public.changes", "public.migration", "schema_migrations.orders"] {
            assert!(!keeps_track(table), "{table}");
        }
    }

    #[test]
    fn a_command_is_one_migration_that_is_always_pending() {
        let set = MigrationSet::of_command("npm run db:migrate");
        let standing = Command.standing(&set, &[]);
        assert_eq!((standing.applied, standing.pending), (vec![], vec![0]));
        let one = &set.migrations[0];
        assert_eq!(one.units[0].statements[0].of(&one.text), "npm run db:migrate");
        assert_eq!(one.digest, Digest::of("npm run db:migrate"));
    }
}
