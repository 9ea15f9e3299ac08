//! What was foretold of a run held against what was measured, and what that teaches the next forecast.

use super::forecast::Forecast;
use super::run::Run;

/// Below this many milliseconds a ratio says nothing: a single sync of the disk is as long.
const TELLING_MS: u64 = 20;

/// How many of the last runs teach the next one.
pub const LAST_RUNS: usize = 5;

/// How long the lock of `one` was really held on the target, from the statement that asked for it to its commit, in milliseconds. Clients
/// that came meanwhile waited for as long at most, so a wait for the lock counts. `None` where the step was not carried out or not timed.
#[must_use]
pub fn measured(run: &Run, one: &Forecast) -> Option<u64> {
    let (step, statement) = one.at?;
    run.committed.get(step)?.held_ms.get(statement).copied()
}

/// How much longer locks were held in this run than was foretold before any correction; `None` if nothing was long enough to tell.
#[must_use]
pub fn ratio(run: &Run) -> Option<f64> {
    let rehearsal = run.rehearsal.as_ref()?;
    let corrected = rehearsal.correction.map_or(1.0, |one| f64::from(one.percent) / 100.0);
    let pairs = rehearsal.forecast.iter().filter_map(|one| Some((one.held_ms, measured(run, one)?)));
    let telling: Vec<(u64, u64)> =
        pairs.filter(|(foretold, found)| *foretold >= TELLING_MS && *found >= TELLING_MS).collect();
    let sum = |part: fn(&(u64, u64)) -> u64| telling.iter().map(part).sum::<u64>();
    let (foretold, found) = (sum(|pair| pair.0), sum(|pair| pair.1));
    #[allow(clippy::cast_precision_loss)]
    (foretold > 0).then(|| found as f64 / foretold as f64 * corrected)
}
