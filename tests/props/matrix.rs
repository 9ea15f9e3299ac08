//! Every state against every event, and the table of it in `docs/states.md`.

use super::samples::{self, Case};
use dbd::domain::decide::plan;
use dbd::domain::digest::Digest;
use dbd::domain::effect::{DumpPurpose, Effect};
use dbd::domain::event::{Event, Outcome, Pause, Verdict};
use dbd::domain::failure::{Certainty, Failure};
use dbd::domain::ids::EffectId;
use dbd::domain::machine::{Checking, End, Facts, Flight, Illegal, Position, Stage, State, Undoing, transition};
use dbd::domain::run::Run;
use dbd::domain::way::Way;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

const FLIGHTS: [Flight; 4] = [Flight::Ready, Flight::Out, Flight::Fenced, Flight::Doubt];
const STAGES: [Stage; 13] = [
    Stage::Preflight,
    Stage::Dump,
    Stage::CreateSandbox,
    Stage::FillSandbox,
    Stage::Rehearse,
    Stage::RunTests,
    Stage::DropSandbox,
    Stage::Judge,
    Stage::Capture,
    Stage::Refresh,
    Stage::Shadow,
    Stage::PrepareTarget,
    Stage::EndCapture,
];
const CHECKS: [Checking; 6] =
    [Checking::Schema, Checking::Command, Checking::Health, Checking::Way, Checking::EndCapture, Checking::Conclude];
const UNDOS: [Undoing; 11] = [
    Undoing::Step(0),
    Undoing::Step(1),
    Undoing::Step(2),
    Undoing::CatchUp,
    Undoing::Swap,
    Undoing::Assess,
    Undoing::Save,
    Undoing::Restore,
    Undoing::Check,
    Undoing::EndCapture,
    Undoing::Conclude,
];
const ENDS: [End; 5] = [End::Succeeded, End::RolledBack, End::Refused, End::Rehearsed, End::Abandoned];
/// The first step, one between, the last.
const STEPS: [usize; 3] = [0, 1, 2];

fn states() -> Vec<State> {
    let mut states = vec![State::Blank {}];
    states.extend(STAGES.iter().flat_map(|stage| FLIGHTS.map(|flight| State::Preparing { stage: *stage, flight })));
    states.push(State::Planned {});
    states.extend(STEPS.iter().flat_map(|step| FLIGHTS.map(|flight| State::Forward { step: *step, flight })));
    states.extend(CHECKS.iter().flat_map(|check| FLIGHTS.map(|flight| State::Verifying { check: *check, flight })));
    states.extend(UNDOS.iter().flat_map(|undo| FLIGHTS.map(|flight| State::Rolling { undo: *undo, flight })));
    let positions = STEPS.iter().map(|step| Position::Forward(*step));
    let positions = positions.chain(CHECKS.iter().map(|check| Position::Verifying(*check)));
    let positions = positions.chain(UNDOS.iter().map(|undo| Position::Rolling(*undo)));
    states.extend(positions.flat_map(|at| [false, true].map(|doubt| State::Halted { at, doubt })));
    states.extend(ENDS.map(|end| State::Settled { end }));
    states
}

fn id(name: &str) -> EffectId {
    EffectId::derive("matrix", &samples::run_id(), name, b"")
}

fn ours() -> EffectId {
    id("in flight")
}

fn effects() -> Vec<Effect> {
    let dumps = [DumpPurpose::Checkpoint, DumpPurpose::Refresh, DumpPurpose::BeforeRollback]
        .map(|purpose| Effect::Dump { purpose });
    let mut effects = vec![Effect::Preflight];
    effects.extend(dumps);
    effects.extend([
        Effect::CreateSandbox,
        Effect::FillSandbox,
        Effect::Rehearse,
        Effect::RunTests,
        Effect::DropSandbox,
    ]);
    effects.push(Effect::PrepareTarget);
    effects.extend([0, 1, 2, usize::MAX].map(|step| Effect::Migrate { step }));
    effects.extend([Effect::CheckSchema, Effect::RunVerify, Effect::CheckHealth]);
    effects.extend([Effect::AssessLoss, Effect::Restore, Effect::CheckRestored]);
    effects.extend([Effect::StartCapture, Effect::RaiseShadow, Effect::EndCapture, Effect::CheckWay]);
    effects.extend([0, 1, 2, usize::MAX].map(|step| Effect::UndoStep { step }));
    effects.extend([Effect::CatchUp, Effect::Swap]);
    effects
}

