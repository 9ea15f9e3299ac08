//! How large tables are, and how long others keep what a lock has to wait for: what a forecast is scaled by.

use super::connect::{look, query_failed};
use crate::domain::connection::ConnectionUrl;
use crate::domain::failure::Failure;
use crate::ports::database::Weights;

/// Reads the size of every table, TOAST included and indexes not, and the age of the oldest transaction that is open.
pub async fn weights(url: &ConnectionUrl) -> Result<Weights, Failure> {
    let session = look(url, "dbd weights").await?;
    let failed = |error| query_failed(url, "reading the size of tables", &error);
    let rows = session
        .client
        .query(
            "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), COALESCE(pg_catalog.pg_table_size(c.oid), 0) \
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relkind IN ('r', 'm') AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'dbd')",
            &[],
        )
        .await
        .map_err(failed)?;
    let bytes = rows.iter().map(|row| (row.get(0), u64::try_from(row.get::<_, i64>(1)).unwrap_or(0))).collect();
    // A dump of this run is over before a lock is asked for; other sessions of dbd wait for nobody.
    let oldest: i64 = session
        .client
        .query_one(
            "SELECT COALESCE(pg_catalog.max(EXTRACT(EPOCH FROM pg_catalog.clock_timestamp() - xact_start) * 1000), 0)::bigint \
             FROM pg_catalog.pg_stat_activity \
             WHERE datname = pg_catalog.current_database() AND pid <> pg_catalog.pg_backend_pid() \
               AND application_name NOT LIKE 'dbd%' AND xact_start IS NOT NULL",
            &[],
        )
        .await
        .map_err(failed)?
        .get(0);
    session.close().await;
    Ok(Weights { bytes, oldest_transaction_ms: u64::try_from(oldest).unwrap_or(0) })
}
