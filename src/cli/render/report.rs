//! The report of a run: everything an approver, an auditor or the next person on call may ask, as one document.

use super::document::{self, Block, Document, Line, Span, code, mark, text};
use super::facts::{self, allowed, changes, loss, migrations, next_steps, outcome, reasons};
use super::log::{Level, Teller, beginning};
use super::run::{said, severity};
use super::table::Tone;
use super::timeline;
use super::words::{self, bytes, capital, count, duration, plural};
use crate::domain::event::{Backup, CheckStatus, CommandReport, Event, Recorded};
use crate::domain::failure::Failure;
use crate::domain::finding::Finding;
use crate::domain::measured::measured;
use crate::domain::migration::UnitMode;
use crate::domain::run::Run;
use crate::domain::time::rfc3339;
use serde_json::Value;
use std::collections::BTreeSet;

/// How many tables' row counts, and how many changes, are named one by one.
const NAMED: usize = 200;

/// The report as Markdown.
///
/// `events` are all events of `run`, in order; `comparison` is what `schema-comparison.json` holds (`dbd.compare/1`), if there is one.
#[must_use]
pub fn markdown(run: &Run, events: &[Recorded], comparison: Option<&Value>) -> String {
    document::markdown(&report(run, events, comparison))
}

/// The report as one HTML page that needs nothing else. The arguments are those of [`markdown`].
#[must_use]
pub fn html(run: &Run, events: &[Recorded], comparison: Option<&Value>) -> String {
    document::html(&report(run, events, comparison))
}

fn report(run: &Run, events: &[Recorded], comparison: Option<&Value>) -> Document {
    let outcome = outcome(run);
    let mut report = Document {
        title: format!("Deployment {}", run.id),
        badge: (outcome.tone(), outcome.words()),
        lead: facts::headline(run),
        sections: Vec::new(),
        foot: format!(
            "Told from the journal up to event {} ({}), recorded {}",
            run.seq,
            run.head,
            rfc3339(run.last_ms)
        ),
    };
    report.section("Who, what, when", vec![Block::Facts(who_what_when(run, events))]);
    report.section("Why", reasons(run).into_iter().map(failure).collect());
    report.section("What is known", vec![Block::List(facts::known(run).into_iter().map(text).collect())]);
    report.section("The way back", way_back(run));
    report.section("Migrations", migrations_told(run));
    report.section("Schema", schema(run, comparison));
    report.section("Findings", findings(run));
    report.section("Locks foretold and measured", locks(run));
    report.section("Tests and verification", commands(run));
    report.section("Backup", run.backup.as_ref().map_or_else(Vec::new, |backup| backup_told(backup, run.backup_ms)));
    report.section("Checks before", checks(run));
    report.section("Steps on the target", steps(run));
    let phases = run.phases().iter().map(|(phase, took)| (phase.name().replace('_', " "), *took)).collect();
    report.section("Phases", vec![Block::Bars(phases)]);
    report.section("What happened", vec![timeline(run, events)]);
    report.section("Files", files(run));
    report.section("Record", vec![Block::Facts(record(run, events))]);
    let next =
        next_steps(run).into_iter().map(|step| vec![Span::Text(format!("{}: ", step.what)), Span::Code(step.command)]);
    report.section("Next", vec![Block::List(next.collect())]);
    report
}

/// A failure as a block.
pub(super) fn failure(failure: &Failure) -> Block {
    let causes = failure.causes.iter().map(|cause| ("because", cause.clone()));
    let place = failure.place.iter().map(|place| ("at", format!("{}:{}:{}", place.file, place.line, place.column)));
    let hints = failure.hints.iter().map(|hint| ("hint", hint.clone()));
    Block::Failure(failure.to_string(), causes.chain(place).chain(hints).collect())
}

