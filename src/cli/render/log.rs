//! The log of a run, told from its events: `deployment.log` as JSON Lines, and the same lines as text.

use super::facts::{self, changes, migrations};
use super::run::finding_json;
use super::table::{Pen, Tone};
use super::words::{self, bytes, commit, count, duration, one_line, plural};
use crate::domain::effect::{DumpPurpose, Effect, Phase};
use crate::domain::event::{Check, CheckStatus, Event, Outcome, Pause, Recorded, Verdict};
use crate::domain::evolve::evolve;
use crate::domain::failure::Failure;
use crate::domain::finding::Severity;
use crate::domain::plan::Plan;
use crate::domain::run::Run;
use crate::domain::time::rfc3339;
use serde_json::{Map, Value, json};

/// How much a line of the log weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// As it should be.
    Info,
    /// Worth a look.
    Warn,
    /// Something failed.
    Error,
}

impl Level {
    /// The word of the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
        }
    }
}

/// One thing told about an event.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// The phase, like `SANDBOX_VALIDATION`; `REQUEST` and `APPROVAL` for people's decisions.
    pub phase: String,
    /// How much it weighs.
    pub level: Level,
    /// What happened, in a sentence without a full stop.
    pub message: String,
    /// What programs may want to know.
    pub metadata: Map<String, Value>,
}

/// The log of `run` as JSON Lines: `{timestamp, deploymentId, phase, level, message, metadata}`. `events` are all its events, in order.
///
/// Most events make one line; a preflight and a judgement make one more for each thing that is odd.
#[must_use]
pub fn lines(run: &Run, events: &[Recorded]) -> Vec<Value> {
    let mut teller = Teller::new(run);
    events.iter().flat_map(|recorded| teller.tell(recorded).into_iter().map(|told| line(run, recorded, told))).collect()
}

fn line(run: &Run, recorded: &Recorded, told: Told) -> Value {
    let mut metadata = told.metadata;
    metadata.insert("environment".to_owned(), json!(run.id.environment().as_str()));
    metadata.insert("event".to_owned(), json!(recorded.event.kind()));
    metadata.insert("seq".to_owned(), json!(recorded.seq));
    json!({
        "timestamp": rfc3339(recorded.ts_ms),
        "deploymentId": run.id.as_str(),
        "phase": told.phase,
        "level": told.level.as_str(),
        "message": told.message,
        "metadata": metadata,
    })
}

/// One of [`lines`] as text, without a line break: time, level, phase, message.
#[must_use]
pub fn text(line: &Value, color: bool) -> String {
    let field = |name: &str| line[name].as_str().unwrap_or_default();
    let tone = match field("level") {
        "ERROR" => Tone::Bad,
        "WARN" => Tone::Odd,
        _ => Tone::Good,
    };
    let pen = Pen { color };
    let (time, level) = (pen.soft(field("timestamp")), pen.toned(tone, &format!("{:5}", field("level"))));
    let phase = pen.soft(&format!("{:22}", field("phase")));
    format!("{time}  {level}  {phase}  {}", one_line(field("message")))
}

/// Tells a run event by event: keeps the run as it was before each, so that an outcome can be put beside what it answers.
pub struct Teller {
    run: Run,
    phase: Phase,
}

impl Teller {
    /// A teller that has heard nothing yet of `run`.
    #[must_use]
    pub fn new(run: &Run) -> Self {
        Self { run: Run::blank(run.id.clone()), phase: Phase::Preflight }
    }

    /// What there is to tell about the next event; never empty, and the first is about the event itself.
    pub fn tell(&mut self, recorded: &Recorded) -> Vec<Told> {
        let before = self.run.clone();
        if let Ok(next) = evolve(&before, recorded) {
            self.run = next;
        }
        if let Event::Intended { effect, .. } = &recorded.event {
            self.phase = effect.phase();
        }
        let mut first =
            Told { phase: self.phase.label(), level: Level::Info, message: String::new(), metadata: Map::new() };
        let mut more = Vec::new();
        self.say(recorded, before.flight.as_ref().map(|flight| flight.effect), &mut first, &mut more);
        let mut told = vec![first];
        told.append(&mut more);
        told
    }

