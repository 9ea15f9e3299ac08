//! Asking a server about itself.

use super::connect::{Session, connect, look, query_failed};
use super::ledger::{identifier, literal};
use crate::domain::code::Code;
use crate::domain::connection::ConnectionUrl;
use crate::domain::event::ServerFacts;
use crate::domain::failure::Failure;
use crate::domain::ids::RunId;
use crate::domain::migration::{AppliedRow, Proof, ProofsIn, SEEN, ToolLock, Tracking, formats};
use crate::ports::database::Hold;
use std::collections::BTreeMap;
use tokio_postgres::SimpleQueryMessage;

/// Connects and asks.
pub async fn facts(url: &ConnectionUrl) -> Result<ServerFacts, Failure> {
    let session = connect(url, "dbd").await?;
    let failed = |error: &tokio_postgres::Error| query_failed(url, "asking the server about itself", error);
    let row = session
        .client
        .query_one(
            "SELECT pg_catalog.current_setting('server_version_num')::integer, pg_catalog.current_setting('server_version'), \
               pg_catalog.current_database()::text, session_user::text, \
               (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = session_user), \
               pg_catalog.pg_database_size(pg_catalog.current_database()), \
               pg_catalog.pg_encoding_to_char(d.encoding)::text, d.datcollate::text, d.datctype::text, \
               pg_catalog.pg_is_in_recovery() OR pg_catalog.current_setting('transaction_read_only') = 'on' \
             FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()",
            &[],
        )
        .await
        .map_err(|error| failed(&error))?;
    // May be forbidden to ordinary roles by the provider; it only serves to recognise the cluster.
    let system_identifier = session
        .client
        .query_one("SELECT system_identifier::text FROM pg_catalog.pg_control_system()", &[])
        .await
        .ok()
        .map(|row| row.get(0));
    let roles = session
        .client
        .query(
            "SELECT rolname::text FROM pg_catalog.pg_roles r WHERE rolname !~ '^pg_' AND (EXISTS ( \
               SELECT FROM pg_catalog.pg_shdepend d WHERE d.refobjid = r.oid AND d.refclassid = 'pg_catalog.pg_authid'::regclass \
               AND d.dbid IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()))) \
               OR rolname = session_user OR r.oid = 10) ORDER BY 1",
            &[],
        )
        .await
        .map_err(|error| failed(&error))?
        .iter()
        .map(|row| row.get(0))
        .collect();
    let version_num: i32 = row.get(0);
    let (provider, locale) = match version_num {
        ..150_000 => ("'c'", "NULL::text"),
        150_000..170_000 => ("datlocprovider::text", "daticulocale::text"),
        _ => ("datlocprovider::text", "datlocale::text"),
    };
    let more = session
        .client
        .query_one(
            &format!(
                "SELECT {provider}, {locale}, pg_catalog.to_regnamespace('public') IS NOT NULL \
                 FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()"
            ),
            &[],
        )
        .await
        .map_err(|error| failed(&error))?;
    let server_settings = session
        .client
        .query(
            "SELECT name, reset_val FROM pg_catalog.pg_settings WHERE name IN ( \
               'TimeZone', 'default_text_search_config', 'standard_conforming_strings', 'array_nulls', 'default_toast_compression', \
               'max_locks_per_transaction', 'lc_messages', 'DateStyle', 'IntervalStyle', 'xmloption', 'quote_all_identifiers', \
               'wal_level', 'fsync', 'full_page_writes', 'wal_compression', 'jit', 'work_mem', 'maintenance_work_mem', 'hash_mem_multiplier', \
               'max_parallel_maintenance_workers', 'max_parallel_workers_per_gather', 'seq_page_cost', 'random_page_cost', 'effective_cache_size') \
             AND source NOT IN ('client', 'database', 'user', 'database user', 'session') AND name <> 'lc_messages' AND reset_val <> ''",
            &[],
        )
        .await
        .map_err(|error| failed(&error))?
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    let owns_database: bool = session
        .client
        .query_one(
            "SELECT pg_catalog.pg_has_role(session_user, datdba, 'USAGE') FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()",
            &[],
        )
        .await
        .map_err(|error| failed(&error))?
        .get(0);
    let member_of = session
        .client
        .query(
            "SELECT r.rolname::text FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles r ON r.oid = m.roleid \
             WHERE m.member = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = session_user) ORDER BY 1",
            &[],
        )
        .await
        .map_err(|error| failed(&error))?
        .iter()
        .map(|row| row.get(0))
        .collect();
    let session_settings = session
        .client
        .query(
            "SELECT pg_catalog.split_part(entry, '=', 1), pg_catalog.substr(entry, pg_catalog.strpos(entry, '=') + 1) \
             FROM pg_catalog.pg_db_role_setting s, pg_catalog.unnest(s.setconfig) entry \
             WHERE s.setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())) \
               AND s.setrole IN (0, (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = session_user)) \
             ORDER BY (s.setrole <> 0), (s.setdatabase <> 0)",
            &[],
        )
        .await
        .map_err(|error| failed(&error))?
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    session.close().await;
    let pooled = is_pooled(url).await?;
    Ok(ServerFacts {
        version_num: u32::try_from(row.get::<_, i32>(0)).unwrap_or(0),
        version: row.get(1),
        system_identifier,
        database: row.get(2),
        role: row.get(3),
        superuser: row.get::<_, Option<bool>>(4).unwrap_or(false),
        size_bytes: row.get(5),
        encoding: row.get(6),
        collate: row.get(7),
        ctype: row.get(8),
        locale_provider: more.get(0),
        locale: more.get(1),
        has_public: more.get(2),
        server_settings,
        read_only: row.get(9),
        pooled,
        owns_database,
        member_of,
        session_settings,
        roles,
    })
}

