-- What lets a turn go on after a kill (E15): threads, the journal of model calls, the ledger of tool calls, and
-- the questions that wait for a person.

-- '' is the turn's own thread; a sub-agent's is named by the call that started it.
ALTER TABLE messages ADD COLUMN thread_id TEXT NOT NULL DEFAULT '';
-- 1: replaced by an edit, or by a retry from before it. Kept, but no longer sent to the model (E10).
ALTER TABLE messages ADD COLUMN superseded INTEGER NOT NULL DEFAULT 0;
-- Blocks of the volatile tail, as JSON; they stay with their message for ever (E14).
ALTER TABLE messages ADD COLUMN tail TEXT;
DROP INDEX messages_by_task;
CREATE INDEX messages_by_thread ON messages (task_id, thread_id, position);
CREATE INDEX messages_by_turn ON messages (turn_id, position);

-- Where the turn was last taken up after a kill, and how often at that very place.
ALTER TABLE turns ADD COLUMN resumed_at TEXT;
ALTER TABLE turns ADD COLUMN resumes INTEGER NOT NULL DEFAULT 0;

-- One row per model call of a turn, committed before the provider is asked.
CREATE TABLE model_calls (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  turn_id    TEXT NOT NULL REFERENCES turns (turn_id) ON DELETE CASCADE,
  thread_id  TEXT NOT NULL,
  -- Newest message the model was shown.
  position   INTEGER NOT NULL,
  state      TEXT NOT NULL CHECK (state IN ('started', 'done', 'broken')),
  -- Newest event before the call: what it has shown comes after.
  cursor     INTEGER NOT NULL,
  started_at INTEGER NOT NULL,
  ended_at   INTEGER
) STRICT;
CREATE INDEX model_calls_by_turn ON model_calls (turn_id, id);

-- The effect ledger: one row per tool call, committed with the answer that asks for it.
CREATE TABLE tool_calls (
  message_id   TEXT NOT NULL,
  ordinal      INTEGER NOT NULL,
  turn_id      TEXT NOT NULL REFERENCES turns (turn_id) ON DELETE CASCADE,
  thread_id    TEXT NOT NULL,
  tool_call_id TEXT NOT NULL,
  tool         TEXT NOT NULL,
  -- Made of what the call does, not of its place; handed on to the tool.
  key          TEXT NOT NULL,
  state        TEXT NOT NULL CHECK (state IN ('intended', 'started', 'done', 'unknown')),
  -- How often it was started.
  attempt      INTEGER NOT NULL DEFAULT 0,
  -- {output, error?} as JSON, and how long it took, once there is one.
  outcome      TEXT,
  duration_ms  INTEGER,
  -- 1: its tool_result event has been written.
  shown        INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (message_id, ordinal)
) STRICT, WITHOUT ROWID;
CREATE INDEX tool_calls_by_turn ON tool_calls (turn_id, key);

-- What a person is asked (E8). A turn with a waiting row is paused.
CREATE TABLE hitl_requests (
  request_id   TEXT PRIMARY KEY,
  task_id      TEXT NOT NULL REFERENCES conversations (task_id) ON DELETE CASCADE,
  turn_id      TEXT NOT NULL REFERENCES turns (turn_id) ON DELETE CASCADE,
  -- The tool call it is about, why it asks, and at which attempt.
  message_id   TEXT NOT NULL,
  ordinal      INTEGER NOT NULL,
  purpose      TEXT NOT NULL CHECK (purpose IN ('gate', 'again')),
  attempt      INTEGER NOT NULL,
  kind         TEXT NOT NULL CHECK (kind IN ('permission', 'question')),
  question     TEXT NOT NULL,
  tool         TEXT,
  -- JSON.
  input        TEXT,
  state        TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'answered', 'withdrawn', 'expired')),
  answer       TEXT,
  feedback     TEXT,
  -- Content blocks as JSON.
  content      TEXT,
  created_at   INTEGER NOT NULL,
  expires_at   INTEGER NOT NULL,
  answered_at  INTEGER
) STRICT;
CREATE UNIQUE INDEX hitl_waiting ON hitl_requests (task_id) WHERE state = 'waiting';
CREATE UNIQUE INDEX hitl_by_call ON hitl_requests (message_id, ordinal, purpose, attempt);
