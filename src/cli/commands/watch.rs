//! `dbd watch`: looks after the rollback window of a run until it is over, a round at a time.
//!
//! Three locks keep processes apart, all of them the kernel's. Who drives a run holds the environment's. Who watches one holds that run's,
//! for as long as it watches, so that there is one watcher. And whoever is at the capture at this moment holds the environment's window: a
//! watcher for one round, who drives for as long as it drives. So a watcher never keeps anybody out for longer than a round, and a round
//! that takes long is cut off.

use super::resume::same_target;
use super::{Story, find_run, journal_to_write, stories, story};
use crate::cli::exit::ExitCode;
use crate::cli::render::words;
use crate::cli::{Context, Outcome};
use crate::config::{self, Config, Watching};
use crate::domain::code::Code;
use crate::domain::event::Actor;
use crate::domain::failure::Failure;
use crate::domain::ids::RunId;
use crate::domain::machine::{End, State};
use crate::domain::run::Run;
use crate::domain::time::rfc3339;
use crate::engine::World;
use crate::engine::capture::of_run;
use crate::engine::runner::Runner;
use crate::engine::stop::stop;
use crate::engine::watch::Nobody;
use crate::engine::window::{self, Looked};
use crate::ports::journal::Journal;
use crate::wire::OpenJournal;
use serde_json::{Value, json};
use std::any::Any;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long one round replays at a stretch.
const ROUND: Duration = Duration::from_secs(5);

/// How soon it is looked again where somebody else was at it.
const SOON: Duration = Duration::from_millis(500);

/// How often it is looked at most.
const SHORTEST: Duration = Duration::from_millis(100);

/// How long a window that is over is still tried to be closed, where the target cannot be reached.
const LAST_TRIES_MS: i64 = 10 * 60 * 1000;

/// How long whoever drives waits for a round to end by itself, and how long in all once it is cut off.
const GRACE: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(30);

/// How long another look at a lock may hold it.
const GLANCE: Duration = Duration::from_secs(1);

/// How long a watcher may take to be there.
const BEGINNING: Duration = Duration::from_secs(20);

/// What a watcher writes down, in the folder of its run.
const LOG: &str = "watch.log";

/// Look after the rollback window of a run until it is over
///
/// Keeps the second copy caught up, records when the way back would begin to lose something, drops a replication slot at its limit, and
/// takes capture and copy away at the end of the window. `dbd start` leaves such a process by itself, unless `rollback.watch` says otherwise.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run
    run: String,
    /// One round, for cron and timers
    #[arg(long)]
    once: bool,
    /// How often to look, like 30s; `rollback.watch_interval` if left out
    #[arg(long, value_name = "DURATION", value_parser = config::duration::parse, conflicts_with = "once")]
    every: Option<Duration>,
    /// Left behind by another command: part from its terminal
    #[arg(long, hide = true, conflicts_with = "once")]
    detached: bool,
}

/// What one round came to.
#[derive(Debug)]
enum Round {
    /// The window is open, and was looked after.
    Looked { looked: Looked, until_ms: i64 },
    /// Somebody else is at it at this moment.
    Busy,
    /// The run goes back, or waits for somebody who says how.
    Unfinished,
    /// Nothing is left to watch, and why.
    Over(String),
}

