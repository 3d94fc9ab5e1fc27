/**
 * Virtual time. Nothing in a run waits for real time: whatever would happen later is an event in one queue,
 * and when everything that can happen now has happened, time jumps to the next one.
 *
 * "Everything that can happen now" is the hard part, because the code under test is ordinary asynchronous
 * code. It is over when no promise has anything left to do and the database, the one real thing it waits
 * for, is not being asked anything (database.ts, `quiet`).
 */
import type { Random } from './random.ts';

/** Moments are rounded up to this, milliseconds: what falls together happens in an order that chance picks. */
const GRAIN_MS = 50;

export type Scheduler = {
  /** Milliseconds since the run began. */
  now(): number;
  /** Does `what` in `ms`; gives the way to call it off. */
  after(ms: number, what: () => void): () => void;
  /** Rejects with the signal's reason. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** Runs until `work` has ended. `quiet` resolves when nothing is left to do at this moment. */
  drive<T>(work: Promise<T>, quiet: () => Promise<void>): Promise<T>;
};

type Event = { at: number; order: number; what: (() => void) | null };

export function createScheduler(random: Random): Scheduler {
  const queue: Event[] = [];
  let now = 0;

  function after(ms: number, what: () => void): () => void {
    const at = Math.ceil((now + Math.max(0, ms)) / GRAIN_MS) * GRAIN_MS;
    const event: Event = { at, order: random.next(), what };
    push(queue, event);
    return () => {
      event.what = null;
    };
  }

  return {
    now: () => now,
    after,
    sleep: (ms, signal) =>
      new Promise((resolve, reject) => {
        if (signal?.aborted) return reject(signal.reason);
        const stop = () => {
          cancel();
          reject(signal?.reason);
        };
        const cancel = after(ms, () => {
          signal?.removeEventListener('abort', stop);
          resolve();
        });
        signal?.addEventListener('abort', stop, { once: true });
      }),
    async drive(work, quiet) {
      let over = false;
      const end = () => {
        over = true;
      };
      work.then(end, end);
      for (;;) {
        await quiet();
        if (over) return await work;
        const event = pop(queue);
        if (event === undefined) throw new Error('nothing is left that could happen');
        now = event.at;
        event.what?.();
      }
    },
  };
}

const before = (a: Event, b: Event) => a.at < b.at || (a.at === b.at && a.order < b.order);

/** A binary heap: the parent of `i` is at `(i - 1) / 2`. */
function push(heap: Event[], event: Event): void {
  let index = heap.push(event) - 1;
  while (index > 0) {
    const up = (index - 1) >> 1;
    const parent = heap[up];
    if (parent === undefined || !before(event, parent)) break;
    heap[index] = parent;
    index = up;
  }
  heap[index] = event;
}

function pop(heap: Event[]): Event | undefined {
  const [first] = heap;
  const last = heap.pop();
  if (first === undefined || last === undefined || heap.length === 0) return first;
  let index = 0;
  for (;;) {
    const [left, right] = [heap[2 * index + 1], heap[2 * index + 2]];
    const smaller = left !== undefined && right !== undefined && before(right, left) ? right : left;
    if (smaller === undefined || !before(smaller, last)) break;
    heap[index] = smaller;
    index = 2 * index + (smaller === left ? 1 : 2);
  }
  heap[index] = last;
  return first;
}
