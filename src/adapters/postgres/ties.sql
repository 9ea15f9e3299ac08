-- What is in the schemas $1 and depends on something of the user's that is not, or is depended on by such: a sentence each.
with room as materialized (select oid from pg_catalog.pg_namespace where nspname = any ($1::text[])),
rel as materialized (
  select c.oid from pg_catalog.pg_class c join room r on r.oid = c.relnamespace
),
toast as materialized (
  select c.reltoastrelid as oid from pg_catalog.pg_class c join rel r on r.oid = c.oid where c.reltoastrelid <> 0
),
inside as materialized (
  select 'pg_catalog.pg_namespace'::pg_catalog.regclass::oid as class, oid as id from room
  union select 'pg_catalog.pg_class'::pg_catalog.regclass::oid, oid from rel
  union select 'pg_catalog.pg_class'::pg_catalog.regclass::oid, oid from toast
  union select 'pg_catalog.pg_class'::pg_catalog.regclass::oid, i.indexrelid from pg_catalog.pg_index i join toast t on t.oid = i.indrelid
  union select 'pg_catalog.pg_type'::pg_catalog.regclass::oid, t.oid from pg_catalog.pg_type t join room r on r.oid = t.typnamespace
  union select 'pg_catalog.pg_type'::pg_catalog.regclass::oid, c.reltype from pg_catalog.pg_class c join toast t on t.oid = c.oid
  union select 'pg_catalog.pg_constraint'::pg_catalog.regclass::oid, k.oid from pg_catalog.pg_constraint k join rel r on r.oid = k.conrelid
  union select 'pg_catalog.pg_attrdef'::pg_catalog.regclass::oid, d.oid from pg_catalog.pg_attrdef d join rel r on r.oid = d.adrelid
  union select 'pg_catalog.pg_trigger'::pg_catalog.regclass::oid, g.oid from pg_catalog.pg_trigger g join rel r on r.oid = g.tgrelid
)
select pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid) || ' holds on to '
       || pg_catalog.pg_describe_object(d.refclassid, d.refobjid, d.refobjsubid)
  from pg_catalog.pg_depend d
  left join inside i on i.class = d.classid and i.id = d.objid
  left join inside r on r.class = d.refclassid and r.id = d.refobjid
 where (i.id is null) <> (r.id is null) and d.refobjid >= 16384
 order by 1