    fn say(&self, recorded: &Recorded, effect: Option<Effect>, told: &mut Told, more: &mut Vec<Told>) {
        let who = &recorded.actor.id;
        match &recorded.event {
            Event::Requested(request) => {
                told.phase = "REQUEST".to_owned();
                let dry = if request.dry_run { "A dry run" } else { "A deployment" };
                told.message =
                    because(format!("{dry} to {} was requested by {who}", request.environment), &request.allow.reason);
                told.put("target", json!(request.target));
                told.put("requestedBy", json!(who));
                if !request.allow.codes.is_empty() {
                    told.put("allow", json!(request.allow.codes));
                }
            }
            Event::LeaseTaken { host, pid, epoch } => {
                told.message = format!("Process {pid} on {host} took the run over");
                told.put("epoch", json!(epoch));
            }
            Event::Paused { why } => {
                if *why == Pause::AwaitingApproval {
                    told.phase = "APPROVAL".to_owned();
                } else {
                    told.level = Level::Warn;
                }
                told.message = match why {
                    Pause::Interrupted => "Interrupted; nothing is in flight",
                    Pause::AwaitingApproval => "Waiting for an approval",
                    Pause::Unreachable => "The server cannot be reached; the run rests",
                }
                .to_owned();
            }
            Event::Intended { effect, attempt, .. } => {
                told.message = beginning(*effect, &self.run);
                if *attempt > 1 {
                    told.message += &format!(" (attempt {attempt})");
                }
                told.put("step", json!(effect.name()));
                told.put("attempt", json!(attempt));
            }
            Event::Succeeded { outcome, duration_ms, .. } => {
                self.done(effect, outcome, told, more);
                told.took(*duration_ms);
            }
            Event::Failed { failure, partial, duration_ms, .. } => {
                match partial {
                    Some(Outcome::Step(_)) => told.put("partlyCommitted", json!(true)),
                    Some(outcome) => self.done(effect, outcome, told, more),
                    None => {}
                }
                told.fail(failure);
                told.took(*duration_ms);
            }
            Event::Fenced { evidence, .. } => {
                told.level = Level::Warn;
                told.message = format!("Nothing of {} can take effect any more: {evidence}", named(effect));
            }
            Event::Reconciled { verdict, evidence, .. } => {
                told.level = Level::Warn;
                told.message = match verdict {
                    Verdict::Applied { outcome } => {
                        self.done(effect, outcome, told, more);
                        format!("Found out that {} happened: {evidence}", named(effect))
                    }
                    Verdict::NotApplied => format!("Found out that {} did not happen: {evidence}", named(effect)),
                    Verdict::PartlyApplied { failure, .. } => {
                        told.put("partlyCommitted", json!(true));
                        told.put("code", json!(failure.code));
                        let what = "did not come to its end, and a part of it may be committed";
                        format!("Found out that {} {what}: {evidence}", named(effect))
                    }
                    Verdict::Unknown => format!("Nobody can tell whether {} happened: {evidence}", named(effect)),
                };
                if matches!(verdict, Verdict::Unknown | Verdict::PartlyApplied { .. }) {
                    told.level = Level::Error;
                }
            }
            Event::Ruled { applied, reason, .. } => {
                told.phase = "APPROVAL".to_owned();
                told.level = Level::Warn;
                let happened = if *applied { "happened" } else { "did not happen" };
                told.message = because(format!("{who} ruled that {} {happened}", named(effect)), &Some(reason.clone()));
            }
            Event::Planned { plan, digest, findings } => {
                told.message = format!("Sandbox validation passed: {}", planned(plan));
                if !findings.is_empty() {
                    told.message += &format!(", {}", plural(count(findings), "finding", "findings"));
                }
                told.put("planDigest", json!(digest));
                self.validated(told);
                self.findings(told, more);
            }
            Event::Approved { reason, .. } => {
                told.phase = "APPROVAL".to_owned();
                told.message = because(format!("{who} approved the plan"), reason);
            }
            Event::Rejected { reason } => {
                told.phase = "APPROVAL".to_owned();
                told.level = Level::Warn;
                told.message = because(format!("{who} rejected the plan"), reason);
            }
            Event::CancelRequested { reason } => {
                told.phase = "REQUEST".to_owned();
                told.level = Level::Warn;
                told.message = because(format!("{who} wants the run stopped"), reason);
            }
            Event::RollbackStarted { why } => {
                told.phase = Phase::Rollback.label();
                told.fail(why);
                told.level = Level::Warn;
                told.message = format!("Rolling back: {}", why.message);
            }
            Event::CaptureEnded { why } => {
                told.message = format!("The capture of writes was ended: {why}");
            }
            Event::WayChecked { readiness } => {
                if readiness.blocked.is_some() {
                    told.level = Level::Warn;
                }
                told.message = format!("The way back: {}", super::words::readiness(readiness));
            }
            Event::RollbackRequested { reason, .. } => {
                told.phase = "REQUEST".to_owned();
                told.level = Level::Warn;
                told.message = because(format!("{who} wants the target taken back to its checkpoint"), reason);
            }
            Event::RunSucceeded => {
                told.message = facts::headline(&self.run);
                self.validated(told);
                told.took(self.run.duration_ms());
            }
            Event::RolledBack => {
                told.phase = Phase::Rollback.label();
                told.level = Level::Warn;
                told.message = facts::headline(&self.run);
                told.took(self.run.duration_ms());
            }
            Event::Refused { reasons, .. } => {
                told.level = Level::Error;
                told.message = facts::headline(&self.run);
                if let Some(first) = reasons.first() {
                    told.message += &format!(": {}", first.message);
                }
                told.put("reasons", json!(reasons.iter().map(ToString::to_string).collect::<Vec<_>>()));
                told.took(self.run.duration_ms());
                self.findings(told, more);
            }
            Event::Rehearsed => {
                told.message = facts::headline(&self.run);
                told.took(self.run.duration_ms());
            }
            Event::Halted { why } => {
                told.fail(why);
                let about = format!("{}: ", self.run.id);
                told.message = format!("Halted: {}", why.message.strip_prefix(&about).unwrap_or(&why.message));
            }
            Event::Abandoned { reason } => {
                told.phase = "REQUEST".to_owned();
                told.level = Level::Warn;
                told.message = because(format!("{who} gave the run up as it stands"), reason);
            }
            Event::ArtifactsWritten { files } => {
                told.message =
                    format!("Wrote {}", files.iter().map(|file| file.name.as_str()).collect::<Vec<_>>().join(", "));
                told.put(
                    "files",
                    json!(
                        files
                            .iter()
                            .map(|file| (&file.name, &file.digest))
                            .collect::<std::collections::BTreeMap<_, _>>()
                    ),
                );
            }
        }
    }

