/**
 * Ports of the host on which engines listen (O13).
 *
 * A port is a row, so a double allocation cannot be written down, and claiming the lowest free one is one
 * statement: `SKIP LOCKED` steps over rows that others are claiming in the same moment, instead of waiting
 * for them. A row is no proof that the port is free on the machine; when another program turns out to
 * listen there, the port is set aside for a while and the next one is claimed.
 */
import { OrchestratorError } from '../errors.ts';
import { type Sql, violates } from './db.ts';

/** How long a port is left alone on which another program was found listening, seconds. */
const SET_ASIDE_S = 600;

export type PortRange = { min: number; max: number };

/**
 * Makes the rows of the range; run at start, which waits for it, so it only counts where they are all there. Ports
 * outside of it stay with their engines and are not given out.
 */
export async function syncPorts(sql: Sql, range: PortRange): Promise<void> {
  await sql.query(
    `INSERT INTO ports (port) SELECT generate_series($1::int, $2::int)
      WHERE (SELECT count(*) FROM ports WHERE port BETWEEN $1 AND $2) <= $2 - $1
     ON CONFLICT DO NOTHING`,
    [range.min, range.max],
  );
}

/**
 * The engine's port: the one it has, else the lowest free one. Two may ask for one engine in the same moment,
 * one of whom has lost the operation to the other; both get the same. Throws `PORT_EXHAUSTION`.
 */
export async function claimPort(sql: Sql, engine_id: string, range: PortRange): Promise<number> {
  const [own] = await sql.query<{ port: number }>('SELECT port FROM ports WHERE engine_id = $1', [engine_id]);
  if (own !== undefined) return own.port;
  try {
    const [claimed] = await sql.query<{ port: number }>(
      `UPDATE ports SET engine_id = $1, set_aside_until = NULL
        WHERE port = (SELECT port FROM ports
                       WHERE engine_id IS NULL AND port BETWEEN $2 AND $3
                         AND (set_aside_until IS NULL OR set_aside_until <= now())
                       ORDER BY port LIMIT 1 FOR UPDATE SKIP LOCKED)
        RETURNING port`,
      [engine_id, range.min, range.max],
    );
    if (claimed !== undefined) return claimed.port;
  } catch (error) {
    if (!violates(error, 'ports_engine_unique')) throw error;
    return await claimPort(sql, engine_id, range);
  }
  throw new OrchestratorError(
    'PORT_EXHAUSTION',
    `No port is free between ${range.min} and ${range.max}; destroy unused engines, or widen the range.`,
  );
}

/** Gives an engine's port back. The caller ends its last operation, so nobody is about to claim one for it. */
export async function releasePort(sql: Sql, engine_id: string): Promise<void> {
  await sql.query('UPDATE ports SET engine_id = NULL WHERE engine_id = $1', [engine_id]);
}

/** Takes the engine's port away from it and out of use for a while: another program listens there. */
export async function setPortAside(sql: Sql, engine_id: string): Promise<void> {
  await sql.query(
    `UPDATE ports SET engine_id = NULL, set_aside_until = now() + make_interval(secs => $2)
      WHERE engine_id = $1`,
    [engine_id, SET_ASIDE_S],
  );
}
