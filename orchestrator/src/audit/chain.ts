/**
 * The hash chain of the audit log, byte by byte (O20).
 *
 * A log that can be edited proves nothing. So each row carries the SHA-256 of itself and of the hash of the row
 * before it in its chain: whoever changes, removes or moves a row has to recompute all that follow it, and the
 * chain's head. PostgreSQL computes the hash when a row is appended (migration 0009); this file computes it
 * again from the columns, and shares no code with it.
 *
 *     hash = SHA-256( prev_hash, 32 bytes | the fields, in UTF-8, in this order: )
 *
 *     seq          decimal; 1, 2, 3 … in the chain
 *     id           decimal
 *     timestamp    microseconds since 1970-01-01 00:00:00 UTC, decimal
 *     product_id   as PostgreSQL prints a uuid; null at the level of the system
 *     user_id
 *     engine_id
 *     action
 *     actor
 *     metadata     as PostgreSQL prints a jsonb
 *     duration_ms  decimal
 *
 * Each field is its length in bytes in decimal, `:`, its text, `,`. A null is `-,`. The length keeps fields apart,
 * whatever stands in them. The first row of a chain has 32 zero bytes for a prev_hash.
 */
import { hash } from 'node:crypto';
import type { Sql } from '../registry/db.ts';

/** Which chain; null: the level of the system. */
export type ChainId = string | null;

/** What stands at both ends of a chain. `first_…`: what retention has left of its beginning. */
export type ChainHead = { seq: number; hash: Buffer; first_seq: number; first_prev_hash: Buffer };

/** A row of the log as its chain sees it: texts as PostgreSQL prints them, bigint as decimal text. */
export type ChainedRow = {
  seq: string;
  id: string;
  timestamp_us: string;
  product_id: ChainId;
  user_id: string | null;
  engine_id: string | null;
  action: string;
  actor: string;
  metadata: string;
  duration_ms: number | null;
  prev_hash: Buffer;
  hash: Buffer;
};

/** What the next row of a chain must be. */
export type Link = { seq: number; prev_hash: Buffer };

/** The hash that a row ought to have. */
export function hashOf(row: ChainedRow): Buffer {
  const fields = [
    row.seq,
    row.id,
    row.timestamp_us,
    row.product_id,
    row.user_id,
    row.engine_id,
    row.action,
    row.actor,
    row.metadata,
    row.duration_ms === null ? null : String(row.duration_ms),
  ];
  const text = fields.map((field) => (field === null ? '-,' : `${Buffer.byteLength(field)}:${field},`));
  return hash('sha256', Buffer.concat([row.prev_hash, Buffer.from(text.join(''))]), 'buffer');
}

/** Whether a row is, unchanged, the one that comes next. */
export const follows = (row: ChainedRow, link: Link): boolean =>
  Number(row.seq) === link.seq && row.prev_hash.equals(link.prev_hash) && hashOf(row).equals(row.hash);

export const linkAfter = (row: ChainedRow): Link => ({ seq: Number(row.seq) + 1, prev_hash: row.hash });

/** The link that the first row must fit. */
export const firstLink = (head: ChainHead): Link => ({
  seq: head.first_seq,
  prev_hash: head.first_prev_hash,
});

/** A chain's head; null when there is none. `lock`: held until the transaction ends, nobody appends meanwhile. */
export async function headOf(
  sql: Sql,
  chain: ChainId,
  { lock = false }: { lock?: boolean } = {},
): Promise<ChainHead | null> {
  const [row] = await sql.query<{ seq: string; hash: Buffer; first_seq: string; first_prev_hash: Buffer }>(
    `SELECT seq, hash, first_seq, first_prev_hash FROM audit_chains
      WHERE ${of(chain)} ${lock ? 'FOR UPDATE' : ''}`,
    [chain],
  );
  return row === undefined ? null : { ...row, seq: Number(row.seq), first_seq: Number(row.first_seq) };
}

/** Up to `limit` rows of a chain behind the row `after`, or from its first, in the order in which they were written. */
export async function chainPage(
  sql: Sql,
  chain: ChainId,
  after: string | null,
  limit: number,
): Promise<ChainedRow[]> {
  return await sql.query<ChainedRow>(
    `SELECT seq, id, (extract(epoch FROM timestamp) * 1000000)::bigint AS timestamp_us,
            product_id, user_id, engine_id, action, actor, metadata::text, duration_ms, prev_hash, hash
       FROM audit_log WHERE ${of(chain)} ${after === null ? '' : 'AND id > $3'} ORDER BY id LIMIT $2`,
    after === null ? [chain, limit] : [chain, limit, after],
  );
}

/**
 * Has PostgreSQL plan each statement of a transaction anew: which index serves best depends on the values, and a plan
 * made for all of them may read a whole log for a chain of three rows.
 */
export const planEachCall = (sql: Sql) => sql.query('SET LOCAL plan_cache_mode = force_custom_plan');

/**
 * The same for a walk along a chain, page by page, by its index. A planner whose figures are from before the log grew
 * would fetch and sort the whole rest of the chain for each page.
 */
export const planForWalk = (sql: Sql) =>
  sql.query('SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL enable_sort = off');

/** A chain's rows, of its head or of the log; `$1` is the chain. An index finds `=` and `IS NULL`, nothing else. */
export const of = (chain: ChainId): string =>
  chain === null ? '(product_id IS NULL AND $1::uuid IS NULL)' : 'product_id = $1';
