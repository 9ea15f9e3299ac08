//! `dbd status`, `dbd list`, `dbd show`, `dbd logs`: projections of the journal.

use super::{Story, find_run, journal_there, stories};
use crate::cli::exit::ExitCode;
use crate::cli::{Context, Outcome, render};
use crate::domain::code::Code;
use crate::domain::failure::Failure;
use crate::domain::ids::{EnvironmentName, RunId};
use crate::domain::recovery::Found;
use crate::domain::run::Run;
use crate::ports::journal::Journal;
use serde_json::json;
use std::time::Duration;

/// Say how a run, or the newest run of an environment, stands
#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    /// A run or an environment; everything open if left out
    what: Option<String>,
}

/// List the runs, newest last
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Only this environment
    #[arg(long, value_name = "NAME")]
    env: Option<String>,
    /// Only the newest so many
    #[arg(short = 'n', long, value_name = "COUNT")]
    limit: Option<usize>,
}

/// Show one run
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// The run
    run: String,
    /// Every event, as it stands in the journal
    #[arg(long)]
    events: bool,
}

/// Print a run's log
#[derive(Debug, clap::Args)]
pub struct LogsArgs {
    /// The run; the newest if left out
    run: Option<String>,
    /// Go on until the run is settled
    #[arg(short, long)]
    follow: bool,
}

pub(crate) fn status(context: &Context, args: &StatusArgs) -> Outcome {
    let config = context.load()?;
    let journal = journal_there(&config)?;
    let runs: Vec<Run> = match &args.what {
        Some(text) if RunId::parse(text).is_some() => vec![find_run(&journal, text)?.run],
        Some(text) => {
            let environment = EnvironmentName::parse(text).ok_or_else(|| bad_name(text))?;
            let newest = stories(&journal)?.into_iter().rev().find(|story| story.run.id.environment() == environment);
            match newest {
                Some(story) => vec![story.run],
                // Known to the configuration or a name nobody knows.
                None => {
                    config.environment(text)?;
                    Vec::new()
                }
            }
        }
        None => {
            let mut all: Vec<Run> = stories(&journal)?.into_iter().map(|story| story.run).collect();
            let newest = all.pop();
            let mut open: Vec<Run> = all.into_iter().filter(|run| !run.state.is_settled()).collect();
            open.extend(newest);
            open
        }
    };
    let mut shell = context.shell.borrow_mut();
    let folder = |run: &Run| config.shown(&config.artifacts.dir.join(run.id.as_str()));
    if shell.is_json() {
        let runs: Vec<_> = runs.iter().map(|run| render::run::json(run, &folder(run))).collect();
        match (&args.what, runs.as_slice()) {
            (Some(_), [one]) => shell.result_json(one)?,
            _ => shell.result_json(&json!({"schema": "dbd.status/1", "runs": runs}))?,
        }
    } else if runs.is_empty() {
        shell.result("no run yet")?;
    } else {
        let color = shell.out_has_color();
        let held = |run: &Run| journal.locked_by(run.id.environment().as_str()).filter(|_| !run.state.is_settled());
        let watched = |run: &Run| super::watch::watched_by(&journal, &run.id).filter(|_| run.capture.is_some());
        let texts: Vec<String> = runs
            .iter()
            .map(|run| render::show::status(run, held(run).as_deref(), watched(run).as_deref(), color))
            .collect();
        shell.result(&texts.join("\n"))?;
    }
    Ok(ExitCode::Ok)
}

fn bad_name(text: &str) -> Failure {
    Failure::new(Code::BadArgument, format!("`{text}` is neither a run nor an environment"))
        .hint("`dbd list` shows the runs")
}

pub(crate) fn list(context: &Context, args: &ListArgs) -> Outcome {
    let config = context.load()?;
    let mut runs: Vec<Found> = match crate::wire::journal_for_reading(&config)? {
        Some(journal) => stories(&journal)?
            .into_iter()
            .map(|Story { run, .. }| {
                let open = !run.state.is_settled();
                let held_by = open.then(|| journal.locked_by(run.id.environment().as_str())).flatten();
                Found { run, held_by }
            })
            .collect(),
        None => Vec::new(),
    };
    if let Some(name) = &args.env {
        runs.retain(|found| found.run.id.environment().as_str() == name);
    }
    if let Some(limit) = args.limit {
        runs.drain(..runs.len().saturating_sub(limit));
    }
    let mut shell = context.shell.borrow_mut();
    if shell.is_json() {
        shell.result_json(&render::list::json(&runs))?;
    } else {
        let color = shell.out_has_color();
        shell.result(&render::list::table(&runs, context.width(), color))?;
    }
    Ok(ExitCode::Ok)
}

pub(crate) fn show(context: &Context, args: &ShowArgs) -> Outcome {
    let config = context.load()?;
    let journal = journal_there(&config)?;
    let Story { run, events } = find_run(&journal, &args.run)?;
    let folder = config.shown(&config.artifacts.dir.join(run.id.as_str()));
    let mut shell = context.shell.borrow_mut();
    match (args.events, shell.is_json()) {
        (true, true) => {
            for event in &events {
                shell.result_line(&render::show::event_json(event))?;
            }
        }
        (true, false) => {
            let color = shell.out_has_color();
            shell.result(&render::show::events(&run, &events, color))?;
        }
        (false, true) => shell.result_json(&render::run::json(&run, &folder))?,
        (false, false) => {
            let color = shell.out_has_color();
            shell.result(&render::run::summary(&run, color, &folder))?;
        }
    }
    Ok(ExitCode::Ok)
}

pub(crate) async fn logs(context: &Context, args: LogsArgs) -> Outcome {
    let config = context.load()?;
    let journal = journal_there(&config)?;
    let mut printed = 0;
    let id = match &args.run {
        Some(text) => find_run(&journal, text)?.run.id,
        None => {
            let newest = stories(&journal)?.pop();
            newest.ok_or_else(|| Failure::new(Code::UnknownRun, "there is no run yet"))?.run.id
        }
    };
    loop {
        let Story { run, events } = super::story(&journal, &id)?;
        let lines = render::log::lines(&run, &events);
        let closed = print_lines(context, &lines[printed.min(lines.len())..])?;
        printed = lines.len();
        if !args.follow || closed || run.state.is_settled() {
            return Ok(ExitCode::Ok);
        }
        // Another process writes; SQLite tells nobody.
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// Prints log lines; whether whoever read them went away.
fn print_lines(context: &Context, lines: &[serde_json::Value]) -> Result<bool, Failure> {
    let mut shell = context.shell.borrow_mut();
    let color = shell.out_has_color();
    for line in lines {
        if shell.is_json() {
            shell.result_line(line)?;
        } else {
            shell.result(&render::log::text(line, color))?;
        }
    }
    Ok(shell.is_closed())
}