fn who_what_when(run: &Run, events: &[Recorded]) -> Vec<(&'static str, Line)> {
    let mut facts = vec![("run", code(run.id.as_str())), ("environment", text(run.id.environment().as_str()))];
    if let Some(request) = &run.request {
        facts.push(("target", code(request.target.as_str())));
        if request.dry_run {
            facts.push(("kind", text("a dry run")));
        }
    }
    for (name, decision) in [
        ("requested", &run.requested),
        ("approved", &run.approved),
        ("rejected", &run.rejected),
        ("cancelled", &run.cancelled),
        ("rollback requested", &run.rollback_asked),
    ] {
        facts.extend(decision.as_ref().map(|decision| (name, text(said(decision)))));
    }
    let hosts = hosts(events);
    if !hosts.is_empty() {
        facts.push(("carried out on", text(hosts.join(", "))));
    }
    facts.extend(run.settled_ms.map(|ms| ("settled", text(rfc3339(ms)))));
    facts.push(("duration", text(duration(run.duration_ms()))));
    if let Some(preflight) = &run.preflight {
        if let Some(git) = &preflight.git {
            facts.push(("commit", code(git.commit.as_str())));
            facts.extend(git.branch.as_ref().map(|branch| ("branch", code(branch.as_str()))));
            facts.extend(git.author.as_ref().map(|author| ("author", text(author.as_str()))));
            if git.dirty {
                let files = plural(count(&git.dirty_files), "uncommitted file", "uncommitted files");
                facts.push(("working tree", mark(Tone::Odd, format!("{files}: {}", git.dirty_files.join(", ")))));
            }
        }
        facts.push((
            "server",
            text(format!("PostgreSQL {}, {}", preflight.server.version, size(preflight.server.size_bytes))),
        ));
        facts.push(("role", text(preflight.server.role.as_str())));
    }
    facts
}

fn size(database: i64) -> String {
    bytes(database.unsigned_abs())
}

/// The hosts whose processes worked on the run, each once, in the order they came.
pub(super) fn hosts(events: &[Recorded]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let hosts = events.iter().filter_map(|recorded| match &recorded.event {
        Event::LeaseTaken { host, .. } => Some(host),
        _ => None,
    });
    hosts.filter(|host| seen.insert((*host).clone())).cloned().collect()
}

fn way_back(run: &Run) -> Vec<Block> {
    if run.rollbacks == 0 {
        return Vec::new();
    }
    let mut story = Vec::new();
    let how = facts::way_back(run).filter(|_| outcome(run) == facts::Outcome::RolledBack);
    let turned = match (&run.rollback_why, &run.rollback_asked) {
        (_, Some(asked)) => format!("A rollback was requested {}", said(asked)),
        (Some(why), None) => format!("The run turned round by itself: {why}"),
        (None, None) => "The run turned round".to_owned(),
    };
    story.push(text(turned));
    story.extend(how.map(|how| text(capital(&how))));
    story.extend(loss(run).into_iter().map(|told| mark(Tone::Odd, capital(&told))));
    if run.loss.is_some() && loss(run).is_empty() {
        story.push(text("No rows were written since the backup by anybody else"));
    }
    if run.rollbacks > 1 {
        story.push(text(format!("The run turned round {} times", run.rollbacks)));
    }
    let now = match (outcome(run), &run.backup) {
        (facts::Outcome::RolledBack, _) if !facts::touched(run) => {
            "Nothing had been committed, and the schema fingerprint was checked".to_owned()
        }
        (facts::Outcome::RolledBack, Some(backup)) => {
            format!(
                "The target's schema fingerprint is its checkpoint's again, and that was checked: {}",
                backup.fingerprint
            )
        }
        (facts::Outcome::RolledBack, None) => "The target is at its checkpoint again".to_owned(),
        _ => "The way back has not come to its end".to_owned(),
    };
    story.push(text(now));
    vec![Block::List(story)]
}

