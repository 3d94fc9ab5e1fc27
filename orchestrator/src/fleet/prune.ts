/** Removes transitions that are old: they are for those who follow, the history is the audit log's. */
import type { Clock } from '../lifecycle/clock.ts';
import { type Loop, startLoop } from '../loops.ts';
import type { Log } from '../observe/log.ts';
import type { Db } from '../registry/db.ts';
import { takeTurn } from '../registry/health.ts';
import { pruneTransitions } from '../registry/transitions.ts';

/** How long a client may be away and go on where it was, seconds. */
export const KEPT_S = 24 * 60 * 60;
/** Over all orchestrators one looks in so many seconds. */
const EVERY_S = 60;
/** Part by which that varies: replicas must not march in step. */
const JITTER = 0.1;
/** Rows removed by one statement, which is then far from its timeout. */
const BATCH = 5_000;

export type PruneDeps = {
  db: Db;
  clock: Clock;
  log: Log;
  /** See `LoopOptions`. */
  random: () => number;
};

/** Looks until `signal` fires. */
export function startPruning(deps: PruneDeps, signal: AbortSignal): Loop {
  const { db } = deps;
  const run = async (signal: AbortSignal) => {
    if (!(await takeTurn(db, 'prune transitions', EVERY_S))) return;
    while (!signal.aborted && (await pruneTransitions(db, KEPT_S, BATCH)) >= BATCH);
  };
  return startLoop({
    ...deps,
    name: 'prune transitions',
    every_ms: EVERY_S * 1000,
    jitter: JITTER,
    run,
    signal,
  });
}
