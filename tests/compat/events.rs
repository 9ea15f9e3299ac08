//! One recorded event of each kind, and of each outcome, verdict and effect, as the first release wrote it.
//!
//! A line that no longer reads is a broken journal on somebody's disk: mend the decoding, never the line. A new kind gets a line of its own;
//! `cargo test --test main write_missing_events -- --ignored` appends it.

use crate::props::samples::{self, Case};
use dbd::domain::codec::{VERSION, decode, encode};
use dbd::domain::decide::plan;
use dbd::domain::effect::{DumpPurpose, Effect};
use dbd::domain::event::{CheckStatus, Event, Outcome, Pause, StepReport, Verdict};
use dbd::domain::finding::Severity;
use dbd::domain::ids::EffectId;
use dbd::domain::run::Run;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;

fn file() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/compat/events-v1.jsonl"))
}

fn id(effect: Effect) -> EffectId {
    EffectId::derive("golden", &samples::run_id(), &effect.name(), b"")
}

const EFFECTS: &[Effect] = &[
    Effect::Preflight,
    Effect::Dump { purpose: DumpPurpose::Checkpoint },
    Effect::Dump { purpose: DumpPurpose::Refresh },
    Effect::Dump { purpose: DumpPurpose::BeforeRollback },
    Effect::CreateSandbox,
    Effect::FillSandbox,
    Effect::Rehearse,
    Effect::RunTests,
    Effect::DropSandbox,
    Effect::PrepareTarget,
    Effect::Migrate { step: 0 },
    Effect::CheckSchema,
    Effect::RunVerify,
    Effect::CheckHealth,
    Effect::AssessLoss,
    Effect::Restore,
    Effect::StartCapture,
    Effect::RaiseShadow,
    Effect::EndCapture,
    Effect::CheckWay,
    Effect::UndoStep { step: 0 },
    Effect::CatchUp,
    Effect::Swap,
    Effect::CheckRestored,
];

/// One of everything.
fn events() -> Vec<Event> {
    let case = Case {
        tests: true,
        verify: true,
        health: true,
        approval: true,
        findings: vec![samples::finding("column_removed", Severity::Error)],
        allow: vec!["column_removed".into()],
        ..Case::of(2)
    };
    let plan = plan(&Run {
        request: Some(samples::request(&case)),
        preflight: Some(samples::preflight(&case)),
        rehearsal: Some(samples::rehearsal(&case)),
        ..Run::blank(samples::run_id())
    });
    let (plan, reason) = (plan.unwrap(), Some("agreed with the shop team".to_owned()));
    let failure = samples::failure("0003_change: relation \"orders\" does not exist")
        .cause("ERROR: relation \"orders\" does not exist (42P01)")
        .hint("write the schema's name before it")
        .at("migrations/0003_change.sql", 1, 13);
    let mut events = vec![
        Event::Requested(Box::new(samples::request(&case))),
        Event::LeaseTaken { host: "vela".into(), pid: 4_000, epoch: 3 },
        Event::Paused { why: Pause::Interrupted },
        Event::Paused { why: Pause::AwaitingApproval },
        Event::Paused { why: Pause::Unreachable },
    ];
    for effect in EFFECTS {
        events.push(Event::Intended { effect: *effect, id: id(*effect), attempt: 1 });
        events.push(Event::Succeeded {
            id: id(*effect),
            outcome: samples::outcome(*effect, &case, 3),
            duration_ms: 41,
        });
    }
    let migrate = id(Effect::Migrate { step: 0 });
    let checks = Outcome::Checks(vec![samples::check("server version", CheckStatus::Failed)]);
    let verdict =
        |verdict| Event::Reconciled { id: migrate.clone(), verdict, evidence: "its ledger row was looked for".into() };
    events.extend([
        Event::Failed { id: id(Effect::Preflight), failure: failure.clone(), partial: Some(checks), duration_ms: 12 },
        Event::Failed { id: migrate.clone(), failure: failure.clone(), partial: None, duration_ms: 12 },
        Event::Failed {
            id: migrate.clone(),
            failure: failure.clone(),
            partial: Some(Outcome::Step(StepReport { xids: vec!["7451".into()], ..samples::step() })),
            duration_ms: 12,
        },
        Event::Fenced { id: migrate.clone(), evidence: "no session of it is left".into() },
        verdict(Verdict::Applied { outcome: Outcome::Step(StepReport::default()) }),
        verdict(Verdict::NotApplied),
        verdict(Verdict::PartlyApplied { outcome: Outcome::Step(samples::step()), failure: failure.clone() }),
        verdict(Verdict::Unknown),
        Event::Ruled { id: migrate.clone(), applied: true, reason: "the column is there".into() },
        Event::Planned { digest: plan.digest(), findings: case.findings.clone(), plan: Box::new(plan.clone()) },
        Event::Approved { plan_digest: plan.digest(), reason: reason.clone() },
        Event::Rejected { reason: None },
        Event::CancelRequested { reason: reason.clone() },
        Event::RollbackStarted { why: failure.clone() },
        Event::RollbackRequested { reason: reason.clone(), restore: false },
        Event::CaptureEnded { why: "its window is over".into() },
        Event::WayChecked { readiness: samples::readiness() },
        Event::RunSucceeded,
        Event::RolledBack,
        Event::Refused { reasons: vec![failure.clone()], findings: case.findings },
        Event::Rehearsed,
        Event::Halted { why: failure },
        Event::Abandoned { reason },
        Event::ArtifactsWritten { files: vec![samples::artifact("report.md")] },
    ]);
    events
}

