//! The second copy: made on the target's server from the dump, told what it has to know, and proven equal to the base.

use super::super::connect::{Session, connect, query_failed};
use super::super::data::same_text_for_the_session;
use super::super::ledger::{identifier, literal};
use super::install::{bug, hashes};
use super::shape::OldTable;
use super::tidy;
use crate::domain::code::Code;
use crate::domain::connection::ConnectionUrl;
use crate::domain::failure::Failure;
use crate::ports::backup::{Backups, FillOrder};
use crate::ports::capture::{Capture, Shadow, ShadowOrder};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use tokio_postgres::Client;

const SHADOW: &str = include_str!("shadow.sql");

/// Settings whose values are lists, kept as they are written.
const LISTS: &[&str] = &["search_path", "temp_tablespaces", "session_preload_libraries", "local_preload_libraries"];

/// Makes the shadow anew.
pub(super) async fn raise(order: &ShadowOrder<'_>, backups: &dyn Backups) -> Result<Shadow, Failure> {
    let (url, capture) = (order.url, order.capture);
    let name = order.effect.application_name();
    let target = connect(url, &name).await?;
    let office = connect(&url.with_database(&capture.maintenance), &name).await?;
    let failed = |what: &'static str| move |error: tokio_postgres::Error| query_failed(url, what, &error);
    // Every name that is read there is to be whole.
    target.client.batch_execute(&same_text_for_the_session()).await.map_err(failed("setting up the session"))?;
    tidy::drop_database(url, &office.client, &capture.shadow()).await?;

    let facts = super::super::facts::facts(url).await?;
    create(&target.client, &office.client, capture).await.map_err(failed("making the shadow"))?;
    let place = url.with_database(&capture.shadow());
    let fill = FillOrder {
        dump: order.dump.clone(),
        url: place.clone(),
        server_major: facts.version_num / 10_000,
        target_major: facts.version_num / 10_000,
        roles: facts.roles.clone(),
        may_create_roles: false,
        drop_public: !facts.has_public,
        schema_only: false,
        section: None,
        without_foreign_keys: true,
        effect: order.effect.clone(),
    };
    let filled = backups.fill(&fill, &|_, _| ()).await?;
    if !filled.roles_kept {
        return Err(Failure::new(Code::RestoreFailed, "the shadow would lack owners and privileges")
            .cause(filled.notes.join("; ")));
    }
    let shadow = connect(&place, &name).await?;
    inform(order, &target.client, &shadow).await?;
    silence(&shadow.client).await.map_err(failed("silencing the shadow's triggers"))?;
    let found = prove(order, &shadow).await?;
    shadow
        .client
        .batch_execute("UPDATE dbd_shadow.state SET proven = true")
        .await
        .map_err(failed("noting the proof"))?;
    for session in [target, office, shadow] {
        session.close().await;
    }
    let notes = filled.notes;
    Ok(Shadow { tables: order.contents.len() as u64, rows: found, notes })
}

