//! The change record of a period: who changed which database, when, why, with whose approval, and how it came out.
//!
//! Every run of the period is in it, the refused, abandoned, rolled back and open ones too: a record that leaves out what went wrong proves
//! nothing.

use super::document::{self, Block, Document, Line, code, mark, text};
use super::facts::{self, MigrationStatus, Outcome, migrations, outcome};
use super::report::hosts;
use super::run::command_json;
use super::table::{Pen, plain, table as drawn};
use super::words::{count, digest, duration, plural};
use crate::domain::audit::Review;
use crate::domain::effect::Effect;
use crate::domain::event::{CommandReport, Event, Recorded};
use crate::domain::run::{Decision, Run};
use crate::domain::time::rfc3339;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// The period, and what was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// The beginning, in milliseconds since 1970: events at or after it are in, and so is every run one of them belongs to.
    pub since_ms: i64,
    /// The end, in milliseconds since 1970: events before it are in, and runs are told as they stood then.
    pub until_ms: i64,
    /// The first and the last event of the period; `None` if it has none. Between the two nothing is left out.
    pub events: Option<(u64, u64)>,
    /// When the record was made.
    pub now_ms: i64,
    /// What else was asked for, as name and value, like `env` and `prod`.
    pub filters: Vec<(String, String)>,
    /// The journal's own name.
    pub origin: String,
    /// The journal's last event.
    pub head_seq: u64,
    /// The journal's head with that event, `b3:<hex>`.
    pub head: String,
}

/// What somebody decided about a run after it was requested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// What was decided: `approved`, `rejected`, `cancelled`, `rollback requested`, `abandoned`, `ruled applied` or `ruled not applied`.
    pub what: &'static str,
    /// Who.
    pub by: String,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// Why, if they said.
    pub reason: Option<String>,
}

/// A migration of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its name.
    pub id: String,
    /// The digest of its file.
    pub digest: String,
    /// What became of it.
    pub status: MigrationStatus,
}

/// A finding that was let pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// Its code.
    pub code: String,
    /// The object.
    pub object: String,
    /// Who let it pass.
    pub by: String,
    /// Why, if they said.
    pub reason: Option<String>,
}

/// One run of the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The run.
    pub run: String,
    /// The environment.
    pub environment: String,
    /// The target, without user or password.
    pub target: Option<String>,
    /// Whether it was to stop before the target is touched.
    pub dry_run: bool,
    /// How it stands.
    pub outcome: Outcome,
    /// When it was requested, in milliseconds since 1970.
    pub requested_ms: Option<i64>,
    /// Who requested it.
    pub requested_by: Option<String>,
    /// How their name is known.
    pub requested_via: Option<String>,
    /// The host they were on.
    pub requested_host: Option<String>,
    /// The reason given with the request.
    pub reason: Option<String>,
    /// Whether the plan needed an approval; `None` if there was no plan.
    pub approval_required: Option<bool>,
    /// What people decided afterwards, in order.
    pub rulings: Vec<Ruling>,
    /// Who carried it out: those whose processes worked on it.
    pub executed_by: Vec<String>,
    /// The hosts whose processes carried it out.
    pub executed_on: Vec<String>,
    /// The commit checked out.
    pub git_commit: Option<String>,
    /// The branch.
    pub git_branch: Option<String>,
    /// Who wrote the commit.
    pub git_author: Option<String>,
    /// The migrations, in order.
    pub migrations: Vec<Change>,
    /// Why it was refused, halted or rolled back: code and message.
    pub reasons: Vec<String>,
    /// The findings that were let pass.
    pub allowed: Vec<Allowed>,
    /// How many findings there were in all.
    pub findings: u64,
    /// How the tests came out.
    pub tests: Option<CommandReport>,
    /// The rows a rollback forgot or would forget.
    pub rows_lost: Option<i64>,
    /// When the rehearsal on a copy of the target went well, in milliseconds since 1970.
    pub rehearsed_ms: Option<i64>,
    /// When the tests on that copy passed, in milliseconds since 1970.
    pub tested_ms: Option<i64>,
    /// When the target was first about to be changed, in milliseconds since 1970; `None` if it never was.
    pub changed_ms: Option<i64>,
    /// The plan's digest: what an approval was about.
    pub plan_digest: Option<String>,
    /// How it would be or was taken back, if there was a plan.
    pub rollback_plan: Option<String>,
    /// The backup's file.
    pub backup_path: Option<String>,
    /// When the backup was taken, in milliseconds since 1970.
    pub backup_ms: Option<i64>,
    /// The backup's digest.
    pub backup_digest: Option<String>,
    /// When the target was found to be back at its checkpoint, in milliseconds since 1970.
    pub taken_back_ms: Option<i64>,
    /// What makes it an emergency change, one sentence each; empty for an ordinary one.
    pub emergency: Vec<String>,
    /// Who looked at it afterwards.
    pub reviews: Vec<Review>,
    /// The target's schema fingerprint before.
    pub fingerprint_before: Option<String>,
    /// The target's schema fingerprint afterwards, as it was checked.
    pub fingerprint_after: Option<String>,
    /// When it was settled, in milliseconds since 1970.
    pub settled_ms: Option<i64>,
    /// From the request to the end, or to the last event. Milliseconds.
    pub duration_ms: u64,
    /// Its first event's place in the journal.
    pub first_seq: u64,
    /// Its last event's place in the journal.
    pub last_seq: u64,
    /// Its last event's hash.
    pub head: String,
}

