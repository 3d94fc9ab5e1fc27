import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { isFrozen } from '../../src/backends/process.ts';
import { startTestOrchestrator, type TestOrchestrator, testEnvironment } from '../support/orchestrator.ts';
import { processIsThere, until } from '../support/wait.ts';

const both = { auto_provision: true, auto_wake: true };
/** For thousands of calls on a machine that is busy with other tests, milliseconds. */
const TIME_LIMIT_MS = 120_000;
const DEPTHS = ['label', 'doze', 'hibernate'] as const;
/** What an engine says that nobody has used for years. */
const idle = { activity: { last_activity_at: '2020-01-01T00:00:00.000Z' } };

async function world(overrides: Record<string, string> = {}, policy = {}) {
  const o = await startTestOrchestrator(testEnvironment(overrides));
  const { call } = await o.product(policy);
  await o.engines(idle);
  const { engine } = (await call('POST', '/engines/ada/admit', { body: both })).body;
  const process = () => o.processOf(engine.engine_id);
  return {
    o,
    call,
    engine,
    process,
    frozen: async () => await isFrozen(await process()),
    sleep: (depth?: string) => call('POST', '/engines/ada/sleep', { body: { depth } }),
    wake: () => call('POST', '/engines/ada/wake'),
    admit: (body: object = both) => call('POST', '/engines/ada/admit', { body }),
    get: async () => (await call('GET', '/engines/ada')).body,
    operations: (kind: string) =>
      o.orchestrator.db.query<{ outcome: string; error_code: string | null; actor: string }>(
        'SELECT outcome, error_code, actor FROM operations WHERE kind = $1 ORDER BY created_at',
        [kind],
      ),
  };
}

const audited = async (o: TestOrchestrator, action: string) =>
  await o.orchestrator.db.query<{ actor: string; outcome: string }>(
    "SELECT actor, metadata->>'outcome' AS outcome FROM audit_log WHERE action = $1 ORDER BY id",
    [action],
  );

describe('an engine that dozes', () => {
  it('stands still, and goes on as the same process when it is woken', async () => {
    const { o, engine, process, frozen, sleep, wake, get } = await world();
    const { pid } = await process();
    const before = await get();
    const asleep = await sleep('doze');
    expect([asleep.status, asleep.body]).toEqual([
      200,
      { status: 'sleeping', engine_id: engine.engine_id, sleep_depth: 'doze' },
    ]);
    expect(await frozen()).toBe(true);
    expect(await get()).toEqual({ ...before, status: 'sleeping', sleep_depth: 'doze' });
    const awake = await wake();
    expect([awake.status, awake.body]).toEqual([
      200,
      { status: 'running', engine_id: engine.engine_id, url: engine.url },
    ]);
    expect(await frozen()).toBe(false);
    expect((await process()).pid).toBe(pid);
    const after = await get();
    expect(after).toEqual({ ...before, last_health_at: after.last_health_at });
    for (const action of ['sleep', 'wake']) {
      expect(await audited(o, action)).toEqual([
        { actor: expect.stringMatching(/^p-/), outcome: 'succeeded' },
      ]);
    }
  });

  it('is booted when its process is gone', async () => {
    const { process, sleep, admit, engine } = await world();
    const { pid } = await process();
    await sleep('doze');
    globalThis.process.kill(pid, 'SIGKILL');
    await until('it is gone', async () => !(await processIsThere(pid)));
    expect((await admit()).body).toMatchObject({ admitted: true, engine: { url: engine.url } });
    expect((await process()).pid).not.toBe(pid);
  });

  it('goes deeper when it is told to, and not back', async () => {
    const { process, sleep, get } = await world();
    const { pid } = await process();
    await sleep('doze');
    expect((await sleep('label')).body.sleep_depth).toBe('doze');
    expect((await sleep('hibernate')).body.sleep_depth).toBe('hibernate');
    expect(await processIsThere(pid)).toBe(false);
    expect((await sleep()).body.sleep_depth).toBe('hibernate');
    expect(await get()).toMatchObject({ status: 'sleeping', sleep_depth: 'hibernate' });
  });
});

describe('an engine that hibernates', () => {
  it('is gone, and boots where it was when it is woken', async () => {
    const { process, sleep, wake, engine } = await world();
    const { pid, port } = await process();
    await sleep('hibernate');
    expect(await processIsThere(pid)).toBe(false);
    expect((await wake()).body.url).toBe(engine.url);
    expect((await process()).port).toBe(port);
  });

  it('is told to end, not killed', async () => {
    const { o, sleep, engine } = await world();
    await o.engines({ ...idle, last_act: true });
    await sleep('doze');
    await sleep('hibernate');
    const log = await readFile(`${o.config.data_dir}/engines/${engine.engine_id}/engine.log`, 'utf8');
    expect(log).toContain('heard SIGTERM');
  });
});

