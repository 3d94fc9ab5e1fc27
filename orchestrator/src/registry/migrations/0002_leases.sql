-- Who works on an operation (O23). `owner` is the replica that claimed it last, `lease` counts the claims: a
-- write of the runner carries both and has no effect once another has claimed it. The owner's claim stands
-- until `lease_until`, and no longer than the owner's session with the database (registry/replica.ts).
CREATE SEQUENCE replica_ids AS integer;
ALTER TABLE operations
  ADD COLUMN owner integer,
  ADD COLUMN lease integer NOT NULL DEFAULT 0,
  ADD COLUMN lease_until timestamptz;
-- What replicas look for once a second: few rows, however long the history grows.
CREATE INDEX operations_unfinished ON operations (created_at) WHERE outcome IS NULL;

-- Each claim of an operation that brings an engine up gives it a new epoch (O22); before the first there is none.
ALTER TABLE engines ALTER COLUMN epoch SET DEFAULT 0;
ALTER TABLE engines DROP CONSTRAINT engines_epoch_check;
ALTER TABLE engines ADD CHECK (epoch >= 0);

-- What became of a request that carried an Idempotency-Key (O25): the operation it began or joined, or,
-- where there is none, its answer, sealed by the master key because it may hold a key.
CREATE TABLE idempotency_keys (
  -- Keys of two products never meet: the product's id, or 'admin'.
  scope text NOT NULL,
  key text NOT NULL,
  -- SHA-256 of the request, so that one key cannot stand for two wishes.
  request_hash text NOT NULL,
  operation_id uuid,
  answer_enc text,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (scope, key)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);
