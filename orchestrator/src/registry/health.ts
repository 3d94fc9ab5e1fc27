/**
 * What probes say of engines, and when failed ones are restarted: the queries of the health loops.
 *
 * Any number of orchestrators run these loops on one database (O23). Each claims what is due by moving its
 * time on, in one statement that steps over rows others hold; so nothing is done twice, nobody waits, and
 * what a dying orchestrator had claimed is simply due again. Every moment here is the database's own: the
 * clocks of several orchestrators need not agree. Source: bap-engine §7, O10, O11.
 */
import type { Sql } from './db.ts';
import type { EngineRow } from './engines.ts';

/** Probes come at their interval give or take this part of it, so that a fleet does not answer in one moment. */
const PROBE_JITTER = 0.1;
/** The same for the pause before a restart: engines that failed together must not come back together (O10). */
const RESTART_JITTER = 0.1;
/** How long the claim of a restart stands; after that it is due again, seconds. */
const RESTART_CLAIM_S = 30;

/** No operation is under way on engine `e`: whoever works on it also answers for its health. */
export const SETTLED = 'NOT EXISTS (SELECT FROM operations o WHERE o.engine_id = e.id AND o.outcome IS NULL)';

/** `probes`: how many it has had, with the one claimed. */
export type ProbedEngine = EngineRow & { probes: number };

/** Claims up to `limit` running engines whose probe is due, the longest waiting first. */
export async function claimProbes(sql: Sql, limit: number, interval_s: number): Promise<ProbedEngine[]> {
  return await sql.query<ProbedEngine>(
    `UPDATE engines
        SET next_probe_at = now() + make_interval(secs => $2 * (1 + $3 * (2 * random() - 1))),
            probes = probes + 1
      WHERE id IN (SELECT e.id FROM engines e
                    WHERE e.status = 'running' AND e.next_probe_at <= now() AND ${SETTLED}
                    ORDER BY e.next_probe_at LIMIT $1 FOR UPDATE OF e SKIP LOCKED)
      RETURNING *`,
    [limit, interval_s, PROBE_JITTER],
  );
}

/**
 * Notes that engines were found as they had been: well. A row that somebody is changing right now is left
 * out; what becomes of it matters more. After `reset_after_s` of steady health the restarts are forgotten.
 */
export async function noteStillWell(sql: Sql, ids: string[], reset_after_s: number): Promise<void> {
  await sql.query(
    `UPDATE engines
        SET last_health_at = now(),
            restart_attempts = CASE WHEN well_since <= now() - make_interval(secs => $2) THEN 0
                                    ELSE restart_attempts END
      WHERE id IN (SELECT id FROM engines WHERE id = ANY($1) AND status = 'running' FOR UPDATE SKIP LOCKED)`,
    [ids, reset_after_s],
  );
}

export type ProbeOutcome = { health: 'ok' | 'reduced' | 'ill'; seen: string | null };

/**
 * Notes a probe of an engine at `epoch`; gives the ill probes in a row, or null when it runs no more or at
 * another epoch.
 */
export async function noteProbe(
  sql: Sql,
  engine: Pick<EngineRow, 'id' | 'epoch'>,
  { health, seen }: ProbeOutcome,
): Promise<number | null> {
  const [row] = await sql.query<{ ill_probes: number }>(
    health === 'ill'
      ? `UPDATE engines
            SET health = $3, health_seen = $4, ill_probes = ill_probes + 1,
                ill_since = coalesce(ill_since, now()), well_since = NULL
          WHERE id = $1 AND epoch = $2 AND status = 'running' RETURNING ill_probes`
      : `UPDATE engines
            SET health = $3, health_seen = $4, ill_probes = 0, ill_since = NULL,
                well_since = coalesce(well_since, now()), last_health_at = now()
          WHERE id = $1 AND epoch = $2 AND status = 'running' RETURNING ill_probes`,
    [engine.id, engine.epoch, health, seen],
  );
  return row?.ill_probes ?? null;
}

/** Notes that an engine has come up in good health. Its next probe is due at once: it may have ended just now. */
export async function noteUp(sql: Sql, id: string): Promise<void> {
  await sql.query(
    `UPDATE engines
        SET health = 'ok', health_seen = NULL, ill_probes = 0, ill_since = NULL,
            well_since = now(), last_health_at = now(), next_probe_at = now(), restart_at = NULL
      WHERE id = $1`,
    [id],
  );
}

/** Has a running engine probed at once. */
export async function probeSoon(sql: Sql, id: string): Promise<void> {
  await sql.query('UPDATE engines SET next_probe_at = now() WHERE id = $1', [id]);
}