describe('an engine that sleeps in name only', () => {
  it('still answers', async () => {
    const { o, sleep, wake, engine, process, get } = await world();
    const { pid } = await process();
    await sleep('label');
    expect(await get()).toMatchObject({ status: 'sleeping', sleep_depth: 'label' });
    expect((await fetch(`${engine.url}/health`)).status).toBe(200);
    await wake();
    expect((await process()).pid).toBe(pid);
    expect(await get()).toMatchObject({ status: 'running' });
    expect((await o.call('GET', '/health')).status).toBe(200);
  });
});

describe.each(DEPTHS)('from %s', (depth) => {
  it('an engine can be started, stopped and destroyed', async () => {
    const { sleep, call, get, process, o, engine } = await world();
    await sleep(depth);
    expect((await call('POST', '/engines/ada/start')).body).toEqual({ status: 'running', url: engine.url });
    expect(await get()).toMatchObject({ status: 'running' });
    const { pid } = await process();
    await sleep(depth);
    expect((await call('POST', '/engines/ada/stop')).status).toBe(200);
    expect(await get()).not.toHaveProperty('sleep_depth');
    expect(await processIsThere(pid)).toBe(false);
    await call('POST', '/engines/ada/start');
    await sleep(depth);
    expect((await call('DELETE', '/engines/ada')).status).toBe(200);
    expect((await call('GET', '/engines/ada')).status).toBe(404);
    expect(await audited(o, 'sleep')).toHaveLength(3);
  });

  it('an admit wakes it, or says that it sleeps; any number of admits wake it once', async () => {
    const { sleep, admit, get, operations } = await world();
    await sleep(depth);
    expect((await admit({ auto_wake: false })).body).toMatchObject({ reason: 'engine_sleeping' });
    const answers = await Promise.all(Array.from({ length: 100 }, () => admit()));
    for (const { body } of answers)
      expect(body).toMatchObject({ admitted: true, engine: { status: 'running' } });
    expect(await operations('wake')).toMatchObject([{ outcome: 'succeeded' }]);
    expect(await get()).toMatchObject({ status: 'running' });
  });
});

it(
  '1,000 admits at once of one sleeping user wake it once, and all are answered',
  async () => {
    const { sleep, admit, operations, process, engine } = await world();
    for (const [wakes, depth] of [
      [1, 'hibernate'],
      [2, 'doze'],
    ] as const) {
      await sleep(depth);
      const answers = await Promise.all(Array.from({ length: 1_000 }, () => admit()));
      expect(new Set(answers.map(({ body }) => body.engine.url))).toEqual(new Set([engine.url]));
      expect(answers.filter(({ body }) => body.admitted)).toHaveLength(1_000);
      expect(await operations('wake')).toHaveLength(wakes);
      // Each sleep and each wake that is worked on takes one.
      expect((await process()).epoch).toBe(1 + 2 * wakes);
    }
  },
  TIME_LIMIT_MS,
);

describe('an engine at work', () => {
  it.each([
    ['a turn', { in_flight_turns: 1 }, 'turns in flight: 1'],
    ['a stream', { open_streams: 2 }, 'open streams: 2'],
    ['due work', { busy_until: '2999-01-01T00:00:00.000Z' }, 'background work is due'],
  ])('is not put to sleep by hand: %s', async (_, activity, why) => {
    const { o, sleep, get, frozen, operations } = await world();
    await o.engines({ activity: { ...idle.activity, ...activity } });
    for (const depth of DEPTHS) {
      const { status, body } = await sleep(depth);
      expect([status, body.error]).toEqual([
        409,
        { code: 'OPERATION_IN_PROGRESS', message: `The engine is busy: ${why}.` },
      ]);
      expect(await get()).toMatchObject({ status: 'running' });
      expect(await frozen()).toBe(false);
    }
    await o.engines(idle);
    expect((await sleep()).status).toBe(200);
    expect((await operations('sleep')).map(({ outcome }) => outcome)).toEqual([
      'failed',
      'failed',
      'failed',
      'succeeded',
    ]);
  });

  it('is put to sleep by hand while it waits for a person, or has only just been used', async () => {
    const { o, sleep } = await world();
    await o.engines({ activity: { pending_hitl: 1 } });
    expect((await sleep('doze')).status).toBe(200);
  });

  it('that cannot be asked stays awake', async () => {
    const { o, sleep, get, frozen } = await world();
    await o.engines({ activity: null });
    const { status, body } = await sleep('doze');
    expect([status, body.error.code]).toEqual([502, 'BACKEND_ERROR']);
    expect(await get()).toMatchObject({ status: 'running' });
    expect(await frozen()).toBe(false);
  });

  it('that came to work while it dozed is awake after the attempt to stop it', async () => {
    const { o, sleep, get, frozen } = await world();
    await sleep('doze');
    await o.engines({ activity: { in_flight_turns: 1 } });
    expect((await sleep('hibernate')).status).toBe(409);
    expect(await get()).toMatchObject({ status: 'running' });
    expect(await frozen()).toBe(false);
  });
});

