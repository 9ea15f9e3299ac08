//! A run as it happens: a line per step, a bar where a size is known and somebody looks on.

use super::shell::Shell;
use crate::domain::effect::Effect;
use crate::domain::event::{CheckStatus, Event, Outcome, Recorded, Verdict};
use crate::domain::run::Run;
use crate::engine::watch::Watch;
use indicatif::{ProgressBar, ProgressStyle};
use std::cell::RefCell;
use std::time::Duration;

/// Shows a run on stderr.
pub(crate) struct Live<'a> {
    shell: &'a RefCell<Shell>,
    bar: RefCell<Option<ProgressBar>>,
    begun_ms: RefCell<i64>,
}

impl<'a> Live<'a> {
    /// Shows on the shell's stderr.
    pub fn new(shell: &'a RefCell<Shell>) -> Self {
        Self { shell, bar: RefCell::new(None), begun_ms: RefCell::new(0) }
    }

    fn begin(&self, effect: Effect) {
        if !self.shell.borrow().may_animate() {
            return;
        }
        let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner());
        let bar = ProgressBar::new_spinner().with_style(style).with_message(doing(effect));
        bar.enable_steady_tick(Duration::from_millis(120));
        self.bar.replace(Some(bar));
    }

    fn end(&self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn say(&self, verb: &str, message: &str) {
        self.end();
        self.shell.borrow_mut().status(verb, message);
    }
}

/// What an effect is doing, in the present tense.
fn doing(effect: Effect) -> String {
    match effect {
        Effect::Preflight => "looking at everything first".to_owned(),
        Effect::Dump { .. } => "dumping the target".to_owned(),
        Effect::CreateSandbox => "making a sandbox".to_owned(),
        Effect::FillSandbox => "restoring the dump into the sandbox".to_owned(),
        Effect::Rehearse => "rehearsing the migrations".to_owned(),
        Effect::RunTests => "running the tests in the sandbox".to_owned(),
        Effect::DropSandbox => "removing the sandbox".to_owned(),
        Effect::StartCapture => "having writes captured".to_owned(),
        Effect::RaiseShadow => "restoring the dump into the shadow, and proving it".to_owned(),
        Effect::EndCapture => "ending the capture of writes".to_owned(),
        Effect::PrepareTarget => "preparing the target".to_owned(),
        Effect::Migrate { step } => format!("applying step {}", step + 1),
        Effect::CheckSchema => "comparing the target with the rehearsal".to_owned(),
        Effect::RunVerify => "running the verification".to_owned(),
        Effect::CheckHealth => "asking the application".to_owned(),
        Effect::CheckWay => "looking whether the way back loses nothing".to_owned(),
        Effect::UndoStep { step } => format!("taking step {} back", step + 1),
        Effect::CatchUp => "replaying what was written since".to_owned(),
        Effect::Swap => "swapping the target and its shadow".to_owned(),
        Effect::AssessLoss => "counting what a restore would forget".to_owned(),
        Effect::Restore => "restoring the target".to_owned(),
        Effect::CheckRestored => "comparing the target with the checkpoint".to_owned(),
    }
}

/// What an effect is called when it is over, and what it brought.
fn done(effect: Effect, outcome: &Outcome, run: &Run) -> (String, String) {
    let name = effect.name();
    let what = match outcome {
        Outcome::Preflight(preflight) => {
            let warnings = preflight.checks.iter().filter(|check| check.status == CheckStatus::Warning).count();
            let pending = preflight.pending.len();
            let mut text = format!(
                "{} checks, {pending} pending migration{}",
                preflight.checks.len(),
                if pending == 1 { "" } else { "s" }
            );
            if warnings > 0 {
                text.push_str(&format!(", {warnings} warning{}", if warnings == 1 { "" } else { "s" }));
            }
            text
        }
        Outcome::Dump(backup) => format!("{} ({})", backup.path, bytesize::ByteSize::b(backup.bytes).display().iec()),
        Outcome::Sandbox { place, .. } => place.clone(),
        Outcome::Rehearsal(rehearsal) => {
            let statements: usize = rehearsal.migrations.iter().map(|migration| migration.statements).sum();
            format!(
                "{statements} statement{} ran, {} finding{}",
                s(statements),
                rehearsal.findings.len(),
                s(rehearsal.findings.len())
            )
        }
        Outcome::Command(report) => report.counts.map_or_else(
            || "passed".to_owned(),
            |counts| format!("{} passed, {} failed", counts.passed, counts.failed),
        ),
        Outcome::Capture { place, .. } => place.clone(),
        Outcome::Readiness(readiness) => crate::cli::render::words::readiness(readiness),
        Outcome::Swapped(swapped) => crate::cli::render::words::swapped(swapped),
        Outcome::Step(_) => match effect {
            Effect::Migrate { step } | Effect::UndoStep { step } => {
                let plan = run.plan.as_ref();
                let migration =
                    plan.and_then(|plan| plan.steps.get(step).and_then(|step| plan.migrations.get(step.migration)));
                migration.map(|migration| migration.id.to_string()).unwrap_or_default()
            }
            _ => "the target is back at the backup".to_owned(),
        },
        Outcome::Fingerprint { fingerprint, .. } => format!("schema {}", fingerprint.short()),
        Outcome::Loss(loss) => match loss.rows() {
            0 => "nothing would be forgotten".to_owned(),
            rows => format!(
                "{rows} row{} written since the backup; they are dumped first",
                s(usize::try_from(rows).unwrap_or(2))
            ),
        },
        Outcome::Checks(_) | Outcome::Done => String::new(),
    };
    (name, what)
}

