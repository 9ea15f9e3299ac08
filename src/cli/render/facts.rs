//! What every format says about a run: how it stands, what became of each migration, what to do next.
//!
//! The formats differ in how they say it, never in what is so.

use super::table::Tone;
use super::words::{self, count, duration, plural};
use crate::domain::effect::Effect;
use crate::domain::failure::Failure;
use crate::domain::forecast::Forecast;
use crate::domain::machine::{End, Flight, Position, State};
use crate::domain::plan::{Plan, PlanStep, UndoClass};
use crate::domain::run::Run;
use std::collections::BTreeMap;

/// How a run stands, in the word that programs read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Deployed and verified, or nothing to deploy.
    Succeeded,
    /// Stopped before the target was touched.
    Refused,
    /// The target is back at its checkpoint, and that was checked.
    RolledBack,
    /// Halted: a person has to say how it goes on.
    NeedsOperator,
    /// Not finished; it can be resumed.
    Interrupted,
    /// Not finished; it waits for an approval.
    Waiting,
    /// A dry run that came to its end.
    Planned,
    /// Given up where it stood.
    Abandoned,
}

impl Outcome {
    /// Every outcome, in the order reports count them.
    pub const ALL: &'static [Self] = &[
        Self::Succeeded,
        Self::Refused,
        Self::RolledBack,
        Self::NeedsOperator,
        Self::Interrupted,
        Self::Waiting,
        Self::Planned,
        Self::Abandoned,
    ];

    /// The word of the JSON formats, like `rolled_back`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Refused => "refused",
            Self::RolledBack => "rolled_back",
            Self::NeedsOperator => "needs_operator",
            Self::Interrupted => "interrupted",
            Self::Waiting => "waiting",
            Self::Planned => "planned",
            Self::Abandoned => "abandoned",
        }
    }

    /// The word for people, like `rolled back`.
    #[must_use]
    pub fn words(self) -> String {
        self.as_str().replace('_', " ")
    }

    /// How it reads.
    #[must_use]
    pub const fn tone(self) -> Tone {
        match self {
            Self::Succeeded => Tone::Good,
            Self::Planned => Tone::Plain,
            Self::RolledBack | Self::Interrupted | Self::Waiting | Self::Abandoned => Tone::Odd,
            Self::Refused | Self::NeedsOperator => Tone::Bad,
        }
    }
}

/// How `run` stands. Whether a live process is at work on it right now is not part of a run: such a run counts as interrupted here.
#[must_use]
pub fn outcome(run: &Run) -> Outcome {
    match run.state {
        State::Settled { end: End::Succeeded } => Outcome::Succeeded,
        State::Settled { end: End::RolledBack } => Outcome::RolledBack,
        State::Settled { end: End::Refused } => Outcome::Refused,
        State::Settled { end: End::Rehearsed } => Outcome::Planned,
        State::Settled { end: End::Abandoned } => Outcome::Abandoned,
        State::Halted { .. } => Outcome::NeedsOperator,
        State::Planned {} if waits(run) => Outcome::Waiting,
        _ => Outcome::Interrupted,
    }
}

fn waits(run: &Run) -> bool {
    run.approval_missing() && run.rejected.is_none() && run.cancelled.is_none() && !run.facts().dry_run
}

/// Whether an effect that changes the target was ever started. Only then may the target be another than before.
#[must_use]
pub fn touched(run: &Run) -> bool {
    let begun = run.past.iter().map(|past| past.effect).chain(run.flight.as_ref().map(|flight| flight.effect));
    begun.into_iter().any(|effect| effect.changes_target())
}

/// What became of a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrationStatus {
    /// Nothing was done with it yet.
    Pending,
    /// It went through in the sandbox.
    Rehearsed,
    /// It is committed on the target.
    Deployed,
    /// Some of its steps are committed on the target.
    PartlyDeployed,
    /// It was committed, and the target is back at its checkpoint.
    TakenBack,
    /// Nobody can tell.
    Unknown,
}

