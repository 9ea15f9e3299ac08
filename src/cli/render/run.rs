//! One run: the document of `dbd start --json`, and the report at the end on a terminal.

use super::facts::{self, Outcome, changes, loss, migrations, next_steps, outcome, reasons, tests};
use super::table::{Pen, Tone, Toned, columns, plain};
use super::timeline;
use super::words::{self, bytes, clean, commit, count, duration, one_line, plural};
use crate::cli::error;
use crate::domain::event::{CommandReport, Loss};
use crate::domain::failure::Failure;
use crate::domain::finding::{Finding, Severity};
use crate::domain::measured::measured;
use crate::domain::migration::UnitMode;
use crate::domain::plan::{Plan, PlanStep, UndoClass};
use crate::domain::run::{Decision, Run};
use crate::domain::time::rfc3339;
use crate::domain::way::Rung;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// How many findings, and how many locks, the report on a terminal names before it points to the file.
const SHOWN: usize = 12;

/// The run as `dbd.run/1`. Every key is always there; what is not known is `null`.
///
/// `artifacts_dir` is the run's folder as users see it. With `--dry-run` the caller adds `plan` (see [`plan_json`]) and `rehearsal`.
#[must_use]
pub fn json(run: &Run, artifacts_dir: &str) -> Value {
    let checkpoint = run.backup.as_ref().map(|backup| {
        json!({
            "schema_fingerprint": backup.fingerprint.as_str(),
            "backup": backup.path,
            "backup_digest": backup.digest.as_str(),
            "backup_bytes": backup.bytes,
        })
    });
    let phases: Vec<Value> =
        run.phases().iter().map(|(phase, took)| json!({"name": phase.name(), "duration_ms": took})).collect();
    let mut document = json!({
        "schema": "dbd.run/1",
        "run": run.id.as_str(),
        "environment": run.id.environment().as_str(),
        "outcome": outcome(run).as_str(),
        "state": run.state.name(),
        "duration_ms": run.duration_ms(),
        "migrations": migrations(run).iter().map(|one| json!({
            "id": one.id,
            "file": one.file,
            "digest": one.digest,
            "statements": one.statements,
            "duration_ms": one.duration_ms,
            "status": one.status.as_str(),
        })).collect::<Vec<_>>(),
        "changes": changes(run),
        "findings": run.findings.iter().map(finding_json).collect::<Vec<_>>(),
        "checkpoint": checkpoint,
        "schema_fingerprint": facts::fingerprint(run),
        "phases": phases,
        "journal": {"seq": run.seq, "head": run.head},
        "artifacts": artifacts_dir,
        "reasons": reasons(run).into_iter().map(failure_json).collect::<Vec<_>>(),
        "rollback": rollback_json(run),
        "tests": run.tests.as_ref().map(command_json),
        "verify": run.verify.as_ref().map(command_json),
        "hints": next_steps(run).iter().map(|step| format!("{}: {}", step.what, step.command)).collect::<Vec<_>>(),
    });
    if let Some(until) = facts::window(run) {
        let readiness = run.readiness.as_ref();
        document["window"] = json!({
            "until": until,
            "blocked": readiness.and_then(|readiness| readiness.blocked.as_deref()),
            "residue": readiness.map(|readiness| readiness.residue.as_slice()).unwrap_or_default(),
        });
    }
    document
}

/// A failure as the documents of runs hold it: `{"code", "message", "causes", "hints"}`, and `place` where it is about a file.
#[must_use]
pub fn failure_json(failure: &Failure) -> Value {
    error::document(failure)["error"].take()
}

/// A finding as every document holds it.
#[must_use]
pub fn finding_json(finding: &Finding) -> Value {
    json!({
        "code": finding.code,
        "severity": finding.severity,
        "object": finding.object,
        "message": finding.message,
        "allowed": finding.allowed,
    })
}

/// A user command as every document holds it; the counts are `null` where the output did not tell.
pub(super) fn command_json(report: &CommandReport) -> Value {
    json!({
        "status": report.status,
        "passed": report.counts.map(|counts| counts.passed),
        "failed": report.counts.map(|counts| counts.failed),
        "skipped": report.counts.map(|counts| counts.skipped),
        "output": report.output.as_ref().map(|output| output.name.as_str()),
    })
}

