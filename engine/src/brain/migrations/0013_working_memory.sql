-- What the agent notes while it works on a task, a row per change; the newest row of a key counts. The rows of what an
-- edit or a retry takes back go, and the ones before count again; all go when the task has rested for long.
CREATE TABLE working_memory_log (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  task_id    TEXT NOT NULL REFERENCES conversations (task_id) ON DELETE CASCADE,
  -- What made the change: a tool call, or the planner of a turn. Run again after a kill it does not make it twice.
  source     TEXT NOT NULL UNIQUE,
  -- Of the message it follows from.
  position   INTEGER NOT NULL,
  key        TEXT NOT NULL,
  -- Null: the key was deleted.
  value      TEXT,
  created_at INTEGER NOT NULL
) STRICT;

CREATE INDEX working_memory_by_task ON working_memory_log (task_id, key, id);
