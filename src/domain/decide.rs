//! Decisions: what follows from what was found, and what may be asked of a run.

use super::code::Code;
use super::digest::Digest;
use super::event::{CheckStatus, Event, Pending, Settings};
use super::failure::{Certainty, Failure};
use super::finding::{Finding, Severity};
use super::machine::{End, State};
use super::migration::{AloneProbe, Unit, UnitMode};
use super::next::{Next, next, poisoned};
use super::plan::{Plan, PlanStep, PlannedMigration, UndoClass};
use super::run::Run;
use super::way::CaptureWay;

/// What somebody asks of a run that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Approve the plan as it is now.
    Approve {
        /// Why, if they say.
        reason: Option<String>,
    },
    /// Reject the plan.
    Reject {
        /// Why, if they say.
        reason: Option<String>,
    },
    /// Stop and take back. What is halted, or was taken over too often on its way back, is given up where it stands.
    Cancel {
        /// Why, if they say.
        reason: Option<String>,
    },
    /// Take a finished or halted run back to its checkpoint.
    RollBack {
        /// Why, if they say.
        reason: Option<String>,
        /// Whether they want the backup restored, though a gentler way may be there.
        restore: bool,
    },
    /// Say whether the effect in doubt happened.
    Rule {
        /// Whether it happened.
        applied: bool,
        /// Why they think so.
        reason: String,
    },
}

/// The event that answers `command`, or why it cannot be answered.
///
/// # Errors
/// A [`Failure`] that says what state the run is in and what can be done instead.
pub fn decide(run: &Run, command: Command) -> Result<Event, Failure> {
    let settled = || {
        Failure::new(Code::AlreadySettled, format!("{} is settled: {}", run.id, run.state.name().replace('_', " ")))
            .hint(format!("`dbd show {}` tells its story", run.id))
    };
    match command {
        Command::Approve { reason } => {
            let digest = awaiting(run)?;
            Ok(Event::Approved { plan_digest: digest, reason })
        }
        Command::Reject { reason } => {
            awaiting(run)?;
            Ok(Event::Rejected { reason })
        }
        Command::Cancel { reason } => match run.state {
            State::Settled { .. } => Err(settled()),
            State::Halted { .. } => Ok(Event::Abandoned { reason }),
            // Turning round does not get anywhere either, not even to a halt: there must be a way out.
            _ if poisoned(run) && (run.cancelled.is_some() || run.rollbacks > 0) => Ok(Event::Abandoned { reason }),
            State::Rolling { .. } => {
                Err(Failure::new(Code::Cancelled, format!("{} is being rolled back already", run.id))
                    .hint(format!("`dbd resume {}` finishes that", run.id)))
            }
            _ => Ok(Event::CancelRequested { reason }),
        },
        Command::RollBack { reason, restore } => {
            let facts = run.facts();
            match run.state {
                State::Settled { end: End::Succeeded } if facts.restorable => {
                    Ok(Event::RollbackRequested { reason, restore })
                }
                State::Halted { doubt: false, .. } => Ok(Event::RollbackRequested { reason, restore }),
                State::Settled { end: End::Succeeded } => {
                    Err(Failure::new(Code::NothingToRollBack, format!("{} changed nothing", run.id)))
                }
                State::Settled { .. } => Err(settled()),
                State::Halted { doubt: true, .. } => Err(in_doubt(run)),
                _ => Err(Failure::new(Code::NothingToRollBack, format!("{} is not finished", run.id))
                    .hint(format!("`dbd cancel {}` stops it and takes it back", run.id))),
            }
        }
        Command::Rule { applied, reason } => match (&run.state, &run.flight) {
            (State::Halted { doubt: true, .. }, Some(flight)) => {
                Ok(Event::Ruled { id: flight.id.clone(), applied, reason })
            }
            _ => Err(Failure::new(Code::NotAwaiting, format!("{} is not halted over an effect in doubt", run.id))
                .hint(format!("`dbd status {}` says what it waits for", run.id))),
        },
    }
}

fn awaiting(run: &Run) -> Result<Digest, Failure> {
    match (next(run), &run.plan_digest) {
        (Next::AwaitApproval, Some(digest)) => Ok(digest.clone()),
        _ => Err(Failure::new(Code::NotAwaiting, format!("{} is not waiting for an approval", run.id))
            .cause(format!("its state is {}", run.state.name().replace('_', " ")))
            .hint(format!("`dbd status {}` says what it waits for, if it waits", run.id))),
    }
}

