-- One row per migration applied by dbd, beside the row of the tool that owns the folder: what was applied, whatever happens to the
-- file's comments and line endings. `run_id` is empty where dbd only noted what it found.
CREATE TABLE IF NOT EXISTS dbd.applied (
    tracking   text NOT NULL,
    key        text NOT NULL,
    file       text,
    digest     text,
    tokens     text,
    body       text,
    run_id     text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tracking, key)
);
