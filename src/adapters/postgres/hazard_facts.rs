//! What hazards are judged by, read from a catalog: one read-only transaction, one query a kind of thing.

use super::connect::{look_at_one_moment, query_failed};
use crate::domain::connection::ConnectionUrl;
use crate::domain::failure::Failure;
use crate::domain::hazard::act::TypeName;
use crate::domain::hazard::facts::{Column, Facts, Function, Held, Index, Rel, Relation, RelationKind, UserType};
use crate::domain::hazard::read::{constraint_definition, expression_definition, type_definition};
use crate::domain::hazard::types::is_utc;
use std::collections::{BTreeMap, HashMap};
use tokio_postgres::{Client, Error};

/// Schemas of the user's.
const OURS: &str =
    "n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'dbd') AND n.nspname !~ '^dbd_keep'";

/// Reads everything hazards ask about.
///
/// # Errors
/// The server cannot be reached or does not answer.
pub async fn read(url: &ConnectionUrl) -> Result<Facts, Failure> {
    let session = look_at_one_moment(url, "dbd check").await?;
    let facts = facts(&session.client).await.map_err(|error| query_failed(url, "reading the catalog", &error))?;
    session.close().await;
    Ok(facts)
}

async fn facts(client: &Client) -> Result<Facts, Error> {
    // The path is asked for before it is emptied, which makes the server write every name out.
    let row = client
        .query_one(
            "SELECT pg_catalog.current_schemas(false)::text[], pg_catalog.current_setting('server_version_num')::integer, \
               pg_catalog.current_setting('TimeZone')",
            &[],
        )
        .await?;
    let mut facts = Facts {
        complete: true,
        search_path: row.get(0),
        version: u32::try_from(row.get::<_, i32>(1)).unwrap_or(0),
        utc: is_utc(row.get(2)),
        ..Facts::default()
    };
    if facts.search_path.is_empty() {
        facts.search_path.push("public".to_owned());
    }
    client.batch_execute("SET LOCAL search_path = ''").await?;
    let oids = relations(client, &mut facts).await?;
    columns(client, &mut facts, &oids).await?;
    constraints(client, &mut facts, &oids).await?;
    inheritance(client, &mut facts, &oids).await?;
    partition_keys(client, &mut facts, &oids).await?;
    indexes(client, &mut facts).await?;
    types(client, &mut facts).await?;
    functions(client, &mut facts).await?;
    names(client, &mut facts).await?;
    Ok(facts)
}

async fn relations(client: &Client, facts: &mut Facts) -> Result<BTreeMap<u32, Rel>, Error> {
    let sql = format!(
        "SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text, c.reltuples::bigint, \
           CASE WHEN c.relkind IN ('r', 'm') THEN pg_catalog.pg_total_relation_size(c.oid) END, \
           CASE WHEN c.relkind IN ('r', 'm') THEN pg_catalog.pg_relation_size(c.oid) END, \
           (SELECT s.n_live_tup FROM pg_catalog.pg_stat_all_tables s WHERE s.relid = c.oid), c.relpersistence = 'u' \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('r', 'p', 'm', 'v', 'f', 'S') AND {OURS}"
    );
    let mut oids = BTreeMap::new();
    for row in client.query(&sql, &[]).await? {
        let rel = Rel::new(row.get(1), row.get(2));
        let kind = match row.get::<_, &str>(3) {
            "r" => RelationKind::Table,
            "p" => RelationKind::Partitioned,
            "m" => RelationKind::MaterializedView,
            _ => RelationKind::Bare,
        };
        let (planned, live): (i64, Option<i64>) = (row.get(4), row.get(7));
        let (bytes, heap): (Option<i64>, Option<i64>) = (row.get(5), row.get(6));
        // A table that was never analyzed says -1; the statistics collector may know more, and an empty file holds nothing.
        let rows = match (heap, planned, live) {
            (Some(0), ..) => Some(0),
            (_, planned, live) if planned > 0 => Some(live.unwrap_or(0).max(planned)),
            (_, _, live) => live.filter(|live| *live > 0),
        };
        let relation = Relation {
            rows: rows.and_then(|rows| u64::try_from(rows).ok()),
            bytes: bytes.and_then(|bytes| u64::try_from(bytes).ok()),
            unlogged: Some(row.get(8)),
            ..Relation::new(kind)
        };
        oids.insert(row.get(0), rel.clone());
        facts.relations.insert(rel, relation);
    }
    Ok(oids)
}

