//! What the user's own tool does on a target: sessions that go by no name of dbd's, and transactions without a row of the ledger.

use super::connect::{connect, look, query_failed};
use super::restore::newer;
use crate::domain::code::Code;
use crate::domain::connection::ConnectionUrl;
use crate::domain::failure::{Certainty, Failure};
use std::time::Duration;

/// How long transactions of a client that is gone are waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// What clocks and the start of a session may be off by, in milliseconds.
const SLACK_MS: u64 = 2_000;

/// The transactions open right now that a tool may have left, which was started so long ago: nobody else can be told from it by the server, so
/// those of the application's sessions that began meanwhile are among them.
const OPEN: &str = "SELECT pid, xact_start::text, COALESCE(application_name, '') FROM pg_catalog.pg_stat_activity \
    WHERE datname = pg_catalog.current_database() AND pid <> pg_catalog.pg_backend_pid() AND backend_type = 'client backend' \
      AND usename = session_user AND application_name NOT LIKE 'dbd%' AND xact_start IS NOT NULL \
      AND backend_start >= $1::text::timestamptz";

/// The server's time so many milliseconds ago.
const AGO: &str = "SELECT (pg_catalog.now() - $1 * interval '1 millisecond')::text";

/// Waits until the transactions are over that are open now in sessions of the same role which began within the last `began_ms_ago`.
pub(super) async fn outlast(url: &ConnectionUrl, began_ms_ago: u64) -> Result<(), Failure> {
    let session = connect(url, "dbd fence").await?;
    let failed = |error: tokio_postgres::Error| {
        query_failed(url, "looking for sessions of the command", &error).certainty(Certainty::Transient)
    };
    #[allow(clippy::cast_precision_loss)] // Milliseconds of a run.
    let within = began_ms_ago.saturating_add(SLACK_MS) as f64;
    let since: String = session.client.query_one(AGO, &[&within]).await.map_err(failed)?.get(0);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut wait = Duration::from_millis(5);
    let mut first: Option<Vec<(i32, String)>> = None;
    loop {
        let rows = session.client.query(OPEN, &[&since]).await.map_err(failed)?;
        let open: Vec<(i32, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        // Those that began later are nothing of a client that was gone by then.
        let left: Vec<(i32, String)> = match first {
            Some(before) => before.into_iter().filter(|one| open.contains(one)).collect(),
            None => open,
        };
        if left.is_empty() {
            break;
        }
        if tokio::time::Instant::now() > deadline {
            let named =
                |pid: i32| rows.iter().find(|row| row.get::<_, i32>(0) == pid).map(|row| row.get::<_, String>(2));
            let who: Vec<String> = left
                .iter()
                .map(|(pid, since)| format!("session {pid} (`{}`), since {since}", named(*pid).unwrap_or_default()))
                .collect();
            return Err(Failure::new(
                Code::InDoubt,
                format!("{} on {} may still be at work for the command", who.join(", "), url.place()),
            )
            .certainty(Certainty::Transient)
            .hint("wait until it is over, or end it with pg_terminate_backend, then resume"));
        }
        first = Some(left);
        // Waiting for a state of the server that it does not announce.
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_millis(250));
    }
    session.close().await;
    Ok(())
}

/// The transactions from `xid` on that left something in the catalog. A `TRUNCATE` and temporary tables are no such thing: applications do that.
pub(super) async fn schema_transactions(url: &ConnectionUrl, xid: &str) -> Result<Vec<String>, Failure> {
    let session = look(url, "dbd").await?;
    let sql = format!(
        "SELECT DISTINCT made.xmin::text FROM ( \
           SELECT a.xmin, c.relnamespace AS space FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
           UNION ALL SELECT d.xmin, c.relnamespace FROM pg_catalog.pg_attrdef d JOIN pg_catalog.pg_class c ON c.oid = d.adrelid \
           UNION ALL SELECT xmin, connamespace FROM pg_catalog.pg_constraint \
           UNION ALL SELECT xmin, typnamespace FROM pg_catalog.pg_type \
           UNION ALL SELECT e.xmin, t.typnamespace FROM pg_catalog.pg_enum e JOIN pg_catalog.pg_type t ON t.oid = e.enumtypid \
           UNION ALL SELECT xmin, pronamespace FROM pg_catalog.pg_proc \
           UNION ALL SELECT xmin, oid FROM pg_catalog.pg_namespace \
         ) made JOIN pg_catalog.pg_namespace n ON n.oid = made.space \
         WHERE {} AND n.nspname !~ '^(pg_|dbd$|dbd_)' ORDER BY 1",
        newer(xid).replace("xmin", "made.xmin")
    );
    let rows = session
        .client
        .query(&sql, &[])
        .await
        .map_err(|error| query_failed(url, "asking which transactions changed the schema", &error))?;
    session.close().await;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
