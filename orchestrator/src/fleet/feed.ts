/**
 * Live transitions for any number of streams: one poller for all of them, and only while there are any (O33).
 *
 * A stream joins the poller first, at the position it has reached, and then reads from the registry what its client
 * has missed up to there; so nothing falls between the two. Each stream has a queue of its own. A client that takes
 * too little is cut off when its queue is full, because the poller waits for nobody and memory is for all: it has
 * lost nothing, as it can come back with the id of its last event, here or at any other replica.
 */
import { OrchestratorError } from '../errors.ts';
import type { Clock } from '../lifecycle/clock.ts';
import { startLoop } from '../loops.ts';
import type { Log } from '../observe/log.ts';
import type { Db } from '../registry/db.ts';
import {
  allEndedBefore,
  lastTransitionId,
  newestTransition,
  nextTransaction,
  oldestKept,
  type TransitionRow,
  transitionsAfter,
} from '../registry/transitions.ts';

/** How often the poller looks, milliseconds: one look-up when nothing happened. */
export const POLL_MS = 200;
/** Rows read at a time; streams get their turn in between. */
const PAGE = 200;
/** Transitions that wait for a client; a healthy one has a page at most. */
const MAX_QUEUE = 2_000;
/** Silence after which a sign of life goes out, milliseconds. */
const HEARTBEAT_MS = 15_000;
/** A stream ends after this long, milliseconds; its client comes back with a key that is checked anew. */
const MAX_AGE_MS = 10 * 60_000;
/** Streams of one orchestrator: each costs a socket and at worst a full queue. */
export const MAX_STREAMS = 256;
/** Streams of one product, or of the operators, on one orchestrator: one must not shut out the others. */
export const MAX_STREAMS_OF_ONE = 32;

export type FeedItem =
  | { transitions: TransitionRow[] }
  /** The stream stands here, and nothing is new; also its first word. */
  | { position: number }
  /** What came after the client's id is not all there any more, or never was; the stream goes on from `reset`. */
  | { reset: number };

export type FeedStream = {
  /** The next item, when there is one; null at the end. */
  next(): Promise<FeedItem | null>;
  /** The client has left. */
  close(): void;
};

export type Feed = {
  /**
   * Opens a stream of a slice, or of all. `after`: the last id its client has; null: from now on. `cut` is called
   * when the client is too slow. Throws `TOO_MANY_STREAMS`.
   */
  open(request: { slice: string | null; after: number | null; cut(): void }): FeedStream;
  /** Streams that are open. */
  size(): number;
};

type Reader = {
  slice: string | null;
  queue: TransitionRow[];
  /** The position at which it joined; everything later comes into its queue. Null: it left before. */
  joined: PromiseWithResolvers<number | null>;
  /** Ends the pause of a stream that waits. */
  wake: () => void;
  closed: boolean;
  cut(): void;
};

export type FeedDeps = { db: Db; clock: Clock; log: Log; random: () => number };

