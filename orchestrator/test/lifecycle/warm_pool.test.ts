import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { findByArgument } from '../../src/backends/process.ts';
import type { EngineRow } from '../../src/registry/engines.ts';
import type { OperationRow } from '../../src/registry/operations.ts';
import { startChildOrchestrator } from '../support/child_orchestrator.ts';
import {
  ADMIN,
  type Call,
  startTestOrchestrator,
  type TestOrchestrator,
  testEnvironment,
} from '../support/orchestrator.ts';
import { processIsThere, until } from '../support/wait.ts';

const both = { auto_provision: true, auto_wake: true };
const provision = (call: Call, user_id: string, more = {}) =>
  call('POST', '/engines/provision', { body: { user_id, ...more } });

const pooled = (o: TestOrchestrator) =>
  o.orchestrator.db.query<EngineRow & { probes: number }>(
    'SELECT * FROM engines WHERE product_id IS NULL ORDER BY created_at, id',
  );
const operations = (o: TestOrchestrator, kind: string) =>
  o.orchestrator.db.query<OperationRow>('SELECT * FROM operations WHERE kind = $1 ORDER BY created_at', [
    kind,
  ]);

/** Waits until so many stand ready and have been probed: a probe that is being written down holds its row. */
const ready = (o: TestOrchestrator, count: number) =>
  until(`${count} stand ready`, async () => {
    const engines = await pooled(o);
    const isReady = engines.every(({ status, probes }) => status === 'running' && probes > 0);
    return engines.length === count && isReady && engines;
  });

async function withPool(size: number, overrides: Record<string, string> = {}) {
  const env = await testEnvironment({ ORCH_WARM_POOL: String(size), ...overrides });
  const o = await startTestOrchestrator(env);
  return { env, o, engines: await ready(o, size) };
}

/** The next orchestrator on the same database and folder. */
async function restarted(o: TestOrchestrator, env: Record<string, string>, changed = {}) {
  await o.orchestrator.close();
  return await startTestOrchestrator({ ...env, ...changed });
}

