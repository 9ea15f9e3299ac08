//! Captures that outlived their runs: ended when their window is over, or another deployment begins.

use super::{Story, stories};
use crate::cli::Context;
use crate::cli::exit::ExitCode;
use crate::config::Config;
use crate::domain::effect::Effect;
use crate::domain::failure::Failure;
use crate::engine::World;
use crate::engine::capture::of_run;
use crate::engine::runner::Runner;
use crate::engine::stop::stop;
use crate::engine::watch::Nobody;
use crate::engine::window;
use crate::ports::capture::{CaptureOrder, SwapStanding};
use crate::ports::journal::Journal;
use crate::wire::OpenJournal;

/// Which captures are ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// Every one of a finished run: another deployment begins.
    All,
    /// Those whose window is over.
    Over,
}

/// Ends what finished runs of the world's target still have on, and records it. What cannot be ended is said, and tried again the next time.
pub(super) async fn retire(
    context: &Context,
    config: &Config,
    journal: &mut OpenJournal,
    world: &World,
    which: Which,
) -> Result<u32, Failure> {
    let mut ended = 0;
    for Story { run, .. } in stories(journal)? {
        let here = run.request.as_ref().is_some_and(|request| request.target == world.target.place());
        if !here || !run.state.is_settled() || of_run(&run).is_none() {
            continue;
        }
        let why = match which {
            Which::All => "another deployment begins",
            Which::Over if window::is_open(&run, world.clock.now_ms()) => continue,
            Which::Over => "its window is over",
        };
        let id = run.id.clone();
        let (_stopper, stopped) = stop();
        let mut runner = Runner::new(world, journal, &Nobody, stopped, context.actor(config), run);
        if let Err(failure) = runner.retire(why).await {
            // What cannot be trusted or written is no journal to go on with.
            if ExitCode::of(failure.code) == ExitCode::Journal {
                return Err(failure);
            }
            context.shell.borrow_mut().warn(&failure);
            continue;
        }
        context
            .shell
            .borrow_mut()
            .note(&format!("the capture of {id} is ended, as {why}: from now on its way back is the backup"));
        ended += 1;
    }
    Ok(ended)
}

/// Ends every capture whose window is over, on the target of each environment that can be reached.
pub(super) async fn retire_everywhere(context: &Context, config: &Config) -> Result<(), Failure> {
    if crate::wire::journal_for_reading(config)?.is_none() {
        return Ok(());
    }
    let mut journal = super::journal_to_write(config)?;
    for name in config.environments() {
        let Ok(environment) = config.environment(name.as_str()) else { continue };
        let world = crate::wire::world(config, &environment, "captures")?;
        reopen(context, &journal, environment.name.as_str(), &world).await?;
        // Somebody else deploys or goes back there: then what is on is theirs.
        let Ok(_window) = super::watch::hold_off(context, &journal, environment.name.as_str(), &world).await else {
            continue;
        };
        retire(context, config, &mut journal, &world, Which::Over).await?;
    }
    Ok(())
}

/// Opens a target that a swap left closed, and lets the clients go on whom it holds back at the pooler, where the swap's process is dead and
/// so is the one that was to do this. Going on with the run does the same, but nobody may be there to go on with it.
async fn reopen(context: &Context, journal: &OpenJournal, environment: &str, world: &World) -> Result<(), Failure> {
    // Somebody is at it: then it is theirs.
    let Ok(_lock) = journal.lock(environment, "sandbox gc") else { return Ok(()) };
    for Story { run, .. } in stories(journal)? {
        let here = run.request.as_ref().is_some_and(|request| request.target == world.target.place());
        let swapping = run.flight.as_ref().filter(|flight| here && flight.effect == Effect::Swap);
        let (Some(flight), Some(capture)) = (swapping, of_run(&run)) else { continue };
        let order = CaptureOrder { url: &world.target, capture: &capture, effect: &flight.id };
        let stands = async {
            let fenced = world.captures.fence(&world.target, &capture, &flight.id).await?;
            world.captures.standing(&order, &fenced).await
        };
        let stands = stands.await;
        let mut shell = context.shell.borrow_mut();
        match stands {
            Ok(SwapStanding::NotSwapped { evidence } | SwapStanding::Swapped { evidence, .. }) => shell.note(&format!(
                "{id} was cut off while the names were to change: {evidence}; `dbd resume {id}` goes on",
                id = run.id
            )),
            Err(failure) => shell.warn(&failure),
        }
    }
    Ok(())
}
