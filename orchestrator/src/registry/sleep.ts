/**
 * What the registry knows of sleep: who is due to be looked at, and who was admitted lately. How a sleep and an
 * admit in the same instant are told apart stands in admit.ts.
 */
import type { Sql } from './db.ts';
import type { EngineRow, SleepDepth } from './engines.ts';
import type { SleepMode } from './policy.ts';

/**
 * Admits of one engine are noted at most this often, and it may stay awake for so much longer: an admit that has
 * nothing to note takes half the time of one that has. Seconds.
 */
export const ADMIT_GRAIN_S = 5;

/** Whether the engine was admitted within the last `seconds`. To be asked after its sleep has been committed. */
export async function admittedWithin(sql: Sql, engine_id: string, seconds: number): Promise<boolean> {
  const [row] = await sql.query<{ admitted: boolean }>(
    `SELECT EXISTS (SELECT FROM engine_admits
                     WHERE engine_id = $1 AND at > now() - make_interval(secs => $2)) AS admitted`,
    [engine_id, seconds + ADMIT_GRAIN_S],
  );
  return row?.admitted ?? false;
}

/** An engine that is due for a look, with what the look needs; the ages are seconds. */
export type DueEngine = Pick<EngineRow, 'id' | 'status' | 'url' | 'engine_key_enc'> & {
  sleep_depth: SleepDepth | null;
  /** The product's own mode; null: the deployment's. */
  sleep_mode: SleepMode | null;
  /** How long ago the last admit was, at least. */
  admit_age_s: number | null;
  asleep_s: number | null;
};

/**
 * Claims up to `limit` engines that are due, and has them looked at again in `again_in_s` unless
 * `lookAgain` says otherwise. What another replica claims in the same moment is skipped, and so are engines
 * without an owner: they are there to be idle.
 */
export async function claimDueEngines(sql: Sql, limit: number, again_in_s: number): Promise<DueEngine[]> {
  return await sql.query<DueEngine>(
    `WITH due AS (
       SELECT id FROM engines
        WHERE (status = 'running' OR sleep_depth = 'doze') AND product_id IS NOT NULL
          AND next_idle_check_at <= now()
        ORDER BY next_idle_check_at LIMIT $1 FOR UPDATE SKIP LOCKED)
     UPDATE engines e SET next_idle_check_at = now() + make_interval(secs => $2)
       FROM due WHERE e.id = due.id
     RETURNING e.id, e.status, e.url, e.engine_key_enc, e.sleep_depth,
       (SELECT policy->>'sleep_mode' FROM products p WHERE p.id = e.product_id) AS sleep_mode,
       extract(epoch FROM now() - (SELECT at FROM engine_admits a WHERE a.engine_id = e.id))::float8 - $3
         AS admit_age_s,
       extract(epoch FROM now() - e.slept_at)::float8 AS asleep_s`,
    [limit, again_in_s, ADMIT_GRAIN_S],
  );
}

/** Notes that an engine has fallen asleep, to the depth that its row says. */
export async function noteAsleep(sql: Sql, engine_id: string): Promise<void> {
  await sql.query("UPDATE engines SET status = 'sleeping', slept_at = now() WHERE id = $1", [engine_id]);
}

/** Has an engine looked at again in so many seconds. */
export async function lookAgain(sql: Sql, engine_id: string, seconds: number): Promise<void> {
  await sql.query('UPDATE engines SET next_idle_check_at = now() + make_interval(secs => $2) WHERE id = $1', [
    engine_id,
    seconds,
  ]);
}
