/**
 * What follows when an image turns out to be bad: its roll-out is halted in the transaction that notes the failure, so
 * that from then on nobody finds a place in it (registry/rollouts.ts), and the engine is brought back.
 *
 * An engine whose upgrade failed has its rollback committed with that: there is no moment at which it is down and
 * nobody owes it anything. One that was well and turns ill within the time of probation only halts the roll-out: it has
 * served since, and its user's last minutes are in the brain. It is restarted on the new image like any other.
 *
 * Of the audit log the roll-out's row comes last, after the locks of all others (audit/append.ts).
 */
import { appendAudit } from '../audit/append.ts';
import type { Sql } from '../registry/db.ts';
import { type EngineRow, lockEngine, updateEngine } from '../registry/engines.ts';
import { type Claim, type EndedOperation, insertOperation, noteFollowedBy } from '../registry/operations.ts';
import { haltRollout } from '../registry/rollouts.ts';
import { deadlineOf, hasComeTo, stepsOf } from './machine.ts';

/** A roll-out that has just been halted, for the audit log; null: none was. */
export type Halted = { image: string; engine_id: string; reason: string } | null;

async function halt(sql: Sql, halted: NonNullable<Halted>, new_engine = false): Promise<Halted> {
  return (await haltRollout(sql, halted.image, { ...halted, new_engine })) ? halted : null;
}

/**
 * Fails the engine of an upgrade that had told it to end, and begins its rollback. The data is brought back only where
 * the new image may have had it: before that there may be no copy, or one of another day.
 */
export async function failUpgrade(
  sql: Sql,
  claim: Claim & { image: string },
  ended: EndedOperation,
  reason: string,
  boot_timeout_s: number,
): Promise<{ halted: Halted; followed_by: string }> {
  const { engine_id, product_id, user_id, image } = claim;
  const revert_due = hasComeTo('upgrade', 'allocate_port', ended.step);
  await updateEngine(sql, engine_id, { status: 'failed', failure_reason: reason, revert_due });
  const rollback = await insertOperation(sql, {
    engine_id,
    product_id,
    user_id,
    kind: 'rollback',
    actor: 'system',
    step: stepsOf('rollback', null)[0],
    epoch: claim.epoch,
    deadline_s: deadlineOf('rollback', boot_timeout_s),
    quiet_s: null,
    retain_s: null,
    warm: false,
    image: null,
  });
  await noteFollowedBy(sql, claim.id, rollback.id);
  return { halted: await halt(sql, { image, engine_id, reason }), followed_by: rollback.id };
}

/** A new engine did not come up: no more of an image that nobody has seen well. */
export async function haltForNewEngine(sql: Sql, engine_id: string, reason: string): Promise<Halted> {
  const engine = await lockEngine(sql, engine_id);
  if (engine === null || engine.version_pinned) return null;
  return await halt(sql, { image: engine.engine_version, engine_id, reason }, true);
}

/** An engine turned ill: that says something of its image where it was upgraded to it a moment ago. */
export async function haltOnProbation(
  sql: Sql,
  engine: EngineRow,
  probation_s: number,
  reason: string,
): Promise<Halted> {
  const { id: engine_id, engine_version: image } = engine;
  if (engine.upgrade_image !== image) return null;
  const [row] = await sql.query<{ on_probation: boolean }>(
    'SELECT upgrade_at > now() - make_interval(secs => $2) AS on_probation FROM engines WHERE id = $1',
    [engine_id, probation_s],
  );
  return row?.on_probation ? await halt(sql, { image, engine_id, reason }) : null;
}

export async function auditHalt(sql: Sql, halted: Halted): Promise<void> {
  if (halted === null) return;
  const { image, engine_id, reason } = halted;
  await appendAudit(sql, {
    product_id: null,
    user_id: null,
    engine_id,
    action: 'rollout_halted',
    actor: 'system',
    metadata: { image, reason },
  });
}
