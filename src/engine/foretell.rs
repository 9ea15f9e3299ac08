//! From what the sandbox saw to what the target will see: sizes, waits and earlier runs looked up, the domain does the rest.

use super::runner::Runner;
use crate::domain::budget::Budget;
use crate::domain::evolve::fold;
use crate::domain::failure::Failure;
use crate::domain::finding::Finding;
use crate::domain::forecast::{Basis, Correction, Forecast, Ran, Scale, Timeline, foretell};
use crate::domain::measured::{LAST_RUNS, ratio};
use crate::domain::schema::catalog::{Catalog, Kind};
use crate::ports::database::Weights;

/// How many runs are looked at for what they taught, measured or not.
const LOOKED_AT: usize = 30;

/// A forecast with everything that belongs to it.
pub(super) struct Foretold {
    pub(super) forecast: Vec<Forecast>,
    pub(super) timeline: Timeline,
    pub(super) correction: Option<Correction>,
    pub(super) findings: Vec<Finding>,
}

impl Runner<'_> {
    /// What a forecast for the target is scaled by. The sandbox must be as it was before the migrations.
    pub(super) async fn scale(&self, sandbox: &crate::domain::connection::ConnectionUrl) -> Result<Scale, Failure> {
        let settings = self.run.request.as_ref().map(|request| &request.settings);
        let basis = settings.map_or(Basis::Copy, |settings| Basis::of(&settings.data));
        let target = self.world.database.weights(&self.world.target).await?;
        let here = match basis {
            Basis::Copy => Weights::default(),
            _ => self.world.database.weights(sandbox).await?,
        };
        let lock_timeout = settings.map_or(500, |settings| settings.lock_timeout_ms);
        Ok(Scale {
            basis,
            sandbox: here.bytes,
            target: target.bytes,
            wait_ms: target.oldest_transaction_ms.min(lock_timeout),
            correction: self.taught(basis)?,
        })
    }

    /// What the last runs of this target taught about forecasts of the same kind.
    fn taught(&self, basis: Basis) -> Result<Option<Correction>, Failure> {
        let Some(request) = &self.run.request else { return Ok(None) };
        let heads = self.journal.runs()?;
        let ours = heads
            .iter()
            .rev()
            .filter(|head| head.run != self.run.id && head.run.environment() == self.run.id.environment());
        let mut ratios = Vec::new();
        for head in ours.take(LOOKED_AT) {
            // A history that this version cannot read teaches nothing.
            let Ok(run) = fold(&head.run, &self.journal.read(&head.run)?) else { continue };
            let same = run
                .request
                .as_ref()
                .is_some_and(|other| other.target == request.target && Basis::of(&other.settings.data) == basis);
            ratios.extend(ratio(&run).filter(|_| same));
            if ratios.len() == LAST_RUNS {
                break;
            }
        }
        Ok(Correction::of(ratios))
    }

    /// The forecast for the target, and what of it is over the budget.
    pub(super) fn foretell(&self, ran: &[Ran], scale: &Scale, before: &Catalog) -> Foretold {
        // What the run itself makes holds nobody up, and a lock on an index follows from the one on its table.
        let kinds = [Kind::Table, Kind::MaterializedView, Kind::View, Kind::ForeignTable, Kind::Sequence];
        let existed = |name: &str| kinds.iter().any(|kind| before.find(*kind, name).is_some());
        let (forecast, timeline) = foretell(ran, scale, &existed);
        let none = Budget::default();
        let budget = self.run.request.as_ref().and_then(|request| request.settings.budget.as_ref()).unwrap_or(&none);
        let findings = budget.findings(&forecast, timeline.total_ms, scale.basis, ran);
        Foretold { forecast, timeline, correction: scale.correction, findings }
    }
}
