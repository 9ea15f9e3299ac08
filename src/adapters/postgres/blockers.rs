//! Who stands in the way of a lock, by name: said before it is asked for, and while it is waited for.

use super::connect::{look, query_failed};
use crate::domain::connection::ConnectionUrl;
use crate::domain::failure::Failure;
use crate::domain::sql::summary;
use crate::ports::database::Blocker;

/// Sessions that hold, or will go on holding, something that a strong lock on one of `tables` has to wait for.
///
/// Every open transaction counts that touched one of the tables; an old one, a dump and a vacuum against wraparound, which nothing
/// shortens, count wherever they hold a lock of the tables. dbd's own sessions are left out.
pub async fn blockers(url: &ConnectionUrl, tables: &[String]) -> Result<Vec<Blocker>, Failure> {
    if tables.is_empty() {
        return Ok(Vec::new());
    }
    let session = look(url, "dbd blockers").await?;
    let rows = session
        .client
        .query(
            "SELECT DISTINCT ON (a.pid) a.pid, COALESCE(a.usename::text, ''), COALESCE(a.application_name, ''), \
               COALESCE(EXTRACT(EPOCH FROM pg_catalog.clock_timestamp() - a.xact_start) * 1000, 0)::bigint, \
               COALESCE(a.state, a.backend_type, ''), COALESCE(a.query, ''), l.relation::regclass::text, l.mode \
             FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid \
             WHERE l.locktype = 'relation' AND l.granted AND a.pid <> pg_catalog.pg_backend_pid() \
               AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()) \
               AND a.application_name NOT LIKE 'dbd%' \
               AND l.relation IN (SELECT pg_catalog.to_regclass(name) FROM pg_catalog.unnest($1::text[]) name) \
             ORDER BY a.pid, pg_catalog.length(l.mode) DESC",
            &[&tables],
        )
        .await
        .map_err(|error| query_failed(url, "looking for sessions that stand in the way", &error))?;
    session.close().await;
    let mut found: Vec<Blocker> = rows
        .iter()
        .map(|row| Blocker {
            pid: row.get(0),
            user: row.get(1),
            application: row.get(2),
            age_ms: u64::try_from(row.get::<_, i64>(3)).unwrap_or(0),
            state: row.get(4),
            query: summary(row.get(5)),
            object: row.get(6),
            lock: row.get(7),
        })
        .collect();
    found.sort_by_key(|blocker| std::cmp::Reverse(blocker.age_ms));
    Ok(found)
}
