-- Events lie as they go over the wire, and those of one turn that were written together lie in one row: what is
-- replayed is copied, not made again. A row holds the ids first_id … last_id without a gap. AUTOINCREMENT: an id is
-- never given twice over the brain's life, also after pruning (E5).
CREATE TABLE event_runs (
  last_id        INTEGER PRIMARY KEY AUTOINCREMENT,
  first_id       INTEGER NOT NULL,
  task_id        TEXT NOT NULL,
  turn_id        TEXT NOT NULL,
  -- Of its newest event, Unix milliseconds.
  last_timestamp INTEGER NOT NULL,
  -- Server-sent events in UTF-8, the empty line after the last one included.
  frames         BLOB NOT NULL
) STRICT;

INSERT INTO event_runs (last_id, first_id, task_id, turn_id, last_timestamp, frames)
  SELECT id, id, task_id, turn_id, timestamp,
         CAST(format('id: %d%sevent: %s%sdata: %s%s', id, char(10), type, char(10), data, char(10, 10)) AS BLOB)
    FROM channel_state_snapshots ORDER BY id;
DELETE FROM sqlite_sequence WHERE name = 'event_runs';
INSERT INTO sqlite_sequence (name, seq)
  SELECT 'event_runs', seq FROM sqlite_sequence WHERE name = 'channel_state_snapshots';

DROP TABLE channel_state_snapshots;
ALTER TABLE event_runs RENAME TO channel_state_snapshots;
CREATE INDEX channel_state_by_task ON channel_state_snapshots (task_id, last_id);
CREATE INDEX channel_state_by_time ON channel_state_snapshots (last_timestamp);