impl Entry {
    fn ruling(&self, what: &str) -> Option<&Ruling> {
        self.rulings.iter().rev().find(|ruling| ruling.what == what)
    }

    /// Whether the approver is somebody else than the requester; `None` if nobody approved.
    fn approver_differs(&self) -> Option<bool> {
        Some(self.ruling("approved")?.by.as_str() != self.requested_by.as_deref()?)
    }

    /// Whether everybody who carried it out is somebody else than the requester; `None` if nobody did.
    fn executor_differs(&self) -> Option<bool> {
        let requester = self.requested_by.as_deref()?;
        (!self.executed_by.is_empty()).then(|| self.executed_by.iter().all(|by| by != requester))
    }

    /// As [`Entry::executor_differs`], from the approver.
    fn executor_is_no_approver(&self) -> Option<bool> {
        let approver = self.ruling("approved")?.by.as_str();
        (!self.executed_by.is_empty()).then(|| self.executed_by.iter().all(|by| by != approver))
    }

    /// Whether `what` was done before the target was first changed; `None` if the target never was.
    fn before_the_change(&self, what: Option<i64>) -> Option<bool> {
        self.changed_ms.map(|changed| what.is_some_and(|at| at <= changed))
    }

    fn independent(&self, review: &Review) -> bool {
        self.requested_by.as_deref() != Some(review.by.as_str()) && !self.executed_by.contains(&review.by)
    }
}

/// What makes a run an emergency change: a rule was set aside for it, or a person's word took the place of a proof.
fn emergency(run: &Run, rulings: &[Ruling]) -> Vec<String> {
    let mut why = Vec::new();
    let requester = run.requested.as_ref().map(|requested| requested.actor.id.as_str());
    let allowed = facts::allowed(run).len() as u64;
    if allowed > 0 {
        why.push(format!("{} let pass", plural(allowed, "finding", "findings")));
    }
    let approval = run.request.as_ref().is_some_and(|request| request.settings.approval);
    if run.id.environment().as_str() == "prod" && run.request.is_some() && !approval {
        why.push("approval was switched off for prod".to_owned());
    }
    let approved = rulings.iter().rev().find(|ruling| ruling.what == "approved");
    if approved.is_some_and(|ruling| Some(ruling.by.as_str()) == requester) {
        why.push("it was approved by its requester".to_owned());
    }
    if rulings.iter().any(|ruling| ruling.what.starts_with("ruled")) {
        why.push("a person ruled on an effect in doubt".to_owned());
    }
    if rulings.iter().any(|ruling| ruling.what == "abandoned") {
        why.push("it was given up where it stood".to_owned());
    }
    why
}

/// The entry of `run`, whose events are all of `events`, in order, with what was said of it afterwards.
#[must_use]
pub fn entry(run: &Run, events: &[Recorded], reviews: &[Review]) -> Entry {
    let went_well = |wanted: fn(Effect) -> bool| {
        run.past.iter().rev().find(|past| past.ok && wanted(past.effect)).map(|past| past.until_ms)
    };
    let rulings: Vec<Ruling> = events.iter().filter_map(ruling).collect();
    let mut executed_by: Vec<String> = Vec::new();
    for event in events.iter().filter(|event| matches!(event.event, Event::LeaseTaken { .. })) {
        if !executed_by.contains(&event.actor.id) {
            executed_by.push(event.actor.id.clone());
        }
    }
    let requested = run.requested.as_ref();
    let git = run.preflight.as_ref().and_then(|preflight| preflight.git.as_ref());
    let actor = |of: fn(&Decision) -> &String| requested.map(|requested| of(requested).clone());
    Entry {
        run: run.id.as_str().to_owned(),
        environment: run.id.environment().as_str().to_owned(),
        target: run.request.as_ref().map(|request| request.target.clone()),
        dry_run: run.request.as_ref().is_some_and(|request| request.dry_run),
        outcome: outcome(run),
        requested_ms: requested.map(|requested| requested.ts_ms),
        requested_by: actor(|requested| &requested.actor.id),
        requested_via: actor(|requested| &requested.actor.via),
        requested_host: actor(|requested| &requested.actor.host),
        reason: requested.and_then(|requested| requested.reason.clone()),
        approval_required: run.plan.as_ref().map(|plan| plan.approval_required),
        emergency: emergency(run, &rulings),
        rulings,
        executed_by,
        executed_on: hosts(events),
        git_commit: git.map(|git| git.commit.clone()),
        git_branch: git.and_then(|git| git.branch.clone()),
        git_author: git.and_then(|git| git.author.clone()),
        migrations: migrations(run)
            .into_iter()
            .map(|one| Change { id: one.id, digest: one.digest, status: one.status })
            .collect(),
        reasons: facts::reasons(run).iter().map(ToString::to_string).collect(),
        allowed: facts::allowed(run)
            .into_iter()
            .map(|finding| Allowed {
                code: finding.code.clone(),
                object: finding.object.clone(),
                by: facts::allowed_by(run, finding),
                reason: match &finding.waived {
                    Some(waived) => Some(waived.reason.clone()),
                    None => requested.and_then(|requested| requested.reason.clone()),
                },
            })
            .collect(),
        findings: count(&run.findings),
        tests: run.tests.clone(),
        rows_lost: run.loss.as_ref().map(crate::domain::event::Loss::rows),
        rehearsed_ms: went_well(|effect| effect == Effect::Rehearse),
        tested_ms: went_well(|effect| effect == Effect::RunTests),
        changed_ms: events
            .iter()
            .find(|event| matches!(event.event, Event::Intended { effect: Effect::Migrate { .. }, .. }))
            .map(|event| event.ts_ms),
        plan_digest: run.plan_digest.as_ref().map(|digest| digest.as_str().to_owned()),
        rollback_plan: facts::way_back(run),
        backup_path: run.backup.as_ref().map(|backup| backup.path.clone()),
        backup_ms: run.backup.as_ref().map(|_| run.backup_ms),
        backup_digest: run.backup.as_ref().map(|backup| backup.digest.as_str().to_owned()),
        taken_back_ms: went_well(|effect| effect == Effect::CheckRestored),
        reviews: reviews.to_vec(),
        fingerprint_before: run.preflight.as_ref().map(|preflight| preflight.fingerprint.as_str().to_owned()),
        fingerprint_after: facts::fingerprint(run).map(str::to_owned),
        settled_ms: run.settled_ms,
        duration_ms: run.duration_ms(),
        first_seq: events.first().map_or(run.seq, |first| first.seq),
        last_seq: run.seq,
        head: run.head.clone(),
    }
}

