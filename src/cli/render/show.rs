//! One run at a glance, and its events one by one.

use super::facts::{self, Outcome, next_steps, outcome};
use super::log::{Level, Teller};
use super::run::{about, counted};
use super::table::{Pen, Tone, Toned, columns, plain};
use super::words::{clean, duration};
use crate::domain::codec::encode;
use crate::domain::event::Recorded;
use crate::domain::run::Run;
use crate::domain::time::rfc3339;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// How `run` stands, in a few lines ending in a line break.
///
/// `held_by` names the live process that holds the run's target right now, if one does: then the run is running, not interrupted.
/// `watched_by` names the one that watches its rollback window.
#[must_use]
pub fn status(run: &Run, held_by: Option<&str>, watched_by: Option<&str>, color: bool) -> String {
    let pen = Pen { color };
    let (tone, headline) = match held_by {
        Some(owner) if !run.state.is_settled() => {
            let headline = format!("Running: {} {}, held by {}", facts::doing(run), run.id.environment(), clean(owner));
            (Tone::Plain, headline)
        }
        _ => (outcome(run).tone(), facts::headline(run)),
    };
    let mut out = format!("{}: {}\n", pen.strong(tone, &headline), run.id);
    let mut rows = about(run);
    let mut row = |name: &str, text: Toned| rows.push(vec![plain(name), text]);
    let content = counted(run);
    if !content.is_empty() {
        row("content", plain(content));
    }
    if let Some(plan) = run.plan.as_ref().filter(|_| facts::touched(run)) {
        row("steps", plain(format!("{} of {} committed", run.committed.len(), plan.steps.len())));
        if let Some(partly) = facts::partly(run) {
            row("", (Tone::Bad, partly));
        }
    }
    if let Some(flight) = &run.flight {
        row("in flight", plain(format!("{}, since {}", flight.effect.name(), rfc3339(flight.since_ms))));
    }
    if let Some(until) = facts::window(run) {
        let lost = run.readiness.as_ref().is_some_and(|readiness| readiness.blocked.is_some());
        let watched = match watched_by {
            Some(owner) => format!("until {until}, watched by {}", clean(owner)),
            None => format!("until {until}, and nothing watches it: dbd watch {}", run.id),
        };
        row("window", plain(watched));
        row("way back", (if lost { Tone::Bad } else { Tone::Plain }, facts::way_back(run).unwrap_or_default()));
    }
    row(
        "last event",
        plain(format!("{} at {}, {} in all", run.seq, rfc3339(run.last_ms), duration(run.duration_ms()))),
    );
    for why in facts::reasons(run) {
        row("reason", (outcome(run).tone(), why.to_string()));
    }
    out += &columns(pen, 2, rows);
    if held_by.is_none() || run.state.is_settled() {
        for step in next_steps(run) {
            let _ = writeln!(out, "  {}: {}", step.what, step.command);
        }
    }
    out
}

/// The word of `run`'s outcome, where a live process may be at work on it: `running` then.
#[must_use]
pub fn outcome_word(run: &Run, held_by: Option<&str>) -> &'static str {
    match outcome(run) {
        Outcome::Interrupted | Outcome::Waiting if held_by.is_some() => "running",
        outcome => outcome.as_str(),
    }
}

/// The events of a run as text, one line each: place in the journal, time, kind, who, and what happened.
#[must_use]
pub fn events(run: &Run, events: &[Recorded], color: bool) -> String {
    let mut teller = Teller::new(run);
    let rows = events
        .iter()
        .map(|recorded| {
            let told = teller.tell(recorded).into_iter().next();
            let (level, message) = told.map_or((Level::Info, String::new()), |told| (told.level, told.message));
            let tone = match level {
                Level::Info => Tone::Plain,
                Level::Warn => Tone::Odd,
                Level::Error => Tone::Bad,
            };
            vec![
                plain(recorded.seq.to_string()),
                plain(rfc3339(recorded.ts_ms)),
                plain(recorded.event.kind()),
                plain(recorded.actor.id.as_str()),
                (tone, message),
            ]
        })
        .collect();
    columns(Pen { color }, 0, rows)
}

