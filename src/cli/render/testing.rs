//! Runs to render, made as real ones are: by folding events. Every text that must never be shown holds the word `hunter2`.

use crate::domain::code::Code;
use crate::domain::decide::{self, Command, decide};
use crate::domain::digest::Digest;
use crate::domain::effect::{DumpPurpose, Effect};
use crate::domain::event::*;
use crate::domain::evolve::{evolve, fold};
use crate::domain::failure::Failure;
use crate::domain::finding::{Allowance, Finding, Severity};
use crate::domain::forecast::{Act, Basis, Forecast, Held, Timeline};
use crate::domain::ids::{EffectId, EnvironmentName, MigrationId, RunId};
use crate::domain::migration::{Bookkeeping, Format, Migration, Span, Unit, UnitMode};
use crate::domain::next::{Next, next};
use crate::domain::rehearsal::MigrationTiming;
use crate::domain::run::Run;
use serde_json::json;
use std::collections::BTreeMap;

/// What must never be shown.
pub(crate) const SECRET: &str = "hunter2";

/// When every run here was asked for, in milliseconds since 1970.
pub(crate) const START: i64 = 1_728_149_445_123;

/// The folder of the artifacts.
pub(crate) const DIR: &str = ".deployments/deploy-prod-1728149445123";

/// A run being told, event by event.
pub(crate) struct Story {
    pub(crate) run: Run,
    pub(crate) events: Vec<Recorded>,
    now_ms: i64,
    actor: Actor,
}

pub(crate) fn digest(text: &str) -> Digest {
    Digest::of(text)
}

fn actor(id: &str) -> Actor {
    Actor { kind: "human".to_owned(), id: id.to_owned(), via: "git".to_owned(), host: "build-7".to_owned() }
}

fn settings(approval: bool) -> Settings {
    Settings {
        migration_timeout_ms: 300_000,
        lock_timeout_ms: 500,
        lock_budget_ms: 60_000,
        statement_timeout_ms: None,
        approval,
        require_clean_tree: false,
        data: "full".to_owned(),
        tests: Some(UserCommand { command: "npm test".to_owned(), timeout_ms: 600_000, once: false }),
        verify: None,
        health: Some(HealthCheck { timeout_ms: 5_000, attempts: 3 }),
        sample: None,
        masks: BTreeMap::new(),
        previous_tests: None,
        budget: None,
        rollback: RollbackSettings::default(),
    }
}

fn act(label: &str, from_ms: u64, to_ms: u64, transaction: usize) -> Act {
    Act { label: label.to_owned(), from_ms, to_ms, transaction }
}

fn migration(id: &str, statements: usize) -> Migration {
    let spans = (0..statements).map(|n| Span { start: n * 10, len: 9, line: n as u32 + 1 }).collect();
    Migration {
        id: MigrationId::new(id),
        file: format!("migrations/{id}.sql"),
        digest: digest(id),
        text: String::new(),
        units: vec![Unit { mode: UnitMode::Transaction, statements: spans }],
        bookkeeping: Bookkeeping::Dbd,
        down: None,
    }
}

pub(crate) fn finding(code: &str, severity: Severity) -> Finding {
    Finding {
        code: code.to_owned(),
        severity,
        object: "public.products.old_price".to_owned(),
        message: "column public.products.old_price removed; it holds values".to_owned(),
        allowed: false,
        waived: None,
    }
}

pub(crate) fn passed() -> CommandReport {
    CommandReport {
        status: Some(0),
        counts: Some(TestCounts { passed: 127, failed: 0, skipped: 2 }),
        ..CommandReport::default()
    }
}

