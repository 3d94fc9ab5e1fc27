/**
 * The keeper of the warm pool: sees to it that `ORCH_WARM_POOL` engines stand ready, without an owner (O26).
 *
 * A boot takes a second or more and is the heaviest thing an engine does to its machine, so the pool must
 * help the users who come, not compete with them: it is filled a few boots at a time, with a pause, and
 * what it makes are ordinary engines by ordinary operations. A crash leaves nothing that the next look does
 * not see.
 *
 * Any number of replicas keep one pool. Each look is one transaction that takes the turn first and counts
 * after: the turn's row lets only one in at a time, so no two fill the same gap. An engine that has failed
 * still counts. It is restarted with the backoff of any engine, and by that an engine that cannot boot
 * paces the pool, instead of being replaced over and over.
 */
import type { RestartPolicy } from '../config.ts';
import type { MasterKeys } from '../keys/master.ts';
import { type Loop, startLoop } from '../loops.ts';
import type { Log } from '../observe/log.ts';
import type { Sql } from '../registry/db.ts';
import { lockEngine } from '../registry/engines.ts';
import { takeTurn } from '../registry/health.ts';
import { unfinishedOperation } from '../registry/operations.ts';
import { imageForNew } from '../registry/rollouts.ts';
import { countPool, findMisfits, insertWarmEngine } from '../registry/warm_pool.ts';
import type { Clock } from './clock.ts';
import { newEngine } from './new_engine.ts';
import type { BeginInPool, Lifecycle } from './operations.ts';

/** Engines of the pool that are on their way up, over all orchestrators; as many may be on their way out. */
const AT_ONCE = 4;
/** At most one look in so many seconds, over all orchestrators. */
const PAUSE_S = 1;
/** Part by which the pause between two looks of one orchestrator varies. */
const JITTER = 0.1;

export type WarmPoolDeps = {
  lifecycle: Lifecycle;
  master_keys: MasterKeys;
  clock: Clock;
  log: Log;
  restarts: RestartPolicy;
  /** How many engines are to stand ready; also with 0 those of an earlier setting are removed. */
  warm_pool: number;
  /** See `LoopOptions`. */
  random: () => number;
};

/** Keeps the pool until `signal` fires. */
export function startWarmPool(deps: WarmPoolDeps, signal: AbortSignal): Loop {
  const run = () => deps.lifecycle.tendPool((sql, begin) => tend(deps, sql, begin));
  return startLoop({ ...deps, name: 'warm pool', every_ms: PAUSE_S * 1000, jitter: JITTER, run, signal });
}

/** One look, in a transaction of its own: begins what brings the pool nearer to what it should be. */
async function tend(deps: WarmPoolDeps, sql: Sql, begin: BeginInPool): Promise<void> {
  const { log, warm_pool: size } = deps;
  if (!(await takeTurn(sql, 'warm pool', PAUSE_S))) return;
  const engine_version = await imageForNew(sql);
  const { members, booting, leaving } = await countPool(sql, engine_version);
  const missing = Math.min(size - members, AT_ONCE - booting);
  for (let n = 0; n < missing; n += 1) {
    const engine = await insertWarmEngine(
      sql,
      newEngine(deps.master_keys, { engine_version, version_pinned: false }),
    );
    await begin('provision', engine);
    log.info({ engine_id: engine.id, members, size }, 'warm pool: an engine is brought up');
  }

  const patience_s = deps.restarts.backoff_max_s;
  const limit = Math.max(0, AT_ONCE - leaving);
  for (const { id, why } of await findMisfits(sql, { size, engine_version, patience_s, limit })) {
    // It may have been taken, or restarted, since it was found; from here on it cannot be.
    const engine = await lockEngine(sql, id);
    if (engine === null || engine.product_id !== null) continue;
    if ((await unfinishedOperation(sql, id)) !== null) continue;
    await begin('destroy', engine);
    log.info({ engine_id: id, why, members, size }, 'warm pool: an engine is removed');
  }
}
