//! Hazards: what a migration will do to a live database, judged from its text, from a catalog, from having run it.
//!
//! A text becomes statements and [`act`]s ([`read`]); what is known of the database is a value ([`facts`]), be it the folder's own earlier
//! statements or a catalog; each hazard is a file under [`rules`] that looks at one act at a time ([`judge`]). What a rehearsal saw
//! comes last and has the last word ([`observed`]). Pure throughout.

pub mod act;
mod block;
mod builtin;
mod expr;
pub mod facts;
pub mod fix;
pub mod judge;
pub mod observed;
pub mod read;
pub mod rules;
#[cfg(test)]
mod tests;
pub mod types;
pub mod waive;

use super::finding::Severity;
use act::{Act, Statement};
use facts::{Facts, Rel, Size, Target};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::LazyLock;

/// What is dangerous about a statement on a live database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Danger {
    /// The table's file is written anew while nobody can read it.
    Rewrite,
    /// Every row is read while nobody can read or write the table.
    ScanUnderAccessExclusive,
    /// An index is built while nobody can write to its table.
    IndexBuildBlocksWrites,
    /// A foreign key is checked while nobody can write to either table.
    FkValidationBlocksWrites,
    /// Something takes its time while an earlier statement's lock keeps everybody out.
    StatementWhileHoldingAccessExclusive,
    /// The statement fails.
    Fails,
}

impl Danger {
    /// Every danger.
    pub const ALL: &'static [Self] = &[
        Self::Rewrite,
        Self::ScanUnderAccessExclusive,
        Self::IndexBuildBlocksWrites,
        Self::FkValidationBlocksWrites,
        Self::StatementWhileHoldingAccessExclusive,
        Self::Fails,
    ];

    /// Its word in every machine format.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rewrite => "rewrite",
            Self::ScanUnderAccessExclusive => "scan_under_access_exclusive",
            Self::IndexBuildBlocksWrites => "index_build_blocks_writes",
            Self::FkValidationBlocksWrites => "fk_validation_blocks_writes",
            Self::StatementWhileHoldingAccessExclusive => "statement_while_holding_access_exclusive",
            Self::Fails => "fails",
        }
    }

    /// The danger of that word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|danger| danger.as_str() == word)
    }
}

/// How a finding is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// From the text.
    Text,
    /// From the catalog of the database it will meet.
    Catalog,
    /// From having run it.
    Observed,
}

impl Basis {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Catalog => "catalog",
            Self::Observed => "observed",
        }
    }
}

/// What a hazard is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Who has to wait, and for how long.
    Locks,
    /// What breaks the application that is still running, or loses data.
    Clients,
    /// What keeps the migration from running.
    Running,
    /// Taste. Only on request.
    Style,
}

/// One kind of hazard: all that is known about it, in one value.
pub struct Hazard {
    /// Its code: what findings, waivers and pages call it.
    pub code: &'static str,
    /// What it is, as a headline.
    pub title: &'static str,
    /// What it is about.
    pub group: Group,
    /// What happens.
    pub does: &'static str,
    /// The lock that is taken, as `pg_locks` names it.
    pub lock: Option<&'static str>,
    /// What is dangerous about it.
    pub danger: Option<Danger>,
    /// What both scripts start from.
    pub setup: &'static str,
    /// A script that has it.
    pub bad: &'static str,
    /// A script that comes to the same without it; several migrations are parted by a line `-- next migration`.
    pub good: &'static str,
    /// The way out, in words.
    pub way_out: &'static str,
    /// Where the claim comes from.
    pub source: &'static str,
    /// Looks for it.
    pub judge: fn(&Case<'_>, &mut Found),
}

/// What a rule looks at: one act, what is known before it, and where it stands.
pub struct Case<'a> {
    /// The act.
    pub act: &'a Act,
    /// What is known before it.
    pub facts: &'a Facts,
    /// Where it stands.
    pub scene: &'a Scene,
    /// The statements of the migration after this one.
    pub later: &'a [Statement],
}

/// Where an act stands: what its transaction holds already.
#[derive(Clone, Debug, Default)]
pub struct Scene {
    /// Whether the file's own BEGIN is open.
    pub in_block: bool,
    /// Whether it stands in a DO block or a function.
    pub nested: bool,
    /// The tables an earlier statement of the transaction keeps everybody out of.
    pub exclusive: BTreeSet<Rel>,
    /// The constraints added NOT VALID in the transaction.
    pub not_valid: BTreeSet<(Rel, String)>,
    /// The enum values added in the transaction.
    pub enum_values: BTreeSet<String>,
    /// The tables that earlier statements of the migration scanned or rewrote.
    pub worked: BTreeSet<Rel>,
}

/// One thing a rule found.
#[derive(Clone)]
pub struct Hit {
    /// What kind.
    pub hazard: &'static Hazard,
    /// The object.
    pub object: String,
    /// The relation that the danger is to.
    pub rel: Option<Rel>,
    /// How much it weighs.
    pub severity: Severity,
    /// What was found, in a sentence.
    pub message: String,
    /// What is dangerous about it.
    pub danger: Option<Danger>,
    /// How big the table is.
    pub size: Size,
}

/// What the rules found for one act.
#[derive(Default)]
pub struct Found {
    /// The hits, in the order of the rules.
    pub hits: Vec<Hit>,
}

impl Found {
    /// Work on every row of a table that was there before; it weighs as much as the table.
    pub fn heavy(&mut self, hazard: &'static Hazard, target: &Target<'_>, message: impl Display) {
        self.heavy_as(hazard, hazard.danger, target, message);
    }