/** Streams end when `signal` fires. */
export function openFeed(deps: FeedDeps, signal: AbortSignal): Feed {
  const { db, clock } = deps;
  const readers = new Set<Reader>();
  let poller: Poller | null = null;

  function leave(reader: Reader): void {
    reader.closed = true;
    reader.joined.resolve(null);
    reader.wake();
    readers.delete(reader);
    if (readers.size > 0) return;
    poller?.stop();
    poller = null;
  }

  signal.addEventListener('abort', () => [...readers].forEach(leave), { once: true });

  async function* items(reader: Reader, after: number | null): AsyncGenerator<FeedItem> {
    const ends_at = clock.now() + MAX_AGE_MS;
    const joined = await reader.joined.promise;
    if (joined === null) return;
    let cursor = after ?? joined;
    if (await isKnown(cursor)) {
      yield { position: cursor };
    } else {
      cursor = joined;
      yield { reset: cursor };
    }

    for (let more = true; more && cursor < joined; ) {
      const range = { after: cursor, up_to: joined, limit: PAGE };
      const page = await transitionsAfter(db, reader.slice, range);
      cursor = page.at(-1)?.id ?? joined;
      more = page.length === PAGE;
      if (page.length > 0) yield { transitions: page };
    }
    while (!reader.closed && clock.now() < ends_at) {
      // What came in while it caught up; a client may also be ahead of this replica.
      const transitions = reader.queue.splice(0, PAGE).filter(({ id }) => id > cursor);
      const last = transitions.at(-1);
      if (last !== undefined) {
        cursor = last.id;
        yield { transitions };
      } else if (reader.queue.length === 0) {
        const woken = await wokenWithin(reader, HEARTBEAT_MS);
        if (woken || reader.queue.length > 0) continue;
        // Nothing of this slice; but so far has its client seen everything.
        cursor = Math.max(cursor, poller?.position() ?? cursor);
        yield { position: cursor };
      }
    }
  }

  /** Whether everything after `id` is there. */
  const isKnown = async (id: number) =>
    id >= (await oldestKept(db)) - 1 && id <= (await lastTransitionId(db));

  async function wokenWithin(reader: Reader, ms: number): Promise<boolean> {
    const pause = new AbortController();
    reader.wake = () => pause.abort();
    const slept = clock.sleep(ms, pause.signal).then(
      () => false,
      () => true,
    );
    if (reader.closed) pause.abort();
    return await slept;
  }

  return {
    open({ slice, after, cut }) {
      const ofOne = [...readers].filter((other) => other.slice === slice).length;
      if (signal.aborted) throw signal.reason;
      if (readers.size >= MAX_STREAMS || ofOne >= MAX_STREAMS_OF_ONE) {
        throw new OrchestratorError('TOO_MANY_STREAMS', 'As many streams are open as there may be.');
      }
      const joined = Promise.withResolvers<number | null>();
      const reader: Reader = { slice, queue: [], joined, wake: () => {}, closed: false, cut };
      readers.add(reader);
      poller ??= startPoller(deps, signal, (position, rows) => {
        for (const one of readers) if (!hear(one, position, rows)) leave(one);
      });
      const position = poller.position();
      if (position !== null) joined.resolve(position);
      const all = items(reader, after);
      return {
        async next() {
          const { value, done } = await all.next();
          if (done) leave(reader);
          return value ?? null;
        },
        close: () => leave(reader),
      };
    },
    size: () => readers.size,
  };
}

/** Tells a stream what is new; false when it is too slow, and cut off. */
function hear(reader: Reader, position: number, rows: readonly TransitionRow[]): boolean {
  reader.joined.resolve(position);
  const { slice, queue } = reader;
  for (const row of rows) if (slice === null || row.product_id === slice) queue.push(row);
  if (queue.length > MAX_QUEUE) {
    queue.length = 0;
    reader.cut();
    return false;
  }
  if (queue.length > 0) reader.wake();
  return true;
}

type Poller = {
  /** The last transition that was told; null before the first look has ended. */
  position(): number | null;
  stop(): void;
};

/** Follows the transitions from now on: calls `tell` with its first position, and then with whatever is new. */
function startPoller(
  deps: FeedDeps,
  outer: AbortSignal,
  tell: (position: number, rows: readonly TransitionRow[]) => void,
): Poller {
  const { db } = deps;
  const stopped = new AbortController();
  let position: number | null = null;
  /** See registry/transitions.ts; null when the one before has been reached. */
  let mark: { id: number; xid: string } | null = null;
  let reached = 0;

  async function run(signal: AbortSignal): Promise<void> {
    if (mark === null) {
      const id = await lastTransitionId(db);
      if (position !== null && id === reached) return;
      mark = { id, xid: await nextTransaction(db) };
    }
    if (!(await allEndedBefore(db, mark.xid))) return;
    if (position === null) {
      // Of a row that is there: a number without one may be given again after a crash of the database.
      const newest = await newestTransition(db, mark.id);
      if (signal.aborted) return;
      position = newest;
      tell(position, []);
    }
    for (let more = true; more; ) {
      const rows = await transitionsAfter(db, null, { after: position, up_to: mark.id, limit: PAGE });
      if (signal.aborted) return;
      position = rows.at(-1)?.id ?? position;
      if (rows.length > 0) tell(position, rows);
      more = rows.length === PAGE;
    }
    reached = mark.id;
    mark = null;
  }

  startLoop({
    ...deps,
    name: 'transitions',
    every_ms: POLL_MS,
    jitter: 0,
    run,
    signal: AbortSignal.any([outer, stopped.signal]),
  });
  return { position: () => position, stop: () => stopped.abort() };
}