impl MigrationStatus {
    /// The word of the JSON formats.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Rehearsed => "rehearsed",
            Self::Deployed => "deployed",
            Self::PartlyDeployed => "partly_deployed",
            Self::TakenBack => "taken_back",
            Self::Unknown => "unknown",
        }
    }

    /// The word for people.
    #[must_use]
    pub fn words(self) -> String {
        self.as_str().replace('_', " ")
    }

    /// How it reads.
    #[must_use]
    pub const fn tone(self) -> Tone {
        match self {
            Self::Deployed => Tone::Good,
            Self::Pending | Self::Rehearsed => Tone::Plain,
            Self::TakenBack | Self::PartlyDeployed => Tone::Odd,
            Self::Unknown => Tone::Bad,
        }
    }
}

/// One migration of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationFacts {
    /// Its name.
    pub id: String,
    /// Its file, relative to the project's root.
    pub file: String,
    /// The digest of its file.
    pub digest: String,
    /// How many statements it has.
    pub statements: u64,
    /// How long it took on the target, or in the rehearsal where it did not get to the target. Milliseconds.
    pub duration_ms: Option<u64>,
    /// How often its steps were tried on the target in all; 0 if they were not.
    pub tries: u32,
    /// What became of it.
    pub status: MigrationStatus,
}

/// The migrations of `run`, in order; empty before the preflight found them.
#[must_use]
pub fn migrations(run: &Run) -> Vec<MigrationFacts> {
    let pending = run.preflight.as_ref().map(|preflight| preflight.pending.as_slice()).unwrap_or_default();
    let facts = pending.iter().enumerate().map(|(place, pending)| {
        let migration = &pending.migration;
        let rehearsed =
            run.rehearsal.as_ref().and_then(|found| found.migrations.iter().find(|one| one.id == migration.id));
        let steps = run.plan.as_ref().map(|plan| plan.steps.as_slice()).unwrap_or_default();
        let ours = steps.iter().enumerate().filter(|(_, step)| step.migration == place).map(|(step, _)| step);
        let (done, open): (Vec<usize>, Vec<usize>) = ours.partition(|step| *step < run.committed.len());
        let reports: Vec<_> = done.iter().map(|step| &run.committed[*step]).collect();
        let in_flight = run.flight.as_ref().map(|flight| flight.effect);
        let in_doubt = open.iter().any(|step| in_flight == Some(Effect::Migrate { step: *step }));
        // A step that failed after a part of it was committed is the first of the open ones.
        let partly = run.partial.is_some() && open.contains(&run.committed.len());
        let status = match (done.is_empty() && !partly, open.is_empty()) {
            _ if in_doubt => MigrationStatus::Unknown,
            (true, _) if rehearsed.is_some() => MigrationStatus::Rehearsed,
            (true, _) => MigrationStatus::Pending,
            _ if outcome(run) == Outcome::RolledBack => MigrationStatus::TakenBack,
            _ if restore_begun(run) => MigrationStatus::Unknown,
            (false, true) => MigrationStatus::Deployed,
            (false, false) => MigrationStatus::PartlyDeployed,
        };
        MigrationFacts {
            id: migration.id.as_str().to_owned(),
            file: migration.file.clone(),
            digest: migration.digest.as_str().to_owned(),
            statements: migration.units.iter().map(|unit| count(&unit.statements)).sum(),
            duration_ms: if reports.is_empty() {
                rehearsed.map(|timing| timing.duration_ms)
            } else {
                Some(reports.iter().map(|report| report.duration_ms).sum())
            },
            tries: reports.iter().map(|report| report.tries).sum(),
            status,
        }
    });
    facts.collect()
}

fn restore_begun(run: &Run) -> bool {
    let takes_back = |effect: &Effect| matches!(effect, Effect::Restore | Effect::Swap | Effect::UndoStep { .. });
    run.past.iter().any(|past| takes_back(&past.effect))
        || run.flight.as_ref().is_some_and(|flight| takes_back(&flight.effect))
}

