//! `dbd rollback`.

use super::drive::{Enter, drive};
use super::resume::same_target;
use super::{Story, ask, find_run, journal_to_write};
use crate::cli::{Context, Outcome};
use crate::domain::code::Code;
use crate::domain::decide::{Command, decide};
use crate::domain::failure::Failure;
use crate::domain::way::Way;

/// Take a finished run back to its checkpoint, with what that would lose said first
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run
    run: String,
    /// Why; recorded with the run
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Restore the backup, though a gentler way may be open: what others wrote since leaves the target
    #[arg(long)]
    restore: bool,
}

pub(crate) async fn run(context: &Context, args: Args) -> Outcome {
    let config = context.load()?;
    let mut journal = journal_to_write(&config)?;
    let Story { run, .. } = find_run(&journal, &args.run)?;
    let event = decide(&run, Command::RollBack { reason: args.reason, restore: args.restore })?;
    let environment = config.environment(run.id.environment().as_str())?;
    same_target(&run, &environment)?;
    newest_of_target(&journal, &run)?;
    let world = crate::wire::world(&config, &environment, run.id.as_str())?;
    let way = if args.restore { Way::Restore } else { run.asked_way() };
    let blocked = run.readiness.as_ref().and_then(|readiness| readiness.blocked.as_ref());
    if let (Way::Swap, Some(why)) = (way, blocked) {
        return Err(Failure::new(
            Code::WayBlocked,
            format!("{}: a swap would lose what was written since: {why}", run.id),
        )
        .hint("nothing was done, and nothing is lost yet")
        .hint(format!("to restore the backup, with what that would lose said first: dbd rollback {} --restore", run.id))
        .into());
    }
    if way != Way::Restore {
        let how = match way {
            Way::Swap => "by a swap: every write since is in the shadow, and nothing is lost",
            _ => "in place: what others wrote since stays, and nothing is lost",
        };
        context.shell.borrow_mut().note(&format!("it goes back {how}"));
    } else if let (Some(backup), Some(preflight)) = (&run.backup, &run.preflight) {
        let tracking = preflight.tracking_table();
        let loss =
            world.database.loss(&world.target, tracking, &backup.xid, &backup.rows, &run.known_transactions()).await?;
        if loss.rows() > 0 {
            let tables: Vec<String> = loss.written.iter().map(|(table, rows)| format!("{rows} in {table}")).collect();
            let what = format!(
                "{} row(s) were written since the backup and leave the target: {}",
                loss.rows(),
                tables.join(", ")
            );
            context.shell.borrow_mut().note(&what);
            context.shell.borrow_mut().note("they are dumped first, into the run's folder");
            if !context.yes && ask("Roll back all the same?") != Some(true) {
                return Err(Failure::new(Code::WouldLoseRows, format!("{} was not rolled back: {what}", run.id))
                    .hint(format!(
                        "if that is meant: dbd rollback {}{} --yes",
                        run.id,
                        if args.restore { " --restore" } else { "" }
                    ))
                    .into());
            }
        } else {
            context.shell.borrow_mut().note("nothing was written since the backup; nothing is lost");
        }
    }
    drive(context, &config, &environment, &mut journal, run, Enter::Decided(Box::new(event))).await
}

/// A run on top of which another one was deployed cannot be taken back alone: its backup is of before both.
fn newest_of_target(
    journal: &dyn crate::ports::journal::Journal,
    run: &crate::domain::run::Run,
) -> Result<(), Failure> {
    let target = run.request.as_ref().map(|request| request.target.as_str());
    for Story { run: other, .. } in super::stories(journal)? {
        let later = other.requested.as_ref().map(|asked| asked.ts_ms) > run.requested.as_ref().map(|asked| asked.ts_ms);
        let same = other.request.as_ref().map(|request| request.target.as_str()) == target;
        if later
            && same
            && other.changed_target()
            && !matches!(
                other.state,
                crate::domain::machine::State::Settled { end: crate::domain::machine::End::RolledBack }
            )
        {
            return Err(Failure::new(
                Code::NothingToRollBack,
                format!("{} was deployed on top of {}", other.id, run.id),
            )
            .hint(format!("take that back first: dbd rollback {}", other.id)));
        }
    }
    Ok(())
}
