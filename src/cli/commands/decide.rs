//! `dbd approve`, `dbd reject`, `dbd cancel`: decisions about an open run, recorded with who made them.

use super::{Story, find_run, journal_to_write};
use crate::cli::exit::ExitCode;
use crate::cli::{Context, Outcome, render};
use crate::domain::decide::{Command, decide};
use crate::domain::failure::Failure;
use crate::domain::ids::RunId;
use crate::domain::run::Run;
use crate::ports::journal::{AppendFailure, Journal, NewEvent};

/// Approve the plan of a run that waits for it; `dbd resume` then deploys exactly that plan
#[derive(Debug, clap::Args)]
pub struct ApproveArgs {
    /// The run
    run: String,
    /// Why; recorded with the approval
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// Reject the plan of a run that waits for an approval
#[derive(Debug, clap::Args)]
pub struct RejectArgs {
    /// The run
    run: String,
    /// Why; recorded with the rejection
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// Stop an open run: refused if the target is untouched, taken back if it is not
#[derive(Debug, clap::Args)]
pub struct CancelArgs {
    /// The run
    run: String,
    /// Why; recorded with the cancellation
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

pub(crate) async fn approve(context: &Context, args: ApproveArgs) -> Outcome {
    record(context, &args.run, Command::Approve { reason: args.reason }, "approved", "deploys it").await
}

pub(crate) async fn reject(context: &Context, args: RejectArgs) -> Outcome {
    record(context, &args.run, Command::Reject { reason: args.reason }, "rejected", "settles it").await
}

pub(crate) async fn cancel(context: &Context, args: CancelArgs) -> Outcome {
    record(
        context,
        &args.run,
        Command::Cancel { reason: args.reason },
        "cancelled",
        "cleans up and takes back what was applied",
    )
    .await
}

async fn record(context: &Context, text: &str, command: Command, done: &str, resume: &str) -> Outcome {
    let config = context.load()?;
    let mut journal = journal_to_write(&config)?;
    let actor = context.actor(&config);
    let Story { mut run, .. } = find_run(&journal, text)?;
    let id: RunId = run.id.clone();
    let settles = !matches!(command, Command::Approve { .. });
    loop {
        let event = decide(&run, command.clone())?;
        match journal.append(outside(&run, &actor, &event)) {
            Ok(_) => break,
            // The run went on meanwhile: decide on what it is now.
            Err(AppendFailure::Stale) => run = find_run(&journal, text)?.run,
            Err(AppendFailure::Superseded) => {
                return Err(
                    Failure::new(crate::domain::code::Code::Busy, format!("{id} changed hands meanwhile")).into()
                );
            }
            Err(AppendFailure::Broken(failure)) => return Err(failure.into()),
        }
    }
    // What follows from the decision alone is recorded at once, unless somebody works on the run: that one will see it.
    if settles && journal.locked_by(id.environment().as_str()).is_none() {
        settle(&mut journal, &id, &actor)?;
    }
    let Story { run, .. } = find_run(&journal, text)?;
    report(context, &config, &run, done, resume)
}

/// Appends the decisions that follow without doing anything to the world.
fn settle(journal: &mut dyn Journal, id: &RunId, actor: &crate::domain::event::Actor) -> Result<(), Failure> {
    loop {
        let Story { run, .. } = super::story(journal, id)?;
        match crate::domain::next::next(&run) {
            crate::domain::next::Next::Record(event @ crate::domain::event::Event::Refused { .. }) => {
                match journal.append(outside(&run, actor, &event)) {
                    Ok(_) | Err(AppendFailure::Stale | AppendFailure::Superseded) => {}
                    Err(AppendFailure::Broken(failure)) => return Err(failure),
                }
            }
            _ => return Ok(()),
        }
    }
}

/// An event made from outside: it belongs to the take-over it meets.
fn outside<'a>(
    run: &'a Run,
    actor: &'a crate::domain::event::Actor,
    event: &'a crate::domain::event::Event,
) -> NewEvent<'a> {
    let epoch = run.lease.as_ref().map_or(0, |lease| lease.epoch);
    NewEvent {
        run: &run.id,
        expected_rseq: run.rseq,
        now_ms: crate::wire::now_ms(),
        epoch,
        actor,
        event,
        blobs: Vec::new(),
    }
}

fn report(context: &Context, config: &crate::config::Config, run: &Run, done: &str, resume: &str) -> Outcome {
    let folder = config.shown(&config.artifacts.dir.join(run.id.as_str()));
    let mut shell = context.shell.borrow_mut();
    if shell.is_json() {
        shell.result_json(&render::run::json(run, &folder))?;
    } else {
        shell.result(&format!("{} {done}", run.id))?;
    }
    if !run.state.is_settled() {
        shell.note(&format!("`dbd resume {}` {resume}", run.id));
    }
    Ok(ExitCode::Ok)
}
