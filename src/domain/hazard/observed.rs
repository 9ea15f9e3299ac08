//! What a rehearsal saw, laid over what was expected: it has the last word about every statement that ran.

use super::act::{Act, Alter, Statement};
use super::facts::{Facts, Rel, Size};
use super::judge::Judgement;
use super::{Basis, Danger, Group, Hazard, hazard, rules, weigh};
use crate::domain::finding::Severity;
use crate::domain::rehearsal::{MigrationTrace, StatementTrace};

/// From so many milliseconds on, what keeps others waiting is a warning.
const NOTICEABLE_MS: u64 = 1_000;

/// From so many milliseconds on, it is an error.
const UNBEARABLE_MS: u64 = 60_000;

/// Lays `trace` over the judgements of one migration. `before` is what was known before it began.
#[must_use]
pub fn observe(
    before: &Facts,
    file: &str,
    statements: &[Statement],
    judgements: Vec<Judgement>,
    trace: &MigrationTrace,
) -> Vec<Judgement> {
    let mut all = judgements;
    let mut blocks = Vec::with_capacity(statements.len());
    let mut open = false;
    for statement in statements {
        match statement.acts.as_slice() {
            [Act::Begin] => open = true,
            [Act::Commit] => open = false,
            _ => {}
        }
        blocks.push(open);
    }
    let mut from = 0;
    for one in &trace.statements {
        // The file's own BEGIN and COMMIT are not run, so places differ; the order is the same.
        let runs = |place: &usize| {
            !matches!(statements[*place].acts.as_slice(), [Act::Begin | Act::Commit])
                && statements[*place].line == one.line
        };
        let Some(place) = (from..statements.len()).find(runs) else { continue };
        from = place + 1;
        let dangers = dangers(one, &statements[place], blocks[place]);
        if one.error.is_none() {
            all.retain(|known| known.statement != Some(place) || !refuted(known, &dangers));
        }
        for danger in dangers {
            let severity = severity(before, one, danger);
            let mut matched = false;
            for known in all.iter_mut().filter(|known| known.statement == Some(place) && known.danger == Some(danger)) {
                known.basis = Basis::Observed;
                known.severity = known.severity.max(severity);
                matched = true;
            }
            if !matched {
                all.push(seen(file, &statements[place], place, one, danger, severity));
            }
        }
        if let Some(error) = &one.error {
            // It did not get to its end, but what it began was heard of.
            for known in all.iter_mut().filter(|known| known.statement == Some(place)) {
                let begun = match known.danger {
                    Some(Danger::Rewrite) => !one.rewrites.is_empty(),
                    Some(Danger::ScanUnderAccessExclusive) => !one.table_scans.is_empty() || !one.rewrites.is_empty(),
                    Some(Danger::IndexBuildBlocksWrites) => !one.index_builds.is_empty(),
                    Some(Danger::FkValidationBlocksWrites) => !one.fk_validations.is_empty(),
                    _ => false,
                };
                if begun {
                    known.basis = Basis::Observed;
                }
            }
            let told =
                all.iter_mut().find(|known| known.statement == Some(place) && known.danger == Some(Danger::Fails));
            match told {
                Some(known) => known.basis = Basis::Observed,
                None => {
                    let place_of = (statements[place].line, statements[place].column);
                    let message = format!("it failed in the rehearsal: {error}");
                    let one = Judgement {
                        basis: Basis::Observed,
                        statement: Some(place),
                        ..Judgement::new(
                            &rules::statement_fails::HAZARD,
                            Severity::Error,
                            file,
                            place_of,
                            file.to_owned(),
                            message,
                        )
                    };
                    all.push(one);
                }
            }
        }
    }
    all.sort_by(|a, b| (a.line, a.column).cmp(&(b.line, b.column)).then(b.severity.cmp(&a.severity)));
    all
}

/// Whether what was expected did not happen. What may take long is not refuted by a quick rehearsal on few rows.
fn refuted(known: &Judgement, dangers: &[Danger]) -> bool {
    match known.danger {
        Some(Danger::StatementWhileHoldingAccessExclusive) => {
            known.code == rules::validated_in_same_transaction::HAZARD.code
                && !dangers.contains(&Danger::StatementWhileHoldingAccessExclusive)
        }
        Some(danger) => !dangers.contains(&danger),
        None => known.code == rules::dynamic_sql::HAZARD.code,
    }
}