fn digest() -> Digest {
    Digest::of("the plan")
}

/// An outcome of each shape, and of a loss both.
fn outcomes() -> Vec<Outcome> {
    let case = Case::of(1);
    let mut outcomes: Vec<Outcome> = Vec::new();
    for effect in effects() {
        for rows in [0, 3] {
            let outcome = samples::outcome(effect, &case, rows);
            if !outcomes.contains(&outcome) {
                outcomes.push(outcome);
            }
        }
    }
    outcomes.push(Outcome::Checks(Vec::new()));
    outcomes
}

fn why(certainty: Certainty) -> Failure {
    samples::failure("it failed").certainty(certainty)
}

fn planned() -> Event {
    let case = Case::of(1);
    let run = Run {
        request: Some(samples::request(&case)),
        preflight: Some(samples::preflight(&case)),
        rehearsal: Some(samples::rehearsal(&case)),
        ..Run::blank(samples::run_id())
    };
    Event::Planned { plan: Box::new(plan(&run).unwrap()), digest: digest(), findings: Vec::new() }
}

/// The event of each kind that comes closest to being legal, with what the table calls it.
fn events() -> Vec<(String, Event)> {
    let mut events = vec![
        Event::Requested(Box::new(samples::request(&Case::of(1)))),
        Event::LeaseTaken { host: "vela".into(), pid: 1, epoch: 1 },
        Event::Paused { why: Pause::Interrupted },
        planned(),
        Event::Approved { plan_digest: digest(), reason: None },
        Event::Rejected { reason: None },
        Event::CancelRequested { reason: None },
        Event::RollbackStarted { why: why(Certainty::Definite) },
        Event::RollbackRequested { reason: None, restore: false },
        Event::CaptureEnded { why: "the window is over".into() },
        Event::WayChecked { readiness: samples::readiness() },
        Event::RunSucceeded,
        Event::RolledBack,
        Event::Refused { reasons: Vec::new(), findings: Vec::new() },
        Event::Rehearsed,
        Event::Halted { why: why(Certainty::Definite) },
        Event::Abandoned { reason: None },
        Event::ArtifactsWritten { files: Vec::new() },
    ];
    let evidence = || "looked".to_owned();
    events.extend(effects().into_iter().map(|effect| Event::Intended { effect, id: id("next"), attempt: 1 }));
    for id in [ours(), id("another")] {
        for outcome in outcomes() {
            events.push(Event::Succeeded { id: id.clone(), outcome: outcome.clone(), duration_ms: 1 });
            let failure = why(Certainty::Definite);
            events.push(Event::Failed {
                id: id.clone(),
                failure: failure.clone(),
                partial: Some(outcome.clone()),
                duration_ms: 1,
            });
            let verdict = Verdict::PartlyApplied { outcome: outcome.clone(), failure };
            events.push(Event::Reconciled { id: id.clone(), verdict, evidence: evidence() });
            events.push(Event::Reconciled {
                id: id.clone(),
                verdict: Verdict::Applied { outcome },
                evidence: evidence(),
            });
        }
        for certainty in [Certainty::Definite, Certainty::InDoubt] {
            events.push(Event::Failed { id: id.clone(), failure: why(certainty), partial: None, duration_ms: 1 });
        }
        for verdict in [Verdict::NotApplied, Verdict::Unknown] {
            events.push(Event::Reconciled { id: id.clone(), verdict, evidence: evidence() });
        }
        events.push(Event::Fenced { id: id.clone(), evidence: evidence() });
        events.extend([true, false].map(|applied| Event::Ruled { id: id.clone(), applied, reason: evidence() }));
    }
    events.into_iter().map(|event| (title(&event), event)).collect()
}

/// What the table calls an event: many events that differ in what does not matter have one name.
fn title(event: &Event) -> String {
    let detail = match event {
        Event::Intended { effect, .. } => effect.name(),
        Event::Failed { failure, .. } if failure.certainty == Certainty::InDoubt => "in doubt".into(),
        Event::Failed { partial: Some(Outcome::Step(_)), .. } => "applied in part".into(),
        Event::Succeeded { outcome: Outcome::Loss(loss), .. } if loss.rows() > 0 => "rows would be lost".into(),
        Event::Reconciled { verdict: Verdict::Applied { .. }, .. } => "applied".into(),
        Event::Reconciled { verdict: Verdict::NotApplied, .. } => "not applied".into(),
        Event::Reconciled { verdict: Verdict::PartlyApplied { .. }, .. } => "applied in part".into(),
        Event::Reconciled { verdict: Verdict::Unknown, .. } => "unknown".into(),
        Event::Ruled { applied, .. } => if *applied { "applied" } else { "not applied" }.into(),
        _ => return event.kind().into(),
    };
    format!("{}: {detail}", event.kind())
}

