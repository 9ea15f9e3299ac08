-- Every object of the user's but those there are most of, one row each, then a row for each comment on them and for each privilege on
-- anything. Tables, columns, constraints and indexes are read by statements of their own, which build no JSON.
--
-- $1 text[]: tables to leave out, as `schema.table`, quoted or not, with their indexes and sequences.
--
-- Runs with search_path = pg_catalog, so that every deparsed name of the user's is qualified and no name here can be hijacked.
-- Columns that came after PostgreSQL 12 are reached through to_jsonb(row), which gives null where there is none.
-- Names of other objects within attributes (parents, collations, owners of sequences) are plain, without quotes.
-- Comments are looked up in pg_description itself: obj_description() costs a call of an SQL function an object, a fifth of the whole.
-- What stands in /*...*/ is replaced by the caller, by version.
with
left_out as materialized (
  select c.oid
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
   where cardinality($1::text[]) > 0 and c.relkind in ('r', 'p')
     and (n.nspname || '.' || c.relname = any ($1::text[]) or quote_ident(n.nspname) || '.' || quote_ident(c.relname) = any ($1::text[]))
),
left_out_relation as materialized (
  select oid from left_out
  union
  select i.indexrelid from pg_index i join left_out on left_out.oid = i.indrelid
  union
  select s.oid
    from pg_depend d join left_out on left_out.oid = d.refobjid join pg_class s on s.oid = d.objid and s.relkind = 'S'
   where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass and d.deptype in ('a', 'i')
),
member as materialized (select classid, objid from pg_depend where refclassid = 'pg_extension'::regclass and deptype = 'e'),
space as materialized (
  select n.oid, n.nspname, quote_ident(n.nspname) as name, n.nspowner, n.nspacl
    from pg_namespace n
   where n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'dbd') and n.nspname !~ '^dbd_'
     -- A schema that holds nothing but tables that are left out is left out with them.
     and not (
       n.nspname <> 'public'
       and exists (select from pg_class c join left_out on left_out.oid = c.oid where c.relnamespace = n.oid)
       and not exists (select from pg_class c where c.relnamespace = n.oid and c.oid not in (select oid from left_out_relation))
       and not exists (select from pg_proc p where p.pronamespace = n.oid)
       and not exists (select from pg_type t where t.typnamespace = n.oid and t.typrelid = 0 and t.typelem = 0))
),
relation as materialized (
  select c.oid, c.relkind, s.name || '.' || quote_ident(c.relname) as name, c.relowner, c.relacl, c.reltype,
         c.relpersistence, c.relam, c.reloptions, c.reltoastrelid, c.relrowsecurity, c.relforcerowsecurity,
         c.relreplident, c.relispartition, c.relpartbound, c.reloftype,
         case
           when c.relkind in ('r', 'p') then 'table'
           when c.relkind = 'f' then 'foreign_table'
           when c.relkind = 'v' then 'view'
           when c.relkind = 'm' then 'materialized_view'
           when c.relkind = 'c' then 'composite_type'
           when exists (
             select from pg_depend d
              where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'i' and d.refobjsubid > 0)
             then 'identity_sequence'
           else 'sequence'
         end as kind
    from pg_class c join space s on s.oid = c.relnamespace
   where c.relkind in ('r', 'p', 'f', 'v', 'm', 'S', 'c')
     and c.oid not in (select oid from left_out_relation)
     and not exists (select from member m where m.classid = 'pg_class'::regclass and m.objid = c.oid)
),
type as materialized (
  select t.oid, s.name || '.' || quote_ident(t.typname) as name, t.typowner, t.typacl, t.typtype, t.typrelid, t.typelem,
         t.typbasetype, t.typtypmod, t.typnotnull, t.typdefault, t.typcollation, t.typlen, t.typbyval, t.typalign, t.typstorage,
         t.typcategory, t.typispreferred, t.typdelim, t.typinput, t.typoutput, t.typreceive, t.typsend,
         t.typmodin, t.typmodout, t.typanalyze
    from pg_type t join space s on s.oid = t.typnamespace
   where t.typisdefined
     and not exists (select from member m where m.classid = 'pg_type'::regclass and m.objid = t.oid)
),
object (kind, name, parent, inherited, attributes, comment, acl_type, acl, owner) as materialized (

  select 'schema', s.name, null::text, false, jsonb_build_object('owner', pg_get_userbyid(s.nspowner)),
         (select remark.description from pg_description remark where remark.objoid = s.oid and remark.classoid = 'pg_namespace'::regclass and remark.objsubid = 0), 'n', s.nspacl, s.nspowner
    from space s
   where not exists (select from member m where m.classid = 'pg_namespace'::regclass and m.objid = s.oid)

  -- The comment on an extension is its author's, so it is not read.
  union all
  select 'extension', quote_ident(e.extname), null, false,
         jsonb_build_object('version', e.extversion, 'schema', quote_ident(n.nspname)), null, null, null, null
    from pg_extension e join pg_namespace n on n.oid = e.extnamespace

  union all
  select r.kind, r.name, case when h.relkind in ('v', 'm') then 'view_column' else 'column' end || ':' || h.name || '.' || quote_ident(c.attname), false,
         jsonb_build_object(
           'owner', pg_get_userbyid(r.relowner),
           'type', format_type(q.seqtypid, null),
           'start', q.seqstart, 'min', q.seqmin, 'max', q.seqmax, 'increment', q.seqincrement, 'cache', q.seqcache, 'cycle', q.seqcycle,
           'persistence', nullif(r.relpersistence::text, 'p'),
           'owned_by', case when r.kind = 'sequence' then
                         (select n.nspname || '.' || oc.relname || '.' || a.attname
                            from pg_depend d join pg_class oc on oc.oid = d.refobjid join pg_namespace n on n.oid = oc.relnamespace
                            join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
                           where d.classid = 'pg_class'::regclass and d.objid = r.oid and d.refclassid = 'pg_class'::regclass
                             and d.deptype = 'a' limit 1) end),
         (select remark.description from pg_description remark where remark.objoid = r.oid and remark.classoid = 'pg_class'::regclass and remark.objsubid = 0), 's', r.relacl, r.relowner
    from relation r
    join pg_sequence q on q.seqrelid = r.oid
    left join pg_depend d on d.classid = 'pg_class'::regclass and d.objid = r.oid and d.deptype = 'i' and d.refobjsubid > 0
    left join relation h on h.oid = d.refobjid
    left join pg_attribute c on c.attrelid = d.refobjid and c.attnum = d.refobjsubid

  union all
  select r.kind, r.name, null, false,
         jsonb_build_object(
           'owner', pg_get_userbyid(r.relowner),
           'definition', pg_get_viewdef(r.oid),
           'options', (select jsonb_agg(o order by o) from unnest(r.reloptions) as o),
           'access_method', (select amname from pg_am where pg_am.oid = r.relam),
           'clustered_on', (select quote_ident(ic.relname) from pg_index i join pg_class ic on ic.oid = i.indexrelid
                             where i.indrelid = r.oid and i.indisclustered)),
         (select remark.description from pg_description remark where remark.objoid = r.oid and remark.classoid = 'pg_class'::regclass and remark.objsubid = 0), 'r', r.relacl, r.relowner
    from relation r
   where r.relkind in ('v', 'm')

  -- The constructor functions of a range type come with the type.
  union all
  select case p.prokind when 'p' then 'procedure' when 'a' then 'aggregate' else 'function' end,
         s.name || '.' || quote_ident(p.proname) || '(' || pg_get_function_identity_arguments(p.oid) || ')', null, false,
         jsonb_build_object(
           'owner', pg_get_userbyid(p.proowner),
           'result', pg_get_function_result(p.oid),
           'volatility', p.provolatile::text,
           'definition', case when p.prokind <> 'a' then pg_get_functiondef(p.oid) end)
         || case when p.prokind <> 'a' then '{}' else
              (select jsonb_build_object(
                        'arguments', pg_get_function_arguments(p.oid),
                        'kind', g.aggkind::text, 'direct_arguments', g.aggnumdirectargs, 'parallel', p.proparallel::text,
                        'function', g.aggtransfn::regprocedure::text, 'state', format_type(g.aggtranstype, null),
                        'state_size', g.aggtransspace, 'initial', g.agginitval,
                        'final', nullif(g.aggfinalfn::oid, 0)::regprocedure::text, 'final_extra', g.aggfinalextra,
                        'final_modify', g.aggfinalmodify::text,
                        'combine', nullif(g.aggcombinefn::oid, 0)::regprocedure::text,
                        'serialize', nullif(g.aggserialfn::oid, 0)::regprocedure::text,
                        'deserialize', nullif(g.aggdeserialfn::oid, 0)::regprocedure::text,
                        'moving_function', nullif(g.aggmtransfn::oid, 0)::regprocedure::text,
                        'moving_inverse', nullif(g.aggminvtransfn::oid, 0)::regprocedure::text,
                        'moving_final', nullif(g.aggmfinalfn::oid, 0)::regprocedure::text,
                        'moving_final_extra', g.aggmfinalextra, 'moving_final_modify', g.aggmfinalmodify::text,
                        'moving_state', case when g.aggmtranstype <> 0 then format_type(g.aggmtranstype, null) end,
                        'moving_state_size', g.aggmtransspace, 'moving_initial', g.aggminitval,
                        'sort_operator', nullif(g.aggsortop, 0)::regoperator::text)
                 from pg_aggregate g where g.aggfnoid = p.oid) end,
         (select remark.description from pg_description remark where remark.objoid = p.oid and remark.classoid = 'pg_proc'::regclass and remark.objsubid = 0), 'f', p.proacl, p.proowner
    from pg_proc p join space s on s.oid = p.pronamespace
   where not exists (select from member m where m.classid = 'pg_proc'::regclass and m.objid = p.oid)
     and not exists (select from pg_depend d where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'i')

  -- A partition's copy of its parent's trigger is marked internal before PostgreSQL 15, and has no tgparentid before 13; to_jsonb() would
  -- be called for each of the four triggers of every foreign key.
  union all
  select 'trigger', r.name || '.' || quote_ident(t.tgname), r.kind || ':' || r.name,
         /*trigger_parent*/ <> 0,
         jsonb_build_object('definition', pg_get_triggerdef(t.oid), 'enabled', t.tgenabled::text),
         (select remark.description from pg_description remark where remark.objoid = t.oid and remark.classoid = 'pg_trigger'::regclass and remark.objsubid = 0), null, null, null
    from pg_trigger t join relation r on r.oid = t.tgrelid
   where t.tgname !~ '^!dbd_' and (not t.tgisinternal or /*trigger_parent*/ <> 0)
     and not exists (select from pg_constraint k where k.oid = t.tgconstraint and k.contype <> 't')
     and not exists (select from member m where m.classid = 'pg_trigger'::regclass and m.objid = t.oid)

  union all
  select 'rule', r.name || '.' || quote_ident(w.rulename), r.kind || ':' || r.name, false,
         jsonb_build_object('definition', pg_get_ruledef(w.oid), 'enabled', w.ev_enabled::text),
         (select remark.description from pg_description remark where remark.objoid = w.oid and remark.classoid = 'pg_rewrite'::regclass and remark.objsubid = 0), null, null, null
    from pg_rewrite w join relation r on r.oid = w.ev_class
   where w.rulename <> '_RETURN'
     and not exists (select from member m where m.classid = 'pg_rewrite'::regclass and m.objid = w.oid)

  union all
  select 'policy', r.name || '.' || quote_ident(p.polname), r.kind || ':' || r.name, false,
         jsonb_build_object(
           'command', case p.polcmd when 'r' then 'SELECT' when 'a' then 'INSERT' when 'w' then 'UPDATE' when 'd' then 'DELETE' else 'ALL' end,
           'permissive', p.polpermissive,
           'roles', (select jsonb_agg(case when o = 0 then 'PUBLIC' else quote_ident(pg_get_userbyid(o)) end
                                      order by o <> 0, pg_get_userbyid(o))
                       from unnest(p.polroles) as o),
           'using', pg_get_expr(p.polqual, p.polrelid),
           'check', pg_get_expr(p.polwithcheck, p.polrelid)),
         (select remark.description from pg_description remark where remark.objoid = p.oid and remark.classoid = 'pg_policy'::regclass and remark.objsubid = 0), null, null, null
    from pg_policy p join relation r on r.oid = p.polrelid
   where not exists (select from member m where m.classid = 'pg_policy'::regclass and m.objid = p.oid)

  union all
  select 'enum', t.name, null, false,
         jsonb_build_object(
           'owner', pg_get_userbyid(t.typowner),
           'values', coalesce((select jsonb_agg(e.enumlabel order by e.enumsortorder) from pg_enum e where e.enumtypid = t.oid), '[]')),
         (select remark.description from pg_description remark where remark.objoid = t.oid and remark.classoid = 'pg_type'::regclass and remark.objsubid = 0), 'T', t.typacl, t.typowner
    from type t
   where t.typtype = 'e'

  union all
  select 'domain', t.name, null, false,
         jsonb_build_object(
           'owner', pg_get_userbyid(t.typowner),
           'type', format_type(t.typbasetype, t.typtypmod),
           'not_null', t.typnotnull,
           'default', t.typdefault,
           'collation', case when t.typcollation <> b.typcollation then
                          (select n.nspname || '.' || l.collname
                             from pg_collation l join pg_namespace n on n.oid = l.collnamespace where l.oid = t.typcollation) end),
         (select remark.description from pg_description remark where remark.objoid = t.oid and remark.classoid = 'pg_type'::regclass and remark.objsubid = 0), 'T', t.typacl, t.typowner
    from type t join pg_type b on b.oid = t.typbasetype
   where t.typtype = 'd'

  union all
  select 'domain_constraint', t.name || '.' || quote_ident(k.conname), 'domain:' || t.name, false,
         jsonb_build_object('definition', pg_get_constraintdef(k.oid)), (select remark.description from pg_description remark where remark.objoid = k.oid and remark.classoid = 'pg_constraint'::regclass and remark.objsubid = 0), null, null, null
    from pg_constraint k join type t on t.oid = k.contypid
   where k.contype = 'c'

  union all
  select 'composite_type', r.name, null, false,
         jsonb_build_object(
           'owner', pg_get_userbyid(r.relowner),
           'attributes', coalesce((
             select jsonb_agg(jsonb_build_array(quote_ident(a.attname), format_type(a.atttypid, a.atttypmod))
                              || case when a.attcollation = b.typcollation then '[]' else
                                   (select jsonb_build_array(quote_ident(n.nspname) || '.' || quote_ident(l.collname))
                                      from pg_collation l join pg_namespace n on n.oid = l.collnamespace where l.oid = a.attcollation) end
                              order by a.attnum)
               from pg_attribute a join pg_type b on b.oid = a.atttypid
              where a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped), '[]')),
         (select remark.description from pg_description remark where remark.objoid = r.reltype and remark.classoid = 'pg_type'::regclass and remark.objsubid = 0), 'T', t.typacl, r.relowner
    from relation r join pg_type t on t.oid = r.reltype
   where r.relkind = 'c'

  union all
  select 'range_type', t.name, null, false,
         jsonb_build_object(
           'owner', pg_get_userbyid(t.typowner),
           'subtype', format_type(g.rngsubtype, null),
           'subtype_opclass', (select quote_ident(n.nspname) || '.' || quote_ident(o.opcname)
                                 from pg_opclass o join pg_namespace n on n.oid = o.opcnamespace where o.oid = g.rngsubopc),
           'collation', (select n.nspname || '.' || l.collname
                           from pg_collation l join pg_namespace n on n.oid = l.collnamespace where l.oid = g.rngcollation),
           'canonical', nullif(g.rngcanonical::oid, 0)::regprocedure::text,
           'subtype_diff', nullif(g.rngsubdiff::oid, 0)::regprocedure::text,
           'multirange', format_type(nullif((to_jsonb(g) ->> 'rngmultitypid')::oid, 0), null)),
         (select remark.description from pg_description remark where remark.objoid = t.oid and remark.classoid = 'pg_type'::regclass and remark.objsubid = 0), 'T', t.typacl, t.typowner
    from type t join pg_range g on g.rngtypid = t.oid
   where t.typtype = 'r'

  union all
  select 'base_type', t.name, null, false,
         jsonb_build_object(
           'owner', pg_get_userbyid(t.typowner),
           'input', t.typinput::regprocedure::text, 'output', t.typoutput::regprocedure::text,
           'receive', nullif(t.typreceive::oid, 0)::regprocedure::text, 'send', nullif(t.typsend::oid, 0)::regprocedure::text,
           'typmod_in', nullif(t.typmodin::oid, 0)::regprocedure::text, 'typmod_out', nullif(t.typmodout::oid, 0)::regprocedure::text,
           'analyze', nullif(t.typanalyze::oid, 0)::regprocedure::text,
           'subscript', (select nullif(to_jsonb(y) ->> 'typsubscript', '-') from pg_type y where y.oid = t.oid),
           'length', t.typlen, 'by_value', t.typbyval, 'alignment', t.typalign::text, 'storage', t.typstorage::text,
           'category', t.typcategory::text, 'preferred', t.typispreferred, 'delimiter', t.typdelim::text,
           'default', t.typdefault, 'collatable', t.typcollation <> 0,
           'element', case when t.typelem <> 0 then format_type(t.typelem, null) end),
         (select remark.description from pg_description remark where remark.objoid = t.oid and remark.classoid = 'pg_type'::regclass and remark.objsubid = 0), 'T', t.typacl, t.typowner
    from type t
   where t.typtype = 'b' and not exists (select from pg_type e where e.typarray = t.oid)

  -- A collation's version is the machine's, not the schema's.
  union all
  select 'collation', s.name || '.' || quote_ident(l.collname), null, false,
         jsonb_build_object(
           'owner', pg_get_userbyid(l.collowner),
           'provider', l.collprovider::text,
           'deterministic', l.collisdeterministic,
           'lc_collate', to_jsonb(l) ->> 'collcollate',
           'lc_ctype', to_jsonb(l) ->> 'collctype',
           'locale', coalesce(to_jsonb(l) ->> 'colllocale', to_jsonb(l) ->> 'colliculocale'),
           'rules', to_jsonb(l) ->> 'collicurules'),
         (select remark.description from pg_description remark where remark.objoid = l.oid and remark.classoid = 'pg_collation'::regclass and remark.objsubid = 0), null, null, null
    from pg_collation l join space s on s.oid = l.collnamespace
   where not exists (select from member m where m.classid = 'pg_collation'::regclass and m.objid = l.oid)

  union all
  select 'statistics', s.name || '.' || quote_ident(x.stxname), r.kind || ':' || r.name, false,
         jsonb_build_object(
           'owner', pg_get_userbyid(x.stxowner),
           'definition', pg_get_statisticsobjdef(x.oid),
           'target', nullif((to_jsonb(x) ->> 'stxstattarget')::int, -1)),
         (select remark.description from pg_description remark where remark.objoid = x.oid and remark.classoid = 'pg_statistic_ext'::regclass and remark.objsubid = 0), null, null, null
    from pg_statistic_ext x join space s on s.oid = x.stxnamespace join relation r on r.oid = x.stxrelid
   where not exists (select from member m where m.classid = 'pg_statistic_ext'::regclass and m.objid = x.oid)

  union all
  select 'publication', quote_ident(p.pubname), null, false,
         jsonb_build_object(
           'owner', pg_get_userbyid(p.pubowner),
           'all_tables', p.puballtables,
           'insert', p.pubinsert, 'update', p.pubupdate, 'delete', p.pubdelete, 'truncate', p.pubtruncate,
           'via_partition_root', (to_jsonb(p) ->> 'pubviaroot')::boolean,
           'generated_columns', nullif(to_jsonb(p) ->> 'pubgencols', 'n'),
           'schemas', /*publication_schemas*/,
           'tables', (select jsonb_agg(/*publication_table*/ order by r.name)
                        from pg_publication_rel pr join relation r on r.oid = pr.prrelid where pr.prpubid = p.oid)),
         (select remark.description from pg_description remark where remark.objoid = p.oid and remark.classoid = 'pg_publication'::regclass and remark.objsubid = 0), null, null, null
    from pg_publication p
   where p.pubname !~ '^dbd_'
     and not exists (select from member m where m.classid = 'pg_publication'::regclass and m.objid = p.oid)

  union all
  select 'event_trigger', quote_ident(e.evtname), null, false,
         jsonb_build_object(
           'owner', pg_get_userbyid(e.evtowner), 'event', e.evtevent, 'enabled', e.evtenabled::text,
           'function', e.evtfoid::regprocedure::text, 'tags', (select jsonb_agg(o order by o) from unnest(e.evttags) as o)),
         (select remark.description from pg_description remark where remark.objoid = e.oid and remark.classoid = 'pg_event_trigger'::regclass and remark.objsubid = 0), null, null, null
    from pg_event_trigger e
   where e.evtname !~ '^dbd_'
     and not exists (select from member m where m.classid = 'pg_event_trigger'::regclass and m.objid = e.oid)

  -- Casts have no schema; those with a number below 16384 are the system's.
  union all
  -- That of a range to its multirange comes with the type.
  select 'cast', '(' || format_type(k.castsource, null) || ' AS ' || format_type(k.casttarget, null) || ')',
         (select 'range_type:' || t.name from type t
           where t.oid = k.castsource
             and exists (select from pg_depend d where d.classid = 'pg_cast'::regclass and d.objid = k.oid and d.deptype = 'i')), false,
         jsonb_build_object(
           'context', k.castcontext::text, 'method', k.castmethod::text,
           'function', nullif(k.castfunc, 0)::regprocedure::text),
         (select remark.description from pg_description remark where remark.objoid = k.oid and remark.classoid = 'pg_cast'::regclass and remark.objsubid = 0), null, null, null
    from pg_cast k
   where k.oid >= 16384 and not exists (select from member m where m.classid = 'pg_cast'::regclass and m.objid = k.oid)

  union all
  select 'operator', o.oid::regoperator::text, null, false,
         jsonb_build_object(
           'owner', pg_get_userbyid(o.oprowner), 'function', nullif(o.oprcode::oid, 0)::regprocedure::text,
           'result', format_type(nullif(o.oprresult, 0), null),
           'commutator', nullif(o.oprcom, 0)::regoperator::text, 'negator', nullif(o.oprnegate, 0)::regoperator::text,
           'restrict', nullif(o.oprrest::oid, 0)::regprocedure::text, 'join', nullif(o.oprjoin::oid, 0)::regprocedure::text,
           'hashes', o.oprcanhash, 'merges', o.oprcanmerge),
         (select remark.description from pg_description remark where remark.objoid = o.oid and remark.classoid = 'pg_operator'::regclass and remark.objsubid = 0), null, null, null
    from pg_operator o join space s on s.oid = o.oprnamespace
   where not exists (select from member m where m.classid = 'pg_operator'::regclass and m.objid = o.oid)

  union all
  select 'operator_class', s.name || '.' || quote_ident(o.opcname) || ' USING ' || quote_ident(am.amname), null, false,
         jsonb_build_object(
           'owner', pg_get_userbyid(o.opcowner), 'type', format_type(o.opcintype, null), 'default', o.opcdefault,
           'storage', case when o.opckeytype <> 0 then format_type(o.opckeytype, null) end,
           'family', (select quote_ident(n.nspname) || '.' || quote_ident(f.opfname)
                        from pg_opfamily f join pg_namespace n on n.oid = f.opfnamespace where f.oid = o.opcfamily),
           'operators', (select jsonb_agg(a.amopstrategy || ' ' || a.amopopr::regoperator::text
                                          order by a.amopstrategy, a.amopopr::regoperator::text)
                           from pg_amop a where a.amopfamily = o.opcfamily
                            and (a.amoplefttype = o.opcintype or a.amoprighttype = o.opcintype)),
           'functions', (select jsonb_agg(a.amprocnum || ' ' || a.amproc::regprocedure::text
                                          order by a.amprocnum, a.amproc::regprocedure::text)
                           from pg_amproc a where a.amprocfamily = o.opcfamily
                            and (a.amproclefttype = o.opcintype or a.amprocrighttype = o.opcintype))),
         (select remark.description from pg_description remark where remark.objoid = o.oid and remark.classoid = 'pg_opclass'::regclass and remark.objsubid = 0), null, null, null
    from pg_opclass o join space s on s.oid = o.opcnamespace join pg_am am on am.oid = o.opcmethod
   where not exists (select from member m where m.classid = 'pg_opclass'::regclass and m.objid = o.oid)

  union all
  select 'foreign_server', quote_ident(f.srvname), null, false,
         jsonb_build_object(
           'owner', pg_get_userbyid(f.srvowner), 'type', f.srvtype, 'version', f.srvversion,
           'wrapper', (select quote_ident(w.fdwname) from pg_foreign_data_wrapper w where w.oid = f.srvfdw),
           'options', (select jsonb_agg(/*foreign_option*/ order by o) from unnest(f.srvoptions) as o)),
         (select remark.description from pg_description remark where remark.objoid = f.oid and remark.classoid = 'pg_foreign_server'::regclass and remark.objsubid = 0), 'S', f.srvacl, f.srvowner
    from pg_foreign_server f
   where not exists (select from member m where m.classid = 'pg_foreign_server'::regclass and m.objid = f.oid)

  union all
  select 'text_search_configuration', s.name || '.' || quote_ident(c.cfgname), null, false,
         jsonb_build_object(
           'owner', pg_get_userbyid(c.cfgowner),
           'parser', (select quote_ident(n.nspname) || '.' || quote_ident(p.prsname)
                        from pg_ts_parser p join pg_namespace n on n.oid = p.prsnamespace where p.oid = c.cfgparser),
           'mappings', (select jsonb_object_agg(alias, dictionaries)
                          from (select k.alias, jsonb_agg(m.mapdict::regdictionary::text order by m.mapseqno) as dictionaries
                                  from pg_ts_config_map m join ts_token_type(c.cfgparser) k on k.tokid = m.maptokentype
                                 where m.mapcfg = c.oid group by k.alias) as mapping)),
         (select remark.description from pg_description remark where remark.objoid = c.oid and remark.classoid = 'pg_ts_config'::regclass and remark.objsubid = 0), null, null, null
    from pg_ts_config c join space s on s.oid = c.cfgnamespace
   where not exists (select from member m where m.classid = 'pg_ts_config'::regclass and m.objid = c.oid)
),
-- Read once, and not by each relation: columns seldom have one.
column_access as materialized (
  select attrelid, attname, attacl from pg_attribute where attacl is not null and attnum > 0 and not attisdropped
),
-- Whatever has an access list.
listed as (
  select kind, name, acl_type, acl, owner from object where acl is not null
  union all
  select kind, name, 'r', relacl, relowner from relation where relkind in ('r', 'p', 'f') and relacl is not null
  union all
  select case when r.relkind in ('v', 'm') then 'view_column' else 'column' end, r.name || '.' || quote_ident(a.attname), 'c', a.attacl, r.relowner
    from column_access a join relation r on r.oid = a.attrelid
   where r.relkind in ('r', 'p', 'f', 'v', 'm')
),
-- What the access lists say beyond what an object of the type starts with, and what they take away from that.
access as (
  select o.kind, o.name, a.grantee, a.privilege_type, bool_or(a.is_grantable) as grantable
    from listed o, aclexplode(o.acl) a
   group by 1, 2, 3, 4
),
initial as (
  select o.kind, o.name, a.grantee, a.privilege_type
    from listed o, aclexplode(acldefault(o.acl_type::"char", o.owner)) a
),
standing as (
  select d.oid, d.defaclrole, coalesce(s.name, '') as space, d.defaclobjtype, d.defaclacl,
         case d.defaclobjtype when 'r' then 'tables' when 'S' then 'sequences' when 'f' then 'functions' when 'T' then 'types'
                              when 'n' then 'schemas' else 'large objects' end as types
    from pg_default_acl d left join space s on s.oid = d.defaclnamespace
   where d.defaclnamespace = 0 or s.oid is not null
),
-- An entry for all schemas replaces what is built in; one for a single schema adds to it.
standing_initial as (
  select d.oid, a.grantee, a.privilege_type
    from standing d, aclexplode(acldefault(case d.defaclobjtype when 'S' then 's'::"char" else d.defaclobjtype end, d.defaclrole)) a
   where d.space = ''
),
standing_access as (
  select d.oid, a.grantee, a.privilege_type, bool_or(a.is_grantable) as grantable
    from standing d, aclexplode(d.defaclacl) a
   group by 1, 2, 3
)
select kind, name, parent, inherited, jsonb_strip_nulls(attributes) as attributes from object
union all
select 'comment', kind || ':' || name, kind || ':' || name, false, jsonb_build_object('text', comment)
  from object where comment is not null
