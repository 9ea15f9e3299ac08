//! Values to build runs from: what an effect brings when all goes well.

use dbd::domain::code::Code;
use dbd::domain::digest::Digest;
use dbd::domain::effect::Effect;
use dbd::domain::event::{
    Actor, Artifact, Backup, Check, CheckStatus, CommandReport, GitState, HealthCheck, Loss, Outcome, Pending,
    Preflight, Readiness, Rehearsal, Request, RollbackSettings, RowsChanged, ServerFacts, Settings, StepReport,
    StepWay, SwapOffer, Swapped, TestCounts, UserCommand,
};
use dbd::domain::failure::Failure;
use dbd::domain::finding::{Allowance, Finding, Severity};
use dbd::domain::ids::{EnvironmentName, MigrationId, RunId};
use dbd::domain::migration::{AloneProbe, Bookkeeping, Format, Migration, Span, Unit, UnitMode};
use dbd::domain::plan::UndoClass;
use dbd::domain::rehearsal::MigrationTiming;
use dbd::domain::way::{CaptureWay, InPlace, Rung, Way};
use serde_json::json;
use std::collections::BTreeMap;

/// What is asked for, and what is found on the way: everything that makes one run differ from another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Case {
    /// Migrations of one step each.
    pub steps: usize,
    /// A command tests the sandbox.
    pub tests: bool,
    /// A command verifies the target.
    pub verify: bool,
    /// The application is asked whether it is healthy.
    pub health: bool,
    /// Somebody has to approve the plan.
    pub approval: bool,
    /// It ends with the plan.
    pub dry_run: bool,
    /// What the rehearsal notices.
    pub findings: Vec<Finding>,
    /// What may pass.
    pub allow: Vec<String>,
    /// How each of its steps can be taken back.
    pub back: Way,
    /// The capture stays on after a success.
    pub window: bool,
    /// Each of its steps commits as it goes, and may fail half-way.
    pub piecemeal: bool,
}

impl Case {
    /// A plain deployment of `steps` migrations.
    pub fn of(steps: usize) -> Self {
        Self { steps, ..Self::default() }
    }
}

pub fn run_id() -> RunId {
    RunId::parse("deploy-dev-1728149445123").unwrap()
}

pub fn actor(name: &str) -> Actor {
    Actor { kind: "human".into(), id: name.into(), via: "os".into(), host: "vela".into() }
}

pub fn command(text: &str) -> UserCommand {
    UserCommand { command: text.into(), timeout_ms: 60_000, once: false }
}

pub fn request(case: &Case) -> Request {
    Request {
        environment: EnvironmentName::parse("dev").unwrap(),
        target: "localhost:5432/shop".into(),
        dry_run: case.dry_run,
        allow: Allowance { codes: case.allow.clone(), reason: (!case.allow.is_empty()).then(|| "agreed".into()) },
        settings: Settings {
            migration_timeout_ms: 300_000,
            lock_timeout_ms: 500,
            lock_budget_ms: 60_000,
            statement_timeout_ms: None,
            approval: case.approval,
            require_clean_tree: false,
            data: "full".into(),
            tests: case.tests.then(|| command("npm test")),
            verify: case.verify.then(|| command("./smoke.sh")),
            health: case.health.then_some(HealthCheck { timeout_ms: 5_000, attempts: 3 }),
            sample: None,
            masks: BTreeMap::new(),
            previous_tests: None,
            budget: None,
            rollback: RollbackSettings {
                in_place: true,
                soft_drop: false,
                capture: vec![CaptureWay::Slot, CaptureWay::Triggers],
                window_ms: if case.window { 7_200_000 } else { 0 },
                required: false,
                slot_bytes: None,
            },
        },
    }
}

pub fn check(name: &str, status: CheckStatus) -> Check {
    let failure = (status == CheckStatus::Failed).then(|| failure(&format!("{name} is not in order")));
    Check { name: name.into(), status, message: format!("{name}: {status:?}"), failure, duration_ms: 3 }
}

