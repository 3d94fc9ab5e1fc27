-- Every replaced key has a time of its own: a rotation soon after another must not cut short what was promised to
-- those who hold the key before. The limits of the last rotation stay in engine_keys, its hash moves here.
CREATE TABLE old_engine_keys (
  hash        TEXT PRIMARY KEY,
  -- Unix milliseconds.
  valid_until INTEGER NOT NULL,
  purged_at   INTEGER NOT NULL
) STRICT;
INSERT INTO old_engine_keys (hash, valid_until, purged_at)
  SELECT old_hash, old_valid_until, old_purged_at FROM engine_keys
   WHERE old_hash IS NOT NULL AND old_valid_until IS NOT NULL AND old_purged_at IS NOT NULL;
ALTER TABLE engine_keys DROP COLUMN old_hash;
