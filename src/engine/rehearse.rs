//! The rehearsal: the very code that will change the target changes the sandbox, and everything it does is written down.

use super::fill::Rows;
use super::reverse::{Tried, Ways};
use super::runner::{Done, Runner};
use crate::domain::code::Code;
use crate::domain::copying;
use crate::domain::decide;
use crate::domain::digest::Digest;
use crate::domain::effect::Effect;
use crate::domain::event::{Artifact, Outcome, Pending, Rehearsal};
use crate::domain::failure::Failure;
use crate::domain::finding::{Finding, Severity};
use crate::domain::forecast::Ran;
use crate::domain::hazard::facts::Facts;
use crate::domain::hazard::waive::Waived;
use crate::domain::hazard::{Group, judge, observed, waive};
use crate::domain::ids::EffectId;
use crate::domain::migration::{AloneProbe, UnitMode};
use crate::domain::rehearsal::{MigrationTiming, MigrationTrace, Reverse, StatementTrace};
use crate::domain::schema::catalog::{Catalog, Kind};
use crate::domain::schema::comparison::{Comparison, counts};
use crate::domain::schema::compat::{Breaking, Judged};
use crate::domain::schema::diff::{Change, ChangeKind};
use crate::domain::schema::fingerprint::fingerprint;
use crate::ports::database::ApplyOrder;
use std::collections::BTreeMap;

/// The catalog the target must have afterwards, kept beside the run so that a difference can be named.
pub(super) const CATALOG_AFTER: &str = "catalog-after.json";

/// What the sandbox went through.
struct Trace {
    migrations: Vec<MigrationTrace>,
    transactions: Vec<Ran>,
    fingerprints: Vec<Digest>,
    failure: Option<Failure>,
    ways: Ways,
}

/// How many steps a plan may have for the schema to be taken after each of them. Beyond, a run that stopped half-way is compared with
/// nothing, as reading the catalog a thousand times takes longer than deploying.
const MOST_FINGERPRINTS: usize = 200;

