-- What the shadow knows about itself until it takes the target's name: how far it is, and what it does without meanwhile.
DROP SCHEMA IF EXISTS dbd_shadow CASCADE;
CREATE SCHEMA dbd_shadow;
REVOKE ALL ON SCHEMA dbd_shadow FROM PUBLIC;

CREATE TABLE dbd_shadow.state (
    id       integer PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    seen     text NOT NULL,
    reached  text NOT NULL,
    lsn      pg_lsn,
    shape    text NOT NULL,
    blocked  text,
    residue  jsonb NOT NULL DEFAULT '[]',
    proven   boolean NOT NULL DEFAULT false,
    dressed  boolean NOT NULL DEFAULT false
);
CREATE TABLE dbd_shadow.old (
    id integer PRIMARY KEY, name text NOT NULL, kind "char" NOT NULL, generated jsonb NOT NULL, types jsonb NOT NULL, key jsonb
);
-- The rows that were touched, by key; an empty key where a table has none. `same`: found equal on both sides since it was touched last.
CREATE TABLE dbd_shadow.touched (id integer NOT NULL, key text NOT NULL, same boolean NOT NULL DEFAULT false, PRIMARY KEY (id, key));
CREATE INDEX ON dbd_shadow.touched (id, key) WHERE NOT same;
-- Columns that the migration itself changed: they are not what is compared. An empty name stands for rows that it put in or took out.
CREATE TABLE dbd_shadow.modified (id integer NOT NULL, col text NOT NULL, PRIMARY KEY (id, col));
-- Taken off while rows are replayed, so that nothing happens twice: put on again before the swap.
CREATE TABLE dbd_shadow.silenced (on_again text NOT NULL, off_again text NOT NULL);
CREATE TABLE dbd_shadow.reference (
    tab text NOT NULL, name text NOT NULL, definition text NOT NULL, comment text, in_steps boolean NOT NULL
);