/// How often two sessions are asked which backend they have: others may take the one that both would have had.
const POOLER_ROUNDS: usize = 5;

/// Whether sessions are a pooler's in transaction mode: an idle one then loses its backend, to another session or for another backend.
pub(super) async fn is_pooled(url: &ConnectionUrl) -> Result<bool, Failure> {
    let idle = connect(url, "dbd").await?;
    let other = connect(url, "dbd").await?;
    let failed = |error: tokio_postgres::Error| query_failed(url, "looking for a pooler", &error);
    // As simple queries: a pooler that parts the halves of an extended one makes it fail.
    async fn backend(session: &Session) -> Result<Option<String>, tokio_postgres::Error> {
        let answer = session.client.simple_query("SELECT pg_catalog.pg_backend_pid()").await?;
        Ok(answer.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        }))
    }
    let first = backend(&idle).await.map_err(failed)?;
    let mut pooled = false;
    for _ in 0..POOLER_ROUNDS {
        other.client.batch_execute("BEGIN").await.map_err(failed)?;
        let taken = backend(&other).await.map_err(failed)?;
        pooled = taken == first || backend(&idle).await.map_err(failed)? != first;
        other.client.batch_execute("ROLLBACK").await.map_err(failed)?;
        if pooled {
            break;
        }
    }
    other.close().await;
    idle.close().await;
    Ok(pooled)
}

/// The privileges a deployment needs and the role lacks.
pub async fn missing_privileges(url: &ConnectionUrl) -> Result<Vec<String>, Failure> {
    let session = look(url, "dbd").await?;
    let failed = |error: &tokio_postgres::Error| query_failed(url, "asking for privileges", error);
    let mut missing = Vec::new();
    let create: bool = session
        .client
        .query_one(
            "SELECT pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE') OR pg_catalog.to_regnamespace('dbd') IS NOT NULL",
            &[],
        )
        .await
        .map_err(|error| failed(&error))?
        .get(0);
    if !create {
        missing.push("CREATE on the database (dbd keeps its ledger in a schema of its own)".to_owned());
    }
    let unreadable = session
        .client
        .query(
            "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class c \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relkind IN ('r', 'S') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' \
               AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e') \
               AND NOT (pg_catalog.has_schema_privilege(n.oid, 'USAGE') \
                 AND CASE WHEN c.relkind = 'S' THEN pg_catalog.has_sequence_privilege(c.oid, 'SELECT') \
                          ELSE pg_catalog.has_table_privilege(c.oid, 'SELECT') END) \
             ORDER BY 1 LIMIT 5",
            &[],
        )
        .await
        .map_err(|error| failed(&error))?;
    missing.extend(
        unreadable.iter().map(|row| format!("SELECT on {} (the backup reads every table)", row.get::<_, String>(0))),
    );
    session.close().await;
    Ok(missing)
}

