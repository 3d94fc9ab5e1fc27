/**
 * One orchestrator of a run: the real core, HTTP API and all, with everything it needs behind one door.
 *
 * The door is how it can be killed or frozen at any moment: whatever it asks for, and whatever answer it
 * waits for, has to pass. Of a killed one nothing passes ever again, of a frozen one nothing until it goes on.
 */
import type { Backend } from '../../src/backends/contract.ts';
import type { Config } from '../../src/config.ts';
import { type Core, openCore } from '../../src/core.ts';
import { OrchestratorError } from '../../src/errors.ts';
import type { Ask } from '../../src/lifecycle/ask.ts';
import { createLog } from '../../src/observe/log.ts';
import type { Db, Sql } from '../../src/registry/db.ts';
import { type Bug, spoilAsk, spoilBackend, spoilDb } from './bugs.ts';
import { type Database, EPOCH_MS } from './database.ts';
import type { Faults } from './faults.ts';
import type { Random } from './random.ts';
import type { Scheduler } from './scheduler.ts';
import type { Trace } from './trace.ts';

/** How far the clocks of two machines may be apart, milliseconds. */
const SKEW_MS = 200;
/** How soon a killed or stopped one stops being heard of: its lock goes with its connection. */
const AT_ONCE = 0;

export type Surrounds = {
  config: Config;
  database: Database;
  backend: Backend;
  ask: Ask;
  scheduler: Scheduler;
  random: Random;
  faults: Faults;
  trace: Trace;
  /** Ids of those that hold their lock. */
  living: Set<number>;
  /** Whether the database can be reached. */
  reachable: () => boolean;
  /** Hears of errors in the log that no fault explains. */
  onFault: (what: string) => void;
  /** Hears of an operation that was ended by one who had lost its lease. */
  onLateEnd: (engine_id: string | null, what: string) => void;
  bug: Bug | null;
};

export type Answer = { status: number; body: Record<string, unknown> };
export type Call = { method: string; path: string; headers: Record<string, string>; body?: unknown };

export type Replica = {
  readonly id: number;
  state(): 'serving' | 'frozen' | 'gone';
  /** Null: no answer will ever come. */
  request(call: Call): Promise<Answer | null>;
  kill(): void;
  freeze(ms: number): void;
  /** Goes on, where it was frozen. */
  thaw(): void;
  /** Ends as after SIGTERM. */
  stop(): Promise<void>;
  /** Its connection with the lock breaks, and is there again in a moment. */
  loseLock(): void;
};