/**
 * Notes for an engine that has failed that it is restarted after some `restart_in_s`, or, where that is null,
 * not by itself. `turned_ill`: it was well a moment ago, which the breaker counts (O11).
 */
export async function noteFailed(
  sql: Sql,
  id: string,
  failure: { restart_in_s: number | null; turned_ill: boolean },
): Promise<void> {
  await sql.query(
    `UPDATE engines
        SET restart_at = now() + make_interval(secs => $2 * (1 + $3 * (2 * random() - 1))),
            ill_since = CASE WHEN $4 THEN coalesce(ill_since, now()) ELSE ill_since END,
            well_since = NULL
      WHERE id = $1`,
    [id, failure.restart_in_s, RESTART_JITTER, failure.turned_ill],
  );
}

/** Counts a restart that begins now, or forgets them all: a person has taken over (O10). None stays planned. */
export async function countRestart(sql: Sql, id: string, count: 'one more' | 'none'): Promise<void> {
  await sql.query(
    `UPDATE engines
        SET restart_at = NULL, restart_attempts = CASE WHEN $2 THEN restart_attempts + 1 ELSE 0 END
      WHERE id = $1`,
    [id, count === 'one more'],
  );
}

/** A restart that one orchestrator may begin, as long as `restart_at` stands in the engine's row. */
export type ClaimedRestart = { engine_id: string; restart_at: Date };

/** Claims up to `limit` failed engines whose restart is due, the longest waiting first. */
export async function claimRestarts(sql: Sql, limit: number): Promise<ClaimedRestart[]> {
  return await sql.query<ClaimedRestart>(
    `UPDATE engines SET restart_at = now() + make_interval(secs => $2)
      WHERE id IN (SELECT e.id FROM engines e
                    WHERE e.status = 'failed' AND e.restart_at <= now() AND ${SETTLED}
                    ORDER BY e.restart_at LIMIT $1 FOR UPDATE OF e SKIP LOCKED)
      RETURNING id AS engine_id, restart_at`,
    [limit, RESTART_CLAIM_S],
  );
}

/** A page of the running engines on which no operation is under way, by id; begin with `after` null. */
export async function runningEngines(
  sql: Sql,
  after: string | null,
  limit: number,
): Promise<Pick<EngineRow, 'id' | 'epoch'>[]> {
  return await sql.query(
    `SELECT e.id, e.epoch FROM engines e
      WHERE e.status = 'running' AND e.id > coalesce($1, '00000000-0000-0000-0000-000000000000'::uuid)
        AND ${SETTLED}
      ORDER BY e.id LIMIT $2`,
    [after, limit],
  );
}

/** What the registry knows of an engine id that a backend has; `status` null: there is no row any more. */
export type Registered = {
  status: EngineRow['status'] | null;
  /** Of the row, else of its last operation. */
  epoch: number;
  product_id: string | null;
  user_id: string | null;
  /** An operation is under way on it. */
  busy: boolean;
};

/** Looks up engine ids; those that never had an operation, which comes before everything else, are left out. */
export async function registered(sql: Sql, ids: string[]): Promise<Map<string, Registered>> {
  const rows = await sql.query<Registered & { id: string }>(
    `SELECT wanted.id, e.status, coalesce(e.epoch, last.epoch) AS epoch, last.product_id, last.user_id,
            EXISTS (SELECT FROM operations o WHERE o.engine_id = wanted.id AND o.outcome IS NULL) AS busy
       FROM unnest($1::uuid[]) AS wanted (id)
       JOIN LATERAL (SELECT o.epoch, o.product_id, o.user_id FROM operations o
                      WHERE o.engine_id = wanted.id ORDER BY o.created_at DESC LIMIT 1) AS last ON true
       LEFT JOIN engines e ON e.id = wanted.id`,
    [ids],
  );
  return new Map(rows.map((row) => [row.id, row]));
}

/** The database's time. */
export async function databaseTime(sql: Sql): Promise<Date> {
  const [row] = await sql.query<{ now: Date }>('SELECT now()');
  if (row === undefined) throw new TypeError('SELECT gave no row');
  return row.now;
}

/**
 * Takes the turn at work that one orchestrator does for all, at most every `every_s` seconds; false when
 * another had it or it is too early.
 */
export async function takeTurn(sql: Sql, name: string, every_s: number): Promise<boolean> {
  const rows = await sql.query(
    `INSERT INTO turns (name, next_at) VALUES ($1, now() + make_interval(secs => $2))
     ON CONFLICT (name) DO UPDATE SET next_at = excluded.next_at WHERE turns.next_at <= now()
     RETURNING name`,
    [name, every_s],
  );
  return rows.length > 0;
}
