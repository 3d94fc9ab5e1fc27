import { readdir } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { judge } from '../../src/admission/admit.ts';
import type { LiveEngine, LiveStatus } from '../../src/registry/engines.ts';
import type { OperationKind } from '../../src/registry/operations.ts';
import { ADMIN, startTestOrchestrator, type TestOrchestrator } from '../support/orchestrator.ts';
import { until } from '../support/wait.ts';

/** For a thousand calls on a machine that is busy with other tests, milliseconds. */
const TIME_LIMIT_MS = 120_000;
const both = { auto_provision: true, auto_wake: true };
const neither = { auto_provision: false, auto_wake: false };

const engine = (status: LiveStatus) => ({ id: 'e', status, restart_at: new Date(0) }) as LiveEngine;
const found = (status: LiveStatus, kind?: OperationKind) => ({
  engine: engine(status),
  operation: kind === undefined ? null : { id: 'o', kind },
});

const deny = (reason: string) => ({ do: 'deny', reason });
const join = { do: 'join', operation_id: 'o' };
const asleepFirst = { do: 'let_fall_asleep', operation_id: 'o' };

/** Bap-engine §2.3 with O6, row by row: state, operation under way, with both flags, without flags. */
const TABLE: [LiveStatus, OperationKind | undefined, object, object][] = [
  [
    'running',
    undefined,
    { do: 'admit', engine: engine('running') },
    { do: 'admit', engine: engine('running') },
  ],
  ['sleeping', undefined, { do: 'change', kind: 'wake', engine_id: 'e' }, deny('engine_sleeping')],
  ['failed', undefined, { do: 'change', kind: 'restart', engine_id: 'e' }, deny('engine_unhealthy')],
  ['stopped', undefined, deny('engine_stopped'), deny('engine_stopped')],
  ['provisioning', 'provision', join, join],
  ['sleeping', 'wake', join, join],
  ['running', 'sleep', asleepFirst, asleepFirst],
  ['sleeping', 'sleep', asleepFirst, asleepFirst],
  ['stopped', 'start', join, join],
  ['failed', 'restart', join, join],
  ['running', 'stop', deny('engine_stopped'), deny('engine_stopped')],
  ['failed', 'stop', deny('engine_stopped'), deny('engine_stopped')],
  ['destroying', 'destroy', deny('engine_destroying'), deny('engine_destroying')],
  ['destroying', 'retire', deny('engine_destroying'), deny('engine_destroying')],
  ['provisioning', 'restore', join, join],
];

describe('the admission table', () => {
  it.each(TABLE)('%s, %s under way', (status, kind, withFlags, withoutFlags) => {
    expect(judge(found(status, kind), both)).toEqual(withFlags);
    expect(judge(found(status, kind), neither)).toEqual(withoutFlags);
  });

  it('a failed engine that is not restarted any more is left to a person', () => {
    const given_up = { engine: { ...engine('failed'), restart_at: null }, operation: null };
    expect(judge(given_up, both)).toEqual(deny('engine_unhealthy'));
  });

  it('no engine', () => {
    expect(judge(null, both)).toEqual({ do: 'provision' });
    expect(judge(null, { auto_provision: false, auto_wake: true })).toEqual(deny('engine_not_found'));
  });
});

const audit = (o: TestOrchestrator, action: string) =>
  o.orchestrator.db.query<{ actor: string; user_id: string; metadata: Record<string, unknown> }>(
    'SELECT actor, user_id, metadata FROM audit_log WHERE action = $1 ORDER BY id',
    [action],
  );

describe('admit', () => {
  it('denies a user without an engine, and leaves a row about it', async () => {
    const o = await startTestOrchestrator();
    const { call, slug } = await o.product();
    expect((await call('POST', '/engines/ada/admit')).body).toEqual({
      admitted: false,
      engine: null,
      reason: 'engine_not_found',
    });
    expect(await audit(o, 'admit_denied')).toEqual([
      { actor: slug, user_id: 'ada', metadata: { reason: 'engine_not_found' } },
    ]);
  });

  it('makes one engine for one user, however many ask at once, and all get it', async () => {
    const o = await startTestOrchestrator();
    const { call } = await o.product();
    const answers = await Promise.all(
      Array.from({ length: 50 }, () => call('POST', '/engines/ada/admit', { body: both })),
    );
    for (const { status, body } of answers) {
      expect(status).toBe(200);
      // A probe may come between two answers.
      const engine = { ...answers[0]?.body.engine, last_health_at: expect.any(String) };
      expect(body).toEqual({ admitted: true, engine });
      expect(body.engine.status).toBe('running');
    }
    expect(await o.orchestrator.db.query('SELECT kind, outcome FROM operations')).toEqual([
      { kind: 'provision', outcome: 'succeeded' },
    ]);
    expect(await audit(o, 'provision')).toHaveLength(1);
  });

  it('wakes a sleeping engine and restarts a failed one when asked to, and only then', async () => {
    const o = await startTestOrchestrator();
    const { call } = await o.product();
    const { body } = await call('POST', '/engines/ada/admit', { body: both });
    for (const [status, reason, action] of [
      ['sleeping', 'engine_sleeping', 'wake'],
      ['failed', 'engine_unhealthy', 'auto_restart_success'],
    ] as const) {
      const { pid, epoch } = await o.processOf(body.engine.engine_id);
      const depth = status === 'sleeping' ? 'hibernate' : null;
      await o.orchestrator.db.query(
        "UPDATE engines SET status = $1, sleep_depth = $2, restart_at = now() + interval '1 hour'",
        [status, depth],
      );
      expect((await call('POST', '/engines/ada/admit')).body).toMatchObject({ admitted: false, reason });
      const woken = await Promise.all(
        Array.from({ length: 20 }, () => call('POST', '/engines/ada/admit', { body: both })),
      );
      for (const one of woken)
        expect(one.body).toMatchObject({ admitted: true, engine: { status: 'running' } });
      const after = await o.processOf(body.engine.engine_id);
      expect(after.epoch).toBe(epoch + 1);
      expect(after.pid).not.toBe(pid);
      expect(await audit(o, action)).toHaveLength(1);
    }
  });

  it('does not start what a person stopped', async () => {
    const o = await startTestOrchestrator();
    const { call } = await o.product();
    await call('POST', '/engines/ada/admit', { body: both });
    await call('POST', '/engines/ada/stop');
    expect((await call('POST', '/engines/ada/admit', { body: both })).body).toEqual({
      admitted: false,
      engine: null,
      reason: 'engine_stopped',
    });
  });

  it('joins a boot without any flag, and shares its failure', async () => {
    const o = await startTestOrchestrator();
    const { call } = await o.product();
    await o.engines({ health: 'starting' });
    const first = call('POST', '/engines/provision', { body: { user_id: 'ada' } });
    await until('the boot is under way', async () => (await call('GET', '/engines/ada')).status === 200);
    const joined = call('POST', '/engines/ada/admit');
    const second = call('POST', '/engines/provision', { body: { user_id: 'ada' } });
    expect((await second).body.error.code).toBe('ENGINE_ALREADY_EXISTS');
    const [engine] = (await call('GET', '/engines')).body.engines;
    const { pid } = await until('its process is known', () =>
      o.processOf(engine.engine_id).catch(() => null),
    );
    process.kill(pid, 'SIGKILL');
    for (const answer of [await first, await joined]) {
      expect(answer.status).toBe(502);
      expect(answer.body.error.code).toBe('BACKEND_ERROR');
    }
  });
});

