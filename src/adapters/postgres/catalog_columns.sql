-- The columns of tables and views, with their defaults. Those of views have fewer attributes: the rest follows from the view.
select a.attrelid as relation,
       quote_ident(a.attname) as part,
       a.attinhcount > 0 and t.own as inherited,
       a.attnum as position,
       remark.description as comment,
       case when a.attgenerated = '' then pg_get_expr(d.adbin, d.adrelid) end as default,
       format_type(a.atttypid, a.atttypmod) as type,
       case when t.own then a.attnotnull end as not_null,
       case when t.own then a.attidentity::text end as identity,
       case when t.own and a.attgenerated <> '' then pg_get_expr(d.adbin, d.adrelid) end as generated,
       case when t.own and a.attgenerated = 'v' then 'virtual' end as generated_kind,
       case when a.attcollation <> y.typcollation then
              (select n.nspname || '.' || l.collname
                 from pg_collation l join pg_namespace n on n.oid = l.collnamespace where l.oid = a.attcollation) end as collation,
       case when t.own and a.attstorage <> y.typstorage then a.attstorage end as storage,
       case when t.own then /*compression*/ end as compression,
       nullif(a.attstattarget, -1) as statistics_target,
       case when a.attoptions is not null then (select array_agg(o order by o) from unnest(a.attoptions) as o) end as options,
       case when t.own and a.attfdwoptions is not null then
              (select array_agg(o order by o) from unnest(a.attfdwoptions) as o) end as foreign_options
  from (select c.oid, c.relkind not in ('v', 'm') as own
          from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where c.relkind in ('r', 'p', 'f', 'v', 'm')
           and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'dbd') and n.nspname !~ '^dbd_') t
  join pg_attribute a on a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped
  join pg_type y on y.oid = a.atttypid
  left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
  left join pg_description remark on remark.objoid = a.attrelid and remark.classoid = 'pg_class'::regclass and remark.objsubid = a.attnum