/// The dangers of a statement as they count: without the file's own BEGIN, an earlier statement's lock is the runner's doing, which is
/// the danger where the statement itself would keep nobody waiting. Of those that read every row, only VALIDATE is such a one.
fn dangers(one: &StatementTrace, statement: &Statement, in_block: bool) -> Vec<Danger> {
    let mut all: Vec<Danger> = one.danger.iter().filter_map(|word| Danger::parse(word)).collect();
    let validates = |act: &Act| matches!(act, Act::Alter { alter: Alter::Validate(_), .. });
    if !in_block && one.transactional && one.error.is_none() && statement.acts.iter().all(validates) {
        for danger in &mut all {
            if matches!(danger, Danger::ScanUnderAccessExclusive | Danger::FkValidationBlocksWrites) {
                *danger = Danger::StatementWhileHoldingAccessExclusive;
            }
        }
    }
    all.sort_unstable();
    all.dedup();
    all
}

/// The object a danger is to, as the trace names it.
fn object(one: &StatementTrace, danger: Danger) -> String {
    let first = |objects: &[String]| objects.first().cloned();
    let found = match danger {
        Danger::Rewrite => first(&one.rewrites),
        Danger::ScanUnderAccessExclusive | Danger::StatementWhileHoldingAccessExclusive => first(&one.table_scans),
        Danger::IndexBuildBlocksWrites => first(&one.index_builds),
        Danger::FkValidationBlocksWrites => first(&one.fk_validations),
        Danger::Fails => None,
    };
    found.or_else(|| one.locks.first().map(|(object, _)| object.clone())).unwrap_or_default()
}

fn severity(before: &Facts, one: &StatementTrace, danger: Danger) -> Severity {
    let tables = one.locks.iter().map(|(object, _)| object).chain(&one.rewrites).chain(&one.table_scans);
    let size = |object: &String| {
        let (schema, name) = object.split_once('.')?;
        let rel = Rel::new(schema.trim_matches('"'), name.trim_matches('"'));
        before.relations.contains_key(&rel).then(|| before.target_of(rel).size)
    };
    let data =
        tables.filter_map(size).filter(|size| *size != Size::default()).map(weigh).max().unwrap_or(Severity::Info);
    let time = match one.duration_ms {
        _ if danger == Danger::Fails => Severity::Error,
        UNBEARABLE_MS.. => Severity::Error,
        NOTICEABLE_MS.. => Severity::Warning,
        _ => Severity::Info,
    };
    data.max(time)
}

/// What was seen without having been expected: in a block, in a function, by a trigger, through CASCADE.
fn seen(
    file: &str,
    statement: &Statement,
    place: usize,
    one: &StatementTrace,
    danger: Danger,
    severity: Severity,
) -> Judgement {
    let hazard: &'static Hazard =
        hazard(danger.as_str()).unwrap_or(&rules::statement_while_holding_access_exclusive::HAZARD);
    let object = object(one, danger);
    let lock =
        one.locks.iter().map(|(_, mode)| mode.as_str()).max_by_key(|mode| crate::domain::rehearsal::strength(mode));
    let lock = lock.and_then(|mode| LOCKS.iter().copied().find(|known| *known == mode)).or(hazard.lock);
    let message = format!("{}: {object}, in {} ms of the rehearsal", hazard.title, one.duration_ms);
    Judgement {
        basis: Basis::Observed,
        statement: Some(place),
        danger: Some(danger),
        group: Group::Locks,
        lock,
        ..Judgement::new(hazard, severity, file, (statement.line, statement.column), object, message)
    }
}

const LOCKS: [&str; 8] = [
    "AccessShareLock",
    "RowShareLock",
    "RowExclusiveLock",
    "ShareUpdateExclusiveLock",
    "ShareLock",
    "ShareRowExclusiveLock",
    "ExclusiveLock",
    "AccessExclusiveLock",
];