/// What is so where nothing is said.
fn base() -> Facts {
    Facts { flight: Some(ours()), steps: 3, plan: Some(digest()), ..Facts::default() }
}

/// Something failed, and the run goes back this way.
fn back(way: Way, standing: usize, base: &Facts) -> Facts {
    let captured = way == Way::Swap;
    Facts { failed: true, committed: 2, restorable: true, standing, way, captured, ..base.clone() }
}

/// One thing that is otherwise, or two that only matter together.
fn otherwise() -> Vec<(&'static str, Facts)> {
    let base = base();
    vec![
        ("tests", Facts { tests: true, ..base.clone() }),
        ("verify", Facts { verify: true, ..base.clone() }),
        ("health", Facts { health: true, ..base.clone() }),
        ("nothing to do", Facts { nothing_to_do: true, ..base.clone() }),
        ("failed", Facts { failed: true, ..base.clone() }),
        ("cancelled", Facts { cancelled: true, ..base.clone() }),
        ("rejected", Facts { rejected: true, ..base.clone() }),
        ("approval missing", Facts { approval_missing: true, ..base.clone() }),
        ("dry run", Facts { dry_run: true, ..base.clone() }),
        ("old backup", Facts { stale_backup: true, ..base.clone() }),
        ("loss", Facts { loss: true, forgets: true, ..base.clone() }),
        ("worn out", Facts { poisoned: true, ..base.clone() }),
        ("committed", Facts { committed: 1, standing: 1, restorable: true, ..base.clone() }),
        ("failed + committed", Facts { failed: true, committed: 1, restorable: true, ..base.clone() }),
        ("cancelled + committed", Facts { cancelled: true, committed: 1, restorable: true, ..base.clone() }),
        ("old backup + committed", Facts { stale_backup: true, committed: 1, restorable: true, ..base.clone() }),
        ("cancelled + tests", Facts { cancelled: true, tests: true, ..base.clone() }),
        ("approval missing + rejected", Facts { approval_missing: true, rejected: true, ..base.clone() }),
        ("asked for", Facts { asked: true, ..base.clone() }),
        ("loss + asked for", Facts { loss: true, forgets: true, asked: true, ..base.clone() }),
        ("commits as it goes", Facts { piecemeal: true, ..base.clone() }),
        ("capture planned", Facts { capture: true, ..base.clone() }),
        ("captured", Facts { capture: true, captured: true, ..base.clone() }),
        ("captured + cancelled", Facts { capture: true, captured: true, cancelled: true, ..base.clone() }),
        ("captured + window", Facts { capture: true, captured: true, keep_capture: true, ..base.clone() }),
        ("failed + committed + back in place", back(Way::InPlace, 2, &base)),
        ("failed + committed + taken back", back(Way::InPlace, 0, &base)),
        ("failed + committed + back by swap", back(Way::Swap, 2, &base)),
        (
            "approval of another plan missing",
            Facts { approval_missing: true, plan: Some(Digest::of("another")), ..base.clone() },
        ),
        ("failed + nothing to do", Facts { failed: true, nothing_to_do: true, ..base }),
    ]
}

fn shown(state: &State) -> String {
    let undo = |undo: &Undoing| match undo {
        Undoing::Step(step) => format!("step {}", step + 1),
        undo => word(undo),
    };
    match state {
        State::Blank {} => "blank".into(),
        State::Preparing { stage, flight } => format!("preparing: {}, {}", word(stage), word(flight)),
        State::Planned {} => "planned".into(),
        State::Forward { step, flight } => format!("forward: step {}, {}", step + 1, word(flight)),
        State::Verifying { check, flight } => format!("verifying: {}, {}", word(check), word(flight)),
        State::Rolling { undo: at, flight } => format!("rolling: {}, {}", undo(at), word(flight)),
        State::Halted { at, doubt } => {
            let at = match at {
                Position::Forward(step) => format!("step {}", step + 1),
                Position::Verifying(check) => format!("verifying {}", word(check)),
                Position::Rolling(at) => format!("rolling {}", undo(at)),
            };
            format!("halted: {at}{}", if *doubt { ", in doubt" } else { "" })
        }
        State::Settled { end } => format!("settled: {}", word(end)),
    }
}

