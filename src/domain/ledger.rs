//! The journal and the ledger in a target, held against each other both ways.
//!
//! Every step that changes a target writes a row there, in its own transaction, with the place and the hash of its intent in the journal.
//! So the two testify to each other: a row without its intent is an event the journal lost or never had; a step the journal calls done
//! without its row is one that did not happen there, or whose row somebody took out.

use super::effect::Effect;
use super::event::{Event, Recorded, Verdict};
use super::ids::{EffectId, RunId};
use super::migration::{AloneProbe, UnitMode};
use super::run::Run;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

/// A row of `dbd.ledger`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerRow {
    /// The effect that wrote it.
    pub effect: String,
    /// `applied`; or `started` and `finished` for a statement outside a transaction.
    pub phase: String,
    /// The run, as the row says.
    pub run: String,
    /// The step, as people read it.
    pub step: String,
    /// The digest of what was applied.
    pub digest: String,
    /// The place of its intent in the journal.
    pub seq: u64,
    /// The hash of its intent.
    pub hash: String,
    /// The role that wrote it.
    pub role: String,
    /// The transaction that wrote it.
    pub xid: String,
    /// When, by the server's clock, in milliseconds since 1970.
    pub at_ms: i64,
}

/// What one run's events say about its target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steps {
    /// The run.
    pub run: RunId,
    /// The target, `host:port/database`.
    pub target: String,
    /// The intents of changes: effect, place, hash.
    pub intents: Vec<(EffectId, u64, String)>,
    /// The changes that were made: effect, its name, the place of the event that says so.
    pub done: Vec<(EffectId, String, u64)>,
}

impl Steps {
    /// What `events`, all of one run's, say. A change that a person ruled to have happened is left out: their word is no row.
    #[must_use]
    pub fn of(run: &Run, events: &[Recorded]) -> Self {
        let mut steps = Self {
            run: run.id.clone(),
            target: run.request.as_ref().map(|request| request.target.clone()).unwrap_or_default(),
            intents: Vec::new(),
            done: Vec::new(),
        };
        let mut changes: BTreeMap<&EffectId, Effect> = BTreeMap::new();
        for event in events {
            match &event.event {
                Event::Intended { effect, id, .. } if effect.changes_target() => {
                    changes.insert(id, *effect);
                    steps.intents.push((id.clone(), event.seq, event.hash.clone()));
                }
                Event::Succeeded { id, .. } | Event::Reconciled { id, verdict: Verdict::Applied { .. }, .. } => {
                    if let Some(effect) = changes.get(id).filter(|effect| !by_command(run, **effect)) {
                        steps.done.push((id.clone(), effect.name(), event.seq));
                    }
                }
                _ => {}
            }
        }
        steps
    }
}

/// Whether a step is the user's own command, which cannot write a row of the ledger in its transaction.
fn by_command(run: &Run, effect: Effect) -> bool {
    let Effect::Migrate { step } = effect else { return false };
    let step = run.plan.as_ref().and_then(|plan| plan.steps.get(step));
    step.is_some_and(|step| step.mode == UnitMode::Alone { probe: AloneProbe::UserCommand })
}

/// One thing in which the two differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The run.
    pub run: String,
    /// The place of the event it is about.
    pub seq: u64,
    /// What differs, in a sentence.
    pub message: String,
}

/// How a ledger compares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Rows that have their intent.
    pub matched: u64,
    /// What differs, by place.
    pub differences: Vec<Difference>,
}