fn rollback_json(run: &Run) -> Value {
    if run.rollbacks == 0 {
        return Value::Null;
    }
    let loss_json = |loss: &Loss| json!({"rows": loss.rows(), "written": loss.written, "missing": loss.missing});
    json!({
        "why": run.rollback_why.as_ref().map(failure_json),
        "requested_by": run.rollback_asked.as_ref().map(|asked| asked.actor.id.as_str()),
        "requested_reason": run.rollback_asked.as_ref().and_then(|asked| asked.reason.as_deref()),
        "way": facts::way_back(run),
        "partly_committed": run.partial.is_some(),
        "loss": run.loss.as_ref().map(loss_json),
        "kept": run.saved.as_ref().map(|saved| saved.path.as_str()),
    })
}

/// The statements of a step that are run in another form.
fn instead(plan: &Plan, step: &PlanStep) -> Vec<Value> {
    let told = facts::other_forms(plan, step);
    told.map(|(file, line, sql)| json!({"file": file, "line": line, "sql": sql})).collect()
}

/// A plan as `dbd.plan/1`: the migrations and the steps that will be carried out, in order.
#[must_use]
pub fn plan_json(plan: &Plan) -> Value {
    let migrations: Vec<Value> = plan
        .migrations
        .iter()
        .map(|one| json!({"id": one.id, "file": one.file, "digest": one.digest, "statements": one.statements}))
        .collect();
    let steps: Vec<Value> = plan
        .steps
        .iter()
        .enumerate()
        .map(|(place, step)| {
            let undo = match &step.undo {
                UndoClass::Nothing => "nothing",
                UndoClass::InPlace(way) => match way.rung {
                    Rung::Reverse => "reverse",
                    Rung::SoftDrop => "soft_drop",
                    Rung::PreImages => "pre_images",
                },
                UndoClass::Swap => "swap",
                UndoClass::Restore => "restore",
            };
            json!({
                "step": place + 1,
                "migration": plan.migrations.get(step.migration).map(|one| one.id.as_str()),
                "transactional": step.mode == UnitMode::Transaction,
                "statements": step.statements.len(),
                "lines": step.statements.iter().map(|span| span.line).collect::<Vec<_>>(),
                "digest": step.digest,
                "undo": undo,
                "instead": instead(plan, step),
            })
        })
        .collect();
    json!({
        "schema": "dbd.plan/1",
        "digest": plan.digest(),
        "format": plan.format.reader().name(),
        "approval_required": plan.approval_required,
        "migrations": migrations,
        "steps": steps,
        "fingerprint_before": plan.fingerprint_before,
        "fingerprint_after": plan.fingerprint_after,
        "migration_timeout_ms": plan.migration_timeout_ms,
        "lock_timeout_ms": plan.lock_timeout_ms,
        "lock_budget_ms": plan.lock_budget_ms,
        "statement_timeout_ms": plan.statement_timeout_ms,
    })
}

/// The report of a run for a terminal, ending in a line break. It reads as well without `color`.
///
/// `artifacts_dir` is the run's folder as users see it.
#[must_use]
pub fn summary(run: &Run, color: bool, artifacts_dir: &str) -> String {
    let mut page = Page { out: String::new(), pen: Pen { color } };
    page.headline(run);
    page.out += &columns(page.pen, 2, about(run));
    page.reasons(run);
    page.list("What is known", facts::known(run));
    page.list("Loss", loss(run));
    page.migrations(run);
    page.other_forms(run);
    page.findings(run, artifacts_dir);
    page.locks(run, artifacts_dir);
    page.proof(run, artifacts_dir);
    page.phases(run);
    page.next(run);
    page.out
}