/// Counts of what changes, with `tables_modified` and `columns_added` always there; `None` before the rehearsal told.
#[must_use]
pub fn changes(run: &Run) -> Option<BTreeMap<String, u64>> {
    let mut changes = match &run.rehearsal {
        Some(rehearsal) => rehearsal.changes.clone(),
        None if run.nothing_to_do() => BTreeMap::new(),
        None => return None,
    };
    for always in ["tables_modified", "columns_added"] {
        changes.entry(always.to_owned()).or_default();
    }
    Some(changes)
}

/// The schema fingerprint the target has, as it was checked at the end of the run; `None` where the run cannot say.
#[must_use]
pub fn fingerprint(run: &Run) -> Option<&str> {
    let outcome = outcome(run);
    if outcome == Outcome::Succeeded && run.nothing_to_do() {
        return run.preflight.as_ref().map(|preflight| preflight.fingerprint.as_str());
    }
    // What was checked before the run turned round says nothing of what the target is now.
    let still_true = run.rollbacks == 0 || outcome == Outcome::RolledBack;
    run.verified.as_ref().filter(|_| still_true).map(|(found, _)| found.as_str())
}

/// Why the run stands as it does: why it was refused, halted or turned round, or what broke it off. Empty when all went well.
#[must_use]
pub fn reasons(run: &Run) -> Vec<&Failure> {
    match outcome(run) {
        Outcome::Succeeded | Outcome::Planned | Outcome::Waiting => Vec::new(),
        Outcome::Refused => run.reasons.iter().collect(),
        Outcome::NeedsOperator => run.halted.iter().chain(run.rollback_why.iter()).collect(),
        Outcome::RolledBack => run.rollback_why.iter().collect(),
        Outcome::Interrupted | Outcome::Abandoned => {
            run.failure.iter().chain(run.halted.iter()).chain(run.rollback_why.iter()).fold(
                Vec::new(),
                |mut all, one| {
                    if !all.contains(&one) {
                        all.push(one);
                    }
                    all
                },
            )
        }
    }
}

/// One sentence without a full stop: how the run came out.
#[must_use]
pub fn headline(run: &Run) -> String {
    let environment = run.id.environment();
    let migrations = || plural(count(&migrations(run)), "migration", "migrations");
    let state_of_target = if touched(run) { "may have changed" } else { "was not touched" };
    match outcome(run) {
        Outcome::Succeeded if run.nothing_to_do() => {
            let applied = run.preflight.as_ref().map_or(0, |preflight| preflight.applied as u64);
            match applied {
                0 => format!("Nothing to deploy to {environment}, there is no migration"),
                1 => format!("Nothing to deploy to {environment}, its 1 migration is applied"),
                _ => format!("Nothing to deploy to {environment}, its {applied} migrations are applied"),
            }
        }
        Outcome::Succeeded => format!("Deployed {} to {environment} in {}", migrations(), duration(run.duration_ms())),
        Outcome::Refused => format!("Refused before {environment} was touched"),
        Outcome::RolledBack => format!("Rolled back, {environment} is at its checkpoint again"),
        Outcome::NeedsOperator => format!("Needs an operator, {environment} {state_of_target}"),
        Outcome::Interrupted if matches!(run.state, State::Planned {}) => {
            let what =
                if run.approved.is_some() { "Approved, and not deployed yet" } else { "Interrupted before deploying" };
            format!("{what}, {environment} {state_of_target}")
        }
        Outcome::Interrupted => format!("Interrupted while {}, {environment} {state_of_target}", doing(run)),
        Outcome::Waiting => format!("Waiting for an approval to deploy {} to {environment}", migrations()),
        Outcome::Planned => format!("Planned {} for {environment}, which was not touched", migrations()),
        Outcome::Abandoned => format!("Abandoned, {environment} {state_of_target}"),
    }
}