/// What tells one line from another: the kind, and what the body is of.
fn sort(kind: &str, body: &Value) -> String {
    let parts = ["/why", "/effect/do", "/effect/purpose", "/outcome/of", "/partial/of", "/verdict/verdict"];
    let words = parts.iter().filter_map(|part| body.pointer(part).and_then(Value::as_str));
    std::iter::once(kind).chain(words).collect::<Vec<_>>().join(" ")
}

fn lines() -> Vec<Value> {
    let text = fs_err::read_to_string(file()).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Lines for what the file does not have yet.
fn missing() -> Vec<Value> {
    let mut there: BTreeSet<String> =
        lines().iter().map(|line| sort(line["kind"].as_str().unwrap(), &line["body"])).collect();
    let mut missing = Vec::new();
    for event in events() {
        let body: Value = serde_json::from_str(&encode(&event)).unwrap();
        if there.insert(sort(event.kind(), &body)) {
            missing.push(json!({"kind": event.kind(), "v": VERSION, "body": body}));
        }
    }
    missing
}

/// Whether `new` has everything `old` has.
fn holds(new: &Value, old: &Value) -> bool {
    match (new, old) {
        (Value::Object(new), Value::Object(old)) => {
            old.iter().all(|(key, old)| new.get(key).is_some_and(|new| holds(new, old)))
        }
        (Value::Array(new), Value::Array(old)) => {
            new.len() == old.len() && new.iter().zip(old).all(|(new, old)| holds(new, old))
        }
        _ => new == old,
    }
}

#[test]
fn every_event_of_the_first_release_is_still_read_and_nothing_of_it_lost() {
    let lines = lines();
    assert!(!lines.is_empty());
    for line in lines {
        let (kind, body) = (line["kind"].as_str().unwrap(), &line["body"]);
        let version = u32::try_from(line["v"].as_u64().unwrap()).unwrap();
        let event = decode(kind, version, &body.to_string()).unwrap_or_else(|error| panic!("{kind}: {error:?}"));
        assert_eq!(event.kind(), kind);
        // The decoding may add a field that came later.
        let again: Value = serde_json::from_str(&encode(&event)).unwrap();
        assert!(holds(&again, body), "{kind} lost something:\n{body}\n{again}");
    }
}

#[test]
fn every_kind_outcome_verdict_and_effect_has_a_line() {
    let missing: Vec<String> =
        missing().iter().map(|line| sort(line["kind"].as_str().unwrap(), &line["body"])).collect();
    let kinds: BTreeSet<&str> = events().iter().map(Event::kind).collect();
    assert_eq!(kinds, Event::KINDS.iter().copied().collect(), "events() lacks a kind, or Event::KINDS does");
    assert!(
        missing.is_empty(),
        "append them with cargo test --test main write_missing_events -- --ignored: {missing:#?}"
    );
}

#[test]
#[ignore = "appends what is missing to tests/compat/events-v1.jsonl; run it after adding a kind of event"]
fn write_missing_events() {
    let mut text = fs_err::read_to_string(file()).unwrap_or_default();
    for line in missing() {
        text.push_str(&line.to_string());
        text.push('\n');
    }
    fs_err::write(file(), text).unwrap();
}
