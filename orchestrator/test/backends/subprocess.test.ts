import { randomInt, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { Backend, EngineSpec } from '../../src/backends/contract.ts';
import { startOf } from '../../src/backends/process.ts';
import { subprocessBackend } from '../../src/backends/subprocess.ts';
import { hashKey } from '../../src/keys/formats.ts';
import { STAND_IN } from '../support/images.ts';
import { behave } from '../support/orchestrator.ts';
import type { StandInBehaviour } from '../support/stand_in_engine.ts';
import { processIsThere, until } from '../support/wait.ts';

const KEY = 'sk-sept-test';
const forEver = new AbortController().signal;

async function world(
  options: { behaviour?: StandInBehaviour; max_log_bytes?: number; log_check_ms?: number } = {},
) {
  const folder = await mkdtemp(join(tmpdir(), 'subprocess-test-'));
  await behave(folder, options.behaviour ?? {});
  const open = () =>
    subprocessBackend({
      root: join(folder, 'engines'),
      entry: STAND_IN,
      catalog_dir: '/catalog',
      environment: { PATH: process.env.PATH ?? '' },
      onError: (error) => {
        throw error;
      },
      max_log_bytes: options.max_log_bytes,
      log_check_ms: options.log_check_ms,
    });
  const backend = open();
  const engine_id = randomUUID();
  const spec: EngineSpec = {
    engine_id,
    epoch: 1,
    port: randomInt(10_000, 30_000),
    image: 'any',
    environment: { ENGINE_KEY_HASH: hashKey(KEY), PATH: process.env.PATH ?? '', NAMED: 'handed on' },
  };
  onTestFinished(async () => {
    await backend.stop(engine_id, { epoch: 99, grace_s: 0 });
    await backend.close();
    await rm(folder, { recursive: true, force: true });
  });
  return {
    backend,
    spec,
    engine_id,
    /** A second orchestrator's view: nothing in memory. */
    reopen: open,
    file: (name: string) => join(folder, 'engines', engine_id, name),
    record: async () =>
      JSON.parse(await readFile(join(folder, 'engines', engine_id, 'process.json'), 'utf8')),
  };
}

type Said = { pid: number; child: number; env: Record<string, string> };

async function answerOf(url: string): Promise<Said> {
  return await until('the engine answers', () =>
    fetch(`${url}/anything`, { headers: { 'X-Engine-Key': KEY } }).then(
      async (response) => (await response.json()) as Said,
      () => null,
    ),
  );
}

const absent = async (backend: Backend, id: string) =>
  await until('it is absent', async () => {
    const presence = await backend.is_running(id);
    return presence.state === 'absent' && presence;
  });

/** What is special to processes; the contract of all backends is checked by subprocess_conformance.test.ts. */
describe('the subprocess backend', () => {
  it('gives an engine its own folder, port and group, and the environment it needs and no more', async () => {
    const { backend, spec, file, record } = await world();
    process.env.ORCH_ADMIN_KEY = 'must not get through';
    onTestFinished(() => void delete process.env.ORCH_ADMIN_KEY);
    const { url, port } = await backend.create(spec, forEver);
    expect({ url, port }).toEqual({ url: `http://127.0.0.1:${spec.port}`, port: spec.port });
    const { pid, env } = await answerOf(url);
    expect(env).toEqual({
      ENGINE_KEY_HASH: hashKey(KEY),
      SQLITE_DB_PATH: file('brain.sqlite'),
      CATALOG_DIR: '/catalog',
      ENGINE_EPOCH: '1',
      ENGINE_HOST: '127.0.0.1',
      ENGINE_PORT: String(spec.port),
      HOME: file('').replace(/\/$/, ''),
      PATH: process.env.PATH,
      NAMED: 'handed on',
    });
    expect(await record()).toEqual({ pid, started: await startOf(pid), epoch: 1, port: spec.port });
    expect((await stat(file('.'))).mode & 0o777).toBe(0o700);
    expect((await stat(file('workspace'))).isDirectory()).toBe(true);
    expect((await stat(file('engine.log'))).mode & 0o777).toBe(0o600);
    if (process.platform === 'linux') {
      const [, group] =
        (await readFile(`/proc/${pid}/stat`, 'utf8')).split(') ')[1]?.split(' ').slice(1) ?? [];
      expect(group).toBe(String(pid));
    }
  });

  it('finds a process whose record was never written, instead of starting a second', async () => {
    const { backend, spec, reopen, file, record } = await world();
    const { url } = await backend.create(spec, forEver);
    const { pid } = await answerOf(url);
    await rm(file('process.json'));
    const other = reopen();
    await other.create(spec, forEver);
    expect(await record()).toMatchObject({ pid, epoch: 1 });
    await rm(file('process.json'));
    await other.stop(spec.engine_id, { epoch: 1 });
    expect(await processIsThere(pid)).toBe(false);
    await other.close();
  });

  it('does not take another process with the same id for the engine', async () => {
    const { backend, spec, file, engine_id } = await world();
    await backend.create(spec, forEver);
    await backend.stop(engine_id, { epoch: 1 });
    // Our own process: were it taken for the engine, this test would end here.
    const stale = { pid: process.pid, started: 'another moment', epoch: 1, port: spec.port };
    await writeFile(file('process.json'), JSON.stringify(stale));
    expect(await backend.is_running(engine_id)).toEqual({ state: 'absent', exit: null });
    await backend.stop(engine_id, { epoch: 1 });
  });

  it('lets an engine say that its port is taken', async () => {
    const { backend, spec, engine_id } = await world();
    const squatter = createServer().listen(spec.port ?? 0, '127.0.0.1');
    await once(squatter, 'listening');
    onTestFinished(() => void squatter.close());
    await backend.create(spec, forEver);
    expect((await absent(backend, engine_id)).exit).toMatchObject({ code: 65 });
  });

  it('believes no record that a late caller wrote over a newer one', async () => {
    const { backend, spec, engine_id, file, record } = await world();
    await backend.create({ ...spec, epoch: 2 }, forEver);
    const truth = await record();
    await writeFile(
      file('process.json'),
      JSON.stringify({ ...truth, pid: 1, started: 'long ago', epoch: 1 }),
    );
    expect(await backend.is_running(engine_id)).toMatchObject({ state: 'present', epoch: 2 });
    await backend.stop(engine_id, { epoch: 2 });
    expect(await processIsThere(truth.pid)).toBe(false);
  });

  it('removes no record with a stop, as it might be of a later create, unless nobody can read it', async () => {
    const { backend, spec, engine_id, file, record } = await world();
    await backend.create(spec, forEver);
    const before = await record();
    await backend.stop(engine_id, { epoch: 1 });
    expect(await record()).toEqual(before);
    expect(await backend.is_running(engine_id)).toEqual({ state: 'absent', exit: null });
    await writeFile(file('process.json'), '{"half');
    await backend.stop(engine_id, { epoch: 1 });
    expect(await backend.is_running(engine_id)).toEqual({ state: 'absent', exit: null });
  });

  it('keeps the log of an engine below its limit while it runs', async () => {
    const { backend, spec, file } = await world({
      behaviour: { chatter_bytes: 5_000 },
      max_log_bytes: 1_000,
      log_check_ms: 20,
    });
    const { url } = await backend.create(spec, forEver);
    await answerOf(url);
    await until('the log is cut', async () => (await stat(file('engine.log'))).size <= 1_000);
    // The program may have written it in pieces.
    expect((await stat(file('engine.log.1'))).size).toBeGreaterThan(1_000);
  });

  it('ends what the engine started along with it', async () => {
    const { backend, spec, engine_id } = await world({ behaviour: { child: true } });
    const { child } = await answerOf((await backend.create(spec, forEver)).url);
    expect(await processIsThere(child)).toBe(true);
    await backend.stop(engine_id, { epoch: 1 });
    await until('the child is gone', async () => !(await processIsThere(child)));
  });

  it.runIf(process.platform === 'linux')('freezes what the engine started along with it', async () => {
    const { backend, spec, engine_id } = await world({ behaviour: { child: true } });
    const { url } = await backend.create(spec, forEver);
    const { child } = await answerOf(url);
    const stateOf = async () => (await readFile(`/proc/${child}/stat`, 'utf8')).split(') ')[1]?.[0];
    await backend.freeze(engine_id, { epoch: 1 });
    await until('the child stands still', async () => (await stateOf()) === 'T');
    await backend.thaw(engine_id, { epoch: 1 });
    await until('the child goes on', async () => (await stateOf()) !== 'T');
  });
});
