-- The journal's first schema (SQLite). Applied in one transaction by dbd-journal, which also sets application_id and user_version.
--
-- The triggers keep honest programs honest: they refuse what would break the chain. They are no evidence, since whoever can write
-- the file can drop them; the evidence is the chain of hashes, and a head that was written down elsewhere.

-- Who this journal is. One row, written at creation, never changed.
CREATE TABLE meta (
  id      INTEGER PRIMARY KEY CHECK (id = 1),
  origin  TEXT    NOT NULL,
  created INTEGER NOT NULL,                              -- unix milliseconds
  nonce   BLOB    NOT NULL CHECK (length(nonce) = 32),   -- so that two journals never share a genesis
  genesis BLOB    NOT NULL CHECK (length(genesis) = 32)  -- the hash before the first event
) STRICT;

CREATE TRIGGER meta_once BEFORE INSERT ON meta
WHEN EXISTS (SELECT 1 FROM meta)
BEGIN SELECT RAISE(ABORT, 'JRN-102 a journal has one origin'); END;

CREATE TRIGGER meta_no_update BEFORE UPDATE ON meta
BEGIN SELECT RAISE(ABORT, 'JRN-102 a journal has one origin'); END;

CREATE TRIGGER meta_no_delete BEFORE DELETE ON meta
BEGIN SELECT RAISE(ABORT, 'JRN-102 a journal has one origin'); END;

-- What happened. `rec` is the exact text that was hashed; the other readable columns are computed from it, so they cannot disagree.
-- It comes last, so that a query which does not ask for it need not walk its overflow pages.
CREATE TABLE event (
  seq     INTEGER PRIMARY KEY CHECK (seq IS rec->>'$.seq'),
  prev    BLOB    NOT NULL CHECK (length(prev) = 32),
  hash    BLOB    NOT NULL UNIQUE CHECK (length(hash) = 32),
  run_id  TEXT    GENERATED ALWAYS AS (rec->>'$.run')  STORED NOT NULL,
  run_seq INTEGER GENERATED ALWAYS AS (rec->>'$.rseq') STORED NOT NULL,
  kind    TEXT    GENERATED ALWAYS AS (rec->>'$.kind') STORED NOT NULL,
  ts      INTEGER GENERATED ALWAYS AS (rec->>'$.ts')   STORED NOT NULL,
  rec     TEXT    NOT NULL CHECK (json_valid(rec)),
  UNIQUE (run_id, run_seq)                               -- serves: the events of a run in order; a run's last rseq; the list of runs
) STRICT;

-- BEFORE INSERT comes ahead of conflict handling, so INSERT OR REPLACE is refused by whichever unique key it aims at, also on a
-- connection that left recursive_triggers off.
CREATE TRIGGER event_link BEFORE INSERT ON event
WHEN NEW.seq IS NOT (SELECT coalesce(max(seq), 0) + 1 FROM event)
  OR NEW.prev IS NOT coalesce((SELECT hash FROM event ORDER BY seq DESC LIMIT 1), (SELECT genesis FROM meta))
  OR (NEW.rec->>'$.rseq') IS NOT (SELECT coalesce(max(run_seq), 0) + 1 FROM event WHERE run_id = NEW.rec->>'$.run')
  OR EXISTS (SELECT 1 FROM event WHERE hash = NEW.hash)
BEGIN SELECT RAISE(ABORT, 'JRN-101 not the next link'); END;

CREATE TRIGGER event_no_update BEFORE UPDATE ON event
BEGIN SELECT RAISE(ABORT, 'JRN-100 append-only'); END;

CREATE TRIGGER event_no_delete BEFORE DELETE ON event
BEGIN SELECT RAISE(ABORT, 'JRN-100 append-only'); END;

-- Content too large or too sensitive for an event. A purged blob keeps its digest and its length and loses data and salt together:
-- with the salt at hand, a short secret could be guessed from its digest.
CREATE TABLE blob (
  digest BLOB    PRIMARY KEY CHECK (length(digest) = 32),
  salt   BLOB    CHECK (salt IS NULL OR length(salt) = 32),
  len    INTEGER NOT NULL,
  data   BLOB    CHECK (data IS NULL OR length(data) = len),
  CHECK ((data IS NULL) = (salt IS NULL))
) STRICT, WITHOUT ROWID;

CREATE TRIGGER blob_once BEFORE INSERT ON blob
WHEN EXISTS (SELECT 1 FROM blob WHERE digest = NEW.digest)
BEGIN SELECT RAISE(ABORT, 'JRN-103 a blob is written once'); END;

CREATE TRIGGER blob_only_purge BEFORE UPDATE ON blob
WHEN NEW.data IS NOT NULL OR NEW.salt IS NOT NULL OR NEW.digest IS NOT OLD.digest OR NEW.len IS NOT OLD.len
BEGIN SELECT RAISE(ABORT, 'JRN-103 a blob is written once'); END;

CREATE TRIGGER blob_no_delete BEFORE DELETE ON blob
BEGIN SELECT RAISE(ABORT, 'JRN-103 a blob is written once'); END;

-- Who may act on a target. The epoch of a target only ever grows, also across a release, so an old owner can be told apart.
CREATE TABLE lease (
  target   TEXT    PRIMARY KEY,
  run      TEXT,                                         -- NULL: released
  epoch    INTEGER NOT NULL CHECK (epoch >= 1),
  owner    TEXT,
  since_ms INTEGER,
  CHECK ((run IS NULL) = (owner IS NULL) AND (run IS NULL) = (since_ms IS NULL))
) STRICT, WITHOUT ROWID;

CREATE TRIGGER lease_once BEFORE INSERT ON lease
WHEN EXISTS (SELECT 1 FROM lease WHERE target = NEW.target)
BEGIN SELECT RAISE(ABORT, 'JRN-104 an epoch only grows'); END;

CREATE TRIGGER lease_grows BEFORE UPDATE ON lease
WHEN NEW.target IS NOT OLD.target OR NEW.epoch < OLD.epoch OR (NEW.epoch = OLD.epoch AND NEW.run IS NOT NULL)
BEGIN SELECT RAISE(ABORT, 'JRN-104 an epoch only grows'); END;

CREATE TRIGGER lease_no_delete BEFORE DELETE ON lease
BEGIN SELECT RAISE(ABORT, 'JRN-104 an epoch only grows'); END;
