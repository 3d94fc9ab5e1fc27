-- Tasks are listed by their activity, each with its newest turn; and removed with all that refers to them, which
-- needs an index for each reference.
CREATE INDEX conversations_by_activity ON conversations (last_activity_at, task_id);
DROP INDEX turns_by_task;
CREATE INDEX turns_by_task ON turns (task_id, first_event_id);
CREATE INDEX hitl_by_task ON hitl_requests (task_id);
CREATE INDEX hitl_by_turn ON hitl_requests (turn_id);
CREATE INDEX compactions_by_turn ON compactions (turn_id);
