//! The database's tables, and how an older one becomes today's.
//!
//! Every change is a new entry of [`STEPS`]; entries are never edited. `user_version` counts those
//! that were applied. A row's key is `unit << 32 | number`, so one unit's rows are one key range:
//! FTS5 seeks in a range, which costs less than a namespace word with one posting per row, and no
//! query text can leave the range.

/// The steps, in order; step `n` makes version `n + 1`.
pub const STEPS: &[&str] = &[
    "
CREATE TABLE unit (
  number INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  rows INTEGER NOT NULL DEFAULT 0
) STRICT;

-- What is read for ranking stands before the text, which may spill to overflow pages.
CREATE TABLE memory (
  key INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  layer TEXT NOT NULL CHECK (layer IN ('episodic','semantic','procedural','social','core')),
  importance INTEGER NOT NULL CHECK (importance BETWEEN 1 AND 10),
  created INTEGER NOT NULL,
  pinned INTEGER NOT NULL DEFAULT 0,
  superseded_by TEXT,
  last_used INTEGER,
  uses INTEGER NOT NULL DEFAULT 0,
  source TEXT NOT NULL,
  tags TEXT NOT NULL,
  context TEXT NOT NULL,
  text TEXT NOT NULL
) STRICT;

-- What was forgotten leaves its id, time and reason, not its text.
CREATE TABLE forgotten (
  id TEXT PRIMARY KEY,
  unit INTEGER NOT NULL REFERENCES unit(number),
  at INTEGER NOT NULL,
  reason TEXT NOT NULL
) STRICT;
CREATE INDEX forgotten_by_unit ON forgotten(unit, at);

CREATE VIRTUAL TABLE memory_fts USING fts5(text, tags, context,
  content='memory', content_rowid='key', tokenize='porter unicode61 remove_diacritics 2');
CREATE TRIGGER memory_insert AFTER INSERT ON memory BEGIN
  INSERT INTO memory_fts(rowid, text, tags, context)
    VALUES (new.key, new.text, new.tags, new.context);
  UPDATE unit SET rows = rows + 1 WHERE number = new.key >> 32;
END;
-- What was superseded leaves the index: it could otherwise crowd out what replaced it.
CREATE TRIGGER memory_supersede AFTER UPDATE OF superseded_by ON memory
WHEN old.superseded_by IS NULL AND new.superseded_by IS NOT NULL BEGIN
  INSERT INTO memory_fts(memory_fts, rowid, text, tags, context)
    VALUES ('delete', old.key, old.text, old.tags, old.context);
END;
CREATE TRIGGER memory_delete AFTER DELETE ON memory BEGIN
  INSERT INTO memory_fts(memory_fts, rowid, text, tags, context)
    SELECT 'delete', old.key, old.text, old.tags, old.context WHERE old.superseded_by IS NULL;
  UPDATE unit SET rows = rows - 1 WHERE number = old.key >> 32;
END;
",
    "
-- How much text each unit has, for its quota.
ALTER TABLE unit ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
UPDATE unit SET bytes = (
  SELECT coalesce(sum(octet_length(text) + octet_length(tags) + octet_length(context)), 0)
  FROM memory WHERE key BETWEEN number << 32 AND number << 32 | 4294967295);
DROP TRIGGER memory_insert;
CREATE TRIGGER memory_insert AFTER INSERT ON memory BEGIN
  INSERT INTO memory_fts(rowid, text, tags, context)
    VALUES (new.key, new.text, new.tags, new.context);
  UPDATE unit SET rows = rows + 1, bytes = bytes
      + octet_length(new.text) + octet_length(new.tags) + octet_length(new.context)
    WHERE number = new.key >> 32;
END;
DROP TRIGGER memory_delete;
CREATE TRIGGER memory_delete AFTER DELETE ON memory BEGIN
  INSERT INTO memory_fts(memory_fts, rowid, text, tags, context)
    SELECT 'delete', old.key, old.text, old.tags, old.context WHERE old.superseded_by IS NULL;
  UPDATE unit SET rows = rows - 1, bytes = bytes
      - octet_length(old.text) - octet_length(old.tags) - octet_length(old.context)
    WHERE number = old.key >> 32;
END;
",
];