impl Story {
    /// A run of `prod`, requested by alice; `approval` says whether the plan needs one.
    pub(crate) fn begin(approval: bool, allow: &[&str]) -> Self {
        let environment = EnvironmentName::parse("prod").unwrap();
        let start = START;
        let id = RunId::new(&environment, start);
        let mut story = Self { run: Run::blank(id), events: Vec::new(), now_ms: start, actor: actor("alice") };
        story.push(Event::Requested(Box::new(Request {
            environment,
            target: "db.example.com:5432/shop".to_owned(),
            dry_run: false,
            allow: Allowance {
                codes: allow.iter().map(|code| (*code).to_owned()).collect(),
                reason: (!allow.is_empty()).then(|| "nobody reads old_price".to_owned()),
            },
            settings: settings(approval),
        })));
        story.push(Event::LeaseTaken { host: "build-7".to_owned(), pid: 4711, epoch: 3 });
        story
    }

    /// A dry run instead, from its beginning.
    pub(crate) fn dry() -> Self {
        let mut story = Self::begin(false, &[]);
        let Event::Requested(request) = &mut story.events[0].event else { panic!("the first event is the request") };
        request.dry_run = true;
        story.run = fold(&story.run.id, &story.events).unwrap();
        story
    }

    /// Records one event, a second after the last.
    pub(crate) fn push(&mut self, event: Event) {
        let seq = 40 + self.events.len() as u64;
        let recorded = Recorded {
            seq,
            rseq: self.run.rseq + 1,
            ts_ms: self.now_ms,
            epoch: 3,
            actor: self.actor.clone(),
            event,
            refs: vec!["blob-1".to_owned(), "blob-2".to_owned()],
            hash: digest(&format!("event {seq}")).as_str().to_owned(),
        };
        self.run = evolve(&self.run, &recorded).unwrap();
        self.events.push(recorded);
        self.now_ms += 1_000;
    }

    /// Somebody else records the next decision.
    pub(crate) fn decided(&mut self, by: &str, command: Command) {
        self.actor = actor(by);
        let event = decide(&self.run, command).unwrap();
        self.push(event);
        self.actor = actor("alice");
    }

    /// Records the intent of what is next, which must be `effect`.
    pub(crate) fn intend(&mut self, effect: Effect) -> EffectId {
        assert_eq!(next(&self.run), Next::Perform(effect));
        let id = EffectId::derive("o", &self.run.id, &effect.name(), self.run.rollbacks.to_string().as_bytes());
        self.push(Event::Intended { effect, id: id.clone(), attempt: 1 });
        id
    }

    /// What is next happens.
    pub(crate) fn does(&mut self, effect: Effect, outcome: Outcome) {
        let id = self.intend(effect);
        self.push(Event::Succeeded { id, outcome, duration_ms: 900 });
    }

    /// What is next fails.
    pub(crate) fn fails(&mut self, effect: Effect, failure: Failure, partial: Option<Outcome>) {
        let id = self.intend(effect);
        self.push(Event::Failed { id, failure, partial, duration_ms: 900 });
    }

    /// Records what follows by itself.
    pub(crate) fn follows(&mut self) {
        let Next::Record(event) = next(&self.run) else { panic!("nothing follows from {:?}", self.run.state) };
        self.push(event);
    }

