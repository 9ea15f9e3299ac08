//! Running migrations on a throw-away copy and watching, without a run: what `dbd check --rehearse` does.

use crate::domain::connection::ConnectionUrl;
use crate::domain::digest::Digest;
use crate::domain::failure::Failure;
use crate::domain::forecast::Ran;
use crate::domain::ids::{EffectId, RunId};
use crate::domain::migration::{Unit, UnitMode};
use crate::domain::plan::{PlanStep, UndoClass};
use crate::domain::rehearsal::MigrationTrace;
use crate::ports::database::{Anchor, ApplyOrder, Around, Database, Holder};

/// One migration to be watched.
pub struct Watched {
    /// What it is called.
    pub id: String,
    /// Its file, as people see it.
    pub file: String,
    /// Its text.
    pub text: String,
    /// What runs together.
    pub units: Vec<Unit>,
}

/// What was seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// Migration by migration, up to the one that failed.
    pub migrations: Vec<MigrationTrace>,
    /// The statements of one transaction each, for the forecast.
    pub transactions: Vec<Ran>,
    /// Why it did not get to the end.
    pub failure: Option<Failure>,
}

/// How long one migration may take on the copy, in milliseconds.
const LIMIT_MS: u64 = 60 * 60 * 1000;

/// Applies migrations to the database at `url`, in the transaction shape a deployment uses, and writes down what each statement does.
///
/// The database is changed, and dbd's own ledger is made in it: it must be a copy that is thrown away.
///
/// # Errors
/// The database cannot be prepared. That a migration fails is no error but what was seen.
pub async fn observe(
    database: &dyn Database,
    url: &ConnectionUrl,
    run: &RunId,
    migrations: &[Watched],
    progress: &dyn Fn(&str),
) -> Result<Seen, Failure> {
    let holder = Holder::new(run.clone(), run.to_string(), 1, "", "dbd check".to_owned());
    let anchor = Anchor { origin: "check".to_owned(), seq: 0, hash: String::new() };
    database.prepare(url, None, &holder).await?;
    let mut seen = Seen::default();
    for (place, migration) in migrations.iter().enumerate() {
        progress(&migration.file);
        let mut trace = MigrationTrace { id: migration.id.clone(), ..MigrationTrace::default() };
        for (unit, whole) in migration.units.iter().enumerate() {
            let step = PlanStep {
                migration: place,
                unit,
                last: unit + 1 == migration.units.len(),
                mode: whole.mode.clone(),
                statements: whole.statements.clone(),
                digest: Digest::of(&migration.text),
                undo: UndoClass::Restore,
            };
            let effect = EffectId::derive("check", run, &format!("observe {place} {unit}"), b"");
            let order = ApplyOrder {
                url,
                holder: &holder,
                effect: &effect,
                anchor: &anchor,
                step: &step,
                units: &migration.units,
                file: &migration.file,
                text: &migration.text,
                bookkeeping: None,
                around: Around::default(),
                lock_timeout_ms: 2_000,
                lock_budget_ms: 10_000,
                statement_timeout_ms: None,
                timeout_ms: LIMIT_MS,
                pooled: false,
                brief: false,
                watch: true,
                progress: &|_| {},
            };
            let (statements, failure) = match database.apply(order).await {
                Ok(applied) => (applied.trace, None),
                Err(not) => (not.trace, Some(not.failure)),
            };
            trace.duration_ms += statements.iter().map(|one| one.duration_ms).sum::<u64>();
            trace.statements.extend(statements.iter().cloned());
            let ran = |first, statements| Ran { step: unit, first, migration: migration.id.clone(), statements };
            match whole.mode {
                UnitMode::Transaction => seen.transactions.push(ran(0, statements)),
                UnitMode::Alone { .. } => seen
                    .transactions
                    .extend(statements.into_iter().enumerate().map(|(first, one)| ran(first, vec![one]))),
            }
            seen.failure = failure;
            if seen.failure.is_some() {
                break;
            }
        }
        seen.migrations.push(trace);
        if seen.failure.is_some() {
            break;
        }
    }
    Ok(seen)
}
