//! Judging a migration: every act against every hazard, with what its transaction and its database hold at that moment.

use super::act::{Act, Alter, Demand, Name, NewColumn, Statement};
use super::facts::{Facts, Target, fills};
use super::waive::{Waived, waivers};
use super::{Basis, Case, Danger, Found, Group, Hazard, Hit, Scene, read, rules};
use crate::domain::code::Code;
use crate::domain::finding::Severity;
use crate::domain::migration::{AloneProbe, SplitError, Unit, UnitMode, split};

/// The largest text that is judged, in bytes: what is larger is data.
pub const MOST_BYTES: usize = 20 * 1024 * 1024;

/// How deep functions are followed into the functions they call.
const MOST_CALLS: usize = 3;

/// One thing noticed about a migration.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// The hazard's code.
    pub code: &'static str,
    /// What it is about.
    pub group: Group,
    /// How much it weighs.
    pub severity: Severity,
    /// The file, as people see it.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// The object.
    pub object: String,
    /// What was noticed.
    pub message: String,
    /// The lock that is taken.
    pub lock: Option<&'static str>,
    /// What is dangerous about it.
    pub danger: Option<Danger>,
    /// How it is known.
    pub basis: Basis,
    /// What to do.
    pub help: &'static str,
    /// Who lets it pass and why, if somebody does.
    pub waived: Option<Waived>,
    /// The statement it is about, by its place in the file; none if about the file.
    pub statement: Option<usize>,
}

impl std::fmt::Debug for Hazard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.code)
    }
}

impl Judgement {
    /// About a hazard, at a place.
    #[must_use]
    pub fn new(
        hazard: &'static Hazard,
        severity: Severity,
        file: &str,
        place: (u32, u32),
        object: String,
        message: String,
    ) -> Self {
        Self {
            code: hazard.code,
            group: hazard.group,
            severity,
            file: file.to_owned(),
            line: place.0,
            column: place.1,
            object,
            message,
            lock: hazard.lock,
            danger: hazard.danger,
            basis: Basis::Text,
            help: hazard.way_out,
            waived: None,
            statement: None,
        }
    }
}

/// What was read of a migration, and what was noticed.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Its statements.
    pub statements: Vec<Statement>,
    /// What was noticed, in the order of the file.
    pub judgements: Vec<Judgement>,
}

/// Judges one file, and plays it through in `facts`. `style` asks for the rules of taste as well.
#[must_use]
pub fn migration(facts: &mut Facts, file: &str, text: &str, style: bool) -> Verdict {
    judge(facts, file, text, None, style)
}

/// Judges a migration that its format's reader has cut already: what the reader left out, like a way back in the same file, does not
/// count, and neither does what another program runs.
#[must_use]
pub fn units(facts: &mut Facts, file: &str, text: &str, units: &[Unit], style: bool) -> Verdict {
    let foreign = |unit: &Unit| unit.mode == UnitMode::Alone { probe: AloneProbe::UserCommand };
    let end = units.iter().flat_map(|unit| &unit.statements).map(|span| span.start + span.len).max();
    match end.and_then(|end| text.get(..end)) {
        Some(text) if !units.iter().any(foreign) => judge(facts, file, text, Some(units), style),
        _ => Verdict::default(),
    }
}