/// Holds `rows`, all that one target has of a journal, against `steps`, what that journal says of runs on that target.
///
/// Rows whose intent lies outside `known`, the places of which the journal is at hand, are not judged: they belong to other runs.
#[must_use]
pub fn compare(rows: &[LedgerRow], steps: &[Steps], known: RangeInclusive<u64>) -> Comparison {
    let mut found = Comparison::default();
    let mut intents = BTreeMap::new();
    for one in steps {
        for (effect, seq, hash) in &one.intents {
            intents.insert(*seq, (effect, hash.as_str(), &one.run));
        }
    }
    let mut present = BTreeSet::new();
    for row in rows {
        let mut differs = |message: String| {
            found.differences.push(Difference { run: row.run.clone(), seq: row.seq, message });
        };
        match intents.get(&row.seq) {
            Some((effect, hash, run))
                if effect.as_str() == row.effect && *hash == row.hash && run.as_str() == row.run =>
            {
                found.matched += 1;
                if row.phase != "started" {
                    present.insert(row.effect.as_str());
                }
            }
            Some(_) => differs(format!(
                "the ledger's row of {} for {} names event {}, which is another one in the journal",
                row.step, row.run, row.seq
            )),
            None if known.contains(&row.seq) => differs(format!(
                "the ledger has a row of {} for {}, and event {} of the journal is no such step",
                row.step, row.run, row.seq
            )),
            None => {}
        }
    }
    for one in steps {
        for (effect, name, seq) in &one.done {
            if !present.contains(effect.as_str()) {
                found.differences.push(Difference {
                    run: one.run.as_str().to_owned(),
                    seq: *seq,
                    message: format!(
                        "event {seq} says that `{name}` of {} happened on {}, and the ledger there has no row of it",
                        one.run, one.target
                    ),
                });
            }
        }
    }
    found.differences.sort_by(|a, b| (a.seq, &a.message).cmp(&(b.seq, &b.message)));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effect(name: &str) -> EffectId {
        EffectId::derive("o", &RunId::parse("deploy-dev-1").unwrap(), name, b"")
    }

    fn steps() -> Vec<Steps> {
        vec![Steps {
            run: RunId::parse("deploy-dev-1").unwrap(),
            target: "h:5432/d".into(),
            intents: vec![(effect("one"), 10, "b3:ten".into()), (effect("two"), 12, "b3:twelve".into())],
            done: vec![(effect("one"), "migrate 1".into(), 11)],
        }]
    }

    fn row(name: &str, seq: u64, hash: &str) -> LedgerRow {
        LedgerRow {
            effect: effect(name).as_str().into(),
            phase: "applied".into(),
            run: "deploy-dev-1".into(),
            step: "migration 1, unit 1".into(),
            digest: "b3:d".into(),
            seq,
            hash: hash.into(),
            role: "r".into(),
            xid: "1".into(),
            at_ms: 0,
        }
    }

    fn told(rows: &[LedgerRow], known: RangeInclusive<u64>) -> (u64, Vec<u64>) {
        let found = compare(rows, &steps(), known);
        (found.matched, found.differences.iter().map(|one| one.seq).collect())
    }

    #[test]
    fn a_row_and_its_intent_match_and_everything_else_is_told() {
        let good = row("one", 10, "b3:ten");
        assert_eq!(told(std::slice::from_ref(&good), 1..=20), (1, vec![]));
        assert_eq!(told(&[], 1..=20), (0, vec![11]), "the row was taken out");
        assert_eq!(told(&[row("one", 10, "b3:other")], 1..=20), (0, vec![10, 11]), "the journal was rewritten");
        assert_eq!(told(&[row("two", 10, "b3:ten"), good.clone()], 1..=20), (1, vec![10]));
        assert_eq!(told(&[good.clone(), row("three", 15, "b3:x")], 1..=20), (1, vec![15]), "the journal lost it");
        assert_eq!(told(&[good.clone(), row("three", 15, "b3:x")], 1..=12), (1, vec![]), "of another window");
        // A step in flight may have its row before its outcome is recorded.
        assert_eq!(told(&[good.clone(), row("two", 12, "b3:twelve")], 1..=20), (2, vec![]));
        // A statement outside a transaction that was only begun is not done.
        let begun = LedgerRow { phase: "started".into(), ..good.clone() };
        assert_eq!(told(std::slice::from_ref(&begun), 1..=20), (1, vec![11]));
        assert_eq!(told(&[begun, LedgerRow { phase: "finished".into(), ..good }], 1..=20), (2, vec![]));
    }
}
