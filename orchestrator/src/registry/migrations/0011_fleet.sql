-- What changed in the fleet, for GET /events (O33): each change of an engine's status or, while it sleeps, of its
-- depth. Written by triggers on the engines, in the transaction of the change, so that no code can forget one.
--
-- Deferred to the end of the transaction, where the operation that a change belongs to is there as well. The number
-- is taken then, with the engine's row locked, so the numbers of one engine go up with its changes. (A migration
-- that changes states and then alters the table has to say SET CONSTRAINTS ALL IMMEDIATE in between.)
CREATE TABLE transitions (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  engine_id uuid NOT NULL,
  -- Null: of the warm pool.
  product_id uuid,
  user_id text,
  -- Null: there was no such engine before, or none any more.
  from_status text,
  to_status text,
  sleep_depth text,
  -- The operation that began or ended with it.
  operation_id uuid,
  at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX transitions_by_product ON transitions (product_id, id);
CREATE INDEX transitions_by_age ON transitions (at);
CREATE INDEX transitions_failed ON transitions (product_id, at) WHERE to_status = 'failed';

CREATE FUNCTION note_transition() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  engine engines%ROWTYPE;
  was text;
  is_now text;
BEGIN
  IF TG_OP = 'DELETE' THEN
    engine := OLD;
  ELSE
    engine := NEW;
    is_now := NEW.status;
  END IF;
  -- One that comes out of the warm pool is new to its owner.
  IF TG_OP <> 'INSERT' AND OLD.product_id IS NOT DISTINCT FROM engine.product_id THEN
    was := OLD.status;
  END IF;
  INSERT INTO transitions (engine_id, product_id, user_id, from_status, to_status, sleep_depth, operation_id)
  VALUES (engine.id, engine.product_id, engine.user_id, was, is_now,
          CASE is_now WHEN 'sleeping' THEN engine.sleep_depth END,
          (SELECT o.id FROM operations o
            WHERE o.engine_id = engine.id AND (o.outcome IS NULL OR o.ended_at = now())
            ORDER BY o.created_at DESC LIMIT 1));
  RETURN NULL;
END $$;

CREATE CONSTRAINT TRIGGER engines_added AFTER INSERT ON engines
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note_transition();
CREATE CONSTRAINT TRIGGER engines_removed AFTER DELETE ON engines
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note_transition();
CREATE CONSTRAINT TRIGGER engines_changed AFTER UPDATE OF status, sleep_depth ON engines
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
  WHEN (OLD.status <> NEW.status
        OR (NEW.status = 'sleeping' AND OLD.sleep_depth IS DISTINCT FROM NEW.sleep_depth))
  EXECUTE FUNCTION note_transition();

-- How many engines a product has had (bap-engine §13). The audit log knows, until its old rows are removed; so
-- they are counted as its rows are written. No foreign key: the count outlives the product, as the log does.
CREATE TABLE audit_totals (
  product_id uuid PRIMARY KEY,
  provisions bigint NOT NULL DEFAULT 0,
  destroys bigint NOT NULL DEFAULT 0
);

CREATE FUNCTION count_audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO audit_totals AS totals (product_id, provisions, destroys)
  VALUES (NEW.product_id, (NEW.action = 'provision')::int, (NEW.action = 'destroy')::int)
  ON CONFLICT (product_id) DO UPDATE
     SET provisions = totals.provisions + excluded.provisions, destroys = totals.destroys + excluded.destroys;
  RETURN NULL;
END $$;

-- An engine counts as created also when its boot failed, since it stays; as destroyed when a destroy succeeded. The
-- removal of a tombstone is the rest of a destroy that is counted already.
CREATE TRIGGER audit_counted AFTER INSERT ON audit_log FOR EACH ROW
  WHEN (NEW.product_id IS NOT NULL AND (
          NEW.action = 'provision'
          OR (NEW.action = 'destroy' AND NEW.metadata->>'outcome' = 'succeeded'
              AND NEW.metadata->'purged' IS NULL)))
  EXECUTE FUNCTION count_audit();

INSERT INTO audit_totals (product_id, provisions, destroys)
SELECT product_id, count(*) FILTER (WHERE action = 'provision'), count(*) FILTER (WHERE action = 'destroy')
  FROM audit_log
 WHERE product_id IS NOT NULL AND (
         action = 'provision'
         OR (action = 'destroy' AND metadata->>'outcome' = 'succeeded' AND metadata->'purged' IS NULL))
 GROUP BY product_id;

-- The figures of the last hour, and the boots of late.
CREATE INDEX audit_log_of_fleet ON audit_log (product_id, action, timestamp)
  WHERE action IN ('provision', 'auto_restart_start');

-- Engines by state: counts for /status and the whole fleet's metrics, and lists of the few in a rare state.
CREATE INDEX engines_by_state ON engines (product_id, status, sleep_depth) WHERE tombstone_until IS NULL;
