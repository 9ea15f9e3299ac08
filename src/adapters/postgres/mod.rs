//! PostgreSQL over the wire: [`Database`] for targets and sandboxes alike.

mod apply;
mod batches;
mod blockers;
pub mod capture;
pub mod catalog;
mod catalog_queries;
mod connect;
mod copy;
mod data;
mod facts;
mod hazard_facts;
mod kept;
mod ledger;
mod line;
mod observe;
mod restore;
mod set_aside;
mod strangers;
mod trial;
mod undo;
mod weights;

use crate::domain::connection::ConnectionUrl;
use crate::domain::event::{Loss, ServerFacts, StepReport};
use crate::domain::failure::Failure;
use crate::domain::ids::{EffectId, RunId};
use crate::domain::ledger::LedgerRow;
use crate::domain::migration::{AppliedRow, Tracking, tables_beside};
use crate::domain::schema::catalog::Catalog;
use crate::domain::schema::data::{Comparable, DataComparison};
use crate::ports::database::{
    Anchor, Applied, ApplyOrder, Blocker, Contents, CopyOrder, CopyReport, Database, Hold, Holder, NotApplied,
    ProbeOrder, RestoreOf, RestoreScript, Snapshot, Standing, Trial, UndoOrder, Weights,
};
use crate::ports::fence::Fenced;
use async_trait::async_trait;
use catalog::Exclude;
use connect::{connect, look, look_at_one_moment, query_failed};
use std::collections::BTreeMap;
use std::time::Duration;

/// PostgreSQL over the wire.
#[derive(Default)]
pub struct Postgres {
    /// What a step leaves to the next one.
    kept: kept::Kept,
}

fn exclude(tracking: &str) -> Exclude {
    every_table_of(&[tracking])
}

/// The tracking tables, and whatever else their tools keep.
fn every_table_of(tracking: &[&str]) -> Exclude {
    let more = tracking.iter().flat_map(|table| tables_beside(table));
    Exclude::tables(tracking.iter().map(ToString::to_string).chain(more))
}

#[async_trait(?Send)]
impl Database for Postgres {
    async fn facts(&self, url: &ConnectionUrl) -> Result<ServerFacts, Failure> {
        facts::facts(url).await
    }

    async fn missing_privileges(&self, url: &ConnectionUrl) -> Result<Vec<String>, Failure> {
        facts::missing_privileges(url).await
    }

    async fn foreign_locks(&self, url: &ConnectionUrl) -> Result<Vec<String>, Failure> {
        facts::foreign_locks(url).await
    }

    async fn catalog(&self, url: &ConnectionUrl, tracking: &[&str]) -> Result<Catalog, Failure> {
        let session = look_at_one_moment(url, "dbd").await?;
        let catalog = catalog::read_catalog(&session.client, &every_table_of(tracking))
            .await
            .map_err(|error| query_failed(url, "reading the catalog", &error))?;
        session.close().await;
        Ok(catalog)
    }

    async fn hazard_facts(&self, url: &ConnectionUrl) -> Result<crate::domain::hazard::facts::Facts, Failure> {
        hazard_facts::read(url).await
    }

    async fn copy_rows(&self, order: &CopyOrder<'_>) -> Result<CopyReport, Failure> {
        copy::copy_rows(order).await
    }

    async fn duplicate(&self, url: &ConnectionUrl, name: &str) -> Result<ConnectionUrl, Failure> {
        copy::duplicate(url, name).await
    }

    async fn weights(&self, url: &ConnectionUrl) -> Result<Weights, Failure> {
        weights::weights(url).await
    }

    async fn last_changed(&self, url: &ConnectionUrl, tables: &[String]) -> Result<BTreeMap<String, String>, Failure> {
        facts::last_changed(url, tables).await
    }

    async fn compare_data(
        &self,
        source: &ConnectionUrl,
        target: &ConnectionUrl,
        tables: &[Comparable],
        through_fdw: bool,
        budget: Duration,
    ) -> Result<DataComparison, Failure> {
        if through_fdw {
            data::through_fdw(source, target, tables, budget).await
        } else {
            data::direct(source, target, tables, budget).await
        }
    }

