-- One row per task. Tasks never expire.
CREATE TABLE conversations (
  task_id          TEXT PRIMARY KEY,
  created_at       INTEGER NOT NULL,
  last_activity_at INTEGER NOT NULL
) STRICT;

-- One row per /execute. Times are Unix milliseconds.
CREATE TABLE turns (
  turn_id          TEXT PRIMARY KEY,
  task_id          TEXT NOT NULL REFERENCES conversations (task_id) ON DELETE CASCADE,
  status           TEXT NOT NULL CHECK (status IN ('running', 'completed', 'errored')),
  agent            TEXT NOT NULL,
  -- What was asked, as JSON: a turn can be told apart from another, and made again, from this alone.
  request          TEXT NOT NULL,
  metadata         TEXT NOT NULL,
  idempotency_key  TEXT,
  started_at       INTEGER NOT NULL,
  ended_at         INTEGER,
  -- The turn's first and last event in channel state.
  first_event_id   INTEGER NOT NULL,
  last_event_id    INTEGER,
  input_tokens     INTEGER NOT NULL DEFAULT 0,
  output_tokens    INTEGER NOT NULL DEFAULT 0,
  cache_hit_tokens INTEGER NOT NULL DEFAULT 0,
  -- {error, message, details?} as JSON, when errored.
  error            TEXT
) STRICT;

CREATE INDEX turns_by_task ON turns (task_id, started_at);
-- At most one turn in flight per task, whatever the code does (E7).
CREATE UNIQUE INDEX turns_in_flight ON turns (task_id) WHERE status = 'running';
CREATE INDEX turns_by_idempotency_key ON turns (task_id, idempotency_key) WHERE idempotency_key IS NOT NULL;

-- The history of each task, append-only, content exactly as it was sent to the model (E14).
CREATE TABLE messages (
  position   INTEGER PRIMARY KEY AUTOINCREMENT,
  message_id TEXT NOT NULL UNIQUE,
  task_id    TEXT NOT NULL REFERENCES conversations (task_id) ON DELETE CASCADE,
  turn_id    TEXT NOT NULL REFERENCES turns (turn_id) ON DELETE CASCADE,
  role       TEXT NOT NULL CHECK (role IN ('user', 'assistant')),
  -- Content blocks as JSON.
  content    TEXT NOT NULL,
  created_at INTEGER NOT NULL
) STRICT;

CREATE INDEX messages_by_task ON messages (task_id, position);