fn judge(facts: &mut Facts, file: &str, text: &str, known: Option<&[Unit]>, style: bool) -> Verdict {
    if text.len() > MOST_BYTES {
        let message =
            format!("{file} has more than {} MiB, and what is as large as that is not judged", MOST_BYTES >> 20);
        return Verdict { judgements: vec![unreadable(file, (1, 1), message)], ..Verdict::default() };
    }
    let basis = if facts.complete { Basis::Catalog } else { Basis::Text };
    facts.next_migration();
    let statements = match read::read(text) {
        Ok(statements) => statements,
        Err(error) => return Verdict { judgements: vec![of_split(file, &error)], ..Verdict::default() },
    };
    let mut judgements = Vec::new();
    let search_path = facts.search_path.clone();
    let mut scene = Scene::default();
    for (place, statement) in statements.iter().enumerate() {
        let mut found = Found::default();
        let mut walk = Walk { facts, scene: &mut scene, found: &mut found, later: &statements[place + 1..], style };
        walk.enter(statement);
        for act in &statement.acts {
            walk.act(act, 0);
        }
        walk.leave(statement);
        merge(&mut found.hits);
        judgements.extend(found.hits.into_iter().map(|hit| Judgement {
            danger: hit.danger,
            basis,
            statement: Some(place),
            ..Judgement::new(
                hit.hazard,
                hit.severity,
                file,
                (statement.line, statement.column),
                hit.object,
                hit.message,
            )
        }));
    }
    // A session ends with its migration, and so does what it set.
    facts.search_path = search_path;
    let cut = match known {
        Some(units) => units.to_vec(),
        None => split(text).unwrap_or_else(|error| {
            if !judgements.iter().any(|one| one.danger == Some(Danger::Fails) && one.line == error.line) {
                judgements.push(of_split(file, &error));
            }
            Vec::new()
        }),
    };
    // In batches no row is locked for long, whatever the statement says.
    let batched = |place: usize| {
        let batch = |unit: &Unit| matches!(unit.mode, UnitMode::Alone { probe: AloneProbe::Batch { .. } });
        cut.iter()
            .filter(|unit| batch(unit))
            .flat_map(|unit| &unit.statements)
            .any(|span| span.start == statements[place].start)
    };
    judgements.retain(|one| {
        let about_rows = [
            rules::update_without_where::HAZARD.code,
            rules::delete_without_where::HAZARD.code,
            rules::statement_while_holding_access_exclusive::HAZARD.code,
        ];
        !(about_rows.contains(&one.code) && one.statement.is_some_and(batched))
    });
    let (waivers, faulty) = waivers(text, &statements);
    for one in &mut judgements {
        one.waived = waivers.iter().find(|waiver| waiver.covers(one)).map(|waiver| waiver.waived(file));
    }
    judgements.extend(faulty.into_iter().map(|line| {
        let message = "this waiver gives no reason=, so it is not taken into account".to_owned();
        let hazard = &rules::waiver_without_reason::HAZARD;
        Judgement::new(hazard, Severity::Warning, file, (line, 1), "waiver".to_owned(), message)
    }));
    judgements.sort_by(|a, b| (a.line, a.column).cmp(&(b.line, b.column)).then(b.severity.cmp(&a.severity)));
    Verdict { statements, judgements }
}

/// What to say of a file that cannot be read.
#[must_use]
pub fn unreadable(file: &str, place: (u32, u32), message: String) -> Judgement {
    Judgement::new(&rules::unreadable_file::HAZARD, Severity::Error, file, place, file.to_owned(), message)
}

fn of_split(file: &str, error: &SplitError) -> Judgement {
    let hazard: &'static Hazard = match error.code {
        Code::SyntaxError => &rules::syntax_error::HAZARD,
        Code::TransactionControl if error.message.contains("cannot run inside") => {
            &rules::concurrently_in_transaction::HAZARD
        }
        Code::TransactionControl => &rules::transaction_control::HAZARD,
        _ => &rules::unreadable_file::HAZARD,
    };
    Judgement::new(hazard, Severity::Error, file, (error.line, error.column), file.to_owned(), error.message.clone())
}

