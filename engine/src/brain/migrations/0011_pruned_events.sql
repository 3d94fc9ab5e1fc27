-- What a replay can no longer give: of each task the newest event that was pruned, its id and its time (Unix
-- milliseconds). 0: none was. A reader whose cursor is older is told of the gap.
ALTER TABLE conversations ADD COLUMN pruned_event_id INTEGER NOT NULL DEFAULT 0;
ALTER TABLE conversations ADD COLUMN pruned_until INTEGER NOT NULL DEFAULT 0;

UPDATE conversations SET (pruned_event_id, pruned_until) = (
  SELECT coalesce(max(t.last_event_id), 0), coalesce(max(t.ended_at), 0) FROM turns t
   WHERE t.task_id = conversations.task_id AND t.last_event_id IS NOT NULL
     AND NOT EXISTS (SELECT 1 FROM channel_state_snapshots e
                      WHERE e.task_id = t.task_id AND e.last_id BETWEEN t.first_event_id AND t.last_event_id));