/// What follows from preflight, rehearsal and tests: a plan, a refusal, or nothing to do.
#[must_use]
pub fn judge(run: &Run) -> Event {
    if run.failure.is_some() || run.cancelled.is_some() {
        return refusal(run);
    }
    if run.nothing_to_do() {
        return Event::RunSucceeded;
    }
    let plan = plan(run);
    let mut findings = weigh(run);
    findings.extend(plan.as_ref().and_then(|plan| not_reversible(run, plan)));
    let refusing: Vec<&Finding> =
        findings.iter().filter(|one| one.severity == Severity::Error && !one.allowed).collect();
    if !refusing.is_empty() {
        let reasons = refusing
            .iter()
            .map(|finding| {
                Failure::new(Code::BreakingChange, format!("{}: {}", finding.code, finding.message))
                    .hint(format!("if it is meant, run again with --allow {} --reason \"why\"", finding.code))
            })
            .collect();
        return Event::Refused { reasons, findings };
    }
    match plan {
        Some(plan) => Event::Planned { digest: plan.digest(), plan: Box::new(plan), findings },
        None => Event::Refused {
            reasons: vec![Failure::new(Code::Bug, format!("{} reached its judgement without a rehearsal", run.id))],
            findings,
        },
    }
}

/// What a run that must be one to be taken back without loss is told when it is not.
fn not_reversible(run: &Run, plan: &Plan) -> Option<Finding> {
    let request = run.request.as_ref().filter(|request| request.settings.rollback.required)?;
    let restored = |(_, step): &(usize, &PlanStep)| step.undo == UndoClass::Restore;
    let (place, step) = plan.steps.iter().enumerate().find(restored)?;
    let why = run.rehearsal.as_ref().and_then(|rehearsal| rehearsal.ways.get(place)).map(|way| way.why_not.join("; "));
    let why = why.filter(|why| !why.is_empty()).unwrap_or_else(|| "no gentler way was shown to lead back".to_owned());
    let file = plan.migrations.get(step.migration).map_or("a migration", |one| one.file.as_str());
    let more = plan.steps.iter().filter(|step| step.undo == UndoClass::Restore).count() - 1;
    let more = if more > 0 { format!(" (and {more} more step(s))") } else { String::new() };
    let finding = Finding {
        code: "not_reversible".to_owned(),
        severity: Severity::Error,
        object: file.to_owned(),
        message: format!("{file} can only be taken back by restoring the backup{more}: {why}"),
        allowed: false,
        waived: None,
    };
    let allowed = request.allow.allows(&finding);
    Some(Finding { allowed, ..finding })
}

/// The findings so far, each with whether the request allowed it.
#[must_use]
pub fn weigh(run: &Run) -> Vec<Finding> {
    let found = run.rehearsal.as_ref().map(|rehearsal| rehearsal.findings.clone()).unwrap_or_default();
    let allow = run.request.as_ref().map(|request| request.allow.clone()).unwrap_or_default();
    found
        .into_iter()
        .map(|finding| Finding { allowed: finding.waived.is_some() || allow.allows(&finding), ..finding })
        .collect()
}

/// The refusal of a run that failed, was cancelled or rejected before the target was touched.
#[must_use]
pub fn refusal(run: &Run) -> Event {
    let mut reasons = Vec::new();
    if let Some(failure) = &run.failure {
        // A preflight has as many reasons as checks that failed.
        let checks = run.checks.iter().filter_map(|check| match check.status {
            CheckStatus::Failed => check.failure.clone(),
            _ => None,
        });
        reasons.extend(checks);
        if reasons.is_empty() {
            reasons.push(failure.clone());
        }
    }
    if let Some(rejected) = &run.rejected {
        let mut failure = Failure::new(Code::Rejected, format!("{} rejected the plan", rejected.actor.id));
        failure.causes.extend(rejected.reason.clone());
        reasons.push(failure);
    }
    if let Some(cancelled) = &run.cancelled {
        let mut failure = Failure::new(Code::Cancelled, format!("{} cancelled the run", cancelled.actor.id));
        failure.causes.extend(cancelled.reason.clone());
        reasons.push(failure);
    }
    Event::Refused { reasons, findings: weigh(run) }
}

/// What follows when a run was taken over too often without a new outcome: a refusal while the target is untouched, else a person is asked.
#[must_use]
pub fn worn_out(run: &Run) -> Event {
    let failure = Failure::new(
        Code::TooManyTakeovers,
        format!("{} was taken over {} times without getting any further", run.id, run.takeovers),
    )
    .hint("find out what kills the process (memory, a time limit) before it is tried again");
    match run.state {
        State::Forward { .. } | State::Verifying { .. } | State::Rolling { .. } => Event::Halted {
            why: failure.hint(format!(
                "`dbd rollback {0}` takes the target back; `dbd cancel {0}` gives the run up as it stands",
                run.id
            )),
        },
        _ => Event::Refused { reasons: vec![failure], findings: weigh(run) },
    }
}