/// What the run is at, in words that follow "while".
#[must_use]
pub fn doing(run: &Run) -> &'static str {
    match run.state {
        State::Blank {} => "beginning",
        State::Preparing { .. } => "preparing",
        State::Planned {} => "about to deploy",
        State::Forward { .. } | State::Halted { at: Position::Forward(_), .. } => "deploying",
        State::Verifying { .. } | State::Halted { at: Position::Verifying(_), .. } => "verifying",
        State::Rolling { .. } | State::Halted { at: Position::Rolling(_), .. } => "rolling back",
        State::Settled { .. } => "finishing",
    }
}

/// That a step failed after a part of it was committed, in a sentence; nothing where none did.
#[must_use]
pub fn partly(run: &Run) -> Option<String> {
    run.partial.as_ref()?;
    let back = if run.partial_step().is_none() { ", and the target went back since" } else { "" };
    Some(format!("step {} failed after a part of it was committed{back}", run.committed.len() + 1))
}

/// What is known about a run that did not come to its end, in sentences; empty for the others.
#[must_use]
pub fn known(run: &Run) -> Vec<String> {
    if !matches!(outcome(run), Outcome::NeedsOperator | Outcome::Interrupted | Outcome::Abandoned) {
        return Vec::new();
    }
    let mut known = Vec::new();
    if let Some(plan) = run.plan.as_ref().filter(|_| touched(run)) {
        let steps = plural(count(&plan.steps), "step", "steps");
        let are = if run.committed.len() == 1 { "is" } else { "are" };
        known.push(format!("{} of {steps} {are} committed on the target", run.committed.len()));
        known.extend(partly(run));
    }
    if let Some(flight) = &run.flight {
        let fenced = matches!(run.state.flight(), Flight::Fenced | Flight::Doubt);
        let still =
            if fenced { "nothing of it can take effect any more" } else { "something of it may still be at work" };
        known.push(format!("it is not known whether `{}` happened; {still}", flight.effect.name()));
    }
    if let Some(backup) = run.backup.as_ref().filter(|_| touched(run)) {
        known.push(format!("the backup taken before the first change is {}", backup.path));
    }
    if !touched(run) {
        known.push("no effect that changes the target was started".to_owned());
    }
    known
}

/// How a command came out, as people read it: `127 passed, 1 failed`.
#[must_use]
pub fn tests(report: &crate::domain::event::CommandReport) -> String {
    let Some(counts) = report.counts else {
        return match report.status {
            Some(0) => "passed".to_owned(),
            Some(status) => format!("failed with status {status}"),
            None => "ended by a signal".to_owned(),
        };
    };
    let mut told = vec![format!("{} passed", counts.passed)];
    if counts.failed > 0 {
        told.push(format!("{} failed", counts.failed));
    }
    if counts.skipped > 0 {
        told.push(format!("{} skipped", counts.skipped));
    }
    // A runner may count no failure and still say that it failed.
    match report.status {
        Some(0) => {}
        Some(status) if counts.failed == 0 => told.push(format!("ended with status {status}")),
        Some(_) => {}
        None => told.push("ended by a signal".to_owned()),
    }
    told.join(", ")
}

/// The statements of a step that are run in another form: file, line, and what is run there.
pub fn other_forms<'a>(plan: &'a Plan, step: &'a PlanStep) -> impl Iterator<Item = (&'a str, u32, &'a str)> {
    let file = plan.migrations.get(step.migration).map_or("", |one| one.file.as_str());
    let instead = match &step.undo {
        UndoClass::InPlace(way) => way.instead.as_slice(),
        _ => &[],
    };
    let line = |place: usize| step.statements.get(place).map_or(1, |span| span.line);
    instead.iter().map(move |one| (file, line(one.statement), one.sql.as_str()))
}

