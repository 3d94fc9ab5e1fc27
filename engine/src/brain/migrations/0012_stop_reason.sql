-- Why an answer ended, as the provider says it; null for all other messages. An answer that was cut at its output limit
-- may have to go on.
ALTER TABLE messages ADD COLUMN stop_reason TEXT CHECK (stop_reason IN ('end_turn', 'tool_use', 'max_tokens'));