/// A variant's name as words.
fn word(value: &dyn std::fmt::Debug) -> String {
    let mut out = String::new();
    for letter in format!("{value:?}").chars() {
        if letter.is_uppercase() && !out.is_empty() {
            out.push(' ');
        }
        out.extend(letter.to_lowercase());
    }
    out
}

/// The states some history leads to, and perhaps a few more: whether facts hold together is not looked at.
fn reachable() -> Vec<State> {
    let mut facts: Vec<Facts> = otherwise().into_iter().map(|(_, facts)| facts).collect();
    facts.push(base());
    let events = events();
    let mut reached = vec![State::Blank {}];
    let mut next = 0;
    while let Some(state) = reached.get(next).copied() {
        next += 1;
        for (facts, (_, event)) in facts.iter().flat_map(|facts| events.iter().map(move |event| (facts, event))) {
            if let Ok(to) = transition(&state, facts, event)
                && !reached.contains(&to)
            {
                reached.push(to);
            }
        }
    }
    reached
}

/// Where the events of one title lead, at most one place: they differ in what must not matter, or else all but one are illegal.
fn leads(state: &State, facts: &Facts, events: &[&Event]) -> Option<State> {
    let legal: BTreeSet<String> =
        events.iter().filter_map(|event| transition(state, facts, event).ok()).map(|to| shown(&to)).collect();
    assert!(legal.len() <= 1, "{}: {} leads to {legal:?}", shown(state), title(events[0]));
    events.iter().find_map(|event| transition(state, facts, event).ok())
}

const HEAD: &str = "\
# The states of a run

<!-- Made from `src/domain/machine.rs`; a test fails when this page is stale. To make it again:
     cargo test --test main write_the_table_of_states -- --ignored -->

Every event that is legal in a state, and where it leads, for a plan of three steps. States that no event leads to from *blank* are left
out. What is not listed is refused, before it is written
and when it is read back. The first column holds where nothing is said: nothing failed, nobody cancelled, nothing is committed, the dump is
fresh. The second says what else it depends on; `+` joins things that only matter together, and `—` stands for *refused*. News of an
effect counts only if it bears the id of the effect in flight and is of the kind that effect can bring.

In every state but *blank* and *settled*, `run.lease_taken`, `run.paused` and `run.abandoned` are legal, in every state but *blank*
`artifacts.written`; below they are listed only where a take-over leads elsewhere.
";

/// The page, made of what `transition` answers.
fn page() -> String {
    let mut out = HEAD.to_owned();
    let events = events();
    let mut titles: Vec<&str> = Vec::new();
    for (title, _) in &events {
        if !titles.contains(&title.as_str()) {
            titles.push(title);
        }
    }
    let reachable = reachable();
    for state in states().into_iter().filter(|state| reachable.contains(state)) {
        let mut rows = String::new();
        for title in &titles {
            let alike: Vec<&Event> =
                events.iter().filter(|(other, _)| other == title).map(|(_, event)| event).collect();
            let usual = leads(&state, &base(), &alike);
            let everywhere = matches!(*title, "run.lease_taken" | "run.paused" | "run.abandoned" | "artifacts.written");
            if everywhere && usual.is_none_or(|to| to == state || *title == "run.abandoned") {
                continue;
            }
            let to = |to: Option<State>| match to {
                None => "—".to_owned(),
                Some(to) if to == state => "stays".to_owned(),
                Some(to) => shown(&to),
            };
            let mut singly: BTreeMap<&str, Option<State>> = BTreeMap::new();
            let mut unless: Vec<(String, Vec<&str>)> = Vec::new();
            for (name, facts) in otherwise() {
                let here = leads(&state, &facts, &alike);
                singly.insert(name, here);
                // Two things together are worth a word only where neither alone explains it.
                let explained = name.split(" + ").any(|part| singly.get(part).copied().unwrap_or(usual) == here);
                if here == usual && !name.contains(" + ") || name.contains(" + ") && explained {
                    continue;
                }
                match unless.iter_mut().find(|(there, _)| *there == to(here)) {
                    Some((_, names)) => names.push(name),
                    None => unless.push((to(here), vec![name])),
                }
            }
            if usual.is_none() && unless.is_empty() {
                continue;
            }
            let unless: Vec<String> =
                unless.into_iter().map(|(to, names)| format!("{}: {to}", names.join(", "))).collect();
            let _ = writeln!(rows, "| `{title}` | {} | {} |", to(usual), unless.join("; "));
        }
        if !rows.is_empty() {
            let _ = write!(out, "\n## {}\n\n| event | leads to | otherwise |\n|---|---|---|\n{rows}", shown(&state));
        }
    }
    out
}

