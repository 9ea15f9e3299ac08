//! Every schedule of small plans: all answers of the world, up to two crashes and two decisions of people, anywhere. No chance involved.
//!
//! Two situations that differ in nothing `next`, `evolve` and `decide` read, nor in the world and the laws' notes, have the same future:
//! it is explored once and counted as often as it is reached. Ids, texts and times are what such situations may differ in; time passes
//! only where nobody works on a run, so that an old backup is an old backup and not one of many ages.

use super::monitor::Monitor;
use super::samples::Case;
use super::sim::{Move, Mutant, Sim, Target};
use dbd::domain::effect::Effect;
use dbd::domain::ids::EffectId;
use dbd::domain::machine::{End, Facts, State};
use dbd::domain::run::MAX_TAKEOVERS;
use dbd::domain::way::Way;
use std::collections::{BTreeMap, HashMap};

/// No schedule is longer: each crash costs a way round, each decision a way back.
const DEPTH: usize = 400;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Budget {
    crashes: u8,
    people: u8,
}

#[derive(Default)]
struct Explored {
    /// Schedules from a situation to an end.
    known: HashMap<Situation, u128>,
    /// How often an end was met, each situation counted once.
    ends: BTreeMap<&'static str, u64>,
    made: BTreeMap<Move, u64>,
}

/// The schedules from `sim` to an end; or the first one that breaks a law.
fn explore(sim: &Sim, budget: Budget, depth: usize, seen: &mut Explored, path: &mut Vec<Move>) -> Result<u128, String> {
    let key = Situation::of(sim, budget);
    if let Some(schedules) = seen.known.get(&key) {
        return Ok(*schedules);
    }
    assert!(depth < DEPTH, "no end: {path:?}");
    let mut schedules = 0;
    for one in sim.moves() {
        let left = Budget {
            crashes: if one.is_crash() { budget.crashes.wrapping_sub(1) } else { budget.crashes },
            people: if one.is_person() { budget.people.wrapping_sub(1) } else { budget.people },
        };
        if left.crashes == u8::MAX || left.people == u8::MAX {
            continue;
        }
        let mut next = sim.clone();
        path.push(one);
        next.make(one, &mut Vec::new()).map_err(|broken| format!("{broken}\nafter {path:?}\nof {:?}", sim.case))?;
        *seen.made.entry(one).or_default() += 1;
        schedules += explore(&next, left, depth + 1, seen, path)?;
        path.pop();
    }
    if schedules == 0 {
        // Nobody is left to do anything.
        let end = match sim.run.state {
            State::Settled { .. } | State::Halted { .. } => sim.run.state.name(),
            state => panic!("stuck in {state:?} after {path:?}"),
        };
        *seen
            .ends
            .entry(if sim.run.state == (State::Settled { end: End::Rehearsed }) { "rehearsed" } else { end })
            .or_default() += 1;
        schedules = 1;
    }
    seen.known.insert(key, schedules);
    Ok(schedules)
}

/// Everything the future of a situation depends on.
#[derive(PartialEq, Eq, Hash)]
struct Situation {
    state: State,
    facts: Facts,
    flight: Option<(Effect, EffectId)>,
    under_way: Option<Effect>,
    takeovers: u32,
    rollbacks: u32,
    target: Target,
    landing: bool,
    notes: Monitor,
    budget: Budget,
}

impl Situation {
    fn of(sim: &Sim, budget: Budget) -> Self {
        let run = &sim.run;
        let facts = Facts { flight: None, plan: None, ..run.facts() };
        Self {
            state: run.state,
            notes: sim.monitor.timeless(facts.stale_backup),
            facts,
            flight: run.flight.as_ref().map(|flight| (flight.effect, flight.id.clone())),
            under_way: sim.under_way.as_ref().map(|(effect, _)| *effect),
            takeovers: run.takeovers.min(MAX_TAKEOVERS + 1),
            rollbacks: run.rollbacks,
            target: sim.target.clone(),
            landing: sim.landing.is_some(),
            budget,
        }
    }
}

fn all(case: Case, slow: bool, budget: Budget, seen: &mut Explored) -> u128 {
    try_all(case, slow, budget, None, seen).unwrap_or_else(|broken| panic!("{broken}"))
}

fn try_all(
    case: Case,
    slow: bool,
    budget: Budget,
    mutant: Option<Mutant>,
    seen: &mut Explored,
) -> Result<u128, String> {
    let mut sim = Sim::new(case, &mut Vec::new())?;
    sim.slow = slow;
    sim.tick_ms = 0;
    sim.mutant = mutant;
    seen.known.clear();
    explore(&sim, budget, 0, seen, &mut Vec::new())
}