async fn columns(client: &Client, facts: &mut Facts, oids: &BTreeMap<u32, Rel>) -> Result<(), Error> {
    let sql = format!(
        "SELECT a.attrelid, a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull, \
           CASE WHEN a.attcollation <> (SELECT t.typcollation FROM pg_catalog.pg_type t WHERE t.oid = a.atttypid) \
             THEN (SELECT l.collname::text FROM pg_catalog.pg_collation l WHERE l.oid = a.attcollation) END \
         FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'm', 'f') AND {OURS} ORDER BY 1, a.attnum"
    );
    let mut parsed: HashMap<String, TypeName> = HashMap::new();
    for row in client.query(&sql, &[]).await? {
        let Some(relation) = oids.get(&row.get(0)).and_then(|rel| facts.relations.get_mut(rel)) else { continue };
        let words: &str = row.get(2);
        let ty = match parsed.get(words) {
            Some(ty) => ty.clone(),
            None => {
                let ty = type_definition(words).unwrap_or_default();
                parsed.insert(words.to_owned(), ty.clone());
                ty
            }
        };
        relation.columns.push(Column { name: row.get(1), ty, collation: row.get(4), not_null: row.get(3) });
    }
    Ok(())
}

async fn constraints(client: &Client, facts: &mut Facts, oids: &BTreeMap<u32, Rel>) -> Result<(), Error> {
    let sql = "SELECT conrelid, conname::text, pg_catalog.pg_get_constraintdef(oid), convalidated \
               FROM pg_catalog.pg_constraint WHERE conrelid <> 0 AND contype IN ('c', 'f', 'p', 'u', 'x')";
    for row in client.query(sql, &[]).await? {
        let Some(relation) = oids.get(&row.get(0)).and_then(|rel| facts.relations.get_mut(rel)) else { continue };
        if let Some(constraint) = constraint_definition(row.get(2)) {
            let held = Held { name: row.get(1), demand: constraint.demand, valid: row.get(3) };
            relation.constraints.push(held);
        }
    }
    Ok(())
}

async fn inheritance(client: &Client, facts: &mut Facts, oids: &BTreeMap<u32, Rel>) -> Result<(), Error> {
    let sql = "SELECT i.inhparent, i.inhrelid, COALESCE(p.partdefid = i.inhrelid, false) FROM pg_catalog.pg_inherits i \
               LEFT JOIN pg_catalog.pg_partitioned_table p ON p.partrelid = i.inhparent";
    for row in client.query(sql, &[]).await? {
        let (parent, child) = (oids.get(&row.get(0)), oids.get(&row.get(1)));
        if let (Some(parent), Some(child)) = (parent, child)
            && let Some(relation) = facts.relations.get_mut(parent)
        {
            relation.children.push(child.clone());
            if row.get(2) {
                relation.default_partition = Some(child.clone());
            }
        }
    }
    Ok(())
}

async fn partition_keys(client: &Client, facts: &mut Facts, oids: &BTreeMap<u32, Rel>) -> Result<(), Error> {
    let sql = "SELECT p.partrelid, ARRAY (SELECT a.attname::text FROM pg_catalog.pg_attribute a \
                 WHERE a.attrelid = p.partrelid AND a.attnum = ANY (p.partattrs)) FROM pg_catalog.pg_partitioned_table p";
    for row in client.query(sql, &[]).await? {
        if let Some(relation) = oids.get(&row.get(0)).and_then(|rel| facts.relations.get_mut(rel)) {
            relation.partition_key = row.get(1);
        }
    }
    Ok(())
}

async fn indexes(client: &Client, facts: &mut Facts) -> Result<(), Error> {
    let sql = format!(
        "SELECT n.nspname::text, x.relname::text, t.relname::text, \
           ARRAY (SELECT a.attname::text FROM pg_catalog.unnest(i.indkey) WITH ORDINALITY k (attnum, place) \
                  JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum ORDER BY k.place), \
           CASE WHEN i.indexprs IS NULL AND i.indpred IS NULL THEN '{{}}' ELSE \
             ARRAY (SELECT a.attname::text FROM pg_catalog.pg_depend d \
                    JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid \
                    WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = i.indexrelid \
                      AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = i.indrelid AND a.attnum > 0) END \
         FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid \
         JOIN pg_catalog.pg_class t ON t.oid = i.indrelid JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace WHERE {OURS}"
    );
    for row in client.query(&sql, &[]).await? {
        let schema: &str = row.get(0);
        let index = Index { table: Rel::new(schema, row.get(2)), columns: row.get(3), computed_from: row.get(4) };
        facts.indexes.insert(Rel::new(schema, row.get(1)), index);
    }
    Ok(())
}

