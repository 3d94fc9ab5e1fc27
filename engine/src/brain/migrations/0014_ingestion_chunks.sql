-- Text of documents that are too large for the conversation, in pieces (CONTENT_INGESTION_ENABLED).
CREATE TABLE ingestion_chunks (
  id          INTEGER PRIMARY KEY,
  task_id     TEXT NOT NULL REFERENCES conversations (task_id) ON DELETE CASCADE,
  -- Made of what it says, so the same document in the same task is there once.
  document_id TEXT NOT NULL,
  name        TEXT NOT NULL,
  -- From 1 to parts.
  ordinal     INTEGER NOT NULL,
  parts       INTEGER NOT NULL,
  -- Newest message of the task when it came: it goes with that one when an edit goes back behind it.
  position    INTEGER NOT NULL,
  text        TEXT NOT NULL,
  UNIQUE (task_id, document_id, ordinal)
) STRICT;

CREATE VIRTUAL TABLE ingestion_chunks_fts USING fts5 (
  text, content = 'ingestion_chunks', content_rowid = 'id', tokenize = 'unicode61 remove_diacritics 2'
);
CREATE TRIGGER ingestion_chunks_added AFTER INSERT ON ingestion_chunks BEGIN
  INSERT INTO ingestion_chunks_fts (rowid, text) VALUES (new.id, new.text);
END;
CREATE TRIGGER ingestion_chunks_removed AFTER DELETE ON ingestion_chunks BEGIN
  INSERT INTO ingestion_chunks_fts (ingestion_chunks_fts, rowid, text) VALUES ('delete', old.id, old.text);
END;
