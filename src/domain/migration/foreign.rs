//! Folders of tools that dbd recognises but does not read yet.
//!
//! Reading such a folder as plain SQL would apply again what its own tool has applied already, or run a file's way back
//! right after its way forward. So they are refused by name. A tool leaves this list when it gets a reader.

use super::{Folder, split::BOM};
use crate::domain::code::Code;
use crate::domain::failure::Failure;

/// The words of the configuration for formats that are planned.
pub(super) const NAMES: &[&str] =
    &["prisma", "flyway", "sqlx", "dbmate", "goose", "golang-migrate", "refinery", "sqitch", "liquibase", "atlas"];

/// A tool, by what it leaves in the folder.
struct Foreign {
    name: &'static str,
    /// The path that gives it away.
    tell: fn(&Folder) -> Option<&str>,
    /// Whether its files are plain SQL as well, so that a person may say they are to be read as such.
    plain: bool,
}

const TOOLS: &[Foreign] = &[
    Foreign { name: "Prisma", tell: |folder| named(folder, "migration_lock.toml"), plain: false },
    Foreign { name: "Drizzle 1.x", tell: drizzle_1, plain: false },
    Foreign {
        name: "Prisma",
        tell: |folder| folder.files.keys().find(|path| stamped_folder(path)).map(String::as_str),
        plain: false,
    },
    Foreign { name: "Sqitch", tell: |folder| named(folder, "sqitch.plan"), plain: false },
    Foreign { name: "dbmate", tell: |folder| marked(folder, &["-- migrate:up", "--migrate:up"]), plain: false },
    Foreign { name: "goose", tell: |folder| marked(folder, &["-- +goose", "--+goose"]), plain: false },
    Foreign {
        name: "Liquibase",
        tell: |folder| marked(folder, &["--liquibase formatted", "-- liquibase formatted"]),
        plain: false,
    },
    Foreign { name: "Atlas", tell: |folder| named(folder, "atlas.sum"), plain: true },
    Foreign { name: "Flyway or refinery", tell: flyway, plain: true },
    Foreign { name: "migrations written in a programming language", tell: program, plain: false },
];

/// Refuses a folder of a tool dbd does not read.
pub(super) fn refuse(folder: &Folder) -> Result<(), Failure> {
    refuse_any(folder, |_| true)
}

/// Refuses a folder whose files do something else when read as plain SQL, even if a person asked for that.
pub(super) fn refuse_marked(folder: &Folder) -> Result<(), Failure> {
    refuse_any(folder, |tool| ["dbmate", "goose"].contains(&tool.name))
}

fn refuse_any(folder: &Folder, counts: impl Fn(&Foreign) -> bool) -> Result<(), Failure> {
    let found = TOOLS.iter().filter(|tool| counts(tool)).find_map(|tool| (tool.tell)(folder).map(|path| (tool, path)));
    let Some((tool, path)) = found else { return Ok(()) };
    let file = folder.shown(path);
    let message = format!("{} looks like {}, which dbd cannot read yet: {file}", folder.whole(), tool.name);
    let failure = Failure::new(Code::UnsupportedFormat, message).hint("dbd reads plain SQL files and Drizzle 0.x");
    Err(if tool.plain {
        failure.hint("to run the files as plain SQL, tracked by dbd, write in dbd.toml: [migrations] format = \"sql\"")
    } else {
        failure
    })
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

/// `20240131120000_name/migration.sql`, as Prisma and Drizzle 1.x both have it.
fn stamped_folder(path: &str) -> bool {
    let Some((folder, "migration.sql")) = path.split_once('/') else { return false };
    folder.starts_with(|c: char| c.is_ascii_digit())
}

fn drizzle_1(folder: &Folder) -> Option<&str> {
    let beside = |path: &str| path.replace("migration.sql", "snapshot.json");
    let mut stamped = folder.files.keys().filter(|path| stamped_folder(path));
    stamped.find(|path| folder.files.contains_key(&beside(path))).map(String::as_str)
}

/// `V1__name.sql`, `U1__name.sql`, `B1__name.sql`, `R__name.sql`.
fn flyway(folder: &Folder) -> Option<&str> {
    let matches = |path: &&String| {
        let name = path.rsplit('/').next().unwrap_or(path);
        let Some((head, _)) = name.split_once("__") else { return false };
        let mut head = head.chars();
        let kind = head.next();
        let mut version = head.as_str().chars();
        let numbered = version.clone().next().is_some_and(|c| c.is_ascii_digit())
            && version.all(|c| c.is_ascii_digit() || c == '.' || c == '_');
        name.ends_with(".sql")
            && match kind {
                Some('V' | 'U' | 'B') => numbered,
                Some('R') => head.as_str().is_empty(),
                _ => false,
            }
    };
    folder.files.keys().find(matches).map(String::as_str)
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
