-- How far a statement that runs in batches has come: written by each batch's own transaction.
CREATE TABLE IF NOT EXISTS dbd.batch (
    effect_id text PRIMARY KEY,
    run_id    text NOT NULL,
    reached   text NOT NULL,
    batches   bigint NOT NULL,
    rows      bigint NOT NULL,
    at        timestamptz NOT NULL DEFAULT clock_timestamp()
);