union all
-- A constraint's index and a composite type's attributes are no objects here, but they may be commented on.
select 'comment', 'index:' || quote_ident(n.nspname) || '.' || quote_ident(ic.relname),
       'constraint:' || r.name || '.' || quote_ident(k.conname), false, jsonb_build_object('text', d.description)
  from pg_description d
  join pg_class ic on ic.oid = d.objoid and ic.relkind in ('i', 'I')
  join pg_namespace n on n.oid = ic.relnamespace
  join pg_constraint k on k.conindid = ic.oid and k.contype in ('p', 'u', 'x')
  join relation r on r.oid = k.conrelid
 where d.classoid = 'pg_class'::regclass and d.objsubid = 0
union all
select 'comment', 'column:' || r.name || '.' || quote_ident(a.attname), r.kind || ':' || r.name, false,
       jsonb_build_object('text', d.description)
  from pg_description d
  join relation r on r.oid = d.objoid and r.relkind = 'c'
  join pg_attribute a on a.attrelid = d.objoid and a.attnum = d.objsubid and not a.attisdropped
 where d.classoid = 'pg_class'::regclass and d.objsubid > 0
union all
select 'privilege', a.kind || ':' || a.name || ':' || case when a.grantee = 0 then 'PUBLIC' else quote_ident(pg_get_userbyid(a.grantee)) end
         || ':' || a.privilege_type,
       a.kind || ':' || a.name, false, jsonb_build_object('grantable', a.grantable)
  from access a
 where not exists (select from initial i
                    where i.kind = a.kind and i.name = a.name and i.grantee = a.grantee and i.privilege_type = a.privilege_type)
