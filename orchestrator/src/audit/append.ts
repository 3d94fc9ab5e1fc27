/**
 * The one way into the audit log.
 *
 * A row is written in the transaction of the change it records: one is never there without the other (O20). And
 * it is chained to the row before it, so its chain's head is held until that transaction ends, and all who write
 * for the same product come one after the other. Two rules keep that cheap and safe. The row is written as late in
 * the transaction as can be, so that hardly more than COMMIT lies behind it. And no row of a product or an engine
 * is locked after it that the transaction does not hold already: whoever waits for such a row with the head in his
 * hands, while its holder waits for the head, waits for ever.
 */
import type { Sql } from '../registry/db.ts';

/** What the audit log records; bap-engine §11. */
export const AUDIT_ACTIONS = [
  'provision',
  'start',
  'stop',
  'sleep',
  'wake',
  'destroy',
  'restore',
  'health_check',
  'health_failed',
  'auto_restart_start',
  'auto_restart_success',
  'auto_restart_failed',
  'auto_restart_gave_up',
  'policy_register',
  'policy_update',
  'admit_denied',
  'adopt',
  'epoch_repaired',
  'orphan_removed',
  'rotate_key',
  'rotate_platform_key',
  'product_delete',
  'upgrade',
  'upgrade_rolled_back',
  'rollout',
  'rollout_halted',
] as const;

export type AuditAction = (typeof AUDIT_ACTIONS)[number];

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

/** Appends a row to its product's chain, or to that of the system. `sql`: the transaction of what it records. */
export async function appendAudit(sql: Sql, entry: AuditEntry): Promise<void> {
  await sql.query('SELECT append_audit($1, $2, $3, $4, $5, $6, $7, $8)', [
    entry.timestamp ?? null,
    entry.product_id,
    entry.user_id,
    entry.engine_id,
    entry.action,
    entry.actor,
    entry.metadata,
    entry.duration_ms ?? null,
  ]);
}