pub fn migration(number: usize, piecemeal: bool) -> Migration {
    let mode = if piecemeal { UnitMode::Alone { probe: AloneProbe::Unknown } } else { UnitMode::Transaction };
    let id = format!("{number:04}_change");
    Migration {
        file: format!("migrations/{id}.sql"),
        digest: Digest::of(&id),
        id: MigrationId::new(id),
        text: String::new(),
        units: vec![Unit { mode, statements: vec![Span { start: 0, len: 12, line: 1 }] }],
        bookkeeping: Bookkeeping::Dbd,
        down: None,
    }
}

pub fn server() -> ServerFacts {
    ServerFacts {
        version_num: 170_006,
        version: "17.6".into(),
        system_identifier: Some("7395832750912345678".into()),
        database: "shop".into(),
        role: "deployer".into(),
        superuser: false,
        size_bytes: 8_000_000,
        encoding: "UTF8".into(),
        collate: "C.UTF-8".into(),
        ctype: "C.UTF-8".into(),
        locale_provider: "c".into(),
        locale: None,
        has_public: true,
        server_settings: vec![("standard_conforming_strings".into(), "on".into())],
        read_only: false,
        pooled: false,
        owns_database: true,
        member_of: vec!["owners".into()],
        session_settings: vec![("search_path".into(), "public".into())],
        roles: vec!["app".into(), "deployer".into()],
    }
}

pub fn preflight(case: &Case) -> Preflight {
    Preflight {
        table: None,
        checks: vec![check("connection", CheckStatus::Ok), check("working tree", CheckStatus::Warning)],
        server: server(),
        fingerprint: before(),
        format: Format::Sql,
        dir: "migrations".into(),
        applied: 2,
        pending: (0..case.steps).map(|blob| Pending { migration: migration(blob + 3, case.piecemeal), blob }).collect(),
        git: Some(GitState {
            commit: "4f2a9c".into(),
            branch: Some("main".into()),
            dirty: false,
            dirty_files: vec![],
            author: Some("alice".into()),
        }),
        swap: (case.back == Way::Swap)
            .then(|| SwapOffer { ways: vec![CaptureWay::Triggers], why_not: vec!["wal_level is replica".into()] }),
    }
}

/// What a capture installed, as its adapter says.
pub fn capture() -> serde_json::Value {
    json!({"way": "triggers", "tables": ["public.orders"]})
}

pub fn readiness() -> Readiness {
    Readiness { transactions: 3, rows: 7, residue: vec!["public.orders.note".into()], ..Readiness::default() }
}

/// How a step goes back in place.
pub fn in_place() -> InPlace {
    InPlace {
        rung: Rung::PreImages,
        method: "generated".into(),
        before: vec!["create table dbd_keep.k1 as select id, note from orders".into()],
        after: vec![],
        instead: vec![],
        undo: vec!["alter table orders add column note text".into()],
        keeps: vec!["orders.note".into()],
        loses: vec![],
    }
}

/// The fingerprint of the target before the first step.
pub fn before() -> Digest {
    Digest::of("before")
}

/// The fingerprint of the target after the last step.
pub fn after() -> Digest {
    Digest::of("after")
}

pub fn backup() -> Backup {
    Backup {
        path: ".deployments/deploy-dev-1728149445123/backup.dump".into(),
        digest: Digest::of("dump"),
        bytes: 52_000,
        fingerprint: before(),
        rows: BTreeMap::from([("public.orders".into(), 12)]),
        xid: "7401".into(),
        seen: vec!["7403".into()],
        base: None,
    }
}

pub fn artifact(name: &str) -> Artifact {
    Artifact { name: name.into(), digest: Digest::of(name), bytes: name.len() as u64 }
}

pub fn finding(code: &str, severity: Severity) -> Finding {
    Finding {
        code: code.into(),
        severity,
        object: "public.orders.note".into(),
        message: "the column public.orders.note is removed".into(),
        allowed: false,
        waived: None,
    }
}

