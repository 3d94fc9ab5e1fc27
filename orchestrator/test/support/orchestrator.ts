/** A whole orchestrator for tests: real HTTP, real PostgreSQL, and the stand-in program where engines go. */
import { randomInt } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { type Orchestrator, startOrchestrator } from '../../src/app.ts';
import { findByArgument } from '../../src/backends/process.ts';
import { type Config, loadConfig } from '../../src/config.ts';
import type { HitFailpoint } from '../../src/failpoints.ts';
import { type Clock, systemClock } from '../../src/lifecycle/clock.ts';
import { createLog } from '../../src/observe/log.ts';
import { createDatabase } from './database.ts';
import { programs } from './images.ts';
import type { StandInBehaviour } from './stand_in_engine.ts';

export const ADMIN = 'test-admin-key-long-enough-for-production';
export const MASTER = Buffer.alloc(32, 7).toString('base64url');

export type Answer = { status: number; headers: Headers; body: Record<string, never> & JsonBody };
// biome-ignore lint/suspicious/noExplicitAny: answers are looked into freely by assertions
type JsonBody = any;

export type Call = (
  method: string,
  path: string,
  options?: { key?: string | null; admin?: string; body?: unknown; raw?: string; headers?: object },
) => Promise<Answer>;

/** Calls one orchestrator; `key` is the platform key. */
export const caller =
  (url: string, defaultKey?: string): Call =>
  async (method, path, { key = defaultKey, admin, body, raw, headers } = {}) => {
    const response = await fetch(`${url}${path}`, {
      method,
      headers: {
        ...(key && { 'X-Platform-Key': key }),
        ...(admin && { 'X-Admin-Key': admin }),
        ...((body !== undefined || raw !== undefined) && { 'Content-Type': 'application/json' }),
        ...headers,
      },
      body: raw ?? (body === undefined ? undefined : JSON.stringify(body)),
    });
    const text = await response.text();
    const isJson = response.headers.get('content-type')?.startsWith('application/json');
    return { status: response.status, headers: response.headers, body: isJson ? JSON.parse(text) : text };
  };

/** Ports of one test orchestrator. */
const RANGE = 50;
/** Ranges of one worker of vitest; the workers' lie one after the other, below the ports the system gives out. */
const RANGES = 200;
let range = randomInt(RANGES);

/** A range of ports that no other worker uses, nor this one for a long while: test files run side by side. */
function nextPortRange(): number {
  range = (range + 1) % RANGES;
  const worker = Number(process.env.VITEST_POOL_ID ?? 1) % 2;
  return 10_000 + (worker * RANGES + range) * RANGE;
}

/** The environment of an orchestrator for tests: its own folder, database and ports. */
export async function testEnvironment(overrides: Record<string, string> = {}) {
  const data_dir = await mkdtemp(join(tmpdir(), 'orch-test-'));
  const port_min = nextPortRange();
  return {
    ORCH_DATABASE_URL: await createDatabase(),
    ORCH_MASTER_KEY: MASTER,
    ORCH_ADMIN_KEY: ADMIN,
    ORCH_DATA_DIR: data_dir,
    ORCH_PORT: '0',
    ORCH_PORT_MIN: String(port_min),
    ORCH_PORT_MAX: String(port_min + RANGE - 1),
    ORCH_BOOT_TIMEOUT_S: '20',
    ORCH_LOG_LEVEL: 'debug',
    PATH: process.env.PATH ?? '',
    NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE ?? '',
    ...overrides,
  };
}

export type TestOrchestrator = {
  orchestrator: Orchestrator;
  config: Config;
  url: string;
  call: Call;
  /** Everything it has logged. */
  logged(): string;
  /** Registers a product; gives a caller with its key. */
  product(policy?: object, slug?: string): Promise<{ id: string; slug: string; key: string; call: Call }>;
  /** How engines behave from now on. */
  engines(behaviour: StandInBehaviour): Promise<void>;
  /** Ends it, its engines and its folder. */
  end(): Promise<void>;
  /** `process.json` of an engine. */
  processOf(engine_id: string): Promise<{ pid: number; epoch: number; port: number; started: string }>;
};

/** Starts one; it, its engines and its folder are gone when the test has finished, unless it is to outlive it. */
export async function startTestOrchestrator(
  env: Record<string, string> | Promise<Record<string, string>> = testEnvironment(),
  options: { engine_entry?: string; outliveTest?: boolean; clock?: Clock; failpoint?: HitFailpoint } = {},
): Promise<TestOrchestrator> {
  const config = loadConfig(await env, '/');
  const lines: string[] = [];
  const log = createLog('debug', { write: (line: string) => lines.push(line) });
  const orchestrator = await startOrchestrator({
    config,
    log,
    engine_entry: options.engine_entry ?? programs(config.data_dir),
    clock: options.clock ?? systemClock,
    failpoint: options.failpoint,
  });
  const end = async () => {
    await orchestrator.close({ stop_engines_within_ms: 200 });
    // A test may have closed it before, and left its engines.
    for (const engine_id of await readdir(join(config.data_dir, 'engines')).catch(() => [])) {
      for (const { pid } of await findByArgument(`--engine=${engine_id}/`)) process.kill(pid, 'SIGKILL');
    }
    await rm(config.data_dir, { recursive: true, force: true });
  };
  if (!options.outliveTest) onTestFinished(end);
  const call = caller(orchestrator.url);
  return {
    orchestrator,
    config,
    url: orchestrator.url,
    call,
    end,
    logged: () => lines.join(''),
    async product(policy = {}, slug = `p-${Math.random().toString(36).slice(2)}`) {
      const { status, body } = await call('POST', '/products/register', {
        admin: ADMIN,
        body: { slug, display_name: slug, policy },
      });
      if (status !== 200) throw new Error(`register gave ${status} ${JSON.stringify(body)}`);
      const key: string = body.platform_api_key;
      return { id: body.product_id, slug, key, call: caller(orchestrator.url, key) };
    },
    engines: (behaviour) => behave(config.data_dir, behaviour),
    processOf: async (engine_id) =>
      JSON.parse(await readFile(join(config.data_dir, 'engines', engine_id, 'process.json'), 'utf8')),
  };
}

export const behave = (data_dir: string, behaviour: StandInBehaviour) =>
  writeFile(join(data_dir, 'stand_in.json'), JSON.stringify(behaviour));
