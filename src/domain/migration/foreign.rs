//! Folders of tools that dbd recognises but does not read.
//!
//! Reading such a folder as plain SQL would apply again what its own tool has applied already, or run a file's way back
//! right after its way forward. So they are refused by name. A tool leaves this list when it gets a reader.

use super::{Folder, FormatReader, split::BOM};
use crate::domain::code::Code;
use crate::domain::failure::Failure;

/// Tools somebody may well name in the configuration.
pub(super) const NAMES: &[&str] = &["liquibase", "atlas", "diesel", "alembic", "knex", "rails"];

/// A tool, by what it leaves in the folder.
struct Foreign {
    name: &'static str,
    /// The path that gives it away.
    tell: fn(&Folder) -> Option<&str>,
    /// Whether its files are plain SQL as well, so that a person may say they are to be read as such.
    plain: bool,
}

const TOOLS: &[Foreign] = &[
    Foreign {
        name: "Liquibase",
        tell: |folder| marked(folder, &["--liquibase formatted", "-- liquibase formatted"]),
        plain: false,
    },
    Foreign { name: "Atlas", tell: |folder| named(folder, "atlas.sum"), plain: true },
    Foreign { name: "migrations written in a programming language", tell: program, plain: false },
];

/// Refuses a folder of a tool dbd does not read.
pub(super) fn refuse(folder: &Folder) -> Result<(), Failure> {
    let found = TOOLS.iter().find_map(|tool| (tool.tell)(folder).map(|path| (tool, path)));
    let Some((tool, path)) = found else { return Ok(()) };
    let file = folder.shown(path);
    let message = format!("{} looks like {}, which dbd cannot read: {file}", folder.whole(), tool.name);
    let failure =
        Failure::new(Code::UnsupportedFormat, message).hint("docs/guides/migrations.md lists the formats dbd reads");
    Err(if tool.plain {
        failure.hint("to run the files as plain SQL, tracked by dbd, write in dbd.toml: [migrations] format = \"sql\"")
    } else {
        failure
    })
}

/// Refuses a folder whose files do something else when read as plain SQL, even if a person asked for that.
pub(super) fn refuse_marked(folder: &Folder) -> Result<(), Failure> {
    let readers: [&dyn FormatReader; 2] = [&super::dbmate::Dbmate, &super::goose::Goose];
    let Some(reader) = readers.into_iter().find(|reader| reader.detect(folder)) else { return Ok(()) };
    let name = reader.name();
    let message =
        format!("{} holds files of {name}, which run backwards as well when read as plain SQL", folder.whole());
    Err(Failure::new(Code::UnsupportedFormat, message)
        .hint(format!("write in dbd.toml: [migrations] format = \"{name}\", or leave it at \"auto\"")))
}

fn named<'a>(folder: &'a Folder, name: &str) -> Option<&'a str> {
    folder.files.get_key_value(name).map(|(path, _)| path.as_str())
}

fn marked<'a>(folder: &'a Folder, marks: &[&str]) -> Option<&'a str> {
    let at_line_start = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        text.lines().any(|line| {
            let line = line.trim_start_matches(BOM).trim_start().to_ascii_lowercase();
            marks.iter().any(|mark| line.starts_with(mark))
        })
    };
    let mut files = folder.files.iter().filter(|(path, _)| !path.contains('/') && path.ends_with(".sql"));
    files.find(|(_, bytes)| at_line_start(bytes)).map(|(path, _)| path.as_str())
}

fn program(folder: &Folder) -> Option<&str> {
    if folder.files.keys().any(|path| path.ends_with(".sql")) {
        return None;
    }
    let endings = [".js", ".ts", ".mjs", ".cjs", ".mts", ".py", ".rb", ".php", ".go", ".java", ".kt", ".exs"];
    let numbered = |path: &str| path.starts_with(|c: char| c.is_ascii_digit());
    let mut files = folder.files.keys().filter(|path| numbered(path));
    files.find(|path| endings.iter().any(|ending| path.ends_with(ending))).map(String::as_str)
}