/// Makes the empty database with everything the target's has that is not inside of it.
async fn create(target: &Client, office: &Client, capture: &Capture) -> Result<(), tokio_postgres::Error> {
    let shadow = identifier(&capture.shadow());
    let version: i32 =
        target.query_one("SELECT pg_catalog.current_setting('server_version_num')::integer", &[]).await?.get(0);
    let locale = match version {
        ..150_000 => "''",
        150_000..170_000 => {
            "CASE datlocprovider WHEN 'i' THEN pg_catalog.format(' LOCALE_PROVIDER icu ICU_LOCALE %L', daticulocale) ELSE '' END"
        }
        _ => {
            "CASE datlocprovider WHEN 'i' THEN pg_catalog.format(' LOCALE_PROVIDER icu ICU_LOCALE %L', datlocale) \
             WHEN 'b' THEN pg_catalog.format(' LOCALE_PROVIDER builtin BUILTIN_LOCALE %L', datlocale) ELSE '' END"
        }
    };
    let made = format!(
        "SELECT pg_catalog.format(' TEMPLATE template0 OWNER %s ENCODING %L LC_COLLATE %L LC_CTYPE %L CONNECTION LIMIT %s', d.datdba::regrole::text, \
           pg_catalog.pg_encoding_to_char(d.encoding), d.datcollate, d.datctype, d.datconnlimit) || {locale} \
           || CASE WHEN t.spcname <> 'pg_default' THEN pg_catalog.format(' TABLESPACE %I', t.spcname) ELSE '' END, \
           pg_catalog.shobj_description(d.oid, 'pg_database'), d.datacl IS NOT NULL \
         FROM pg_catalog.pg_database d JOIN pg_catalog.pg_tablespace t ON t.oid = d.dattablespace WHERE d.datname = pg_catalog.current_database()"
    );
    let row = target.query_one(&made, &[]).await?;
    let options: String = row.get(0);
    office.batch_execute(&format!("CREATE DATABASE {shadow}{options}")).await?;
    let mut sql = String::from("BEGIN;\n");
    if let Some(comment) = row.get::<_, Option<String>>(1) {
        let _ = writeln!(sql, "COMMENT ON DATABASE {shadow} IS {};", literal(&comment));
    }
    if row.get::<_, bool>(2) {
        let _ = writeln!(sql, "REVOKE ALL ON DATABASE {shadow} FROM PUBLIC;");
        let grants = "SELECT privilege_type, CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE grantee::regrole::text END, is_grantable \
             FROM pg_catalog.pg_database, pg_catalog.aclexplode(datacl) WHERE datname = pg_catalog.current_database() AND grantee <> datdba";
        for grant in target.query(grants, &[]).await? {
            let (what, whom, on): (String, String, bool) = (grant.get(0), grant.get(1), grant.get(2));
            let option = if on { " WITH GRANT OPTION" } else { "" };
            let _ = writeln!(sql, "GRANT {what} ON DATABASE {shadow} TO {whom}{option};");
        }
    }
    let settings = "SELECT CASE WHEN setrole <> 0 THEN setrole::regrole::text END, pg_catalog.split_part(entry, '=', 1), \
           pg_catalog.substr(entry, pg_catalog.strpos(entry, '=') + 1) \
         FROM pg_catalog.pg_db_role_setting s JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase, pg_catalog.unnest(s.setconfig) entry \
         WHERE d.datname = pg_catalog.current_database()";
    for setting in target.query(settings, &[]).await? {
        let (role, name, value): (Option<String>, String, String) = (setting.get(0), setting.get(1), setting.get(2));
        let value = if LISTS.contains(&name.as_str()) { value } else { literal(&value) };
        let _ = match role {
            Some(role) => writeln!(sql, "ALTER ROLE {role} IN DATABASE {shadow} SET {name} = {value};"),
            None => writeln!(sql, "ALTER DATABASE {shadow} SET {name} = {value};"),
        };
    }
    sql.push_str("COMMIT;");
    office.batch_execute(&sql).await
}