    /// What an effect brought.
    fn done(&self, effect: Option<Effect>, outcome: &Outcome, told: &mut Told, more: &mut Vec<Told>) {
        told.message = match outcome {
            Outcome::Capture { place, .. } => format!("Writes are captured by {place}"),
            Outcome::Readiness(readiness) => {
                told.put("transactions", json!(readiness.transactions));
                told.put("rows", json!(readiness.rows));
                format!("The way back: {}", super::words::readiness(readiness))
            }
            Outcome::Swapped(swapped) => {
                told.put("fenceMs", json!(swapped.fence_ms));
                format!("The target and its shadow changed names: {}", super::words::swapped(swapped))
            }
            Outcome::Preflight(preflight) => {
                told.put("checks", json!(count(&preflight.checks)));
                told.put("migrationsPending", json!(count(&preflight.pending)));
                told.put("schemaFingerprint", json!(preflight.fingerprint));
                if let Some(git) = &preflight.git {
                    told.put("gitCommit", json!(git.commit));
                    told.put("gitBranch", json!(git.branch));
                }
                checks(&preflight.checks, told, more);
                let pending = plural(count(&preflight.pending), "migration", "migrations");
                let checks = plural(count(&preflight.checks), "check", "checks");
                let commit =
                    preflight.git.as_ref().map_or_else(String::new, |git| format!(", commit {}", commit(&git.commit)));
                format!("Preflight passed: {checks}, {pending} to apply{commit}")
            }
            Outcome::Checks(found) => {
                checks(found, told, more);
                "The preflight looked at everything".to_owned()
            }
            Outcome::Dump(backup) => {
                told.put("path", json!(backup.path));
                told.put("digest", json!(backup.digest));
                told.put("bytes", json!(backup.bytes));
                told.put("schemaFingerprint", json!(backup.fingerprint));
                format!("Backup taken: {} in {}", bytes(backup.bytes), backup.path)
            }
            Outcome::Sandbox { place, .. } => format!("Sandbox made: {place}"),
            Outcome::Rehearsal(rehearsal) => {
                self.counted(told);
                told.put("findings", json!(count(&rehearsal.findings)));
                let migrations = plural(count(&rehearsal.migrations), "migration", "migrations");
                format!("Rehearsed {migrations} in the sandbox: {}", words::changes(&rehearsal.changes))
            }
            Outcome::Command(report) => {
                if effect == Some(Effect::RunTests) {
                    self.tests(told);
                }
                told.put("status", json!(report.status));
                let what = if effect == Some(Effect::RunTests) { "Tests" } else { "Verification" };
                format!("{what}: {}", facts::tests(report))
            }
            Outcome::Step(report) => {
                told.put("tries", json!(report.tries));
                let tries = if report.tries > 1 {
                    format!(" after {} tries for its locks", report.tries)
                } else {
                    String::new()
                };
                if !report.left_out.is_empty() {
                    told.put("leftOut", json!(report.left_out));
                }
                match effect {
                    Some(Effect::Migrate { step }) => {
                        told.put("committed", json!(self.run.committed.len()));
                        format!("Committed {}{tries}", step_of(step, &self.run))
                    }
                    Some(Effect::UndoStep { step }) => format!("Took back {}{tries}", step_of(step, &self.run)),
                    _ => "Restored the target from its backup".to_owned(),
                }
            }
            Outcome::Fingerprint { fingerprint, .. } => {
                told.put("schemaFingerprint", json!(fingerprint));
                match effect {
                    Some(Effect::CheckRestored) => {
                        format!("The target's schema is its checkpoint's: {}", fingerprint.short())
                    }
                    _ => format!("The target's schema is the rehearsed one: {}", fingerprint.short()),
                }
            }
            Outcome::Loss(loss) => {
                told.put("rowsWritten", json!(loss.written));
                told.put("rowsMissing", json!(loss.missing));
                if loss.rows() > 0 {
                    told.level = Level::Warn;
                }
                match facts::loss(&self.run) {
                    said if said.is_empty() => "A restore forgets no rows".to_owned(),
                    said => words::capital(&said.join("; ")),
                }
            }
            Outcome::Done => match effect {
                Some(Effect::FillSandbox) => "The backup was restored in the sandbox and is what the target is",
                Some(Effect::DropSandbox) => "The sandbox is removed",
                Some(Effect::PrepareTarget) => "The target is as planned and held by this run",
                Some(Effect::CheckHealth) => "The application is healthy",
                _ => "Done",
            }
            .to_owned(),
        };
    }

