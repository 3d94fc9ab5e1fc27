import type { Sql } from './db.ts';

/** Any number that no other program on this database uses as an advisory lock. */
const LOCK = 7_305_003;

export type IncidentRow = {
  id: string;
  began_at: Date;
  ill: number;
  fleet: number;
  resumes_at: Date;
  restarts: number;
  ended_at: Date | null;
};

/** From here to the end of the transaction nobody else decides about restarts. */
export async function lockRestarts(sql: Sql): Promise<void> {
  await sql.query('SELECT pg_advisory_xact_lock($1)', [LOCK]);
}

/** Engines that turned ill within the last `within_s` seconds and still are. */
export async function countTurnedIll(sql: Sql, within_s: number): Promise<number> {
  const [row] = await sql.query<{ ill: number }>(
    `SELECT count(*)::int AS ill FROM engines
      WHERE ill_since > now() - make_interval(secs => $1) AND status IN ('running', 'failed')`,
    [within_s],
  );
  return row?.ill ?? 0;
}

/**
 * Whether there is anything to decide about restarts: one is due, an incident is under way, or at least `many` engines
 * turned ill within the last `within_s` seconds.
 */
export async function restartsWait(sql: Sql, many: number, within_s: number): Promise<boolean> {
  const [row] = await sql.query<{ wait: boolean }>(
    `SELECT EXISTS (SELECT FROM incidents WHERE ended_at IS NULL)
         OR EXISTS (SELECT FROM engines WHERE status = 'failed' AND restart_at <= now())
         OR (SELECT count(*) >= $1 FROM engines
              WHERE ill_since > now() - make_interval(secs => $2) AND status IN ('running', 'failed')) AS wait`,
    [many, within_s],
  );
  return row?.wait ?? false;
}

/** Engines that are up, or should be. */
export async function countFleet(sql: Sql): Promise<number> {
  const [row] = await sql.query<{ fleet: number }>(
    "SELECT count(*)::int AS fleet FROM engines WHERE status IN ('running', 'failed')",
  );
  return row?.fleet ?? 0;
}

export async function beginIncident(
  sql: Sql,
  incident: { ill: number; fleet: number; pause_s: number },
): Promise<IncidentRow> {
  const [row] = await sql.query<IncidentRow>(
    `INSERT INTO incidents (ill, fleet, resumes_at)
     VALUES ($1, $2, now() + make_interval(secs => $3)) RETURNING *`,
    [incident.ill, incident.fleet, incident.pause_s],
  );
  if (row === undefined) throw new TypeError('INSERT gave no row');
  return row;
}

/** The incident under way, and for how many seconds restarts have resumed (negative: for how long they still pause). */
export async function openIncident(sql: Sql): Promise<(IncidentRow & { resumed_s: number }) | null> {
  const [row] = await sql.query<IncidentRow & { resumed_s: number }>(
    `SELECT *, extract(epoch FROM now() - resumes_at)::float8 AS resumed_s FROM incidents WHERE ended_at IS NULL`,
  );
  return row ?? null;
}

export async function countIncidentRestarts(sql: Sql, id: string, begun: number): Promise<void> {
  await sql.query('UPDATE incidents SET restarts = restarts + $2 WHERE id = $1', [id, begun]);
}

export async function endIncident(sql: Sql, id: string): Promise<void> {
  await sql.query('UPDATE incidents SET ended_at = now() WHERE id = $1', [id]);
}
