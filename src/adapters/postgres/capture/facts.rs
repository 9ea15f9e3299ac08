//! What a target allows, and why not the rest.

use super::super::connect::{connect, look, query_failed};
use crate::domain::connection::ConnectionUrl;
use crate::domain::failure::Failure;
use crate::ports::capture::{CaptureFacts, Way};
use tokio_postgres::Client;

/// The tables that are captured: ordinary, permanent, the user's. Partitioned ones hold no rows and are named for their partitions' sake.
pub(super) const CAPTURED: &str = "c.relpersistence = 'p' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' \
     AND n.nspname <> 'dbd' AND n.nspname !~ '^dbd_' AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d \
       WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')";

/// Extensions that keep state outside of the tables a dump brings back, or work in the background.
const STATEFUL: &[&str] = &[
    "timescaledb",
    "pg_partman",
    "pglogical",
    "bdr",
    "spock",
    "citus",
    "postgis_topology",
    "pg_cron",
    "pgq",
    "pg_squeeze",
    "age",
    "vectorize",
    "pgmq",
];

/// Each query gives the sentences of one limit: what it finds refuses this rung.
const LIMITS: &[&str] = &[
    "SELECT pg_catalog.format('%s large objects: their changes can be captured by nothing', count(*)) \
     FROM pg_catalog.pg_largeobject_metadata HAVING count(*) > 0",
    "SELECT pg_catalog.format('unlogged table %s: its rows are in no backup', c.oid::regclass) FROM pg_catalog.pg_class c \
     WHERE c.relkind = 'r' AND c.relpersistence = 'u'",
    "SELECT pg_catalog.format('prepared transaction %L of %s is open', gid, owner) FROM pg_catalog.pg_prepared_xacts \
     WHERE database = pg_catalog.current_database()",
    "SELECT pg_catalog.format('replication slot %I reads this database and would be left behind', slot_name) \
     FROM pg_catalog.pg_replication_slots WHERE database = pg_catalog.current_database() AND slot_name !~ '^dbd_'",
    "SELECT pg_catalog.format('table %s has FORCE ROW LEVEL SECURITY, which hides rows from its owner', c.oid::regclass) \
     FROM pg_catalog.pg_class c WHERE c.relforcerowsecurity \
     AND NOT (SELECT rolsuper OR rolbypassrls FROM pg_catalog.pg_roles WHERE rolname = current_user)",
    "SELECT pg_catalog.format('%s is owned by %I, whose triggers and names %I may not change', c.oid::regclass, c.relowner::regrole::text, current_user) \
     FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.relkind IN ('r', 'p') AND {captured} AND NOT pg_catalog.pg_has_role(current_user, c.relowner, 'USAGE') LIMIT 3",
    "SELECT pg_catalog.format('%I does not own the database, so it may not rename it', current_user) FROM pg_catalog.pg_database \
     WHERE datname = pg_catalog.current_database() AND NOT pg_catalog.pg_has_role(current_user, datdba, 'USAGE')",
    "SELECT pg_catalog.format('%I may not create databases (ALTER ROLE %I CREATEDB)', current_user, current_user) \
     FROM pg_catalog.pg_roles WHERE rolname = current_user AND NOT (rolsuper OR rolcreatedb)",
    "SELECT DISTINCT pg_catalog.format('sessions of %I cannot be ended by %I (GRANT pg_signal_backend TO %I)', a.usename, current_user, current_user) \
     FROM pg_catalog.pg_stat_activity a JOIN pg_catalog.pg_roles r ON r.rolname = a.usename \
     WHERE a.datname = pg_catalog.current_database() \
       AND NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) \
       AND (r.rolsuper OR NOT (pg_catalog.pg_has_role(current_user, a.usesysid, 'USAGE') \
            OR pg_catalog.pg_has_role(current_user, 'pg_signal_backend', 'USAGE')))",
];

