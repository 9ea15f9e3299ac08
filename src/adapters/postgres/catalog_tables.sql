-- The tables of the user's, and what else has columns, for its name alone: `attributes` says which of the two.
--
-- $1 text[]: tables to leave out. `relation` is what the other statements call it by; a column that is not one of the reader's own
-- (see there) is an attribute of the table.
with
member as materialized (
  select objid from pg_depend where refclassid = 'pg_extension'::regclass and classid = 'pg_class'::regclass and deptype = 'e'
),
parent as materialized (
  select i.inhrelid, array_agg(pn.nspname || '.' || pc.relname order by i.inhseqno) as names
    from pg_inherits i join pg_class pc on pc.oid = i.inhparent join pg_namespace pn on pn.oid = pc.relnamespace
   group by 1
),
chosen as materialized (
  select i.indrelid, max(case when i.indisreplident then quote_ident(c.relname) end) as replica_identity,
         max(case when i.indisclustered then quote_ident(c.relname) end) as clustered_on
    from pg_index i join pg_class c on c.oid = i.indexrelid
   where i.indisreplident or i.indisclustered
   group by 1
),
toast as materialized (
  select c.oid, c.reloptions from pg_class c where c.relkind = 't' and c.reloptions is not null
)
select c.oid as relation,
       case c.relkind when 'f' then 'foreign_table' when 'v' then 'view' when 'm' then 'materialized_view' else 'table' end as kind,
       quote_ident(n.nspname) || '.' || quote_ident(c.relname) as name,
       c.relkind in ('r', 'p', 'f') as attributes,
       remark.description as comment,
       pg_get_userbyid(c.relowner) as owner,
       c.relpersistence as persistence,
       am.amname as access_method,
       case when c.relkind = 'p' then pg_get_partkeydef(c.oid) end as partition_key,
       case when c.relispartition then pg_get_expr(c.relpartbound, c.oid) end as partition_bound,
       parent.names as parents,
       c.relrowsecurity as row_security,
       c.relforcerowsecurity as force_row_security,
       case when c.relkind <> 'f' then c.relreplident end as replica_identity,
       chosen.replica_identity as replica_identity_index,
       chosen.clustered_on,
       case when c.reloptions is not null or toast.oid is not null then
              (select array_agg(o order by o)
                 from (select unnest(c.reloptions) as o union all select 'toast.' || unnest(toast.reloptions)) as options) end as options,
       case when c.reloftype <> 0 then format_type(c.reloftype, null) end as of_type,
       quote_ident(server.srvname) as server,
       case when ft.ftoptions is not null then
              (select array_agg(/*foreign_option*/ order by o) from unnest(ft.ftoptions) as o) end as foreign_options
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  left join pg_am am on am.oid = c.relam
  left join parent on parent.inhrelid = c.oid
  left join chosen on chosen.indrelid = c.oid
  left join toast on toast.oid = c.reltoastrelid
  left join pg_foreign_table ft on ft.ftrelid = c.oid
  left join pg_foreign_server server on server.oid = ft.ftserver
  left join pg_description remark on remark.objoid = c.oid and remark.classoid = 'pg_class'::regclass and remark.objsubid = 0
 where c.relkind in ('r', 'p', 'f', 'v', 'm')
   and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'dbd') and n.nspname !~ '^dbd_'
   and not (c.relkind in ('r', 'p')
            and (n.nspname || '.' || c.relname = any ($1::text[]) or quote_ident(n.nspname) || '.' || quote_ident(c.relname) = any ($1::text[])))
   and c.oid not in (select objid from member)
