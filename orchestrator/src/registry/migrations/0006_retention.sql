-- Tombstones (bap-engine §10, O30): engines that were destroyed and can be restored for a while. The row and the
-- data stay, process, port and place in the quota are given back.
ALTER TABLE engines
  -- Until when it can be restored; set makes the row a tombstone: no engine in any list, count or look-up.
  ADD COLUMN tombstone_until timestamptz,
  -- When it was destroyed: the last one is the one that is restored.
  ADD COLUMN destroyed_at timestamptz,
  DROP CONSTRAINT engines_status_check,
  ADD CONSTRAINT engines_status_check CHECK (status IN (
    'provisioning', 'running', 'sleeping', 'stopped', 'failed', 'destroying', 'destroyed')),
  -- `destroying`: its final removal.
  ADD CONSTRAINT engines_tombstone CHECK (
    CASE WHEN tombstone_until IS NULL THEN destroyed_at IS NULL AND status <> 'destroyed'
         ELSE destroyed_at IS NOT NULL AND status IN ('destroyed', 'destroying') END),
  DROP CONSTRAINT engines_user_unique;

-- One engine for each user, beside any number of tombstones.
CREATE UNIQUE INDEX engines_user_unique ON engines (product_id, user_id) WHERE tombstone_until IS NULL;
CREATE INDEX engines_tombstones ON engines (product_id, user_id, destroyed_at) WHERE tombstone_until IS NOT NULL;
-- What is to be removed for good, the longest due first.
CREATE INDEX engines_due_purge ON engines (tombstone_until) WHERE status = 'destroyed';

-- A destroy that leaves a tombstone: for how long, seconds.
ALTER TABLE operations ADD COLUMN retain_s integer;
