-- What a capture keeps in the target while it lasts. Only dbd sees it: it is in no dump, no comparison and no fingerprint.
CREATE SCHEMA dbd_capture;
REVOKE ALL ON SCHEMA dbd_capture FROM PUBLIC;

-- Whose it is, and what was changed for it: enough for any later process to take it away.
CREATE TABLE dbd_capture.run (
    run_id   text PRIMARY KEY,
    capture  jsonb NOT NULL,
    started  jsonb,
    shape    text NOT NULL DEFAULT ''
);

-- The tables in their old shape. `columns` maps an attribute's number to its name.
CREATE TABLE dbd_capture.protected (
    id        integer PRIMARY KEY,
    name      text NOT NULL,
    rel       oid NOT NULL,
    kind      "char" NOT NULL,
    identity  text NOT NULL,
    columns   jsonb NOT NULL,
    generated jsonb NOT NULL,
    types     jsonb NOT NULL,
    key       jsonb
);

-- Which relation stands for which table: a migration may make one anew or attach another partition.
CREATE TABLE dbd_capture.alias (rel oid PRIMARY KEY, id integer NOT NULL);

CREATE TABLE dbd_capture.sequence (rel oid PRIMARY KEY, name text NOT NULL);

-- What the triggers write: a row's old and new image as PostgreSQL prints a record. `S` is not a change but the shape from there on.
CREATE TABLE dbd_capture.change (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    xid xid8 NOT NULL DEFAULT pg_catalog.pg_current_xact_id(),
    rel oid NOT NULL,
    op  "char" NOT NULL,
    old text,
    new text
);

-- What a slot is told instead: published, so that a migration's transaction is known by its row, and the shape changes where it commits.
CREATE TABLE dbd_capture.shape (seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, shape text NOT NULL);
CREATE TABLE dbd_capture.marker (id integer PRIMARY KEY, n bigint NOT NULL);

-- The tables whose rows a migration's own statements touched: what it did there is not what is compared before a swap. Published, so that a
-- transaction of a statement that runs alone is known by its row as well.
CREATE TABLE dbd_capture.modified (seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, rel oid NOT NULL);
CREATE FUNCTION dbd_capture.modified() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    INSERT INTO dbd_capture.modified (rel) VALUES (TG_RELID);
    RETURN NULL;
END
$$;

CREATE FUNCTION dbd_capture.note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog SET "DateStyle" = 'ISO, MDY' SET "IntervalStyle" = 'postgres' SET "TimeZone" = 'UTC'
    SET extra_float_digits = 1 SET bytea_output = 'hex' SET lc_monetary = 'C'
AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO dbd_capture.change (rel, op, new) VALUES (TG_RELID, 'I', NEW::text);
    ELSIF TG_OP = 'UPDATE' THEN
        INSERT INTO dbd_capture.change (rel, op, old, new) VALUES (TG_RELID, 'U', OLD::text, NEW::text);
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO dbd_capture.change (rel, op, old) VALUES (TG_RELID, 'D', OLD::text);
    ELSE
        INSERT INTO dbd_capture.change (rel, op) VALUES (TG_RELID, 'T');
    END IF;
    RETURN NULL;
END
$$;

-- Begins to capture one relation. The triggers' names sort before any other's: what another trigger does to the same row comes after it.
CREATE FUNCTION dbd_capture.watch(target oid) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    way  text := (SELECT capture ->> 'way' FROM dbd_capture.run);
    slot text := (SELECT capture ->> 'slot' FROM dbd_capture.run);