/// Explores plans of `steps` steps, fast and slow, and holds what was met against what must be met somewhere: an exploration that never sees
/// a crash proves nothing.
fn plans_of(steps: usize) {
    let case = Case { verify: steps == 1, health: steps == 2, tests: steps == 3, ..Case::of(steps) };
    let mut seen = Explored::default();
    let mut schedules = 0;
    for slow in [false, true] {
        schedules += all(case.clone(), slow, Budget { crashes: 2, people: 1 }, &mut seen);
    }
    let ends: Vec<&str> = seen.ends.keys().copied().collect();
    if steps == 0 {
        assert_eq!(ends, ["refused", "succeeded"]);
        return;
    }
    assert!(schedules > 1_000_000, "{schedules}");
    assert_eq!(ends, ["abandoned", "needs_operator", "refused", "rolled_back", "succeeded"]);
    use Move::*;
    for one in [
        Go,
        Fail,
        Die,
        DieBefore,
        DieAfter,
        LoseBefore,
        LoseAfter,
        DieFenced,
        CannotTell,
        Rest,
        Cancel,
        RollBack,
        Rule(true),
        Rule(false),
    ] {
        assert!(seen.made.contains_key(&one), "{one:?} never happened");
    }
}

#[test]
fn every_schedule_with_nothing_to_do_keeps_the_laws() {
    plans_of(0);
}

#[test]
fn every_schedule_of_one_step_keeps_the_laws() {
    plans_of(1);
}

#[test]
fn every_schedule_of_two_steps_keeps_the_laws() {
    plans_of(2);
}

#[test]
fn every_schedule_of_three_steps_keeps_the_laws() {
    plans_of(3);
}

/// Explores plans of `steps` steps that go back this way.
fn plans_back(back: Way, window: bool, steps: usize, crashes: u8) {
    let case = Case { verify: steps == 1, back, window, ..Case::of(steps) };
    let mut seen = Explored::default();
    for slow in [false, true] {
        all(case.clone(), slow, Budget { crashes, people: 1 }, &mut seen);
    }
    let ends: Vec<&str> = seen.ends.keys().copied().collect();
    assert_eq!(ends, ["abandoned", "needs_operator", "refused", "rolled_back", "succeeded"]);
    assert!(seen.made.contains_key(&Move::RestoreBackup) && seen.made.contains_key(&Move::RollBack));
    let watched = [Move::Watch, Move::CloseWindow].iter().all(|one| seen.made.contains_key(one));
    assert!(watched || !window, "nobody watched the window");
}

#[test]
fn every_schedule_that_goes_back_in_place_keeps_the_laws() {
    plans_back(Way::InPlace, false, 1, 2);
    plans_back(Way::InPlace, false, 2, 2);
    plans_back(Way::InPlace, false, 3, 1);
}

#[test]
fn every_schedule_that_goes_back_by_a_swap_keeps_the_laws() {
    plans_back(Way::Swap, false, 1, 2);
    plans_back(Way::Swap, true, 2, 1);
    plans_back(Way::Swap, false, 2, 1);
}

/// Steps that commit as they go: one may fail, or be cut off, half-way.
#[test]
fn every_schedule_of_steps_that_may_fail_half_way_keeps_the_laws() {
    for (back, steps) in [(Way::Restore, 1), (Way::Restore, 2), (Way::Swap, 1), (Way::Swap, 2), (Way::InPlace, 2)] {
        let case = Case { piecemeal: true, back, ..Case::of(steps) };
        let mut seen = Explored::default();
        for slow in [false, true] {
            all(case.clone(), slow, Budget { crashes: 2, people: 1 }, &mut seen);
        }
        let ends: Vec<&str> = seen.ends.keys().copied().collect();
        assert_eq!(ends, ["abandoned", "needs_operator", "refused", "rolled_back", "succeeded"]);
        assert!(seen.made.contains_key(&Move::FailPartly) && seen.made.contains_key(&Move::DiePartly));
    }
}

#[test]
fn every_kind_of_request_keeps_the_laws_through_a_crash_and_a_decision() {
    let mut seen = Explored::default();
    for bits in 0..32_u8 {
        let is = |bit: u8| bits & (1 << bit) != 0;
        let case = Case { tests: is(0), verify: is(1), health: is(2), approval: is(3), dry_run: is(4), ..Case::of(1) };
        let slow = case.approval;
        all(case, slow, Budget { crashes: 1, people: 1 }, &mut seen);
    }
    assert!(
        seen.ends.contains_key("rehearsed")
            && seen.made.contains_key(&Move::Approve)
            && seen.made.contains_key(&Move::Reject)
    );
}

#[test]
fn every_protocol_that_does_one_thing_wrong_is_found_out() {
    for mutant in Mutant::ALL {
        let case = Case { verify: true, ..Case::of(2) };
        let budget = Budget { crashes: 2, people: 1 };
        let found = [false, true]
            .into_iter()
            .find_map(|slow| try_all(case.clone(), slow, budget, Some(mutant), &mut Explored::default()).err());
        let broken =
            found.unwrap_or_else(|| panic!("{mutant:?} breaks no law: the exploration proves nothing about it"));
        let law = match mutant {
            Mutant::NoFence | Mutant::OutcomeFirst | Mutant::BlindRetry | Mutant::IntentMeansDone => {
                "the ledger and the journal differ"
            }
            Mutant::NoIntent => "without a durable intent",
            Mutant::SilentTakeover => "rows were forgotten",
            Mutant::SplitCommit => "was applied twice",
            Mutant::VerdictUnfenced => "step.reconciled",
            Mutant::BackInDoubt => "rollback.requested",
        };
        assert!(broken.contains(law), "{mutant:?} is found out by something else than `{law}`:\n{broken}");
    }
}