union all
select 'privilege_revoked', i.kind || ':' || i.name || ':' || case when i.grantee = 0 then 'PUBLIC' else quote_ident(pg_get_userbyid(i.grantee)) end
         || ':' || i.privilege_type,
       i.kind || ':' || i.name, false, '{}'
  from initial i
 where not exists (select from access a
                    where i.kind = a.kind and i.name = a.name and i.grantee = a.grantee and i.privilege_type = a.privilege_type)
union all
select 'default_privilege',
       quote_ident(pg_get_userbyid(d.defaclrole)) || ':' || d.space || ':' || d.types || ':'
         || case when x.grantee = 0 then 'PUBLIC' else quote_ident(pg_get_userbyid(x.grantee)) end || ':' || x.privilege_type,
       null, false, jsonb_build_object('granted', x.granted, 'grantable', x.grantable)
  from standing d
  join (select a.oid, a.grantee, a.privilege_type, a.grantable, true as granted
          from standing_access a
         where not exists (select from standing_initial i
                            where i.oid = a.oid and i.grantee = a.grantee and i.privilege_type = a.privilege_type)
        union all
        select i.oid, i.grantee, i.privilege_type, false, false
          from standing_initial i
         where not exists (select from standing_access a
                            where i.oid = a.oid and i.grantee = a.grantee and i.privilege_type = a.privilege_type)) x
    on x.oid = d.oid