    fn counted(&self, told: &mut Told) {
        if let Some(changes) = changes(&self.run) {
            told.put("tablesModified", json!(changes.get("tables_modified")));
            told.put("columnsAdded", json!(changes.get("columns_added")));
            told.put("changes", json!(changes));
        }
    }

    fn tests(&self, told: &mut Told) {
        if let Some(counts) = self.run.tests.as_ref().and_then(|report| report.counts) {
            told.put("testsPassed", json!(counts.passed));
            told.put("testsFailed", json!(counts.failed));
        }
    }

    /// What the sandbox validation established.
    fn validated(&self, told: &mut Told) {
        self.counted(told);
        self.tests(told);
        told.put("migrations", json!(migrations(&self.run).iter().map(|one| one.id.as_str()).collect::<Vec<_>>()));
        let phases = self.run.phases();
        if let Some((_, took)) = phases.iter().find(|(phase, _)| *phase == Phase::SandboxValidation) {
            told.took(*took);
        }
    }

    fn findings(&self, told: &Told, more: &mut Vec<Told>) {
        for finding in &self.run.findings {
            let mut line = told.bare();
            line.level = match finding.severity {
                Severity::Error if !finding.allowed => Level::Error,
                Severity::Error | Severity::Warning => Level::Warn,
                Severity::Info => Level::Info,
            };
            let allowed = if finding.allowed { " (allowed)" } else { "" };
            line.message = format!("{}: {}{allowed}", finding.code, finding.message);
            line.put("finding", finding_json(finding));
            more.push(line);
        }
    }
}

impl Told {
    /// The same phase, and nothing said yet.
    fn bare(&self) -> Self {
        Self { phase: self.phase.clone(), level: Level::Info, message: String::new(), metadata: Map::new() }
    }

    fn put(&mut self, key: &str, value: Value) {
        self.metadata.insert(key.to_owned(), value);
    }

    fn took(&mut self, ms: u64) {
        self.put("duration", json!(duration(ms)));
        self.put("duration_ms", json!(ms));
    }

