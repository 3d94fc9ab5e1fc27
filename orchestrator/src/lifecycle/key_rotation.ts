/**
 * The rotation of an engine's key while it runs (O8): by which keys it opens, and who may know when.
 *
 * Two places have to change, the Engine's brain and the registry, and no transaction covers both. If the Engine took
 * a key that the registry then forgot, nobody could open that engine again. So the new key is kept with the engine,
 * sealed, in the transaction that begins the operation; the Engine is told its hash; and only when it is known that
 * the Engine has it the registry swaps. At every moment in between the Engine opens by one of the two kept keys.
 *
 * An answer may be lost, and then nobody knows. The same hash again changes nothing the second time, so the Engine is
 * told again. Where it says no, it is asked whether it opens by the new key: it may have taken it before. Where it
 * cannot be asked until the deadline the rotation has failed, the old key stays the engine's key, and the new one
 * stays beside it, and is never replaced by a third: a request that is still on its way somewhere can then do no more
 * than the retry would. It is settled by whatever comes first: another rotate-key, which takes the same key; a probe
 * that finds that the Engine opens by it; or the next boot, which gives the Engine that hash.
 */
import { RotateKeyResponse } from '@september/contract';
import { appendAudit } from '../audit/append.ts';
import type { Backend } from '../backends/contract.ts';
import { OrchestratorError } from '../errors.ts';
import type { MasterKeys } from '../keys/master.ts';
import type { Db } from '../registry/db.ts';
import { swapKey } from '../registry/engine_keys.ts';
import { type EngineRow, lockEngine } from '../registry/engines.ts';
import { unfinishedOperation } from '../registry/operations.ts';
import type { Ask } from './ask.ts';
import type { Clock } from './clock.ts';
import { askActivity } from './probe.ts';
import { ProcessGone } from './sleep.ts';

/** How long an engine may take to write a hash down, milliseconds; one that stands still is told again. */
const TELL_TIMEOUT_MS = 5_000;
/** Pause before it is told again, milliseconds. */
const RETRY_MS = 500;
/** How long an Engine tells a replaced key that it was replaced, seconds at least; its own default. */
const PENDING_S = 300;

/** The kept keys of an engine, the newest first; each with its hash. */
export function keysOf(
  engine: EngineRow,
  master_keys: MasterKeys,
): [{ key_hash: string; api_key: string }, ...{ key_hash: string; api_key: string }[]] {
  const { key_hash, engine_key_enc, next_key_hash, next_key_enc } = engine;
  const current = { key_hash, api_key: master_keys.open(engine_key_enc) };
  if (next_key_hash === null || next_key_enc === null) return [current];
  return [{ key_hash: next_key_hash, api_key: master_keys.open(next_key_enc) }, current];
}

/** What a boot tells an Engine of its key; an unsettled one is settled by it, with the overlap that was promised. */
export function keyEnvironment(
  { key_hash, next_key_hash }: EngineRow,
  overlap_s: number,
): { ENGINE_KEY_HASH: string } & Record<string, string> {
  if (next_key_hash === null) return { ENGINE_KEY_HASH: key_hash };
  return {
    ENGINE_KEY_HASH: next_key_hash,
    BAP_KEY_ROTATION_MIN_OVERLAP_SECONDS: String(overlap_s),
    BAP_KEY_ROTATION_MAX_OVERLAP_SECONDS: String(Math.max(overlap_s, PENDING_S)),
  };
}

/**
 * Tells the running Engine the hash of its next key until it is known to have it. Gives that hash, and until when
 * the old key works (ISO 8601; now, where only that it does no more is known). Throws `BACKEND_ERROR` when the Engine
 * says no, and `ProcessGone`; the end of time comes by `signal`.
 */
export async function tellNextKey(
  deps: {
    backend: Backend;
    clock: Clock;
    ask: Ask;
    master_keys: MasterKeys;
    rotate_overlap_s: number;
  },
  engine: EngineRow,
  signal: AbortSignal,
  onSeen: (seen: string) => void,
): Promise<{ key_hash: string; old_key_valid_until: string }> {
  const { ask, backend, clock } = deps;
  const { url } = engine;
  const [next, current] = keysOf(engine, deps.master_keys);
  if (url === null || current === undefined) throw new TypeError('a rotation begins with a next key');
  const { key_hash } = next;
  const body = { key_hash, min_overlap_s: deps.rotate_overlap_s };
  for (;;) {
    const headers = { 'X-Engine-Key': current.api_key };
    const answer = await ask(`${url}/admin/rotate-key`, headers, TELL_TIMEOUT_MS, signal, body);
    let seen: string;
    if (typeof answer === 'string') {
      seen = answer;
    } else {
      const confirmed = RotateKeyResponse.safeParse(answer.body);
      if (answer.status === 200 && confirmed.success) {
        return { key_hash, old_key_valid_until: confirmed.data.old_key_valid_until };
      }
      // Not confirmed is not the same as not done: the confirmation may have got lost, and the old key with it.
      const activity = await askActivity(ask, url, next.api_key, signal);
      if (typeof activity !== 'string') {
        return { key_hash, old_key_valid_until: new Date(clock.wall()).toISOString() };
      }
      seen = `POST /admin/rotate-key gives HTTP ${answer.status}`;
    }
    onSeen(seen);
    if ((await backend.is_running(engine.id)).state === 'absent') throw new ProcessGone();
    if (typeof answer !== 'string') {
      throw new OrchestratorError(
        'BACKEND_ERROR',
        `The engine did not confirm the new key: ${seen}. The old one stays its key until the next rotate-key or start.`,
      );
    }
    await clock.sleep(RETRY_MS, signal);
  }
}

/**
 * Finds out about a rotation that was left unclear: if the Engine opens by the next key, the registry swaps, in one
 * transaction with its audit row. Else nothing changes.
 */
export async function settleKey(
  deps: { db: Db; ask: Ask; master_keys: MasterKeys },
  engine: EngineRow,
  signal: AbortSignal,
): Promise<void> {
  const { id, url, next_key_hash, next_key_enc } = engine;
  if (url === null || next_key_hash === null || next_key_enc === null) return;
  const activity = await askActivity(deps.ask, url, deps.master_keys.open(next_key_enc), signal);
  if (typeof activity === 'string') return;
  await deps.db.tx(async (sql) => {
    const locked = await lockEngine(sql, id);
    // Whoever works on an operation of it also answers for its key.
    if (locked === null || (await unfinishedOperation(sql, id)) !== null) return;
    if (!(await swapKey(sql, id, next_key_hash))) return;
    await appendAudit(sql, {
      product_id: locked.product_id,
      user_id: locked.user_id,
      engine_id: id,
      action: 'rotate_key',
      actor: 'system',
      metadata: { found_by: 'probe', epoch: locked.epoch },
    });
  });
}