/** Starts one; again and again while the database is away. */
export async function startReplica(around: Surrounds): Promise<Replica> {
  const { scheduler, random, faults, trace, living } = around;
  let state: 'serving' | 'frozen' | 'gone' = 'serving';
  let thawed = Promise.withResolvers<void>();
  const gone = Promise.withResolvers<null>();
  const skew_ms = random.between(-SKEW_MS, SKEW_MS);

  async function door(): Promise<void> {
    while (state === 'frozen') await thawed.promise;
    if (state === 'gone') await new Promise(() => undefined);
  }

  /** Lets a wish out and its answer in. */
  async function through<T>(wish: () => Promise<T>): Promise<T> {
    await door();
    try {
      return await wish();
    } finally {
      await door();
    }
  }

  let id = 0;
  const db = spoilDb(around.bug, openFaultyDb(around, through, watchEnds));
  for (;;) {
    try {
      [{ id } = { id: 0 }] = await db.query<{ id: number }>("SELECT nextval('replica_ids')::int AS id");
      break;
    } catch {
      await scheduler.sleep(500);
    }
  }
  const note = (what: string) => trace.note(null, `replica ${id} ${what}`);
  note('starts');
  living.add(id);

  function kill(): void {
    if (state === 'gone') return;
    note('is killed');
    leave();
  }

  function leave(): void {
    state = 'gone';
    thawed.resolve();
    gone.resolve(null);
    scheduler.after(AT_ONCE, () => living.delete(id));
  }

  function freeze(ms: number): void {
    if (state !== 'serving') return;
    note(`stands still for ${Math.round(ms)} ms`);
    state = 'frozen';
    thawed = Promise.withResolvers();
    scheduler.after(ms, thaw);
  }

  function thaw(): void {
    if (state !== 'frozen') return;
    note('goes on');
    state = 'serving';
    thawed.resolve();
  }

  const backend = spoilBackend(around.bug, {
    ...around.backend,
    create: (spec, signal) => through(() => around.backend.create(spec, signal)),
    stop: (engine_id, fence) => through(() => around.backend.stop(engine_id, fence)),
    destroy: (engine_id, fence) => through(() => around.backend.destroy(engine_id, fence)),
    freeze: (engine_id, fence) => through(() => around.backend.freeze(engine_id, fence)),
    thaw: (engine_id, fence) => through(() => around.backend.thaw(engine_id, fence)),
    snapshot: (engine_id, copy) => through(() => around.backend.snapshot(engine_id, copy)),
    revert: (engine_id, copy) => through(() => around.backend.revert(engine_id, copy)),
    forget: (engine_id, fence) => through(() => around.backend.forget(engine_id, fence)),
    is_running: (engine_id) => through(() => around.backend.is_running(engine_id)),
    list: () => through(() => around.backend.list()),
    onExit: (listener) => around.backend.onExit((exit) => void door().then(() => listener(exit))),
  });

  /** Of all that write an operation's end only the holder of its lease may succeed. */
  function watchEnds(text: string, rows: readonly object[]): void {
    if (!/^\s*UPDATE operations/.test(text)) return;
    for (const row of rows as { outcome?: string; owner?: number; kind?: string; engine_id?: string }[]) {
      if (row.outcome && row.owner !== id) around.onLateEnd(row.engine_id ?? null, `a ${row.kind}`);
    }
  }

  const ask = spoilAsk(around.bug, around.ask);

  const log = createLog('error', {
    write(line: string) {
      const { msg, err } = JSON.parse(line);
      note(`says: ${msg}${err === undefined ? '' : ` (${err.message})`}`);
      // Everything the simulation does to it has one of these names.
      const expected = ['BackendFault', 'OrchestratorError', 'StaleEpoch'];
      if (err !== undefined && !expected.includes(err.type)) around.onFault(`${msg}: ${err.stack}`);
    },
  });

  let core: Core;
  for (;;) {
    try {
      core = await openCore(around.config, {
        db,
        backend,
        clock: {
          now: () => scheduler.now(),
          wall: () => EPOCH_MS + scheduler.now() + skew_ms,
          sleep: (ms, signal) => through(() => scheduler.sleep(ms, signal)),
        },
        ask: (...question) => through(() => ask(...question)),
        log,
        failpoint(point) {
          if (faults.roll('replica: killed at a failpoint')) {
            note(`is at ${point}`);
            kill();
          } else if (faults.roll('replica: frozen at a failpoint')) {
            note(`is at ${point}`);
            freeze(random.between(1_000, 12_000));
          }
        },
        random: random.next,
        process_watch: { families: () => [], close() {} },
        owner: id,
      });
      break;
    } catch (error) {
      if (!(error instanceof OrchestratorError)) throw error;
      await scheduler.sleep(500);
    }
  }
  core.startLoops();
  note('serves');

  return {
    id,
    state: () => state,
    async request({ method, path, headers, body }) {
      if (state === 'gone') return null;
      const answered = through(async () => {
        const init = { method, headers: { 'Content-Type': 'application/json', ...headers } };
        const response = await core.app.request(path, {
          ...init,
          ...(body !== undefined && { body: JSON.stringify(body) }),
        });
        return { status: response.status, body: (await response.json()) as Answer['body'] };
      });
      return await Promise.race([answered, gone.promise]);
    },
    kill,
    freeze,
    thaw,
    async stop() {
      if (state !== 'serving') return;
      note('is stopped');
      await core.release();
      leave();
    },
    loseLock() {
      if (state === 'gone') return;
      note('loses its lock for a moment');
      living.delete(id);
      scheduler.after(random.between(250, 1_000), () => {
        if (state !== 'gone') living.add(id);
      });
    },
  };
}

/** The registry as a replica has it: away, slow, its replies lost, its transactions cut off in the middle. */
function openFaultyDb(
  around: Surrounds,
  through: <T>(wish: () => Promise<T>) => Promise<T>,
  watch: (text: string, rows: readonly object[]) => void,
): Db {
  const { database, faults, random, scheduler, trace } = around;
  const away = (what: string) => {
    trace.note(null, `database: ${what}`);
    return new OrchestratorError('NOT_READY', 'The database cannot be reached at the moment.');
  };

  const ask = <T>(what: () => Promise<T>) =>
    through(async () => {
      if (faults.roll('database: slow')) await scheduler.sleep(random.between(50, 3_000));
      if (!around.reachable()) throw away('away');
      const result = await what();
      if (faults.roll('database: reply lost')) throw away('reply lost');
      return result;
    });

  return {
    query: (text, values) => ask(() => database.query(text, values)),
    tx: (work) =>
      ask(() =>
        database.tx(async (sql) => {
          let left = faults.roll('database: transaction cut') ? random.integer(0, 4) : Infinity;
          const cut: Sql = {
            async query<Row>(text: string, values?: unknown[]) {
              if (left === 0) throw away('transaction cut');
              left -= 1;
              const rows = await sql.query<Row>(text, values);
              watch(text, rows as readonly object[]);
              return rows;
            },
          };
          return await work(cut);
        }),
      ),
    async end() {},
  };
}