fn ruling(recorded: &Recorded) -> Option<Ruling> {
    let (what, reason) = match &recorded.event {
        Event::Approved { reason, .. } => ("approved", reason.clone()),
        Event::Rejected { reason } => ("rejected", reason.clone()),
        Event::CancelRequested { reason } => ("cancelled", reason.clone()),
        Event::RollbackRequested { reason, .. } => ("rollback requested", reason.clone()),
        Event::Abandoned { reason } => ("abandoned", reason.clone()),
        Event::Ruled { applied: true, reason, .. } => ("ruled applied", Some(reason.clone())),
        Event::Ruled { applied: false, reason, .. } => ("ruled not applied", Some(reason.clone())),
        _ => return None,
    };
    Some(Ruling { what, by: recorded.actor.id.clone(), at_ms: recorded.ts_ms, reason })
}

/// How many entries came out how, in the order of [`Outcome::ALL`]; outcomes that did not occur are there with 0.
fn counts(entries: &[Entry]) -> Vec<(Outcome, u64)> {
    let of = |outcome| entries.iter().filter(|entry| entry.outcome == outcome).count() as u64;
    Outcome::ALL.iter().map(|outcome| (*outcome, of(*outcome))).collect()
}

fn counted(entries: &[Entry]) -> String {
    let told: Vec<String> = counts(entries)
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(outcome, count)| format!("{count} {}", outcome.words()))
        .collect();
    let runs = plural(count(entries), "run", "runs");
    if told.is_empty() { runs } else { format!("{runs}: {}", told.join(", ")) }
}

fn period(window: &Window) -> String {
    let filters = window.filters.iter().fold(String::new(), |mut out, (name, value)| {
        let _ = write!(out, ", {name} {value}");
        out
    });
    format!("{} to {}{filters}", rfc3339(window.since_ms), rfc3339(window.until_ms))
}

/// The first and the last event the entries reach from and to; `None` without entries.
fn reach(entries: &[Entry]) -> Option<(u64, u64)> {
    let first = entries.iter().map(|entry| entry.first_seq).min()?;
    Some((first, entries.iter().map(|entry| entry.last_seq).max()?))
}

/// The record for a terminal of `width` columns, ending in a line break.
#[must_use]
pub fn table(entries: &[Entry], window: &Window, width: Option<u16>, color: bool) -> String {
    let pen = Pen { color };
    let mut out = format!("Change record, {}\n\n", period(window));
    if !entries.is_empty() {
        let rows = entries
            .iter()
            .map(|entry| {
                vec![
                    plain(entry.run.as_str()),
                    (entry.outcome.tone(), entry.outcome.words()),
                    plain(entry.requested_ms.map(rfc3339).unwrap_or_default()),
                    plain(entry.requested_by.clone().unwrap_or_default()),
                    plain(approver(entry)),
                    plain(plural(count(&entry.migrations), "migration", "migrations")),
                    plain(why(entry)),
                ]
            })
            .collect();
        out += &drawn(pen, width, &["run", "outcome", "requested", "by", "approved by", "content", "why"], rows);
        out.push('\n');
    }
    let _ = writeln!(out, "{}", counted(entries));
    let _ = writeln!(out, "journal {} at event {}: {}", window.origin, window.head_seq, window.head);
    out
}

fn approver(entry: &Entry) -> String {
    entry.ruling("approved").map(|ruling| ruling.by.clone()).unwrap_or_default()
}

/// The reason given for a run that went well, what went wrong for one that did not.
fn why(entry: &Entry) -> String {
    entry.reasons.first().cloned().or_else(|| entry.reason.clone()).unwrap_or_default()
}

