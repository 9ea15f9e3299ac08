//! Files that hold both ways, parted by marks in comments: dbmate's `-- migrate:up` and goose's `-- +goose Up`.

use super::split::BOM;
use super::{Bookkeeping, Cut, Folder, Migration, MigrationSet, read_file};
use crate::domain::code::Code;
use crate::domain::failure::Failure;
use crate::domain::ids::MigrationId;
use std::ops::Range;

/// One line of a text: where it starts, and the line without its end and without a byte order mark.
pub(super) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    text.split_inclusive('\n').map(move |line| {
        let start = at;
        at += line.len();
        let bare = line.trim_end_matches(['\n', '\r']);
        match bare.strip_prefix(BOM) {
            Some(rest) if start == 0 => (BOM.len(), rest),
            _ => (start, bare),
        }
    })
}

/// The parts of a file: what is run forwards, and what backwards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) up: Vec<Range<usize>>,
    pub(super) down: Vec<Range<usize>>,
    pub(super) up_alone: bool,
    pub(super) down_alone: bool,
}

/// A file that was read, before it is turned into a migration.
pub(super) struct Source<'a> {
    pub(super) path: &'a str,
    pub(super) id: &'a str,
    pub(super) key: &'a str,
}

/// Reads files of marked parts, given in their order. `part` finds the parts of a text, or says where (a byte) and why
/// it cannot.
pub(super) fn read<'a>(
    folder: &Folder,
    set: &mut MigrationSet,
    sources: impl Iterator<Item = Source<'a>>,
    part: impl Fn(&str) -> Result<Parts, (usize, String)>,
) -> Result<(), Failure> {
    for Source { path, id, key } in sources {
        let text = folder.text(path)?;
        let parts = part(text).map_err(|(at, message)| {
            let (line, column) = super::split::line_and_column(text, at);
            let file = folder.shown(path);
            Failure::new(Code::UnreadableMigration, format!("{file} cannot be read: {message}"))
                .hint("the marks tell what runs forwards and what backwards; correct them")
                .at(file, line, column)
        })?;
        let up = Cut { pieces: Some(parts.up), no_transaction: parts.up_alone, ..Cut::default() };
        let down = Cut { pieces: Some(parts.down), no_transaction: parts.down_alone, ..Cut::default() };
        let file = read_file(folder, path, &up)?;
        set.warnings.extend(file.emptiness());
        let down = match read_file(folder, path, &down) {
            Ok(file) => (!file.units.is_empty()).then(|| file.into_down()),
            Err(failure) => {
                set.warnings.push(failure.hint("the way back is left out of account until it is corrected"));
                None
            }
        };
        set.migrations.push(file.into_migration(MigrationId::new(id), Bookkeeping::row(key, &[]), down));
    }
    Ok(())
}

/// The key of a migration's row.
pub(super) fn key(migration: &Migration) -> String {
    migration.bookkeeping.key().to_owned()
}