    pub(crate) fn preflight(&mut self, pending: &[(&str, usize)]) {
        let check = |name: &str, status, message: &str| Check {
            name: name.to_owned(),
            status,
            message: message.to_owned(),
            failure: (status != CheckStatus::Ok).then(|| Failure::new(Code::Drifted, message)),
            duration_ms: 12,
        };
        self.does(
            Effect::Preflight,
            Outcome::Preflight(Box::new(Preflight {
                table: None,
                checks: vec![
                    check("connection", CheckStatus::Ok, "db.example.com:5432/shop as deployer"),
                    check("drift", CheckStatus::Warning, "the target's schema is not what deploy-prod-1 left"),
                ],
                server: ServerFacts {
                    version_num: 180_001,
                    version: "18.1".to_owned(),
                    system_identifier: None,
                    database: "shop".to_owned(),
                    role: "deployer".to_owned(),
                    superuser: false,
                    size_bytes: 52_428_800,
                    encoding: "UTF8".to_owned(),
                    collate: "C".to_owned(),
                    ctype: "C".to_owned(),
                    locale_provider: "c".to_owned(),
                    locale: None,
                    has_public: true,
                    server_settings: Vec::new(),
                    read_only: false,
                    pooled: false,
                    owns_database: true,
                    member_of: Vec::new(),
                    session_settings: vec![("secret.key".to_owned(), SECRET.to_owned())],
                    roles: Vec::new(),
                },
                fingerprint: digest("before"),
                format: Format::Sql,
                dir: "migrations".to_owned(),
                applied: 7,
                pending: pending
                    .iter()
                    .enumerate()
                    .map(|(blob, (id, statements))| Pending { migration: migration(id, *statements), blob })
                    .collect(),
                git: Some(GitState {
                    commit: "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567".to_owned(),
                    branch: Some("feature/prices".to_owned()),
                    dirty: false,
                    dirty_files: Vec::new(),
                    author: Some("Bob <bob@example.com>".to_owned()),
                }),
                swap: None,
            })),
        );
    }

    pub(crate) fn sandbox(&mut self) {
        self.does(
            Effect::Dump { purpose: DumpPurpose::Checkpoint },
            Outcome::Dump(Box::new(Backup {
                path: format!("{DIR}/backup.dump"),
                digest: digest("backup"),
                bytes: 1_468_006,
                fingerprint: digest("before"),
                rows: BTreeMap::from([("public.orders".to_owned(), 50_000), ("public.products".to_owned(), 1)]),
                xid: "900".to_owned(),
                seen: Vec::new(),
                base: None,
            })),
        );
        let location = json!({"url": format!("postgres://postgres:{SECRET}@localhost/sandbox")});
        self.does(Effect::CreateSandbox, Outcome::Sandbox { location, place: "a scratch server".to_owned() });
        self.does(Effect::FillSandbox, Outcome::Done);
    }

    pub(crate) fn rehearsed(&mut self, findings: Vec<Finding>) {
        let pending = self.run.preflight.as_ref().unwrap().pending.clone();
        self.does(
            Effect::Rehearse,
            Outcome::Rehearsal(Box::new(Rehearsal {
                migrations: pending
                    .iter()
                    .map(|one| MigrationTiming {
                        id: one.migration.id.clone(),
                        statements: one.migration.units[0].statements.len(),
                        duration_ms: 812,
                    })
                    .collect(),
                roles_kept: true,
                fingerprint_before: digest("before"),
                fingerprint_after: digest("after"),
                fingerprints: Vec::new(),
                changes: BTreeMap::from([
                    ("tables_modified".to_owned(), 2),
                    ("columns_added".to_owned(), 5),
                    ("indexes_added".to_owned(), 1),
                ]),
                findings,
                copy: Vec::new(),
                reverse: None,
                ways: Vec::new(),
                forecast: vec![Forecast {
                    object: "public.orders".to_owned(),
                    lock: "AccessExclusiveLock".to_owned(),
                    held_ms: 805,
                    blocks: "reads and writes".to_owned(),
                    low_ms: Some(619),
                    high_ms: Some(1_047),
                    basis: Some(Basis::Copy),
                    by: Some("0003_add_price:1".to_owned()),
                    through: Some("0003_add_price:4".to_owned()),
                    at: Some((0, 0)),
                }],
                timeline: Some(Timeline {
                    total_ms: 812,
                    acts: vec![
                        act("0003_add_price:1 alter table orders add column a int", 0, 7, 0),
                        act("0003_add_price:4 alter table orders alter column id type bigint", 7, 805, 0),
                        act("0004_drop_old_price:1 alter table products drop column old_price", 805, 812, 1),
                    ],
                    held: vec![Held {
                        object: "public.orders".to_owned(),
                        lock: "AccessExclusiveLock".to_owned(),
                        blocks: "reads and writes".to_owned(),
                        from_ms: 0,
                        to_ms: 805,
                    }],
                    left_out: 0,
                }),
                correction: None,
                artifacts: vec![Artifact {
                    name: "rehearsal.json".to_owned(),
                    digest: digest("rehearsal"),
                    bytes: 2_048,
                }],
            })),
        );
    }

