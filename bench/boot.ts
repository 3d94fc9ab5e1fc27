/**
 * `npm run bench -- boot`: from the start of a process to its first good answer, of the orchestrator over a large fleet
 * and of an Engine.
 *
 * A boot is what everybody waits for whose engine hibernates, and what a fleet is without while its orchestrator is
 * replaced. What Node.js itself takes for one is the floor: a bare HTTP server, started and asked in the same way. All
 * are started in turns, round after round, and only times of one round are compared. `first` has an empty compile cache,
 * as after an installation (scripts/run.mjs); the others find it filled.
 */
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { hashKey, newEngineKey, newPlatformKey } from '../orchestrator/src/keys/formats.ts';
import { parseMasterKeys } from '../orchestrator/src/keys/master.ts';
import { openDb } from '../orchestrator/src/registry/db.ts';
import { startEmbeddedPostgres } from '../orchestrator/src/registry/embedded_postgres.ts';
import { migrate } from '../orchestrator/src/registry/migrate.ts';
import { insertProduct } from '../orchestrator/src/registry/products.ts';
import { freePort } from '../scripts/free_port.ts';
import { addEngines, userId } from './admit/fleet.ts';
import { type BootRound, writeBootReport } from './boot/report.ts';
import { openConnection } from './support/http_client.ts';

const fileOf = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const BARE = fileOf('./boot/bare.mjs');
const ORCHESTRATOR = fileOf('../orchestrator/src/main.ts');
const ENGINE = fileOf('../engine/src/main.ts');
const CATALOG = fileOf('../catalog');

const FLEET = 100_000;
const ROUNDS = 15;
const QUICK_ROUNDS = 3;
/** Between two questions to a process that does not answer yet; milliseconds. */
const POLL_MS = 2;
/** Longer than this no start takes, milliseconds. */
const PATIENCE_MS = 60_000;

type Program = {
  file: string;
  args?: string[];
  env?: Record<string, string>;
  /** Whose 200 is the good answer. */
  request: string;
};

export async function benchBoot(options: { quick: boolean }): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'bench-boot-'));
  const postgres = await startEmbeddedPostgres({ folder: join(folder, 'postgres') });
  const output = openSync(join(folder, 'output.log'), 'w');
  try {
    const master = Buffer.alloc(32, 7).toString('base64url');
    const platform_key = await registerFleet(postgres.url, master);
    const port = await freePort();
    const empty = () => ({ NODE_COMPILE_CACHE: join(folder, randomUUID()) });
    const filled = { NODE_COMPILE_CACHE: join(folder, 'compiled') };
    const health = get('/health');
    const bare: Program = { file: BARE, args: [String(port)], request: health };
    const orchestrator = (cache: object): Program => ({
      file: ORCHESTRATOR,
      env: {
        ...cache,
        NODE_ENV: 'production',
        ORCH_DATABASE_URL: postgres.url,
        ORCH_MASTER_KEY: master,
        ORCH_ADMIN_KEY: 'the admin key of a benchmark, used by nobody',
        ORCH_DATA_DIR: join(folder, 'orchestrator'),
        ORCH_ENGINE_BACKEND: 'subprocess',
        ORCH_HOST: '127.0.0.1',
        ORCH_PORT: String(port),
      },
      request: get(`/engines/${userId(FLEET / 2)}`, `X-Platform-Key: ${platform_key}\r\n`),
    });
    const engine = (brain: string, cache: object): Program => ({
      file: ENGINE,
      env: {
        ...cache,
        ENGINE_KEY_HASH: hashKey('the key of a benchmark'),
        SQLITE_DB_PATH: join(folder, brain, 'brain.sqlite'),
        CATALOG_DIR: CATALOG,
        ENGINE_HOST: '127.0.0.1',
        ENGINE_PORT: String(port),
        LLM_PROVIDER: 'demo',
      },
      request: health,
    });
    const time = (program: Program, end: NodeJS.Signals = 'SIGKILL') =>
      timeStart(program, { port, output, end });

    // Ended in order, so that they have kept what they compiled.
    await time(orchestrator(filled), 'SIGTERM');
    await time(engine('before', filled), 'SIGTERM');
    const rounds: BootRound[] = [];
    for (let round = 0; round < (options.quick ? QUICK_ROUNDS : ROUNDS); round += 1) {
      const measured: BootRound = {
        bare: await time(bare),
        orchestrator_first: await time(orchestrator(empty())),
        orchestrator: await time(orchestrator(filled)),
        engine_first: await time(engine(`first-${round}`, empty())),
        engine_new: await time(engine(`brain-${round}`, filled)),
        engine_again: await time(engine(`brain-${round}`, filled)),
      };
      rounds.push(measured);
      console.log(
        Object.entries(measured)
          .map(([system, ms]) => `${system} ${ms.toFixed(0)} ms`)
          .join(' · '),
      );
    }
    if (!options.quick) await writeBootReport(rounds, FLEET);
  } finally {
    await postgres.stop();
    closeSync(output);
    await rm(folder, { recursive: true, force: true });
  }
}

/** Engines of one product that are rows and nothing else; gives the product's key. */
async function registerFleet(database_url: string, master: string): Promise<string> {
  const db = openDb(database_url, (error) => console.error(error.message));
  try {
    await migrate(db);
    const key = newPlatformKey();
    const product = { slug: 'bench', display_name: 'Bench', api_key_hash: hashKey(key), policy: {} };
    const { id: product_id } = await insertProduct(db, product);
    const engine_key_enc = parseMasterKeys(master)?.seal(newEngineKey()) ?? '';
    await addEngines(db, { product_id, engine_key_enc, from: 0, to: FLEET });
    return key;
  } finally {
    await db.end();
  }
}

const get = (path: string, headers = '') => `GET ${path} HTTP/1.1\r\nHost: bench\r\n${headers}\r\n`;

/** Milliseconds from the start of the process to its first 200; then it is ended. */
async function timeStart(
  { file, args = [], env, request }: Program,
  { port, output, end }: { port: number; output: number; end: NodeJS.Signals },
): Promise<number> {
  const began = performance.now();
  const child = spawn(process.execPath, [file, ...args], {
    env: { PATH: process.env.PATH, ...env },
    stdio: ['ignore', output, output],
  });
  const exited = once(child, 'exit');
  try {
    await firstAnswer(new URL(`http://127.0.0.1:${port}`), request, began + PATIENCE_MS);
    return performance.now() - began;
  } finally {
    child.kill(end);
    await exited;
  }
}

async function firstAnswer(url: URL, request: string, until: number): Promise<void> {
  for (;;) {
    try {
      const connection = await openConnection(url);
      await connection.ask(request).finally(connection.close);
      return;
    } catch (error) {
      if (performance.now() > until) throw error;
      await delay(POLL_MS);
    }
  }
}
