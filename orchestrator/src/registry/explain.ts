import type { Sql } from './db.ts';
import type { OperationRow } from './operations.ts';

/** One audit row, as explain shows it. */
export type AuditFact = { timestamp: Date; action: string; actor: string; metadata: Record<string, unknown> };

/** The operation on an engine that began last: the one under way, if any. */
export async function lastOperation(sql: Sql, engine_id: string): Promise<OperationRow | null> {
  const [row] = await sql.query<OperationRow>(
    'SELECT * FROM operations WHERE engine_id = $1 ORDER BY created_at DESC LIMIT 1',
    [engine_id],
  );
  return row ?? null;
}

/** The last audit row of an engine; with `action`, the last of that action. */
export async function lastAudit(
  sql: Sql,
  engine_id: string,
  action: string | null = null,
): Promise<AuditFact | null> {
  const [row] = await sql.query<AuditFact>(
    `SELECT timestamp, action, actor, metadata FROM audit_log
      WHERE engine_id = $1 AND ($2::text IS NULL OR action = $2) ORDER BY id DESC LIMIT 1`,
    [engine_id, action],
  );
  return row ?? null;
}