/// How the run goes back, or went back, in a sentence; nothing before there is a plan.
#[must_use]
pub fn way_back(run: &Run) -> Option<String> {
    let plan = run.plan.as_ref()?;
    if let Some(swapped) = &run.swapped {
        return Some(format!("went back by a swap: {}", words::swapped(swapped)));
    }
    if run.restored {
        return Some("went back by the backup".to_owned());
    }
    if run.state == (State::Settled { end: End::RolledBack }) && !run.undone.is_empty() {
        let left_out: Vec<&str> = run.undone.iter().flat_map(|report| &report.left_out).map(String::as_str).collect();
        let mut told = "went back in place: what others wrote since is there".to_owned();
        if !left_out.is_empty() {
            told.push_str(&format!("; left out, as the role is gone: {}", left_out.join("; ")));
        }
        return Some(told);
    }
    let planned = |undo: fn(&UndoClass) -> bool| plan.steps.iter().filter(|step| undo(&step.undo)).count() as u64;
    let (restored, all) = (planned(|undo| *undo == UndoClass::Restore), plan.steps.len() as u64);
    Some(match (plan.capture, restored) {
        (Some(_), _) if run.changed_target() && run.capture.is_none() => {
            "the backup, which forgets what was written since: the capture is ended".to_owned()
        }
        (Some(way), _) => match &run.readiness {
            Some(found) => format!("by a swap: {}", words::readiness(found)),
            None => format!("by a swap, with writes captured by {}", way.words()),
        },
        (None, 0) => "in place, as the sandbox proved".to_owned(),
        (None, some) if some < all => {
            format!("the backup, which forgets what was written since, for {some} of {all} steps; the others in place")
        }
        (None, _) => "the backup, which forgets what was written since".to_owned(),
    })
}

/// Until when writes stay captured after a success, RFC 3339; none where they do not.
#[must_use]
pub fn window(run: &Run) -> Option<String> {
    let until = crate::engine::window::until_ms(run).filter(|_| run.capture.is_some())?;
    Some(crate::domain::time::rfc3339(until))
}

/// What a restore forgets or forgot, said openly, one sentence each; empty when it forgets nothing.
#[must_use]
pub fn loss(run: &Run) -> Vec<String> {
    let Some(loss) = &run.loss else { return Vec::new() };
    let over = outcome(run) == Outcome::RolledBack;
    let forgets = if over { "left the target" } else { "leave the target when it is restored" };
    let mut told = Vec::new();
    let written: u64 = loss.written.values().map(|rows| rows.unsigned_abs()).sum();
    if written > 0 {
        let tables = by_table(&loss.written);
        let kept = run.saved.as_ref().map_or_else(String::new, |saved| format!("; kept in {}", saved.path));
        told.push(format!("{} written since the backup {forgets} ({tables}){kept}", plural(written, "row", "rows")));
    }
    let missing: u64 = loss.missing.values().map(|rows| rows.unsigned_abs()).sum();
    if missing > 0 {
        let comes = if over { "came back" } else { "come back with it" };
        let rows = plural(missing, "row", "rows");
        told.push(format!("{rows} removed since the backup {comes} ({})", by_table(&loss.missing)));
    }
    told
}

fn by_table(rows: &BTreeMap<String, i64>) -> String {
    let told = rows.iter().filter(|(_, rows)| **rows != 0).map(|(table, rows)| format!("{table}: {rows}"));
    told.collect::<Vec<_>>().join(", ")
}

/// One thing to do next: what it does, and the command to copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What it does.
    pub what: &'static str,
    /// The command.
    pub command: String,
}

