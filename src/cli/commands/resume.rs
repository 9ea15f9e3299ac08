//! `dbd resume`.

use super::drive::{Enter, check_files, drive, finish};
use super::{Story, find_run, journal_to_write, stories};
use crate::cli::{Context, Outcome};
use crate::config::{Config, Environment};
use crate::domain::code::Code;
use crate::domain::decide::{Command, decide};
use crate::domain::event::{Event, Recorded};
use crate::domain::failure::Failure;
use crate::domain::machine::State;
use crate::domain::run::Run;
use crate::engine::runner::Ending;
use crate::ports::journal::Journal;
use crate::wire::OpenJournal;

/// Continue a run that stopped before it settled
///
/// Picks up after the last recorded outcome. An effect that may or may not have happened is fenced and looked up first.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run
    #[arg(required_unless_present = "last")]
    run: Option<String>,
    /// The newest open run
    #[arg(long, conflicts_with = "run")]
    last: bool,
    /// Say whether an effect nobody could tell about happened; needs --reason
    #[arg(long, value_name = "RULING", value_parser = ["applied", "not-applied"])]
    ruling: Option<String>,
    /// Why; recorded with the ruling
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

pub(crate) async fn run(context: &Context, args: Args) -> Outcome {
    let config = context.load()?;
    let mut journal = journal_to_write(&config)?;
    let Story { run, events } = match &args.run {
        Some(text) => find_run(&journal, text)?,
        None => newest_open(&journal)?,
    };
    let environment = config.environment(run.id.environment().as_str())?;
    same_target(&run, &environment)?;
    if run.state.is_settled() {
        context.shell.borrow_mut().note(&format!("{} is finished already", run.id));
        let reported = matches!(events.last(), Some(Recorded { event: Event::ArtifactsWritten { .. }, .. }));
        return settled(context, &config, &environment, &mut journal, run, reported).await;
    }
    let enter = match (&args.ruling, &args.reason) {
        (Some(ruling), Some(reason)) if !reason.trim().is_empty() => {
            let command = Command::Rule { applied: ruling == "applied", reason: reason.clone() };
            Enter::Decided(Box::new(decide(&run, command)?))
        }
        (Some(_), _) => {
            return Err(Failure::new(Code::BadArgument, "--ruling needs a reason")
                .hint("say what you saw: --reason \"...\"")
                .into());
        }
        (None, _) => Enter::Resume,
    };
    if !matches!(run.state, State::Halted { .. }) || run.looks_again() {
        check_files(&run, &config)?;
    }
    drive(context, &config, &environment, &mut journal, run, enter).await
}

/// A finished run: its result once more, and its reports if they are not `reported` yet.
async fn settled(
    context: &Context,
    config: &Config,
    environment: &Environment,
    journal: &mut OpenJournal,
    run: Run,
    reported: bool,
) -> Outcome {
    let State::Settled { end } = run.state else { return Ok(crate::cli::exit::ExitCode::Ok) };
    let world = crate::wire::world(config, environment, run.id.as_str())?;
    // A process that was killed after the last event left its reports unwritten. One that is still at it holds the lock.
    let ours = if reported { None } else { journal.lock(environment.name.as_str(), run.id.as_str()).ok() };
    if ours.is_none() {
        let folder = config.shown(&config.artifacts.dir.join(run.id.as_str()));
        let mut shell = context.shell.borrow_mut();
        if shell.is_json() {
            shell.result_json(&crate::cli::render::run::json(&run, &folder))?;
        } else {
            let color = shell.out_has_color();
            shell.result(&crate::cli::render::run::summary(&run, color, &folder))?;
        }
    } else {
        world.files.remove_leftovers();
        let id = run.id.clone();
        finish(context, config, &world, journal, run, Ok(Ending::Settled(end)), true)?;
        // It died before it could leave somebody, too.
        super::watch::leave_on_watch(context, config, journal, &world, &id).await;
    }
    Ok(crate::cli::exit::ExitCode::Ok)
}

fn newest_open(journal: &OpenJournal) -> Result<Story, Failure> {
    stories(journal)?
        .into_iter()
        .rev()
        .find(|story| !story.run.state.is_settled())
        .ok_or_else(|| Failure::new(Code::UnknownRun, "there is no open run").hint("`dbd list` shows every run"))
}

/// The URL must lead where the run was asked to go.
pub(super) fn same_target(run: &Run, environment: &Environment) -> Result<(), Failure> {
    let place = environment.database_url.place();
    match &run.request {
        Some(request) if request.target != place => Err(Failure::new(
            Code::BadDatabaseUrl,
            format!(
                "{} is about {}, and the URL of `{}` leads to {place} now",
                run.id, request.target, environment.name
            ),
        )
        .hint("set the URL back to what it was, then resume")),
        _ => Ok(()),
    }
}
