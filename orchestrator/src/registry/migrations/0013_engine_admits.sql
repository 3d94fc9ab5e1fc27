-- When each engine was admitted last, exact to a second; no row: never. A table of its own: writing to an engine's
-- row has PostgreSQL open its dozen indexes, and took longer than all else of an admit.
CREATE TABLE engine_admits (
  engine_id uuid PRIMARY KEY REFERENCES engines ON DELETE CASCADE,
  at timestamptz NOT NULL
) WITH (fillfactor = 50);
INSERT INTO engine_admits SELECT id, last_admit_at FROM engines WHERE last_admit_at IS NOT NULL;
ALTER TABLE engines DROP COLUMN last_admit_at;

-- Notes that an engine is admitted now; false where it does not run, or a sleep has begun. The engine's row stays
-- locked until the note is there to be seen: see registry/admit.ts. `waits`: for whoever holds that row; else a held
-- one is not noted. A function, so that an admit that has nothing to note is a plain SELECT.
CREATE FUNCTION note_admit(engine uuid, waits boolean) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
  IF waits THEN
    PERFORM FROM engines WHERE id = engine AND status = 'running' AND sleep_depth IS NULL FOR SHARE;
  ELSE
    PERFORM FROM engines WHERE id = engine AND status = 'running' AND sleep_depth IS NULL FOR SHARE SKIP LOCKED;
  END IF;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  -- Losing the last second of admits in a crash is no harm; each waiting for the disk would be.
  PERFORM set_config('synchronous_commit', 'off', true);
  INSERT INTO engine_admits VALUES (engine, now()) ON CONFLICT (engine_id) DO UPDATE SET at = excluded.at;
  RETURN true;
END $$;