    async fn contents(&self, url: &ConnectionUrl, tables: &[Comparable]) -> Result<Contents, Failure> {
        data::contents(url, tables).await
    }

    async fn try_script(
        &self,
        url: &ConnectionUrl,
        script: &str,
        tracking: &str,
        tables: &[Comparable],
    ) -> Result<(Catalog, Contents), Failure> {
        data::try_script(url, script, &exclude(tracking), tables).await
    }

    async fn trial(&self, url: &ConnectionUrl, timeout_ms: u64) -> Result<Box<dyn Trial>, Failure> {
        Ok(Box::new(trial::Tried::open(url, timeout_ms).await?))
    }

    async fn undo(&self, order: UndoOrder<'_>) -> Result<StepReport, Failure> {
        undo::undo(&order).await
    }

    async fn sweep_kept(&self, url: &ConnectionUrl, before_ms: i64, open: &[String]) -> Result<u64, Failure> {
        undo::sweep_kept(url, before_ms, open).await
    }

    async fn snapshot(&self, url: &ConnectionUrl, tracking: &str) -> Result<Snapshot, Failure> {
        let session = look_at_one_moment(url, "dbd snapshot").await?;
        let failed = |error: &tokio_postgres::Error| query_failed(url, "taking a snapshot", error);
        // An idle transaction is what keeps the snapshot alive while it is dumped.
        let stay = "SET LOCAL idle_in_transaction_session_timeout = 0";
        session.client.batch_execute(stay).await.map_err(|error| failed(&error))?;
        let row = session
            .client
            .query_one("SELECT pg_catalog.pg_export_snapshot(), pg_catalog.txid_snapshot_xmin(pg_catalog.txid_current_snapshot())::text", &[])
            .await
            .map_err(|error| failed(&error))?;
        let catalog =
            catalog::read_catalog(&session.client, &exclude(tracking)).await.map_err(|error| failed(&error))?;
        let xid: String = row.get(1);
        let rows = catalog::row_counts(&session.client, &exclude(tracking)).await.map_err(|error| failed(&error))?;
        let seen = restore::seen(&session.client, rows.keys(), &xid).await.map_err(|error| failed(&error))?;
        Ok(Snapshot { name: Some(row.get(0)), catalog, rows, xid, seen, hold: Box::new(session) })
    }

    async fn row_counts(&self, url: &ConnectionUrl, tracking: &str) -> Result<BTreeMap<String, i64>, Failure> {
        let session = look(url, "dbd").await?;
        let rows = catalog::row_counts(&session.client, &exclude(tracking))
            .await
            .map_err(|error| query_failed(url, "counting rows", &error))?;
        session.close().await;
        Ok(rows)
    }

    async fn next_xid(&self, url: &ConnectionUrl) -> Result<String, Failure> {
        let session = connect(url, "dbd").await?;
        let row = session
            .client
            .query_one("SELECT pg_catalog.txid_snapshot_xmax(pg_catalog.txid_current_snapshot())::text", &[])
            .await
            .map_err(|error| query_failed(url, "asking for the next transaction id", &error))?;
        session.close().await;
        Ok(row.get(0))
    }

    async fn column_has_values(&self, url: &ConnectionUrl, table: &str, column: &str) -> Result<bool, Failure> {
        facts::column_has_values(url, table, column).await
    }

    async fn applied(&self, url: &ConnectionUrl, tracking: &Tracking) -> Result<Option<Vec<AppliedRow>>, Failure> {
        facts::applied(url, tracking).await
    }

    async fn vacuum(&self, url: &ConnectionUrl, tables: &[u32]) -> Result<(), Failure> {
        facts::vacuum(url, tables).await
    }

    async fn act_like(&self, url: &ConnectionUrl, target: &ServerFacts) -> Result<(), Failure> {
        facts::act_like(url, target).await
    }

    async fn hold(&self, url: &ConnectionUrl, run: &RunId, owner: &str) -> Result<Hold, Failure> {
        facts::hold(url, run, owner).await
    }