describe('a provision', () => {
  it('takes a ready engine, with its own key, as it stands', async () => {
    const { o, engines } = await withPool(2);
    const before = new Map(
      await Promise.all(engines.map(async ({ id }) => [id, await o.processOf(id)] as const)),
    );
    const { call } = await o.product();
    const { status, body } = await provision(call, 'ada');

    expect([status, body.status]).toEqual([200, 'running']);
    const was = before.get(body.engine_id);
    expect(await o.processOf(body.engine_id)).toEqual({ ...was, epoch: 2 });
    const ask = async (url: string | null) =>
      (await fetch(`${url}/activity`, { headers: { 'X-Engine-Key': body.api_key } })).status;
    const other = engines.find(({ id }) => id !== body.engine_id);
    expect([await ask(body.url), await ask(other?.url ?? null)]).toEqual([200, 401]);

    const { db } = o.orchestrator;
    const [row] = await db.query<EngineRow>('SELECT * FROM engines WHERE id = $1', [body.engine_id]);
    const [audit] = await db.query<{ metadata: object }>(
      "SELECT metadata FROM audit_log WHERE action = 'provision' AND user_id = 'ada'",
    );
    expect(audit?.metadata).toMatchObject({
      warm: true,
      outcome: 'succeeded',
      boot_duration_ms: row?.boot_duration_ms,
    });
    expect(row?.boot_duration_ms).toBeGreaterThanOrEqual(0);
  });

  it('shows nobody what stands in the pool, nor what was done to it there', async () => {
    const { o } = await withPool(2);
    const { call } = await o.product();
    const { body } = await call('POST', '/engines/ada/admit', { body: both });
    expect(body.admitted).toBe(true);
    await ready(o, 2);
    expect((await call('GET', '/engines')).body).toMatchObject({ total: 1 });
    expect((await call('GET', '/status')).body).toMatchObject({ total: 1, by_status: { running: 1 } });

    const boot = (await operations(o, 'provision')).find(({ product_id }) => product_id === null);
    expect((await call('GET', `/operations/${boot?.id}`)).status).toBe(404);
    const seen = await o.call('GET', `/operations/${boot?.id}`, { admin: ADMIN });
    expect(seen.body).toMatchObject({ user_id: null, actor: 'system', status: 'succeeded' });
    expect((await call('GET', '/engines/ada/explain')).body.evidence.operation).toMatchObject({
      user_id: 'ada',
      step: 'await_health',
    });
  });

  it('gives each of 20 users of two products an engine of their own, and the pool fills up again', async () => {
    const { o, engines } = await withPool(5);
    const products = [await o.product(), await o.product()];
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, n) => provision(products[n % 2]?.call ?? o.call, `user-${n}`)),
    );
    expect(answers.map(({ status }) => status)).toEqual(Array(20).fill(200));
    const given = new Set(answers.map(({ body }) => body.engine_id));
    expect(given.size).toBe(20);
    expect(engines.filter(({ id }) => !given.has(id))).toEqual([]);
    const again = await ready(o, 5);
    expect(again.filter(({ id }) => given.has(id))).toEqual([]);
    expect((await products[0]?.call('GET', '/engines'))?.body.total).toBe(10);
  }, 90_000);

  it('keeps the quota', async () => {
    const { o } = await withPool(3);
    const { call, id } = await o.product({ max_engines: 2 });
    const answers = await Promise.all(['a', 'b', 'c', 'd', 'e', 'f'].map((user) => provision(call, user)));
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 200, 429, 429, 429, 429]);
    const count = () => o.orchestrator.db.query('SELECT engine_count FROM products WHERE id = $1', [id]);
    expect(await count()).toEqual([{ engine_count: 2 }]);
    const user = answers.find(({ status }) => status === 200)?.body.user_id;
    expect((await call('DELETE', `/engines/${user}`)).status).toBe(200);
    expect(await count()).toEqual([{ engine_count: 1 }]);
  });

  it('of a user that has an engine takes none', async () => {
    const { o, engines } = await withPool(1);
    const { call } = await o.product();
    await provision(call, 'ada', { engine_version: 'another' });
    const again = await provision(call, 'ada');
    expect([again.status, again.body.error.code]).toEqual([409, 'ENGINE_ALREADY_EXISTS']);
    expect((await pooled(o)).map(({ id }) => id)).toEqual(engines.map(({ id }) => id));
  });

  it('boots the engine where its process has just ended', async () => {
    let victim = 0;
    const env = await testEnvironment({ ORCH_WARM_POOL: '1' });
    const o = await startTestOrchestrator(env, {
      failpoint: (point) => {
        if (point === 'thaw.before') process.kill(victim, 'SIGKILL');
      },
    });
    const [engine] = await ready(o, 1);
    victim = (await o.processOf(engine?.id ?? '')).pid;
    const { call } = await o.product();
    const { status, body } = await provision(call, 'ada');
    expect([status, body.engine_id, body.status]).toEqual([200, engine?.id, 'running']);
    const now = await o.processOf(body.engine_id);
    expect([now.pid === victim, now.epoch]).toEqual([false, 2]);
    expect((await call('GET', '/engines/ada')).body.status).toBe('running');
  });

  it('finds a port where the pool has the last one; of another version it does not', async () => {
    const env = await testEnvironment({ ORCH_WARM_POOL: '1' });
    env.ORCH_PORT_MAX = String(Number(env.ORCH_PORT_MIN) + 1);
    const o = await startTestOrchestrator(env);
    await ready(o, 1);
    const { call } = await o.product();
    expect((await provision(call, 'ada')).status).toBe(200);
    await ready(o, 1);
    const other = await provision(call, 'bob', { engine_version: 'another' });
    expect([other.status, other.body.error.code]).toEqual([503, 'PORT_EXHAUSTION']);
    expect((await provision(call, 'cy')).status).toBe(200);
  });
});

