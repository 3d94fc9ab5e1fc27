-- What probes say of a running engine, and when a failed one is tried again (bap-engine, "Health, restart
-- and backoff"; O10). In the engine's row, because each is read and written together with its state.
ALTER TABLE engines
  -- When it is probed next; the claim of a probe moves it on.
  ADD COLUMN next_probe_at timestamptz NOT NULL DEFAULT now(),
  -- Probes claimed so far: one in a hundred leaves an audit row (O20).
  ADD COLUMN probes integer NOT NULL DEFAULT 0,
  -- Word of the last probe; null before the first.
  ADD COLUMN health text CHECK (health IN ('ok', 'reduced', 'ill')),
  -- What that probe saw, for people; null when all is well.
  ADD COLUMN health_seen text,
  -- Ill probes in a row.
  ADD COLUMN ill_probes integer NOT NULL DEFAULT 0,
  -- Since when it is ill, or failed because of it; null when it is well.
  ADD COLUMN ill_since timestamptz,
  -- Since when every probe found it well; null when it is ill or not running.
  ADD COLUMN well_since timestamptz,
  -- Restarts tried since it was last steadily well.
  ADD COLUMN restart_attempts integer NOT NULL DEFAULT 0,
  -- When it is restarted; null: not by itself.
  ADD COLUMN restart_at timestamptz;

-- Engines that failed before there was a counter are tried again, as from the first failure.
UPDATE engines SET restart_at = now() WHERE status = 'failed';

-- Each sweep reads one of these from the front, whatever the number of engines.
CREATE INDEX engines_due_probe ON engines (next_probe_at) WHERE status = 'running';
CREATE INDEX engines_due_restart ON engines (restart_at) WHERE status = 'failed' AND restart_at IS NOT NULL;
CREATE INDEX engines_running ON engines (id) WHERE status = 'running';
CREATE INDEX engines_ill ON engines (ill_since) WHERE ill_since IS NOT NULL;
-- Every probe writes a row: room on its page keeps most of these writes out of the indexes.
ALTER TABLE engines SET (fillfactor = 70);

-- The last words on one engine, for explain.
CREATE INDEX audit_log_by_engine ON audit_log (engine_id, id);
CREATE INDEX operations_by_engine ON operations (engine_id, created_at);

-- Many engines turning ill at once: one incident, during which restarts pause and then resume slowly (O11).
CREATE TABLE incidents (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  began_at timestamptz NOT NULL DEFAULT now(),
  -- Engines that were ill, and of how many, when it was noticed.
  ill integer NOT NULL,
  fleet integer NOT NULL,
  -- Restarts pause until then.
  resumes_at timestamptz NOT NULL,
  -- Restarts begun since.
  restarts integer NOT NULL DEFAULT 0,
  ended_at timestamptz
);
CREATE UNIQUE INDEX incidents_one_open ON incidents ((true)) WHERE ended_at IS NULL;

-- Work that one orchestrator does for all: whoever comes first when its time has come takes the turn (O23).
CREATE TABLE turns (
  name text PRIMARY KEY,
  next_at timestamptz NOT NULL
);