BEGIN
    IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = target AND tgname = '!dbd_migrated') THEN
        EXECUTE format('CREATE TRIGGER "!dbd_migrated" AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON %s FOR EACH STATEMENT '
            'WHEN (pg_catalog.current_setting(''dbd.migrating'', true) = ''on'') EXECUTE FUNCTION dbd_capture.modified()', target::regclass);
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER "!dbd_migrated"', target::regclass);
    END IF;
    IF way = 'triggers' THEN
        IF EXISTS (SELECT FROM pg_trigger WHERE tgrelid = target AND tgname = '!dbd_capture') THEN
            RETURN;
        END IF;
        EXECUTE format('CREATE TRIGGER "!dbd_capture" AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW '
            'WHEN (pg_catalog.current_setting(''dbd.migrating'', true) IS DISTINCT FROM ''on'') EXECUTE FUNCTION dbd_capture.note()', target::regclass);
        EXECUTE format('CREATE TRIGGER "!dbd_truncate" AFTER TRUNCATE ON %s FOR EACH STATEMENT '
            'WHEN (pg_catalog.current_setting(''dbd.migrating'', true) IS DISTINCT FROM ''on'') EXECUTE FUNCTION dbd_capture.note()', target::regclass);
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER "!dbd_capture", ENABLE ALWAYS TRIGGER "!dbd_truncate"', target::regclass);
    ELSE
        -- The whole old row: only then can be told which columns a write changed, whatever the migration did to the others.
        -- A published table without an identity would make the application's own updates fail, so this comes first.
        IF (SELECT relreplident FROM pg_class WHERE oid = target) <> 'f' THEN
            EXECUTE format('ALTER TABLE %s REPLICA IDENTITY FULL', target::regclass);
        END IF;
        IF EXISTS (SELECT FROM pg_publication WHERE pubname = slot) AND NOT EXISTS (
            SELECT FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid WHERE p.pubname = slot AND r.prrelid = target)
        THEN
            EXECUTE format('ALTER PUBLICATION %I ADD TABLE ONLY %s', slot, target::regclass);
        END IF;
    END IF;
END
$$;

-- Run before a migration's transaction commits: what it made anew under an old name, or as another partition, is captured from here on;
-- and from here on rows have the shape they have now. Compiling its statements would take some 250 ms and running them takes a few.
CREATE FUNCTION dbd_capture.cover() RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog SET jit = off AS $$
DECLARE
    r       record;
    current text;
BEGIN
    PERFORM set_config('dbd.migrating', 'on', true);
    FOR r IN
        SELECT DISTINCT c.oid AS rel, p.id
          FROM dbd_capture.protected p, LATERAL (SELECT to_regclass(p.name)::oid AS oid) now, pg_class c
         WHERE (now.oid <> p.rel AND (c.oid = now.oid OR c.oid IN (SELECT relid FROM pg_partition_tree(now.oid) WHERE isleaf))
             OR p.kind = 'p' AND EXISTS (SELECT FROM pg_class WHERE oid = p.rel)
                AND c.oid IN (SELECT relid FROM pg_partition_tree(p.rel) WHERE isleaf))
           AND c.relkind = 'r' AND c.relpersistence = 'p'
           AND NOT EXISTS (SELECT FROM dbd_capture.alias a WHERE a.rel = c.oid)
    LOOP
        INSERT INTO dbd_capture.alias VALUES (r.rel, r.id) ON CONFLICT DO NOTHING;
    END LOOP;
    FOR r IN SELECT a.rel FROM dbd_capture.alias a JOIN pg_class c ON c.oid = a.rel LOOP
        PERFORM dbd_capture.watch(r.rel);
    END LOOP;
    current := (
        SELECT jsonb_agg(jsonb_build_object('rel', a.rel::bigint, 'id', a.id, 'columns', (
                   SELECT jsonb_agg(jsonb_build_array(t.attname,
                              CASE WHEN a.rel = p.rel AND p.columns ? t.attnum::text THEN p.columns ->> t.attnum::text
                                   ELSE (SELECT o.value FROM jsonb_each_text(p.columns) o WHERE o.value = t.attname
                                            AND (a.rel <> p.rel OR EXISTS (SELECT FROM pg_attribute d WHERE d.attrelid = a.rel
                                                AND d.attnum::text = o.key AND d.attisdropped))) END) ORDER BY t.attnum)
                     FROM pg_attribute t WHERE t.attrelid = a.rel AND t.attnum > 0 AND NOT t.attisdropped)) ORDER BY a.rel)::text
          FROM dbd_capture.alias a JOIN dbd_capture.protected p ON p.id = a.id JOIN pg_class c ON c.oid = a.rel);
    IF current IS NOT DISTINCT FROM (SELECT shape FROM dbd_capture.run) THEN
        current := '';
    ELSE
        UPDATE dbd_capture.run SET shape = coalesce(current, '[]');
    END IF;
    IF (SELECT capture ->> 'way' FROM dbd_capture.run) = 'slot' THEN
        INSERT INTO dbd_capture.shape (shape) VALUES (current);
    ELSIF current <> '' THEN
        INSERT INTO dbd_capture.change (rel, op, new) VALUES (0, 'S', current);
    END IF;
END
$$;