describe('the pool', () => {
  it('is kept over a restart, shrinks, and is made anew for another version', async () => {
    const { o, env, engines } = await withPool(2);
    const ids = engines.map(({ id }) => id);
    const second = await restarted(o, env);
    await until('they are taken over', async () => {
      const adopted = await second.orchestrator.db.query("SELECT 1 FROM audit_log WHERE action = 'adopt'");
      return adopted.length === 2;
    });
    expect((await pooled(second)).map(({ id, epoch }) => [id, epoch])).toEqual(ids.map((id) => [id, 1]));

    const third = await restarted(second, env, { ORCH_WARM_POOL: '1' });
    const [kept, ...more] = await ready(third, 1);
    expect([kept?.id, more]).toEqual([ids[0], []]);
    expect(await findByArgument(`--engine=${ids[1]}/`)).toEqual([]);

    const fourth = await restarted(third, env, { ORCH_WARM_POOL: '1', ORCH_ENGINE_IMAGE: 'v2' });
    const [next] = await until('another stands there', async () => {
      const now = await pooled(fourth);
      return now.length === 1 && now[0]?.engine_version === 'v2' && now[0].status === 'running' && now;
    });

    const fifth = await restarted(fourth, env, { ORCH_WARM_POOL: '0', ORCH_ENGINE_IMAGE: 'v2' });
    await until('it is empty', async () => (await pooled(fifth)).length === 0);
    expect(await findByArgument(`--engine=${next?.id}/`)).toEqual([]);
    expect(await readdir(join(fifth.config.data_dir, 'engines'))).toEqual([]);
    const provisions = await operations(fifth, 'provision');
    expect(provisions, 'no engine was made in vain').toHaveLength(3);
    expect(await fifth.orchestrator.db.query('SELECT 1 FROM ports WHERE engine_id IS NOT NULL')).toEqual([]);
  }, 90_000);

  it('that is being removed gives each engine to its user or removes it, never both', async () => {
    const { o, env } = await withPool(4);
    const { key } = await o.product();
    const next = await restarted(o, env, { ORCH_WARM_POOL: '0' });
    const call: Call = (method, path, options) => next.call(method, path, { key, ...options });
    const users = ['a', 'b', 'c', 'd', 'e', 'f'];
    const answers = await Promise.all(users.map((user) => provision(call, user)));
    expect(answers.map(({ status }) => status)).toEqual(users.map(() => 200));
    await until('the pool is empty', async () => (await pooled(next)).length === 0);
    for (const { body } of answers) {
      expect((await call('GET', `/engines/${body.user_id}`)).body).toMatchObject({
        engine_id: body.engine_id,
        status: 'running',
      });
      expect(await processIsThere((await next.processOf(body.engine_id)).pid)).toBe(true);
    }
  });

  it('is not filled twice by two replicas', async () => {
    const env = await testEnvironment({ ORCH_WARM_POOL: '6' });
    const [one] = await Promise.all([startTestOrchestrator(env), startTestOrchestrator(env)]);
    await ready(one, 6);
    const { call } = await one.product();
    await Promise.all(['a', 'b', 'c'].map((user) => provision(call, user)));
    await ready(one, 6);
    const boots = (await operations(one, 'provision')).filter(({ product_id }) => product_id === null);
    expect(boots).toHaveLength(9);
    const underWay = boots.map(({ created_at: at }) => {
      return boots.filter(({ created_at, ended_at }) => created_at <= at && (ended_at ?? at) > at).length;
    });
    expect(Math.max(...underWay), 'boots at once, over both').toBeLessThanOrEqual(4);
    expect(await operations(one, 'destroy')).toEqual([]);
  });

  it.each(['begin.committed', 'create.spawned', 'end.before'])(
    'is filled by the next orchestrator where one is killed at %s',
    async (point) => {
      const env = await testEnvironment({ ORCH_WARM_POOL: '1' });
      const fired = join(env.ORCH_DATA_DIR, 'fired');
      const armed = { ORCH_FAILPOINT: point, ORCH_FAILPOINT_SIGNAL: 'SIGKILL', ORCH_FAILPOINT_FILE: fired };
      const victim = await startChildOrchestrator({ ...env, ...armed });
      await victim.exited;
      expect(await readFile(fired, 'utf8'), 'the fault landed').toBe(`${point}\n`);

      const next = await startTestOrchestrator(env);
      const [engine] = await ready(next, 1);
      expect(await operations(next, 'provision')).toMatchObject([
        { attempt: point === 'begin.committed' ? 1 : 2 },
      ]);
      expect(await findByArgument(`--engine=${engine?.id}/`)).toHaveLength(1);
      expect(await readdir(join(env.ORCH_DATA_DIR, 'engines'))).toEqual([engine?.id]);
    },
  );

  it('restarts what has failed instead of making more, and removes what is given up, after a pause', async () => {
    const env = await testEnvironment({
      ORCH_WARM_POOL: '1',
      ORCH_RESTART_BACKOFF_BASE_S: '1',
      ORCH_RESTART_BACKOFF_MAX_S: '2',
      ORCH_RESTART_MAX_ATTEMPTS: '1',
    });
    await writeFile(join(env.ORCH_DATA_DIR, 'stand_in.json'), JSON.stringify({ exit_code: 1 }));
    const o = await startTestOrchestrator(env);
    const [removed] = await until('one is removed', async () => {
      const ended = (await operations(o, 'destroy')).filter(({ outcome }) => outcome === 'succeeded');
      return ended.length > 0 && ended;
    });
    const [restart] = await operations(o, 'restart');
    expect(restart).toMatchObject({ engine_id: removed?.engine_id, product_id: null, outcome: 'failed' });
    const pause_ms = Number(removed?.created_at) - Number(restart?.ended_at);
    expect(pause_ms).toBeGreaterThanOrEqual(2000);
    const before = (await operations(o, 'provision')).filter(
      ({ created_at }) => Number(created_at) < Number(removed?.created_at),
    );
    expect(before, 'while it was there, no other was made').toHaveLength(1);

    await o.engines({});
    await ready(o, 1);
  });

  it('leaves alone what cannot be found out about, and makes no other for it', async () => {
    const { o, engines } = await withPool(1, { ORCH_RECONCILE_INTERVAL_S: '1' });
    const id = engines[0]?.id ?? '';
    const { pid } = await o.processOf(id);
    await writeFile(join(o.config.data_dir, 'engines', id, 'process.json'), 'not a record');
    await until('reconcile has looked', () => o.logged().includes('cannot be found out about'));
    expect((await pooled(o)).map(({ id, status }) => [id, status])).toEqual([[id, 'running']]);
    expect(await processIsThere(pid)).toBe(true);
    expect(await operations(o, 'provision')).toHaveLength(1);
  });

  it('does not sleep; and who gets an engine of it has the whole idle time', async () => {
    const { o } = await withPool(1, { ORCH_IDLE_TIMEOUT_S: '2' });
    const { call } = await o.product();
    // Idle since long ago, as one of the pool is.
    await o.engines({ activity: { last_activity_at: '2020-01-01T00:00:00.000Z' } });
    await provision(call, 'bob', { engine_version: 'another' });
    await until('the detector has been round', async () => {
      return (await call('GET', '/engines/bob')).body.status === 'sleeping';
    });
    expect((await pooled(o)).map(({ status, sleep_depth }) => [status, sleep_depth])).toEqual([
      ['running', null],
    ]);

    const { body } = await provision(call, 'ada');
    const slept = await until('it falls asleep', async () => {
      const [sleep] = (await operations(o, 'sleep')).filter(({ engine_id }) => engine_id === body.engine_id);
      return sleep;
    });
    const given = (await operations(o, 'provision')).find(({ user_id }) => user_id === 'ada');
    expect(given?.warm).toBe(true);
    expect(Number(slept.created_at) - Number(given?.created_at)).toBeGreaterThanOrEqual(2000);
  });
});
