-- Products: the tenants.
-- engine_count is the number of the product's engine rows. It stands here so that the quota check and the
-- insert are one statement on one locked row (O18): a count(*) would read the snapshot from before the lock.
CREATE TABLE products (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  slug text NOT NULL CONSTRAINT products_slug_unique UNIQUE,
  display_name text NOT NULL,
  api_key_hash text NOT NULL CONSTRAINT products_api_key_hash_unique UNIQUE,
  policy jsonb NOT NULL DEFAULT '{}',
  engine_count integer NOT NULL DEFAULT 0 CHECK (engine_count >= 0),
  created_at timestamptz NOT NULL DEFAULT now()
);

-- Engines: one row for each user of a product. Deleting a product by hand takes its engines along.
CREATE TABLE engines (
  id uuid PRIMARY KEY,
  product_id uuid NOT NULL REFERENCES products ON DELETE CASCADE,
  user_id text NOT NULL,
  status text NOT NULL
    CHECK (status IN ('provisioning', 'running', 'sleeping', 'stopped', 'failed', 'destroying')),
  url text,
  engine_version text NOT NULL,
  key_hash text NOT NULL,
  engine_key_enc text NOT NULL,
  epoch integer NOT NULL DEFAULT 1 CHECK (epoch >= 1),
  boot_duration_ms integer,
  failure_reason text,
  created_at timestamptz NOT NULL DEFAULT now(),
  last_health_at timestamptz,
  CONSTRAINT engines_user_unique UNIQUE (product_id, user_id)
);
-- The order of GET /engines, per product.
CREATE INDEX engines_by_age ON engines (product_id, created_at, id);

-- Operations: one lifecycle change of one engine, committed before its first side effect (O21).
-- No foreign key: the history of an engine outlives it.
CREATE TABLE operations (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  engine_id uuid NOT NULL,
  product_id uuid NOT NULL,
  user_id text NOT NULL,
  kind text NOT NULL,
  -- Who asked: product slug or 'system'.
  actor text NOT NULL,
  -- The step begun last.
  step text NOT NULL,
  -- The engine's epoch that the operation brings about or acts on (O22).
  epoch integer NOT NULL,
  deadline timestamptz NOT NULL,
  -- How many times it has been taken up; more than one means that an orchestrator died on the way.
  attempt integer NOT NULL DEFAULT 0,
  -- What the steps found and made: port, endpoint, exit code.
  evidence jsonb NOT NULL DEFAULT '{}',
  outcome text CHECK (outcome IN ('succeeded', 'failed')),
  error_code text,
  error_message text,
  created_at timestamptz NOT NULL DEFAULT now(),
  ended_at timestamptz,
  CHECK ((outcome IS NULL) = (ended_at IS NULL)),
  CHECK ((outcome = 'failed') = (error_code IS NOT NULL))
);
-- Single flight (O7): at most one unfinished operation for an engine, whoever asks and wherever.
CREATE UNIQUE INDEX operations_one_unfinished ON operations (engine_id) WHERE outcome IS NULL;

-- Ports of the host that engines listen on (O13). One row per port; a unique engine makes a double
-- allocation impossible, the partial index makes the lowest free one a single look-up.
CREATE TABLE ports (
  port integer PRIMARY KEY CHECK (port BETWEEN 1 AND 65535),
  engine_id uuid CONSTRAINT ports_engine_unique UNIQUE REFERENCES engines ON DELETE SET NULL,
  -- Some other program listens there; not offered before this time.
  set_aside_until timestamptz
);
CREATE INDEX ports_free ON ports (port) WHERE engine_id IS NULL;

CREATE TABLE audit_log (
  id BIGSERIAL PRIMARY KEY,
  timestamp TIMESTAMPTZ NOT NULL DEFAULT now(),
  product_id UUID,
  user_id TEXT,
  engine_id UUID,
  action TEXT NOT NULL,
  actor TEXT NOT NULL DEFAULT 'system',
  metadata JSONB NOT NULL DEFAULT '{}',
  duration_ms INTEGER
);
CREATE INDEX idx_audit_log_timestamp ON audit_log (timestamp);
CREATE INDEX idx_audit_log_action ON audit_log (action);

-- Admits of the last 60 seconds, numbered per product (O17).
CREATE TABLE admits (
  product_id uuid NOT NULL REFERENCES products ON DELETE CASCADE,
  n bigint NOT NULL,
  at timestamptz NOT NULL,
  PRIMARY KEY (product_id, n)
);

-- Takes one admit out of a product's allowance of `rpm` in any 60 seconds.
-- Answers 0 when it was granted, else after how many seconds it would be; a refusal is not counted.
--
-- Exact, because admits of one product are put in line by a lock and numbered: number n is within the
-- allowance if and only if number n - rpm has left the window. That is one look-up, whatever rpm is.
-- The lock is held to the end of the transaction, which does not wait for the disk: a crash of the
-- database may forget the last few admits, never invent any.
CREATE FUNCTION take_admit(product uuid, rpm integer) RETURNS double precision
LANGUAGE plpgsql AS $$
DECLARE
  span constant interval := interval '60 seconds';
  last admits%ROWTYPE;
  moment timestamptz;
  bar timestamptz;
BEGIN
  PERFORM set_config('synchronous_commit', 'off', true);
  PERFORM pg_advisory_xact_lock(hashtextextended(product::text, 0));
  SELECT * INTO last FROM admits WHERE product_id = product ORDER BY n DESC LIMIT 1;
  -- Numbers must not run against time, even where the clock is set back.
  moment := greatest(clock_timestamp(), last.at);
  SELECT at + span INTO bar FROM admits WHERE product_id = product AND n = last.n + 1 - rpm;
  IF bar > moment THEN
    RETURN extract(epoch FROM bar - moment);
  END IF;
  INSERT INTO admits (product_id, n, at) VALUES (product, coalesce(last.n, 0) + 1, moment);
  -- One comes, up to two of the oldest go: what has left the window is cleared as fast as it gathers.
  DELETE FROM admits WHERE product_id = product AND at <= moment - span
     AND n IN (SELECT n FROM admits WHERE product_id = product ORDER BY n LIMIT 2);
  RETURN 0;
END $$;
