import type { Sql } from '../registry/db.ts';

/** What the audit log records; bap-engine §11. */
export type AuditAction =
  | 'provision'
  | 'start'
  | 'stop'
  | 'sleep'
  | 'wake'
  | 'destroy'
  | 'restore'
  | 'health_check'
  | 'health_failed'
  | 'auto_restart_start'
  | 'auto_restart_success'
  | 'auto_restart_failed'
  | 'auto_restart_gave_up'
  | 'policy_register'
  | 'policy_update'
  | 'admit_denied'
  | 'adopt'
  | 'orphan_removed'
  | 'rotate_key';

/** One row. Null ids where the action is above the level of an engine, a user or a product. */
export type AuditEntry = {
  /** When the action started; now when absent. */
  timestamp?: Date;
  product_id: string | null;
  user_id: string | null;
  engine_id: string | null;
  action: AuditAction;
  /** `system`, `admin` or a product's slug. */
  actor: string;
  /** Facts about the action; never a key. */
  metadata: Record<string, unknown>;
  duration_ms?: number;
};

/** Appends a row. `sql` is the transaction of the change it records: one is never there without the other (O20). */
export async function appendAudit(sql: Sql, entry: AuditEntry): Promise<void> {
  await sql.query(
    `INSERT INTO audit_log (timestamp, product_id, user_id, engine_id, action, actor, metadata, duration_ms)
     VALUES (coalesce($1, now()), $2, $3, $4, $5, $6, $7, $8)`,
    [
      entry.timestamp ?? null,
      entry.product_id,
      entry.user_id,
      entry.engine_id,
      entry.action,
      entry.actor,
      entry.metadata,
      entry.duration_ms ?? null,
    ],
  );
}
