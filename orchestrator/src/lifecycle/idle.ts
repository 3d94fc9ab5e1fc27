/**
 * The idle detector: puts engines to sleep that nobody uses, and dozing ones deeper (O4, O5).
 *
 * With a hundred thousand engines it cannot ask each of them all the time. So every engine has a moment at
 * which it is looked at next, and a look that finds it awake moves that moment to the first one at which it
 * could be idle: an engine in use costs one question in each ORCH_IDLE_TIMEOUT_S. A scan is one indexed
 * query; claiming and moving on are one statement, so any number of replicas may scan (O23).
 */
import type { Activity } from '@september/contract';
import type { SleepSettings } from '../config.ts';
import { OrchestratorError } from '../errors.ts';
import type { MasterKeys } from '../keys/master.ts';
import { type Loop, startLoop } from '../loops.ts';
import type { Log } from '../observe/log.ts';
import type { Db } from '../registry/db.ts';
import type { SleepDepth } from '../registry/engines.ts';
import type { SleepMode } from '../registry/policy.ts';
import { ADMIT_GRAIN_S, claimDueEngines, type DueEngine, lookAgain } from '../registry/sleep.ts';
import type { Ask } from './ask.ts';
import type { Clock } from './clock.ts';
import type { Lifecycle, SleepWish } from './operations.ts';
import { askActivity } from './probe.ts';
import { judgeIdle } from './sleep.ts';

/** Longest time between two scans, seconds: how much later than its time an engine may fall asleep. */
export const SCAN_S = 5;
/** Part by which the pause between two scans varies: replicas must not march in step. */
const JITTER = 0.1;
/** Engines looked at side by side. */
const PARALLEL = 50;

export type IdleDeps = {
  db: Db;
  lifecycle: Lifecycle;
  master_keys: MasterKeys;
  clock: Clock;
  ask: Ask;
  log: Log;
  sleep: SleepSettings;
  /** See `LoopOptions`. */
  random: () => number;
};

/** The depth to which an awake engine goes first. */
export const firstDepth = (mode: SleepMode): SleepDepth => (mode === 'doze+hibernate' ? 'doze' : mode);

/** Scans until `signal` fires; null where nothing is to fall asleep by itself. */
export function startIdleDetector(deps: IdleDeps, signal: AbortSignal): Loop | null {
  const { idle_timeout_s } = deps.sleep;
  if (idle_timeout_s === 0) return null;
  const every_ms = Math.min(SCAN_S, idle_timeout_s) * 1000;
  const run = (signal: AbortSignal) => scanIdle(deps, signal);
  return startLoop({ ...deps, name: 'idle', every_ms, jitter: JITTER, run, signal });
}

/** Looks at every engine that is due, in batches; returns when each has been dealt with. */
export async function scanIdle(deps: IdleDeps, signal: AbortSignal): Promise<void> {
  for (;;) {
    const due = await claimDueEngines(deps.db, PARALLEL, SCAN_S);
    await Promise.all(due.map((engine) => look(deps, engine, signal)));
    if (due.length < PARALLEL || signal.aborted) return;
  }
}

async function look(deps: IdleDeps, engine: DueEngine, signal: AbortSignal): Promise<void> {
  const ask = async () => {
    const api_key = deps.master_keys.open(engine.engine_key_enc);
    const said =
      engine.url === null ? 'no address' : await askActivity(deps.ask, engine.url, api_key, signal);
    if (typeof said !== 'string') return said;
    deps.log.debug({ engine_id: engine.id, why: said }, 'engine cannot be asked whether it is idle');
    return null;
  };
  const next = await judgeLook(engine, deps.sleep, ask, deps.clock.wall);
  if ('again_in_s' in next) return await lookAgain(deps.db, engine.id, next.again_in_s);
  try {
    const operation = await deps.lifecycle.sleep(engine.id, next, 'system');
    await deps.lifecycle.outcome(operation.id);
  } catch (error) {
    // It went to work in the last moment, or another operation was faster. The next scan looks again.
    if (!(error instanceof OrchestratorError) || error.code === 'NOT_READY') throw error;
    deps.log.info(
      { engine_id: engine.id, code: error.code, why: error.message },
      'engine does not fall asleep',
    );
  }
}

/**
 * What comes of a look at an engine: a sleep, or the next look. `ask` gives null when the Engine does not
 * answer: it stays awake. `now`: milliseconds since 1970.
 */
export async function judgeLook(
  engine: Pick<DueEngine, 'status' | 'sleep_depth' | 'sleep_mode' | 'admit_age_s' | 'asleep_s'>,
  settings: SleepSettings,
  ask: () => Promise<Activity | null>,
  now: () => number,
): Promise<SleepWish | { again_in_s: number }> {
  const { idle_timeout_s, hibernate_after_s } = settings;
  const { admit_age_s } = engine;
  const mode = engine.sleep_mode ?? settings.sleep_mode;
  if (engine.status === 'sleeping') {
    const asleep_s = engine.asleep_s ?? 0;
    if (mode !== 'doze+hibernate' && mode !== 'hibernate') return { again_in_s: hibernate_after_s };
    if (asleep_s < hibernate_after_s) return { again_in_s: hibernate_after_s - asleep_s };
    // Since it fell asleep nothing may have come to it: frozen, it could not have noticed.
    return { depth: 'hibernate', quiet_s: Math.max(0, Math.floor(asleep_s) - ADMIT_GRAIN_S) };
  }
  // A sleep is under way; or an admit says enough, and the engine need not be asked.
  if (engine.sleep_depth !== null) return { again_in_s: SCAN_S };
  if (admit_age_s !== null && admit_age_s < idle_timeout_s) {
    return { again_in_s: idle_timeout_s - admit_age_s };
  }
  const activity = await ask();
  if (activity === null) return { again_in_s: SCAN_S };
  const verdict = judgeIdle(activity, now(), idle_timeout_s * 1000);
  return verdict.idle
    ? { depth: firstDepth(mode), quiet_s: idle_timeout_s }
    : { again_in_s: verdict.again_in_ms / 1000 };
}
