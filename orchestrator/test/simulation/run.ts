/**
 * One run: a handful of products, one to three orchestrators, and storms of faults with a calm after each, in
 * which everything must come to rest and every engine must obey an ordinary call. All of it follows from the
 * seed and the number of client calls.
 */
import type { Config } from '../../src/config.ts';
import { loadConfig } from '../../src/config.ts';
import { destroyFailed } from '../../src/registry/operations.ts';
import { syncPorts } from '../../src/registry/ports.ts';
import { createBackend } from './backend.ts';
import type { Bug } from './bugs.ts';
import { ADMIN_KEY, type Clients, createClients, type Product, type User } from './clients.ts';
import type { Database } from './database.ts';
import { createEngines, FIRST_IMAGE, imageOf } from './engines.ts';
import { createFaults, type TimedFaultKind } from './faults.ts';
import { createAsk } from './network.ts';
import { createOracle, type Oracle } from './oracle.ts';
import { randomOf } from './random.ts';
import { type Replica, type Surrounds, startReplica } from './replica.ts';
import { createScheduler } from './scheduler.ts';
import { createTrace, type Trace } from './trace.ts';
import { createWitness, type Violation } from './witness.ts';

/** Client calls between two calms. */
const STORM_OPS = 400;
/** How long everything may take to come to rest: backoffs, an incident's pause, an orphan's minute. Milliseconds. */
const SETTLE_MS = 300_000;
/** How often the oracle looks, milliseconds. */
const LOOK_MS = 4_000;
/** Part of an ordinary deployment's times, so that a run sees many of each; and few ports, so that they run out. */
const ENVIRONMENT = {
  ORCH_DATABASE_URL: 'postgresql://the.simulation/has-its-own',
  ORCH_MASTER_KEY: Buffer.alloc(32, 7).toString('base64url'),
  ORCH_ADMIN_KEY: ADMIN_KEY,
  ORCH_ENGINE_IMAGE: imageOf(FIRST_IMAGE),
  ORCH_UPGRADE_CANARY_PERCENT: '20',
  ORCH_UPGRADE_PROBATION_S: '15',
  ORCH_PORT_MIN: '9001',
  ORCH_PORT_MAX: '9017',
  ORCH_BOOT_TIMEOUT_S: '20',
  ORCH_HEALTH_CHECK_INTERVAL_S: '5',
  ORCH_HEALTH_CHECK_TIMEOUT_S: '2',
  ORCH_RESTART_BACKOFF_BASE_S: '1',
  ORCH_RESTART_BACKOFF_MAX_S: '15',
  ORCH_RESTART_MAX_ATTEMPTS: '5',
  ORCH_RESTART_RESET_AFTER_S: '30',
  ORCH_IDLE_TIMEOUT_S: '20',
  ORCH_HIBERNATE_AFTER_S: '25',
  ORCH_RECONCILE_INTERVAL_S: '8',
};

export type RunOptions = { seed: number; ops: number; bug?: Bug | null };

export type RunResult = {
  seed: number;
  virtual_s: number;
  /** Client calls, durable operations, faults: by kind. */
  calls: Map<string, number>;
  operations: Map<string, number>;
  faults: Map<string, number>;
  violations: Violation[];
  trace: Trace;
};

