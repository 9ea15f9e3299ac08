//! Carrying out one effect: which ports are called, in which order. No decision about the run is made here.

use super::fill::{Rows, fill};
use super::keep;
use super::runner::{Done, Runner};
use crate::domain::code::Code;
use crate::domain::connection::ConnectionUrl;
use crate::domain::decide;
use crate::domain::digest::Digest;
use crate::domain::effect::{DumpPurpose, Effect};
use crate::domain::event::{Backup, CommandReport, Loss, Outcome, StepReport, UserCommand};
use crate::domain::failure::{Certainty, Failure};
use crate::domain::ids::EffectId;
use crate::domain::migration::{AloneProbe, Migration, UnitMode};
use crate::domain::plan::{PlanStep, UndoClass};
use crate::domain::schema::catalog::Catalog;
use crate::domain::schema::comparison::Comparison;
use crate::domain::schema::fingerprint::fingerprint;
use crate::ports::backup::{DumpOrder, FillOrder, RestoreOrder};
use crate::ports::command::CommandOrder;
use crate::ports::database::{ApplyOrder, Around, RestoreOf, UndoOrder};
use crate::ports::sandbox::Sandbox;
use std::time::{Duration, Instant};

/// The file of a dump.
pub(super) fn dump_name(purpose: DumpPurpose, rollbacks: u32) -> String {
    match purpose {
        DumpPurpose::Checkpoint | DumpPurpose::Refresh => "backup.dump".to_owned(),
        DumpPurpose::BeforeRollback if rollbacks <= 1 => "before-rollback.dump".to_owned(),
        DumpPurpose::BeforeRollback => format!("before-rollback-{rollbacks}.dump"),
    }
}

/// What was read at the snapshot of a dump, kept beside it so that a dump whose record is missing need not be taken again.
pub(super) fn dump_note(name: &str) -> String {
    format!("{name}.snapshot.json")
}

/// For how long, in milliseconds in the rehearsal, a migration counts as brief.
const BRIEF_MS: u64 = 100;