    fn fail(&mut self, failure: &Failure) {
        self.level = Level::Error;
        self.message = failure.to_string();
        self.put("code", json!(failure.code));
        if !failure.causes.is_empty() {
            self.put("causes", json!(failure.causes));
        }
        if !failure.hints.is_empty() {
            self.put("hints", json!(failure.hints));
        }
        if let Some(place) = &failure.place {
            self.put("place", json!(place));
        }
    }
}

/// A line for each check that is not in order.
fn checks(checks: &[Check], told: &Told, more: &mut Vec<Told>) {
    for check in checks {
        let level = match check.status {
            CheckStatus::Ok | CheckStatus::Skipped => continue,
            CheckStatus::Warning => Level::Warn,
            CheckStatus::Failed => Level::Error,
        };
        let mut line = told.bare();
        if let Some(failure) = &check.failure {
            line.fail(failure);
        }
        line.level = level;
        line.message = format!("{}: {}", check.name, check.message);
        more.push(line);
    }
}

fn because(message: String, reason: &Option<String>) -> String {
    match reason {
        Some(reason) => format!("{message}: \"{reason}\""),
        None => message,
    }
}

fn named(effect: Option<Effect>) -> String {
    effect.map_or_else(|| "the effect".to_owned(), |effect| format!("`{}`", effect.name()))
}

fn planned(plan: &Plan) -> String {
    let migrations = plural(count(&plan.migrations), "migration", "migrations");
    format!("{migrations} in {}", plural(count(&plan.steps), "step", "steps"))
}

fn step_of(step: usize, run: &Run) -> String {
    let Some(plan) = &run.plan else { return format!("step {}", step + 1) };
    let migration = plan.steps.get(step).and_then(|one| plan.migrations.get(one.migration));
    let id = migration.map_or_else(String::new, |migration| format!(", {}", migration.id));
    format!("step {} of {}{id}", step + 1, plan.steps.len())
}

