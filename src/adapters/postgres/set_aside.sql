-- What stands in the way of setting the table $1 aside, as (0, sentence), else the statements that take off it whatever acts on others or holds
-- on to them, in order, as (place, statement). $2: whether what depends on it may go with it. Nothing if there is no such table.
with t as materialized (
  select c.oid, c.relkind, c.relispartition, c.relacl, c.relowner, n.nspname, c.relname, pg_catalog.format('%I.%I', n.nspname, c.relname) as name
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.oid = pg_catalog.to_regclass($1)
),
-- The sequences of its columns go where it goes.
owned as materialized (
  select s.oid, s.relacl, s.relowner, pg_catalog.format('%I.%I', n.nspname, s.relname) as name
    from t join pg_catalog.pg_depend d on d.refobjid = t.oid and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
     and d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.refobjsubid > 0 and d.deptype in ('a', 'i')
    join pg_catalog.pg_class s on s.oid = d.objid and s.relkind = 'S' join pg_catalog.pg_namespace n on n.oid = s.relnamespace
),
granted as (
  select 'TABLE ' || t.name as what, a.grantee, t.relowner from t, pg_catalog.aclexplode(t.relacl) a
  union select 'TABLE ' || t.name, a.grantee, t.relowner
    from t join pg_catalog.pg_attribute c on c.attrelid = t.oid, pg_catalog.aclexplode(c.attacl) a
  union select 'SEQUENCE ' || s.name, a.grantee, s.relowner from owned s, pg_catalog.aclexplode(s.relacl) a
)
select 0, 'its rows lie in other tables, or are those of another one'
  from t where t.relkind <> 'r' or t.relispartition
    or exists (select from pg_catalog.pg_inherits i where t.oid in (i.inhrelid, i.inhparent))
union all
select 0, 'it is published by ' || p.pubname
  from t join pg_catalog.pg_publication_rel r on r.prrelid = t.oid join pg_catalog.pg_publication p on p.oid = r.prpubid
 where p.pubname !~ '^dbd_'
union all
select 0, 'the event trigger ' || e.evtname || ' is told of what is dropped'
  from t, pg_catalog.pg_event_trigger e where e.evtevent = 'sql_drop' and e.evtenabled <> 'D' and e.evtname !~ '^dbd_'
union all
-- Views go with it, and what is made of them.
select distinct 1, pg_catalog.format('DROP %s IF EXISTS %I.%I CASCADE', case v.relkind when 'm' then 'MATERIALIZED VIEW' else 'VIEW' end, n.nspname, v.relname)
  from t join pg_catalog.pg_depend d on d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.refobjid = t.oid
     and d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
    join pg_catalog.pg_rewrite r on r.oid = d.objid join pg_catalog.pg_class v on v.oid = r.ev_class and v.relkind in ('v', 'm')
    join pg_catalog.pg_namespace n on n.oid = v.relnamespace
 where $2
union all
select 1, pg_catalog.format('ALTER TABLE %I.%I DROP CONSTRAINT %I', n.nspname, c.relname, k.conname)
  from t join pg_catalog.pg_constraint k on k.contype = 'f' and k.conrelid <> k.confrelid and k.conparentid = 0
     and (k.conrelid = t.oid or k.confrelid = t.oid and $2)
    join pg_catalog.pg_class c on c.oid = k.conrelid join pg_catalog.pg_namespace n on n.oid = c.relnamespace
union all
select 2, pg_catalog.format('DROP TRIGGER %I ON %s', g.tgname, t.name)
  from t join pg_catalog.pg_trigger g on g.tgrelid = t.oid where not g.tgisinternal and g.tgname !~ '^!dbd_'
union all
select 3, pg_catalog.format('DROP RULE %I ON %s', r.rulename, t.name) from t join pg_catalog.pg_rewrite r on r.ev_class = t.oid
union all
select 4, pg_catalog.format('DROP POLICY %I ON %s', p.polname, t.name) from t join pg_catalog.pg_policy p on p.polrelid = t.oid
union all
select 5, pg_catalog.format('DROP STATISTICS %I.%I', n.nspname, s.stxname)
  from t join pg_catalog.pg_statistic_ext s on s.stxrelid = t.oid join pg_catalog.pg_namespace n on n.oid = s.stxnamespace
union all
-- Defaults that call a function or another table's sequence.
select 6, pg_catalog.format('ALTER TABLE %s ALTER COLUMN %I DROP DEFAULT', t.name, a.attname)
  from t join pg_catalog.pg_attrdef d on d.adrelid = t.oid
    join pg_catalog.pg_attribute a on a.attrelid = t.oid and a.attnum = d.adnum and a.attgenerated = ''
 where exists (select from pg_catalog.pg_depend p where p.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass and p.objid = d.oid
                  and p.refobjid >= 16384 and p.refobjid <> t.oid and p.refobjid not in (select oid from owned)
                  and p.refclassid in ('pg_catalog.pg_class'::pg_catalog.regclass, 'pg_catalog.pg_proc'::pg_catalog.regclass))
union all
select distinct 7, pg_catalog.format('REVOKE ALL ON %s FROM %s CASCADE', g.what,
         case g.grantee when 0 then 'PUBLIC' else (select pg_catalog.quote_ident(rolname) from pg_catalog.pg_roles where oid = g.grantee) end)
  from granted g where g.grantee <> g.relowner
union all
select 8, pg_catalog.format('ALTER TABLE %s SET SCHEMA ', t.name) from t
order by 1, 2
