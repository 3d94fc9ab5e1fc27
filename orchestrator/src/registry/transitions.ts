/**
 * The history of the fleet's states, in an order in which it can be followed (O33).
 *
 * The hard part is following it without a gap. Numbers are given before the commit, so number 8 may show while 7 is
 * still to come; whoever went on after 8 would never see 7. So a reader first takes a mark: the highest number given
 * so far, and then the transaction that will begin next. Whoever holds a number up to the mark was under way by then;
 * once every transaction before that one has ended, what is there up to the mark is all there will ever be. To wait
 * for that is to wait for those transactions only, milliseconds, however many begin meanwhile.
 *
 * Going by the numbers of the transactions would need no mark but show changes of one engine in the wrong order: a
 * transaction may have begun first and got the engine's row last.
 *
 * Numbers stay within 2^53 for as long as anybody lives, and are plain numbers here.
 */
import type { Sql } from './db.ts';
import type { EngineStatus, SleepDepth } from './engines.ts';

/** Null states: there was no such engine before, or is none any more. Without owner: of the warm pool. */
export type TransitionRow = {
  id: number;
  engine_id: string;
  product_id: string | null;
  user_id: string | null;
  from_status: EngineStatus | null;
  to_status: EngineStatus | null;
  sleep_depth: SleepDepth | null;
  operation_id: string | null;
  at: Date;
};

/** The highest number given so far; 0 before the first. */
export async function lastTransitionId(sql: Sql): Promise<number> {
  const [row] = await sql.query<{ id: number }>(
    'SELECT CASE WHEN is_called THEN last_value ELSE 0 END::float8 AS id FROM transitions_id_seq',
  );
  return row?.id ?? 0;
}

/** The transaction that begins next: every one that is under way has a lower number. */
export async function nextTransaction(sql: Sql): Promise<string> {
  const [row] = await sql.query<{ xid: string }>(
    'SELECT pg_snapshot_xmax(pg_current_snapshot())::text AS xid',
  );
  if (row === undefined) throw new TypeError('SELECT gave no row');
  return row.xid;
}

/** Whether every transaction before `xid` has ended. */
export async function allEndedBefore(sql: Sql, xid: string): Promise<boolean> {
  const [row] = await sql.query<{ ended: boolean }>(
    'SELECT pg_snapshot_xmin(pg_current_snapshot()) >= $1::xid8 AS ended',
    [xid],
  );
  return row?.ended ?? false;
}

/** Up to `limit` rows of a slice (null: of all), in order, with numbers above `after` and up to `up_to`. */
export async function transitionsAfter(
  sql: Sql,
  slice: string | null,
  range: { after: number; up_to: number; limit: number },
): Promise<TransitionRow[]> {
  const { after, up_to, limit } = range;
  return await sql.query<TransitionRow>(
    `SELECT *, id::float8 AS id FROM transitions
      WHERE id > $1 AND id <= $2 ${slice === null ? '' : 'AND product_id = $4'} ORDER BY transitions.id LIMIT $3`,
    slice === null ? [after, up_to, limit] : [after, up_to, limit, slice],
  );
}

/** The highest number up to `up_to` that has a row; 0 when there is none. */
export async function newestTransition(sql: Sql, up_to: number): Promise<number> {
  const [row] = await sql.query<{ id: number }>(
    'SELECT coalesce(max(id), 0)::float8 AS id FROM transitions WHERE id <= $1',
    [up_to],
  );
  return row?.id ?? 0;
}

/** The lowest number from which on nothing has been removed. */
export async function oldestKept(sql: Sql): Promise<number> {
  const [row] = await sql.query<{ id: number }>('SELECT coalesce(min(id), 1)::float8 AS id FROM transitions');
  return row?.id ?? 1;
}

/**
 * Removes rows older than `kept_s` seconds, about `limit` of them; gives how many. Always from the front, so what is
 * left has no holes; and never the last one, which says where a quiet fleet stands.
 */
export async function pruneTransitions(sql: Sql, kept_s: number, limit: number): Promise<number> {
  const rows = await sql.query<{ id: string }>(
    `DELETE FROM transitions
      WHERE id <= (SELECT max(id) FROM (SELECT id FROM transitions
                                         WHERE at < now() - make_interval(secs => $1)
                                           AND id < (SELECT max(id) FROM transitions)
                                         ORDER BY at LIMIT $2) AS old)
      RETURNING id`,
    [kept_s, limit],
  );
  return rows.length;
}