/// The plan that follows from the preflight and the rehearsal.
#[must_use]
pub fn plan(run: &Run) -> Option<Plan> {
    let (request, preflight, rehearsal) = (run.request.as_ref()?, run.preflight.as_ref()?, run.rehearsal.as_ref()?);
    let Settings { migration_timeout_ms, lock_timeout_ms, lock_budget_ms, statement_timeout_ms, approval, .. } =
        request.settings;
    let (steps, capture) = ways_back(steps(&preflight.pending), run);
    Some(Plan {
        format: preflight.format,
        migrations: preflight
            .pending
            .iter()
            .map(|Pending { migration, .. }| PlannedMigration {
                id: migration.id.clone(),
                file: migration.file.clone(),
                digest: migration.digest.clone(),
                statements: migration.units.iter().map(|unit| unit.statements.len()).sum(),
                bookkeeping: migration.bookkeeping.clone(),
            })
            .collect(),
        steps,
        fingerprint_before: preflight.fingerprint.clone(),
        fingerprint_after: rehearsal.fingerprint_after.clone(),
        roles_compared: rehearsal.roles_kept,
        migration_timeout_ms,
        lock_timeout_ms,
        lock_budget_ms,
        statement_timeout_ms,
        approval_required: approval,
        capture,
    })
}

/// The steps, each with the gentlest way back that is open to it, and how writes have to be captured for that.
fn ways_back(mut steps: Vec<PlanStep>, run: &Run) -> (Vec<PlanStep>, Option<CaptureWay>) {
    let settings = run.request.as_ref().map(|request| request.settings.rollback.clone()).unwrap_or_default();
    let found = run.rehearsal.as_ref().map(|rehearsal| rehearsal.ways.as_slice()).unwrap_or_default();
    for (step, way) in steps.iter_mut().zip(found) {
        if settings.in_place || way.undo == UndoClass::Nothing {
            step.undo = way.undo.clone();
        }
    }
    let offered = run.preflight.as_ref().and_then(|preflight| preflight.swap.as_ref());
    // What the user's own tool writes cannot be told from what everybody else does; nor can, in a slot, what a statement outside a
    // transaction does in transactions of its own.
    let command = |step: &PlanStep| step.mode == UnitMode::Alone { probe: AloneProbe::UserCommand };
    let alone = steps.iter().any(|step| matches!(step.mode, UnitMode::Alone { .. }));
    let fits = |way: &&CaptureWay| settings.capture.contains(way) && (**way == CaptureWay::Triggers || !alone);
    let capture = offered.and_then(|offer| offer.ways.iter().find(fits)).copied();
    let capture = capture.filter(|_| !steps.iter().any(command));
    let capture = capture.filter(|_| steps.iter().any(|step| !step.undo.is_in_place()));
    if capture.is_some() {
        for step in steps.iter_mut().filter(|step| !step.undo.is_in_place()) {
            step.undo = UndoClass::Swap;
        }
    }
    (steps, capture)
}

/// The steps of the pending migrations, in order: one per unit. The rehearsal runs the very same.
///
/// A migration without a statement has one step too: its tool has to record it as applied.
#[must_use]
pub fn steps(pending: &[Pending]) -> Vec<PlanStep> {
    let mut steps = Vec::new();
    let nothing = [Unit { mode: UnitMode::Transaction, statements: Vec::new() }];
    for (migration, Pending { migration: one, .. }) in pending.iter().enumerate() {
        let units = if one.units.is_empty() { nothing.as_slice() } else { one.units.as_slice() };
        for (unit, whole) in units.iter().enumerate() {
            let request = serde_json::to_vec(&(&one.digest, unit, &whole.statements)).unwrap_or_default();
            steps.push(PlanStep {
                migration,
                unit,
                last: unit + 1 == units.len(),
                mode: whole.mode.clone(),
                statements: whole.statements.clone(),
                digest: Digest::keyed("dbd step v1", request),
                undo: UndoClass::Restore,
            });
        }
    }
    steps
}

/// Why the run turns round.
#[must_use]
pub fn why_back(run: &Run) -> Failure {
    if let Some(failure) = &run.failure {
        return failure.clone();
    }
    let cancelled = run.cancelled.as_ref();
    let who = cancelled.map_or("somebody", |decision| decision.actor.id.as_str());
    let mut failure = Failure::new(Code::Cancelled, format!("{who} cancelled the run"));
    failure.causes.extend(cancelled.and_then(|decision| decision.reason.clone()));
    failure
}

