//! Many runs: a line or an object each.

use super::facts::{migrations, outcome};
use super::show::outcome_word;
use super::table::{Pen, Tone, plain, table as drawn};
use super::words::{count, duration, plural};
use crate::domain::recovery::Found;
use crate::domain::time::rfc3339;
use serde_json::{Value, json};

/// The runs as a table, in the order given, ending in a line break. `width` is the terminal's, where there is one.
#[must_use]
pub fn table(runs: &[Found], width: Option<u16>, color: bool) -> String {
    if runs.is_empty() {
        return "no runs\n".to_owned();
    }
    let rows = runs
        .iter()
        .map(|Found { run, held_by }| {
            let word = outcome_word(run, held_by.as_deref());
            let tone = if word == "running" { Tone::Plain } else { outcome(run).tone() };
            let migrations = count(&migrations(run));
            vec![
                plain(run.id.as_str()),
                (tone, word.replace('_', " ")),
                plain(run.requested.as_ref().map(|asked| rfc3339(asked.ts_ms)).unwrap_or_default()),
                plain(run.requested.as_ref().map(|asked| asked.actor.id.clone()).unwrap_or_default()),
                plain(duration(run.duration_ms())),
                plain(plural(migrations, "migration", "migrations")),
            ]
        })
        .collect();
    drawn(Pen { color }, width, &["run", "outcome", "requested", "by", "took", "content"], rows)
}

/// The runs as `dbd.list/1`, in the order given.
///
/// `outcome` is as in `dbd.run/1`, and `running` while a live process of this host, named by `held_by`, is at work on the run.
#[must_use]
pub fn json(runs: &[Found]) -> Value {
    let entries: Vec<Value> = runs
        .iter()
        .map(|Found { run, held_by }| {
            json!({
                "run": run.id.as_str(),
                "environment": run.id.environment().as_str(),
                "target": run.request.as_ref().map(|request| request.target.as_str()),
                "dry_run": run.request.as_ref().is_some_and(|request| request.dry_run),
                "outcome": outcome_word(run, held_by.as_deref()),
                "state": run.state.name(),
                "requested_at": run.requested.as_ref().map(|asked| rfc3339(asked.ts_ms)),
                "requested_by": run.requested.as_ref().map(|asked| asked.actor.id.as_str()),
                "reason": run.requested.as_ref().and_then(|asked| asked.reason.as_deref()),
                "settled_at": run.settled_ms.map(rfc3339),
                "duration_ms": run.duration_ms(),
                "migrations": migrations(run).iter().map(|one| one.id.as_str()).collect::<Vec<_>>(),
                "held_by": held_by,
                "journal": {"seq": run.seq, "head": run.head},
            })
        })
        .collect();
    json!({"schema": "dbd.list/1", "runs": entries})
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, SECRET, all};
    use super::*;

    fn found() -> Vec<Found> {
        let mut found: Vec<Found> =
            all().into_iter().map(|(_, story)| Found { run: story.run, held_by: None }).collect();
        found.push(Found { run: testing::interrupted().run, held_by: Some("build-7 pid 4711".to_owned()) });
        found
    }

    #[test]
    fn runs_are_listed_one_a_line() {
        insta::assert_snapshot!(table(&found(), None, false), @"
        run                        outcome         requested                 by     took   content
        ───────────────────────────────────────────────────────────────────────────────────────────────
        deploy-prod-1728149445123  succeeded       2024-10-05T17:30:45.123Z  alice  29.0s  2 migrations
        deploy-prod-1728149445123  refused         2024-10-05T17:30:45.123Z  alice  16.0s  2 migrations
        deploy-prod-1728149445123  refused         2024-10-05T17:30:45.123Z  alice  4.0s   0 migrations
        deploy-prod-1728149445123  rolled back     2024-10-05T17:30:45.123Z  alice  40.0s  2 migrations
        deploy-prod-1728149445123  waiting         2024-10-05T17:30:45.123Z  alice  17.0s  2 migrations
        deploy-prod-1728149445123  needs operator  2024-10-05T17:30:45.123Z  alice  40.0s  2 migrations
        deploy-prod-1728149445123  needs operator  2024-10-05T17:30:45.123Z  alice  25.0s  2 migrations
        deploy-prod-1728149445123  interrupted     2024-10-05T17:30:45.123Z  alice  21.0s  2 migrations
        deploy-prod-1728149445123  planned         2024-10-05T17:30:45.123Z  alice  17.0s  2 migrations
        deploy-prod-1728149445123  succeeded       2024-10-05T17:30:45.123Z  alice  4.0s   0 migrations
        deploy-prod-1728149445123  abandoned       2024-10-05T17:30:45.123Z  alice  41.0s  2 migrations
        deploy-prod-1728149445123  running         2024-10-05T17:30:45.123Z  alice  21.0s  2 migrations
        ");
        assert_eq!(table(&[], None, false), "no runs\n");
    }

    #[test]
    fn a_narrow_terminal_keeps_the_id_whole() {
        let text = table(&found(), Some(70), false);
        assert!(text.lines().all(|line| line.chars().count() <= 70), "{text}");
        assert_eq!(text.matches("deploy-prod-1728149445123").count(), found().len());
    }

    #[test]
    fn the_document_names_every_run() {
        let document = json(&found());
        assert_eq!(document["schema"], "dbd.list/1");
        let runs = document["runs"].as_array().unwrap();
        assert_eq!(runs.len(), found().len());
        assert_eq!(
            (&runs[0]["outcome"], &runs[0]["migrations"]),
            (&json!("succeeded"), &json!(["0003_add_price", "0004_drop_old_price"]))
        );
        let last = runs.last().unwrap();
        assert_eq!((&last["outcome"], &last["held_by"]), (&json!("running"), &json!("build-7 pid 4711")));
        assert!(!document.to_string().contains(SECRET));
    }
}
