-- The warm pool (O26): engines that are up before anybody needs them. Such an engine has no owner: neither
-- product nor user, and a provision gives it both.
ALTER TABLE engines
  ALTER COLUMN product_id DROP NOT NULL,
  ALTER COLUMN user_id DROP NOT NULL,
  ADD CONSTRAINT engines_owner CHECK ((product_id IS NULL) = (user_id IS NULL)),
  -- Nobody puts it to sleep or stops it.
  ADD CONSTRAINT engines_without_owner CHECK (
    product_id IS NOT NULL OR status IN ('provisioning', 'running', 'failed', 'destroying'));

-- What a provision claims one from, and what the pool is counted by: few rows, whatever the fleet is.
CREATE INDEX engines_pool ON engines (engine_version, created_at) WHERE product_id IS NULL;

-- The idle detector has no business with them; at the front of its index they would be in its way for ever.
DROP INDEX engines_due_idle_check;
CREATE INDEX engines_due_idle_check ON engines (next_idle_check_at)
  WHERE (status = 'running' OR sleep_depth = 'doze') AND product_id IS NOT NULL;

ALTER TABLE operations
  ALTER COLUMN product_id DROP NOT NULL,
  ALTER COLUMN user_id DROP NOT NULL,
  ADD CONSTRAINT operations_owner CHECK ((product_id IS NULL) = (user_id IS NULL)),
  -- A provision that took an engine from the pool: let go on instead of booted.
  ADD COLUMN warm boolean NOT NULL DEFAULT false;