/// The record as `dbd.audit/1`.
#[must_use]
pub fn json(entries: &[Entry], window: &Window) -> Value {
    let mut by_outcome = Map::new();
    for (outcome, count) in counts(entries) {
        by_outcome.insert(outcome.as_str().to_owned(), json!(count));
    }
    let parameters: Map<String, Value> =
        window.filters.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let reach = reach(entries);
    json!({
        "schema": "dbd.audit/1",
        "generated_at": rfc3339(window.now_ms),
        "window": {
            "since": rfc3339(window.since_ms),
            "until": rfc3339(window.until_ms),
            "first_seq": window.events.map(|(first, _)| first),
            "last_seq": window.events.map(|(_, last)| last),
        },
        "emergencies": entries.iter().filter(|entry| !entry.emergency.is_empty()).count(),
        "emergencies_without_review": entries.iter().filter(|entry| !entry.emergency.is_empty() && entry.reviews.is_empty()).count(),
        "parameters": parameters,
        "runs": entries.len(),
        "counts": by_outcome,
        "entries": entries.iter().map(entry_json).collect::<Vec<_>>(),
        "journal": {
            "origin": window.origin,
            "first_seq": reach.map(|(first, _)| first),
            "last_seq": reach.map(|(_, last)| last),
            "seq": window.head_seq,
            "head": window.head,
        },
    })
}

fn entry_json(entry: &Entry) -> Value {
    let approved = entry.ruling("approved");
    json!({
        "run": entry.run,
        "environment": entry.environment,
        "target": entry.target,
        "dry_run": entry.dry_run,
        "outcome": entry.outcome.as_str(),
        "requested_at": entry.requested_ms.map(rfc3339),
        "requested_by": entry.requested_by,
        "requested_via": entry.requested_via,
        "requested_host": entry.requested_host,
        "reason": entry.reason,
        "approval_required": entry.approval_required,
        "approved_by": approved.map(|ruling| ruling.by.as_str()),
        "approved_at": approved.map(|ruling| rfc3339(ruling.at_ms)),
        "approval_reason": approved.and_then(|ruling| ruling.reason.as_deref()),
        "decisions": entry.rulings.iter().map(|ruling| json!({
            "what": ruling.what,
            "by": ruling.by,
            "at": rfc3339(ruling.at_ms),
            "reason": ruling.reason,
        })).collect::<Vec<_>>(),
        "executed_by": entry.executed_by,
        "executed_on": entry.executed_on,
        "duties": {
            "approver_is_not_requester": entry.approver_differs(),
            "executor_is_not_requester": entry.executor_differs(),
            "executor_is_not_approver": entry.executor_is_no_approver(),
        },
        "preparation": {
            "rehearsed_at": entry.rehearsed_ms.map(rfc3339),
            "tested_at": entry.tested_ms.map(rfc3339),
            "backup_at": entry.backup_ms.map(rfc3339),
            "changed_at": entry.changed_ms.map(rfc3339),
            "rehearsed_before_the_change": entry.before_the_change(entry.rehearsed_ms),
            "tested_before_the_change": entry.before_the_change(entry.tested_ms),
            "backup_before_the_change": entry.before_the_change(entry.backup_ms),
            "plan_digest": entry.plan_digest,
            "rollback_plan": entry.rollback_plan,
            "backup": entry.backup_path,
        },
        "emergency": {
            "is": !entry.emergency.is_empty(),
            "why": entry.emergency,
            "reviews": entry.reviews.iter().map(|review| json!({
                "by": review.by,
                "at": rfc3339(review.ts_ms),
                "reason": review.reason,
                "independent": entry.independent(review),
                "seq": review.seq,
            })).collect::<Vec<_>>(),
        },
        "taken_back_at": entry.taken_back_ms.map(rfc3339),
        "git": {"commit": entry.git_commit, "branch": entry.git_branch, "author": entry.git_author},
        "migrations": entry.migrations.iter().map(|one| json!({
            "id": one.id,
            "digest": one.digest,
            "status": one.status.as_str(),
        })).collect::<Vec<_>>(),
        "reasons": entry.reasons,
        "findings": entry.findings,
        "findings_allowed": entry.allowed.iter().map(|one| json!({
            "code": one.code,
            "object": one.object,
            "by": one.by,
            "reason": one.reason,
        })).collect::<Vec<_>>(),
        "tests": entry.tests.as_ref().map(command_json),
        "rows_lost": entry.rows_lost,
        "backup_digest": entry.backup_digest,
        "fingerprint_before": entry.fingerprint_before,
        "fingerprint_after": entry.fingerprint_after,
        "settled_at": entry.settled_ms.map(rfc3339),
        "duration_ms": entry.duration_ms,
        "journal": {"first_seq": entry.first_seq, "last_seq": entry.last_seq, "head": entry.head},
    })
}

/// The columns of [`csv`], in order.
const COLUMNS: &[&str] = &[
    "run",
    "environment",
    "target",
    "dry_run",
    "outcome",
    "requested_at",
    "requested_by",
    "requested_via",
    "requested_host",
    "reason",
    "approval_required",
    "approved_by",
    "approved_at",
    "approval_reason",
    "decisions",
    "executed_on",
    "git_commit",
    "git_branch",
    "git_author",
    "migrations",
    "migration_digests",
    "reasons",
    "findings",
    "findings_allowed",
    "tests_passed",
    "tests_failed",
    "rows_lost",
    "backup_digest",
    "fingerprint_before",
    "fingerprint_after",
    "settled_at",
    "duration_ms",
    "first_seq",
    "last_seq",
    "head",
    "executed_by",
    "approver_is_not_requester",
    "executor_is_not_requester",
    "rehearsed_at",
    "tested_at",
    "backup_at",
    "changed_at",
    "plan_digest",
    "rollback_plan",
    "taken_back_at",
    "emergency",
    "reviewed_by",
    "reviewed_at",
];

