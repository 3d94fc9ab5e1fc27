import { type AuditEntry, appendAudit } from '../../src/audit/append.ts';
import type { Sql } from '../../src/registry/db.ts';

/** An entry of the audit log that says nothing special. */
export const anEntry = (product_id: string | null, entry: Partial<AuditEntry> = {}): AuditEntry => ({
  product_id,
  user_id: null,
  engine_id: null,
  action: 'policy_update',
  actor: 'admin',
  metadata: {},
  ...entry,
});

/** Appends so many rows to a chain, each of a user of its own. */
export async function appendRows(sql: Sql, product_id: string | null, count: number): Promise<void> {
  for (let n = 1; n <= count; n += 1) {
    await appendAudit(sql, anEntry(product_id, { user_id: `user-${n}`, metadata: { n } }));
  }
}
