/**
 * What the registry says and what is really there, brought together, both ways (O24): at the start of an
 * orchestrator and every `ORCH_RECONCILE_INTERVAL_S`.
 *
 * Engines outlive orchestrators, and either may be killed at any moment. So an engine that runs by its row
 * and is not there has failed, and is restarted when its turn comes. And something that stands without a row
 * is removed, once it has been seen for a minute: within that it may be younger than our look at the registry.
 *
 * Three rules keep this from doing harm. Nothing is done for an engine with an unfinished operation: that one
 * answers for it. An answer that is neither present nor absent changes nothing: unknown is not dead (O12).
 * And what this registry has never heard of is reported and left alone: with the wrong database, or an older
 * copy of the right one, everybody's brain would be an orphan.
 */
import { appendAudit } from '../audit/append.ts';
import type { Backend, Presence } from '../backends/contract.ts';
import type { RestartPolicy } from '../config.ts';
import type { MasterKeys } from '../keys/master.ts';
import type { Log } from '../observe/log.ts';
import type { Db } from '../registry/db.ts';
import { engineById } from '../registry/engines.ts';
import { noteStillWell, type Registered, registered, runningEngines, takeTurn } from '../registry/health.ts';
import type { Ask } from './ask.ts';
import type { Clock } from './clock.ts';
import type { Lifecycle } from './operations.ts';
import { probe } from './probe.ts';
import { thawStray } from './sleep.ts';

/** Engines looked at side by side. */
const PARALLEL = 50;
/** Rows read at a time. */
const PAGE = 500;
/** How long something must have stood without a row before it is removed, milliseconds. */
const ORPHAN_GRACE_MS = 60_000;

export type ReconcileDeps = {
  db: Db;
  backend: Backend;
  lifecycle: Lifecycle;
  master_keys: MasterKeys;
  clock: Clock;
  ask: Ask;
  log: Log;
  restarts: RestartPolicy;
  reconcile_interval_s: number;
};

type Standing = Map<string, Presence>;

/**
 * Gives the run of a loop that comes round often: the first run of this orchestrator compares everything,
 * later ones when it is this one's turn.
 */
export function reconciler(deps: ReconcileDeps): (signal: AbortSignal) => Promise<void> {
  const { db, backend, clock, log } = deps;
  let at_start = true;
  /** When each orphan was seen first, by the clock. */
  const orphans = new Map<string, number>();

  return async (signal) => {
    if (!(await takeTurn(db, 'reconcile', deps.reconcile_interval_s)) && !at_start) return;
    const standing: Standing = new Map(
      (await backend.list()).map(({ engine_id, presence }) => [engine_id, presence]),
    );
    await compareRows(standing, signal);
    await compareStanding(standing, signal);
    at_start = false;
  };

  /** Rows without a process. */
  async function compareRows(standing: Standing, signal: AbortSignal): Promise<void> {
    for (let last: string | null = null; !signal.aborted; ) {
      const page = await runningEngines(db, last, PAGE);
      await inParallel(page, signal, async ({ id, epoch }) => {
        const listed = standing.get(id);
        if (listed?.state === 'present') {
          if (await thawStray(backend, { id, epoch }, listed)) {
            log.warn({ engine_id: id }, 'a running engine stood still; it goes on');
          }
          if (at_start) await adopt(deps, id, signal);
          return;
        }
        // The list may be older than the row.
        const presence = await backend.is_running(id);
        if (presence.state === 'unknown') {
          log.warn(
            { engine_id: id, reason: presence.reason },
            'engine cannot be found out about; left alone',
          );
        } else if (presence.state === 'absent') {
          const found_by = at_start ? 'start' : 'reconcile';
          await deps.lifecycle.fail(id, epoch, 'The engine is gone.', { found_by, exit: presence.exit });
        }
      });
      if (page.length < PAGE) return;
      last = page.at(-1)?.id ?? null;
    }
  }

  /** What stands without a row. */
  async function compareStanding(standing: Standing, signal: AbortSignal): Promise<void> {
    for (const engine_id of orphans.keys()) if (!standing.has(engine_id)) orphans.delete(engine_id);
    const all = [...standing];
    for (let from = 0; from < all.length; from += PAGE) {
      const page = all.slice(from, from + PAGE);
      const known = await registered(
        db,
        page.map(([engine_id]) => engine_id),
      );
      await inParallel(page, signal, async ([engine_id, presence]) => {
        const entry = known.get(engine_id) ?? null;
        const orphan = orphanOf(entry, presence);
        if (orphan === null) {
          orphans.delete(engine_id);
        } else if (entry === null || presence.state === 'unknown') {
          log.warn(
            { engine_id, presence },
            'something stands here that the registry does not know; left alone',
          );
        } else {
          const since = orphans.get(engine_id) ?? clock.now();
          orphans.set(engine_id, since);
          if (clock.now() - since >= ORPHAN_GRACE_MS) await remove(engine_id, entry, presence, orphan);
        }
      });
    }
  }

  async function remove(engine_id: string, entry: Registered, presence: Presence, orphan: Orphan) {
    const epoch = presence.state === 'present' ? presence.epoch : null;
    log.warn({ engine_id, epoch, orphan }, 'an orphan is removed');
    // Before the deed: a crash in between must not leave it unrecorded.
    await appendAudit(db, {
      product_id: entry.product_id,
      user_id: entry.user_id,
      engine_id,
      action: 'orphan_removed',
      actor: 'system',
      metadata: { orphan, epoch },
    });
    const fence = { epoch: Math.max(entry.epoch, epoch ?? 0) };
    if (orphan === 'without a row') await backend.destroy(engine_id, fence);
    else await backend.stop(engine_id, fence);
    orphans.delete(engine_id);
  }

  async function inParallel<T>(
    items: readonly T[],
    signal: AbortSignal,
    work: (item: T) => Promise<void>,
  ): Promise<void> {
    for (let from = 0; from < items.length && !signal.aborted; from += PARALLEL) {
      await Promise.all(items.slice(from, from + PARALLEL).map(work));
    }
  }
}

type Orphan = 'without a row' | 'of an engine that is down';

/** Why something has no right to stand; null when it has. `entry`: null when the registry never heard of it. */
function orphanOf(entry: Registered | null, presence: Presence): Orphan | null {
  if (entry?.busy) return null;
  if (entry === null || entry.status === null) return 'without a row';
  // Its data stays with an engine that is down; of its processes only one of the last epoch may still end.
  const leftOver =
    presence.state === 'present' &&
    (entry.status === 'stopped' ||
      entry.status === 'destroyed' ||
      (entry.status === 'failed' && presence.epoch < entry.epoch));
  return leftOver ? 'of an engine that is down' : null;
}

/** Greets an engine that was there before this orchestrator, and notes that it was taken over. */
async function adopt(deps: ReconcileDeps, engine_id: string, signal: AbortSignal): Promise<void> {
  const { db, restarts, ask } = deps;
  const engine = await engineById(db, engine_id);
  if (engine === null) return;
  const api_key = deps.master_keys.open(engine.engine_key_enc);
  const seen = engine.url === null ? 'no address' : await probe(ask, engine.url, api_key, signal);
  await db.tx(async (sql) => {
    if (seen === null) await noteStillWell(sql, [engine_id], restarts.reset_after_s);
    await appendAudit(sql, {
      product_id: engine.product_id,
      user_id: engine.user_id,
      engine_id,
      action: 'adopt',
      actor: 'system',
      metadata: { epoch: engine.epoch, healthy: seen === null, seen: seen ?? undefined },
    });
  });
}