/// Why the backup is not restored without being asked: rows would be lost that somebody was told are saved.
#[must_use]
pub fn would_lose(run: &Run) -> Failure {
    let loss = run.loss.clone().unwrap_or_default();
    let mut failure = Failure::new(
        Code::WouldLoseRows,
        format!("{}: the way back that is left would lose what others wrote since the backup", run.id),
    );
    if let Some(why) = &run.rollback_why {
        failure = failure.cause(format!("it turned round because: {}", why.message));
    }
    if let Some(why) = &run.in_place_why {
        failure = failure.cause(format!("it does not go back in place: {}", why.message));
    }
    for (table, rows) in loss.written.iter().take(8) {
        failure = failure.cause(format!("{rows} row(s) in {table}"));
    }
    for (table, rows) in loss.deleted.iter().take(8) {
        failure = failure.cause(format!("{rows} row(s) removed from {table}, which would come back"));
    }
    if loss.schema {
        failure = failure.cause("somebody else changed the schema meanwhile");
    }
    let stands = match run.partial_step() {
        Some(step) => {
            failure = failure
                .cause("what the step that failed wrote may be among these rows: not all of it can be told apart");
            format!("the target stands as step {} left it when it failed; nothing was taken back", step + 1)
        }
        None => "the target stands as deployed; nothing was taken back".to_owned(),
    };
    failure
        .hint(stands)
        .hint(format!(
            "to restore the backup all the same, after a dump of how the target is now: dbd rollback {} --restore",
            run.id
        ))
        .hint(format!("to leave the target as it stands: dbd cancel {}", run.id))
}

/// What is known of an effect nobody can tell about.
#[must_use]
pub fn in_doubt(run: &Run) -> Failure {
    let what =
        run.flight.as_ref().map_or_else(|| "an effect".to_owned(), |flight| format!("`{}`", flight.effect.name()));
    let mut failure = Failure::new(Code::InDoubt, format!("{}: it is not known whether {what} happened", run.id))
        .certainty(Certainty::InDoubt);
    failure.causes.extend(run.doubt.clone());
    failure
        .hint("look at the target, then say what you found:")
        .hint(format!("dbd resume {} --ruling applied --reason \"what you saw\"", run.id))
        .hint(format!("dbd resume {} --ruling not-applied --reason \"what you saw\"", run.id))
}

/// The target's schema as the last recorded outcome left it, and whether roles count in it; `None` where it was not taken, or where a part of a
/// step is committed.
///
/// What it is before the first step, between two, and after the last one the plan and the rehearsal tell.
#[must_use]
pub fn left(run: &Run) -> Option<(&Digest, bool)> {
    if run.partial_step().is_some() {
        return None;
    }
    after_whole_steps(run)
}

/// As [`left`], of the steps that are committed whole.
#[must_use]
pub fn after_whole_steps(run: &Run) -> Option<(&Digest, bool)> {
    let plan = run.plan.as_ref()?;
    let committed = run.standing_steps();
    if committed == 0 {
        return Some((&plan.fingerprint_before, true));
    }
    if committed == plan.steps.len() {
        return Some((&plan.fingerprint_after, plan.roles_compared));
    }
    let between = run.rehearsal.as_ref()?.fingerprints.get(committed - 1)?;
    Some((between, plan.roles_compared))
}

/// Why a run does not go on: somebody changed the target while nobody worked on it.
#[must_use]
pub fn target_changed(run: &Run, expected: &Digest, found: &Digest) -> Failure {
    Failure::new(Code::TargetChanged, format!("{}: the target is not as this run left it", run.id))
        .cause(format!("left as {}, found {}", expected.short(), found.short()))
        .hint("somebody changed its schema while nobody worked on the run; nothing was done to it")
        .hint(format!("put the schema back as it was, then go on: dbd resume {}", run.id))
        .hint(format!(
            "or take the target back to its checkpoint, after a dump of how it is now: dbd rollback {}",
            run.id
        ))
        .hint(format!("or give the run up as it stands: dbd cancel {}", run.id))
}

/// Why a rollback cannot go on by itself.
#[must_use]
pub fn undo_failed(run: &Run) -> Failure {
    let mut why = run.failure.clone().unwrap_or_else(|| {
        Failure::new(Code::NotRestored, format!("{}: the rollback did not come to its end", run.id))
    });
    if let Some(backup) = &run.backup {
        why = why.hint(format!(
            "the backup taken before the first change is {} ({})",
            backup.path,
            backup.digest.short()
        ));
    }
    why.hint(format!(
        "`dbd rollback {}` tries the way back again; `dbd cancel {}` gives the run up as it stands",
        run.id, run.id
    ))
}