    async fn hold_tool(
        &self,
        url: &ConnectionUrl,
        tracking: &Tracking,
        run: &RunId,
        patience_ms: u64,
    ) -> Result<Option<Hold>, Failure> {
        facts::hold_tool(url, tracking, run, patience_ms).await
    }

    async fn blockers(&self, url: &ConnectionUrl, tables: &[String]) -> Result<Vec<Blocker>, Failure> {
        blockers::blockers(url, tables).await
    }

    async fn other_tracking(
        &self,
        url: &ConnectionUrl,
        tracking: &Tracking,
    ) -> Result<Vec<(&'static str, &'static str)>, Failure> {
        facts::other_tracking(url, tracking).await
    }

    async fn is_prepared(&self, url: &ConnectionUrl) -> Result<bool, Failure> {
        ledger::is_prepared(url).await
    }

    async fn prepare(&self, url: &ConnectionUrl, tracking: Option<&Tracking>, holder: &Holder) -> Result<(), Failure> {
        let session = ledger::prepare(url, tracking, holder).await?;
        // The first step may have it.
        self.kept.put(url, session).await;
        Ok(())
    }

    async fn take_lease(&self, url: &ConnectionUrl, holder: &Holder) -> Result<(), Failure> {
        ledger::take_lease(url, holder).await
    }

    async fn check_lease(&self, url: &ConnectionUrl, hold: Option<&Hold>, holder: &Holder) -> Result<(), Failure> {
        ledger::check_lease(url, hold, holder).await
    }

    async fn record(&self, url: &ConnectionUrl, holder: &Holder, statements: &[String]) -> Result<(), Failure> {
        ledger::record(url, holder, statements).await
    }

    async fn apply(&self, order: ApplyOrder<'_>) -> Result<Applied, NotApplied> {
        apply::apply(order, &self.kept).await
    }

    async fn rest(&self) {
        self.kept.close().await;
    }

    async fn fence(&self, url: &ConnectionUrl, effect: &EffectId) -> Result<Fenced, Failure> {
        ledger::fence(url, effect).await
    }

    async fn began(&self, url: &ConnectionUrl, effect: &EffectId) -> Result<Option<String>, Failure> {
        ledger::began(url, effect).await
    }

    async fn outlast(&self, url: &ConnectionUrl, began_ms_ago: u64) -> Result<(), Failure> {
        strangers::outlast(url, began_ms_ago).await
    }

    async fn schema_transactions(&self, url: &ConnectionUrl, xid: &str) -> Result<Vec<String>, Failure> {
        strangers::schema_transactions(url, xid).await
    }

    async fn probe(&self, order: ProbeOrder<'_>, fenced: &Fenced) -> Result<Standing, Failure> {
        ledger::probe(&order, fenced).await
    }

    async fn anchors(&self, url: &ConnectionUrl, origin: &str) -> Result<Vec<Anchor>, Failure> {
        ledger::anchors(url, origin).await
    }

    async fn ledger(&self, url: &ConnectionUrl, origin: &str) -> Result<Vec<LedgerRow>, Failure> {
        ledger::rows(url, origin).await
    }

    async fn loss(
        &self,
        url: &ConnectionUrl,
        tracking: &str,
        xid: &str,
        rows: &BTreeMap<String, i64>,
        known: &[String],
    ) -> Result<Loss, Failure> {
        let tables = self.row_counts(url, tracking).await?.into_keys().collect();
        restore::loss(url, tables, xid, rows, known).await
    }

    async fn kept_schemas(&self, url: &ConnectionUrl) -> Result<Vec<String>, Failure> {
        restore::kept_schemas(url).await
    }

    async fn roles(&self, url: &ConnectionUrl) -> Result<Vec<String>, Failure> {
        facts::roles(url).await
    }

    async fn unknown_roles(&self, url: &ConnectionUrl, roles: &[String]) -> Result<Vec<String>, Failure> {
        facts::unknown_roles(url, roles).await
    }

    fn restore_script(&self, holder: &Holder, effect: &EffectId, anchor: &Anchor, of: &RestoreOf<'_>) -> RestoreScript {
        restore::script(holder, effect, anchor, of)
    }
}