    /// As [`Found::heavy`], with a danger of its own.
    pub fn heavy_as(
        &mut self,
        hazard: &'static Hazard,
        danger: Option<Danger>,
        target: &Target<'_>,
        message: impl Display,
    ) {
        if target.live {
            self.hits.push(Hit {
                hazard,
                object: target.rel.to_string(),
                rel: Some(target.rel.clone()),
                severity: weigh(target.size),
                message: format!("{message}{}", estimate(danger, target.size)),
                danger,
                size: target.size,
            });
        }
    }

    /// A lock that is held only for a moment: worth knowing, and more on a big table, where more wait.
    pub fn brief(&mut self, hazard: &'static Hazard, target: &Target<'_>, message: impl Display) {
        if target.existed {
            let severity = match weigh(target.size) {
                Severity::Error => Severity::Warning,
                _ => Severity::Info,
            };
            self.fixed(hazard, severity, &target.rel, message);
        }
    }

    /// What weighs the same however big the table is.
    pub fn fixed(&mut self, hazard: &'static Hazard, severity: Severity, object: impl Display, message: impl Display) {
        self.hits.push(Hit {
            hazard,
            object: object.to_string(),
            rel: None,
            severity,
            message: message.to_string(),
            danger: hazard.danger,
            size: Size::default(),
        });
    }
}

/// At most so many rows and bytes are worked through before anybody notices.
const SMALL: (u64, u64) = (10_000, 16 * 1024 * 1024);

/// From so many rows or bytes on, people would be kept waiting for minutes.
const LARGE: (u64, u64) = (10_000_000, 1024 * 1024 * 1024);

/// What work on every row of a table weighs: a note while it is small, an error when it is large, a warning when nobody knows.
#[must_use]
pub fn weigh(size: Size) -> Severity {
    let at_least = |limit: (u64, u64)| {
        size.rows.is_some_and(|rows| rows >= limit.0) || size.bytes.is_some_and(|bytes| bytes >= limit.1)
    };
    match size {
        Size { rows: None, bytes: None } => Severity::Warning,
        _ if at_least(LARGE) => Severity::Error,
        _ if at_least(SMALL) => Severity::Warning,
        _ => Severity::Info,
    }
}

/// Bytes a second, for an estimate on ordinary disks: rewriting and building.
const WRITING: u64 = 60_000_000;

/// Bytes a second, reading alone.
const READING: u64 = 400_000_000;

/// How big a table is and how long the work may take, as the tail of a sentence.
fn estimate(danger: Option<Danger>, size: Size) -> String {
    let rows = size.rows.map(|rows| if rows == 1 { "1 row".to_owned() } else { format!("{} rows", thousands(rows)) });
    let Some(bytes) = size.bytes else {
        return rows.map(|rows| format!(" (about {rows})")).unwrap_or_default();
    };
    let pace = match danger {
        Some(Danger::Rewrite | Danger::IndexBuildBlocksWrites) => WRITING,
        _ => READING,
    };
    let seconds = bytes / pace;
    let time = match seconds {
        0 => "well under a second".to_owned(),
        1..=90 => format!("{seconds} s"),
        91..=5_400 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3_600),
    };
    let parts: Vec<String> = rows.into_iter().chain([human(bytes)]).collect();
    let guess = if danger.is_some() { format!("; estimate: {time}") } else { String::new() };
    format!(" (about {}{guess})", parts.join(", "))
}

/// A size as people say it.
fn human(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit),
        None => format!("{bytes} B"),
    }
}

/// A number with its thousands set apart.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The hazard of a code; `-` may stand for `_`, and case does not matter.
#[must_use]
pub fn hazard(code: &str) -> Option<&'static Hazard> {
    let code = code.to_ascii_lowercase().replace('-', "_");
    rules::ALL.iter().copied().find(|hazard| hazard.code == code)
}

/// The page of a hazard, as it stands under `docs/hazards/`.
#[must_use]
pub fn page(hazard: &Hazard) -> String {
    let mut page = format!("# {}: {}\n\n{}\n", hazard.code, hazard.title, hazard.does.trim());
    let lock = hazard.lock.map(|lock| {
        format!(
            "Lock: `{lock}`, which keeps {} waiting.",
            match super::rehearsal::blocks(lock) {
                "nothing" => "nobody",
                other => other,
            }
        )
    });
    let danger = hazard.danger.map(|danger| format!("Danger: `{}`.", danger.as_str()));
    let facts: Vec<String> = lock.into_iter().chain(danger).collect();
    if !facts.is_empty() {
        page.push_str(&format!("\n{}\n", facts.join(" ")));
    }
    page.push_str(&format!("\n## The way out\n\n{}\n\n## Example\n", hazard.way_out.trim()));
    for (heading, script) in [("Given", hazard.setup), ("Hazardous", hazard.bad), ("Safe", hazard.good)] {
        if !script.trim().is_empty() {
            page.push_str(&format!("\n{heading}:\n\n```sql\n{}\n```\n", script.trim()));
        }
    }
    page.push_str(&format!("\n## Source\n\n{}\n", hazard.source.trim()));
    page
}

/// Every page, made once: for `dbd explain`.
static PAGES: LazyLock<Vec<(&'static str, String)>> =
    LazyLock::new(|| rules::ALL.iter().map(|hazard| (hazard.code, page(hazard))).collect());

/// The page of a code.
#[must_use]
pub fn page_of(code: &str) -> Option<&'static str> {
    let code = hazard(code)?.code;
    PAGES.iter().find(|(known, _)| *known == code).map(|(_, page)| page.as_str())
}