    /// Everything up to the judgement, two migrations pending.
    pub(crate) fn prepared(&mut self, findings: Vec<Finding>) {
        self.preflight(&[("0003_add_price", 4), ("0004_drop_old_price", 1)]);
        self.sandbox();
        self.rehearsed(findings);
        self.does(Effect::RunTests, Outcome::Command(passed()));
        self.does(Effect::DropSandbox, Outcome::Done);
        self.follows();
    }

    pub(crate) fn step(duration_ms: u64, tries: u32) -> Outcome {
        Outcome::Step(StepReport {
            duration_ms,
            tries,
            xid: Some("901".to_owned()),
            held_ms: vec![duration_ms; 4],
            ..StepReport::default()
        })
    }

    pub(crate) fn matches(text: &str) -> Outcome {
        Outcome::Fingerprint { fingerprint: digest(text), xid: "902".to_owned() }
    }

    /// Up to the verified target; the health check is next.
    pub(crate) fn deployed(&mut self) {
        self.does(Effect::PrepareTarget, Outcome::Done);
        self.does(Effect::Migrate { step: 0 }, Self::step(12, 1));
        self.does(Effect::Migrate { step: 1 }, Self::step(1_500, 3));
        self.does(Effect::CheckSchema, Self::matches("after"));
    }

    /// Rows were written meanwhile: the run halts, and bob has the backup restored all the same.
    pub(crate) fn asked_to_restore(&mut self) {
        self.counts_the_loss();
        self.follows();
        self.decided("bob", Command::RollBack { reason: Some("three test orders".to_owned()), restore: true });
        self.taken_back();
    }

    fn counts_the_loss(&mut self) {
        let loss = Loss { written: BTreeMap::from([("public.orders".to_owned(), 3)]), ..Loss::default() };
        self.does(Effect::AssessLoss, Outcome::Loss(loss));
    }

    /// The way back by the backup, with rows written meanwhile.
    fn taken_back(&mut self) {
        self.counts_the_loss();
        let saved = Backup { path: format!("{DIR}/before-rollback.dump"), ..self.run.backup.clone().unwrap() };
        self.does(Effect::Dump { purpose: DumpPurpose::BeforeRollback }, Outcome::Dump(Box::new(saved)));
        self.does(Effect::Restore, Self::step(2_000, 1));
    }
}

fn unhealthy() -> Failure {
    Failure::new(Code::HealthFailed, "the application is not healthy").cause("it answered 500").hint("look at its log")
}

/// Deployed, with one finding allowed and one warning, approved by carol.
pub(crate) fn good() -> Story {
    let mut story = Story::begin(true, &["column_removed"]);
    let warning =
        Finding { message: "index public.i removed".to_owned(), ..finding("index_removed", Severity::Warning) };
    story.prepared(vec![finding("column_removed", Severity::Error), warning]);
    story.push(Event::Paused { why: Pause::AwaitingApproval });
    story.decided("carol", Command::Approve { reason: Some("looked at it".to_owned()) });
    story.deployed();
    story.does(Effect::CheckHealth, Outcome::Done);
    story.follows();
    let files = vec![Artifact { name: "report.md".to_owned(), digest: digest("report"), bytes: 4_096 }];
    story.push(Event::ArtifactsWritten { files });
    story
}

/// Refused for a finding nobody allowed.
pub(crate) fn refused() -> Story {
    let mut story = Story::begin(false, &[]);
    story.prepared(vec![finding("column_removed", Severity::Error)]);
    story
}