/// Who, where, when and from which code, as rows of two columns.
pub(super) fn about(run: &Run) -> Vec<Vec<Toned>> {
    let row = |name: &str, text: String| vec![plain(name), plain(text)];
    let mut rows = Vec::new();
    if let Some(request) = &run.request {
        rows.push(row("target", request.target.clone()));
    }
    if let Some(requested) = &run.requested {
        rows.push(row("requested", said(requested)));
    }
    for (name, decision) in [
        ("approved", &run.approved),
        ("rejected", &run.rejected),
        ("cancelled", &run.cancelled),
        ("taken back", &run.rollback_asked),
    ] {
        rows.extend(decision.as_ref().map(|decision| row(name, said(decision))));
    }
    if let Some(git) = run.preflight.as_ref().and_then(|preflight| preflight.git.as_ref()) {
        let branch = git.branch.as_deref().map_or_else(String::new, |branch| format!(" on {branch}"));
        let dirty = if git.dirty { ", with uncommitted changes" } else { "" };
        rows.push(row("commit", format!("{}{branch}{dirty}", commit(&git.commit))));
    }
    rows
}

/// Who decided, when, and why if they said.
pub(super) fn said(decision: &Decision) -> String {
    let reason = decision.reason.as_deref().map_or_else(String::new, |reason| format!(", \"{reason}\""));
    format!("by {} on {} at {}{reason}", decision.actor.id, decision.actor.host, rfc3339(decision.ts_ms))
}

/// How severe a finding is, and how that reads; what was allowed is odd, no longer bad.
pub(super) fn severity(finding: &Finding) -> Toned {
    let (tone, word) = match finding.severity {
        Severity::Error if finding.allowed => (Tone::Odd, "error"),
        Severity::Error => (Tone::Bad, "error"),
        Severity::Warning => (Tone::Odd, "warning"),
        Severity::Info => (Tone::Plain, "info"),
    };
    (tone, word.to_owned())
}

struct Page {
    out: String,
    pen: Pen,
}

impl Page {
    fn heading(&mut self, text: &str) {
        let _ = write!(self.out, "\n{}\n", self.pen.strong(Tone::Plain, text));
    }

    fn line(&mut self, text: &str) {
        let _ = writeln!(self.out, "  {text}");
    }

    fn list(&mut self, heading: &str, lines: Vec<String>) {
        if !lines.is_empty() {
            self.heading(heading);
            for line in lines {
                self.line(&one_line(&line));
            }
        }
    }

    fn headline(&mut self, run: &Run) {
        let headline = self.pen.strong(outcome(run).tone(), &facts::headline(run));
        let _ = writeln!(self.out, "{headline}: {}", run.id);
    }

    fn reasons(&mut self, run: &Run) {
        let reasons = reasons(run);
        if reasons.is_empty() {
            return;
        }
        self.heading(if reasons.len() == 1 { "Reason" } else { "Reasons" });
        for failure in reasons {
            let message = format!("{} ({})", clean(&failure.message), failure.code);
            self.line(&self.pen.toned(outcome(run).tone(), &message));
            for cause in &failure.causes {
                self.line(&format!("  because: {}", clean(cause).replace('\n', "\n           ")));
            }
            if let Some(place) = &failure.place {
                self.line(&format!("  at: {}:{}:{}", clean(&place.file), place.line, place.column));
            }
            for hint in &failure.hints {
                self.line(&format!("  hint: {}", clean(hint).replace('\n', "\n        ")));
            }
        }
    }

    fn migrations(&mut self, run: &Run) {
        let migrations = migrations(run);
        if migrations.is_empty() {
            return;
        }
        self.heading("Migrations");
        let rows = migrations
            .iter()
            .map(|one| {
                vec![
                    plain(one.id.as_str()),
                    plain(plural(one.statements, "statement", "statements")),
                    plain(one.duration_ms.map(duration).unwrap_or_default()),
                    (one.status.tone(), one.status.words()),
                ]
            })
            .collect();
        self.out += &columns(self.pen, 2, rows);
        if let Some(changes) = changes(run) {
            self.line(&format!("changes: {}", words::changes(&changes)));
        }
    }

    fn other_forms(&mut self, run: &Run) {
        let Some(plan) = &run.plan else { return };
        let told = plan.steps.iter().flat_map(|step| facts::other_forms(plan, step));
        for (at, (file, line, sql)) in told.enumerate() {
            if at == 0 {
                self.heading("Run in another form, so that it comes back by a rename");
            }
            self.line(&format!("{}:{}", clean(file), line));
            for sql in sql.lines() {
                self.line(&format!("  {}", one_line(sql)));
            }
        }
    }

