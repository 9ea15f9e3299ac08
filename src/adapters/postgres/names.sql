-- Everything of the user's that has a name: class, object id, number within it, what it lies in, its plain name, what ALTER calls it.
-- The same object under another name, in a later look, was renamed.
with space as materialized (
  select oid, nspname from pg_catalog.pg_namespace
   where nspname !~ '^pg_' and nspname not in ('information_schema', 'dbd')
     -- Tables that were set aside are the ones they were.
     and (nspname !~ '^dbd_' or nspname ~ '^dbd_keep_')
)
select 'schema'::text, oid, 0, 0::oid, nspname::text, 'SCHEMA'::text from space
union all
select 'relation', c.oid, 0, c.relnamespace, c.relname::text,
       case c.relkind when 'v' then 'VIEW' when 'm' then 'MATERIALIZED VIEW' when 'S' then case when exists (
                           select from pg_catalog.pg_depend d where d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.objid = c.oid
                              and d.refobjsubid > 0 and d.deptype in ('a', 'i')) then 'OWNED SEQUENCE' else 'SEQUENCE' end
                      when 'f' then 'FOREIGN TABLE'
                      when 'i' then 'INDEX' when 'I' then 'INDEX' else 'TABLE' end
  from pg_catalog.pg_class c join space s on s.oid = c.relnamespace
 where c.relkind in ('r', 'p', 'v', 'm', 'S', 'f', 'i', 'I')
   and not exists (select from pg_catalog.pg_constraint k where k.conindid = c.oid and k.contype in ('p', 'u', 'x'))
   -- The index of a partition goes by its parent's.
   and not (c.relkind in ('i', 'I') and c.relispartition)
union all
select 'type', t.oid, 0, t.typnamespace, t.typname::text, case t.typtype when 'd' then 'DOMAIN' else 'TYPE' end
  from pg_catalog.pg_type t join space s on s.oid = t.typnamespace
 where t.typtype in ('e', 'd', 'r')
    or t.typtype = 'c' and exists (select from pg_catalog.pg_class c where c.oid = t.typrelid and c.relkind = 'c')
union all
select 'routine', p.oid, 0, p.pronamespace, p.proname::text,
       case p.prokind when 'p' then 'PROCEDURE' when 'a' then 'AGGREGATE' else 'FUNCTION' end
       || '(' || pg_catalog.pg_get_function_identity_arguments(p.oid) || ')'
  from pg_catalog.pg_proc p join space s on s.oid = p.pronamespace
 where not exists (select from pg_catalog.pg_depend d
                    where d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass and d.objid = p.oid and d.deptype in ('e', 'i'))
union all
select 'column', a.attrelid, a.attnum::int, a.attrelid, a.attname::text, ''
  from pg_catalog.pg_attribute a join pg_catalog.pg_class c on c.oid = a.attrelid join space s on s.oid = c.relnamespace
 where a.attnum > 0 and not a.attisdropped and a.attinhcount = 0 and c.relkind in ('r', 'p', 'v', 'm', 'f')
union all
select 'constraint', k.oid, 0, k.conrelid, k.conname::text, ''
  from pg_catalog.pg_constraint k join space s on s.oid = k.connamespace
 where k.conrelid <> 0 and k.coninhcount = 0 and k.conparentid = 0 and k.contype in ('p', 'u', 'f', 'c', 'x')
union all
select 'trigger', g.oid, 0, g.tgrelid, g.tgname::text, ''
  from pg_catalog.pg_trigger g join pg_catalog.pg_class c on c.oid = g.tgrelid join space s on s.oid = c.relnamespace
 where not g.tgisinternal and coalesce((pg_catalog.to_jsonb(g) ->> 'tgparentid')::oid, 0) = 0
union all
select 'enum value', e.oid, 0, e.enumtypid, e.enumlabel::text, ''
  from pg_catalog.pg_enum e join pg_catalog.pg_type t on t.oid = e.enumtypid join space s on s.oid = t.typnamespace