/// Refused as the preflight failed.
pub(crate) fn not_ready() -> Story {
    let mut story = Story::begin(false, &[]);
    let failure = Failure::new(Code::CannotConnect, "db.example.com:5432 does not answer").hint("is it running?");
    let check = Check {
        name: "connection".to_owned(),
        status: CheckStatus::Failed,
        message: failure.message.clone(),
        failure: Some(failure.clone()),
        duration_ms: 5_000,
    };
    story.fails(Effect::Preflight, failure, Some(Outcome::Checks(vec![check])));
    story.follows();
    story
}

/// Deployed, found unhealthy, taken back; three rows written meanwhile are kept apart.
pub(crate) fn rolled_back() -> Story {
    let mut story = Story::begin(false, &[]);
    story.prepared(Vec::new());
    story.deployed();
    story.fails(Effect::CheckHealth, unhealthy(), None);
    story.follows();
    story.asked_to_restore();
    story.does(Effect::CheckRestored, Story::matches("before"));
    story.follows();
    story
}

/// Waiting for an approval.
pub(crate) fn waiting() -> Story {
    let mut story = Story::begin(true, &[]);
    story.prepared(Vec::new());
    story.push(Event::Paused { why: Pause::AwaitingApproval });
    story
}

/// Halted: the restore failed.
pub(crate) fn halted() -> Story {
    let mut story = Story::begin(false, &[]);
    story.prepared(Vec::new());
    story.deployed();
    story.fails(Effect::CheckHealth, unhealthy(), None);
    story.follows();
    story.asked_to_restore();
    story.fails(
        Effect::CheckRestored,
        Failure::new(Code::NotRestored, "the target is not back at its checkpoint"),
        None,
    );
    story.follows();
    story
}

/// Halted: nobody can tell whether the second step happened.
pub(crate) fn in_doubt() -> Story {
    let mut story = interrupted();
    let id = story.run.flight.clone().unwrap().id;
    story.push(Event::LeaseTaken { host: "build-8".to_owned(), pid: 12, epoch: 4 });
    story.push(Event::Fenced { id: id.clone(), evidence: "no session of it is left".to_owned() });
    story.push(Event::Reconciled { id, verdict: Verdict::Unknown, evidence: "the catalog does not tell".to_owned() });
    story.follows();
    assert_eq!(story.run.halted, Some(decide::in_doubt(&story.run)));
    story
}

/// Killed with the second step in flight.
pub(crate) fn interrupted() -> Story {
    let mut story = Story::begin(false, &[]);
    story.prepared(Vec::new());
    story.does(Effect::PrepareTarget, Outcome::Done);
    story.does(Effect::Migrate { step: 0 }, Story::step(12, 1));
    story.intend(Effect::Migrate { step: 1 });
    story
}

/// A dry run that came to its end.
pub(crate) fn planned() -> Story {
    let mut story = Story::dry();
    story.prepared(vec![finding("column_type_changed", Severity::Warning)]);
    story.follows();
    story
}

/// Nothing was pending.
pub(crate) fn nothing() -> Story {
    let mut story = Story::begin(false, &[]);
    story.preflight(&[]);
    story.follows();
    story
}

/// Given up after it was halted.
pub(crate) fn abandoned() -> Story {
    let mut story = halted();
    story.decided("carol", Command::Cancel { reason: Some("restored by hand".to_owned()) });
    story
}

/// One of each, by name.
pub(crate) fn all() -> Vec<(&'static str, Story)> {
    vec![
        ("good", good()),
        ("refused", refused()),
        ("not ready", not_ready()),
        ("rolled back", rolled_back()),
        ("waiting", waiting()),
        ("halted", halted()),
        ("in doubt", in_doubt()),
        ("interrupted", interrupted()),
        ("planned", planned()),
        ("nothing", nothing()),
        ("abandoned", abandoned()),
    ]
}