    fn findings(&mut self, run: &Run, artifacts_dir: &str) {
        if run.findings.is_empty() {
            return;
        }
        self.heading("Findings");
        let mut findings: Vec<&Finding> = run.findings.iter().collect();
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        let rows = findings
            .iter()
            .take(SHOWN)
            .map(|finding| {
                let allowed = if finding.allowed { " (allowed)" } else { "" };
                vec![severity(finding), plain(finding.code.as_str()), plain(format!("{}{allowed}", finding.message))]
            })
            .collect();
        self.out += &columns(self.pen, 2, rows);
        self.rest(findings.len(), "finding", "findings", artifacts_dir);
        for waived in facts::allowed(run).into_iter().filter_map(|finding| finding.waived.as_ref()) {
            self.line(&format!("allowed by {}, \"{}\"", one_line(&waived.by), one_line(&waived.reason)));
        }
        if facts::allowed(run).iter().all(|finding| finding.waived.is_some()) {
            return;
        }
        if let Some(requested) = &run.requested {
            let reason =
                requested.reason.as_deref().map_or_else(String::new, |reason| format!(", \"{}\"", one_line(reason)));
            self.line(&format!("allowed by {}{reason}", requested.actor.id));
        }
    }

    fn rest(&mut self, all: usize, one: &str, many: &str, artifacts_dir: &str) {
        if all > SHOWN {
            self.line(&format!("{} more: {artifacts_dir}/report.md", plural((all - SHOWN) as u64, one, many)));
        }
    }

    fn locks(&mut self, run: &Run, artifacts_dir: &str) {
        let forecast = run.rehearsal.as_ref().map(|rehearsal| rehearsal.forecast.as_slice()).unwrap_or_default();
        let copy: Vec<String> = run.rehearsal.iter().flat_map(|rehearsal| rehearsal.copy.clone()).collect();
        if !copy.is_empty() {
            self.heading("The copy");
            copy.iter().for_each(|note| self.line(note));
        }
        if forecast.is_empty() {
            return;
        }
        self.heading("Locks foretold");
        let rows = forecast
            .iter()
            .take(SHOWN)
            .map(|one| {
                let blocks = if one.blocks == "nothing" {
                    "blocks nothing".to_owned()
                } else {
                    format!("blocks {}", one.blocks)
                };
                let band = facts::band(one).map_or_else(String::new, |band| format!(" ({band})"));
                let found =
                    measured(run, one).map_or_else(String::new, |found| format!("measured {}", duration(found)));
                vec![
                    plain(one.object.as_str()),
                    plain(one.lock.as_str()),
                    plain(format!("{}{band}", duration(one.held_ms))),
                    plain(found),
                    plain(blocks),
                    plain(facts::statements(one)),
                ]
            })
            .collect();
        self.out += &columns(self.pen, 2, rows);
        self.rest(forecast.len(), "lock", "locks", artifacts_dir);
        if let Some(words) = facts::foretold_from(run) {
            self.line(&words);
        }
        let timeline = run.rehearsal.as_ref().and_then(|rehearsal| rehearsal.timeline.as_ref());
        if let Some(timeline) = timeline.map(|timeline| timeline::brief(timeline, SHOWN)) {
            self.heading("Timeline foretold");
            self.out += &columns(self.pen, 2, timeline::rows(&timeline));
            self.line(&timeline::legend(&timeline));
        }
    }

    /// Tests, verification, backup, fingerprint, and where the files are.
    fn proof(&mut self, run: &Run, artifacts_dir: &str) {
        let command = |name: &str, report: &CommandReport| {
            let tone = if report.status == Some(0) { Tone::Good } else { Tone::Bad };
            vec![plain(name), (tone, tests(report))]
        };
        let mut rows = Vec::new();
        let previous = run.tests.as_ref().and_then(|tests| tests.previous.as_deref());
        rows.extend(previous.map(|report| command("running application's tests", report)));
        let own = run.request.as_ref().is_none_or(|request| request.settings.tests.is_some());
        rows.extend(run.tests.as_ref().filter(|_| own).map(|report| command("tests", report)));
        rows.extend(run.verify.as_ref().map(|report| command("verification", report)));
        if let Some(backup) = &run.backup {
            let size = format!("{}, {}", bytes(backup.bytes), backup.digest.short());
            rows.push(vec![plain("backup"), plain(format!("{size}, {}", backup.path))]);
        }
        if let Some(way) = facts::way_back(run) {
            rows.push(vec![plain("way back"), plain(way)]);
        }
        if let Some(saved) = &run.saved {
            rows.push(vec![plain("before the restore"), plain(format!("{}, {}", bytes(saved.bytes), saved.path))]);
        }
        if let Some(found) = facts::fingerprint(run) {
            rows.push(vec![plain("schema"), plain(words::digest(found))]);
        }
        rows.push(vec![plain("files"), plain(artifacts_dir)]);
        self.heading("Record");
        self.out += &columns(self.pen, 2, rows);
    }