impl Runner<'_> {
    /// Carries out `effect`.
    pub(super) async fn perform(&mut self, effect: Effect, id: &EffectId) -> Done {
        if let Err(failure) = self.hold_tool(effect).await {
            return failure.into();
        }
        if !matches!(effect, Effect::CreateSandbox | Effect::FillSandbox) {
            self.snapshot = None;
        }
        let result = match effect {
            Effect::Preflight => return self.preflight().await,
            Effect::Dump { purpose } => {
                self.dump(effect, purpose, id).await.map(|backup| Outcome::Dump(Box::new(backup)))
            }
            Effect::CreateSandbox => self.create_sandbox().await,
            Effect::FillSandbox => self.fill_sandbox(effect, id).await,
            Effect::Rehearse => return self.rehearse(effect, id).await,
            Effect::RunTests => return self.run_tests(id).await,
            Effect::DropSandbox => {
                self.sandbox = None;
                self.before = None;
                self.world.sandboxes.remove(self.run.id.as_str()).await.map(|()| Outcome::Done)
            }
            Effect::StartCapture => self.start_capture(id).await,
            Effect::RaiseShadow => self.raise_shadow(effect, id).await,
            Effect::EndCapture => self.end_capture(id).await,
            Effect::CheckWay => self.check_way(effect, id).await,
            Effect::CatchUp => return self.catch_up(effect, id).await,
            Effect::Swap => self.swap(effect, id).await,
            Effect::UndoStep { step } => self.undo_step(effect, step, id).await,
            Effect::PrepareTarget => self.prepare_target().await,
            Effect::Migrate { step } => return self.migrate(effect, step, id).await.unwrap_or_else(Done::from),
            Effect::CheckSchema => return self.check_schema().await.unwrap_or_else(Done::from),
            Effect::RunVerify => return self.run_verify(id).await,
            Effect::CheckHealth => self.check_health().await,
            Effect::AssessLoss => self.assess_loss().await,
            Effect::Restore => self.restore(effect, id).await,
            Effect::CheckRestored => return self.check_restored(effect, id).await.unwrap_or_else(Done::from),
        };
        match result {
            Ok(outcome) => outcome.into(),
            Err(failure) => failure.into(),
        }
    }

    /// The tracking table of the migrations folder's format.
    pub(super) fn tracking_table(&self) -> &str {
        self.run.preflight.as_ref().map_or("dbd.migration", |preflight| preflight.tracking_table())
    }

    /// From the moment the target is made ready to the last migration, the tool that owns the folder is kept out by its own lock.
    async fn hold_tool(&mut self, effect: Effect) -> Result<(), Failure> {
        if !matches!(effect, Effect::PrepareTarget | Effect::Migrate { .. }) {
            self.tool_hold = None;
            self.world.database.rest().await;
            return Ok(());
        }
        // Behind a pooler a session's lock means nothing and might outlive the run.
        let pooled = self.run.preflight.as_ref().is_some_and(|preflight| preflight.server.pooled);
        let Some(plan) = self.run.plan.as_ref().filter(|_| self.tool_hold.is_none() && !pooled) else { return Ok(()) };
        let tracking = self
            .run
            .preflight
            .as_ref()
            .map_or_else(|| plan.format.reader().tracking(), |preflight| preflight.tracking());
        let held =
            self.world.database.hold_tool(&self.world.target, &tracking, &self.run.id, plan.lock_budget_ms).await;
        match (held, effect) {
            (Ok(held), _) => self.tool_hold = held,
            (Err(failure), Effect::PrepareTarget) => return Err(failure),
            // In the middle of the migrations there is no way but on; dbd's own lease keeps two of its own kind apart.
            (Err(failure), _) => self.watch.note(effect, &failure.message),
        }
        Ok(())
    }

    /// What an earlier effect brought; its absence is a bug, not a state of the world.
    fn need<'v, T>(&self, value: Option<&'v T>, what: &str) -> Result<&'v T, Failure> {
        value.ok_or_else(|| Failure::new(Code::Bug, format!("{}: {what} is missing from its history", self.run.id)))
    }

    /// The bookkeeping that goes with `step`, if it is the last of its migration.
    pub(super) fn bookkeeping(&self, step: &PlanStep) -> Result<Option<String>, Failure> {
        let preflight = self.run.preflight.as_ref();
        let Some((preflight, pending)) =
            preflight.and_then(|preflight| Some((preflight, preflight.pending.get(step.migration)?)))
        else {
            return Ok(None);
        };
        if !step.last {
            return Ok(None);
        }
        let text = self.text_of(step.migration)?;
        Ok(Some(preflight.format.reader().record_sql(&pending.migration, &text, &self.run.id)))
    }

    /// The frozen text of a migration.
    pub(super) fn text_of(&self, migration: usize) -> Result<String, Failure> {
        let reference = self.need(self.run.texts.get(migration), "a migration's text")?;
        let bytes = self.journal.blob(reference)?;
        String::from_utf8(bytes).map_err(|error| {
            Failure::new(Code::JournalBroken, format!("{}: a migration's text is not UTF-8", self.run.id))
                .source(&error)
        })
    }

    async fn dump(&mut self, effect: Effect, purpose: DumpPurpose, id: &EffectId) -> Result<Backup, Failure> {
        let world = self.world;
        let preflight = self.need(self.run.preflight.as_ref(), "the preflight")?;
        let expected = match purpose {
            DumpPurpose::Checkpoint => Some(&preflight.fingerprint),
            DumpPurpose::Refresh => self.run.plan.as_ref().map(|plan| &plan.fingerprint_before),
            DumpPurpose::BeforeRollback => None,
        };
        let name = dump_name(purpose, self.run.rollbacks);
        let path = world.files.path(&name);
        let (snapshot, base) = match purpose {
            DumpPurpose::Refresh if self.run.capture.is_some() => {
                self.base(id).await.map(|(snapshot, base)| (snapshot, Some(base)))?
            }
            _ => (world.database.snapshot(&world.target, self.tracking_table()).await?, None),
        };
        let found = fingerprint(&snapshot.catalog);
        if let Some(expected) = expected.filter(|expected| **expected != found) {
            return Err(target_changed(expected, &found));
        }
        let order = DumpOrder {
            url: world.target.clone(),
            snapshot: snapshot.name.clone(),
            server_major: preflight.server.version_num / 10_000,
            path,
            effect: id.clone(),
            expected_bytes: u64::try_from(preflight.server.size_bytes).unwrap_or(0),
        };
        let watch = self.watch;
        let dumped = world.backups.dump(&order, &|done, total| watch.progress(effect, done, total)).await?;
        let backup = Backup {
            path: world.files.shown(&name),
            digest: dumped.digest,
            bytes: dumped.bytes,
            fingerprint: found,
            rows: snapshot.rows,
            xid: snapshot.xid,
            seen: snapshot.seen,
            base,
        };
        world.files.write(&dump_note(&name), &serde_json::to_vec_pretty(&backup).unwrap_or_default())?;
        if purpose != DumpPurpose::BeforeRollback {
            self.before = Some(snapshot.catalog);
            self.write_rollback_state(&backup)?;
        }
        if purpose == DumpPurpose::Checkpoint && self.rows()?.copied() {
            self.snapshot = snapshot.name.map(|name| (name, snapshot.hold));
        }
        Ok(backup)
    }

    /// `rollback-state.json`: enough to go back by hand, and an anchor of the journal's head outside the journal.
    fn write_rollback_state(&self, backup: &Backup) -> Result<(), Failure> {
        let git = self.run.preflight.as_ref().and_then(|preflight| preflight.git.as_ref());
        let flight = self.run.flight.as_ref();
        let state = serde_json::json!({
            "deploymentId": self.run.id.as_str(),
            "timestamp": crate::domain::time::rfc3339(flight.map_or(self.run.last_ms, |flight| flight.since_ms)),
            "environment": self.run.id.environment().as_str(),
            "databaseBackup": backup.path,
            "gitCommit": git.map(|git| git.commit.as_str()),
            "gitBranch": git.and_then(|git| git.branch.as_deref()),
            "canRollback": true,
            "schemaFingerprint": backup.fingerprint.as_str(),
            "backupDigest": backup.digest.as_str(),
            "journal": {"origin": self.journal.origin(), "seq": flight.map(|flight| flight.seq), "head": flight.map(|flight| flight.hash.as_str())},
        });
        self.world
            .files
            .write("rollback-state.json", &serde_json::to_vec_pretty(&state).unwrap_or_default())
            .map(|_| ())
    }

    async fn create_sandbox(&mut self) -> Result<Outcome, Failure> {
        let preflight = self.need(self.run.preflight.as_ref(), "the preflight")?;
        let sandbox = self.world.sandboxes.create(self.run.id.as_str(), &preflight.server, false).await?;
        let outcome = Outcome::Sandbox { location: sandbox.location.clone(), place: sandbox.place.clone() };
        self.sandbox = Some(sandbox);
        Ok(outcome)
    }

    /// Which rows the sandbox gets.
    fn rows(&self) -> Result<Rows, Failure> {
        let Some(request) = &self.run.request else { return Ok(Rows::default()) };
        Ok(Rows { tracking: self.tracking_table().to_owned(), ..Rows::of(&request.settings)? })
    }

    async fn fill_sandbox(&mut self, effect: Effect, id: &EffectId) -> Result<Outcome, Failure> {
        let world = self.world;
        let sandbox = self.need(self.sandbox.as_ref(), "the sandbox")?.clone();
        let backup = self.need(self.run.backup.as_ref(), "the backup")?;
        let preflight = self.need(self.run.preflight.as_ref(), "the preflight")?;
        let rows_wanted = self.rows()?;
        let snapshot = self.snapshot.as_ref().map(|(name, _)| name.clone());
        let same_moment = !rows_wanted.copied() || snapshot.is_some();
        let watch = self.watch;
        let path = world.files.path(&dump_name(DumpPurpose::Checkpoint, 0));
        // A migration may grant something to a role that had nothing here so far, or ask whether there is one.
        let roles = match sandbox.own_server {
            true => world.database.roles(&world.target).await?,
            false => preflight.server.roles.clone(),
        };
        let order = FillOrder {
            dump: path,
            url: sandbox.url.clone(),
            server_major: sandbox.server_major,
            target_major: preflight.server.version_num / 10_000,
            roles,
            may_create_roles: sandbox.own_server,
            drop_public: !preflight.server.has_public,
            schema_only: rows_wanted.none,
            section: None,
            without_foreign_keys: false,
            effect: id.clone(),
        };
        let progress = |done, total| watch.progress(effect, done, total);
        let (database, backups) = (world.database.as_ref(), world.backups.as_ref());
        let filled = fill(database, backups, &order, &rows_wanted, &world.target, snapshot, &progress).await?;
        for note in &filled.notes {
            watch.note(effect, note);
        }
        // The backup has now been restored before anybody needs it: it must be what it was taken from.
        let tracking = self.tracking_table();
        let copy = world.database.catalog(&sandbox.url, &[tracking]).await?;
        let same = match (&self.before, filled.roles_kept) {
            (Some(before), false) => fingerprint(&copy.without_roles()) == fingerprint(&before.without_roles()),
            _ => fingerprint(&copy) == backup.fingerprint,
        };
        if !same {
            let mut failure =
                Failure::new(Code::CopyDiffers, "the backup restored in the sandbox is not what the target is")
                    .hint("the backup cannot be relied on; the differences are named above");
            if let Some(before) = &self.before {
                failure = differences(failure, &Comparison::new("sandbox", &copy, "target", before));
            }
            return Err(failure);
        }
        // Rows that were read at another moment than the dump may be others.
        if rows_wanted.all() && same_moment {
            let rows = world.database.row_counts(&sandbox.url, tracking).await?;
            if let Some((table, expected)) =
                backup.rows.iter().find(|(table, expected)| rows.get(*table) != Some(expected))
            {
                let found = rows.get(table).copied().unwrap_or(0);
                return Err(Failure::new(
                    Code::CopyDiffers,
                    format!("{table} has {expected} rows in the target and {found} in the restored backup"),
                ));
            }
        }
        world.sandboxes.log_everything(&sandbox).await?;
        self.copied = filled.notes.clone();
        if filled.roles_kept {
            world.database.act_like(&sandbox.url, &preflight.server).await?;
        }
        self.before = Some(copy);
        self.roles_kept = filled.roles_kept;
        Ok(Outcome::Done)
    }

    pub(super) fn user_command(
        &self,
        command: &UserCommand,
        database_url: &ConnectionUrl,
        label: &'static str,
        output_name: &str,
        id: &EffectId,
    ) -> CommandOrder {
        CommandOrder {
            command: command.command.clone(),
            timeout_ms: command.timeout_ms,
            database_url: database_url.clone(),
            app_url: self.world.app_url.clone(),
            run: self.run.id.clone(),
            label,
            output: self.world.files.path(output_name),
            output_name: output_name.to_owned(),
            effect: id.clone(),
            application_name: None,
        }
    }

    async fn run_tests(&mut self, id: &EffectId) -> Done {
        let settings = self.run.request.as_ref().map(|request| &request.settings);
        let Some(sandbox) = self.sandbox.clone() else {
            return Failure::new(Code::Bug, format!("{}: tests without a sandbox", self.run.id)).into();
        };
        let (tests, previous) =
            settings.map(|settings| (settings.tests.clone(), settings.previous_tests.clone())).unwrap_or_default();
        let previous = match previous {
            Some(command) => match self.run_previous_tests(&command, &sandbox, tests.is_some(), id).await {
                Done::Yes(Outcome::Command(report), _) => Some(Box::new(report)),
                other => return other,
            },
            None => None,
        };
        let done = match tests {
            Some(command) => {
                let order = self.user_command(&command, &sandbox.url, "the tests", "tests.log", id);
                self.user_ran(&order, Code::TestsFailed, "the tests failed in the sandbox").await
            }
            None => Outcome::Command(CommandReport { status: Some(0), ..CommandReport::default() }).into(),
        };
        match done {
            Done::Yes(Outcome::Command(report), blobs) => {
                Done::Yes(Outcome::Command(CommandReport { previous, ..report }), blobs)
            }
            Done::No { failure, partial: Some(Outcome::Command(report)) } => {
                Done::No { failure, partial: Some(Outcome::Command(CommandReport { previous, ..report })) }
            }
            other => other,
        }
    }

    /// The tests of the application that still runs: it meets the new schema before the new one is there. They get a database of their own
    /// where that can be had, so that neither tests see what the others wrote.
    async fn run_previous_tests(&self, command: &UserCommand, sandbox: &Sandbox, others: bool, id: &EffectId) -> Done {
        let mut url = sandbox.url.clone();
        if others && sandbox.own_server {
            let name = format!("{}_previous", url.database());
            url = match self.world.database.duplicate(&url, &name).await {
                Ok(url) => url,
                Err(failure) => return failure.into(),
            };
        }
        let order = self.user_command(command, &url, "the running application's tests", "tests-previous.log", id);
        let what = "the tests of the application that still runs failed on the migrated schema";
        match self.user_ran(&order, Code::PreviousTestsFailed, what).await {
            Done::No { failure, partial: Some(Outcome::Command(report)) } => {
                let report = CommandReport { previous: Some(Box::new(report)), ..CommandReport::default() };
                let failure = failure.hint(
                    "keep what the running application needs until it is gone, and remove it in a later deployment",
                );
                Done::No { failure, partial: Some(Outcome::Command(report)) }
            }
            done => done,
        }
    }

    async fn run_verify(&mut self, id: &EffectId) -> Done {
        let Some(command) = self.run.request.as_ref().and_then(|request| request.settings.verify.clone()) else {
            return Failure::new(Code::Bug, format!("{}: verification without a command", self.run.id)).into();
        };
        let order = self.user_command(&command, &self.world.target, "the verification", "verify.log", id);
        self.user_ran(&order, Code::VerifyFailed, "the verification command failed").await
    }

    pub(super) async fn user_ran(&self, order: &CommandOrder, code: Code, what: &str) -> Done {
        match self.world.commands.run(order).await {
            Ok(ran) if ran.report.status == Some(0) => Outcome::Command(ran.report).into(),
            Ok(ran) => {
                let status =
                    ran.report.status.map_or_else(|| "a signal".to_owned(), |status| format!("status {status}"));
                let mut failure = Failure::new(code, format!("{what}: `{}` ended with {status}", order.command));
                if let Some(counts) = ran.report.counts {
                    failure = failure.cause(format!("{} passed, {} failed", counts.passed, counts.failed));
                }
                failure.causes.extend(ran.tail.iter().rev().take(5).rev().cloned());
                failure =
                    failure.hint(format!("the whole output is in {}", self.world.files.shown(&order.output_name)));
                Done::No { failure, partial: Some(Outcome::Command(ran.report)) }
            }
            // Ended with everything it had started: it failed, and there is nothing to look up. To run it again would never end.
            Err(failure) if failure.code == Code::CommandTimeout => failure
                .certainty(Certainty::Definite)
                .cause(format!("in: {}", order.command))
                .hint("find out what it waits for, or raise its timeout")
                .into(),
            Err(failure) => failure.into(),
        }
    }

    async fn prepare_target(&mut self) -> Result<Outcome, Failure> {
        let world = self.world;
        let plan = self.need(self.run.plan.as_ref(), "the plan")?;
        let catalog = world.database.catalog(&world.target, &[self.tracking_table()]).await?;
        let found = fingerprint(&catalog);
        if found != plan.fingerprint_before {
            return Err(target_changed(&plan.fingerprint_before, &found));
        }
        self.remember_before(&catalog);
        let tracking = self.need(self.run.preflight.as_ref(), "the preflight")?.tracking();
        world.database.prepare(&world.target, Some(&tracking), &self.holder()).await?;
        self.leased = true;
        Ok(Outcome::Done)
    }

    async fn migrate(&mut self, effect: Effect, step: usize, id: &EffectId) -> Result<Done, Failure> {
        let plan = self.need(self.run.plan.as_ref(), "the plan")?;
        let mode = self.need(plan.steps.get(step), "a step")?.mode.clone();
        if !mode.is_piecemeal() {
            return self.apply(effect, step, id).await.map(|report| Outcome::Step(report).into());
        }
        let by_command = mode == UnitMode::Alone { probe: AloneProbe::UserCommand };
        let (mark, begun) = (self.mark().await?, Instant::now());
        match self.apply(effect, step, id).await {
            Ok(report) if by_command => {
                let xids = self.of_command(&mark).await;
                Ok(Outcome::Step(StepReport { xids, ..report }).into())
            }
            Ok(report) => Ok(Outcome::Step(report).into()),
            Err(failure) => {
                let (failure, partial) = self.left_by(Some(&mark), by_command, id, begun, failure).await;
                Ok(Done::No { failure, partial })
            }
        }
    }

    /// Applies a step.
    async fn apply(&self, effect: Effect, step: usize, id: &EffectId) -> Result<StepReport, Failure> {
        let plan = self.need(self.run.plan.as_ref(), "the plan")?;
        let one = self.need(plan.steps.get(step), "a step")?;
        let migration: &Migration = &self
            .need(
                self.run.preflight.as_ref().and_then(|preflight| preflight.pending.get(one.migration)),
                "a migration",
            )?
            .migration;
        let text = self.text_of(one.migration)?;
        // The circuit breaker is for all steps together.
        let used: u64 = self.run.committed.iter().map(|report| report.duration_ms).sum();
        let left = plan.migration_timeout_ms.saturating_sub(used);
        if left == 0 {
            return Err(Failure::new(
                Code::MigrationTimeout,
                format!("the migrations took longer than {} ms", plan.migration_timeout_ms),
            )
            .hint("raise migration_timeout of the environment, or split the migrations"));
        }
        if (UnitMode::Alone { probe: AloneProbe::UserCommand }) == one.mode {
            return self.migrate_by_command(&text, &self.world.target, left, id).await;
        }
        let (holder, anchor, watch) = (self.holder(), self.anchor(), self.watch);
        let added = super::reverse::around(&one.undo);
        let after: Vec<String> = added.after.iter().cloned().chain(self.covering()).collect();
        let order = ApplyOrder {
            url: &self.world.target,
            holder: &holder,
            effect: id,
            anchor: &anchor,
            step: one,
            units: &migration.units,
            file: &migration.file,
            text: &text,
            bookkeeping: self.bookkeeping(one)?,
            around: Around { after: &after, ..added },
            lock_timeout_ms: plan.lock_timeout_ms,
            lock_budget_ms: plan.lock_budget_ms,
            statement_timeout_ms: plan.statement_timeout_ms,
            timeout_ms: left,
            pooled: self.run.preflight.as_ref().is_some_and(|preflight| preflight.server.pooled),
            brief: self.was_brief(one.migration),
            watch: false,
            progress: &|text| watch.note(effect, text),
        };
        self.world.database.apply(order).await.map(|applied| applied.report).map_err(|not| not.failure)
    }

    /// Whether the rehearsal was through with the migration at once.
    fn was_brief(&self, migration: usize) -> bool {
        let timing = self.run.rehearsal.as_ref().and_then(|rehearsal| rehearsal.migrations.get(migration));
        timing.is_some_and(|timing| timing.duration_ms <= BRIEF_MS)
    }

    /// Takes a step back where it was done.
    async fn undo_step(&self, effect: Effect, step: usize, id: &EffectId) -> Result<Outcome, Failure> {
        let plan = self.need(self.run.plan.as_ref(), "the plan")?;
        let one = self.need(plan.steps.get(step), "a step")?;
        let statements = match &one.undo {
            UndoClass::InPlace(way) => way.undo.clone(),
            // Only its tool has a record of it.
            UndoClass::Nothing => self.forget(one)?,
            UndoClass::Swap | UndoClass::Restore => {
                return Err(Failure::new(
                    Code::Bug,
                    format!("{}: step {} has no way back in place", self.run.id, step + 1),
                ));
            }
        };
        let (statements, left_out) = self.without_roles_gone(effect, statements).await?;
        let (holder, anchor, watch) = (self.holder(), self.anchor(), self.watch);
        let did = self.run.committed_by.get(step);
        let rests_on: Vec<EffectId> = did.into_iter().chain(&self.run.undone_by).cloned().collect();
        let order = UndoOrder {
            url: &self.world.target,
            holder: &holder,
            effect: id,
            anchor: &anchor,
            rests_on: &rests_on,
            step: &format!("undo of migration {}, unit {}", one.migration + 1, one.unit + 1),
            statements: &statements,
            lock_timeout_ms: plan.lock_timeout_ms,
            lock_budget_ms: plan.lock_budget_ms,
            statement_timeout_ms: plan.statement_timeout_ms,
            timeout_ms: plan.migration_timeout_ms,
            pooled: self.run.preflight.as_ref().is_some_and(|preflight| preflight.server.pooled),
            progress: &|text| watch.note(effect, text),
        };
        self.world.database.undo(order).await.map(|report| Outcome::Step(StepReport { left_out, ..report }))
    }

    /// What takes the tool's own record of a migration back, if `step` is its last.
    pub(super) fn forget(&self, step: &PlanStep) -> Result<Vec<String>, Failure> {
        let preflight = self.need(self.run.preflight.as_ref(), "the preflight")?;
        let pending = self.need(preflight.pending.get(step.migration), "a migration")?;
        Ok(if step.last { preflight.format.reader().forget_sql(&pending.migration) } else { Vec::new() })
    }

    async fn check_schema(&mut self) -> Result<Done, Failure> {
        let world = self.world;
        let plan = self.need(self.run.plan.as_ref(), "the plan")?;
        let catalog = world.database.catalog(&world.target, &[self.tracking_table()]).await?;
        let found = fingerprint(&catalog);
        let compared = if plan.roles_compared { found.clone() } else { fingerprint(&catalog.without_roles()) };
        if compared != plan.fingerprint_after {
            let mut failure =
                Failure::new(Code::SchemaDiffers, "the target's schema is not the one that was rehearsed")
                    .cause(format!("rehearsed {}, found {}", plan.fingerprint_after.short(), compared.short()));
            let rehearsed = fs_err::read(world.files.path(super::rehearse::CATALOG_AFTER));
            if let Some(rehearsed) = rehearsed.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
                failure = differences(failure, &Comparison::new("target", &catalog, "rehearsed", &rehearsed));
            }
            return Err(failure.hint(
                "somebody may have changed the target meanwhile, or a migration depends on data or on the clock",
            ));
        }
        self.left(&catalog, found).await
    }

    async fn check_health(&mut self) -> Result<Outcome, Failure> {
        let check = self
            .need(self.run.request.as_ref().and_then(|request| request.settings.health.as_ref()), "the health check")?;
        // The address is configuration of today; the journal knows only that there was one.
        let url = self.world.health_url.as_ref().ok_or_else(|| {
            Failure::new(Code::HealthFailed, "the application's address is no longer configured")
                .hint("set health.url or app_url, then resume")
        })?;
        self.world.health.check(url, check).await.map(|()| Outcome::Done)
    }

    async fn assess_loss(&mut self) -> Result<Outcome, Failure> {
        let backup = self.need(self.run.backup.as_ref(), "the backup")?;
        let known = self.run.known_transactions();
        let loss = self
            .world
            .database
            .loss(&self.world.target, self.tracking_table(), &backup.xid, &backup.rows, &known)
            .await?;
        let mut loss = self.without_own_tracking(loss);
        // Where the run itself neither adds nor removes rows, those that are gone were removed by others.
        let ways = self.run.rehearsal.as_ref().map(|rehearsal| rehearsal.ways.as_slice()).unwrap_or_default();
        if !ways.is_empty() {
            let comes_or_goes =
                |table: &String| ways.iter().any(|way| way.writes.get(table).is_some_and(Vec::is_empty));
            loss.deleted =
                loss.missing.iter().filter(|(table, _)| !comes_or_goes(table)).map(|(t, n)| (t.clone(), *n)).collect();
        }
        // A change of the schema that is not this run's would be forgotten as well.
        let partly = self.run.partial_step().is_some();
        let left = decide::left(&self.run);
        if partly || left.is_some() {
            let catalog = self.world.database.catalog(&self.world.target, &[self.tracking_table()]).await?;
            loss.schema = match left {
                Some((expected, true)) => fingerprint(&catalog) != *expected,
                Some((expected, false)) => fingerprint(&catalog.without_roles()) != *expected,
                None => self.schema_is_others(&catalog),
            };
        }
        Ok(Outcome::Loss(loss))
    }

    async fn restore(&mut self, effect: Effect, id: &EffectId) -> Result<Outcome, Failure> {
        let world = self.world;
        let backup = self.need(self.run.backup.as_ref(), "the backup")?;
        let plan = self.need(self.run.plan.as_ref(), "the plan")?;
        let preflight = self.need(self.run.preflight.as_ref(), "the preflight")?;
        let tables: Vec<String> =
            world.database.row_counts(&world.target, self.tracking_table()).await?.into_keys().collect();
        let written = self.run.loss.as_ref().map(Loss::counted).unwrap_or_default();
        let known = self.run.known_transactions();
        let of = RestoreOf {
            rows: &backup.rows,
            xid: &backup.xid,
            tables: &tables,
            written: &written,
            known: &known,
            // Whatever goes back is behind everybody's lock already; a little more patience is kinder than giving up.
            lock_timeout_ms: plan.lock_timeout_ms.max(2_000),
        };
        let script = world.database.restore_script(&self.holder(), id, &self.anchor(), &of);
        let order = RestoreOrder {
            url: world.target.clone(),
            server_major: preflight.server.version_num / 10_000,
            dump: world.files.path(&dump_name(DumpPurpose::Checkpoint, 0)),
            digest: backup.digest.clone(),
            keep_schemas: world.database.kept_schemas(&world.target).await?,
            prologue: script.prologue,
            epilogue: script.epilogue,
            effect: id.clone(),
            lock_timeout_ms: plan.lock_timeout_ms,
        };
        let begun = Instant::now();
        let budget = Duration::from_millis(plan.lock_budget_ms);
        let mut tries = 0;
        let mut wait = Duration::from_millis(200);
        loop {
            tries += 1;
            match world.backups.restore(&order).await {
                Ok(()) => {
                    let duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                    let report = StepReport { duration_ms, tries, ..StepReport::default() };
                    return Ok(Outcome::Step(report));
                }
                Err(failure)
                    if failure.certainty == Certainty::Transient
                        && failure.code == Code::LockTimeout
                        && begun.elapsed() + wait < budget =>
                {
                    self.watch.note(effect, &format!("{}; trying again", failure.message));
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(Duration::from_secs(3));
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// What the run leaves on the target, the whole catalog beside its fingerprint: the next look at drift starts from it.
    async fn left(&self, catalog: &Catalog, fingerprint: Digest) -> Result<Done, Failure> {
        let xid = self.world.database.next_xid(&self.world.target).await?;
        Ok(Done::Yes(Outcome::Fingerprint { fingerprint, xid }, vec![keep::pack(catalog)?]))
    }

    async fn check_restored(&mut self, effect: Effect, id: &EffectId) -> Result<Done, Failure> {
        self.settle(effect, id).await?;
        let world = self.world;
        let backup = self.need(self.run.backup.as_ref(), "the backup")?;
        let catalog = world.database.catalog(&world.target, &[self.tracking_table()]).await?;
        let found = fingerprint(&catalog);
        if found != backup.fingerprint && !self.differs_by_roles_gone(effect, &catalog, &backup.fingerprint).await? {
            let failure = Failure::new(Code::NotRestored, "the target's schema is not the checkpoint's")
                .cause(format!("checkpoint {}, found {}", backup.fingerprint.short(), found.short()))
                .hint("compare it with the backup, then decide by hand");
            return Err(failure);
        }
        self.left(&catalog, found).await
    }
}

fn target_changed(expected: &Digest, found: &Digest) -> Failure {
    Failure::new(Code::TargetChanged, "the target changed since it was looked at")
        .cause(format!("looked at {}, found {}", expected.short(), found.short()))
        .hint("somebody else changed its schema meanwhile; start again once that is over")
}

/// Names the first differences as causes.
pub(super) fn differences(mut failure: Failure, comparison: &Comparison) -> Failure {
    for judged in comparison.changes.iter().filter(|judged| !judged.change.nested).take(8) {
        let change = &judged.change;
        failure = failure.cause(format!("{} {} {}", change.kind.words(), change.object, change.change.as_str()));
    }
    failure
}
