//! Driving a run from the command line: the lock, the signals, the loop, the reports, the exit code.

use super::{Story, ask, stories};
use crate::cli::exit::ExitCode;
use crate::cli::progress::Live;
use crate::cli::{Context, Outcome, Stopped, render};
use crate::config::{Config, Environment};
use crate::domain::code::Code;
use crate::domain::decide::{Command, decide};
use crate::domain::digest::Digest;
use crate::domain::event::{Artifact, Event, HealthCheck, Request, RollbackSettings, Settings, UserCommand};
use crate::domain::failure::Failure;
use crate::domain::finding::Allowance;
use crate::domain::ids::RunId;
use crate::domain::machine::{End, State};
use crate::domain::migration::Format;
use crate::domain::recovery::blocks_target;
use crate::domain::run::Run;
use crate::engine::runner::{Broken, Ending, Runner};
use crate::engine::stop::{Stopper, Urgency, stop};
use crate::engine::{World, anchors};
use crate::ports::journal::Journal;
use crate::wire::OpenJournal;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

/// How a run is entered.
pub(super) enum Enter {
    /// It is new.
    Start(Box<Request>),
    /// It goes on.
    Resume,
    /// Somebody decided something about it first.
    Decided(Box<Event>),
}

/// What the configuration says, frozen into the request.
pub(super) fn request(
    config: &Config,
    environment: &Environment,
    dry_run: bool,
    allow: Allowance,
) -> Result<Request, Failure> {
    let ms = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let command = |command: &crate::config::Command| UserCommand {
        command: command.command.clone(),
        timeout_ms: ms(command.timeout),
        once: !command.repeatable,
    };
    Ok(Request {
        environment: environment.name.clone(),
        target: environment.database_url.place(),
        dry_run,
        allow,
        settings: Settings {
            migration_timeout_ms: ms(environment.migration_timeout),
            lock_timeout_ms: ms(environment.lock_timeout),
            lock_budget_ms: ms(environment.lock_budget),
            statement_timeout_ms: environment.statement_timeout.map(ms),
            approval: environment.approval,
            require_clean_tree: environment.require_clean_tree,
            data: config.sandbox.data.word().to_owned(),
            sample: Some(config.sandbox.sample).filter(|_| config.sandbox.data == crate::config::SandboxData::Sample),
            masks: config.sandbox.masks.clone(),
            previous_tests: config.previous_tests()?.as_ref().map(command),
            tests: config.tests()?.as_ref().map(command),
            verify: environment.verify.as_ref().map(command),
            health: environment.health.as_ref().map(|health| HealthCheck {
                timeout_ms: ms(health.timeout),
                attempts: health.retries.saturating_add(1),
            }),
            budget: Some(environment.budget.clone()).filter(|budget| *budget != Default::default()),
            rollback: RollbackSettings {
                in_place: config.rollback.in_place,
                soft_drop: config.rollback.soft_drop,
                capture: config.rollback.capture.clone(),
                window_ms: ms(environment.rollback_window),
                required: environment.require_reverse,
                slot_bytes: Some(config.rollback.slot_bytes),
            },
        },
    })
}