/// The record as CSV (RFC 4180): a header, then a row for each run. What is many is joined by `; `. The window has no place in it and is
/// taken so that every form is called alike.
///
/// A field that a spreadsheet would take for a formula starts with an apostrophe: a reason is typed by people, and a record is opened by
/// others.
#[must_use]
pub fn csv(entries: &[Entry], _window: &Window) -> String {
    entries.iter().fold(csv_head(), |text, entry| text + &csv_row(entry))
}

/// The header of [`csv`], for a record that is written as it is made.
#[must_use]
pub fn csv_head() -> String {
    csv_line(COLUMNS.iter().map(|name| (*name).to_owned()))
}

/// One row of [`csv`].
#[must_use]
pub fn csv_row(entry: &Entry) -> String {
    csv_line(row(entry).iter().map(|field| inert(field)))
}

fn csv_line(fields: impl Iterator<Item = String>) -> String {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    // Writing to memory cannot fail.
    let _ = writer.write_record(fields.map(String::into_bytes));
    writer.into_inner().map_or_else(|_| String::new(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn inert(field: &str) -> String {
    let formula = field.starts_with(['=', '+', '-', '@', '\t', '\r']);
    if formula { format!("'{field}") } else { field.to_owned() }
}

fn row(entry: &Entry) -> [String; COLUMNS.len()] {
    let some = |field: &Option<String>| field.clone().unwrap_or_default();
    let time = |ms: Option<i64>| ms.map(rfc3339).unwrap_or_default();
    let joined = |fields: Vec<String>| fields.join("; ");
    let approved = entry.ruling("approved");
    let counts = entry.tests.as_ref().and_then(|tests| tests.counts);
    [
        entry.run.clone(),
        entry.environment.clone(),
        some(&entry.target),
        entry.dry_run.to_string(),
        entry.outcome.as_str().to_owned(),
        time(entry.requested_ms),
        some(&entry.requested_by),
        some(&entry.requested_via),
        some(&entry.requested_host),
        some(&entry.reason),
        entry.approval_required.map(|required| required.to_string()).unwrap_or_default(),
        approver(entry),
        time(approved.map(|ruling| ruling.at_ms)),
        approved.and_then(|ruling| ruling.reason.clone()).unwrap_or_default(),
        joined(entry.rulings.iter().map(decided).collect()),
        joined(entry.executed_on.clone()),
        some(&entry.git_commit),
        some(&entry.git_branch),
        some(&entry.git_author),
        joined(entry.migrations.iter().map(|one| one.id.clone()).collect()),
        joined(entry.migrations.iter().map(|one| one.digest.clone()).collect()),
        joined(entry.reasons.clone()),
        entry.findings.to_string(),
        joined(entry.allowed.iter().map(|one| format!("{} {}", one.code, one.object)).collect()),
        counts.map(|counts| counts.passed.to_string()).unwrap_or_default(),
        counts.map(|counts| counts.failed.to_string()).unwrap_or_default(),
        entry.rows_lost.map(|rows| rows.to_string()).unwrap_or_default(),
        some(&entry.backup_digest),
        some(&entry.fingerprint_before),
        some(&entry.fingerprint_after),
        time(entry.settled_ms),
        entry.duration_ms.to_string(),
        entry.first_seq.to_string(),
        entry.last_seq.to_string(),
        entry.head.clone(),
        joined(entry.executed_by.clone()),
        entry.approver_differs().map(|differs| differs.to_string()).unwrap_or_default(),
        entry.executor_differs().map(|differs| differs.to_string()).unwrap_or_default(),
        time(entry.rehearsed_ms),
        time(entry.tested_ms),
        time(entry.backup_ms),
        time(entry.changed_ms),
        some(&entry.plan_digest),
        some(&entry.rollback_plan),
        time(entry.taken_back_ms),
        joined(entry.emergency.clone()),
        joined(entry.reviews.iter().map(|review| review.by.clone()).collect()),
        joined(entry.reviews.iter().map(|review| rfc3339(review.ts_ms)).collect()),
    ]
}

fn decided(ruling: &Ruling) -> String {
    let reason = ruling.reason.as_deref().map_or_else(String::new, |reason| format!(", \"{reason}\""));
    format!("{} by {} at {}{reason}", ruling.what, ruling.by, rfc3339(ruling.at_ms))
}

/// The record as Markdown.
#[must_use]
pub fn markdown(entries: &[Entry], window: &Window) -> String {
    document::markdown(&record(entries, window))
}

/// The record as one HTML page that needs nothing else.
#[must_use]
pub fn html(entries: &[Entry], window: &Window) -> String {
    document::html(&record(entries, window))
}

fn record(entries: &[Entry], window: &Window) -> Document {
    let mut record = Document {
        title: "Change record".to_owned(),
        badge: (super::table::Tone::Plain, plural(count(entries), "run", "runs")),
        lead: period(window),
        sections: Vec::new(),
        foot: format!(
            "Made {} from the journal {} at event {} ({})",
            rfc3339(window.now_ms),
            window.origin,
            window.head_seq,
            window.head
        ),
    };
    let mut facts = vec![
        ("since", text(rfc3339(window.since_ms))),
        ("until", text(rfc3339(window.until_ms))),
        ("runs", text(counted(entries))),
        ("journal", code(window.origin.as_str())),
        ("journal head", code(format!("{} {}", window.head_seq, window.head))),
    ];
    if let Some((first, last)) = window.events {
        facts.push(("events of the period", text(format!("{first} to {last}, without a gap"))));
    }
    if let Some((first, last)) = reach(entries) {
        facts.push(("events of these runs", text(format!("between {first} and {last}"))));
    }
    let filters: Vec<String> = window.filters.iter().map(|(name, value)| format!("{name} {value}")).collect();
    if !filters.is_empty() {
        facts.push(("only", text(filters.join(", "))));
    }
    record.section("Period", vec![Block::Facts(facts)]);
    let rows = entries
        .iter()
        .map(|entry| {
            vec![
                code(entry.run.as_str()),
                mark(entry.outcome.tone(), entry.outcome.words()),
                text(entry.requested_ms.map(rfc3339).unwrap_or_default()),
                text(entry.requested_by.clone().unwrap_or_default()),
                text(approver(entry)),
                text(duration(entry.duration_ms)),
                text(why(entry)),
            ]
        })
        .collect();
    record.section(
        "Runs",
        vec![Block::Table(vec!["run", "outcome", "requested", "by", "approved by", "took", "why"], rows)],
    );
    for entry in entries {
        record.section(entry.run.as_str(), vec![Block::Facts(entry_facts(entry))]);
    }
    record
}

fn entry_facts(entry: &Entry) -> Vec<(&'static str, Line)> {
    let mut facts = vec![("outcome", mark(entry.outcome.tone(), entry.outcome.words()))];
    let mut put = |name: &'static str, told: Option<String>| {
        facts.extend(told.filter(|told| !told.is_empty()).map(|told| (name, text(told))));
    };
    put("environment", Some(entry.environment.clone()));
    put("target", entry.target.clone());
    put("kind", entry.dry_run.then(|| "a dry run".to_owned()));
    let via = entry.requested_via.as_ref().map_or_else(String::new, |via| format!(", known by {via}"));
    let on = entry.requested_host.as_ref().map_or_else(String::new, |host| format!(" on {host}"));
    put("requested by", entry.requested_by.as_ref().map(|by| format!("{by}{on}{via}")));
    put("requested at", entry.requested_ms.map(rfc3339));
    put("reason", entry.reason.clone());
    let needed = entry.approval_required.map(|required| if required { "needed" } else { "not needed" }.to_owned());
    put("approval", needed);
    put("decisions", Some(entry.rulings.iter().map(decided).collect::<Vec<_>>().join("; ")));
    put("carried out by", Some(entry.executed_by.join(", ")));
    put("carried out on", Some(entry.executed_on.join(", ")));
    put("duties", Some(duties(entry)));
    let author = entry.git_author.as_ref().map_or_else(String::new, |author| format!(" by {author}"));
    let branch = entry.git_branch.as_ref().map_or_else(String::new, |branch| format!(" on {branch}"));
    put("commit", entry.git_commit.as_ref().map(|commit| format!("{commit}{branch}{author}")));
    let migrations =
        entry.migrations.iter().map(|one| format!("{} ({}, {})", one.id, one.status.words(), digest(&one.digest)));
    put("migrations", Some(migrations.collect::<Vec<_>>().join("; ")));
    put("went wrong", Some(entry.reasons.join("; ")));
    let allowed = entry.allowed.iter().map(|one| {
        let reason = one.reason.as_ref().map_or_else(String::new, |reason| format!(", \"{reason}\""));
        format!("{} {} by {}{reason}", one.code, one.object, one.by)
    });
    put("findings allowed", Some(allowed.collect::<Vec<_>>().join("; ")));
    put("tests", entry.tests.as_ref().map(facts::tests));
    put("rehearsed", entry.rehearsed_ms.map(rfc3339));
    put("tests passed", entry.tested_ms.map(rfc3339));
    put("plan", entry.plan_digest.clone());
    let taken = entry.backup_ms.map_or_else(String::new, |at| format!(", taken {}", rfc3339(at)));
    put("backup", entry.backup_digest.as_ref().map(|digest| format!("{digest}{taken}")));
    put("rollback plan", entry.rollback_plan.clone());
    put("target changed from", entry.changed_ms.map(rfc3339));
    put("taken back", entry.taken_back_ms.map(rfc3339));
    put("rows lost", entry.rows_lost.map(|rows| rows.to_string()));
    put("emergency", Some(entry.emergency.join("; ")));
    let reviews = entry.reviews.iter().map(|review| {
        let whose = if entry.independent(review) { "" } else { " (who took part in it)" };
        format!("by {}{whose} at {}, \"{}\"", review.by, rfc3339(review.ts_ms), review.reason)
    });
    put("reviewed", Some(reviews.collect::<Vec<_>>().join("; ")));
    if !entry.emergency.is_empty() && entry.reviews.is_empty() {
        put("reviewed", Some("not yet".to_owned()));
    }
    put("schema before", entry.fingerprint_before.clone());
    put("schema afterwards", entry.fingerprint_after.clone());
    put("settled", entry.settled_ms.map(rfc3339));
    put("duration", Some(duration(entry.duration_ms)));
    put("events", Some(format!("{} to {}", entry.first_seq, entry.last_seq)));
    put("head", Some(entry.head.clone()));
    facts
}

/// Whether those who asked, approved and did it are different people.
fn duties(entry: &Entry) -> String {
    let told = |differs: Option<bool>, pair: &str| {
        differs.map(|differs| format!("{pair} {}", if differs { "differ" } else { "are the same" }))
    };
    let told = [
        told(entry.approver_differs(), "requester and approver"),
        told(entry.executor_differs(), "requester and executor"),
        told(entry.executor_is_no_approver(), "approver and executor"),
    ];
    told.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, SECRET, all};
    use super::*;

    fn entries() -> Vec<Entry> {
        all().iter().map(|(_, story)| entry(&story.run, &story.events, &[])).collect()
    }

    fn review() -> Review {
        let reason = "the column was read by nobody".to_owned();
        Review { seq: 80, by: "dora".to_owned(), ts_ms: 1_728_200_000_000, reason }
    }

    fn window() -> Window {
        Window {
            since_ms: 1_728_000_000_000,
            until_ms: 1_730_000_000_000,
            now_ms: 1_730_000_000_001,
            events: Some((40, 90)),
            filters: vec![("env".to_owned(), "prod".to_owned())],
            origin: "j-7f3a".to_owned(),
            head_seq: 97,
            head: "b3:head".to_owned(),
        }
    }

    #[test]
    fn the_table_reads_like_this() {
        insta::assert_snapshot!(table(&entries(), &window(), None, false), @"
        Change record, 2024-10-04T00:00:00.000Z to 2024-10-27T03:33:20.000Z, env prod

        run                        outcome         requested                 by     approved by  content       why
        ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
        deploy-prod-1728149445123  succeeded       2024-10-05T17:30:45.123Z  alice  carol        2 migrations  nobody reads old_price
        deploy-prod-1728149445123  refused         2024-10-05T17:30:45.123Z  alice               2 migrations  column_removed: column public.products.old_price removed; it holds values (DBD-0405)
        deploy-prod-1728149445123  refused         2024-10-05T17:30:45.123Z  alice               0 migrations  db.example.com:5432 does not answer (DBD-0101)
        deploy-prod-1728149445123  rolled back     2024-10-05T17:30:45.123Z  alice               2 migrations  the application is not healthy (DBD-0503)
        deploy-prod-1728149445123  waiting         2024-10-05T17:30:45.123Z  alice               2 migrations
        deploy-prod-1728149445123  needs operator  2024-10-05T17:30:45.123Z  alice               2 migrations  the target is not back at its checkpoint (DBD-0601)
        deploy-prod-1728149445123  needs operator  2024-10-05T17:30:45.123Z  alice               2 migrations  deploy-prod-1728149445123: it is not known whether `migrate 2` happened (DBD-0706)
        deploy-prod-1728149445123  interrupted     2024-10-05T17:30:45.123Z  alice               2 migrations
        deploy-prod-1728149445123  planned         2024-10-05T17:30:45.123Z  alice               2 migrations
        deploy-prod-1728149445123  succeeded       2024-10-05T17:30:45.123Z  alice               0 migrations
        deploy-prod-1728149445123  abandoned       2024-10-05T17:30:45.123Z  alice               2 migrations  the target is not back at its checkpoint (DBD-0601)

        11 runs: 2 succeeded, 2 refused, 1 rolled back, 2 needs operator, 1 interrupted, 1 waiting, 1 planned, 1 abandoned
        journal j-7f3a at event 97: b3:head
        ");
    }

    #[test]
    fn an_entry_says_who_what_when_why_and_how_it_came_out() {
        let story = testing::good();
        insta::assert_snapshot!(format!("{:#}", entry_json(&entry(&story.run, &story.events, &[review()]))), @r#"
        {
          "approval_reason": "looked at it",
          "approval_required": true,
          "approved_at": "2024-10-05T17:31:03.123Z",
          "approved_by": "carol",
          "backup_digest": "b3:eb6f5330f29773e187cc0275c784025e1c21b15bbeeec548e2d62b45c8df8c53",
          "decisions": [
            {
              "at": "2024-10-05T17:31:03.123Z",
              "by": "carol",
              "reason": "looked at it",
              "what": "approved"
            }
          ],
          "dry_run": false,
          "duration_ms": 29000,
          "duties": {
            "approver_is_not_requester": true,
            "executor_is_not_approver": true,
            "executor_is_not_requester": false
          },
          "emergency": {
            "is": true,
            "reviews": [
              {
                "at": "2024-10-06T07:33:20.000Z",
                "by": "dora",
                "independent": true,
                "reason": "the column was read by nobody",
                "seq": 80
              }
            ],
            "why": [
              "1 finding let pass"
            ]
          },
          "environment": "prod",
          "executed_by": [
            "alice"
          ],
          "executed_on": [
            "build-7"
          ],
          "findings": 2,
          "findings_allowed": [
            {
              "by": "alice",
              "code": "column_removed",
              "object": "public.products.old_price",
              "reason": "nobody reads old_price"
            }
          ],
          "fingerprint_after": "b3:45df22c72c6e776f178bdbb8103c5cac32795afaf8d736fb12c848264ae87d11",
          "fingerprint_before": "b3:18c52a7ed981fbffa12fbf611b593c451f6a5700af2206c612b5c3dd2888909b",
          "git": {
            "author": "Bob <bob@example.com>",
            "branch": "feature/prices",
            "commit": "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567"
          },
          "journal": {
            "first_seq": 40,
            "head": "b3:8efa1e00a64b2e36e1ff85d93da9bed992bbc944c4f32124740dd56eddc92fbd",
            "last_seq": 70
          },
          "migrations": [
            {
              "digest": "b3:69665dbb78e06de9098f6efda82e13a0db5a4c8a8810fa36760afd5f8ae93740",
              "id": "0003_add_price",
              "status": "deployed"
            },
            {
              "digest": "b3:34d3949843871a5b4c6f078f39861afdd8c04bcd80417638e79aaec0adf4c656",
              "id": "0004_drop_old_price",
              "status": "deployed"
            }
          ],
          "outcome": "succeeded",
          "preparation": {
            "backup": ".deployments/deploy-prod-1728149445123/backup.dump",
            "backup_at": "2024-10-05T17:30:50.123Z",
            "backup_before_the_change": true,
            "changed_at": "2024-10-05T17:31:06.123Z",
            "plan_digest": "b3:292eed40f761f48677d42719062359d7ddc0222afefca2ddfbfd43ac3d5ecd5c",
            "rehearsed_at": "2024-10-05T17:30:56.123Z",
            "rehearsed_before_the_change": true,
            "rollback_plan": "the backup, which forgets what was written since",
            "tested_at": "2024-10-05T17:30:58.123Z",
            "tested_before_the_change": true
          },
          "reason": "nobody reads old_price",
          "reasons": [],
          "requested_at": "2024-10-05T17:30:45.123Z",
          "requested_by": "alice",
          "requested_host": "build-7",
          "requested_via": "git",
          "rows_lost": null,
          "run": "deploy-prod-1728149445123",
          "settled_at": "2024-10-05T17:31:14.123Z",
          "taken_back_at": null,
          "target": "db.example.com:5432/shop",
          "tests": {
            "failed": 0,
            "output": null,
            "passed": 127,
            "skipped": 2,
            "status": 0
          }
        }
        "#);
    }

    #[test]
    fn every_run_is_in_every_form_and_no_secret_is() {
        let entries = entries();
        let document = json(&entries, &window());
        assert_eq!(document["schema"], "dbd.audit/1");
        assert_eq!(document["counts"]["refused"], 2);
        assert_eq!(
            document["counts"].as_object().unwrap().values().filter_map(Value::as_u64).sum::<u64>(),
            entries.len() as u64
        );
        assert_eq!(
            document["journal"],
            json!({"origin": "j-7f3a", "first_seq": 40, "last_seq": 81, "seq": 97, "head": "b3:head"})
        );
        assert_eq!(document["parameters"], json!({"env": "prod"}));
        let forms = [
            document.to_string(),
            csv(&entries, &window()),
            markdown(&entries, &window()),
            html(&entries, &window()),
            table(&entries, &window(), None, false),
        ];
        for form in forms {
            assert!(form.matches("deploy-prod-1728149445123").count() >= entries.len());
            assert!(!form.contains(SECRET));
        }
    }

    #[test]
    fn a_period_without_runs_is_a_record_too() {
        let document = json(&[], &window());
        assert_eq!((&document["entries"], &document["journal"]["first_seq"]), (&json!([]), &Value::Null));
        assert!(table(&[], &window(), None, false).contains("\n0 runs\n"));
        assert!(markdown(&[], &window()).contains("0 runs"));
        assert_eq!(csv(&[], &window()).lines().count(), 1);
    }

    #[test]
    fn the_csv_reads_back_and_no_field_is_a_formula() {
        let mut hostile = entries();
        hostile[0].reason = Some("=HYPERLINK(\"x\"),\nnext line".to_owned());
        let text = csv(&hostile, &window());
        assert!(text.starts_with("run,environment,") && text.contains("\r\n"));
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        assert_eq!(reader.headers().unwrap().iter().collect::<Vec<_>>(), COLUMNS);
        let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        assert_eq!(rows.len(), hostile.len());
        let column = |name: &str| COLUMNS.iter().position(|column| *column == name).unwrap();
        assert_eq!(&rows[0][column("reason")], "'=HYPERLINK(\"x\"),\nnext line");
        assert_eq!(&rows[0][column("approved_by")], "carol");
        assert_eq!(&rows[0][column("findings_allowed")], "column_removed public.products.old_price");
        assert_eq!(&rows[3][column("outcome")], "rolled_back");
        assert_eq!(&rows[3][column("rows_lost")], "3");
        assert!(rows.iter().all(|row| row.iter().all(|field| !field.starts_with(['=', '+', '-', '@']))));
    }

    #[test]
    fn giving_up_is_a_decision_with_a_name_and_a_reason() {
        let story = testing::abandoned();
        let entry = entry(&story.run, &story.events, &[]);
        let last = entry.rulings.last().unwrap();
        assert_eq!(
            (last.what, last.by.as_str(), last.reason.as_deref()),
            ("abandoned", "carol", Some("restored by hand"))
        );
        assert_eq!(entry.outcome, Outcome::Abandoned);
    }
}
