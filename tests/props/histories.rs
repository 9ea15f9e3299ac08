//! Random histories: a run driven by `next` through faults, decisions, take-overs and jumps in time.

use super::samples::{self, Case};
use super::sim::{Move, Sim};
use dbd::domain::codec::{VERSION, decode, encode};
use dbd::domain::event::Recorded;
use dbd::domain::evolve::{evolve, fold};
use dbd::domain::finding::{Finding, Severity};
use dbd::domain::machine::{End, State};
use dbd::domain::next::next;
use dbd::domain::run::Run;
use dbd::domain::way::Way;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// More moves than any run needs once nothing goes wrong any more.
const BOUND: usize = 60;

pub fn case() -> impl Strategy<Value = Case> {
    let severity = select(vec![Severity::Info, Severity::Warning, Severity::Error]);
    let findings = vec(severity.prop_map(|severity| samples::finding("column_removed", severity)), 0..2);
    let allow = select(vec![
        vec![],
        vec!["all".to_owned()],
        vec!["column-removed".to_owned()],
        vec!["table_removed".to_owned()],
    ]);
    // Mostly runs that get as far as the target.
    let findings = prop_oneof![4 => Just(Vec::<Finding>::new()), 1 => findings];
    let back = select(vec![Way::Restore, Way::InPlace, Way::Swap]);
    let back = (back, any::<bool>(), any::<bool>());
    (0_usize..5, any::<(bool, bool, bool, bool)>(), prop::bool::weighted(0.1), findings, allow, back).prop_map(
        |(steps, (tests, verify, health, approval), dry_run, findings, allow, (back, window, piecemeal))| Case {
            steps,
            tests,
            verify,
            health,
            approval,
            dry_run,
            findings,
            allow,
            back,
            window,
            piecemeal,
        },
    )
}

/// A number for each move: most of the time things go well, sometimes much time passes.
pub fn choices() -> impl Strategy<Value = Vec<(u8, bool)>> {
    vec((any::<u8>(), prop::bool::weighted(0.2)), 0..140)
}

/// One of the moves that can be made; the first, which goes well, in two cases of three.
pub fn chosen(moves: &[Move], choice: u8) -> Option<Move> {
    let place = if choice < 170 { 0 } else { usize::from(choice) };
    (!moves.is_empty()).then(|| moves[place % moves.len()])
}

/// The history that `choices` make, and the situation after each move.
pub fn history(case: Case, choices: &[(u8, bool)]) -> Result<(Vec<Recorded>, Vec<Sim>), String> {
    let mut events = Vec::new();
    let mut sim = Sim::new(case, &mut events)?;
    let mut situations = vec![sim.clone()];
    for (choice, slow) in choices {
        let Some(one) = chosen(&sim.moves(), *choice) else { break };
        sim.slow = *slow;
        sim.make(one, &mut events)?;
        situations.push(sim.clone());
    }
    Ok((events, situations))
}

/// The process dies, and from then on nothing goes wrong any more.
fn calm(sim: &Sim, events: &[Recorded]) -> Result<(Sim, Vec<Recorded>), String> {
    let (mut sim, mut events) = (sim.clone(), events.to_vec());
    sim.slow = false;
    if sim.under_way.is_some() {
        sim.make(Move::DieBefore, &mut events)?;
    }
    Ok((sim, events))
}

fn ends(sim: &Sim) -> bool {
    matches!(sim.run.state, State::Settled { .. } | State::Halted { .. })
}

proptest! {
    #[test]
    fn what_was_recorded_reads_back_to_the_same_run(case in case(), choices in choices()) {
        let (events, situations) = history(case, &choices).map_err(TestCaseError::fail)?;
        let last = &situations[situations.len() - 1].run;
        prop_assert_eq!(&fold(&last.id, &events).unwrap(), last);
        // Not the value that was appended but the text that was stored.
        let stored = events.iter().map(|recorded| Recorded {
            event: decode(recorded.event.kind(), VERSION, &encode(&recorded.event)).unwrap(),
            ..recorded.clone()
        });
        prop_assert_eq!(&fold(&last.id, &stored.collect::<Vec<_>>()).unwrap(), last);
    }

    #[test]
    fn every_prefix_folds_and_says_what_was_next_then(case in case(), choices in choices()) {
        let (events, situations) = history(case, &choices).map_err(TestCaseError::fail)?;
        let mut run = Run::blank(samples::run_id());
        let mut at = situations.iter().peekable();
        for recorded in &events {
            run = evolve(&run, recorded).unwrap();
            prop_assert_eq!(run.rseq, recorded.rseq);
            while at.next_if(|situation| situation.run.rseq < run.rseq).is_some() {}
            if let Some(situation) = at.peek().filter(|situation| situation.run.rseq == run.rseq) {
                prop_assert_eq!(next(&run), next(&situation.run));
            }
            // No event is legal twice in a row at the same place, and none with one missing before it.
            prop_assert!(evolve(&run, recorded).is_err());
        }
    }

}

// Each case goes on from every situation of its history.
proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn from_every_prefix_a_run_left_alone_ends_soon(case in case(), choices in choices()) {
        let (events, situations) = history(case, &choices).map_err(TestCaseError::fail)?;
        for situation in &situations {
            let (mut sim, mut told) = calm(situation, &events[..situation.run.rseq as usize]).map_err(TestCaseError::fail)?;
            sim.finish(BOUND, &mut told).map_err(TestCaseError::fail)?;
            prop_assert!(ends(&sim) || sim.moves().contains(&Move::Approve), "{:?}", sim.run.state);
        }
    }

    #[test]
    fn from_every_prefix_the_way_back_ends_soon_and_at_the_checkpoint(case in case(), choices in choices()) {
        let (events, situations) = history(case, &choices).map_err(TestCaseError::fail)?;
        for situation in &situations {
            let (mut sim, mut told) = calm(situation, &events[..situation.run.rseq as usize]).map_err(TestCaseError::fail)?;
            let halted = matches!(sim.run.state, State::Halted { .. });
            if !halted && sim.moves().contains(&Move::Cancel) {
                sim.make(Move::Cancel, &mut told).map_err(TestCaseError::fail)?;
            }
            sim.finish(BOUND, &mut told).map_err(TestCaseError::fail)?;
            // A person looks at the target, says what is true, and asks for the way back.
            for _ in 0..2 {
                if let (State::Halted { doubt: true, .. }, Some(truth)) = (sim.run.state, sim.truth()) {
                    sim.make(Move::Rule(truth), &mut told).map_err(TestCaseError::fail)?;
                    sim.finish(BOUND, &mut told).map_err(TestCaseError::fail)?;
                }
                if sim.moves().contains(&Move::RollBack) {
                    sim.make(Move::RollBack, &mut told).map_err(TestCaseError::fail)?;
                    sim.finish(BOUND, &mut told).map_err(TestCaseError::fail)?;
                }
            }
            let clean = match sim.run.state {
                State::Settled { end: End::Succeeded | End::RolledBack | End::Refused | End::Rehearsed } => sim.target.applied.is_empty(),
                State::Settled { end: End::Abandoned } => true,
                // Whoever said what is not true has led it here.
                State::Halted { .. } => sim.lied,
                _ => false,
            };
            prop_assert!(clean, "{:?} with {:?}", sim.run.state, sim.target);
        }
    }
}
