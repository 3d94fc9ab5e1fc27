-- The audit log's hash chains (O20): one for each product, one for the level of the system, where product_id is
-- null. Each row carries the hash of the row before it in its chain; what is hashed, byte by byte, is written down
-- in audit/chain.ts, and audit/verify.ts computes it anew.

-- A log of years is chained in one go below.
SET LOCAL statement_timeout = 0;

-- A field as it is hashed: its length in bytes, a colon, its text, a comma; null is a dash and a comma.
CREATE FUNCTION audit_field(value text) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT CASE WHEN value IS NULL THEN '-,'
              ELSE octet_length(convert_to(value, 'UTF8')) || ':' || value || ',' END
$$;

CREATE FUNCTION audit_hash(
  prev_hash bytea, seq bigint, id bigint, "timestamp" timestamptz, product_id uuid, user_id text, engine_id uuid,
  action text, actor text, metadata jsonb, duration_ms integer
) RETURNS bytea LANGUAGE sql STABLE AS $$
  SELECT sha256(prev_hash || convert_to(
    audit_field(seq::text) || audit_field(id::text)
      || audit_field((extract(epoch FROM "timestamp") * 1000000)::bigint::text)
      || audit_field(product_id::text) || audit_field(user_id) || audit_field(engine_id::text)
      || audit_field(action) || audit_field(actor) || audit_field(metadata::text)
      || audit_field(duration_ms::text), 'UTF8'))
$$;

ALTER TABLE audit_log
  -- 1, 2, 3 … in its chain.
  ADD COLUMN seq bigint,
  ADD COLUMN prev_hash bytea,
  ADD COLUMN hash bytea;

-- Where each chain ends and where it begins. Whoever appends holds the row until his transaction ends: so ids
-- within a chain are in the order of the commits, and no number is used twice or left out.
CREATE TABLE audit_chains (
  -- Null: the level of the system.
  product_id uuid CONSTRAINT audit_chains_product UNIQUE NULLS NOT DISTINCT,
  -- The last row's.
  seq bigint NOT NULL,
  hash bytea NOT NULL,
  -- The first row that retention has left, and the hash of the one before it; of the very first one, 32 zero bytes.
  first_seq bigint NOT NULL DEFAULT 1,
  first_prev_hash bytea NOT NULL DEFAULT decode(repeat('00', 32), 'hex')
) WITH (fillfactor = 50);

-- Appends a row to its chain. A function, so that head and row are one round trip: the less lies between here and
-- COMMIT, the less others wait.
CREATE FUNCTION append_audit(
  at timestamptz, product uuid, who text, engine uuid, what text, by text, facts jsonb, took_ms integer
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  moment timestamptz := coalesce(at, now());
  head tid;
  number bigint;
  last bytea;
  row_id bigint;
  own bytea;
BEGIN
  -- Until its own hash is known, the head has that of the row before.
  INSERT INTO audit_chains AS chain (product_id, seq, hash) VALUES (product, 1, decode(repeat('00', 32), 'hex'))
  ON CONFLICT (product_id) DO UPDATE SET seq = chain.seq + 1
  RETURNING chain.ctid, chain.seq, chain.hash INTO head, number, last;
  row_id := nextval('audit_log_id_seq');
  own := audit_hash(last, number, row_id, moment, product, who, engine, what, by, facts, took_ms);
  INSERT INTO audit_log (id, timestamp, product_id, user_id, engine_id, action, actor, metadata, duration_ms,
                         seq, prev_hash, hash)
  VALUES (row_id, moment, product, who, engine, what, by, facts, took_ms, number, last, own);
  UPDATE audit_chains SET hash = own WHERE ctid = head;
END $$;

-- What was recorded before there were chains.
DO $$
DECLARE
  entry audit_log%ROWTYPE;
  number bigint;
  last bytea;
  product uuid;
BEGIN
  FOR entry IN SELECT * FROM audit_log ORDER BY product_id, id LOOP
    IF number IS NULL OR product IS DISTINCT FROM entry.product_id THEN
      number := 0;
      last := decode(repeat('00', 32), 'hex');
      product := entry.product_id;
    END IF;
    number := number + 1;
    UPDATE audit_log
       SET seq = number, prev_hash = last,
           hash = audit_hash(last, number, id, timestamp, product_id, user_id, engine_id, action, actor, metadata,
                             duration_ms)
     WHERE id = entry.id RETURNING hash INTO last;
  END LOOP;
END $$;
ALTER TABLE audit_log
  ALTER COLUMN seq SET NOT NULL, ALTER COLUMN prev_hash SET NOT NULL, ALTER COLUMN hash SET NOT NULL;
INSERT INTO audit_chains (product_id, seq, hash)
SELECT DISTINCT ON (product_id) product_id, seq, hash FROM audit_log ORDER BY product_id, id DESC;
-- Every product has a chain, so that one that is missing is missed.
INSERT INTO audit_chains (product_id, seq, hash)
SELECT id, 0, decode(repeat('00', 32), 'hex') FROM products ON CONFLICT DO NOTHING;

-- The slices of GET /audit, and the chains. Each index ends in the order in which rows are read.
CREATE INDEX audit_log_by_product ON audit_log (product_id, id);
CREATE INDEX audit_log_by_user ON audit_log (user_id, product_id, id);
CREATE INDEX audit_log_by_actor ON audit_log (actor, product_id, id);
DROP INDEX idx_audit_log_action;
CREATE INDEX idx_audit_log_action ON audit_log (action, product_id, id);
