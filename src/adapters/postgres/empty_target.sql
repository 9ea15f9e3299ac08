DO $dbd$
DECLARE
    o record;
    what record;
BEGIN
    SET LOCAL search_path = pg_catalog;
    -- Extensions made since the dump.
    FOR o IN SELECT extname FROM pg_extension WHERE age(xmin) <= age('{dump_xid}'::xid) AND extname <> 'plpgsql' LOOP
        EXECUTE format('DROP EXTENSION IF EXISTS %I CASCADE', o.extname);
    END LOOP;
    -- Whole schemas, where nothing in them belongs to an extension. `public` stays: a dump does not make it.
    FOR o IN
        SELECT n.oid, n.nspname FROM pg_namespace n
        WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'public', 'dbd') AND n.nspname !~ '^dbd_keep'
          AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_namespace'::regclass AND d.objid = n.oid AND d.deptype = 'e')
          AND NOT EXISTS (
              SELECT FROM pg_depend d JOIN pg_depend e ON e.classid = d.classid AND e.objid = d.objid AND e.deptype = 'e'
              WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = n.oid AND d.deptype = 'n')
    LOOP
        EXECUTE format('DROP SCHEMA IF EXISTS %I CASCADE', o.nspname);
    END LOOP;
    -- What is left, object by object, tables before what they are made of.
    FOR o IN
        SELECT classid, objid FROM (
            SELECT 'pg_event_trigger'::regclass AS classid, oid AS objid, 0 AS rank, 0 AS space FROM pg_event_trigger
            UNION ALL SELECT 'pg_publication'::regclass, oid, 0, 0 FROM pg_publication
            UNION ALL SELECT 'pg_foreign_server'::regclass, oid, 1, 0 FROM pg_foreign_server
            UNION ALL SELECT 'pg_foreign_data_wrapper'::regclass, oid, 2, 0 FROM pg_foreign_data_wrapper
            UNION ALL SELECT 'pg_cast'::regclass, oid, 2, 0 FROM pg_cast WHERE oid >= 16384
            UNION ALL SELECT 'pg_class'::regclass, oid, CASE relkind WHEN 'S' THEN 4 ELSE 3 END, relnamespace FROM pg_class
                WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND NOT relispartition
            UNION ALL SELECT 'pg_proc'::regclass, oid, 5, pronamespace FROM pg_proc
            UNION ALL SELECT 'pg_opclass'::regclass, oid, 6, opcnamespace FROM pg_opclass
            UNION ALL SELECT 'pg_opfamily'::regclass, oid, 7, opfnamespace FROM pg_opfamily
            UNION ALL SELECT 'pg_operator'::regclass, oid, 8, oprnamespace FROM pg_operator
            UNION ALL SELECT 'pg_type'::regclass, oid, 9, typnamespace FROM pg_type t
                WHERE typtype IN ('e', 'd', 'r', 'b') AND typelem = 0
                   OR typtype = 'c' AND EXISTS (SELECT FROM pg_class c WHERE c.oid = t.typrelid AND c.relkind = 'c')
            UNION ALL SELECT 'pg_collation'::regclass, oid, 10, collnamespace FROM pg_collation
            UNION ALL SELECT 'pg_conversion'::regclass, oid, 10, connamespace FROM pg_conversion
            UNION ALL SELECT 'pg_ts_config'::regclass, oid, 11, cfgnamespace FROM pg_ts_config
            UNION ALL SELECT 'pg_ts_dict'::regclass, oid, 12, dictnamespace FROM pg_ts_dict
            UNION ALL SELECT 'pg_ts_parser'::regclass, oid, 13, prsnamespace FROM pg_ts_parser
            UNION ALL SELECT 'pg_ts_template'::regclass, oid, 13, tmplnamespace FROM pg_ts_template
        ) every
        WHERE (space = 0 OR space IN (SELECT oid FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'dbd') AND nspname !~ '^dbd_keep'))
          AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = every.classid AND d.objid = every.objid AND d.deptype = 'e')
        ORDER BY rank, objid
    LOOP
        BEGIN
            -- Dropping a table takes what hangs on it along; what is gone is skipped.
            SELECT type, identity INTO what FROM pg_identify_object(o.classid, o.objid, 0);
        EXCEPTION WHEN internal_error THEN
            CONTINUE;
        END;
        CONTINUE WHEN what.identity IS NULL;
        EXECUTE format('DROP %s IF EXISTS %s CASCADE', what.type, what.identity);
    END LOOP;
    PERFORM lo_unlink(oid) FROM pg_largeobject_metadata;
END
$dbd$;