/// Drives `run` from where it is to where it can get.
pub(super) async fn drive(
    context: &Context,
    config: &Config,
    environment: &Environment,
    journal: &mut OpenJournal,
    run: Run,
    enter: Enter,
) -> Outcome {
    let id = run.id.clone();
    // The kernel frees it when this process ends, however it ends.
    let _lock = journal.lock(environment.name.as_str(), id.as_str())?;
    let last_left = last_left(journal, &id, &environment.database_url.place())?;
    let world = crate::wire::world(config, environment, id.as_str())?;
    let window = super::watch::hold_off(context, journal, environment.name.as_str(), &world).await?;
    check_anchors(config, journal, &world).await?;
    if matches!(enter, Enter::Start(_)) {
        refuse_while_open(journal, &id)?;
    }
    world.files.remove_leftovers();
    sweep(context, &world).await;

    if matches!(enter, Enter::Start(_)) {
        super::captures::retire(context, config, journal, &world, super::captures::Which::All).await?;
    }

    let (stopper, stopped) = stop();
    let _signals = listen(stopper)?;
    let live = Live::new(&context.shell);
    let actor = context.actor(config);
    let asked_for = matches!(&enter, Enter::Decided(event) if matches!(**event, Event::RollbackRequested { .. }));
    let (ending, run) = {
        let mut runner = Runner::new(&world, journal, &live, stopped, actor, run);
        runner.expect(last_left);
        let entered = match enter {
            Enter::Start(request) => runner.request(*request),
            Enter::Resume => Ok(()),
            Enter::Decided(event) => runner.record(*event),
        };
        let mut ending = match entered.and_then(|()| runner.take_over()) {
            Ok(()) => runner.drive().await,
            Err(broken) => Err(broken),
        };
        if let Ok(Ending::Waiting) = &ending
            && let Some(yes) = approve_here(context, &runner.run)
        {
            let command = if yes { Command::Approve { reason: None } } else { Command::Reject { reason: None } };
            let event = decide(&runner.run, command)?;
            ending = match runner.record(event) {
                Ok(()) => runner.drive().await,
                Err(broken) => Err(broken),
            };
        }
        (ending, runner.run)
    };
    let code = finish(context, config, &world, journal, run, ending, asked_for)?;
    // From here on the window may be looked after by somebody else.
    drop(window);
    super::watch::leave_on_watch(context, config, journal, &world, &id).await;
    Ok(code)
}

/// Writes the reports, prints the result and says how the process ends.
pub(super) fn finish(
    context: &Context,
    config: &Config,
    world: &World,
    journal: &mut OpenJournal,
    run: Run,
    ending: Result<Ending, Broken>,
    asked_for: bool,
) -> Outcome {
    let ending = match ending {
        Ok(ending) => ending,
        Err(broken) => {
            let code = match broken {
                Broken::Journal(_) => ExitCode::Journal,
                Broken::Superseded(_) | Broken::Moved => ExitCode::Busy,
                Broken::Bug(_) => ExitCode::Failed,
            };
            return Err(Stopped::With(code, broken.failure(&run.id)));
        }
    };
    let run = reports(context, config, world, journal, run)?;
    journal.checkpoint();
    let folder = config.shown(&config.artifacts.dir.join(run.id.as_str()));
    let mut shell = context.shell.borrow_mut();
    if let Ending::Interrupted(Some(failure)) = &ending {
        shell.warn(failure);
    }
    if shell.is_json() {
        let mut document = render::run::json(&run, &folder);
        // Why it does not go on now is no part of the run, and has to be said all the same.
        if let Ending::Interrupted(Some(failure)) = &ending
            && document["reasons"].as_array().is_some_and(Vec::is_empty)
        {
            document["reasons"] = serde_json::json!([render::run::failure_json(failure)]);
        }
        if run.request.as_ref().is_some_and(|request| request.dry_run)
            && let Some(object) = document.as_object_mut()
        {
            object.insert("plan".to_owned(), run.plan.as_ref().map_or(Value::Null, render::run::plan_json));
            let rehearsal = fs_err::read(world.files.path("rehearsal.json"))
                .ok()
                .and_then(|bytes| serde_json::from_slice(&bytes).ok());
            object.insert("rehearsal".to_owned(), rehearsal.unwrap_or(Value::Null));
        }
        shell.result_json(&document)?;
    } else {
        let color = shell.out_has_color();
        shell.result(&render::run::summary(&run, color, &folder))?;
    }
    drop(shell);
    if let Ending::Interrupted(_) = &ending
        && !run.state.is_settled()
    {
        context.shell.borrow_mut().note(&format!("it can go on at any time: dbd resume {}", run.id));
    }
    Ok(code_of(&run, &ending, asked_for))
}

