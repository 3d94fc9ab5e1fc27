/**
 * The end of tombstones: what was destroyed and not restored in time is removed for good (O30).
 *
 * Each run begins what is due in one transaction that steps over what another replica holds, and waits for the ends
 * before it begins more: a thousand tombstones that end together must not keep the backend from its engines.
 */
import { OrchestratorError } from '../errors.ts';
import { type Loop, startLoop } from '../loops.ts';
import type { Log } from '../observe/log.ts';
import type { Clock } from './clock.ts';
import type { Lifecycle } from './operations.ts';

/** How often each replica looks for tombstones whose time is over, milliseconds; they last for days. */
const SCAN_MS = 5_000;
/** Part by which that varies: replicas must not march in step. */
const JITTER = 0.1;
/** Removals side by side. */
const PARALLEL = 8;

export type RetentionDeps = {
  lifecycle: Lifecycle;
  clock: Clock;
  log: Log;
  /** See `LoopOptions`. */
  random: () => number;
};

/** Looks until `signal` fires. */
export function startRetention(deps: RetentionDeps, signal: AbortSignal): Loop {
  const run = (signal: AbortSignal) => removeExpired(deps, signal);
  return startLoop({ ...deps, name: 'retention', every_ms: SCAN_MS, jitter: JITTER, run, signal });
}

/** Removes all that is due, in batches; returns when each has been dealt with. */
async function removeExpired({ lifecycle, log }: RetentionDeps, signal: AbortSignal): Promise<void> {
  for (;;) {
    const begun = await lifecycle.purge(PARALLEL);
    await Promise.all(
      begun.map(async ({ id, engine_id }) => {
        await lifecycle.outcome(id).catch((error) => {
          // It stays a tombstone past its time, and is due again later.
          if (!(error instanceof OrchestratorError) || error.code === 'NOT_READY') throw error;
          log.warn({ engine_id, err: error }, 'a tombstone could not be removed');
        });
      }),
    );
    if (begun.length < PARALLEL || signal.aborted) return;
  }
}
