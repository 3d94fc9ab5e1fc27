import { closeSync, fdatasync, openSync } from 'node:fs';
import type { DatabaseSync } from 'node:sqlite';
import { type ChannelState, type NewEvent, openChannelState } from './channel_state.ts';
import { transaction } from './sqlite.ts';

/**
 * The one way by which events get out: into the brain first, to readers from there.
 *
 * The problem: an event that a client has seen must still be there after a kill or a power cut, or replay has a
 * gap; but a disk flush takes milliseconds, and one per streamed word, waited for, would stop everything else. And
 * a client that reads slowly, or not at all, must cost neither memory nor the turn's time.
 *
 * The rule: what is appended is written into SQLite's log together with its neighbours, without waiting for the
 * disk. The flush of that log runs beside, one at a time; what is appended meanwhile shares the next one; and only
 * what a flush has covered is shown. So the first word after a silence waits for one flush and no timer. What must
 * be on the disk before the turn goes on (`commit`) is, when it returns: SQLite's own flush covers all before it.
 *
 * Readers are told *that* there is something, never *what*: each keeps a cursor and reads from the table when it is
 * ready for more. So a slow reader is just a cursor that lags, and replay, attach and the first stream are one thing.
 */

/** From the end of one flush to the begin of the next: a model that streams words does not keep the disk busy. */
const FLUSH_REST_MS = 2;

/** Events that wait for the end of a flush; more are written at once, so that what is in memory stays small. */
const PENDING_EVENTS = 256;

/** Background pruning of what has outlived its time. */
const PRUNE_INTERVAL_MS = 60_000;

export type EventLog = ReturnType<typeof openEventLog>;

type Waiter = { task_id: string | undefined; wake: (woken: boolean) => void };

export function openEventLog(
  db: DatabaseSync,
  options: {
    /** The brain's file. */
    path: string;
    ttl_ms: number;
    now: () => number;
    onError: (error: unknown) => void;
  },
) {
  const table: ChannelState = openChannelState(db);
  const wal = openSync(`${options.path}-wal`, 'r');
  const waiters = new Set<Waiter>();
  let pending: NewEvent[] = [];
  /** Id of the last event in SQLite's log, and of the last one a flush has covered. */
  let written = table.lastId();
  let durable = written;
  /** Tasks with events that are written and not shown. */
  let unshown = new Set<string>();
  let scheduled: NodeJS.Immediate | undefined;
  let flushing = false;
  let failed = false;
  let closed = false;

  const pruning = setInterval(() => prune(), PRUNE_INTERVAL_MS).unref();

  /** Writes what waits, then `events`, and `change`, in one transaction. @returns the ids of `events`. */
  function write(events: readonly NewEvent[], change?: (ids: number[]) => void): number[] {
    clearImmediate(scheduled);
    scheduled = undefined;
    const all = [...pending, ...events];
    const first = written + 1 + pending.length;
    const ids = events.map((_, index) => first + index);
    try {
      transaction(db, () => {
        table.insert(all, written + 1);
        change?.(ids);
      });
    } catch (error) {
      failed = true;
      throw error;
    }
    pending = [];
    written += all.length;
    failed = false;
    for (const event of all) unshown.add(event.task_id);
    return ids;
  }

  /**
   * Commits everything that waits, then `events`, and `change` in the same transaction: what a turn says and
   * what it leaves in the history are in the file together or not at all, and on the disk when this returns.
   * @returns the ids of `events`.
   * @throws whatever SQLite says, e.g. that the disk is full; `events` and `change` are then undone, what
   *   waited waits on.
   */
  function commit(events: readonly NewEvent[], change?: (ids: number[]) => void): number[] {
    const ids = write(events, change);
    show(written);
    return ids;
  }

  /** Writes what waits without waiting for the disk. */
  function writePending(): void {
    db.exec('PRAGMA synchronous = NORMAL');
    try {
      write([]);
    } finally {
      db.exec('PRAGMA synchronous = FULL');
    }
  }

  /** Writes what waits, has the disk take it, and shows it. */
  function flush(): void {
    scheduled = undefined;
    if (flushing || closed) return;
    try {
      if (pending.length > 0) writePending();
    } catch (error) {
      options.onError(error);
      return;
    }
    if (written === durable) return;
    flushing = true;
    const covered = written;
    fdatasync(wal, (error) => {
      if (closed) return;
      if (error === null) show(covered);
      else {
        failed = true;
        options.onError(error);
      }
      setTimeout(() => {
        flushing = false;
        // After a failure the next writer commits by itself, and is told how that went.
        if (!failed) flush();
      }, FLUSH_REST_MS);
    });
  }

  function show(id: number): void {
    if (id <= durable) return;
    durable = id;
    const task_ids = unshown;
    if (durable === written) unshown = new Set();
    wake(task_ids);
  }

  function wake(task_ids: ReadonlySet<string>): void {
    for (const waiter of [...waiters]) {
      if (waiter.task_id === undefined || task_ids.has(waiter.task_id)) waiter.wake(true);
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
    cursorAfter: table.cursorAfter,
    pruned: table.pruned,

    /** The next events with `after < id <= until` that may be shown, of one task or of all. */
    read: (after: number, until: number, task_id?: string) =>
      table.read(after, Math.min(until, durable), task_id),

    /** Id of the newest event that may be shown. */
    lastId: () => durable,

    /**
     * Hands an event over; it is in the brain, and with its readers, a few milliseconds later.
     * @throws when the brain cannot be written: after a failure every append commits by itself, so the writer
     *   learns of it and nothing piles up in memory.
     */
    append(event: NewEvent): void {
      if (failed) {
        commit([event]);
        return;
      }
      pending.push(event);
      if (pending.length >= PENDING_EVENTS) writePending();
      if (!flushing) scheduled ??= setImmediate(flush);
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
      clearImmediate(scheduled);
      if (pending.length > 0) {
        try {
          commit([]);
        } catch (error) {
          options.onError(error);
        }
      }
      closeSync(wal);
    },
  };
}