fn file() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/states.md"))
}

#[test]
fn every_event_is_legal_or_illegal_in_every_state_and_nothing_else() {
    let (mut legal, mut illegal) = (0, 0);
    let mut facts = otherwise();
    facts.push(("", base()));
    for state in states() {
        for (_, event) in events() {
            for (_, facts) in &facts {
                match transition(&state, facts, &event) {
                    Ok(_) => legal += 1,
                    Err(refused) => {
                        assert_eq!(refused, Illegal { state, event: event.kind() });
                        illegal += 1;
                    }
                }
            }
        }
    }
    assert!(legal > 1_000 && illegal > legal, "{legal} legal, {illegal} illegal");
}

#[test]
fn news_of_another_effect_than_the_one_in_flight_is_refused_everywhere() {
    for state in states() {
        for (_, event) in events() {
            let (Event::Succeeded { id, .. }
            | Event::Failed { id, .. }
            | Event::Fenced { id, .. }
            | Event::Reconciled { id, .. }
            | Event::Ruled { id, .. }) = &event
            else {
                continue;
            };
            if *id != ours() {
                assert!(transition(&state, &base(), &event).is_err(), "{state:?} {event:?}");
            }
            let nothing = Facts { flight: None, ..base() };
            assert!(transition(&state, &nothing, &event).is_err(), "{state:?} {event:?} with nothing in flight");
        }
    }
}

#[test]
fn only_a_change_of_the_target_is_ever_in_doubt_for_good() {
    let doubt = reachable().into_iter().filter(|state| state.flight() == Flight::Doubt);
    let (mut forward, mut rolling) = (0, 0);
    for state in doubt {
        match state {
            State::Forward { .. } | State::Halted { at: Position::Forward(_), .. } => forward += 1,
            State::Rolling { undo: Undoing::Restore | Undoing::Step(_), .. }
            | State::Halted { at: Position::Rolling(Undoing::Restore | Undoing::Step(_)), .. } => rolling += 1,
            other => panic!("{}", shown(&other)),
        }
    }
    assert_eq!((forward, rolling), (6, 6));
}

#[test]
fn every_state_that_can_be_reached_is_among_those_that_are_tried() {
    let states = states();
    assert!(reachable().iter().all(|state| states.contains(state)));
}

#[test]
fn an_intent_is_legal_only_with_nothing_in_flight_and_only_for_one_effect() {
    let mut facts = otherwise();
    facts.push(("", base()));
    for state in states() {
        for (name, facts) in &facts {
            let intents = effects().into_iter().map(|effect| Event::Intended { effect, id: id("next"), attempt: 1 });
            let legal = intents.filter(|intent| transition(&state, facts, intent).is_ok()).count();
            assert!(legal <= usize::from(state.flight() == Flight::Ready), "{state:?} {name}: {legal}");
        }
    }
}

#[test]
fn nothing_but_a_rollback_and_reports_follows_an_end() {
    for end in ENDS {
        for (_, facts) in otherwise() {
            for (title, event) in events() {
                let legal = transition(&State::Settled { end }, &facts, &event).is_ok();
                let may = match event {
                    Event::ArtifactsWritten { .. } => true,
                    Event::RollbackRequested { .. } => end == End::Succeeded && facts.restorable,
                    Event::CaptureEnded { .. } => facts.captured,
                    Event::WayChecked { .. } => end == End::Succeeded && facts.captured,
                    _ => false,
                };
                assert_eq!(legal, may, "{end:?} {title}");
            }
        }
    }
}

#[test]
fn the_table_of_states_is_up_to_date() {
    let there = fs_err::read_to_string(file()).unwrap_or_default();
    let page = page();
    let line = there.lines().zip(page.lines()).find(|(old, new)| old != new);
    assert!(
        there == page,
        "the machine changed; if it is meant: cargo test --test main write_the_table_of_states -- --ignored, and look at the diff\n{line:#?}"
    );
}

#[test]
#[ignore = "writes docs/states.md; run it after a change to the machine that is meant"]
fn write_the_table_of_states() {
    fs_err::write(file(), page()).unwrap();
}
