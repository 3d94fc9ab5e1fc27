/**
 * What follows when an engine has failed: another try after a pause, or the end of trying.
 *
 * An engine that fails for good would be restarted for ever, and each try costs a boot. So the pause doubles
 * with each attempt and after the last one the engine is left `failed` until a person, or a DELETE, decides.
 * The count is in the registry: a restart of the orchestrator must not grant new attempts. It is forgotten
 * after steady health, and when a person stops or starts the engine. Source: bap-engine §7, O9, O10.
 */
import { appendAudit } from '../audit/append.ts';
import type { EngineExitReport } from '../backends/contract.ts';
import type { RestartPolicy } from '../config.ts';
import type { Sql } from '../registry/db.ts';
import { type EngineRow, lockEngine, updateEngine } from '../registry/engines.ts';
import { countRestart, noteFailed } from '../registry/health.ts';
import { type OperationKind, unfinishedOperation } from '../registry/operations.ts';
import { auditHalt, haltOnProbation } from './failed_upgrade.ts';

/** Who found that an engine is gone or ill, and what was seen; kept in the audit row, shown by explain. */
export type FailureEvidence = {
  found_by: 'exit' | 'probe' | 'reconcile' | 'start' | 'admit';
  exit?: EngineExitReport | null;
  seen?: string | null;
  ill_probes?: number;
};

/** Pause before restart `attempt` (1, 2, …), seconds; the registry adds the jitter. */
export function backoff(attempt: number, policy: RestartPolicy): number {
  return Math.min(policy.backoff_base_s * 2 ** (attempt - 1), policy.backoff_max_s);
}

/**
 * Marks a running engine `failed`, audits it, and plans its restart. No effect, and false, when the engine is
 * no longer running at this epoch, or an operation is under way on it: that one answers for it then.
 */
export async function failRunning(
  sql: Sql,
  policy: RestartPolicy,
  probation_s: number,
  failed: { engine_id: string; epoch: number; reason: string; evidence: FailureEvidence },
): Promise<boolean> {
  const engine = await lockEngine(sql, failed.engine_id);
  if (engine?.status !== 'running' || engine.epoch !== failed.epoch) return false;
  if ((await unfinishedOperation(sql, engine.id)) !== null) return false;
  const { found_by, seen, ill_probes, exit } = failed.evidence;
  // Nobody knows when an engine went that was gone before we looked: that is no incident of this minute.
  const turned_ill = found_by !== 'start' && found_by !== 'admit';
  const halted = turned_ill ? await haltOnProbation(sql, engine, probation_s, failed.reason) : null;
  await appendAudit(sql, {
    product_id: engine.product_id,
    user_id: engine.user_id,
    engine_id: engine.id,
    action: 'health_failed',
    actor: 'system',
    metadata: {
      reason: failed.reason,
      epoch: engine.epoch,
      found_by,
      seen: seen ?? undefined,
      ill_probes,
      // Without its last words: those of a crash may say anything.
      exit: exit ? { code: exit.code, signal: exit.signal } : undefined,
    },
  });
  await planRestart(sql, engine, { reason: failed.reason, turned_ill }, policy);
  await auditHalt(sql, halted);
  return true;
}

/**
 * Marks an engine `failed` and plans its restart, or gives it up, with the audit row of that. The caller
 * holds the engine's row; `turned_ill` as in `noteFailed`.
 */
export async function planRestart(
  sql: Sql,
  engine: EngineRow,
  failure: { reason: string; turned_ill: boolean },
  policy: RestartPolicy,
): Promise<void> {
  const { restart_attempts } = engine;
  const givesUp = restart_attempts >= policy.max_attempts;
  const restart_in_s = givesUp ? null : backoff(restart_attempts + 1, policy);
  const { reason, turned_ill } = failure;
  await updateEngine(sql, engine.id, { status: 'failed', failure_reason: reason });
  await noteFailed(sql, engine.id, { restart_in_s, turned_ill });
  if (!givesUp) return;
  await appendAudit(sql, {
    product_id: engine.product_id,
    user_id: engine.user_id,
    engine_id: engine.id,
    action: 'auto_restart_gave_up',
    actor: 'system',
    metadata: { attempts: restart_attempts, reason },
  });
}

/** What the beginning of an operation means for the count: one more, or a person has taken over. */
export async function countBeginning(sql: Sql, kind: OperationKind, engine_id: string): Promise<void> {
  if (kind === 'restart') await countRestart(sql, engine_id, 'one more');
  const byPerson: OperationKind[] = ['start', 'stop', 'destroy', 'retire'];
  if (byPerson.includes(kind)) await countRestart(sql, engine_id, 'none');
}