pub(crate) async fn run(context: &Context, args: Args) -> Outcome {
    if args.detached {
        // Who leads its group already has no terminal to part from.
        let _ = rustix::process::setsid();
    }
    let config = context.load()?;
    let journal = journal_to_write(&config)?;
    let Story { run, .. } = find_run(&journal, &args.run)?;
    let id = run.id.clone();
    let _alone = alone(&journal, &id).await?;
    let mut deadline = window::until_ms(&run).unwrap_or_else(|| {
        let window = run.request.as_ref().map_or(0, |request| request.settings.rollback.window_ms);
        crate::wire::now_ms().saturating_add(i64::try_from(window).unwrap_or(i64::MAX))
    });
    drop(journal);
    // Known for good: where they are gone, so is the configuration that would say where they are.
    let (record, folder) = (config.journal.path.clone(), config.artifacts.dir.join(id.as_str()));
    let (mut fence, mut said) = (true, String::new());
    loop {
        for (there, what) in [(&record, "the journal is gone"), (&folder, "the folder of its files is gone")] {
            if !there.exists() {
                return finished(context, &id, &Ok(Round::Over(what.to_owned())));
            }
        }
        // What the configuration says may change in so long a time: a password does.
        let read =
            config::load(&context.directory, context.config.as_deref(), context.journal.as_deref(), &context.variables);
        let (every, done) = match read {
            Ok(config) => (
                args.every.unwrap_or(config.rollback.watch_interval).max(SHORTEST),
                round(context, &config, &id, fence).await,
            ),
            Err(failure) => (SOON.max(args.every.unwrap_or(SOON)), Err(failure)),
        };
        fence = done.is_err();
        let now = crate::wire::now_ms();
        let mut pause = every;
        match &done {
            Ok(Round::Looked { looked, until_ms }) => {
                deadline = *until_ms;
                let text = format!("the window is open until {}", rfc3339(deadline));
                tell(context, &id, looked, said != text, &text);
                said = text;
                if !looked.level && looked.readiness.blocked.is_none() {
                    pause = pause.min(SOON);
                }
            }
            Ok(Round::Busy) => pause = pause.min(SOON),
            Ok(Round::Unfinished) if now < deadline => {
                say(context, &mut said, &format!("{id} is not finished: who finishes it has the capture"));
            }
            Ok(Round::Unfinished) => {
                let why = "its window is over, and whoever finishes it takes the capture away";
                return finished(context, &id, &Ok(Round::Over(why.to_owned())));
            }
            Ok(Round::Over(_)) => return finished(context, &id, &done),
            Err(failure) => {
                let hopeless = ExitCode::of(failure.code) == ExitCode::Journal;
                if args.once || hopeless || now > deadline.saturating_add(LAST_TRIES_MS) {
                    return Err(failure.clone().into());
                }
                if said != failure.message {
                    context.shell.borrow_mut().warn(failure);
                    said.clone_from(&failure.message);
                }
            }
        }
        if args.once {
            return finished(context, &id, &done);
        }
        let left = u64::try_from(deadline.saturating_sub(now)).ok().filter(|left| *left > 0);
        tokio::time::sleep(left.map_or(pause, |left| pause.min(Duration::from_millis(left)))).await;
    }
}

/// One round: what the next command would do for the run now.
async fn round(context: &Context, config: &Config, id: &RunId, fence: bool) -> Result<Round, Failure> {
    let over = |why: &str| Ok(Round::Over(why.to_owned()));
    let Some(reading) = crate::wire::journal_for_reading(config)? else { return over("the journal is gone") };
    if !reading.runs()?.iter().any(|head| head.run == *id) {
        return over("the journal does not know it any more");
    }
    let run = story(&reading, id)?.run;
    if let Some(round) = not_to_watch(&run) {
        return Ok(round);
    }
    let environment = config.environment(id.environment().as_str())?;
    same_target(&run, &environment)?;
    let world = crate::wire::world(config, &environment, id.as_str())?;
    let mut journal = journal_to_write(config)?;
    let _window = match journal.lock(&window_of(environment.name.as_str()), &format!("dbd watch {id}")) {
        Ok(lock) => lock,
        Err(failure) if failure.code == Code::Busy => return Ok(Round::Busy),
        Err(failure) => return Err(failure),
    };
    // As it stands now that nobody else is at it.
    let run = story(&journal, id)?.run;
    if let Some(round) = not_to_watch(&run) {
        return Ok(round);
    }
    let actor = Actor { kind: "system".to_owned(), ..context.actor(config) };
    let until = window::until_ms(&run).filter(|until| world.clock.now_ms() < *until);
    let (_stopper, stopped) = stop();
    let mut runner = Runner::new(&world, &mut journal, &Nobody, stopped, actor, run);
    if let Some(until_ms) = until {
        let looked = runner.look_back(ROUND, fence).await?;
        return Ok(Round::Looked { looked, until_ms });
    }
    let why = match runner.run.state {
        State::Settled { end: End::Succeeded } => "its window is over",
        _ => "the run was given up",
    };
    runner.retire(why).await?;
    Ok(Round::Over(format!("{why}: capture and copy are removed, and its way back is the backup")))
}

