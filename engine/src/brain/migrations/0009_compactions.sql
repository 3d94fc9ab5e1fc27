-- What stands in the place of the older part of a thread in what the model sees. The messages themselves stay where
-- they are; the newest row of a thread counts.
CREATE TABLE compactions (
  compaction_id   INTEGER PRIMARY KEY AUTOINCREMENT,
  task_id         TEXT NOT NULL REFERENCES conversations (task_id) ON DELETE CASCADE,
  -- Empty: the turns' own thread.
  thread_id       TEXT NOT NULL,
  turn_id         TEXT NOT NULL REFERENCES turns (turn_id) ON DELETE CASCADE,
  -- Messages up to this position are no longer sent, but for `opening`: the message of the turn in which this was made,
  -- where the cut had to be made inside that turn.
  upto            INTEGER NOT NULL,
  opening         INTEGER,
  -- The newest message of the thread when this was made: requests counted until then were other ones.
  head            INTEGER NOT NULL,
  -- What the model sees instead, to the byte.
  text            TEXT NOT NULL,
  -- What the next compaction carries on, as JSON.
  carried         TEXT NOT NULL,
  -- How the model counted this thread's text.
  tokens_per_byte REAL NOT NULL,
  before_tokens   INTEGER NOT NULL,
  after_tokens    INTEGER NOT NULL,
  created_at      INTEGER NOT NULL
) STRICT;

CREATE INDEX compactions_by_thread ON compactions (task_id, thread_id, compaction_id);