/// An event as one line of `dbd show --events --json`; `body` is what stands in the journal.
#[must_use]
pub fn event_json(recorded: &Recorded) -> Value {
    // What was encoded a moment ago reads back; there is no body that is not JSON.
    let body: Value = serde_json::from_str(&encode(&recorded.event)).unwrap_or(Value::Null);
    json!({
        "seq": recorded.seq,
        "rseq": recorded.rseq,
        "ts": rfc3339(recorded.ts_ms),
        "kind": recorded.event.kind(),
        "actor": recorded.actor,
        "epoch": recorded.epoch,
        "body": body,
        "refs": recorded.refs,
        "hash": recorded.hash,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, all};
    use super::*;
    use crate::domain::codec;
    use crate::domain::event::{Event, Outcome};

    #[test]
    fn an_interrupted_run_says_how_to_go_on() {
        insta::assert_snapshot!(status(&testing::interrupted().run, None, None, false), @"
        Interrupted while deploying, prod may have changed: deploy-prod-1728149445123
          target      db.example.com:5432/shop
          requested   by alice on build-7 at 2024-10-05T17:30:45.123Z
          commit      0a1b2c3d4e5f on feature/prices
          content     2 migrations
          steps       1 of 2 committed
          in flight   migrate 2, since 2024-10-05T17:31:06.123Z
          last event  61 at 2024-10-05T17:31:06.123Z, 21.0s in all
          go on: dbd resume deploy-prod-1728149445123
          stop it and take it back: dbd cancel deploy-prod-1728149445123
        ");
    }

    #[test]
    fn a_run_that_a_live_process_holds_is_running() {
        let story = testing::interrupted();
        let text = status(&story.run, Some("build-7 pid 4711"), None, false);
        assert!(
            text.starts_with("Running: deploying prod, held by build-7 pid 4711: deploy-prod-1728149445123\n"),
            "{text}"
        );
        assert!(!text.contains("dbd resume"));
        assert_eq!((outcome_word(&story.run, Some("x")), outcome_word(&story.run, None)), ("running", "interrupted"));
        let good = testing::good();
        assert_eq!(outcome_word(&good.run, Some("another run's process")), "succeeded");
        assert!(status(&good.run, Some("another run's process"), None, false).starts_with("Deployed 2 migrations"));
    }

    #[test]
    fn events_are_told_one_a_line() {
        let story = testing::not_ready();
        insta::assert_snapshot!(events(&story.run, &story.events, false), @"
        40  2024-10-05T17:30:45.123Z  run.requested    alice  A deployment to prod was requested by alice
        41  2024-10-05T17:30:46.123Z  run.lease_taken  alice  Process 4711 on build-7 took the run over
        42  2024-10-05T17:30:47.123Z  step.intended    alice  Looking at everything a deployment needs
        43  2024-10-05T17:30:48.123Z  step.failed      alice  db.example.com:5432 does not answer (DBD-0101)
        44  2024-10-05T17:30:49.123Z  run.refused      alice  Refused before prod was touched: db.example.com:5432 does not answer
        ");
        for (name, story) in all() {
            assert_eq!(events(&story.run, &story.events, false).lines().count(), story.events.len(), "{name}");
        }
    }

    #[test]
    fn an_event_reads_back_from_its_json() {
        for (name, story) in all() {
            for recorded in &story.events {
                // The codec loses the body of a failed preflight: an internally tagged enum cannot hold the list in `Outcome::Checks`.
                if matches!(recorded.event, Event::Failed { partial: Some(Outcome::Checks(_)), .. }) {
                    continue;
                }
                let line = event_json(recorded);
                let back =
                    codec::decode(line["kind"].as_str().unwrap(), codec::VERSION, &line["body"].to_string()).unwrap();
                assert_eq!(back, recorded.event, "{name}");
                assert_eq!(
                    (line["seq"].as_u64(), line["hash"].as_str()),
                    (Some(recorded.seq), Some(recorded.hash.as_str()))
                );
            }
        }
        let first = event_json(&testing::good().events[0]);
        assert_eq!((&first["ts"], &first["kind"]), (&json!("2024-10-05T17:30:45.123Z"), &json!("run.requested")));
        assert_eq!(first["actor"], json!({"type": "human", "id": "alice", "via": "git", "host": "build-7"}));
    }
}
