//! The journal against what was written down of it elsewhere: the state beside each run, its report, and the ledgers of the targets.
//!
//! A chain cannot show that its tail was cut off or that it was written anew from some event on; these can.

use super::Finding;
use super::period::{Period, each_run};
use crate::config::Config;
use crate::domain::audit::Trail;
use crate::domain::code::Code;
use crate::domain::failure::Failure;
use crate::domain::ledger::{Steps, compare};
use crate::engine::anchors;
use crate::ports::journal::Journal;
use crate::wire::OpenJournal;
use dbd_journal::chain;
use std::collections::BTreeMap;

/// What the anchors say, and which could not be asked.
#[derive(Default)]
pub(crate) struct Held {
    /// What does not fit.
    pub findings: Vec<Finding>,
    /// What could not be asked.
    pub notes: Vec<String>,
    /// How many anchors fit.
    pub fits: u64,
}

/// Holds the journal against every anchor that can be reached. The journal itself must have been found sound.
///
/// # Errors
/// What the journal has to say; an anchor that cannot be read is a note.
pub(crate) async fn hold(config: &Config, journal: &OpenJournal, trail: &Trail) -> Result<Held, Failure> {
    let mut held = Held::default();
    files(config, journal, &mut held)?;
    ledgers(config, journal, trail, &mut held).await?;
    Ok(held)
}

/// Whether the journal has the event that `place` remembers.
fn fits(journal: &OpenJournal, place: &str, seq: u64, hash: &str, held: &mut Held) -> Result<(), Failure> {
    let event = journal.store().event(seq).map_err(|error| crate::cli::commands::journal_problem(&error))?;
    match event {
        Some(event) if chain::printed(&event.hash) == hash => held.fits += 1,
        Some(_) => held.findings.push(
            Finding::new(
                Code::JournalLostTail,
                format!(
                    "{place} knows another event {seq} than the journal holds: it was rewritten, or is another one"
                ),
            )
            .at(seq),
        ),
        None => held.findings.push(
            Finding::new(
                Code::JournalLostTail,
                format!("{place} knows event {seq}, and the journal does not: it was cut, or is an older copy"),
            )
            .at(seq),
        ),
    }
    Ok(())
}

/// The files beside the runs. They are a user's to remove; one that is not there says nothing.
fn files(config: &Config, journal: &OpenJournal, held: &mut Held) -> Result<(), Failure> {
    for (path, remembered) in anchors::of_files(journal, &config.artifacts.dir)? {
        fits(journal, &config.shown(&path), remembered.seq, &remembered.hash, held)?;
    }
    Ok(())
}

async fn ledgers(config: &Config, journal: &OpenJournal, trail: &Trail, held: &mut Held) -> Result<(), Failure> {
    let mut targets = BTreeMap::new();
    for name in config.environments() {
        if let Ok(environment) = config.environment(name.as_str()) {
            targets.entry(environment.database_url.place()).or_insert(environment.database_url);
        }
    }
    let database = crate::wire::database();
    let mut seen = BTreeMap::new();
    for (target, url) in &targets {
        match database.ledger(url, &journal.origin()).await {
            Ok(rows) => drop(seen.insert(target, rows)),
            Err(failure) => held.notes.push(format!("the ledger of {target} could not be asked: {}", failure.message)),
        }
    }
    if seen.is_empty() {
        return Ok(());
    }
    // Read after the rows: what a row names was recorded before it was written.
    let size = journal.head()?.0;
    let period = Period { since_ms: i64::MIN, until_ms: i64::MAX, now_ms: 0, first: 1, last: size, size };
    let mut steps: BTreeMap<String, Vec<Steps>> = BTreeMap::new();
    each_run(journal, &period, trail, |within| {
        let one = Steps::of(&within.run, &within.events);
        steps.entry(one.target.clone()).or_default().push(one);
        Ok(())
    })?;
    for (target, first) in seen {
        let steps = steps.remove(target).unwrap_or_default();
        // And once more after the events: a step that was recorded as done meanwhile has its row by now.
        let mut rows = database.ledger(&targets[target], &journal.origin()).await.unwrap_or_else(|_| first.clone());
        rows.retain(|row| row.seq <= size || first.contains(row));
        let comparison = compare(&rows, &steps, 1..=u64::MAX);
        held.fits += comparison.matched;
        held.findings.extend(comparison.differences.into_iter().map(|one| {
            let code = if one.seq > size { Code::JournalLostTail } else { Code::LedgerDiffers };
            Finding::new(code, one.message).at(one.seq)
        }));
    }
    Ok(())
}