fn migrations_told(run: &Run) -> Vec<Block> {
    let migrations = migrations(run);
    let rows = migrations
        .iter()
        .map(|one| {
            vec![
                code(one.id.as_str()),
                code(one.file.as_str()),
                text(one.statements.to_string()),
                text(one.duration_ms.map(duration).unwrap_or_default()),
                mark(one.status.tone(), one.status.words()),
                code(words::digest(&one.digest)),
            ]
        })
        .collect();
    let mut blocks = vec![Block::Table(vec!["migration", "file", "statements", "took", "status", "digest"], rows)];
    if let Some(preflight) = run.preflight.as_ref().filter(|_| !migrations.is_empty()) {
        let applied = plural(preflight.applied as u64, "migration was", "migrations were");
        let format = preflight.format.reader().name();
        blocks.push(Block::Text(text(format!("{applied} applied before; the folder is {} ({format})", preflight.dir))));
    }
    let other = run.plan.iter().flat_map(|plan| plan.steps.iter().flat_map(|step| facts::other_forms(plan, step)));
    let other: Vec<Line> = other
        .map(|(file, line, sql)| {
            text(format!("{file}:{line} is run in another form, so that it comes back by a rename: {sql}"))
        })
        .collect();
    if !other.is_empty() {
        blocks.push(Block::List(other));
    }
    blocks
}

