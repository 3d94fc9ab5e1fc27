-- What the provider counted for the call that gave this answer, with the model that gave it, as JSON; null for all
-- other messages. The size of the next request is reckoned from it.
ALTER TABLE messages ADD COLUMN usage TEXT;

-- What a turn has spent, beside its tokens: its budgets go on after a restart. active_ms: time in which the process
-- ran and the turn did not wait for a person.
ALTER TABLE turns ADD COLUMN model_calls INTEGER NOT NULL DEFAULT 0;
ALTER TABLE turns ADD COLUMN cost_usd REAL NOT NULL DEFAULT 0;
ALTER TABLE turns ADD COLUMN active_ms INTEGER NOT NULL DEFAULT 0;
