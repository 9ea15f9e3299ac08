-- The constraints of tables. NOT NULL constraints (PostgreSQL 18) are the column's attribute; constraint triggers are triggers. A foreign key
-- to a partitioned table has a further row for each partition it refers to.
with member as materialized (
  select objid from pg_depend where refclassid = 'pg_extension'::regclass and classid = 'pg_constraint'::regclass and deptype = 'e'
)
select k.conrelid as relation,
       quote_ident(k.conname) as part,
       k.coninhcount > 0 as inherited,
       remark.description as comment,
       pg_get_constraintdef(k.oid) as definition,
       case when ic.reloptions is not null then (select array_agg(o order by o) from unnest(ic.reloptions) as o) end as options
  from pg_constraint k
  join pg_namespace n on n.oid = k.connamespace
  left join pg_class ic on ic.oid = k.conindid and k.contype in ('p', 'u', 'x')
  left join pg_description remark on remark.objoid = k.oid and remark.classoid = 'pg_constraint'::regclass and remark.objsubid = 0
 where k.contype in ('c', 'f', 'p', 'u', 'x') and k.conrelid <> 0
   and (k.conparentid = 0 or not exists (select from pg_constraint above where above.oid = k.conparentid and above.conrelid = k.conrelid))
   and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'dbd') and n.nspname !~ '^dbd_'
   and k.oid not in (select objid from member)