/// What can be done next about `run`, the likeliest first.
#[must_use]
pub fn next_steps(run: &Run) -> Vec<Step> {
    let (id, environment) = (&run.id, run.id.environment());
    let step = |what, command: String| Step { what, command };
    match outcome(run) {
        Outcome::Succeeded if run.committed.is_empty() => {
            vec![step("see what is applied", format!("dbd migrations status {environment}"))]
        }
        Outcome::Succeeded => vec![
            step("read the whole story", format!("dbd show {id}")),
            step("take it back", format!("dbd rollback {id}")),
        ],
        Outcome::Refused => {
            let code = run.reasons.first().map(|reason| step("read about it", format!("dbd explain {}", reason.code)));
            let again = step("start again once that is settled", format!("dbd start {environment}"));
            code.into_iter().chain([again]).collect()
        }
        Outcome::RolledBack => vec![
            step("read the whole story", format!("dbd show {id}")),
            step("start again once the cause is removed", format!("dbd start {environment}")),
        ],
        Outcome::NeedsOperator if matches!(run.state, State::Halted { doubt: true, .. }) => vec![
            step("say that it happened", format!("dbd resume {id} --ruling applied --reason \"what you saw\"")),
            step("say that it did not", format!("dbd resume {id} --ruling not-applied --reason \"what you saw\"")),
        ],
        Outcome::NeedsOperator => {
            let back = step("try the way back again", format!("dbd rollback {id}"));
            let up = step("give the run up as it stands", format!("dbd cancel {id}"));
            if run.facts().restorable { vec![back, up] } else { vec![up] }
        }
        Outcome::Interrupted => {
            let mut steps = vec![step("go on", format!("dbd resume {id}"))];
            if !matches!(run.state, State::Rolling { .. }) {
                steps.push(step("stop it and take it back", format!("dbd cancel {id}")));
            }
            steps
        }
        Outcome::Waiting => vec![
            step("approve the plan", format!("dbd approve {id}")),
            step("reject it", format!("dbd reject {id}")),
            step("go on once it is approved", format!("dbd resume {id}")),
        ],
        Outcome::Planned => vec![step("deploy it", format!("dbd start {environment}"))],
        Outcome::Abandoned => vec![step("see how the target stands", format!("dbd doctor {environment}"))],
    }
}

/// The findings that were let pass, errors and warnings alike.
#[must_use]
pub fn allowed(run: &Run) -> Vec<&crate::domain::finding::Finding> {
    run.findings.iter().filter(|finding| finding.allowed).collect()
}

/// Who let a finding pass: the file or the configuration that waives it, else whoever asked for the run.
#[must_use]
pub fn allowed_by(run: &Run, finding: &crate::domain::finding::Finding) -> String {
    match &finding.waived {
        Some(waived) => waived.by.clone(),
        None => run.requested.as_ref().map(|requested| requested.actor.id.clone()).unwrap_or_default(),
    }
}

/// What a forecast is likely to lie between.
pub(super) fn band(one: &Forecast) -> Option<String> {
    Some(format!("{} to {}", duration(one.low_ms?), duration(one.high_ms?)))
}

/// The statement that takes the lock, and the one it is held through.
pub(super) fn statements(one: &Forecast) -> String {
    let by = one.by.clone().unwrap_or_default();
    one.through.as_ref().map_or_else(|| by.clone(), |through| format!("{by}, through {through}"))
}

