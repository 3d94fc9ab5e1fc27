/**
 * The warm pool as the registry sees it: engines without product and user (O26).
 *
 * The hard part is that everybody wants the same few rows at once: provisions take them, the keeper clears
 * away what is too much, probes and restarts go on. A claim is one statement that locks one row and steps
 * over those that others hold; whoever else wants that row looks, with the row locked, whether it still has
 * no owner. So of a claim and a removal exactly one wins, and two products never get the same engine.
 */
import { type Sql, violates } from './db.ts';
import type { EngineRow, LiveEngine, NewEngine } from './engines.ts';
import { SETTLED } from './health.ts';

/**
 * Gives a ready engine of that version to a user, within the product's quota, `provisioning`: the choice, the
 * count and the gift are one statement (O18, O26). Null when none is ready, or the product is full, which
 * `insertEngine` tells apart; `exists` when the user has an engine.
 *
 * Ready is one that runs and was not ill at its last probe. No operation can be under way on it: those that
 * begin on an engine without an owner take it out of `running`.
 */
export async function claimWarmEngine(
  sql: Sql,
  wish: { product_id: string; user_id: string; engine_version: string; version_pinned: boolean },
): Promise<LiveEngine | null | 'exists'> {
  try {
    const [row] = await sql.query<LiveEngine>(
      `WITH ready AS (
         SELECT id FROM engines
          WHERE product_id IS NULL AND engine_version = $3 AND status = 'running' AND health <> 'ill'
          ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED),
       place AS (
         UPDATE products SET engine_count = engine_count + 1
           FROM ready
          WHERE products.id = $1 AND engine_count < coalesce((policy->>'max_engines')::int, 2147483647)
         RETURNING products.id),
       claimed AS (
         UPDATE engines e
            SET product_id = place.id, user_id = $2, status = 'provisioning', restart_attempts = 0,
                version_pinned = $4,
                -- To its owner it is new.
                created_at = now()
           FROM ready, place WHERE e.id = ready.id
         RETURNING e.*),
       -- And in use: the Engine itself has been idle since its boot.
       admitted AS (INSERT INTO engine_admits SELECT id, now() FROM claimed)
       SELECT * FROM claimed`,
      [wish.product_id, wish.user_id, wish.engine_version, wish.version_pinned],
    );
    return row ?? null;
  } catch (error) {
    // The statement failed as a whole: the engine has no owner still.
    if (violates(error, 'engines_user_unique')) return 'exists';
    throw error;
  }
}

/** Adds an engine without an owner, `provisioning`. */
export async function insertWarmEngine(sql: Sql, engine: NewEngine): Promise<EngineRow> {
  const [row] = await sql.query<EngineRow>(
    `INSERT INTO engines (id, status, engine_version, key_hash, engine_key_enc)
     VALUES (gen_random_uuid(), 'provisioning', $1, $2, $3) RETURNING *`,
    [engine.engine_version, engine.key_hash, engine.engine_key_enc],
  );
  if (row === undefined) throw new TypeError('INSERT gave no row');
  return row;
}

/** `members`: of that version, in any state but on their way out; the others of any version. */
export type PoolCount = { members: number; booting: number; leaving: number };

export async function countPool(sql: Sql, engine_version: string): Promise<PoolCount> {
  const [row] = await sql.query<PoolCount>(
    `SELECT count(*) FILTER (WHERE engine_version = $1 AND status <> 'destroying')::int AS members,
            count(*) FILTER (WHERE status = 'provisioning')::int AS booting,
            count(*) FILTER (WHERE status = 'destroying')::int AS leaving
       FROM engines WHERE product_id IS NULL`,
    [engine_version],
  );
  return row ?? { members: 0, booting: 0, leaving: 0 };
}

/** Why an engine has no place in the pool. */
export type Misfit = { id: string; why: 'another version' | 'too many' | 'given up' };

/**
 * Up to `limit` engines that have no place in a pool of `size` of that version. Those that run are kept before
 * others, the oldest first. One that is not restarted any more, or could not be removed, is left alone for
 * `patience_s` first: where no engine boots, the pool must not make and remove them without a pause.
 */
export async function findMisfits(
  sql: Sql,
  pool: { size: number; engine_version: string; patience_s: number; limit: number },
): Promise<Misfit[]> {
  return await sql.query<Misfit>(
    `SELECT e.id, CASE WHEN e.engine_version <> $1 THEN 'another version'
                       WHEN e.place > $2 THEN 'too many' ELSE 'given up' END AS why
       FROM (SELECT *, row_number() OVER (
                      PARTITION BY engine_version ORDER BY status = 'running' DESC, created_at, id) AS place
               FROM engines WHERE product_id IS NULL AND status <> 'destroying') AS e
      WHERE e.status IN ('running', 'failed') AND ${SETTLED}
        AND (e.engine_version <> $1 OR e.place > $2 OR (e.status = 'failed' AND e.restart_at IS NULL))
        AND (e.status = 'running' OR e.restart_at IS NOT NULL OR NOT EXISTS (
               SELECT FROM operations o
                WHERE o.engine_id = e.id AND o.ended_at > now() - make_interval(secs => $3)))
      ORDER BY e.place DESC LIMIT $4`,
    [pool.engine_version, pool.size, pool.patience_s, pool.limit],
  );
}
