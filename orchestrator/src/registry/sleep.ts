/**
 * What the registry knows of sleep: who is due to be looked at, and who was admitted lately.
 *
 * The hard part is an admit and a sleep in the same instant: one says "it runs, go there" while the other
 * freezes it. Both go through the engine's row. A sleep writes `sleep_depth` there as it begins, before it
 * looks for admits; an admit writes `last_admit_at` there, in one statement that finds `sleep_depth` empty.
 * PostgreSQL puts the two in line: either the admit sees the sleep and waits for its end, or the sleep sees
 * the admit and lets the engine be. That holds over any number of replicas.
 */
import type { Sql } from './db.ts';
import type { EngineAndOperation, EngineRow, LiveEngine, SleepDepth } from './engines.ts';
import type { OperationKind } from './operations.ts';
import type { SleepMode } from './policy.ts';

/** Admits of one engine are noted at most this often: a burst of them is one write. Seconds. */
const ADMIT_GRAIN_S = 1;

/**
 * The user's engine as `engineOf` gives it, for an admit. `noted`: the engine runs and no sleep comes before
 * this admit's next `ORCH_IDLE_TIMEOUT_S`; without it a running engine is not to be given out.
 */
export async function engineForAdmit(
  sql: Sql,
  product_id: string,
  user_id: string,
): Promise<(EngineAndOperation & { noted: boolean }) | null> {
  const [row] = await sql.query<
    LiveEngine & { operation_id: string | null; operation_kind: OperationKind | null; noted: boolean }
  >(
    `WITH noted AS (
       UPDATE engines SET last_admit_at = now()
         -- Losing the last second of admits in a crash is no harm; each waiting for the disk would be.
         FROM (SELECT set_config('synchronous_commit', 'off', true)) AS unhurried
        WHERE product_id = $1 AND user_id = $2 AND tombstone_until IS NULL
          AND status = 'running' AND sleep_depth IS NULL
          AND (last_admit_at IS NULL OR last_admit_at <= now() - make_interval(secs => $3))
       RETURNING id)
     SELECT e.*, o.id AS operation_id, o.kind AS operation_kind,
            EXISTS (SELECT FROM noted)
              OR (e.status = 'running' AND e.sleep_depth IS NULL
                  AND coalesce(e.last_admit_at > now() - make_interval(secs => $3), false)) AS noted
       FROM engines e LEFT JOIN operations o ON o.engine_id = e.id AND o.outcome IS NULL
      WHERE e.product_id = $1 AND e.user_id = $2 AND e.tombstone_until IS NULL`,
    [product_id, user_id, ADMIT_GRAIN_S],
  );
  if (row === undefined) return null;
  const { operation_id, operation_kind, noted, ...engine } = row;
  const operation =
    operation_id === null || operation_kind === null ? null : { id: operation_id, kind: operation_kind };
  return { engine, operation, noted };
}

/** Whether the engine was admitted within the last `seconds`. To be asked after its sleep has been committed. */
export async function admittedWithin(sql: Sql, engine_id: string, seconds: number): Promise<boolean> {
  const [row] = await sql.query<{ admitted: boolean }>(
    `SELECT coalesce(last_admit_at > now() - make_interval(secs => $2), false) AS admitted
       FROM engines WHERE id = $1`,
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
       extract(epoch FROM now() - e.last_admit_at)::float8 - $3 AS admit_age_s,
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