impl Runner<'_> {
    /// Applies the pending migrations to the sandbox and says what they did.
    pub(super) async fn rehearse(&mut self, effect: Effect, id: &EffectId) -> Done {
        match self.try_rehearse(effect, id).await {
            Ok(done) => done,
            Err(failure) => failure.into(),
        }
    }

    async fn try_rehearse(&mut self, effect: Effect, id: &EffectId) -> Result<Done, Failure> {
        let missing =
            |what: &str| Failure::new(Code::Bug, format!("{}: {what} is missing at the rehearsal", self.run.id));
        let sandbox = self.sandbox.clone().ok_or_else(|| missing("the sandbox"))?;
        let before = self.before.clone().ok_or_else(|| missing("the catalog"))?;
        let preflight = self.run.preflight.as_ref().ok_or_else(|| missing("the preflight"))?;
        let url = if self.roles_kept { sandbox.url.acting_as(&preflight.server.role) } else { sandbox.url.clone() };
        let tracking = preflight.tracking();
        let world = self.world;
        world.database.prepare(&url, Some(&tracking), &self.holder()).await?;
        let rows_before = world.database.row_counts(&sandbox.url, &tracking.table).await?;

        let facts = world.database.hazard_facts(&world.target).await?;
        let scale = self.scale(&sandbox.url).await?;
        let trace = self.apply_all(effect, &url, &sandbox.url, id, &before).await?;
        let foretold = self.foretell(&trace.transactions, &scale, &before);
        let document = |reverse: &Reverse| {
            serde_json::json!({
                "schema": "dbd.rehearsal/1",
                "migrations": trace.migrations,
                "forecast": foretold.forecast,
                "forecast_basis": scale.basis,
                "correction": foretold.correction,
                "timeline": foretold.timeline,
                "copy": self.copied,
                "reverse": reverse,
            })
        };
        if let Some(failure) = trace.failure.clone() {
            self.write_json("rehearsal.json", &document(&Reverse::none("the migrations did not get to their end")))?;
            return Ok(Done::No { failure, partial: None });
        }

        let after = world.database.catalog(&sandbox.url, &[&*tracking.table]).await?;
        let reverse = trace.ways.reverse();
        let mut artifacts = vec![self.write_json("rehearsal.json", &document(&reverse))?];
        let seen = |catalog: Catalog| if self.roles_kept { catalog } else { catalog.without_roles() };
        let (before, after) = (seen(before), seen(after));
        let rows_after = world.database.row_counts(&sandbox.url, &tracking.table).await?;
        let comparison = Comparison::new("after the migrations", &after, "before", &before);
        artifacts.push(self.write_json("schema-comparison.json", &(world.comparison_json)(&comparison))?);
        artifacts.push(self.write_json(CATALOG_AFTER, &serde_json::to_value(&after).unwrap_or_default())?);
        let mut findings = self.findings(&comparison, &before, (&rows_before, &rows_after), &trace.ways).await?;
        findings.extend(self.hazards(facts, &trace.migrations)?);
        findings.extend(foretold.findings);
        if let Some(request) = &self.run.request {
            findings.extend(copying::unmasked(&before, &Rows::of(&request.settings)?.masks));
        }
        findings.extend(trace.ways.findings);
        findings.sort_by(|a, b| b.severity.cmp(&a.severity).then(a.object.cmp(&b.object)).then(a.code.cmp(&b.code)));
        let timings = preflight
            .pending
            .iter()
            .map(|pending| {
                let trace = trace.migrations.iter().find(|trace| trace.id == pending.migration.id.as_str());
                MigrationTiming {
                    id: pending.migration.id.clone(),
                    statements: pending.migration.units.iter().map(|unit| unit.statements.len()).sum(),
                    duration_ms: trace.map_or(0, |trace| trace.duration_ms),
                }
            })
            .collect();
        let changes: Vec<Change> = comparison.changes.iter().map(|judged| judged.change.clone()).collect();
        Ok(Outcome::Rehearsal(Box::new(Rehearsal {
            migrations: timings,
            roles_kept: self.roles_kept,
            fingerprint_before: fingerprint(&before),
            fingerprint_after: fingerprint(&after),
            fingerprints: trace.fingerprints,
            changes: counts(&changes),
            findings,
            copy: self.copied.clone(),
            forecast: foretold.forecast,
            timeline: Some(foretold.timeline),
            correction: foretold.correction,
            reverse: Some(reverse),
            ways: trace.ways.found,
            artifacts,
        }))
        .into())
    }

    /// Every step of every pending migration, in the transaction shape that will be used on the target. Its schema is read by way of
    /// `looked_at`, between the steps.
    async fn apply_all(
        &self,
        effect: Effect,
        url: &crate::domain::connection::ConnectionUrl,
        looked_at: &crate::domain::connection::ConnectionUrl,
        id: &EffectId,
        before: &Catalog,
    ) -> Result<Trace, Failure> {
        let preflight = self.run.preflight.as_ref();
        let pending = preflight.map(|preflight| preflight.pending.as_slice()).unwrap_or_default();
        let settings = self.run.request.as_ref().map(|request| &request.settings);
        let (holder, anchor, watch) = (self.holder(), self.anchor(), self.watch);
        let steps = decide::steps(pending);
        let mut trace = Trace {
            migrations: Vec::new(),
            transactions: Vec::new(),
            fingerprints: Vec::new(),
            failure: None,
            ways: self.ways(before, steps.len()),
        };
        for (place, step) in steps.iter().enumerate() {
            let migration = &pending[step.migration].migration;
            let text = self.text_of(step.migration)?;
            let bookkeeping = self.bookkeeping(step)?;
            let timeout_ms = settings.map_or(300_000, |settings| settings.migration_timeout_ms);
            let tried = Tried { place, step, migration, text: &text, bookkeeping: bookkeeping.as_deref(), timeout_ms };
            watch.note(effect, &format!("{}: trying the way back", migration.file));
            let wrote = self.try_way(url, &mut trace.ways, tried).await;
            // What the trials rolled back lies about in the tables, and every statement would have to pass over it.
            if !wrote.is_empty() {
                self.world.database.vacuum(looked_at, &wrote).await?;
            }
            let order = ApplyOrder {
                url,
                holder: &holder,
                effect: &EffectId::derive(
                    &anchor.origin,
                    &self.run.id,
                    &format!("rehearse {}", place + 1),
                    id.as_str().as_bytes(),
                ),
                anchor: &anchor,
                step,
                units: &migration.units,
                file: &migration.file,
                text: &text,
                bookkeeping: bookkeeping.clone(),
                around: trace.ways.around(place),
                lock_timeout_ms: settings.map_or(500, |settings| settings.lock_timeout_ms),
                lock_budget_ms: settings.map_or(60_000, |settings| settings.lock_budget_ms),
                statement_timeout_ms: settings.and_then(|settings| settings.statement_timeout_ms),
                timeout_ms,
                pooled: false,
                brief: false,
                watch: true,
                progress: &|text| watch.note(effect, text),
            };
            let (statements, failure) = if step.mode == (UnitMode::Alone { probe: AloneProbe::UserCommand }) {
                let result = self.rehearse_command(&text, url, looked_at, order.timeout_ms, id).await;
                let mut one = StatementTrace { line: 1, sql: text.clone(), ..StatementTrace::default() };
                match result {
                    Ok((report, rows)) => {
                        one.duration_ms = report.duration_ms;
                        trace.ways.counted(rows);
                        (vec![one], None)
                    }
                    Err(failure) => {
                        one.error = Some(failure.message.clone());
                        (vec![one], Some(failure))
                    }
                }
            } else {
                match self.world.database.apply(order).await {
                    Ok(applied) => (applied.trace, None),
                    Err(not) => (not.trace, Some(not.failure)),
                }
            };
            let took: u64 = statements.iter().map(|statement| statement.duration_ms).sum();
            if trace.migrations.last().is_none_or(|last| last.id != migration.id.as_str()) {
                trace
                    .migrations
                    .push(MigrationTrace { id: migration.id.as_str().to_owned(), ..MigrationTrace::default() });
            }
            if let Some(last) = trace.migrations.last_mut() {
                last.duration_ms += took;
                last.statements.extend(statements.iter().cloned());
            }
            let ran = |first, statements| Ran { step: place, first, migration: migration.id.to_string(), statements };
            match step.mode {
                UnitMode::Transaction => trace.transactions.push(ran(0, statements)),
                UnitMode::Alone { .. } => trace
                    .transactions
                    .extend(statements.into_iter().enumerate().map(|(first, one)| ran(first, vec![one]))),
            }
            if failure.is_some() {
                trace.failure = failure;
                break;
            }
            if let Err(failure) = self.way_of_alone(url, &mut trace.ways, tried).await {
                trace.ways.broke_off(place, &failure);
            }
            if place + 1 < steps.len() && steps.len() <= MOST_FINGERPRINTS {
                let catalog = self.world.database.catalog(looked_at, &[self.tracking_table()]).await?;
                let seen = if self.roles_kept { catalog } else { catalog.without_roles() };
                trace.fingerprints.push(fingerprint(&seen));
            }
        }
        Ok(trace)
    }

    /// What the migrations do to those who use the target meanwhile: expected from its catalog and sizes, corrected by what the sandbox saw.
    ///
    /// What they change for the application is the comparison's to say.
    fn hazards(&self, mut facts: Facts, traces: &[MigrationTrace]) -> Result<Vec<Finding>, Failure> {
        let pending = self.run.preflight.as_ref().map(|preflight| preflight.pending.as_slice()).unwrap_or_default();
        let mut findings = Vec::new();
        for (place, Pending { migration, .. }) in pending.iter().enumerate() {
            let text = self.text_of(place)?;
            let before = facts.clone();
            let verdict = judge::units(&mut facts, &migration.file, &text, &migration.units, false);
            let judgements = match traces.iter().find(|trace| trace.id == migration.id.as_str()) {
                Some(trace) => {
                    observed::observe(&before, &migration.file, &verdict.statements, verdict.judgements, trace)
                }
                None => verdict.judgements,
            };
            let about_locks = |one: &judge::Judgement| {
                one.group == Group::Locks && (one.danger.is_some() || one.severity > Severity::Info)
            };
            for one in judgements.into_iter().filter(about_locks) {
                let by_configuration = || {
                    let allow = self.world.waivers.as_ref().filter(|allow| waive::covers(&allow.codes, &one))?;
                    Some(Waived { by: "dbd.toml".to_owned(), reason: allow.reason.clone().unwrap_or_default() })
                };
                let waived = one.waived.clone().or_else(by_configuration);
                findings.push(Finding {
                    code: one.code.to_owned(),
                    severity: one.severity,
                    object: one.object,
                    message: format!("{}:{}: {}", one.file, one.line, one.message),
                    allowed: waived.is_some(),
                    waived,
                });
            }
        }
        Ok(findings)
    }

    /// What the comparison and the rows say: lost data refuses the run, what may break something warns.
    async fn findings(
        &self,
        comparison: &Comparison,
        before: &Catalog,
        (rows_before, rows_after): (&BTreeMap<String, i64>, &BTreeMap<String, i64>),
        ways: &Ways,
    ) -> Result<Vec<Finding>, Failure> {
        let mut findings = Vec::new();
        for judged in comparison.changes.iter().filter(|judged| judged.breaking > Breaking::No && !judged.change.nested)
        {
            let losing = self.loses_data(judged, before, rows_before, ways).await?;
            for verdict in judged.verdicts.iter().filter(|verdict| verdict.breaking > Breaking::No) {
                let about_data = verdict.code.ends_with("removed") || judged.lossy;
                let severity = if losing.is_some() && about_data { Severity::Error } else { Severity::Warning };
                let object = judged.change.object.clone();
                let mut message =
                    format!("{} {} {}", judged.change.kind.words(), object, judged.change.change.as_str());
                if !verdict.reason.is_empty() {
                    message = format!("{message}: {}", verdict.reason);
                }
                if severity == Severity::Error
                    && let Some(losing) = &losing
                {
                    message = format!("{message}; {losing}");
                }
                findings.push(Finding {
                    code: verdict.code.clone(),
                    severity,
                    object,
                    message,
                    allowed: false,
                    waived: None,
                });
            }
            // A type that silently changes values is a loss whatever else is said about it.
            if judged.lossy
                && losing.is_some()
                && judged.verdicts.iter().all(|verdict| verdict.breaking == Breaking::No)
            {
                findings.push(Finding {
                    code: "column_values_changed".to_owned(),
                    severity: Severity::Error,
                    object: judged.change.object.clone(),
                    message: format!("{}: {}", judged.change.object, losing.unwrap_or_default()),
                    allowed: false,
                    waived: None,
                });
            }
        }
        for (table, before) in rows_before {
            if let Some(after) = rows_after.get(table).filter(|after| *after < before) {
                findings.push(Finding {
                    code: "rows_removed".to_owned(),
                    severity: Severity::Error,
                    object: table.clone(),
                    message: format!("{table} loses {} of its {before} rows", before - after),
                    allowed: false,
                    waived: None,
                });
            }
        }
        findings.sort_by(|a, b| b.severity.cmp(&a.severity).then(a.object.cmp(&b.object)).then(a.code.cmp(&b.code)));
        Ok(findings)
    }

    /// Whether a change takes stored data with it, and what.
    async fn loses_data(
        &self,
        judged: &Judged,
        before: &Catalog,
        rows: &BTreeMap<String, i64>,
        ways: &Ways,
    ) -> Result<Option<String>, Failure> {
        let change = &judged.change;
        let count = |table: &str| rows.get(table).copied().unwrap_or(0);
        match (change.kind, change.change) {
            // A removed table refuses the run even when it is empty here: it may not be when the run reaches it.
            (Kind::Table, ChangeKind::Removed) => Ok(Some(match count(&change.object) {
                rows if ways.sets_aside(&change.object) => {
                    format!("it is set aside with its {rows} row(s), until they are pruned")
                }
                1 => "its 1 row goes with it".to_owned(),
                rows => format!("its {rows} rows go with it"),
            })),
            (Kind::MaterializedView, _) => Ok(None),
            (Kind::Schema, ChangeKind::Removed) => Ok(None),
            (Kind::Column, ChangeKind::Removed) => {
                let key = change.key();
                let Some(table) = before.get(&key).and_then(|object| object.parent.as_ref()) else { return Ok(None) };
                if count(&table.name) == 0 {
                    return Ok(None);
                }
                // The sandbox no longer has the column; the target still does.
                let has =
                    self.world.database.column_has_values(&self.world.target, &table.name, key.last_part()).await?;
                Ok(has.then(|| "it holds values".to_owned()))
            }
            (Kind::Column, ChangeKind::Modified) if judged.lossy => {
                let table = before.get(&change.key()).and_then(|object| object.parent.as_ref());
                let rows = table.map_or(0, |table| count(&table.name));
                Ok((rows > 0).then(|| format!("the new type cannot hold every value of its {rows} rows exactly")))
            }
            _ => Ok(None),
        }
    }

    fn write_json(&self, name: &str, value: &serde_json::Value) -> Result<Artifact, Failure> {
        self.write_file(name, &serde_json::to_vec_pretty(value).unwrap_or_default())
    }
}