/// What one statement does at once is counted once: a rewrite tries the checks and builds the indexes as it goes.
fn merge(hits: &mut Vec<Hit>) {
    let rewritten: Vec<_> = hits
        .iter()
        .filter(|hit| hit.danger == Some(Danger::Rewrite) && hit.hazard.code != rules::table_truncated::HAZARD.code)
        .filter_map(|hit| hit.rel.clone())
        .collect();
    hits.retain(|hit| {
        let covered = matches!(hit.danger, Some(Danger::ScanUnderAccessExclusive | Danger::IndexBuildBlocksWrites));
        !covered || hit.severity == Severity::Error || hit.rel.as_ref().is_none_or(|rel| !rewritten.contains(rel))
    });
    let mut seen = Vec::new();
    hits.retain(|hit| {
        let key = (hit.hazard.code, hit.object.clone(), hit.danger);
        let new = !seen.contains(&key);
        seen.push(key);
        new
    });
}

/// One statement's way through the rules.
struct Walk<'a> {
    facts: &'a mut Facts,
    scene: &'a mut Scene,
    found: &'a mut Found,
    later: &'a [Statement],
    style: bool,
}

impl Walk<'_> {
    /// A statement begins: dbd's own borders of transactions come before it.
    fn enter(&mut self, statement: &Statement) {
        let adds_value = matches!(statement.acts.as_slice(), [Act::EnumValue { .. }]);
        let alone = statement.acts.iter().any(runs_alone);
        if !self.scene.in_block && (alone || (!self.scene.enum_values.is_empty() && !adds_value)) {
            self.next_transaction(false);
        }
    }

    /// A statement ends.
    fn leave(&mut self, statement: &Statement) {
        self.scene.nested = false;
        // Only actions of ALTER TABLE can share their work.
        if !statement.acts.iter().all(|act| matches!(act, Act::Alter { .. })) {
            return;
        }
        for hit in &self.found.hits {
            if let (Some(rel), Some(_)) = (&hit.rel, hit.danger) {
                self.scene.worked.insert(rel.clone());
            }
        }
    }

    fn next_transaction(&mut self, in_block: bool) {
        let worked = std::mem::take(&mut self.scene.worked);
        *self.scene = Scene { in_block, worked, ..Scene::default() };
    }

    fn act(&mut self, act: &Act, depth: usize) {
        match act {
            Act::Begin => return self.next_transaction(true),
            Act::Commit => return self.next_transaction(false),
            Act::Nested { guard, acts } => {
                if let Some(guard) = guard
                    && self.facts.answer(guard).is_some_and(|there| there != guard.there)
                {
                    return;
                }
                return self.inside(acts, depth);
            }
            _ => {}
        }
        let case = Case { act, facts: self.facts, scene: self.scene, later: self.later };
        for hazard in rules::ALL.iter().filter(|hazard| self.style || hazard.group != Group::Style) {
            (hazard.judge)(&case, self.found);
        }
        if let Act::Query { functions, .. } = act
            && depth < MOST_CALLS
        {
            for name in functions {
                let body = self.facts.function(name).and_then(|one| Some((one.language.clone(), one.body.clone()?)));
                if let Some((language, body)) =
                    body.filter(|(language, _)| ["sql", "plpgsql"].contains(&language.as_str()))
                {
                    let acts = read::body(&language, &body);
                    self.inside(&acts, depth + 1);
                }
            }
        }
        self.note(act);
        self.facts.apply(act);
    }

    fn inside(&mut self, acts: &[Act], depth: usize) {
        let before = std::mem::replace(&mut self.scene.nested, true);
        for act in acts {
            self.act(act, depth);
        }
        self.scene.nested = before;
    }

    /// What the act leaves its transaction holding.
    fn note(&mut self, act: &Act) {
        let table = match act {
            Act::Alter { table, alter, of_table: true, .. } if takes_access_exclusive(alter) => table,
            Act::Truncate { table, .. }
            | Act::DropOnTable { table, .. }
            | Act::LockExclusive(table)
            | Act::Policy { table } => table,
            _ => &Name::default(),
        };
        if !table.name.is_empty() {
            let target = self.facts.target(table);
            if target.existed {
                let rel = target.rel.clone();
                self.scene.exclusive.insert(rel);
            }
        }
        match act {
            Act::Alter { table, alter: Alter::AddConstraint(one), .. } if one.unchecked => {
                let rel = self.facts.rel(table);
                if let Some(name) = &one.name {
                    self.scene.not_valid.insert((rel, name.clone()));
                }
            }
            Act::EnumValue { value, .. } => {
                self.scene.enum_values.insert(value.clone());
            }
            _ => {}
        }
    }
}