/// What a run is that has no window to be watched now.
fn not_to_watch(run: &Run) -> Option<Round> {
    match (of_run(run), run.state) {
        (None, State::Settled { end: End::RolledBack }) => Some(Round::Over("it was taken back".to_owned())),
        (None, _) => Some(Round::Over("its writes are not captured".to_owned())),
        (Some(_), State::Settled { .. }) => None,
        (Some(_), _) => Some(Round::Unfinished),
    }
}

/// Says `text` unless it was said last.
fn say(context: &Context, said: &mut String, text: &str) {
    if said != text {
        context.shell.borrow_mut().note(&format!("{} {text}", rfc3339(crate::wire::now_ms())));
        text.clone_into(said);
    }
}

/// Says what a look found, if it is news or the first.
fn tell(context: &Context, id: &RunId, looked: &Looked, first: bool, until: &str) {
    if !looked.news && !first {
        return;
    }
    let mut shell = context.shell.borrow_mut();
    let now = rfc3339(crate::wire::now_ms());
    match &looked.readiness.blocked {
        Some(why) => shell.warn(
            &Failure::new(Code::WayBlocked, format!("{now} {id}: a rollback would lose what was written since: {why}"))
                .hint("going forward loses nothing; `dbd explain DBD-0605` has the ways out"),
        ),
        None => shell.note(&format!("{now} {id}: {until}; {}", words::readiness(&looked.readiness))),
    }
}

/// The result of the command.
fn finished(context: &Context, id: &RunId, done: &Result<Round, Failure>) -> Outcome {
    let mut shell = context.shell.borrow_mut();
    let (state, why, until, looked) = match done {
        Ok(Round::Looked { looked, until_ms }) => ("open", None, Some(*until_ms), Some(looked)),
        Ok(Round::Over(why)) => ("over", Some(why.as_str()), None, None),
        Ok(Round::Unfinished) => ("unfinished", Some("the run is not finished"), None, None),
        _ => ("busy", Some("somebody else is at it"), None, None),
    };
    if shell.is_json() {
        let readiness = looked.map_or(Value::Null, |looked| {
            json!({
                "level": looked.level,
                "transactions": looked.readiness.transactions,
                "rows": looked.readiness.rows,
                "blocked": looked.readiness.blocked,
                "residue": looked.readiness.residue,
            })
        });
        shell.result_json(&json!({
            "schema": "dbd.watch/1", "run": id.as_str(), "state": state, "why": why, "until": until.map(rfc3339),
            "readiness": readiness,
        }))?;
    } else {
        let text = match (looked, until) {
            (Some(looked), Some(until)) => {
                format!("{id}: the window is open until {}; {}", rfc3339(until), words::readiness(&looked.readiness))
            }
            _ => format!("{id}: {}", why.unwrap_or_default()),
        };
        shell.result(&text)?;
    }
    Ok(ExitCode::Ok)
}

// ------------------------------------------------------------------------------------------------------------------------ locks

/// The lock of whoever is at the captures of an environment. No environment is called so, as there is a dot in it.
fn window_of(environment: &str) -> String {
    format!("{environment}.window")
}

/// The lock of the one process that watches `run`.
fn watcher_of(run: &RunId) -> String {
    format!("{run}.watch")
}

/// Has this process be the one that watches `run`.
async fn alone(journal: &OpenJournal, run: &RunId) -> Result<Box<dyn Any>, Failure> {
    let begun = Instant::now();
    loop {
        match journal.lock(&watcher_of(run), &format!("dbd watch {run}")) {
            // Whoever only asks who has it, has it for a moment.
            Err(failure) if failure.code == Code::Busy && begun.elapsed() < GLANCE => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(failure) if failure.code == Code::Busy => {
                let by = journal.locked_by(&watcher_of(run)).unwrap_or_else(|| "another process".to_owned());
                return Err(Failure::new(Code::Busy, format!("{run} is watched already, by {by}"))
                    .hint("one is enough; end that process to watch it from here"));
            }
            locked => return locked,
        }
    }
}

/// Who watches `run` at this moment, if somebody does.
pub(super) fn watched_by(journal: &OpenJournal, run: &RunId) -> Option<String> {
    journal.locked_by(&watcher_of(run))
}