/// How the process ends.
fn code_of(run: &Run, ending: &Ending, asked_for: bool) -> ExitCode {
    match ending {
        Ending::Settled(End::Succeeded | End::Rehearsed) => ExitCode::Ok,
        Ending::Settled(End::Refused) => {
            let busy = run.reasons.iter().any(|reason| matches!(reason.code, Code::TargetBusy | Code::Busy));
            if busy { ExitCode::Busy } else { ExitCode::Refused }
        }
        // Asked for, it is what was asked; otherwise a deployment failed.
        Ending::Settled(End::RolledBack) if asked_for => ExitCode::Ok,
        Ending::Settled(End::RolledBack) => ExitCode::RolledBack,
        Ending::Settled(End::Abandoned) | Ending::Halted => ExitCode::NeedsOperator,
        Ending::Interrupted(Some(failure)) if failure.code == Code::TargetBusy => ExitCode::Busy,
        Ending::Waiting | Ending::Interrupted(_) => ExitCode::Resumable,
    }
}

/// The reports beside the run, and the record of them. A report that cannot be written is said, and changes no outcome.
pub(super) fn reports(
    context: &Context,
    config: &Config,
    world: &World,
    journal: &mut OpenJournal,
    run: Run,
) -> Result<Run, Failure> {
    if run.rseq == 0 {
        return Ok(run);
    }
    let events = journal.read(&run.id)?;
    let comparison = fs_err::read(world.files.path("schema-comparison.json"))
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    let mut lines = String::new();
    for line in render::log::lines(&run, &events) {
        lines.push_str(&line.to_string());
        lines.push('\n');
    }
    let files = [
        ("deployment.log", lines),
        ("report.md", render::report::markdown(&run, &events, comparison.as_ref())),
        ("report.html", render::report::html(&run, &events, comparison.as_ref())),
    ];
    let mut written = Vec::new();
    for (name, text) in files {
        match world.files.write(name, text.as_bytes()) {
            Ok(artifact) => written.push(artifact),
            Err(failure) => context.shell.borrow_mut().warn(&failure),
        }
    }
    written.extend(anchored(journal, world, &run)?);
    let live = crate::engine::watch::Nobody;
    let (_stopper, stopped) = stop();
    let mut runner = Runner::new(world, journal, &live, stopped, context.actor(config), run);
    if !written.is_empty() {
        runner.record(Event::ArtifactsWritten { files: written }).map_err(|broken| broken.failure(&runner.run.id))?;
    }
    Ok(runner.run)
}

/// `rollback-state.json` once more, with the journal's head as it is now: an anchor outside the journal.
fn anchored(journal: &OpenJournal, world: &World, run: &Run) -> Result<Option<Artifact>, Failure> {
    let state = fs_err::read(world.files.path("rollback-state.json")).ok();
    let Some(mut state) = state.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok()) else { return Ok(None) };
    state["journal"] = serde_json::json!({"origin": journal.origin(), "seq": run.seq, "head": run.head});
    let text = serde_json::to_vec_pretty(&state).unwrap_or_default();
    // The one that is there stays if this one cannot be written.
    Ok(world.files.write("rollback-state.json", &text).ok().or_else(|| world.files.look("rollback-state.json")))
}

/// What the last run of this target left there, from the newest that knows.
pub(super) fn last_left(
    journal: &dyn Journal,
    except: &RunId,
    target: &str,
) -> Result<Option<(RunId, Digest)>, Failure> {
    let environment = except.environment();
    for head in
        journal.runs()?.into_iter().rev().filter(|head| head.run != *except && head.run.environment() == environment)
    {
        let Story { run, .. } = super::story(journal, &head.run)?;
        let same = run.request.as_ref().is_some_and(|request| request.target == target);
        if let (true, State::Settled { end: End::Succeeded | End::RolledBack }, Some((print, _))) =
            (same, run.state, run.verified.clone())
        {
            return Ok(Some((run.id, print)));
        }
    }
    Ok(None)
}

