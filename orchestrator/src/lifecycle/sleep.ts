/**
 * When an engine may be put to sleep (O4).
 *
 * Sleep must never cut work, and only the Engine knows whether it works: a model may think for minutes
 * without a sign to the outside. So it is asked, and an engine that cannot be asked stays awake. It is asked
 * twice: by the detector, and again as a step of the sleep, when every admit already waits for the sleep's
 * end; an answer from before that would be worth nothing.
 *
 * A turn that waits for a person (`pending_hitl`) does not keep its engine awake: the question is in the
 * brain, and people take hours.
 */
import type { Activity } from '@september/contract';
import { type Backend, type Presence, StaleEpoch } from '../backends/contract.ts';
import { OrchestratorError } from '../errors.ts';
import type { MasterKeys } from '../keys/master.ts';
import type { Sql } from '../registry/db.ts';
import type { EngineRow } from '../registry/engines.ts';
import { admittedWithin } from '../registry/sleep.ts';
import type { Ask } from './ask.ts';
import type { Clock } from './clock.ts';
import { askActivity } from './probe.ts';

/** The process that was to be put to sleep, or woken, is not there. */
export class ProcessGone extends Error {
  override name = 'ProcessGone';
}

export type IdleVerdict =
  | { idle: true }
  /** `again_in_ms`: it cannot be idle before that. */
  | { idle: false; why: string; again_in_ms: number };

/**
 * Whether an Engine that says `activity` at `now` (milliseconds since 1970) has been idle for `quiet_ms`; with
 * 0 only what goes on now counts. What admits say is the registry's to know.
 */
export function judgeIdle(activity: Activity, now: number, quiet_ms: number): IdleVerdict {
  const { in_flight_turns, open_streams, busy_until } = activity;
  const busy_ms = busy_until === null ? 0 : Date.parse(busy_until) - now;
  // Two clocks: an Engine's may be ahead of ours, and then its last word is of just now.
  const quiet_in_ms = Math.min(now, Date.parse(activity.last_activity_at)) + quiet_ms - now;
  if (in_flight_turns > 0) return awake(`turns in flight: ${in_flight_turns}`, quiet_ms);
  if (open_streams > 0) return awake(`open streams: ${open_streams}`, quiet_ms);
  if (busy_ms > 0) return awake('background work is due', Math.max(busy_ms, quiet_in_ms));
  if (quiet_in_ms > 0) return awake('it was used lately', quiet_in_ms);
  return { idle: true };
}

const awake = (why: string, again_in_ms: number): IdleVerdict => ({ idle: false, why, again_in_ms });

/**
 * Asks once more, at the last moment; the sleep is committed. Throws `OPERATION_IN_PROGRESS` when the engine is
 * at work or was admitted within `quiet_s` seconds, `BACKEND_ERROR` when it does not say, `ProcessGone`.
 */
export async function confirmIdle(
  deps: { db: Sql; backend: Backend; master_keys: MasterKeys; clock: Clock; ask: Ask },
  engine: EngineRow,
  quiet_s: number,
  signal: AbortSignal,
): Promise<void> {
  const { db, backend } = deps;
  const api_key = deps.master_keys.open(engine.engine_key_enc);
  const activity =
    engine.url === null ? 'no address' : await askActivity(deps.ask, engine.url, api_key, signal);
  if (typeof activity === 'string') {
    if ((await backend.is_running(engine.id)).state === 'absent') throw new ProcessGone();
    throw new OrchestratorError('BACKEND_ERROR', `The engine does not say whether it is idle: ${activity}.`);
  }
  const verdict = judgeIdle(activity, deps.clock.wall(), quiet_s * 1000);
  if (!verdict.idle)
    throw new OrchestratorError('OPERATION_IN_PROGRESS', `The engine is busy: ${verdict.why}.`);
  if (quiet_s > 0 && (await admittedWithin(db, engine.id, quiet_s))) {
    throw new OrchestratorError('OPERATION_IN_PROGRESS', 'The engine was admitted lately.');
  }
}

/**
 * Lets an engine go on that stands still although the registry says `running` and nothing is under way on it:
 * somebody else froze it, or an orchestrator that was itself frozen. `engine` and `presence` may be outdated by
 * now; the epoch keeps this from waking an engine that has been put to sleep since. True when it was needed.
 */
export async function thawStray(
  backend: Backend,
  engine: Pick<EngineRow, 'id' | 'epoch'>,
  presence: Presence,
): Promise<boolean> {
  if (presence.state !== 'present' || !presence.frozen) return false;
  try {
    return await backend.thaw(engine.id, { epoch: engine.epoch });
  } catch (error) {
    if (error instanceof StaleEpoch) return false;
    throw error;
  }
}