pub fn rehearsal(case: &Case) -> Rehearsal {
    Rehearsal {
        migrations: vec![MigrationTiming { id: MigrationId::new("0003_change"), statements: 1, duration_ms: 4 }],
        roles_kept: true,
        fingerprint_before: before(),
        fingerprint_after: after(),
        fingerprints: vec![],
        changes: BTreeMap::from([("tables_modified".into(), 1)]),
        findings: case.findings.clone(),
        forecast: vec![],
        timeline: None,
        copy: vec![],
        correction: None,
        reverse: None,
        ways: (0..case.steps)
            .map(|_| match case.back {
                Way::InPlace => StepWay {
                    undo: UndoClass::InPlace(Box::new(in_place())),
                    why_not: vec![],
                    writes: BTreeMap::new(),
                    notes: vec![],
                    rows: None,
                },
                _ => StepWay {
                    undo: UndoClass::Restore,
                    why_not: vec!["a DO block may do anything".into()],
                    writes: BTreeMap::from([("public.orders".into(), vec!["note".into()])]),
                    notes: vec!["no row of public.t could be changed in the trial".into()],
                    rows: case.piecemeal.then(|| RowsChanged {
                        written: BTreeMap::from([("public.orders".into(), 3)]),
                        removed: BTreeMap::from([("public.orders".into(), 2)]),
                    }),
                },
            })
            .collect(),
        artifacts: vec![artifact("rehearsal.json")],
    }
}

pub fn report(status: i32) -> CommandReport {
    CommandReport {
        status: Some(status),
        counts: Some(TestCounts { passed: 7, failed: 0, skipped: 1 }),
        output: Some(artifact("tests.log")),
        previous: None,
    }
}

pub fn loss(rows: i64) -> Loss {
    let written = if rows == 0 { BTreeMap::new() } else { BTreeMap::from([("public.orders".into(), rows)]) };
    Loss { written, ..Loss::default() }
}

pub fn step() -> StepReport {
    StepReport { duration_ms: 9, tries: 1, xid: Some("7450".into()), ..StepReport::default() }
}

pub fn failure(message: &str) -> Failure {
    Failure::new(Code::StatementFailed, message)
}

/// What `effect` brings when it happens; `lost` rows would be forgotten by a restore.
pub fn outcome(effect: Effect, case: &Case, lost: i64) -> Outcome {
    match effect {
        Effect::Preflight => Outcome::Preflight(Box::new(preflight(case))),
        Effect::Dump { .. } => Outcome::Dump(Box::new(backup())),
        Effect::CreateSandbox => {
            Outcome::Sandbox { location: json!({"folder": "/tmp/sandbox"}), place: "a scratch server".into() }
        }
        Effect::Rehearse => Outcome::Rehearsal(Box::new(rehearsal(case))),
        Effect::RunTests | Effect::RunVerify => Outcome::Command(report(0)),
        Effect::Migrate { .. } | Effect::UndoStep { .. } | Effect::Restore => Outcome::Step(step()),
        Effect::StartCapture => Outcome::Capture { record: capture(), place: "triggers on 1 table".into() },
        Effect::CheckWay | Effect::CatchUp => Outcome::Readiness(readiness()),
        Effect::Swap => Outcome::Swapped(Swapped {
            fence_ms: Some(41),
            kept: "shop__dbd_x_a1b2c3d4e5".into(),
            rows_compared: 7,
            pooler: None,
        }),
        Effect::CheckSchema => Outcome::Fingerprint { fingerprint: after(), xid: "7460".into() },
        Effect::CheckRestored => Outcome::Fingerprint { fingerprint: before(), xid: "7470".into() },
        Effect::AssessLoss => Outcome::Loss(loss(lost)),
        Effect::FillSandbox
        | Effect::DropSandbox
        | Effect::RaiseShadow
        | Effect::EndCapture
        | Effect::PrepareTarget
        | Effect::CheckHealth => Outcome::Done,
    }
}