/// What is about to be done, as a sentence.
#[must_use]
pub fn beginning(effect: Effect, run: &Run) -> String {
    match effect {
        Effect::Preflight => "Looking at everything a deployment needs",
        Effect::Dump { purpose: DumpPurpose::Checkpoint } => "Dumping the target",
        Effect::Dump { purpose: DumpPurpose::Refresh } => "Dumping the target again, as the first dump has grown old",
        Effect::Dump { purpose: DumpPurpose::BeforeRollback } => "Dumping what the restore would forget",
        Effect::CreateSandbox => "Making a sandbox",
        Effect::FillSandbox => "Restoring the backup in the sandbox",
        Effect::Rehearse => "Rehearsing the migrations in the sandbox",
        Effect::RunTests => "Running the tests against the sandbox",
        Effect::DropSandbox => "Removing the sandbox",
        Effect::StartCapture => "Having every write to the target captured, so that a rollback forgets none",
        Effect::RaiseShadow => {
            "Restoring the backup into a database beside the target, and proving that it is the same"
        }
        Effect::EndCapture => "Ending the capture of writes",
        Effect::CheckWay => "Looking whether the way back still loses nothing",
        Effect::UndoStep { step } => return format!("Taking back {}", step_of(step, run)),
        Effect::CatchUp => "Replaying what was written since into the shadow",
        Effect::Swap => "Swapping the target and its shadow",
        Effect::PrepareTarget => "Making sure that the target is still as planned",
        Effect::Migrate { step } => return format!("Applying {}", step_of(step, run)),
        Effect::CheckSchema => "Comparing the target's schema with the rehearsed one",
        Effect::RunVerify => "Running the verification command",
        Effect::CheckHealth => "Asking the application whether it is healthy",
        Effect::AssessLoss => "Counting the rows that a restore would forget",
        Effect::Restore => "Restoring the target from its backup",
        Effect::CheckRestored => "Comparing the target's schema with its checkpoint",
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, SECRET, all};
    use super::*;

    fn told(story: &testing::Story) -> String {
        lines(&story.run, &story.events).iter().map(|line| text(line, false) + "\n").collect()
    }

    #[test]
    fn a_good_run_reads_like_this() {
        insta::assert_snapshot!(told(&testing::good()), @r#"
        2024-10-05T17:30:45.123Z  INFO   REQUEST                 A deployment to prod was requested by alice: "nobody reads old_price"
        2024-10-05T17:30:46.123Z  INFO   PREFLIGHT               Process 4711 on build-7 took the run over
        2024-10-05T17:30:47.123Z  INFO   PREFLIGHT               Looking at everything a deployment needs
        2024-10-05T17:30:48.123Z  INFO   PREFLIGHT               Preflight passed: 2 checks, 2 migrations to apply, commit 0a1b2c3d4e5f
        2024-10-05T17:30:48.123Z  WARN   PREFLIGHT               drift: the target's schema is not what deploy-prod-1 left
        2024-10-05T17:30:49.123Z  INFO   BACKUP                  Dumping the target
        2024-10-05T17:30:50.123Z  INFO   BACKUP                  Backup taken: 1.4 MiB in .deployments/deploy-prod-1728149445123/backup.dump
        2024-10-05T17:30:51.123Z  INFO   SANDBOX_VALIDATION      Making a sandbox
        2024-10-05T17:30:52.123Z  INFO   SANDBOX_VALIDATION      Sandbox made: a scratch server
        2024-10-05T17:30:53.123Z  INFO   SANDBOX_VALIDATION      Restoring the backup in the sandbox
        2024-10-05T17:30:54.123Z  INFO   SANDBOX_VALIDATION      The backup was restored in the sandbox and is what the target is
        2024-10-05T17:30:55.123Z  INFO   SANDBOX_VALIDATION      Rehearsing the migrations in the sandbox
        2024-10-05T17:30:56.123Z  INFO   SANDBOX_VALIDATION      Rehearsed 2 migrations in the sandbox: 5 columns added, 1 index added, 2 tables modified
        2024-10-05T17:30:57.123Z  INFO   SANDBOX_VALIDATION      Running the tests against the sandbox
        2024-10-05T17:30:58.123Z  INFO   SANDBOX_VALIDATION      Tests: 127 passed, 2 skipped
        2024-10-05T17:30:59.123Z  INFO   SANDBOX_VALIDATION      Removing the sandbox
        2024-10-05T17:31:00.123Z  INFO   SANDBOX_VALIDATION      The sandbox is removed
        2024-10-05T17:31:01.123Z  INFO   SANDBOX_VALIDATION      Sandbox validation passed: 2 migrations in 2 steps, 2 findings
        2024-10-05T17:31:01.123Z  WARN   SANDBOX_VALIDATION      column_removed: column public.products.old_price removed; it holds values (allowed)
        2024-10-05T17:31:01.123Z  WARN   SANDBOX_VALIDATION      index_removed: index public.i removed
        2024-10-05T17:31:02.123Z  INFO   APPROVAL                Waiting for an approval
        2024-10-05T17:31:03.123Z  INFO   APPROVAL                carol approved the plan: "looked at it"
        2024-10-05T17:31:04.123Z  INFO   DEPLOYMENT              Making sure that the target is still as planned
        2024-10-05T17:31:05.123Z  INFO   DEPLOYMENT              The target is as planned and held by this run
        2024-10-05T17:31:06.123Z  INFO   DEPLOYMENT              Applying step 1 of 2, 0003_add_price
        2024-10-05T17:31:07.123Z  INFO   DEPLOYMENT              Committed step 1 of 2, 0003_add_price
        2024-10-05T17:31:08.123Z  INFO   DEPLOYMENT              Applying step 2 of 2, 0004_drop_old_price
        2024-10-05T17:31:09.123Z  INFO   DEPLOYMENT              Committed step 2 of 2, 0004_drop_old_price after 3 tries for its locks
        2024-10-05T17:31:10.123Z  INFO   POST_DEPLOY_VALIDATION  Comparing the target's schema with the rehearsed one
        2024-10-05T17:31:11.123Z  INFO   POST_DEPLOY_VALIDATION  The target's schema is the rehearsed one: b3:45df22c72c6e
        2024-10-05T17:31:12.123Z  INFO   POST_DEPLOY_VALIDATION  Asking the application whether it is healthy
        2024-10-05T17:31:13.123Z  INFO   POST_DEPLOY_VALIDATION  The application is healthy
        2024-10-05T17:31:14.123Z  INFO   POST_DEPLOY_VALIDATION  Deployed 2 migrations to prod in 29.0s
        2024-10-05T17:31:15.123Z  INFO   POST_DEPLOY_VALIDATION  Wrote report.md
        "#);
    }

    #[test]
    fn a_rolled_back_run_reads_like_this() {
        insta::assert_snapshot!(told(&testing::rolled_back()), @r#"
        2024-10-05T17:30:45.123Z  INFO   REQUEST                 A deployment to prod was requested by alice
        2024-10-05T17:30:46.123Z  INFO   PREFLIGHT               Process 4711 on build-7 took the run over
        2024-10-05T17:30:47.123Z  INFO   PREFLIGHT               Looking at everything a deployment needs
        2024-10-05T17:30:48.123Z  INFO   PREFLIGHT               Preflight passed: 2 checks, 2 migrations to apply, commit 0a1b2c3d4e5f
        2024-10-05T17:30:48.123Z  WARN   PREFLIGHT               drift: the target's schema is not what deploy-prod-1 left
        2024-10-05T17:30:49.123Z  INFO   BACKUP                  Dumping the target
        2024-10-05T17:30:50.123Z  INFO   BACKUP                  Backup taken: 1.4 MiB in .deployments/deploy-prod-1728149445123/backup.dump
        2024-10-05T17:30:51.123Z  INFO   SANDBOX_VALIDATION      Making a sandbox
        2024-10-05T17:30:52.123Z  INFO   SANDBOX_VALIDATION      Sandbox made: a scratch server
        2024-10-05T17:30:53.123Z  INFO   SANDBOX_VALIDATION      Restoring the backup in the sandbox
        2024-10-05T17:30:54.123Z  INFO   SANDBOX_VALIDATION      The backup was restored in the sandbox and is what the target is
        2024-10-05T17:30:55.123Z  INFO   SANDBOX_VALIDATION      Rehearsing the migrations in the sandbox
        2024-10-05T17:30:56.123Z  INFO   SANDBOX_VALIDATION      Rehearsed 2 migrations in the sandbox: 5 columns added, 1 index added, 2 tables modified
        2024-10-05T17:30:57.123Z  INFO   SANDBOX_VALIDATION      Running the tests against the sandbox
        2024-10-05T17:30:58.123Z  INFO   SANDBOX_VALIDATION      Tests: 127 passed, 2 skipped
        2024-10-05T17:30:59.123Z  INFO   SANDBOX_VALIDATION      Removing the sandbox
        2024-10-05T17:31:00.123Z  INFO   SANDBOX_VALIDATION      The sandbox is removed
        2024-10-05T17:31:01.123Z  INFO   SANDBOX_VALIDATION      Sandbox validation passed: 2 migrations in 2 steps
        2024-10-05T17:31:02.123Z  INFO   DEPLOYMENT              Making sure that the target is still as planned
        2024-10-05T17:31:03.123Z  INFO   DEPLOYMENT              The target is as planned and held by this run
        2024-10-05T17:31:04.123Z  INFO   DEPLOYMENT              Applying step 1 of 2, 0003_add_price
        2024-10-05T17:31:05.123Z  INFO   DEPLOYMENT              Committed step 1 of 2, 0003_add_price
        2024-10-05T17:31:06.123Z  INFO   DEPLOYMENT              Applying step 2 of 2, 0004_drop_old_price
        2024-10-05T17:31:07.123Z  INFO   DEPLOYMENT              Committed step 2 of 2, 0004_drop_old_price after 3 tries for its locks
        2024-10-05T17:31:08.123Z  INFO   POST_DEPLOY_VALIDATION  Comparing the target's schema with the rehearsed one
        2024-10-05T17:31:09.123Z  INFO   POST_DEPLOY_VALIDATION  The target's schema is the rehearsed one: b3:45df22c72c6e
        2024-10-05T17:31:10.123Z  INFO   POST_DEPLOY_VALIDATION  Asking the application whether it is healthy
        2024-10-05T17:31:11.123Z  ERROR  POST_DEPLOY_VALIDATION  the application is not healthy (DBD-0503)
        2024-10-05T17:31:12.123Z  WARN   ROLLBACK                Rolling back: the application is not healthy
        2024-10-05T17:31:13.123Z  INFO   ROLLBACK                Counting the rows that a restore would forget
        2024-10-05T17:31:14.123Z  WARN   ROLLBACK                3 rows written since the backup leave the target when it is restored (public.orders: 3)
        2024-10-05T17:31:15.123Z  ERROR  ROLLBACK                Halted: the way back that is left would lose what others wrote since the backup
        2024-10-05T17:31:16.123Z  WARN   REQUEST                 bob wants the target taken back to its checkpoint: "three test orders"
        2024-10-05T17:31:17.123Z  INFO   ROLLBACK                Counting the rows that a restore would forget
        2024-10-05T17:31:18.123Z  WARN   ROLLBACK                3 rows written since the backup leave the target when it is restored (public.orders: 3)
        2024-10-05T17:31:19.123Z  INFO   ROLLBACK                Dumping what the restore would forget
        2024-10-05T17:31:20.123Z  INFO   ROLLBACK                Backup taken: 1.4 MiB in .deployments/deploy-prod-1728149445123/before-rollback.dump
        2024-10-05T17:31:21.123Z  INFO   ROLLBACK                Restoring the target from its backup
        2024-10-05T17:31:22.123Z  INFO   ROLLBACK                Restored the target from its backup
        2024-10-05T17:31:23.123Z  INFO   ROLLBACK                Comparing the target's schema with its checkpoint
        2024-10-05T17:31:24.123Z  INFO   ROLLBACK                The target's schema is its checkpoint's: b3:18c52a7ed981
        2024-10-05T17:31:25.123Z  WARN   ROLLBACK                Rolled back, prod is at its checkpoint again
        "#);
    }

    #[test]
    fn a_killed_run_that_nobody_can_tell_about_reads_like_this() {
        let story = testing::in_doubt();
        let last: Vec<String> = told(&story).lines().rev().take(6).map(str::to_owned).collect();
        insta::assert_snapshot!(last.into_iter().rev().collect::<Vec<_>>().join("\n"), @"
        2024-10-05T17:31:05.123Z  INFO   DEPLOYMENT              Committed step 1 of 2, 0003_add_price
        2024-10-05T17:31:06.123Z  INFO   DEPLOYMENT              Applying step 2 of 2, 0004_drop_old_price
        2024-10-05T17:31:07.123Z  INFO   DEPLOYMENT              Process 12 on build-8 took the run over
        2024-10-05T17:31:08.123Z  WARN   DEPLOYMENT              Nothing of `migrate 2` can take effect any more: no session of it is left
        2024-10-05T17:31:09.123Z  ERROR  DEPLOYMENT              Nobody can tell whether `migrate 2` happened: the catalog does not tell
        2024-10-05T17:31:10.123Z  ERROR  DEPLOYMENT              Halted: it is not known whether `migrate 2` happened
        ");
    }

    #[test]
    fn the_judgement_says_what_the_seeds_promised() {
        let story = testing::good();
        let lines = lines(&story.run, &story.events);
        let line = lines
            .iter()
            .find(|line| line["message"].as_str().unwrap().starts_with("Sandbox validation passed"))
            .unwrap();
        assert_eq!(line["deploymentId"], story.run.id.as_str());
        assert_eq!((&line["phase"], &line["level"]), (&json!("SANDBOX_VALIDATION"), &json!("INFO")));
        let metadata = &line["metadata"];
        assert_eq!(
            (&metadata["tablesModified"], &metadata["columnsAdded"], &metadata["testsPassed"]),
            (&json!(2), &json!(5), &json!(127))
        );
        assert_eq!((&metadata["environment"], &metadata["duration"]), (&json!("prod"), &json!("5.0s")));
    }

    #[test]
    fn every_event_is_told_and_no_secret_is() {
        for (name, story) in all() {
            let lines = lines(&story.run, &story.events);
            let told: std::collections::BTreeSet<u64> =
                lines.iter().map(|line| line["metadata"]["seq"].as_u64().unwrap()).collect();
            assert_eq!(told.len(), story.events.len(), "{name}");
            for line in &lines {
                let keys: Vec<_> = line.as_object().unwrap().keys().map(String::as_str).collect();
                assert_eq!(keys, ["deploymentId", "level", "message", "metadata", "phase", "timestamp"]);
                assert!(
                    !line["message"].as_str().unwrap().is_empty() && !line.to_string().contains(SECRET),
                    "{name}: {line}"
                );
            }
        }
    }

    #[test]
    fn a_refusal_weighs_as_an_error_and_an_allowed_finding_does_not() {
        let level = |story: &testing::Story, word: &str| {
            let lines = lines(&story.run, &story.events);
            let line = lines.iter().find(|line| line["message"].as_str().unwrap().starts_with(word)).cloned();
            line.map(|line| line["level"].as_str().unwrap().to_owned())
        };
        assert_eq!(level(&testing::refused(), "Refused").as_deref(), Some("ERROR"));
        assert_eq!(level(&testing::refused(), "column_removed").as_deref(), Some("ERROR"));
        assert_eq!(level(&testing::good(), "column_removed").as_deref(), Some("WARN"));
        assert_eq!(level(&testing::not_ready(), "connection").as_deref(), Some("ERROR"));
    }
}