/// Tells the shadow what it has to know to be caught up without the target's catalogs, and takes out of it what the capture put in.
async fn inform(order: &ShadowOrder<'_>, target: &Client, shadow: &Session) -> Result<(), Failure> {
    let url = order.url;
    let failed = |error: tokio_postgres::Error| query_failed(url, "preparing the shadow", &error);
    let shape: String = target.query_one("SELECT shape FROM dbd_capture.run", &[]).await.map_err(failed)?.get(0);
    let mut sql = format!(
        "BEGIN; {SHADOW}; INSERT INTO dbd_shadow.state (seen, reached, shape) VALUES ({seen}, {seen}, {});\n",
        literal(&shape),
        seen = literal(order.seen),
    );
    let tables = target
        .query(
            "SELECT id, name, kind::text, generated::text, types::text, key::text, identity FROM dbd_capture.protected ORDER BY id",
            &[],
        )
        .await
        .map_err(failed)?;
    for row in &tables {
        let (id, name, kind): (i32, String, String) = (row.get(0), row.get(1), row.get(2));
        let (generated, types, key): (String, String, Option<String>) = (row.get(3), row.get(4), row.get(5));
        let _ = writeln!(
            sql,
            "INSERT INTO dbd_shadow.old VALUES ({id}, {}, {}, {}, {}, {});",
            literal(&name),
            literal(&kind),
            literal(&generated),
            literal(&types),
            key.map_or_else(|| "NULL".to_owned(), |key| literal(&key)),
        );
        sql.push_str(&tidy::identity(&name, &row.get::<_, String>(6)));
    }
    let references = target
        .query(
            "SELECT k.conrelid::regclass::text, k.conname::text, pg_catalog.pg_get_constraintdef(k.oid), pg_catalog.obj_description(k.oid, 'pg_constraint'), \
               c.relkind = 'r' AND (SELECT relkind FROM pg_catalog.pg_class WHERE oid = k.confrelid) = 'r' AND k.convalidated \
             FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.conrelid \
             WHERE k.contype = 'f' AND k.conparentid = 0 AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d \
               WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e') ORDER BY 1, 2",
            &[],
        )
        .await
        .map_err(failed)?;
    for row in &references {
        let _ = writeln!(
            sql,
            "INSERT INTO dbd_shadow.reference VALUES ({}, {}, {}, {}, {});",
            literal(row.get(0)),
            literal(row.get(1)),
            literal(row.get(2)),
            row.get::<_, Option<String>>(3).map_or_else(|| "NULL".to_owned(), |text| literal(&text)),
            row.get::<_, bool>(4),
        );
    }
    sql.push_str("COMMIT;");
    shadow
        .client
        .batch_execute(&format!("{}; SET client_min_messages = warning; {sql}", same_text_for_the_session()))
        .await
        .map_err(failed)
}

/// Takes every trigger and rule off that would act on a replayed row: what they did on the target is captured as well.
pub(super) async fn silence(client: &Client) -> Result<(), tokio_postgres::Error> {
    let acting = client
        .query(
            "SELECT pg_catalog.format('ALTER TABLE %s ENABLE%s TRIGGER %I', t.tgrelid::regclass, \
                 CASE t.tgenabled WHEN 'A' THEN ' ALWAYS' WHEN 'R' THEN ' REPLICA' ELSE '' END, t.tgname), \
               pg_catalog.format('ALTER TABLE %s DISABLE TRIGGER %I', t.tgrelid::regclass, t.tgname) \
             FROM pg_catalog.pg_trigger t JOIN dbd_shadow.old o ON pg_catalog.to_regclass(o.name) = t.tgrelid \
             WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' \
             UNION ALL \
             SELECT pg_catalog.format('ALTER TABLE %s ENABLE%s RULE %I', w.ev_class::regclass, \
                 CASE w.ev_enabled WHEN 'A' THEN ' ALWAYS' WHEN 'R' THEN ' REPLICA' ELSE '' END, w.rulename), \
               pg_catalog.format('ALTER TABLE %s DISABLE RULE %I', w.ev_class::regclass, w.rulename) \
             FROM pg_catalog.pg_rewrite w JOIN dbd_shadow.old o ON pg_catalog.to_regclass(o.name) = w.ev_class \
             WHERE w.rulename <> '_RETURN' AND w.ev_enabled <> 'D'",
            &[],
        )
        .await?;
    let mut sql = String::from("BEGIN;\n");
    for row in &acting {
        let (on, off): (String, String) = (row.get(0), row.get(1));
        let _ = writeln!(sql, "{off}; INSERT INTO dbd_shadow.silenced VALUES ({}, {});", literal(&on), literal(&off));
    }
    sql.push_str("COMMIT;");
    client.batch_execute(&sql).await
}