/** Runs one seed on an open database; what an earlier run left in it is removed. */
export async function run(database: Database, { seed, ops, bug = null }: RunOptions): Promise<RunResult> {
  const random = randomOf(seed);
  const scheduler = createScheduler(random.fork());
  const living = new Set<number>();
  await database.reset({ seed, now: scheduler.now, living });
  const config: Config = loadConfig(ENVIRONMENT, '/');
  await syncPorts(database, { min: config.port_min, max: config.port_max });

  const trace = createTrace(scheduler.now);
  const witness = createWitness(scheduler.now, trace);
  const faults = createFaults(random.fork());
  const engines = createEngines({ scheduler, random: random.fork(), faults, witness, trace });
  const cut = new Set<string>();
  const idle_timeout_ms = config.sleep.idle_timeout_s * 1000;
  const luck = random.fork();
  const replicas = new Set<Replica>();
  const wanted = luck.choose({ one: 4, two: 4, three: 2 });
  const size = { one: 1, two: 2, three: 3 }[wanted];
  let starting = 0;
  let reachable = true;
  let disturbed_at = 0;
  let calm_since: number | null = 0;
  const disturbed = () => {
    disturbed_at = scheduler.now();
  };

  const introduced = new Set<string>();
  async function introduce(engine_id: string): Promise<void> {
    if (introduced.has(engine_id)) return;
    introduced.add(engine_id);
    const [row] = await database.query<{ name: string }>(
      `SELECT p.slug || '/' || e.user_id AS name FROM engines e JOIN products p ON p.id = e.product_id WHERE e.id = $1`,
      [engine_id],
    );
    if (row !== undefined) trace.name(engine_id, row.name);
  }

  const network = createAsk({ engines, scheduler, random: random.fork(), faults, witness, cut });
  const surrounds = (): Surrounds => ({
    config,
    database,
    ask: network,
    scheduler,
    random: random.fork(),
    faults,
    trace,
    living,
    bug,
    reachable: () => reachable,
    onLateEnd: (engine_id, what) =>
      witness.violation('one outcome', engine_id, `${what} is ended by one who has lost its lease`),
    onFault: (what) => witness.violation('faults of ours', null, what),
    backend: createBackend({
      engines,
      scheduler,
      random: random.fork(),
      faults,
      witness,
      trace,
      idle_timeout_ms,
      introduce,
      fenced: bug !== 'skip-fence',
    }),
  });

  async function bringUp(): Promise<void> {
    starting += 1;
    const replica = await startReplica(surrounds());
    starting -= 1;
    disturbed();
    replicas.add(replica);
  }

  /** As many as are wanted, from those that are not gone. */
  async function keepUp(): Promise<void> {
    for (;;) {
      for (const one of replicas) {
        if (one.state() === 'gone') {
          replicas.delete(one);
          disturbed();
        } else if (one.state() === 'frozen') {
          disturbed();
        }
      }
      if (!reachable) disturbed();
      if (replicas.size + starting < size) void bringUp();
      await scheduler.sleep(luck.between(100, 900));
    }
  }

  const clients = createClients({
    scheduler,
    random: random.fork(),
    faults,
    trace,
    witness,
    engines,
    replicas: () => [...replicas].filter((one) => one.state() !== 'gone'),
  });

  const strike: Record<TimedFaultKind, () => void> = {
    'engine: crashes': () => someone((one) => engines.exit(one, { code: null, signal: 'SIGKILL' })),
    'engine: hangs': () => someone((one) => change(one, 'hung')),
    'engine: is ill': () =>
      someone((one) => {
        change(one, 'ill');
        scheduler.after(luck.between(2_000, 30_000), () => one.state === 'ill' && change(one, 'serving'));
      }),
    'engine: many crash at once': () => {
      for (const one of engines.serving())
        if (luck.chance(0.7)) engines.exit(one, { code: 137, signal: null });
    },
    'network: an engine out of reach': () =>
      someone(({ engine_id }) => {
        cut.add(engine_id);
        trace.note(engine_id, 'cannot be reached');
        scheduler.after(luck.between(1_000, 20_000), () => cut.delete(engine_id));
      }),
    'database: away': () => {
      reachable = false;
      trace.note(null, 'database: goes away');
      scheduler.after(luck.between(200, 8_000), () => {
        reachable = true;
        for (const one of replicas) one.loseLock();
        trace.note(null, 'database: is back');
      });
    },
    'replica: killed': () => replica((one) => one.kill()),
    'replica: frozen': () => replica((one) => one.freeze(luck.between(200, 15_000))),
    'replica: stopped': () => replica((one) => void one.stop()),
    'replica: lock lost': () => replica((one) => one.loseLock()),
  };

  function someone(what: (one: ReturnType<typeof engines.serving>[number]) => void): void {
    const all = engines.serving();
    if (all.length > 0) what(luck.pick(all));
  }

  function replica(what: (one: Replica) => void): void {
    if (replicas.size > 0) what(luck.pick([...replicas]));
  }

  function change(one: ReturnType<typeof engines.serving>[number], state: 'serving' | 'ill' | 'hung'): void {
    one.state = state;
    trace.note(one.engine_id, `is ${state}`);
  }

  async function storm(calls: number): Promise<void> {
    trace.note(null, 'a storm begins');
    calm_since = null;
    faults.storm(true);
    const end = clients.total() + calls;
    const pace_ms = 20 * 2 ** luck.between(0, 4);
    const second = { next: scheduler.now() };
    while (clients.total() < end) {
      clients.act();
      await scheduler.sleep(luck.between(0, 2 * pace_ms));
      for (; second.next < scheduler.now(); second.next += 1000) {
        for (const kind of faults.rollSecond()) strike[kind]();
      }
    }
    await scheduler.sleep(luck.between(0, 5_000));
    faults.storm(false);
    cut.clear();
    engines.strangersLeave();
    for (const one of replicas) one.thaw();
    calm_since = scheduler.now();
    trace.note(null, 'the storm is over');
  }

  async function settle(oracle: Oracle): Promise<void> {
    for (const end = scheduler.now() + SETTLE_MS; ; ) {
      await scheduler.sleep(1_000);
      const [first] = await oracle.unsettled();
      if (first === undefined) break;
      if (scheduler.now() < end) continue;
      witness.violation('settling', first.id, `after ${SETTLE_MS / 1000} s of calm: ${first.what}`);
      break;
    }
    await oracle.look();
    await oracle.audit();
  }

  async function watch(oracle: Oracle): Promise<void> {
    for (;;) {
      await scheduler.sleep(LOOK_MS);
      await oracle.look();
    }
  }

  async function script(): Promise<void> {
    void keepUp();
    const products: Product[] = await clients.arrive();
    const oracle = createOracle({
      database,
      scheduler,
      witness,
      engines,
      clients,
      products,
      restarts: config.restarts,
      idle_timeout_ms,
      canary_percent: config.canary.canary_percent,
      disturbed_at: () => disturbed_at,
      calm_since: () => calm_since,
    });
    void watch(oracle).catch((error) => witness.violation('faults of ours', null, error.stack));
    while (clients.total() < ops) {
      await storm(Math.min(STORM_OPS, ops - clients.total()));
      await settle(oracle);
    }
    // Long enough for whatever nobody uses to fall asleep.
    await scheduler.sleep(idle_timeout_ms + 15_000);
    await settle(oracle);
    await freeAll(clients, oracle);
    await settle(oracle);
  }

  /** Every engine obeys an ordinary call, whatever state it is in; in the end nothing is left. */
  async function freeAll(clients: Clients, oracle: Oracle): Promise<void> {
    const ids = new Map((await oracle.lines()).map((one) => [`${one.product_id}/${one.user_id}`, one]));
    const all = clients.users.flatMap((user) => {
      const line = ids.get(`${user.product.id}/${user.id}`);
      return line === undefined ? [] : [{ user, line }];
    });
    await Promise.all(
      all.map(async ({ user, line }) => {
        const first = { running: 'stop', sleeping: 'start', stopped: 'start', failed: 'start' } as const;
        const { status } = line;
        if (status in first && luck.chance(0.5)) {
          await obeys(user, line.id, first[status as keyof typeof first]);
          await obeys(user, line.id, 'stop');
        }
        await obeys(user, line.id, 'destroy');
      }),
    );
  }

  async function obeys(user: User, engine_id: string, what: 'start' | 'stop' | 'destroy'): Promise<void> {
    for (let tries = 1; ; tries += 1) {
      const answered = witness.wish(`${user.product.slug}/${user.id}`, what === 'start' ? 'stop' : what);
      const [method, path] = what === 'destroy' ? ['DELETE', ''] : ['POST', `/${what}`];
      const answer = await clients.ask(user.product, method ?? '', `/engines/${user.id}${path}`);
      answered();
      // 409: it falls asleep in this moment, or is where it is wanted.
      if (answer?.status === 200 || (answer?.status === 409 && what !== 'destroy')) return;
      // What a destroy has begun to remove, or failed to, can only be removed.
      const begun = engines.placeOf(engine_id).destroyed || (await destroyFailed(database, engine_id));
      if (begun && what !== 'destroy') return;
      if (tries === 60) {
        return witness.violation('freedom', engine_id, `${what} is answered ${JSON.stringify(answer)}`);
      }
      await scheduler.sleep(1_000);
    }
  }

  await scheduler.drive(untilViolated(), () => database.quiet());
  const operations = await database.query<{ kind: string; count: number }>(
    'SELECT kind, count(*)::int AS count FROM operations GROUP BY kind ORDER BY kind',
    [],
  );
  return {
    seed,
    virtual_s: scheduler.now() / 1000,
    calls: new Map<string, number>(clients.counts),
    operations: new Map(operations.map(({ kind, count }) => [kind, count])),
    faults: faults.counts,
    violations: witness.violations,
    trace,
  };

  /** The script, or as far as it goes without a violation. */
  async function untilViolated(): Promise<void> {
    let over = false;
    const ended = script().finally(() => {
      over = true;
    });
    while (!over && witness.violations.length === 0) {
      await Promise.race([ended, scheduler.sleep(1_000)]);
    }
    // What a broken rule leads to is of no interest; the script is left where it is.
    if (over) await ended;
  }
}