describe('the policy', () => {
  it('takes effect with the next request', async () => {
    const o = await startTestOrchestrator();
    const { call, id } = await o.product();
    const put = (policy: object) =>
      o.call('PUT', `/products/${id}/policy`, { admin: ADMIN, body: { policy } });
    const admit = (user: string) => call('POST', `/engines/${user}/admit`, { body: both });

    expect((await put({ suspended: true })).body).toEqual({ policy: { suspended: true } });
    expect((await admit('a')).body.error.code).toBe('POLICY_DENIED');
    expect((await call('POST', '/engines/provision', { body: { user_id: 'a' } })).status).toBe(403);

    await put({ allow_auto_provision: false });
    expect((await admit('a')).body.error.code).toBe('POLICY_DENIED');
    expect((await call('POST', '/engines/a/admit')).body.reason).toBe('engine_not_found');

    await put({ allowed_versions: ['engine:2'] });
    expect((await admit('a')).status).toBe(403);
    const provision = (engine_version?: string) =>
      call('POST', '/engines/provision', { body: { user_id: 'a', engine_version } });
    expect((await provision()).status).toBe(403);
    expect((await provision('engine:2')).status).toBe(200);
    expect((await call('GET', '/engines/a')).body.engine_version).toBe('engine:2');
    expect((await audit(o, 'admit_denied')).map(({ metadata }) => metadata.reason)).toEqual([
      'POLICY_DENIED',
      'POLICY_DENIED',
      'engine_not_found',
      'POLICY_DENIED',
    ]);
    expect(await audit(o, 'policy_update')).toHaveLength(3);
  });

  it(
    'caps the engines exactly under 1,000 concurrent provisions',
    async () => {
      const o = await startTestOrchestrator();
      const { call } = await o.product({ max_engines: 10 });
      const answers = await Promise.all(
        Array.from({ length: 1_000 }, (_, n) =>
          call('POST', '/engines/provision', { body: { user_id: `u${n}` } }),
        ),
      );
      const made = answers.filter(({ status }) => status === 200).map(({ body }) => body.engine_id);
      const refused = answers.filter(({ status }) => status === 429);
      expect([new Set(made).size, refused.length]).toEqual([10, 990]);
      for (const { body, headers } of refused) {
        expect(body).toEqual({
          error: { code: 'QUOTA_EXCEEDED', message: 'Product at max_engines limit (10).' },
        });
        expect(headers.get('retry-after')).toBe('60');
      }
      const folders = await readdir(`${o.config.data_dir}/engines`);
      expect(folders.sort(), 'no engine is there that nobody was given').toEqual(made.sort());
      expect((await call('POST', '/engines/another/admit', { body: both })).body.error.code).toBe(
        'QUOTA_EXCEEDED',
      );
      const [{ user_id }] = (await call('GET', '/engines')).body.engines;
      await call('DELETE', `/engines/${user_id}`);
      expect((await call('POST', '/engines/another/admit', { body: both })).status).toBe(200);
    },
    TIME_LIMIT_MS,
  );

  it('limits the rate of admits, with a true Retry-After', async () => {
    const o = await startTestOrchestrator();
    const { call } = await o.product({ rate_limit_rpm: 5 });
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, n) => call('POST', `/engines/u${n}/admit`)),
    );
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(5);
    const refused = answers.filter(({ status }) => status === 429);
    expect(refused).toHaveLength(15);
    for (const { body, headers } of refused) {
      const seconds = Number(headers.get('retry-after'));
      expect(seconds).toBeGreaterThan(50);
      expect(seconds).toBeLessThanOrEqual(60);
      expect(body.error).toEqual({
        code: 'RATE_LIMITED',
        message: `Rate limit exceeded. Retry in ${seconds} seconds.`,
      });
    }
  });
});
