/**
 * The roll-out of an engine image: who gets it, and when (bap-engine §12, issue of upgrades without harm).
 *
 * A new image may be broken in ways that only real brains show, and nobody watches each upgrade. So it goes to a few
 * engines first, a copy of each brain is kept, and the first failure ends it for everybody: that engine gets its old
 * image and brain back at once, and no replica upgrades another one until a person has looked.
 *
 * By itself a roll-out upgrades engines where they boot in any case: at the wake from hibernation, and at the start of
 * a stopped one (operations.ts). With a share given by a call the loop here upgrades those that have a process too: a
 * few side by side, only such as nobody is using, and the Engine is asked once more as a step of the upgrade, as for a
 * sleep. How many may is the registry's to count (registry/rollouts.ts).
 */
import { appendAudit } from '../audit/append.ts';
import type { Backend } from '../backends/contract.ts';
import { StaleEpoch } from '../backends/contract.ts';
import type { CanarySettings } from '../config.ts';
import { OrchestratorError } from '../errors.ts';
import type { MasterKeys } from '../keys/master.ts';
import { type Loop, startLoop } from '../loops.ts';
import type { Log } from '../observe/log.ts';
import type { Db } from '../registry/db.ts';
import {
  claimOutdated,
  configureImage,
  currentRollout,
  expiredSnapshots,
  isProven,
  noteProven,
  noteSnapshotGone,
  type OutdatedEngine,
  placesLeft,
  progressOf,
} from '../registry/rollouts.ts';
import type { Ask } from './ask.ts';
import type { Clock } from './clock.ts';
import type { Lifecycle } from './operations.ts';
import { askActivity } from './probe.ts';
import { judgeIdle } from './sleep.ts';

/** How often each replica looks, milliseconds; that is two queries when there is nothing to do. */
const LOOK_MS = 1_000;
const JITTER = 0.1;
/** Upgrades side by side, by one replica: each is a copy on the disk and a boot, beside what users do. */
const AT_ONCE = 4;
/** For how long nothing may have come to an engine that is upgraded under its user, seconds: a talk goes on. */
const QUIET_S = 30;
/** When an engine that could not be upgraded is looked at again, seconds. */
const AGAIN_S = 60;
/** Copies removed in one look. */
const FORGOTTEN_AT_ONCE = 20;

export type RolloutDeps = CanarySettings & {
  db: Db;
  backend: Backend;
  lifecycle: Lifecycle;
  master_keys: MasterKeys;
  clock: Clock;
  ask: Ask;
  log: Log;
  /** See `LoopOptions`. */
  random: () => number;
};

/** Begins the roll-out of the image this orchestrator is configured with, where it is a new one. */
export async function makeImageKnown(
  { db, log, canary_percent }: Pick<RolloutDeps, 'db' | 'log' | 'canary_percent'>,
  image: string,
): Promise<void> {
  const begun = await db.tx(async (sql) => {
    const rollout = await configureImage(sql, image, canary_percent);
    if (rollout === null) return null;
    const { percent, previous } = rollout;
    await appendAudit(sql, {
      product_id: null,
      user_id: null,
      engine_id: null,
      action: 'rollout',
      actor: 'system',
      metadata: { image, percent, previous },
    });
    return rollout;
  });
  if (begun !== null) log.info({ image, previous: begun.previous }, 'a roll-out begins');
}

/** Carries roll-outs on until `signal` fires. */
export function startRollouts(deps: RolloutDeps, signal: AbortSignal): Loop {
  const run = () => tend(deps, signal);
  return startLoop({ ...deps, name: 'roll-out', every_ms: LOOK_MS, jitter: JITTER, run, signal });
}

async function tend(deps: RolloutDeps, signal: AbortSignal): Promise<void> {
  await forgetOld(deps);
  const { db } = deps;
  const rollout = await currentRollout(db);
  if (rollout === null || rollout.halted_at !== null) return;
  if (!isProven(rollout)) await noteProven(db, rollout.image, deps.probation_s);
  if (!rollout.eager) return;
  const places = placesLeft(rollout, await progressOf(db, rollout), deps.canary_percent);
  if (places === 0) return;
  const due = await claimOutdated(db, rollout, Math.min(places, AT_ONCE), AGAIN_S);
  await Promise.all(due.map((engine) => upgrade(deps, engine, signal)));
}

async function upgrade(deps: RolloutDeps, engine: OutdatedEngine, signal: AbortSignal): Promise<void> {
  const { lifecycle, log } = deps;
  const engine_id = engine.id;
  const why = await inUse(deps, engine, signal);
  if (why !== null) return log.debug({ engine_id, why }, 'engine is not upgraded now');
  const operation = await lifecycle.upgrade(engine_id, QUIET_S);
  if (operation === null) return;
  try {
    await lifecycle.outcome(operation.id);
  } catch (error) {
    // It went to work in the last moment, or could not even be brought back: the audit log says which.
    if (!(error instanceof OrchestratorError) || error.code === 'NOT_READY') throw error;
    log.info({ engine_id, code: error.code, why: error.message }, 'engine was not upgraded');
  }
}

/** What goes on in an engine, or null. One that is frozen, or not there any more, is not in use. */
async function inUse(deps: RolloutDeps, engine: OutdatedEngine, signal: AbortSignal): Promise<string | null> {
  if (engine.status === 'sleeping' && engine.sleep_depth === 'doze') return null;
  const api_key = deps.master_keys.open(engine.engine_key_enc);
  const said = engine.url === null ? 'no address' : await askActivity(deps.ask, engine.url, api_key, signal);
  if (typeof said === 'string') return said;
  const verdict = judgeIdle(said, deps.clock.wall(), QUIET_S * 1000);
  return verdict.idle ? null : verdict.why;
}

/** Removes copies of data whose time is over. */
async function forgetOld({ db, backend, log }: RolloutDeps): Promise<void> {
  for (const { id, epoch } of await expiredSnapshots(db, FORGOTTEN_AT_ONCE)) {
    try {
      await backend.forget(id, { epoch });
      await noteSnapshotGone(db, id, epoch);
    } catch (error) {
      // Somebody is at work on the engine; a later look finds what is left to do.
      if (!(error instanceof StaleEpoch)) throw error;
      log.debug({ engine_id: id }, 'the copy of its data is left for later');
    }
  }
}
