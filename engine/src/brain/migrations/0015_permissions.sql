-- What exactly a person was asked to allow: findings as JSON. Null for questions, and for permissions that name nothing.
ALTER TABLE hitl_requests ADD COLUMN findings TEXT;

-- What a person has allowed for later: this subject (a path, a host, a command) under this danger, nothing wider.
CREATE TABLE remembered_permissions (
  permission_id TEXT PRIMARY KEY,
  -- Null: for every task.
  task_id       TEXT REFERENCES conversations (task_id) ON DELETE CASCADE,
  tool          TEXT NOT NULL,
  danger        TEXT NOT NULL,
  subject       TEXT NOT NULL,
  created_at    INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX remembered_by_subject ON remembered_permissions (tool, danger, subject, coalesce(task_id, ''));

-- What happened that an operator may ask about. Kept for 30 days.
CREATE TABLE observability_events (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  kind       TEXT NOT NULL,
  task_id    TEXT,
  turn_id    TEXT,
  timestamp  INTEGER NOT NULL,
  -- JSON.
  data       TEXT NOT NULL
) STRICT;
CREATE INDEX observability_by_time ON observability_events (timestamp);
CREATE INDEX observability_by_task ON observability_events (task_id, id);