describe('sleep by hand', () => {
  it('is refused where there is nothing to put to sleep, and harmless where it sleeps already', async () => {
    const { call, sleep, wake } = await world({}, { sleep_mode: 'label' });
    expect((await sleep()).body.sleep_depth).toBe('label');
    expect((await sleep('label')).status).toBe(200);
    await wake();
    expect((await wake()).status).toBe(200);
    await call('POST', '/engines/ada/stop');
    for (const { status, body } of [await sleep(), await wake()]) {
      expect([status, body.error.code]).toEqual([409, 'ENGINE_NOT_RUNNING']);
    }
    expect((await call('POST', '/engines/bob/sleep')).body.error.code).toBe('ENGINE_NOT_FOUND');
    expect((await sleep('coma')).body.error.code).toBe('INVALID_REQUEST');
  });

  it('is one operation for one Idempotency-Key, told at once where nobody waits', async () => {
    const { call, operations } = await world();
    const headers = { 'Idempotency-Key': 'night' };
    const first = await call('POST', '/engines/ada/sleep?wait=false', { headers });
    expect([first.status, first.body.kind]).toEqual([202, 'sleep']);
    await until('it sleeps', async () => (await operations('sleep'))[0]?.outcome === 'succeeded');
    await call('POST', '/engines/ada/wake');
    expect((await call('POST', '/engines/ada/sleep', { headers })).status).toBe(200);
    expect(await operations('sleep')).toHaveLength(1);
  });
});

it('an engine that runs by its row and stands still is let go on', async () => {
  const { o, process, frozen, get, admit } = await world({ ORCH_RECONCILE_INTERVAL_S: '1' });
  const { pid } = await process();
  globalThis.process.kill(-pid, 'SIGSTOP');
  await until('it stands still', frozen);
  await until('it goes on', async () => !(await frozen()));
  expect(await get()).toMatchObject({ status: 'running' });
  expect((await admit()).body.admitted).toBe(true);
  expect((await process()).pid).toBe(pid);
  expect(o.logged()).toContain('a running engine stood still');
});

it('an engine that is woken is looked at anew, not when a sleeper would have been', async () => {
  const { o, sleep, wake } = await world();
  await sleep('doze');
  await o.orchestrator.db.query("UPDATE engines SET next_idle_check_at = now() + interval '1 h'");
  await wake();
  const soon = "SELECT next_idle_check_at <= now() + interval '15 min' AS soon FROM engines";
  expect(await o.orchestrator.db.query(soon)).toEqual([{ soon: true }]);
});

it('a dozing engine is left to doze by reconcile', async () => {
  const { o, sleep, frozen } = await world({ ORCH_RECONCILE_INTERVAL_S: '1' });
  await sleep('doze');
  const turn = async () =>
    (
      await o.orchestrator.db.query<{ next_at: Date }>("SELECT next_at FROM turns WHERE name = 'reconcile'")
    )[0]?.next_at;
  const before = (await turn())?.getTime() ?? 0;
  await until('reconcile came round twice', async () => ((await turn())?.getTime() ?? 0) > before + 1_000);
  expect(await frozen()).toBe(true);
});

describe('the idle detector', () => {
  const fast = { ORCH_IDLE_TIMEOUT_S: '1', ORCH_HIBERNATE_AFTER_S: '1' };
  const sleepsAt = (get: () => Promise<{ sleep_depth?: string }>, depth: string) =>
    until(`it sleeps (${depth})`, async () => (await get()).sleep_depth === depth);

  it('puts an idle engine to a doze, and a dozing one to hibernation', async () => {
    const { o, get, process, operations } = await world(fast);
    const { pid } = await process();
    await sleepsAt(get, 'hibernate');
    const slept = { outcome: 'succeeded', error_code: null, actor: 'system' };
    await until('both sleeps have ended', async () => (await audited(o, 'sleep')).length === 2);
    expect(await operations('sleep')).toEqual([slept, slept]);
    expect(await processIsThere(pid)).toBe(false);
    expect(await audited(o, 'sleep')).toEqual([
      { actor: 'system', outcome: 'succeeded' },
      { actor: 'system', outcome: 'succeeded' },
    ]);
  });

  it.each([
    ['label', 'ORCH_SLEEP_MODE', { ORCH_SLEEP_MODE: 'label' }, {}],
    ['hibernate', 'the policy', { ORCH_SLEEP_MODE: 'label' }, { sleep_mode: 'hibernate' }],
  ])('goes to %s at once where %s says so', async (depth, _, settings, policy) => {
    const { get, operations } = await world({ ...fast, ...settings }, policy);
    await sleepsAt(get, depth);
    expect(await operations('sleep')).toHaveLength(1);
  });

  it('lets an engine be that is at work, until it is not', async () => {
    const { o, get, operations } = await world(fast);
    await o.engines({ activity: { ...idle.activity, in_flight_turns: 1 } });
    const looks = async () => {
      const [row] = await o.orchestrator.db.query<{ at: Date }>(
        'SELECT next_idle_check_at AS at FROM engines',
      );
      return row?.at.getTime() ?? 0;
    };
    const first = await looks();
    await until('it has been looked at more than once', async () => (await looks()) > first + 2_500);
    expect(await operations('sleep')).toEqual([]);
    expect(await get()).toMatchObject({ status: 'running' });
    await o.engines(idle);
    await sleepsAt(get, 'doze');
  });
});