/// What [`dress`] runs: triggers and foreign keys as they were, the latter without a look at the rows.
pub(super) async fn dressing(client: &Client) -> Result<String, tokio_postgres::Error> {
    let mut sql = String::new();
    // Per table one statement would be quicker; per trigger it is exact.
    for row in client.query("SELECT on_again FROM dbd_shadow.silenced", &[]).await? {
        let _ = writeln!(sql, "{};", row.get::<_, String>(0));
    }
    for row in client.query("SELECT tab, name, definition, comment, in_steps FROM dbd_shadow.reference", &[]).await? {
        let (table, name, definition): (String, String, String) = (row.get(0), row.get(1), row.get(2));
        let later = if row.get(4) { " NOT VALID" } else { "" };
        let _ = writeln!(sql, "ALTER TABLE {table} ADD CONSTRAINT {} {definition}{later};", identifier(&name));
        if let Some(comment) = row.get::<_, Option<String>>(3) {
            let _ = writeln!(sql, "COMMENT ON CONSTRAINT {} ON {table} IS {};", identifier(&name), literal(&comment));
        }
    }
    sql.push_str("UPDATE dbd_shadow.state SET dressed = true;\n");
    Ok(sql)
}

/// Takes off again what a swap that came to nothing had put on.
pub(super) async fn undress(client: &Client) -> Result<(), tokio_postgres::Error> {
    let mut sql = String::from("BEGIN;\n");
    for row in client.query("SELECT off_again FROM dbd_shadow.silenced", &[]).await? {
        let _ = writeln!(sql, "{};", row.get::<_, String>(0));
    }
    for row in client.query("SELECT tab, name FROM dbd_shadow.reference", &[]).await? {
        let (table, name): (String, String) = (row.get(0), row.get(1));
        let _ = writeln!(sql, "ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {};", identifier(&name));
    }
    sql.push_str("UPDATE dbd_shadow.state SET dressed = false; COMMIT;");
    client.batch_execute(&sql).await
}

/// Every table holds what the base held: counted, and by the hash of every row.
async fn prove(order: &ShadowOrder<'_>, shadow: &Session) -> Result<i64, Failure> {
    let failed = |error: tokio_postgres::Error| query_failed(order.url, "comparing the shadow with its base", &error);
    let tables: BTreeMap<String, Vec<String>> = old_tables(&shadow.client, order.url)
        .await?
        .into_values()
        .filter(|table| !table.partitioned)
        .map(|table| (table.name, table.columns.into_iter().map(|(name, _)| name).collect()))
        .collect();
    let found = hashes(&shadow.client, &tables).await.map_err(failed)?;
    let mut differing: Vec<String> = Vec::new();
    for (table, (rows, hash)) in order.contents {
        match found.get(table) {
            Some(here) if here == &(*rows, hash.clone()) => {}
            Some((here, _)) if here != rows => differing.push(format!("{table} has {here} rows, the base has {rows}")),
            Some(_) => differing.push(format!("{table} has the base's {rows} rows, and not all of them are the same")),
            None => differing.push(format!("{table} is not there")),
        }
    }
    if !differing.is_empty() {
        let mut failure = Failure::new(Code::CopyDiffers, "the shadow is not equal to what it is a copy of");
        failure.causes.extend(differing.into_iter().take(8));
        return Err(failure.hint("nothing was changed; if it happens again, report it"));
    }
    Ok(found.values().map(|(rows, _)| rows).sum())
}

/// The tables in their old shape, by their number.
pub(super) async fn old_tables(client: &Client, url: &ConnectionUrl) -> Result<BTreeMap<i32, OldTable>, Failure> {
    let rows = client
        .query("SELECT id, name, kind::text, generated::text, types::text, key::text FROM dbd_shadow.old", &[])
        .await
        .map_err(|error| query_failed(url, "reading what the shadow knows of its tables", &error))?;
    let mut tables = BTreeMap::new();
    for row in rows {
        let json = |at: usize| row.get::<_, String>(at);
        let key: Option<String> = row.get(5);
        tables.insert(
            row.get(0),
            OldTable {
                name: row.get(1),
                partitioned: row.get::<_, String>(2) == "p",
                generated: serde_json::from_str(&json(3)).map_err(|error| bug(&error))?,
                columns: serde_json::from_str(&json(4)).map_err(|error| bug(&error))?,
                key: key.map(|text| serde_json::from_str(&text)).transpose().map_err(|error| bug(&error))?,
            },
        );
    }
    Ok(tables)
}