async fn types(client: &Client, facts: &mut Facts) -> Result<(), Error> {
    let sql = format!(
        "WITH RECURSIVE below AS ( \
           SELECT oid AS top, oid AS one FROM pg_catalog.pg_type WHERE typtype = 'd' \
           UNION SELECT b.top, t.typbasetype FROM below b JOIN pg_catalog.pg_type t ON t.oid = b.one WHERE t.typtype = 'd' \
         ) \
         SELECT n.nspname::text, t.typname::text, t.typtype::text, \
           CASE WHEN t.typtype = 'd' THEN pg_catalog.format_type(t.typbasetype, t.typtypmod) END, \
           EXISTS (SELECT FROM below b JOIN pg_catalog.pg_type d ON d.oid = b.one WHERE b.top = t.oid AND (d.typnotnull OR EXISTS ( \
             SELECT FROM pg_catalog.pg_constraint c WHERE c.contypid = d.oid))), \
           CASE WHEN t.typtype = 'd' THEN pg_catalog.pg_get_expr(t.typdefaultbin, 0) END \
         FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace \
         WHERE t.typtype IN ('d', 'e', 'r', 'c') AND {OURS} \
           AND NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = t.typrelid AND c.relkind <> 'c')"
    );
    for row in client.query(&sql, &[]).await? {
        let ty = match row.get::<_, &str>(2) {
            "d" => {
                let base = row.get::<_, Option<&str>>(3).and_then(type_definition).unwrap_or_default();
                let default = row.get::<_, Option<&str>>(5).and_then(expression_definition).map(Box::new);
                UserType::Domain { base, constrained: row.get(4), default }
            }
            "e" => UserType::Enum,
            _ => UserType::Other,
        };
        facts.types.insert(Rel::new(row.get(0), row.get(1)), ty);
    }
    let sql = "SELECT s.typname::text, t.typname::text FROM pg_catalog.pg_cast c \
               JOIN pg_catalog.pg_type s ON s.oid = c.castsource JOIN pg_catalog.pg_type t ON t.oid = c.casttarget \
               WHERE c.castmethod = 'b'";
    for row in client.query(sql, &[]).await? {
        facts.binary_coercible.insert((row.get(0), row.get(1)));
    }
    Ok(())
}

async fn functions(client: &Client, facts: &mut Facts) -> Result<(), Error> {
    // Of the server's own and of extensions' functions only the volatility matters.
    let sql = "SELECT p.proname::text, n.nspname::text, pg_catalog.bool_or(p.provolatile = 'v'), pg_catalog.min(l.lanname)::text, \
                 pg_catalog.min(CASE WHEN n.nspname NOT IN ('pg_catalog', 'information_schema', 'dbd') AND l.lanname IN ('sql', 'plpgsql') \
                   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e') \
                   THEN p.prosrc END) \
               FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
               JOIN pg_catalog.pg_language l ON l.oid = p.prolang WHERE p.prokind IN ('f', 'p') GROUP BY 1, 2";
    for row in client.query(sql, &[]).await? {
        let one = Function { schema: row.get(1), volatile: row.get(2), language: row.get(3), body: row.get(4) };
        facts.functions.entry(row.get(0)).or_default().push(one);
    }
    Ok(())
}

async fn names(client: &Client, facts: &mut Facts) -> Result<(), Error> {
    let sql = "SELECT 'available', name::text FROM pg_catalog.pg_available_extensions \
               UNION ALL SELECT 'installed', extname::text FROM pg_catalog.pg_extension \
               UNION ALL SELECT 'schema', nspname::text FROM pg_catalog.pg_namespace";
    for row in client.query(sql, &[]).await? {
        let name: String = row.get(1);
        match row.get::<_, &str>(0) {
            "available" => {
                facts.available_extensions.get_or_insert_default().insert(name);
            }
            "installed" => {
                facts.extensions.insert(name);
            }
            _ => {
                facts.schemas.insert(name);
            }
        }
    }
    Ok(())
}