/// Migration locks of other tools that are held right now, by anybody but dbd itself.
pub async fn foreign_locks(url: &ConnectionUrl) -> Result<Vec<String>, Failure> {
    let session = look(url, "dbd").await?;
    let database = url.database();
    let known: Vec<(&str, i64)> = formats()
        .iter()
        .filter_map(|format| {
            let Tracking { table, lock, .. } = format.tracking();
            lock.map(|lock: ToolLock| (format.name(), lock.key(&table, &database)))
        })
        .collect();
    let (tools, keys): (Vec<&str>, Vec<i64>) = known.into_iter().unzip();
    let rows = session
        .client
        .query(
            "SELECT t.tool, l.pid, COALESCE(a.application_name, ''), COALESCE(a.usename::text, '') \
             FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid \
             JOIN ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::bigint[])) AS t (tool, key) \
               ON ((l.classid::bigint << 32) | l.objid::bigint) = t.key AND l.objsubid = 1 \
             WHERE l.locktype = 'advisory' AND l.granted AND a.application_name NOT LIKE 'dbd %' \
               AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())",
            &[&tools, &keys],
        )
        .await
        .map_err(|error| query_failed(url, "looking for locks of other tools", &error))?;
    session.close().await;
    Ok(rows
        .iter()
        .map(|row| {
            let (tool, pid, application, user): (String, i32, String, String) =
                (row.get(0), row.get(1), row.get(2), row.get(3));
            format!("{tool}'s migration lock is held by pid {pid} (user {user}, application `{application}`)")
        })
        .collect())
}

/// Reads dbd's own proofs of the rows of `tracking`. `kept`: whether `dbd.applied` is there. `None`: there are none.
fn proofs_sql(tracking: &Tracking, kept: bool) -> Option<String> {
    let at = |table: &str| {
        format!("pg_catalog.to_char({table}.applied_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')")
    };
    let of_ours = format!("a.tracking = {}", literal(&tracking.table));
    match (tracking.proofs, kept) {
        (ProofsIn::Within, _) => {
            // A row that was written before there was a place in it has its proof in the other table, if anywhere; and a table
            // that was made then has no such columns until it is written to again.
            let earlier = match kept {
                true => format!("LEFT JOIN dbd.applied a ON {of_ours} AND a.key = m.id"),
                false => "CROSS JOIN (SELECT NULL::text AS tokens, NULL::text AS body) a".to_owned(),
            };
            Some(format!(
                "SELECT m.id, m.digest, COALESCE(pg_catalog.to_jsonb(m) ->> 'tokens', a.tokens), \
                 COALESCE(pg_catalog.to_jsonb(m) ->> 'body', a.body), m.run_id, {} FROM dbd.migration m {earlier}",
                at("m")
            ))
        }
        (ProofsIn::Beside | ProofsIn::Entries, true) => Some(format!(
            "SELECT a.key, a.digest, a.tokens, a.body, a.run_id, {} FROM dbd.applied a WHERE {of_ours}",
            at("a")
        )),
        (ProofsIn::Beside | ProofsIn::Entries, false) => None,
    }
}

