-- The event buffer behind /execute/replay. AUTOINCREMENT: an id is never given twice over the brain's life, also
-- after pruning (E5).
CREATE TABLE channel_state_snapshots (
  id        INTEGER PRIMARY KEY AUTOINCREMENT,
  task_id   TEXT NOT NULL,
  turn_id   TEXT NOT NULL,
  type      TEXT NOT NULL,
  timestamp INTEGER NOT NULL,
  -- The JSON that goes over the wire, to the byte.
  data      TEXT NOT NULL
) STRICT;

CREATE INDEX channel_state_by_task ON channel_state_snapshots (task_id, id);
CREATE INDEX channel_state_by_time ON channel_state_snapshots (timestamp);