fn s(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

fn elapsed(ms: i64) -> String {
    if ms < 1_000 { format!("{ms} ms") } else { format!("{}.{} s", ms / 1_000, (ms % 1_000) / 100) }
}

impl Watch for Live<'_> {
    fn recorded(&self, recorded: &Recorded, run: &Run) {
        let took = || elapsed(recorded.ts_ms - *self.begun_ms.borrow());
        match &recorded.event {
            Event::Requested(request) => self.say("run", &format!("{} on {}", run.id, request.target)),
            Event::LeaseTaken { epoch, .. } if run.rseq > 2 => {
                self.say("took over", &format!("{} (epoch {epoch})", run.id))
            }
            Event::Intended { effect, .. } => {
                self.begun_ms.replace(recorded.ts_ms);
                self.begin(*effect);
            }
            Event::Succeeded { outcome, .. } => {
                if let Outcome::Preflight(preflight) = outcome {
                    self.end();
                    for check in preflight.checks.iter().filter(|check| check.status == CheckStatus::Warning) {
                        match &check.failure {
                            Some(failure) => self.shell.borrow_mut().warn(failure),
                            None => self.shell.borrow_mut().note(&check.message),
                        }
                    }
                }
                if let Some(past) = run.past.last() {
                    let (name, what) = done(past.effect, outcome, run);
                    let what = if what.is_empty() { took() } else { format!("{what}, {}", took()) };
                    self.say(&name, &what);
                }
            }
            Event::Failed { failure, .. } => {
                if let Some(past) = run.past.last() {
                    self.say(&past.effect.name(), &format!("failed after {}: {}", took(), failure.message));
                }
            }
            Event::Fenced { evidence, .. } => self.say("fence", evidence),
            Event::Reconciled { verdict, evidence, .. } => {
                let verdict = match verdict {
                    Verdict::Applied { .. } => "it happened",
                    Verdict::NotApplied => "it did not happen",
                    Verdict::PartlyApplied { .. } => "it did not come to its end, and a part of it may be committed",
                    Verdict::Unknown => "nobody can tell",
                };
                self.say("probe", &format!("{verdict}: {evidence}"));
            }
            Event::Planned { plan, digest, .. } => {
                self.say(
                    "plan",
                    &format!(
                        "{} migration{}, {} step{}, {}",
                        plan.migrations.len(),
                        s(plan.migrations.len()),
                        plan.steps.len(),
                        s(plan.steps.len()),
                        digest.short()
                    ),
                );
            }
            Event::RollbackStarted { why } => self.say("rolling back", &why.message),
            Event::RollbackRequested { .. } => self.say("rolling back", "as asked"),
            _ => {}
        }
    }

    fn progress(&self, effect: Effect, done: u64, total: Option<u64>) {
        let bar = self.bar.borrow();
        let Some(bar) = bar.as_ref() else { return };
        if let (Effect::FillSandbox, Some(tables)) = (effect, total) {
            // A restore knows how many tables it has to go through; a dump is compressed and does not know how large it gets.
            if bar.length() != Some(tables)
                && let Ok(style) =
                    ProgressStyle::with_template("{spinner} {msg} [{bar:24}] {pos} of {len} tables {elapsed}")
            {
                bar.set_style(style.progress_chars("=> "));
                bar.set_length(tables);
            }
            bar.set_position(done);
        } else {
            bar.set_message(format!("{}: {}", doing(effect), bytesize::ByteSize::b(done).display().iec()));
        }
    }

    fn note(&self, effect: Effect, text: &str) {
        match self.bar.borrow().as_ref() {
            Some(bar) => bar.set_message(format!("{}: {text}", doing(effect))),
            None => self.shell.borrow_mut().detail(&format!("{}: {text}", effect.name())),
        }
    }
}
