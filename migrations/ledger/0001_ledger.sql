-- dbd's own schema inside each target: who may write, and what was done. Harmless to repeat.
CREATE SCHEMA IF NOT EXISTS dbd;

-- One row: the holder that may change this database. Every transaction of a deployment checks it, so that a process that was
-- paused and woke up after another one took over cannot commit.
CREATE TABLE IF NOT EXISTS dbd.lease (
    id     integer PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    token  text NOT NULL,
    run_id text NOT NULL,
    owner  text NOT NULL,
    since  timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- One row per effect, written by the effect's own transaction: the idempotency key, the fence and the anchor of the journal's intent.
CREATE TABLE IF NOT EXISTS dbd.ledger (
    effect_id text NOT NULL,
    phase     text NOT NULL CHECK (phase IN ('applied', 'started', 'finished')),
    run_id    text NOT NULL,
    step      text NOT NULL,
    digest    text NOT NULL,
    origin    text NOT NULL,
    seq       bigint NOT NULL,
    hash      text NOT NULL,
    token     text NOT NULL,
    role      text NOT NULL DEFAULT session_user,
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    xid       text NOT NULL DEFAULT (txid_current())::text,
    PRIMARY KEY (effect_id, phase)
);

CREATE OR REPLACE FUNCTION dbd.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'dbd.ledger is append-only';
END
$$;
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = 'dbd.ledger'::regclass AND tgname = 'ledger_append_only') THEN
        CREATE TRIGGER ledger_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON dbd.ledger
            FOR EACH STATEMENT EXECUTE PROCEDURE dbd.refuse_change();
    END IF;
END
$$;