/// The rows of a tracking table, each with what dbd itself kept beside it; `None` if there is no such table.
pub async fn applied(url: &ConnectionUrl, tracking: &Tracking) -> Result<Option<Vec<AppliedRow>>, Failure> {
    let session = look(url, "dbd").await?;
    let failed = |error: &tokio_postgres::Error| query_failed(url, &format!("reading {}", tracking.table), error);
    let looked = session
        .client
        .query_one(
            "SELECT pg_catalog.to_regclass($1) IS NOT NULL, pg_catalog.to_regclass('dbd.applied') IS NOT NULL, \
             ARRAY(SELECT column_name FROM pg_catalog.unnest($2::text[]) column_name WHERE NOT EXISTS ( \
               SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = pg_catalog.to_regclass($1) AND a.attname = column_name))",
            &[&&*tracking.table, &tracking.columns],
        )
        .await
        .map_err(|error| failed(&error))?;
    let (exists, kept, lacking): (bool, bool, Vec<String>) = (looked.get(0), looked.get(1), looked.get(2));
    if !exists {
        session.close().await;
        return Ok(None);
    }
    if let Some(column) = lacking.first() {
        return Err(Failure::new(
            Code::ForeignTracking,
            format!("{} is another tool's: it has no {column}", tracking.table),
        )
        .hint("name the tool that keeps it in dbd.toml: [migrations] format = \"...\"")
        .hint("or rename the table, if nothing uses it any more"));
    }
    let found = session.client.query(&*tracking.read, &[]).await.map_err(|error| failed(&error))?;
    let mut rows: Vec<AppliedRow> = found
        .iter()
        .map(|row| AppliedRow {
            key: row.get(0),
            digest: row.get(1),
            at: row.get(2),
            by: row.get(3),
            mark: row.get(4),
            proof: None,
        })
        .collect();
    if let Some(read) = proofs_sql(tracking, kept) {
        let proofs = session.client.query(&read, &[]).await.map_err(|error| failed(&error))?;
        for row in &proofs {
            let (key, run): (String, String) = (row.get(0), row.get(4));
            let seen = run.is_empty();
            let proof = (!seen).then(|| Proof {
                digest: row.get(1),
                tokens: row.get(2),
                text: row.get(3),
                run: Some(run),
                at: row.get(5),
            });
            if tracking.proofs == ProofsIn::Entries {
                let mark = seen.then(|| SEEN.to_owned());
                rows.push(AppliedRow { key, at: row.get(5), mark, proof, ..AppliedRow::default() });
            } else {
                for row in rows.iter_mut().filter(|row| row.key == key) {
                    row.proof.clone_from(&proof);
                }
            }
        }
    }
    session.close().await;
    Ok(Some(rows))
}

/// Takes the target's lock for as long as the session lives. Never waits: a deployment that would wait may hold others up.
pub async fn hold(url: &ConnectionUrl, run: &RunId, owner: &str) -> Result<Hold, Failure> {
    // The session's name tells who holds the lock; PostgreSQL keeps 63 bytes of it.
    let session = connect(url, &format!("dbd hold {run} {owner}")).await?;
    let failed = |error: &tokio_postgres::Error| query_failed(url, "taking the target's lock", error);
    let mine: bool = session
        .client
        .query_one("SELECT pg_catalog.pg_try_advisory_lock(pg_catalog.hashtext('dbd target'), 0)", &[])
        .await
        .map_err(|error| failed(&error))?
        .get(0);
    if !mine {
        let holder = session
            .client
            .query_opt(
                "SELECT a.application_name, a.pid FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid \
                 WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 AND l.objid = 0 \
                   AND l.classid::bigint = (pg_catalog.hashtext('dbd target')::bigint & 4294967295) \
                   AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())",
                &[],
            )
            .await
            .map_err(|error| failed(&error))?
            .map_or_else(
                || "another session".to_owned(),
                |row| format!("{} (backend {})", row.get::<_, String>(0).trim_start_matches("dbd hold "), row.get::<_, i32>(1)),
            );
        return Err(Failure::new(Code::TargetBusy, format!("{} is held by another run: {holder}", url.place()))
            .hint("wait for it to end, or look at it with `dbd status`"));
    }
    Ok(Hold { session: Box::new(session) })
}

