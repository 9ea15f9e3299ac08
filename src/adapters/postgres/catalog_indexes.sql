-- The indexes that no constraint owns.
with member as materialized (
  select objid from pg_depend where refclassid = 'pg_extension'::regclass and classid = 'pg_class'::regclass and deptype = 'e'
),
target as materialized (
  select a.attrelid, jsonb_object_agg(a.attnum, a.attstattarget) as targets
    from pg_attribute a join pg_index i on i.indexrelid = a.attrelid
   where a.attstattarget >= 0 group by 1
)
select i.indrelid as relation,
       quote_ident(n.nspname) || '.' || quote_ident(c.relname) as name,
       c.relispartition as inherited,
       remark.description as comment,
       pg_get_indexdef(i.indexrelid) as definition,
       i.indisunique as unique,
       i.indisvalid as valid,
       target.targets as statistics_targets
  from pg_index i
  join pg_class c on c.oid = i.indexrelid
  join pg_namespace n on n.oid = c.relnamespace
  left join pg_constraint k on k.conindid = i.indexrelid and k.conrelid = i.indrelid and k.contype in ('p', 'u', 'x')
  left join target on target.attrelid = i.indexrelid
  left join pg_description remark on remark.objoid = i.indexrelid and remark.classoid = 'pg_class'::regclass and remark.objsubid = 0
 where n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'dbd') and n.nspname !~ '^dbd_'
   and k.oid is null
   and i.indexrelid not in (select objid from member)
