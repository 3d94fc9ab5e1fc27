-- The key that an engine is being rotated to (O8), from before the Engine is told of it until it is known that the
-- Engine has it. It stays where that remained unclear: the Engine opens by this key or by the one in key_hash,
-- never by a third (lifecycle/key_rotation.ts).
ALTER TABLE engines
  ADD COLUMN next_key_hash text,
  ADD COLUMN next_key_enc text,
  ADD CONSTRAINT engines_next_key CHECK ((next_key_hash IS NULL) = (next_key_enc IS NULL));
