import { randomInt, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import type { Backend } from '../../src/backends/contract.ts';
import { findByArgument, isSystemError } from '../../src/backends/process.ts';
import { FAILPOINTS, type Failpoint } from '../../src/failpoints.ts';
import { hashKey } from '../../src/keys/formats.ts';
import { STAND_IN } from '../support/images.ts';
import { behave } from '../support/orchestrator.ts';
import { processIsThere, until } from '../support/wait.ts';
import type { Place } from './conformance/place.ts';
import { describeBackend } from './conformance.ts';
import { elsewhere, open } from './elsewhere.ts';

/** Above the ports of other tests, below those the system gives out. */
const PORTS = { min: 30_000, count: 2_500 };

describeBackend('subprocess', async (): Promise<Place> => {
  const folder = await mkdtemp(join(tmpdir(), 'conformance-'));
  const root = join(folder, 'engines');
  const opened = {
    kind: 'subprocess' as const,
    options: {
      root,
      entry: STAND_IN,
      catalog_dir: '/catalog',
      environment: { PATH: process.env.PATH ?? '' },
    },
  };
  const backends: Backend[] = [];
  const engine_ids: string[] = [];
  let port = randomInt(PORTS.count);

  const fileOf = (engine_id: string, name: string) => join(root, engine_id, name);
  const pidsOf = async (engine_id: string) =>
    (await findByArgument(`--engine=${engine_id}/`)).map(({ pid }) => pid);

  async function kill(engine_id: string): Promise<void> {
    const pids = await pidsOf(engine_id);
    for (const pid of pids) killGroup(pid);
    for (const pid of pids) await until('it is gone', async () => !(await processIsThere(pid)));
  }

  return {
    open(hit) {
      const backend = open(opened, hit);
      backends.push(backend);
      return backend;
    },
    elsewhere: elsewhere(opened, join(folder, 'died_at')),
    points: Object.keys(FAILPOINTS).filter((name): name is Failpoint =>
      /^(create|stop|snapshot|revert|remove)\./.test(name),
    ),
    newEngine() {
      port = (port + 1) % PORTS.count;
      const engine_id = randomUUID();
      engine_ids.push(engine_id);
      return {
        engine_id,
        epoch: 1,
        port: PORTS.min + port,
        image: 'any',
        environment: { ENGINE_KEY_HASH: hashKey('sk-sept-test'), PATH: process.env.PATH ?? '' },
      };
    },
    behave: (behaviour) => behave(folder, behaviour),
    running: async (engine_id) => (await pidsOf(engine_id)).map((pid) => `process ${pid}`),
    async traces({ engine_id, port }) {
      const traces = (await pidsOf(engine_id)).map((pid) => `process ${pid}`);
      for (const pid of await processesIn(join(root, engine_id))) traces.push(`process ${pid} in its folder`);
      // Not the mark that refuses a late create: it is meant to stay for a day, beside this folder.
      for (const folder of [root, `${root}.snapshots`]) {
        for (const name of await readdir(folder).catch(noneIfAbsent)) {
          if (name.includes(engine_id)) traces.push(`folder ${basename(folder)}/${name}`);
        }
      }
      if (await isTaken(port ?? 0)) traces.push(`port ${port}`);
      return traces;
    },
    kill,
    async obscure(engine_id) {
      const file = fileOf(engine_id, 'process.json');
      const record = await readFile(file, 'utf8');
      await writeFile(file, '{"half');
      return () => writeFile(file, record);
    },
    output: (engine_id) => readFile(fileOf(engine_id, 'engine.log'), 'utf8'),
    writeData: (engine_id, words) => writeFile(fileOf(engine_id, 'brain.sqlite'), words),
    readData: (engine_id) => readFile(fileOf(engine_id, 'brain.sqlite'), 'utf8'),
    async dispose() {
      for (const engine_id of engine_ids) await kill(engine_id);
      for (const backend of backends) await backend.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
});

function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch (error) {
    if (!isSystemError(error, 'ESRCH')) throw error;
  }
}

/** Everything that works in a folder, also what an engine has started; only Linux tells. */
async function processesIn(folder: string): Promise<string[]> {
  if (!existsSync('/proc/self/cwd')) return [];
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const folders = await Promise.all(pids.map((pid) => readlink(`/proc/${pid}/cwd`).catch(() => '')));
  return pids.filter((_, at) => folders[at]?.startsWith(folder));
}

async function isTaken(port: number): Promise<boolean> {
  const server = createServer();
  try {
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
    return false;
  } catch (error) {
    if (isSystemError(error, 'EADDRINUSE')) return true;
    throw error;
  } finally {
    server.close();
  }
}

function noneIfAbsent(error: unknown): string[] {
  if (isSystemError(error, 'ENOENT')) return [];
  throw error;
}
