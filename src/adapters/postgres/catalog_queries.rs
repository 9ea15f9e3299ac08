//! The statements of the catalog reader, named, by server version.

/// Every object, comment and privilege of the user's that no other statement reads; see the head of the file.
const OBJECTS: &str = include_str!("catalog.sql");

/// Every table, and the names of views.
const TABLES: &str = include_str!("catalog_tables.sql");

/// Every column of those.
const COLUMNS: &str = include_str!("catalog_columns.sql");

/// Every constraint of theirs: `relation`, `part`, and as [`tables`].
pub(super) const CONSTRAINTS: &str = include_str!("catalog_constraints.sql");

/// Every index of theirs: `relation`, `name`, and as [`tables`].
pub(super) const INDEXES: &str = include_str!("catalog_indexes.sql");

/// An option of a foreign server or table, without the value of one that looks like a secret.
const FOREIGN_OPTION: &str = "case when split_part(o, '=', 1) ~* 'pass|secret|token|key|credential' \
     then split_part(o, '=', 1) || '=[secret]' else o end";

/// The schemas a publication publishes whole, from PostgreSQL 15 on.
const PUBLICATION_SCHEMAS: &str = "(select jsonb_agg(s.name order by s.name) \
     from pg_publication_namespace pn join space s on s.oid = pn.pnnspid where pn.pnpubid = p.oid)";

/// A published table with its column list and row filter, from PostgreSQL 15 on.
const PUBLICATION_TABLE: &str = "r.name \
     || coalesce(' (' || (select string_agg(quote_ident(a.attname), ', ' order by a.attname) from pg_attribute a \
                           where a.attrelid = pr.prrelid and a.attnum = any (pr.prattrs)) || ')', '') \
     || coalesce(' WHERE ' || pg_get_expr(pr.prqual, pr.prrelid), '')";

/// The statement that reads the objects that no other statement reads, for a server whose `server_version_num` is `version`.
///
/// Parameter: the tables to leave out. Columns: `kind`, `name`, `parent`, `inherited`, `attributes`.
pub(super) fn objects(version: i32) -> String {
    let (schemas, table) =
        if version >= 150_000 { (PUBLICATION_SCHEMAS, PUBLICATION_TABLE) } else { ("null::jsonb", "r.name") };
    OBJECTS
        .replace("/*foreign_option*/", FOREIGN_OPTION)
        .replace("/*publication_schemas*/", schemas)
        .replace("/*publication_table*/", table)
        .replace("/*trigger_parent*/", if version >= 130_000 { "t.tgparentid" } else { "0" })
}

/// The statement that reads the tables. Parameter: those to leave out.
///
/// Columns: `relation`, `kind`, `name`, `comment`, whether it has `attributes` here, and one for each of them.
pub(super) fn tables() -> String {
    TABLES.replace("/*foreign_option*/", FOREIGN_OPTION)
}

/// The statement that reads the columns, for a server whose `server_version_num` is `version`: `relation`, `part`, `position`, `default`, and
/// as [`tables`].
pub(super) fn columns(version: i32) -> String {
    let compression = if version >= 140_000 { "nullif(a.attcompression::text, '')" } else { "null::text" };
    COLUMNS.replace("/*compression*/", compression)
}

/// Every ordinary table of the user's: `name`. Parameter: the tables to leave out.
///
/// Partitioned tables hold no rows of their own, and foreign tables hold theirs elsewhere.
pub(super) const ORDINARY_TABLES: &str = "
    select quote_ident(n.nspname) || '.' || quote_ident(c.relname) as name
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.relkind = 'r'
       and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'dbd') and n.nspname !~ '^dbd_'
       and not (n.nspname || '.' || c.relname = any ($1::text[])
                or quote_ident(n.nspname) || '.' || quote_ident(c.relname) = any ($1::text[]))
       and not exists (select from pg_depend d
                        where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
     order by 1";

/// Counts the rows of `tables`, whose names are quoted as SQL needs: `name`, `rows`.
///
/// `only`, because the rows of an inheritance child are counted with the child.
pub(super) fn row_counts(tables: &[String]) -> String {
    let one =
        |table: &String| format!("select '{}' as name, count(*) as rows from only {table}", table.replace('\'', "''"));
    tables.iter().map(one).collect::<Vec<_>>().join("\nunion all\n")
}

/// What the replica identities of captured tables were before: `name`, the identity, its index. Those that are not whole rows any more
/// were changed since, by a migration or by somebody else.
pub(super) const IDENTITIES_BEFORE_CAPTURE: &str = "
    select quote_ident(n.nspname) || '.' || quote_ident(c.relname), left(coalesce(p.identity, 'd'), 1),
           case when p.identity like 'i %' then quote_ident(substr(p.identity, 3)) end
      from dbd_capture.run r, dbd_capture.alias a
      join pg_class c on c.oid = a.rel and c.relreplident = 'f'
      join pg_namespace n on n.oid = c.relnamespace
      left join dbd_capture.protected p on p.rel = a.rel
     where r.capture ->> 'way' = 'slot'";
