/**
 * `Idempotency-Key`: a request that is sent again, because its answer was lost, does nothing again (O25).
 *
 * The key is written in the transaction of what the request begins, before anything else of it. So of two
 * requests with one key at the same moment the second waits for the first and then finds what it began; and
 * a request that is refused leaves no key, its caller may try again with the same one.
 */
import { OrchestratorError } from '../errors.ts';
import type { Sql } from './db.ts';

/** Keys older than this go, seconds. Whoever repeats a request later than a day has forgotten why. */
const KEPT_S = 24 * 60 * 60;
/** One comes, up to so many of the oldest go: they never pile up. */
const PRUNED_AT_ONCE = 2;

/** A request that is to be done once. `request_hash`: SHA-256 of what it asks for. */
export type OnceRequest = {
  /** The product's id, or `admin`: the keys of two callers never meet. */
  scope: string;
  key: string;
  request_hash: string;
};

/** What became of it: the operation it began or joined, or its answer, sealed. */
export type OnceResult = { operation_id: string | null; answer_enc: string | null };

/** What became of an earlier request with this key; null when there was none. Throws `IDEMPOTENCY_KEY_REUSED`. */
export async function findOnce(sql: Sql, once: OnceRequest): Promise<OnceResult | null> {
  const [row] = await sql.query<OnceResult & { request_hash: string }>(
    `SELECT request_hash, operation_id, answer_enc FROM idempotency_keys WHERE scope = $1 AND key = $2`,
    [once.scope, once.key],
  );
  if (row === undefined) return null;
  if (row.request_hash !== once.request_hash) {
    throw new OrchestratorError('IDEMPOTENCY_KEY_REUSED', 'Another request has used this Idempotency-Key.');
  }
  return row;
}

/**
 * Takes the key for this transaction, which must end with `keepOnce`; or gives what an earlier request with it
 * has become. Throws `IDEMPOTENCY_KEY_REUSED`.
 */
export async function takeOnce(sql: Sql, once: OnceRequest): Promise<OnceResult | null> {
  await sql.query(
    `DELETE FROM idempotency_keys WHERE (scope, key) IN (
       SELECT scope, key FROM idempotency_keys WHERE created_at < now() - make_interval(secs => $1)
        ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED)`,
    [KEPT_S, PRUNED_AT_ONCE],
  );
  const taken = await sql.query<{ key: string }>(
    `INSERT INTO idempotency_keys (scope, key, request_hash) VALUES ($1, $2, $3)
     ON CONFLICT DO NOTHING RETURNING key`,
    [once.scope, once.key, once.request_hash],
  );
  return taken.length > 0 ? null : await findOnce(sql, once);
}

export async function keepOnce(sql: Sql, once: OnceRequest, result: Partial<OnceResult>): Promise<void> {
  await sql.query(
    'UPDATE idempotency_keys SET operation_id = $3, answer_enc = $4 WHERE scope = $1 AND key = $2',
    [once.scope, once.key, result.operation_id ?? null, result.answer_enc ?? null],
  );
}