/// Takes the lock of the tool that keeps `tracking`, for as long as the session lives.
pub async fn hold_tool(
    url: &ConnectionUrl,
    tracking: &Tracking,
    run: &RunId,
    patience_ms: u64,
) -> Result<Option<Hold>, Failure> {
    let Some(lock) = tracking.lock else { return Ok(None) };
    let key = lock.key(&tracking.table, &url.database());
    let session = connect(url, &format!("dbd tool lock {run}")).await?;
    let failed = |error: &tokio_postgres::Error| query_failed(url, "taking the migration tool's lock", error);
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_millis(patience_ms);
    loop {
        let mine: bool = session
            .client
            .query_one("SELECT pg_catalog.pg_try_advisory_lock($1)", &[&key])
            .await
            .map_err(|error| failed(&error))?
            .get(0);
        if mine {
            return Ok(Some(Hold { session: Box::new(session) }));
        }
        if tokio::time::Instant::now() >= deadline {
            break;
        }
        // A session that waits inside the lock would keep CREATE INDEX CONCURRENTLY of its holder waiting in turn.
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    session.close().await;
    let holder = foreign_locks(url).await?.into_iter().next();
    Err(Failure::new(
        Code::ForeignLockHeld,
        holder.unwrap_or_else(|| format!("the lock that goes with {} is held by another session", tracking.table)),
    )
    .hint("wait until that migration is over, then start again"))
}

/// The other tools whose tracking tables hold rows.
pub async fn other_tracking(
    url: &ConnectionUrl,
    tracking: &Tracking,
) -> Result<Vec<(&'static str, &'static str)>, Failure> {
    let session = look(url, "dbd").await?;
    let mut found = Vec::new();
    for format in formats() {
        let other = format.tracking();
        // dbd's own table is nobody else's, and what two formats share is told apart when it is read.
        if other.table == tracking.table
            || other.table == "dbd.migration"
            || found.iter().any(|(_, table)| *table == other.table)
        {
            continue;
        }
        let sql = "SELECT pg_catalog.to_regclass($1) IS NOT NULL AND NOT EXISTS ( \
                   SELECT FROM pg_catalog.unnest($2::text[]) column_name WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a \
                   WHERE a.attrelid = pg_catalog.to_regclass($1) AND a.attname = column_name))";
        let failed = |error: &tokio_postgres::Error| query_failed(url, "looking for other tools' tables", error);
        let there: bool = session
            .client
            .query_one(sql, &[&&*other.table, &other.columns])
            .await
            .map_err(|error| failed(&error))?
            .get(0);
        if there && !session.client.query(&*other.read, &[]).await.map_err(|error| failed(&error))?.is_empty() {
            found.push((format.name(), format.usual_table()));
        }
    }
    session.close().await;
    Ok(found)
}

/// Whether a column holds any value that is not null. `table` is quoted already, `column` is not.
pub async fn column_has_values(url: &ConnectionUrl, table: &str, column: &str) -> Result<bool, Failure> {
    let session = look(url, "dbd").await?;
    let sql = format!("SELECT EXISTS (SELECT FROM {table} WHERE {} IS NOT NULL)", identifier(column));
    let row = session
        .client
        .query_one(&sql, &[])
        .await
        .map_err(|error| query_failed(url, &format!("looking for values in {table}.{column}"), &error))?;
    session.close().await;
    Ok(row.get(0))
}

/// Vacuums those of `tables`, by object id, that are there, or all there are if none are named; then nothing is left to be written out, if the role may ask for that.
pub async fn vacuum(url: &ConnectionUrl, tables: &[u32]) -> Result<(), Failure> {
    let session = connect(url, "dbd").await?;
    let failed = |error: tokio_postgres::Error| query_failed(url, "vacuuming the sandbox", &error);
    let there = "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class c \
                 JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY ($1::oid[])";
    let there = session.client.query(there, &[&tables]).await.map_err(failed)?;
    if tables.is_empty() || !there.is_empty() {
        let names: Vec<String> = there.iter().map(|row| row.get(0)).collect();
        // Of what belongs to others it is only said that it is passed over.
        session.client.batch_execute("SET client_min_messages = error").await.map_err(failed)?;
        session.client.batch_execute(&format!("VACUUM {}", names.join(", "))).await.map_err(failed)?;
        // Who needs a buffer whose page is not on the disk yet has to write that first: what others left, a statement would be blamed for. A checkpoint
        // is not for everybody to ask for.
        let may = "SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user";
        if session.client.query_one(may, &[]).await.map_err(failed)?.get(0) {
            session.client.batch_execute("CHECKPOINT").await.map_err(failed)?;
        }
    }
    session.close().await;
    Ok(())
}

/// Makes a sandbox behave for the role as the target does: the role's memberships, its rights on the database, and what the database and
/// the role set for every session. `url` leads to the sandbox as somebody who may do that.
pub async fn act_like(url: &ConnectionUrl, facts: &ServerFacts) -> Result<(), Failure> {
    let session = connect(url, "dbd").await?;
    let failed = |error: &tokio_postgres::Error| query_failed(url, "making the sandbox like the target", error);
    let (role, database) = (identifier(&facts.role), identifier(&url.database()));
    let mut sql = String::new();
    if facts.superuser {
        sql.push_str(&format!("ALTER ROLE {role} SUPERUSER;\n"));
    }
    for group in &facts.member_of {
        sql.push_str(&format!(
            "DO $$ BEGIN GRANT {group} TO {role}; EXCEPTION WHEN undefined_object OR insufficient_privilege OR invalid_grant_operation THEN NULL; END $$;\n",
            group = identifier(group)
        ));
    }
    if facts.owns_database {
        sql.push_str(&format!("ALTER DATABASE {database} OWNER TO {role};\n"));
    } else {
        sql.push_str(&format!("GRANT CREATE, TEMPORARY ON DATABASE {database} TO {role};\n"));
    }
    for (name, value) in &facts.session_settings {
        // Lists of identifiers are stored as they are written; everything else is one value.
        let value = match name.as_str() {
            "search_path" | "temp_tablespaces" | "session_preload_libraries" | "local_preload_libraries" => {
                value.clone()
            }
            _ => super::ledger::literal(value),
        };
        sql.push_str(&format!(
            "DO $$ BEGIN ALTER DATABASE {database} SET {name} = {value}; EXCEPTION WHEN undefined_object OR undefined_file THEN NULL; END $$;\n"
        ));
    }
    session.client.batch_execute(&sql).await.map_err(|error| failed(&error))?;
    session.close().await;
    Ok(())
}

/// When each of `tables` was last changed by DDL, by the newest commit time of its rows in the catalogs.
///
/// Rows that were frozen, or whose time was forgotten, have none.
pub async fn last_changed(url: &ConnectionUrl, tables: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let session = look(url, "dbd").await?;
    let failed = |error: tokio_postgres::Error| query_failed(url, "asking when tables were changed", &error);
    let tracked = session.client.query_one("SELECT pg_catalog.current_setting('track_commit_timestamp') = 'on'", &[]);
    let mut changed = BTreeMap::new();
    if tracked.await.map_err(failed)?.get(0) {
        let sql = "SELECT t.name, pg_catalog.to_char(pg_catalog.timezone('UTC', max(pg_catalog.pg_xact_commit_timestamp(x.xmin))), \
                     'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') \
             FROM pg_catalog.unnest($1::text[]) AS t (name), \
                  LATERAL (SELECT pg_catalog.to_regclass(t.name)::oid AS oid) r, \
                  LATERAL (SELECT xmin FROM pg_catalog.pg_class WHERE oid = r.oid \
                           UNION ALL SELECT xmin FROM pg_catalog.pg_attribute WHERE attrelid = r.oid AND attnum > 0 \
                           UNION ALL SELECT xmin FROM pg_catalog.pg_constraint WHERE conrelid = r.oid \
                           UNION ALL SELECT xmin FROM pg_catalog.pg_trigger WHERE tgrelid = r.oid \
                           UNION ALL SELECT c.xmin FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid \
                             WHERE i.indrelid = r.oid) x \
             GROUP BY t.name";
        for row in session.client.query(sql, &[&tables]).await.map_err(failed)? {
            if let Some(at) = row.get::<_, Option<String>>(1) {
                changed.insert(row.get(0), at);
            }
        }
    }
    session.close().await;
    Ok(changed)
}

/// Every role of the server but those that every server has.
pub async fn roles(url: &ConnectionUrl) -> Result<Vec<String>, Failure> {
    let session = look(url, "dbd").await?;
    let sql = "SELECT rolname::text FROM pg_catalog.pg_roles WHERE rolname !~ '^pg_' ORDER BY 1";
    let rows = session.client.query(sql, &[]).await;
    let rows = rows.map_err(|error| query_failed(url, "looking which roles there are", &error))?;
    session.close().await;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Which of `roles`, as SQL writes them, the server does not know.
pub async fn unknown_roles(url: &ConnectionUrl, roles: &[String]) -> Result<Vec<String>, Failure> {
    let session = look(url, "dbd").await?;
    let sql =
        "SELECT role FROM pg_catalog.unnest($1::text[]) role WHERE pg_catalog.to_regrole(role) IS NULL ORDER BY 1";
    let rows = session.client.query(sql, &[&roles]).await;
    let rows = rows.map_err(|error| query_failed(url, "looking which roles there are", &error))?;
    session.close().await;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