/// Keeps watchers out of the captures of an environment until what is given back is dropped. A round under way ends by itself within a
/// moment, or has its sessions ended.
pub(super) async fn hold_off(
    context: &Context,
    journal: &OpenJournal,
    environment: &str,
    world: &World,
) -> Result<Box<dyn Any>, Failure> {
    let begun = Instant::now();
    let mut cut = false;
    loop {
        let failure = match journal.lock(&window_of(environment), environment) {
            Err(failure) if failure.code == Code::Busy => failure,
            locked => return locked,
        };
        if begun.elapsed() > PATIENCE {
            return Err(failure
                .cause("a round of `dbd watch` is under way there and does not end")
                .hint("end that process: nothing is lost by it"));
        }
        if begun.elapsed() > GRACE && !cut {
            cut = true;
            context.shell.borrow_mut().detail("ending a round of `dbd watch` that is under way");
            for Story { run, .. } in stories(journal)? {
                let here = run.request.as_ref().is_some_and(|request| request.target == world.target.place());
                if let Some(capture) = of_run(&run).filter(|_| here) {
                    let sessions = window::watcher(&run.id, &capture);
                    // Where the server is away, the round ends for the same reason.
                    let _ = world.captures.fence(&world.target, &capture, &sessions).await;
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

// ------------------------------------------------------------------------------------------------------------ left behind

/// Leaves a process that watches the window of `id`, if it is open; says so plainly where nothing watches.
pub(super) async fn leave_on_watch(
    context: &Context,
    config: &Config,
    journal: &OpenJournal,
    world: &World,
    id: &RunId,
) {
    let Ok(Story { run, .. }) = story(journal, id) else { return };
    let open = window::until_ms(&run).filter(|until| world.clock.now_ms() < *until && of_run(&run).is_some());
    let Some(until) = open else { return };
    let until = rfc3339(until);
    let nobody = |why: &str| {
        context.shell.borrow_mut().note(&format!(
            "nothing watches its rollback window, which is open until {until}: {why}. `dbd watch {id}` does, where a process may stay; \
             until then only the next command keeps the copy caught up, and takes it away"
        ));
    };
    match config.rollback.watch {
        Watching::Never => return nobody("`rollback.watch` is \"never\""),
        Watching::Auto if config.is_ci() => return nobody("the processes of a CI job end with it"),
        Watching::Auto | Watching::Always => {}
    }
    let begun = Instant::now();
    let mut child = match leave(context, world, id) {
        Ok(child) => child,
        Err(why) => return nobody(&why),
    };
    loop {
        if let Some(by) = watched_by(journal, id) {
            let log = world.files.shown(LOG);
            return context
                .shell
                .borrow_mut()
                .note(&format!("its rollback window is open until {until}, watched by {by}, which writes to {log}"));
        }
        match child.try_wait() {
            Ok(None) if begun.elapsed() < BEGINNING => tokio::time::sleep(Duration::from_millis(20)).await,
            Ok(None) => {
                return nobody(&format!("the process that was to does not come up ({})", world.files.shown(LOG)));
            }
            _ => return nobody(&format!("the process that was to has ended, see {}", world.files.shown(LOG))),
        }
    }
}

/// Starts a process that stays when this one ends. It reads the configuration for itself: what is secret goes by no command line.
#[allow(clippy::zombie_processes, reason = "it outlives this process, which is what it is for")]
fn leave(context: &Context, world: &World, id: &RunId) -> Result<Child, String> {
    let program = std::env::current_exe().map_err(|error| format!("this program cannot be found ({error})"))?;
    let path = world.files.path(LOG);
    let log = fs_err::OpenOptions::new().create(true).append(true).open(&path).map_err(|error| error.to_string())?;
    let (log, _) = log.into_parts();
    let errors = log.try_clone().map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command.args(["watch", id.as_str(), "--detached", "-C"]).arg(&context.directory);
    for (flag, file) in [("--config", &context.config), ("--journal", &context.journal)] {
        if let Some(file) = file {
            command.arg(flag).arg(file);
        }
    }
    // A crash drill is about the process that was asked for it.
    command.env_remove(config::env::DBD_CRASH_AT).env_remove(config::env::DBD_CRASH_LOG);
    command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn().map_err(|error| error.to_string())
}