/// What the forecast rests on, in a sentence.
pub(super) fn foretold_from(run: &Run) -> Option<String> {
    let rehearsal = run.rehearsal.as_ref()?;
    let basis = rehearsal.forecast.first()?.basis?;
    let taught = rehearsal.correction.map_or_else(String::new, |one| {
        let runs = if one.runs == 1 {
            "what the last run".to_owned()
        } else {
            format!("the median of what the last {} runs", one.runs)
        };
        format!("; times {}.{:02}, {runs} of this target measured", one.percent / 100, one.percent % 100)
    });
    Some(format!("foretold from {}{taught}", basis.words()))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, all};
    use super::*;

    #[test]
    fn every_story_has_the_outcome_it_tells_of() {
        let outcomes: Vec<_> = all().iter().map(|(name, story)| (*name, outcome(&story.run).as_str())).collect();
        let expected = [
            ("good", "succeeded"),
            ("refused", "refused"),
            ("not ready", "refused"),
            ("rolled back", "rolled_back"),
            ("waiting", "waiting"),
            ("halted", "needs_operator"),
            ("in doubt", "needs_operator"),
            ("interrupted", "interrupted"),
            ("planned", "planned"),
            ("nothing", "succeeded"),
            ("abandoned", "abandoned"),
        ];
        assert_eq!(outcomes, expected);
    }

    #[test]
    fn headlines_say_what_became_of_the_target() {
        let headlines: Vec<_> = all().iter().map(|(_, story)| headline(&story.run)).collect();
        insta::assert_snapshot!(headlines.join("\n"), @"
        Deployed 2 migrations to prod in 29.0s
        Refused before prod was touched
        Refused before prod was touched
        Rolled back, prod is at its checkpoint again
        Waiting for an approval to deploy 2 migrations to prod
        Needs an operator, prod may have changed
        Needs an operator, prod may have changed
        Interrupted while deploying, prod may have changed
        Planned 2 migrations for prod, which was not touched
        Nothing to deploy to prod, its 7 migrations are applied
        Abandoned, prod may have changed
        ");
    }

    #[test]
    fn a_migration_is_told_by_what_became_of_it() {
        let statuses = |story: testing::Story| -> Vec<_> {
            migrations(&story.run).iter().map(|one| one.status.as_str()).collect()
        };
        assert_eq!(statuses(testing::good()), ["deployed", "deployed"]);
        assert_eq!(statuses(testing::refused()), ["rehearsed", "rehearsed"]);
        assert_eq!(statuses(testing::rolled_back()), ["taken_back", "taken_back"]);
        assert_eq!(statuses(testing::halted()), ["unknown", "unknown"]);
        assert_eq!(statuses(testing::interrupted()), ["deployed", "unknown"]);
        assert!(statuses(testing::not_ready()).is_empty());
        let tries: Vec<_> = migrations(&testing::good().run).iter().map(|one| (one.duration_ms, one.tries)).collect();
        assert_eq!(tries, [(Some(12), 1), (Some(1_500), 3)]);
        assert_eq!(migrations(&testing::refused().run)[0].duration_ms, Some(812));
    }

    #[test]
    fn a_fingerprint_is_told_only_while_it_is_still_true() {
        let told = |story: testing::Story| fingerprint(&story.run).map(str::to_owned);
        let of = |text: &str| Some(testing::digest(text).as_str().to_owned());
        assert_eq!(told(testing::good()), of("after"));
        assert_eq!(told(testing::rolled_back()), of("before"));
        assert_eq!(told(testing::nothing()), of("before"));
        for without in [testing::halted(), testing::refused(), testing::waiting(), testing::in_doubt()] {
            assert_eq!(told(without), None);
        }
    }

    #[test]
    fn only_an_effect_on_the_target_touches_it() {
        let touched: Vec<_> = all().iter().filter(|(_, story)| touched(&story.run)).map(|(name, _)| *name).collect();
        assert_eq!(touched, ["good", "rolled back", "halted", "in doubt", "interrupted", "abandoned"]);
    }

    #[test]
    fn every_next_step_is_a_command_about_this_run_or_its_environment() {
        for (name, story) in all() {
            let steps = next_steps(&story.run);
            assert!(!steps.is_empty(), "{name}");
            for step in steps {
                let about = step.command.contains(story.run.id.as_str())
                    || step.command.ends_with(" prod")
                    || step.command.contains("explain DBD-");
                assert!(step.command.starts_with("dbd ") && about, "{name}: {}", step.command);
            }
        }
    }

    #[test]
    fn what_a_restore_forgets_is_said_openly() {
        assert_eq!(
            loss(&testing::rolled_back().run),
            [format!(
                "3 rows written since the backup left the target (public.orders: 3); kept in {}/before-rollback.dump",
                testing::DIR
            )]
        );
        assert!(loss(&testing::good().run).is_empty());
    }
}