    fn phases(&mut self, run: &Run) {
        let phases = run.phases();
        if phases.is_empty() {
            return;
        }
        self.heading("Phases");
        let rows = phases
            .iter()
            .map(|(phase, took)| vec![plain(phase.name().replace('_', " ")), plain(duration(*took))])
            .collect();
        self.out += &columns(self.pen, 2, rows);
    }

    fn next(&mut self, run: &Run) {
        // What a hint has said already need not be said again.
        let hinted = |command: &str| reasons(run).iter().flat_map(|why| &why.hints).any(|hint| hint.contains(command));
        let steps: Vec<_> = next_steps(run).into_iter().filter(|step| !hinted(&step.command)).collect();
        if !steps.is_empty() {
            self.heading("Next");
            for step in steps {
                self.line(&format!("{}: {}", step.what, step.command));
            }
        }
    }
}

/// The counts of a run in a few words, for a list: `2 migrations, 1 finding`.
pub(super) fn counted(run: &Run) -> String {
    let migrations = count(&migrations(run));
    let mut told = Vec::new();
    if migrations > 0 || outcome(run) == Outcome::Succeeded {
        told.push(plural(migrations, "migration", "migrations"));
    }
    if !run.findings.is_empty() {
        told.push(plural(count(&run.findings), "finding", "findings"));
    }
    told.join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, DIR, SECRET, all};
    use super::*;

    #[test]
    fn the_document_has_the_promised_shape() {
        let story = testing::good();
        insta::assert_snapshot!(format!("{:#}", json(&story.run, DIR)), @r#"
        {
          "artifacts": ".deployments/deploy-prod-1728149445123",
          "changes": {
            "columns_added": 5,
            "indexes_added": 1,
            "tables_modified": 2
          },
          "checkpoint": {
            "backup": ".deployments/deploy-prod-1728149445123/backup.dump",
            "backup_bytes": 1468006,
            "backup_digest": "b3:eb6f5330f29773e187cc0275c784025e1c21b15bbeeec548e2d62b45c8df8c53",
            "schema_fingerprint": "b3:18c52a7ed981fbffa12fbf611b593c451f6a5700af2206c612b5c3dd2888909b"
          },
          "duration_ms": 29000,
          "environment": "prod",
          "findings": [
            {
              "allowed": true,
              "code": "column_removed",
              "message": "column public.products.old_price removed; it holds values",
              "object": "public.products.old_price",
              "severity": "error"
            },
            {
              "allowed": false,
              "code": "index_removed",
              "message": "index public.i removed",
              "object": "public.products.old_price",
              "severity": "warning"
            }
          ],
          "hints": [
            "read the whole story: dbd show deploy-prod-1728149445123",
            "take it back: dbd rollback deploy-prod-1728149445123"
          ],
          "journal": {
            "head": "b3:8efa1e00a64b2e36e1ff85d93da9bed992bbc944c4f32124740dd56eddc92fbd",
            "seq": 70
          },
          "migrations": [
            {
              "digest": "b3:69665dbb78e06de9098f6efda82e13a0db5a4c8a8810fa36760afd5f8ae93740",
              "duration_ms": 12,
              "file": "migrations/0003_add_price.sql",
              "id": "0003_add_price",
              "statements": 4,
              "status": "deployed"
            },
            {
              "digest": "b3:34d3949843871a5b4c6f078f39861afdd8c04bcd80417638e79aaec0adf4c656",
              "duration_ms": 1500,
              "file": "migrations/0004_drop_old_price.sql",
              "id": "0004_drop_old_price",
              "statements": 1,
              "status": "deployed"
            }
          ],
          "outcome": "succeeded",
          "phases": [
            {
              "duration_ms": 1000,
              "name": "preflight"
            },
            {
              "duration_ms": 1000,
              "name": "backup"
            },
            {
              "duration_ms": 5000,
              "name": "sandbox_validation"
            },
            {
              "duration_ms": 3000,
              "name": "deployment"
            },
            {
              "duration_ms": 2000,
              "name": "post_deploy_validation"
            }
          ],
          "reasons": [],
          "rollback": null,
          "run": "deploy-prod-1728149445123",
          "schema": "dbd.run/1",
          "schema_fingerprint": "b3:45df22c72c6e776f178bdbb8103c5cac32795afaf8d736fb12c848264ae87d11",
          "state": "succeeded",
          "tests": {
            "failed": 0,
            "output": null,
            "passed": 127,
            "skipped": 2,
            "status": 0
          },
          "verify": null
        }
        "#);
    }

    #[test]
    fn every_key_is_always_there() {
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let expected = keys(&json(&testing::good().run, DIR));
        for (name, story) in all() {
            let document = json(&story.run, DIR);
            assert_eq!(keys(&document), expected, "{name}");
            assert_eq!(document["outcome"], outcome(&story.run).as_str(), "{name}");
            assert_eq!(document["journal"]["head"], story.run.head, "{name}");
        }
    }

    #[test]
    fn a_rolled_back_run_says_why_and_what_was_lost() {
        let document = json(&testing::rolled_back().run, DIR);
        assert_eq!(document["reasons"][0]["code"], "DBD-0503");
        assert_eq!(document["rollback"]["why"]["message"], "the application is not healthy");
        assert_eq!(document["rollback"]["loss"]["written"], json!({"public.orders": 3}));
        assert_eq!(document["rollback"]["kept"], format!("{DIR}/before-rollback.dump"));
        assert_eq!(document["schema_fingerprint"], document["checkpoint"]["schema_fingerprint"]);
        let not_ready = json(&testing::not_ready().run, DIR);
        assert_eq!(
            (&not_ready["checkpoint"], &not_ready["changes"], &not_ready["tests"]),
            (&Value::Null, &Value::Null, &Value::Null)
        );
        assert_eq!(not_ready["reasons"][0]["hints"], json!(["is it running?"]));
    }

    #[test]
    fn a_plan_is_told_step_by_step() {
        let story = testing::waiting();
        let plan = story.run.plan.as_ref().unwrap();
        let document = plan_json(plan);
        assert_eq!(document["digest"], story.run.plan_digest.as_ref().unwrap().as_str());
        assert_eq!(document["migrations"][1]["id"], "0004_drop_old_price");
        let step = &document["steps"][0];
        assert_eq!(
            (&step["step"], &step["migration"], &step["lines"]),
            (&json!(1), &json!("0003_add_price"), &json!([1, 2, 3, 4]))
        );
        assert_eq!((&step["transactional"], &step["undo"]), (&json!(true), &json!("restore")));
    }

    #[test]
    fn a_good_run_reads_like_this() {
        insta::assert_snapshot!(summary(&testing::good().run, false, DIR), @r#"
        Deployed 2 migrations to prod in 29.0s: deploy-prod-1728149445123
          target     db.example.com:5432/shop
          requested  by alice on build-7 at 2024-10-05T17:30:45.123Z, "nobody reads old_price"
          approved   by carol on build-7 at 2024-10-05T17:31:03.123Z, "looked at it"
          commit     0a1b2c3d4e5f on feature/prices

        Migrations
          0003_add_price       4 statements  12ms  deployed
          0004_drop_old_price  1 statement   1.5s  deployed
          changes: 5 columns added, 1 index added, 2 tables modified

        Findings
          error    column_removed  column public.products.old_price removed; it holds values (allowed)
          warning  index_removed   index public.i removed
          allowed by alice, "nobody reads old_price"

        Locks foretold
          public.orders  AccessExclusiveLock  805ms (619ms to 1.0s)  measured 12ms  blocks reads and writes  0003_add_price:1, through 0003_add_price:4
          foretold from a copy with all rows

        Timeline foretold
          0003_add_price:1 alter table orders add colum…  ━·······························  7ms
          0003_add_price:4 alter table orders alter col…  ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━  798ms
          0004_drop_old_price:1 alter table products dr…  ·······························━  7ms
          public.orders AccessExclusiveLock               ████████████████████████████████  805ms, reads and writes wait
          0 to 812ms: ━ statement, █ reads and writes wait

        Record
          tests     127 passed, 2 skipped
          backup    1.4 MiB, b3:eb6f5330f297, .deployments/deploy-prod-1728149445123/backup.dump
          way back  the backup, which forgets what was written since
          schema    b3:45df22c72c6e
          files     .deployments/deploy-prod-1728149445123

        Phases
          preflight               1.0s
          backup                  1.0s
          sandbox validation      5.0s
          deployment              3.0s
          post deploy validation  2.0s

        Next
          read the whole story: dbd show deploy-prod-1728149445123
          take it back: dbd rollback deploy-prod-1728149445123
        "#);
    }

    #[test]
    fn a_refused_run_reads_like_this() {
        insta::assert_snapshot!(summary(&testing::refused().run, false, DIR), @r#"
        Refused before prod was touched: deploy-prod-1728149445123
          target     db.example.com:5432/shop
          requested  by alice on build-7 at 2024-10-05T17:30:45.123Z
          commit     0a1b2c3d4e5f on feature/prices

        Reason
          column_removed: column public.products.old_price removed; it holds values (DBD-0405)
            hint: if it is meant, run again with --allow column_removed --reason "why"

        Migrations
          0003_add_price       4 statements  812ms  rehearsed
          0004_drop_old_price  1 statement   812ms  rehearsed
          changes: 5 columns added, 1 index added, 2 tables modified

        Findings
          error  column_removed  column public.products.old_price removed; it holds values

        Locks foretold
          public.orders  AccessExclusiveLock  805ms (619ms to 1.0s)     blocks reads and writes  0003_add_price:1, through 0003_add_price:4
          foretold from a copy with all rows

        Timeline foretold
          0003_add_price:1 alter table orders add colum…  ━·······························  7ms
          0003_add_price:4 alter table orders alter col…  ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━  798ms
          0004_drop_old_price:1 alter table products dr…  ·······························━  7ms
          public.orders AccessExclusiveLock               ████████████████████████████████  805ms, reads and writes wait
          0 to 812ms: ━ statement, █ reads and writes wait

        Record
          tests   127 passed, 2 skipped
          backup  1.4 MiB, b3:eb6f5330f297, .deployments/deploy-prod-1728149445123/backup.dump
          files   .deployments/deploy-prod-1728149445123

        Phases
          preflight           1.0s
          backup              1.0s
          sandbox validation  5.0s

        Next
          read about it: dbd explain DBD-0405
          start again once that is settled: dbd start prod
        "#);
    }

    #[test]
    fn a_rolled_back_run_reads_like_this() {
        insta::assert_snapshot!(summary(&testing::rolled_back().run, false, DIR), @r#"
        Rolled back, prod is at its checkpoint again: deploy-prod-1728149445123
          target      db.example.com:5432/shop
          requested   by alice on build-7 at 2024-10-05T17:30:45.123Z
          taken back  by bob on build-7 at 2024-10-05T17:31:16.123Z, "three test orders"
          commit      0a1b2c3d4e5f on feature/prices

        Reason
          the application is not healthy (DBD-0503)
            because: it answered 500
            hint: look at its log

        Loss
          3 rows written since the backup left the target (public.orders: 3); kept in .deployments/deploy-prod-1728149445123/before-rollback.dump

        Migrations
          0003_add_price       4 statements  12ms  taken back
          0004_drop_old_price  1 statement   1.5s  taken back
          changes: 5 columns added, 1 index added, 2 tables modified

        Locks foretold
          public.orders  AccessExclusiveLock  805ms (619ms to 1.0s)  measured 12ms  blocks reads and writes  0003_add_price:1, through 0003_add_price:4
          foretold from a copy with all rows

        Timeline foretold
          0003_add_price:1 alter table orders add colum…  ━·······························  7ms
          0003_add_price:4 alter table orders alter col…  ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━  798ms
          0004_drop_old_price:1 alter table products dr…  ·······························━  7ms
          public.orders AccessExclusiveLock               ████████████████████████████████  805ms, reads and writes wait
          0 to 812ms: ━ statement, █ reads and writes wait

        Record
          tests               127 passed, 2 skipped
          backup              1.4 MiB, b3:eb6f5330f297, .deployments/deploy-prod-1728149445123/backup.dump
          way back            went back by the backup
          before the restore  1.4 MiB, .deployments/deploy-prod-1728149445123/before-rollback.dump
          schema              b3:18c52a7ed981
          files               .deployments/deploy-prod-1728149445123

        Phases
          preflight               1.0s
          backup                  1.0s
          sandbox validation      5.0s
          deployment              3.0s
          post deploy validation  2.0s
          rollback                5.0s

        Next
          read the whole story: dbd show deploy-prod-1728149445123
          start again once the cause is removed: dbd start prod
        "#);
    }

    #[test]
    fn a_run_in_doubt_reads_like_this() {
        insta::assert_snapshot!(summary(&testing::in_doubt().run, false, DIR), @r#"
        Needs an operator, prod may have changed: deploy-prod-1728149445123
          target     db.example.com:5432/shop
          requested  by alice on build-7 at 2024-10-05T17:30:45.123Z
          commit     0a1b2c3d4e5f on feature/prices

        Reason
          deploy-prod-1728149445123: it is not known whether `migrate 2` happened (DBD-0706)
            because: the catalog does not tell
            hint: look at the target, then say what you found:
            hint: dbd resume deploy-prod-1728149445123 --ruling applied --reason "what you saw"
            hint: dbd resume deploy-prod-1728149445123 --ruling not-applied --reason "what you saw"

        What is known
          1 of 2 steps is committed on the target
          it is not known whether `migrate 2` happened; nothing of it can take effect any more
          the backup taken before the first change is .deployments/deploy-prod-1728149445123/backup.dump

        Migrations
          0003_add_price       4 statements  12ms   deployed
          0004_drop_old_price  1 statement   812ms  unknown
          changes: 5 columns added, 1 index added, 2 tables modified

        Locks foretold
          public.orders  AccessExclusiveLock  805ms (619ms to 1.0s)  measured 12ms  blocks reads and writes  0003_add_price:1, through 0003_add_price:4
          foretold from a copy with all rows

        Timeline foretold
          0003_add_price:1 alter table orders add colum…  ━·······························  7ms
          0003_add_price:4 alter table orders alter col…  ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━  798ms
          0004_drop_old_price:1 alter table products dr…  ·······························━  7ms
          public.orders AccessExclusiveLock               ████████████████████████████████  805ms, reads and writes wait
          0 to 812ms: ━ statement, █ reads and writes wait

        Record
          tests     127 passed, 2 skipped
          backup    1.4 MiB, b3:eb6f5330f297, .deployments/deploy-prod-1728149445123/backup.dump
          way back  the backup, which forgets what was written since
          files     .deployments/deploy-prod-1728149445123

        Phases
          preflight           1.0s
          backup              1.0s
          sandbox validation  5.0s
          deployment          2.0s
        "#);
    }

    #[test]
    fn colour_is_never_needed_and_no_secret_is_told() {
        for (name, story) in all() {
            let plain = summary(&story.run, false, DIR);
            let colored = summary(&story.run, true, DIR);
            assert!(colored.contains('\u{1b}') && !plain.contains('\u{1b}'), "{name}");
            assert_eq!(anstream::adapter::strip_str(&colored).to_string(), plain, "{name}");
            assert!(plain.lines().next().unwrap().ends_with(story.run.id.as_str()), "{name}");
            assert!(plain.lines().all(|line| line == line.trim_end()), "{name}");
            assert!(!plain.contains(SECRET) && !json(&story.run, DIR).to_string().contains(SECRET), "{name}");
        }
    }

    #[test]
    fn more_findings_than_are_worth_reading_are_counted() {
        let mut run = testing::refused().run;
        run.findings = vec![testing::finding("column_removed", Severity::Warning); SHOWN + 1];
        let text = summary(&run, false, DIR);
        assert_eq!(text.matches("column_removed  ").count(), SHOWN);
        assert!(text.contains(&format!("  1 finding more: {DIR}/report.md\n")), "{text}");
    }
}