/// A run that may have changed the target comes first.
fn refuse_while_open(journal: &dyn Journal, id: &RunId) -> Result<(), Failure> {
    for Story { run, .. } in stories(journal)? {
        if run.id.environment() == id.environment() && blocks_target(&run) {
            let lease = run
                .lease
                .as_ref()
                .map_or_else(String::new, |lease| format!(" (last worked on by pid {} on {})", lease.pid, lease.host));
            return Err(Failure::new(
                Code::Busy,
                format!("{} is not finished and may have changed the target{lease}", run.id),
            )
            .hint(format!("finish it or take it back first: dbd resume {}", run.id)));
        }
    }
    Ok(())
}

/// The journal against what it once wrote elsewhere: the target's ledger, and the files beside the run. A target that cannot be asked now
/// is asked again before its lease is taken.
async fn check_anchors(config: &Config, journal: &OpenJournal, world: &World) -> Result<(), Failure> {
    anchors::in_files(journal, &config.artifacts.dir)?;
    match anchors::in_ledger(journal, world).await {
        Err(failure) if ExitCode::of(failure.code) == ExitCode::Journal => Err(failure),
        _ => Ok(()),
    }
}

/// Removes what earlier processes left behind. Not being able to is no reason not to deploy.
async fn sweep(context: &Context, world: &World) {
    match world.sandboxes.gc().await {
        Ok(removed) => {
            for one in removed {
                context.shell.borrow_mut().detail(&format!("removed an orphaned sandbox: {}", one.place));
            }
        }
        Err(failure) => {
            context.shell.borrow_mut().detail(&format!("orphaned sandboxes were not looked for: {}", failure.message))
        }
    }
}

/// Ctrl-C or SIGTERM: once, finish the step; twice, stop now.
fn listen(stopper: Stopper) -> Result<tokio::task::JoinHandle<()>, Failure> {
    let failed = |error: std::io::Error| Failure::new(Code::Bug, "signals cannot be listened to").source(&error);
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt()).map_err(failed)?, signal(SignalKind::terminate()).map_err(failed)?);
    Ok(tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            let text: &[u8] = match stopper.ask() {
                Urgency::AfterStep => {
                    b"\nstopping after the step under way; once more stops now (resumable either way)\n"
                }
                _ => b"\nstopping now; resumable\n",
            };
            // The shell is busy elsewhere on this thread; this one line goes straight out.
            let _ = std::io::Write::write_all(&mut std::io::stderr(), text);
        }
    }))
}

/// Whether somebody at the terminal approves the plan right away.
fn approve_here(context: &Context, run: &Run) -> Option<bool> {
    if context.yes {
        return Some(true);
    }
    let plan = run.plan.as_ref()?;
    let names: Vec<String> = plan.migrations.iter().map(|migration| migration.id.to_string()).collect();
    ask(&format!("{} to {}: {}\nDeploy this plan?", run.id, run.id.environment(), names.join(", "))).filter(|yes| *yes)
}

/// Files that changed since the plan was made, both digests shown.
pub(super) fn check_files(run: &Run, config: &Config) -> Result<(), Failure> {
    let Some(preflight) = &run.preflight else { return Ok(()) };
    let halted = matches!(run.state, State::Halted { .. }) && !run.looks_again();
    let goes_back = halted || matches!(run.state, State::Rolling { .. } | State::Settled { .. });
    if goes_back || run.cancelled.is_some() || run.rejected.is_some() || run.failure.is_some() {
        // The way back does not need them.
        return Ok(());
    }
    for pending in &preflight.pending {
        let planned = &pending.migration;
        // A command is no file: it stands in the configuration.
        let now = match preflight.format {
            Format::Command => config.migrations.command.as_ref().map(Digest::of),
            _ => fs_err::read(config.root.join(&planned.file)).ok().map(Digest::of),
        };
        if now.as_ref() != Some(&planned.digest) {
            let found = now.map_or_else(|| "it is gone".to_owned(), |digest| format!("now {}", digest.short()));
            return Err(Failure::new(
                Code::ChangedSincePlan,
                format!("{} changed since {} looked at it", planned.file, run.id),
            )
            .cause(format!("then {}, {found}", planned.digest.short()))
            .hint("put the file back as it was, then resume")
            .hint(format!("or give the run up: dbd cancel {}", run.id)));
        }
    }
    Ok(())
}