/// Whether PostgreSQL refuses it in a transaction.
#[must_use]
pub fn runs_alone(act: &Act) -> bool {
    match act {
        Act::CreateIndex { concurrently, .. }
        | Act::DropIndex { concurrently, .. }
        | Act::Reindex { concurrently, .. } => *concurrently,
        Act::Alter { alter: Alter::Detach { concurrently, .. }, .. } => *concurrently,
        Act::Repack { words, table } => *words == "VACUUM FULL" || table.is_none(),
        Act::Vacuum => true,
        Act::Drop { thing: super::act::Thing::Database, .. } => true,
        _ => false,
    }
}

/// Whether a part of `ALTER TABLE` keeps everybody out.
#[must_use]
pub fn takes_access_exclusive(alter: &Alter) -> bool {
    match alter {
        Alter::AddConstraint(one) => !matches!(one.demand, Demand::Foreign { .. }),
        Alter::Validate(_) | Alter::Attach { .. } | Alter::Trigger | Alter::Other => false,
        Alter::Detach { concurrently, .. } => !concurrently,
        _ => true,
    }
}

/// Whether a part of `ALTER TABLE` works through every row.
#[must_use]
pub fn works(case: &Case<'_>, target: &Target<'_>, alter: &Alter) -> bool {
    match alter {
        Alter::SetNotNull(column) => !case.facts.proves_not_null(target, column),
        Alter::AddConstraint(one) => !one.unchecked && one.using_index.is_none(),
        Alter::Type { column, ty, using, .. } => {
            let old = target.relation.and_then(|relation| relation.column(column)).map(|column| &column.ty);
            super::types::rewrites(case.facts, old, ty, column, using.as_ref()) != Some(false)
        }
        Alter::AddColumn { column, .. } => {
            column.stored || column.serial || column.identity || (column.not_null && !fills(column))
        }
        Alter::Rewrite(_) => true,
        _ => false,
    }
}

/// Whether a column that is to be added is there already, and the statement puts up with that.
#[must_use]
pub fn is_there(case: &Case<'_>, table: &Name, column: &NewColumn, if_not_exists: bool) -> bool {
    if_not_exists && case.facts.target(table).relation.is_some_and(|relation| relation.column(&column.name).is_some())
}

/// A duration as a setting writes it, in milliseconds.
#[must_use]
pub fn milliseconds(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..end].parse().ok()?;
    let unit = match text[end..].trim() {
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "us" => return Some(number / 1_000),
        _ => return None,
    };
    number.checked_mul(unit)
}

/// The columns of a foreign key.
#[must_use]
pub fn foreign_columns(demand: &Demand) -> Option<&Vec<String>> {
    match demand {
        Demand::Foreign { columns, .. } => Some(columns),
        _ => None,
    }
}

/// Whether a function's text names something, in code and not in a comment.
#[must_use]
pub fn names(body: &str, name: &str) -> bool {
    let Ok(tokens) = crate::domain::sql::tokens(body) else { return false };
    tokens.iter().filter(|token| !crate::domain::sql::is_comment(token)).any(|token| {
        let (start, end) = crate::domain::sql::range(token);
        body.get(start..end).is_some_and(|word| word.trim_matches('"').eq_ignore_ascii_case(name))
    })
}

/// The columns an act adds.
#[must_use]
pub fn new_columns(act: &Act) -> Vec<&NewColumn> {
    match act {
        Act::CreateTable(table) => table.columns.iter().collect(),
        Act::Alter { alter: Alter::AddColumn { column, .. }, .. } => vec![column],
        _ => Vec::new(),
    }
}
