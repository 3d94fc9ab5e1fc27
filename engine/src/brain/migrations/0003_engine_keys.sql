-- Which keys open this Engine: the current hash, at most one older, and the hash of the previous boot (E12). One row.
CREATE TABLE engine_keys (
  id              INTEGER PRIMARY KEY CHECK (id = 1),
  boot_hash       TEXT NOT NULL,
  current_hash    TEXT NOT NULL,
  old_hash        TEXT,
  -- Unix milliseconds of the last rotation's two limits; kept after the old hash is purged.
  old_valid_until INTEGER,
  old_purged_at   INTEGER
) STRICT;
