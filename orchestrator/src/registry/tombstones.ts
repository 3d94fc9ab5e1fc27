/**
 * Tombstones: the rows of engines that were destroyed and can be restored until `tombstone_until` (O30).
 *
 * A tombstone is no engine: every query of engines leaves it out, so the user may have a new one beside it. Three
 * may want it at once: a restore, an erasure, the end of its time. Each takes it by a statement that finds it
 * `destroyed` and leaves it in another state, so one wins. Its time is over by the database's clock, and once it is
 * over it stays over: what is being removed may be half gone and must never come up again.
 */
import { type Sql, violates } from './db.ts';
import type { EngineRow } from './engines.ts';

/** A removal that failed is tried again after this long, seconds: each try is an operation and an audit row. */
const RETRY_S = 600;

/**
 * Tombstones of one user. Each keeps a brain on the disk, and only the newest can be restored; without a limit a
 * product that provisions and destroys in a loop would fill the disk. Three, so that a mistake, and the destroy that
 * was meant to mend it, still leave the one that matters.
 */
const KEPT = 3;

/** The tombstone that a restore would bring back: of the user's engines the one destroyed last, if its time is not over. */
export async function tombstoneOf(sql: Sql, product_id: string, user_id: string): Promise<EngineRow | null> {
  const [row] = await sql.query<EngineRow>(
    `SELECT * FROM engines
      WHERE product_id = $1 AND user_id = $2 AND tombstone_until > now() AND status = 'destroyed'
      ORDER BY destroyed_at DESC LIMIT 1`,
    [product_id, user_id],
  );
  return row ?? null;
}

/**
 * Makes an engine whose destroy has ended a tombstone for `retain_s` seconds; gives until when. Its place in the
 * quota is free from now on, and the time of what its user has beyond `KEPT` tombstones is over. The product row is
 * locked first, as everywhere (engines.ts).
 */
export async function layToRest(sql: Sql, id: string, retain_s: number): Promise<Date | null> {
  const [row] = await sql.query<{ product_id: string; user_id: string; tombstone_until: Date }>(
    `WITH place AS (
       UPDATE products SET engine_count = engine_count - 1
        WHERE id = (SELECT product_id FROM engines WHERE id = $1)
       RETURNING id)
     UPDATE engines
        SET status = 'destroyed', destroyed_at = now(), tombstone_until = now() + make_interval(secs => $2),
            url = NULL, host_url = NULL, failure_reason = NULL,
            health = NULL, health_seen = NULL, ill_probes = 0, ill_since = NULL, well_since = NULL
       FROM place WHERE engines.id = $1 AND engines.product_id = place.id
     RETURNING product_id, user_id, tombstone_until`,
    [id, retain_s],
  );
  if (row === undefined) return null;
  const { product_id, user_id, tombstone_until } = row;
  await sql.query(
    `UPDATE engines SET tombstone_until = now()
      WHERE id IN (SELECT id FROM engines
                    WHERE product_id = $1 AND user_id = $2 AND tombstone_until > now() AND status = 'destroyed'
                    ORDER BY destroyed_at DESC OFFSET $3)
        AND tombstone_until > now()`,
    [product_id, user_id, KEPT],
  );
  return tombstone_until;
}

/**
 * Makes a tombstone the user's engine again, `provisioning`, within the product's quota. `exists`: the user has
 * an engine by now; `at_quota`: the product is full; null: it cannot be restored any more. After each of these the
 * transaction has to be rolled back.
 */
export async function raiseTombstone(
  sql: Sql,
  product_id: string,
  id: string,
): Promise<EngineRow | 'at_quota' | 'exists' | null> {
  const place = await sql.query(
    `UPDATE products SET engine_count = engine_count + 1
      WHERE id = $1 AND engine_count < coalesce((policy->>'max_engines')::int, 2147483647)
     RETURNING id`,
    [product_id],
  );
  if (place.length === 0) return 'at_quota';
  try {
    const [row] = await sql.query<EngineRow>(
      `UPDATE engines SET status = 'provisioning', tombstone_until = NULL, destroyed_at = NULL
        WHERE id = $1 AND product_id = $2 AND status = 'destroyed' AND tombstone_until > now()
       RETURNING *`,
      [id, product_id],
    );
    if (row !== undefined) return row;
    // Another restore of it may have been faster.
    const live = await sql.query('SELECT id FROM engines WHERE id = $1 AND tombstone_until IS NULL', [id]);
    return live.length > 0 ? 'exists' : null;
  } catch (error) {
    if (violates(error, 'engines_user_unique')) return 'exists';
    throw error;
  }
}

/** Ends the time of all tombstones of a user; gives their ids, the one destroyed last first. They are locked. */
export async function expireTombstones(sql: Sql, product_id: string, user_id: string): Promise<string[]> {
  const rows = await sql.query<{ id: string }>(
    `WITH locked AS (
       SELECT id FROM engines WHERE product_id = $1 AND user_id = $2 AND tombstone_until IS NOT NULL
        -- Always in the same order, or two of these could wait for each other.
        ORDER BY id FOR UPDATE),
     expired AS (
       UPDATE engines e SET tombstone_until = least(e.tombstone_until, now())
         FROM locked WHERE e.id = locked.id RETURNING e.id, e.destroyed_at)
     SELECT id FROM expired ORDER BY destroyed_at DESC`,
    [product_id, user_id],
  );
  return rows.map(({ id }) => id);
}

/**
 * Up to `limit` tombstones whose time is over, the longest over first, locked; what another replica holds is
 * skipped. The caller begins their removal in the same transaction.
 */
export async function expiredTombstones(sql: Sql, limit: number): Promise<string[]> {
  const rows = await sql.query<{ id: string }>(
    `SELECT e.id FROM engines e
      WHERE e.status = 'destroyed' AND e.tombstone_until <= now()
        AND NOT EXISTS (SELECT FROM operations o
                         WHERE o.engine_id = e.id AND o.kind = 'purge'
                           AND o.created_at > now() - make_interval(secs => $2))
      ORDER BY e.tombstone_until LIMIT $1 FOR UPDATE OF e SKIP LOCKED`,
    [limit, RETRY_S],
  );
  return rows.map(({ id }) => id);
}