/// The changes counted, and what the comparison says of them.
fn schema(run: &Run, comparison: Option<&Value>) -> Vec<Block> {
    let mut facts = Vec::new();
    facts.extend(changes(run).map(|changes| ("changes", text(words::changes(&changes)))));
    let before = run.preflight.as_ref().map(|preflight| &preflight.fingerprint);
    facts.extend(before.map(|print| ("fingerprint before", code(print.as_str()))));
    facts.extend(run.rehearsal.as_ref().map(|found| ("fingerprint rehearsed", code(found.fingerprint_after.as_str()))));
    facts.extend(facts::fingerprint(run).map(|found| ("fingerprint now", code(found))));
    let mut blocks = Vec::new();
    if let Some(comparison) = comparison {
        let recommendation = comparison["recommendation"].as_str().unwrap_or_default();
        let tone = match recommendation {
            "safe" => Tone::Good,
            "review" => Tone::Odd,
            "unsafe" => Tone::Bad,
            _ => Tone::Plain,
        };
        facts.push(("recommendation", mark(tone, recommendation)));
        let summary = &comparison["summary"];
        for (name, key) in [("tables unchanged", "tables_matching"), ("tables changed", "tables_differing")] {
            facts.extend(summary[key].as_u64().map(|tables| (name, text(tables.to_string()))));
        }
        for (name, key) in [("tables added", "tables_only_in_source"), ("tables removed", "tables_only_in_target")] {
            let tables: Vec<&str> = summary[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            if !tables.is_empty() {
                facts.push((name, text(tables.join(", "))));
            }
        }
        blocks = compared(comparison);
    }
    let mut all = vec![Block::Facts(facts)];
    all.append(&mut blocks);
    all
}

/// What differs, as a table, from a comparison as JSON.
pub(super) fn compared(comparison: &Value) -> Vec<Block> {
    let all: Vec<&Value> = comparison["changes"].as_array().into_iter().flatten().collect();
    let shown: Vec<&&Value> = all.iter().filter(|change| change["nested"] != true).collect();
    let word = |change: &Value, key: &str| change[key].as_str().unwrap_or_default().to_owned();
    let rows: Vec<Vec<Line>> = shown
        .iter()
        .take(NAMED)
        .map(|change| {
            let breaking = word(change, "breaking");
            let tone = match breaking.as_str() {
                "yes" => Tone::Bad,
                "possibly" => Tone::Odd,
                _ => Tone::Plain,
            };
            vec![
                text(word(change, "change")),
                text(word(change, "kind").replace('_', " ")),
                code(word(change, "object")),
                mark(tone, breaking),
                text(word(change, "reason")),
            ]
        })
        .collect();
    let mut blocks = vec![Block::Table(vec!["change", "kind", "object", "breaking", "why"], rows)];
    let rest = shown.len().saturating_sub(NAMED) as u64;
    if rest > 0 {
        blocks.push(Block::Text(text(format!(
            "{} in the comparison as JSON",
            plural(rest, "more change", "more changes")
        ))));
    }
    let nested = (all.len() - shown.len()) as u64;
    if nested > 0 {
        blocks.push(Block::Text(text(format!("{} with these", plural(nested, "more object goes", "more objects go")))));
    }
    blocks
}

fn findings(run: &Run) -> Vec<Block> {
    let mut findings: Vec<&Finding> = run.findings.iter().collect();
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let rows = findings
        .iter()
        .map(|finding| {
            let (tone, word) = severity(finding);
            let allowed = match (&finding.waived, finding.allowed) {
                (Some(waived), true) => format!("by {}: {}", waived.by, waived.reason),
                (_, true) => format!("by {}", facts::allowed_by(run, finding)),
                (_, false) => "no".to_owned(),
            };
            vec![
                mark(tone, word),
                code(finding.code.as_str()),
                code(finding.object.as_str()),
                text(finding.message.as_str()),
                text(allowed),
            ]
        })
        .collect();
    let mut blocks = vec![Block::Table(vec!["severity", "code", "object", "what", "allowed"], rows)];
    let reason = run.requested.as_ref().and_then(|requested| requested.reason.as_ref());
    if let Some(reason) = reason.filter(|_| !allowed(run).is_empty()) {
        blocks.push(Block::Text(text(format!("Allowed because: {reason}"))));
    }
    blocks
}

fn locks(run: &Run) -> Vec<Block> {
    let forecast = run.rehearsal.as_ref().map(|rehearsal| rehearsal.forecast.as_slice()).unwrap_or_default();
    let rows = forecast
        .iter()
        .map(|one| {
            let tone = if one.blocks == "reads and writes" { Tone::Odd } else { Tone::Plain };
            vec![
                code(one.object.as_str()),
                code(one.lock.as_str()),
                text(duration(one.held_ms)),
                text(facts::band(one).unwrap_or_default()),
                text(measured(run, one).map(duration).unwrap_or_default()),
                mark(tone, one.blocks.as_str()),
                code(facts::statements(one)),
            ]
        })
        .collect();
    let header = vec!["object", "lock", "held, foretold", "between", "measured", "blocks", "statement"];
    let mut blocks = vec![Block::Table(header, rows)];
    let copy = run.rehearsal.iter().flat_map(|rehearsal| &rehearsal.copy);
    blocks.push(Block::List(copy.map(|note| text(note.as_str())).collect()));
    blocks.extend(facts::foretold_from(run).map(|words| Block::Text(text(words))));
    if let Some(timeline) = run.rehearsal.as_ref().and_then(|rehearsal| rehearsal.timeline.as_ref()) {
        blocks.push(Block::Picture { svg: timeline::svg(timeline), text: timeline::text(timeline) });
    }
    blocks
}

fn commands(run: &Run) -> Vec<Block> {
    let settings = run.request.as_ref().map(|request| &request.settings);
    let row = |what: &str, place: &str, report: &CommandReport| {
        let tone = if report.status == Some(0) { Tone::Good } else { Tone::Bad };
        let output = report.output.as_ref().map_or_else(String::new, |output| output.name.clone());
        vec![text(what), text(place), mark(tone, facts::tests(report)), code(output)]
    };
    let mut rows = Vec::new();
    let previous = run.tests.as_ref().and_then(|tests| tests.previous.as_deref());
    rows.extend(previous.map(|report| row("the running application's tests", "the migrated sandbox", report)));
    // Where only those ran, there is no outcome of others.
    let tests = run.tests.as_ref().filter(|_| settings.is_none_or(|settings| settings.tests.is_some()));
    rows.extend(tests.map(|report| row("tests", "the migrated sandbox", report)));
    rows.extend(run.verify.as_ref().map(|report| row("verification", "the target", report)));
    let mut blocks = vec![Block::Table(vec!["command", "run against", "outcome", "output"], rows)];
    if settings.is_some_and(|settings| settings.tests.is_none()) {
        blocks.push(Block::Text(text("No tests are configured for the sandbox")));
    }
    if settings.is_some_and(|settings| settings.verify.is_none() && settings.health.is_none()) {
        blocks.push(Block::Text(text("No verification command and no health check are configured for the target")));
    }
    blocks
}

fn backup_told(backup: &Backup, taken_ms: i64) -> Vec<Block> {
    let rows: i64 = backup.rows.values().sum();
    let tables = plural(backup.rows.len() as u64, "table", "tables");
    vec![Block::Facts(vec![
        ("file", code(backup.path.as_str())),
        ("taken", text(rfc3339(taken_ms))),
        ("size", text(bytes(backup.bytes))),
        ("digest", code(backup.digest.as_str())),
        ("schema fingerprint", code(backup.fingerprint.as_str())),
        ("holds", text(format!("{} in {tables}", plural(rows.unsigned_abs(), "row", "rows")))),
    ])]
}

fn checks(run: &Run) -> Vec<Block> {
    let rows = run
        .checks
        .iter()
        .map(|check| {
            let (tone, word) = match check.status {
                CheckStatus::Ok => (Tone::Good, "ok"),
                CheckStatus::Warning => (Tone::Odd, "warning"),
                CheckStatus::Failed => (Tone::Bad, "failed"),
                CheckStatus::Skipped => (Tone::Plain, "skipped"),
            };
            vec![
                text(check.name.as_str()),
                mark(tone, word),
                text(check.message.as_str()),
                text(duration(check.duration_ms)),
            ]
        })
        .collect();
    vec![Block::Table(vec!["check", "outcome", "found", "took"], rows)]
}

fn steps(run: &Run) -> Vec<Block> {
    let Some(plan) = run.plan.as_ref() else { return Vec::new() };
    let rows = plan
        .steps
        .iter()
        .enumerate()
        .map(|(place, step)| {
            let migration = plan.migrations.get(step.migration).map_or("", |one| one.id.as_str());
            let shape = if step.mode == UnitMode::Transaction { "in one transaction" } else { "outside a transaction" };
            let report = run.committed.get(place);
            let in_flight = place == run.committed.len()
                && run.flight.as_ref().is_some_and(|flight| flight.effect.changes_target());
            let status = match report {
                Some(_) => mark(Tone::Good, "committed"),
                None if run.partial.is_some() && place == run.committed.len() => {
                    mark(Tone::Bad, "failed after a part of it was committed")
                }
                None if in_flight && run.rollbacks == 0 => mark(Tone::Bad, "not known"),
                None => text("not applied"),
            };
            let took = report.map_or_else(String::new, |report| duration(report.duration_ms));
            let tries = report.map_or_else(String::new, |report| report.tries.to_string());
            vec![
                text((place + 1).to_string()),
                code(migration),
                text(plural(count(&step.statements), "statement", "statements")),
                text(shape),
                status,
                text(took),
                text(tries),
            ]
        })
        .collect();
    let mut blocks =
        vec![Block::Table(vec!["step", "migration", "statements", "shape", "status", "took", "tries"], rows)];
    if outcome(run) == facts::Outcome::RolledBack && run.changed_target() {
        blocks.push(Block::Text(text("The target went back to its checkpoint afterwards")));
    }
    blocks
}

/// Every event with its time and its place in the journal. What only announces what follows is left out once it followed.
fn timeline(run: &Run, events: &[Recorded]) -> Block {
    let mut teller = Teller::new(run);
    let mut rows = Vec::new();
    for (place, recorded) in events.iter().enumerate() {
        let told = teller.tell(recorded);
        let answered = matches!(recorded.event, Event::Intended { .. })
            && events
                .get(place + 1)
                .is_some_and(|next| matches!(next.event, Event::Succeeded { .. } | Event::Failed { .. }));
        if answered {
            continue;
        }
        let Some(first) = told.into_iter().next() else { continue };
        let tone = match first.level {
            Level::Info => Tone::Plain,
            Level::Warn => Tone::Odd,
            Level::Error => Tone::Bad,
        };
        rows.push(vec![text(recorded.seq.to_string()), text(rfc3339(recorded.ts_ms)), mark(tone, first.message)]);
    }
    if let Some(flight) = &run.flight {
        rows.push(vec![
            text(""),
            text(""),
            mark(Tone::Odd, format!("{}: no outcome is recorded", beginning(flight.effect, run))),
        ]);
    }
    Block::Table(vec!["event", "when", "what"], rows)
}

fn files(run: &Run) -> Vec<Block> {
    let rows = run
        .artifacts
        .iter()
        .map(|file| vec![code(file.name.as_str()), text(bytes(file.bytes)), code(file.digest.as_str())])
        .collect();
    vec![Block::Table(vec!["file", "size", "digest"], rows)]
}

/// What ties the report to the journal.
fn record(run: &Run, events: &[Recorded]) -> Vec<(&'static str, Line)> {
    let mut facts = Vec::new();
    if let Some(first) = events.first() {
        facts.push(("events", text(format!("{} to {}, {} in all", first.seq, run.seq, events.len()))));
    }
    facts.push(("head event", text(run.seq.to_string())));
    facts.push(("head hash", code(run.head.as_str())));
    facts.extend(run.plan_digest.as_ref().map(|digest| ("plan digest", code(digest.as_str()))));
    facts
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, SECRET, all};
    use super::*;
    use serde_json::json;

    fn comparison() -> Value {
        json!({
            "schema": "dbd.compare/1",
            "summary": {"tables_matching": 9, "tables_differing": 2, "tables_only_in_source": ["public.parts"], "tables_only_in_target": []},
            "changes": [
                {"kind": "column", "change": "removed", "object": "public.products.old_price", "breaking": "yes", "reason": "what reads it fails"},
                {"kind": "column", "change": "added", "object": "public.parts.id", "breaking": "no", "reason": "", "nested": true},
            ],
            "recommendation": "unsafe",
        })
    }

    #[test]
    fn the_report_of_a_good_run_reads_like_this() {
        let story = testing::good();
        insta::assert_snapshot!(markdown(&story.run, &story.events, Some(&comparison())), @r#"
        # Deployment deploy-prod-1728149445123

        **succeeded** · Deployed 2 migrations to prod in 29.0s

        ## Who, what, when

        |  |  |
        |---|---|
        | run | `deploy-prod-1728149445123` |
        | environment | prod |
        | target | `db.example.com:5432/shop` |
        | requested | by alice on build-7 at 2024-10-05T17:30:45.123Z, "nobody reads old\_price" |
        | approved | by carol on build-7 at 2024-10-05T17:31:03.123Z, "looked at it" |
        | carried out on | build-7 |
        | settled | 2024-10-05T17:31:14.123Z |
        | duration | 29.0s |
        | commit | `0a1b2c3d4e5f60718293a4b5c6d7e8f901234567` |
        | branch | `feature/prices` |
        | author | Bob \<bob@example.com\> |
        | server | PostgreSQL 18.1, 50.0 MiB |
        | role | deployer |

        ## Migrations

        | migration | file | statements | took | status | digest |
        |---|---|---|---|---|---|
        | `0003_add_price` | `migrations/0003_add_price.sql` | 4 | 12ms | deployed | `b3:69665dbb78e0` |
        | `0004_drop_old_price` | `migrations/0004_drop_old_price.sql` | 1 | 1.5s | deployed | `b3:34d394984387` |

        7 migrations were applied before; the folder is migrations (sql)

        ## Schema

        |  |  |
        |---|---|
        | changes | 5 columns added, 1 index added, 2 tables modified |
        | fingerprint before | `b3:18c52a7ed981fbffa12fbf611b593c451f6a5700af2206c612b5c3dd2888909b` |
        | fingerprint rehearsed | `b3:45df22c72c6e776f178bdbb8103c5cac32795afaf8d736fb12c848264ae87d11` |
        | fingerprint now | `b3:45df22c72c6e776f178bdbb8103c5cac32795afaf8d736fb12c848264ae87d11` |
        | recommendation | **unsafe** |
        | tables unchanged | 9 |
        | tables changed | 2 |
        | tables added | public.parts |

        | change | kind | object | breaking | why |
        |---|---|---|---|---|
        | removed | column | `public.products.old_price` | **yes** | what reads it fails |

        1 more object goes with these

        ## Findings

        | severity | code | object | what | allowed |
        |---|---|---|---|---|
        | error | `column_removed` | `public.products.old_price` | column public.products.old\_price removed; it holds values | by alice |
        | warning | `index_removed` | `public.products.old_price` | index public.i removed | no |

        Allowed because: nobody reads old\_price

        ## Locks foretold and measured

        | object | lock | held, foretold | between | measured | blocks | statement |
        |---|---|---|---|---|---|---|
        | `public.orders` | `AccessExclusiveLock` | 805ms | 619ms to 1.0s | 12ms | reads and writes | `0003_add_price:1, through 0003_add_price:4` |

        foretold from a copy with all rows

        ```text
        0003_add_price:1 alter table orders add colum…  ━·······························  7ms
        0003_add_price:4 alter table orders alter col…  ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━  798ms
        0004_drop_old_price:1 alter table products dr…  ·······························━  7ms
        public.orders AccessExclusiveLock               ████████████████████████████████  805ms, reads and writes wait
        0 to 812ms: ━ statement, █ reads and writes wait
        ```

        ## Tests and verification

        | command | run against | outcome | output |
        |---|---|---|---|
        | tests | the migrated sandbox | 127 passed, 2 skipped |  |

        ## Backup

        |  |  |
        |---|---|
        | file | `.deployments/deploy-prod-1728149445123/backup.dump` |
        | taken | 2024-10-05T17:30:50.123Z |
        | size | 1.4 MiB |
        | digest | `b3:eb6f5330f29773e187cc0275c784025e1c21b15bbeeec548e2d62b45c8df8c53` |
        | schema fingerprint | `b3:18c52a7ed981fbffa12fbf611b593c451f6a5700af2206c612b5c3dd2888909b` |
        | holds | 50001 rows in 2 tables |

        ## Checks before

        | check | outcome | found | took |
        |---|---|---|---|
        | connection | ok | db.example.com:5432/shop as deployer | 12ms |
        | drift | warning | the target's schema is not what deploy-prod-1 left | 12ms |

        ## Steps on the target

        | step | migration | statements | shape | status | took | tries |
        |---|---|---|---|---|---|---|
        | 1 | `0003_add_price` | 4 statements | in one transaction | committed | 12ms | 1 |
        | 2 | `0004_drop_old_price` | 1 statement | in one transaction | committed | 1.5s | 3 |

        ## Phases

        | phase | took |
        |---|---|
        | preflight | 1.0s |
        | backup | 1.0s |
        | sandbox validation | 5.0s |
        | deployment | 3.0s |
        | post deploy validation | 2.0s |

        ## What happened

        | event | when | what |
        |---|---|---|
        | 40 | 2024-10-05T17:30:45.123Z | A deployment to prod was requested by alice: "nobody reads old\_price" |
        | 41 | 2024-10-05T17:30:46.123Z | Process 4711 on build-7 took the run over |
        | 43 | 2024-10-05T17:30:48.123Z | Preflight passed: 2 checks, 2 migrations to apply, commit 0a1b2c3d4e5f |
        | 45 | 2024-10-05T17:30:50.123Z | Backup taken: 1.4 MiB in .deployments/deploy-prod-1728149445123/backup.dump |
        | 47 | 2024-10-05T17:30:52.123Z | Sandbox made: a scratch server |
        | 49 | 2024-10-05T17:30:54.123Z | The backup was restored in the sandbox and is what the target is |
        | 51 | 2024-10-05T17:30:56.123Z | Rehearsed 2 migrations in the sandbox: 5 columns added, 1 index added, 2 tables modified |
        | 53 | 2024-10-05T17:30:58.123Z | Tests: 127 passed, 2 skipped |
        | 55 | 2024-10-05T17:31:00.123Z | The sandbox is removed |
        | 56 | 2024-10-05T17:31:01.123Z | Sandbox validation passed: 2 migrations in 2 steps, 2 findings |
        | 57 | 2024-10-05T17:31:02.123Z | Waiting for an approval |
        | 58 | 2024-10-05T17:31:03.123Z | carol approved the plan: "looked at it" |
        | 60 | 2024-10-05T17:31:05.123Z | The target is as planned and held by this run |
        | 62 | 2024-10-05T17:31:07.123Z | Committed step 1 of 2, 0003\_add\_price |
        | 64 | 2024-10-05T17:31:09.123Z | Committed step 2 of 2, 0004\_drop\_old\_price after 3 tries for its locks |
        | 66 | 2024-10-05T17:31:11.123Z | The target's schema is the rehearsed one: b3:45df22c72c6e |
        | 68 | 2024-10-05T17:31:13.123Z | The application is healthy |
        | 69 | 2024-10-05T17:31:14.123Z | Deployed 2 migrations to prod in 29.0s |
        | 70 | 2024-10-05T17:31:15.123Z | Wrote report.md |

        ## Files

        | file | size | digest |
        |---|---|---|
        | `rehearsal.json` | 2.0 KiB | `b3:7d508fcaf305cb7a5c0e9d24cfb42b5dd882202e8f69cb76384574f416f38693` |
        | `report.md` | 4.0 KiB | `b3:31f27cf7db1e7900e8f103eb795a37f48594a154ed8f604081fa2fc1f3d3e884` |

        ## Record

        |  |  |
        |---|---|
        | events | 40 to 70, 31 in all |
        | head event | 70 |
        | head hash | `b3:8efa1e00a64b2e36e1ff85d93da9bed992bbc944c4f32124740dd56eddc92fbd` |
        | plan digest | `b3:292eed40f761f48677d42719062359d7ddc0222afefca2ddfbfd43ac3d5ecd5c` |

        ## Next

        - read the whole story: `dbd show deploy-prod-1728149445123`
        - take it back: `dbd rollback deploy-prod-1728149445123`

        ---

        Told from the journal up to event 70 (b3:8efa1e00a64b2e36e1ff85d93da9bed992bbc944c4f32124740dd56eddc92fbd), recorded 2024-10-05T17:31:15.123Z
        "#);
    }

    #[test]
    fn both_forms_have_the_same_sections_and_tie_themselves_to_the_journal() {
        for (name, story) in all() {
            let (text, page) = (markdown(&story.run, &story.events, None), html(&story.run, &story.events, None));
            let in_text: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
            let in_page: Vec<_> = page.split("<h2>").skip(1).filter_map(|rest| rest.split("</h2>").next()).collect();
            assert_eq!(in_text, in_page, "{name}");
            for form in [&text, &page] {
                assert!(form.contains(&story.run.head) && form.contains(&story.run.seq.to_string()), "{name}");
                assert!(!form.contains(SECRET), "{name}");
            }
        }
    }

    #[test]
    fn the_way_back_is_told_with_what_it_lost() {
        let story = testing::rolled_back();
        let report = markdown(&story.run, &story.events, None);
        let told = report.split("## The way back").nth(1).unwrap().split("\n## ").next().unwrap();
        insta::assert_snapshot!(told, @r#"


        - A rollback was requested by bob on build-7 at 2024-10-05T17:31:16.123Z, "three test orders"
        - Went back by the backup
        - 3 rows written since the backup left the target (public.orders: 3); kept in .deployments/deploy-prod-1728149445123/before-rollback.dump
        - The run turned round 2 times
        - The target's schema fingerprint is its checkpoint's again, and that was checked: b3:18c52a7ed981fbffa12fbf611b593c451f6a5700af2206c612b5c3dd2888909b
        "#);
        let good = testing::good();
        assert!(!markdown(&good.run, &good.events, None).contains("## The way back"));
    }

    #[test]
    fn who_allowed_a_finding_and_why_is_told() {
        let story = testing::good();
        let report = markdown(&story.run, &story.events, None);
        assert!(report.contains("| by alice |"), "{report}");
        assert!(report.contains("Allowed because: nobody reads old\\_price\n"), "{report}");
    }

    #[test]
    fn a_run_of_two_hosts_names_both_once() {
        let story = testing::in_doubt();
        assert_eq!(hosts(&story.events), ["build-7", "build-8"]);
    }
}
