import type { DatabaseSync } from 'node:sqlite';
import { type ChannelState, type NewEvent, openChannelState } from './channel_state.ts';
import { transaction } from './sqlite.ts';

/**
 * The one way by which events get out: into the brain first, to readers from there.
 *
 * The problem: an event that a client has seen must still be there after `kill -9`, or replay has a gap; but
 * a transaction per streamed word costs a disk flush per word. And a client that reads slowly, or not at all,
 * must cost neither memory nor the turn's time.
 *
 * The rule: appended events wait a few milliseconds and are committed together; only then do readers hear of
 * them. Readers are told *that* there is something, never *what*: each keeps a cursor and reads from the
 * table when it is ready for more. So a slow reader is just a cursor that lags, and replay, attach and the
 * first stream are one thing.
 */

/** Events are gathered this long before the disk flush they share. */
const GROUP_COMMIT_MS = 5;

/** A model faster than the timer: commit at once, so that what waits in memory stays small. */
const GROUP_COMMIT_EVENTS = 256;

/** Background pruning of what has outlived its time. */
const PRUNE_INTERVAL_MS = 60_000;

export type EventLog = ReturnType<typeof openEventLog>;

type Waiter = { task_id: string | undefined; wake: (woken: boolean) => void };

export function openEventLog(
  db: DatabaseSync,
  options: { ttl_ms: number; now: () => number; onError: (error: unknown) => void },
) {
  const table: ChannelState = openChannelState(db);
  const waiters = new Set<Waiter>();
  let pending: NewEvent[] = [];
  let timer: NodeJS.Timeout | undefined;
  let failed = false;
  let closed = false;

  const pruning = setInterval(() => prune(), PRUNE_INTERVAL_MS).unref();

  /**
   * Commits everything that waits, then `events`, and `change` in the same transaction: what a turn says and
   * what it leaves in the history are in the file together or not at all.
   * @returns the ids of `events`.
   * @throws whatever SQLite says, e.g. that the disk is full; `events` and `change` are then undone, what
   *   waited waits on.
   */
  function commit(events: NewEvent[], change?: (ids: number[]) => void): number[] {
    clearTimeout(timer);
    timer = undefined;
    const waiting = pending;
    try {
      const ids = transaction(db, () => {
        for (const event of waiting) table.insert(event);
        const own = events.map((event) => table.insert(event));
        change?.(own);
        return own;
      });
      pending = [];
      failed = false;
      wake(new Set([...waiting, ...events].map((event) => event.task_id)));
      return ids;
    } catch (error) {
      failed = true;
      throw error;
    }
  }

  function wake(task_ids: ReadonlySet<string>): void {
    for (const waiter of [...waiters]) {
      if (waiter.task_id === undefined || task_ids.has(waiter.task_id)) waiter.wake(true);
    }
  }

  function flush(): void {
    try {
      commit([]);
    } catch (error) {
      options.onError(error);
    }
  }

  function prune(): void {
    if (closed) return;
    try {
      if (table.prune(options.now() - options.ttl_ms)) setImmediate(prune);
    } catch (error) {
      failed = true;
      options.onError(error);
    }
  }

  return {
    commit,
    prune,
    read: table.read,
    lastId: table.lastId,
    cursorAfter: table.cursorAfter,

    /**
     * Hands an event over; it is in the brain, and with its readers, a few milliseconds later.
     * @throws when the brain cannot be written: after a failed group every append commits by itself, so the
     *   writer learns of it and nothing piles up in memory.
     */
    append(event: NewEvent): void {
      if (failed || pending.length >= GROUP_COMMIT_EVENTS) {
        commit([event]);
        return;
      }
      pending.push(event);
      timer ??= setTimeout(flush, GROUP_COMMIT_MS);
    },

    /**
     * Waits for events of `task_id` (or of any task): true when there may be some, false after `timeout_ms`
     * or when `signal` aborts. Call it in the same tick as the read that found nothing, so that none slips
     * between.
     */
    changed(task_id: string | undefined, timeout_ms: number, signal: AbortSignal): Promise<boolean> {
      return new Promise((resolve) => {
        const settle = (woken: boolean) => {
          clearTimeout(silence);
          signal.removeEventListener('abort', onAbort);
          waiters.delete(waiter);
          resolve(woken);
        };
        const onAbort = () => settle(false);
        const waiter: Waiter = { task_id, wake: settle };
        const silence = setTimeout(settle, timeout_ms, false);
        signal.addEventListener('abort', onAbort);
        waiters.add(waiter);
      });
    },

    /** Tells the readers of a task to look again although no event came: its turn is over. */
    wake: (task_id: string) => wake(new Set([task_id])),

    /** Whether the last write failed. */
    failed: () => failed,

    close(): void {
      closed = true;
      clearInterval(pruning);
      if (pending.length > 0) flush();
    },
  };
}
