/**
 * Reading the audit log, a page at a time (O20).
 *
 * In the order in which rows were written, which within a product is the order of its chain and of the commits:
 * where a page ended is one number, and the next page goes on there, whatever has been written meanwhile. Every
 * condition has an index that ends in that order; which one serves best PostgreSQL knows from the values.
 */
import type { Db } from '../registry/db.ts';
import type { AuditAction } from './append.ts';
import { planEachCall } from './chain.ts';

/** Conditions that must all be met. `from` is in, `to` is not. */
export type AuditFilter = {
  user_id?: string | undefined;
  engine_id?: string | undefined;
  action?: AuditAction | undefined;
  actor?: string | undefined;
  from?: Date | undefined;
  to?: Date | undefined;
};

export type AuditPage = {
  /** Oldest, or newest, first. */
  order: 'asc' | 'desc';
  /** The id of the row behind which it goes on; null: from the beginning of that order. */
  after: number | null;
  limit: number;
};

export type AuditRow = {
  id: number;
  timestamp: Date;
  product_id: string | null;
  user_id: string | null;
  engine_id: string | null;
  action: AuditAction;
  actor: string;
  metadata: Record<string, unknown>;
  duration_ms: number | null;
  /** Its number in its chain. */
  seq: number;
  /** SHA-256 of itself and all before it in its chain (chain.ts), hexadecimal. */
  hash: string;
};

/** A page of a product's rows; with `slice` null of everybody's, the system's among them. */
export async function listAudit(
  db: Db,
  slice: string | null,
  filter: AuditFilter,
  { order, after, limit }: AuditPage,
): Promise<AuditRow[]> {
  const asked: [condition: string, value: unknown][] = [
    ['product_id =', slice],
    ['user_id =', filter.user_id],
    ['engine_id =', filter.engine_id],
    ['action =', filter.action],
    ['actor =', filter.actor],
    ['timestamp >=', filter.from],
    ['timestamp <', filter.to],
    [order === 'asc' ? 'id >' : 'id <', after],
  ];
  const given = asked.filter(([, value]) => value !== undefined && value !== null);
  const where = given.map(([condition], index) => `${condition} $${index + 2}`).join(' AND ');
  const text = `SELECT id::float8 AS id, timestamp, product_id, user_id, engine_id, action, actor, metadata, duration_ms,
            seq::float8 AS seq, encode(hash, 'hex') AS hash
       FROM audit_log ${where && `WHERE ${where}`} ORDER BY audit_log.id ${order} LIMIT $1`;
  return await db.tx(async (sql) => {
    await planEachCall(sql);
    return await sql.query<AuditRow>(text, [limit, ...given.map(([, value]) => value)]);
  });
}