/// What a target allows.
pub(super) async fn facts(url: &ConnectionUrl) -> Result<CaptureFacts, Failure> {
    // Before the look, whose transaction may hold the only backend that a pooler has for the role.
    let pooled = super::super::facts::is_pooled(url).await?;
    let session = look(url, "dbd").await?;
    let client = &session.client;
    let failed = |error: tokio_postgres::Error| query_failed(url, "asking what a swap would need", &error);
    let mut facts = CaptureFacts::default();
    for limit in LIMITS {
        let sql = limit.replace("{captured}", CAPTURED);
        facts.refused.extend(client.query(&sql, &[]).await.map_err(failed)?.iter().map(|row| row.get::<_, String>(0)));
    }
    if pooled {
        facts.refused.push("the URL leads through a pooler in transaction mode, which keeps connections to a database that changes its name".to_owned());
    }
    let row = client
        .query_one(
            &format!(
                "SELECT pg_catalog.current_setting('server_version_num')::integer, pg_catalog.current_setting('wal_level'), \
                   (SELECT rolsuper OR rolreplication FROM pg_catalog.pg_roles WHERE rolname = current_user), \
                   pg_catalog.current_setting('max_replication_slots')::integer - (SELECT count(*)::integer FROM pg_catalog.pg_replication_slots), \
                   pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE'), \
                   (SELECT count(*) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND {CAPTURED}), \
                   pg_catalog.pg_database_size(pg_catalog.current_database()), \
                   (SELECT count(*) FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database b ON b.oid = s.subdbid \
                     WHERE b.datname = pg_catalog.current_database()), \
                   current_user::text, pg_catalog.current_setting('max_slot_wal_keep_size'), \
                   COALESCE((SELECT EXTRACT(epoch FROM max(pg_catalog.now() - xact_start))::bigint FROM pg_catalog.pg_stat_activity \
                     WHERE pid <> pg_catalog.pg_backend_pid() AND backend_type = 'client backend'), 0)"
            ),
            &[],
        )
        .await
        .map_err(failed)?;
    let version: i32 = row.get(0);
    let (level, may_replicate, free): (String, bool, i32) = (row.get(1), row.get(2), row.get(3));
    let (may_create, tables, bytes, subscriptions): (bool, i64, i64, i64) =
        (row.get(4), row.get(5), row.get(6), row.get(7));
    let (role, keep, oldest): (String, String, i64) = (row.get(8), row.get(9), row.get(10));
    facts.tables = usize::try_from(tables).unwrap_or(0);
    facts.bytes = bytes;
    if subscriptions > 0 {
        facts.refused.push("the database subscribes to another one, and the subscription would stay behind".to_owned());
    }
    if version < 130_000 {
        facts.refused.push("the server is older than PostgreSQL 13".to_owned());
    }
    if !may_create {
        facts.refused.push(format!("{role} lacks CREATE on the database: what is captured is kept in a schema there"));
    }
    let rows = client.query("SELECT extname::text FROM pg_catalog.pg_extension", &[]).await.map_err(failed)?;
    for row in rows {
        let name: String = row.get(0);
        if STATEFUL.contains(&name.as_str()) {
            facts
                .refused
                .push(format!("extension {name} keeps state of its own, which neither a dump nor a log of rows holds"));
        }
    }
    facts.maintenance = maintenance(url, client).await.map_err(failed)?;
    if facts.maintenance.is_none() {
        facts.refused.push(format!(
            "there is no other database {role} may connect to, and a database cannot be renamed from within (try: GRANT CONNECT ON DATABASE postgres TO {role})"
        ));
    }
    let mut no_slot = Vec::new();
    if level != "logical" {
        no_slot.push(format!("wal_level is {level}, not logical"));
    }
    if !may_replicate {
        no_slot.push(format!("{role} lacks REPLICATION"));
    }
    if free < 1 {
        no_slot.push("every replication slot of the server is in use (max_replication_slots)".to_owned());
    }
    if !no_slot.is_empty() {
        facts.not_these.push((Way::Slot, no_slot.join("; ")));
    }
    if facts.refused.is_empty() {
        if no_slot.is_empty() {
            facts.ways.push(Way::Slot);
        }
        facts.ways.push(Way::Triggers);
    }
    if keep != "-1" && no_slot.is_empty() {
        facts.notes.push(format!(
            "the server keeps {keep} of WAL for a slot (max_slot_wal_keep_size); beyond that the slot is lost"
        ));
    }
    if oldest > 60 {
        facts.notes.push(format!("a transaction has been open for {oldest} s: the capture begins when it is over"));
    }
    let keyless = client
        .query(
            &format!(
                "SELECT c.oid::regclass::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                 WHERE c.relkind = 'r' AND {CAPTURED} AND NOT EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisprimary) \
                 ORDER BY 1 LIMIT 5"
            ),
            &[],
        )
        .await
        .map_err(failed)?;
    if !keyless.is_empty() {
        let names: Vec<String> = keyless.iter().map(|row| row.get(0)).collect();
        facts.notes.push(format!(
            "without a primary key, so each row is looked for by its whole content: {}",
            names.join(", ")
        ));
    }
    session.close().await;
    Ok(facts)
}

/// A database to work from while the target is closed: `postgres`, else any other the role may enter.
async fn maintenance(url: &ConnectionUrl, client: &Client) -> Result<Option<String>, tokio_postgres::Error> {
    let rows = client
        .query(
            "SELECT datname::text FROM pg_catalog.pg_database WHERE datallowconn AND NOT datistemplate \
               AND datname <> pg_catalog.current_database() AND datname !~ '__dbd_[sx]_' \
               AND pg_catalog.has_database_privilege(datname, 'CONNECT') \
             ORDER BY datname <> 'postgres', datname <> 'defaultdb', datname LIMIT 5",
            &[],
        )
        .await?;
    for row in rows {
        let name: String = row.get(0);
        // A right to connect says nothing about pg_hba.conf.
        if let Ok(session) = connect(&url.with_database(&name), "dbd").await {
            session.close().await;
            return Ok(Some(name));
        }
    }
    Ok(None)
}
