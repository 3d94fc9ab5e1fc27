/** A new image: who gets it, what a broken one may touch, and that no brain is lost by it. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { askEngine, provisionAll, readBrain, users } from '../support/fleet.ts';
import {
  ADMIN,
  startTestOrchestrator,
  type TestOrchestrator,
  testEnvironment,
} from '../support/orchestrator.ts';
import type { StandInBehaviour } from '../support/stand_in_engine.ts';
import { until } from '../support/wait.ts';

const long_ago = { last_activity_at: '2020-01-01T00:00:00.000Z' };
/** What a broken image does: it has changed the brain before anybody can see that it is broken. */
const BROKEN: Record<string, StandInBehaviour> = {
  'exits at once': { writes: 'rubbish;', exit_code: 1 },
  'never gets healthy': { writes: 'rubbish;', health: 'error' },
};

/** An orchestrator of image v1 with an engine for each user, then one of v2 in its place. */
async function fleet(
  count: number,
  { env: more = {}, v2 = {}, all = {} }: { env?: object; v2?: StandInBehaviour; all?: StandInBehaviour } = {},
) {
  const env = {
    ...(await testEnvironment({
      ORCH_BOOT_TIMEOUT_S: '3',
      ORCH_IDLE_TIMEOUT_S: '0',
      ORCH_ENGINE_IMAGE: 'v1',
    })),
    ...more,
  };
  const before = await startTestOrchestrator(env);
  const { call: first, key, id } = await before.product();
  await provisionAll(before, first, users(count));
  await before.orchestrator.close();
  const o = await startTestOrchestrator({ ...env, ORCH_ENGINE_IMAGE: 'v2' });
  await o.engines({ activity: long_ago, ...all, images: { v2 } });
  const call: typeof o.call = (method, path, options) => o.call(method, path, { key, ...options });
  return { o, call, id, env };
}

const rollout = async (o: TestOrchestrator) =>
  (await o.call('GET', '/rollouts', { admin: ADMIN })).body.rollouts[0];
const change = (o: TestOrchestrator, body: object) =>
  o.call('PUT', '/rollouts/current', { admin: ADMIN, body });
const rows = <T = Record<string, unknown>>(o: TestOrchestrator, text: string) =>
  o.orchestrator.db.query<T>(text);
const touched = (o: TestOrchestrator) =>
  rows(o, "SELECT DISTINCT engine_id FROM operations WHERE kind = 'upgrade'");

describe('an engine of an older image', () => {
  it.each([
    ['the start of a stopped one', 'stop', 'start'],
    ['the wake of a hibernating one', 'sleep', 'wake'],
  ])('is upgraded at %s, with its brain', async (_, down, up) => {
    const { o, call } = await fleet(1);
    expect((await call('POST', `/engines/user-0/${down}`, { body: { depth: 'hibernate' } })).status).toBe(
      200,
    );
    expect((await call('POST', `/engines/user-0/${up}`)).body.status).toBe('running');
    expect(await askEngine(call, 'user-0')).toEqual({ image: 'v2', brain: 'what user-0 said;' });
    const { body } = await call('GET', '/engines/user-0');
    expect(body.engine_version).toBe('v2');
    const audit = (await call('GET', '/audit?action=upgrade')).body.rows;
    expect(audit[0].metadata).toMatchObject({ outcome: 'succeeded', image: 'v2' });
    expect(await rollout(o)).toMatchObject({ state: 'done', engines: { concerned: 1, upgraded: 1 } });
  });

  it('stays as it is while it runs, and wakes from a doze as it was', async () => {
    const { call } = await fleet(1);
    expect((await askEngine(call, 'user-0')).image).toBe('v1');
    await call('POST', '/engines/user-0/sleep', { body: { depth: 'doze' } });
    await call('POST', '/engines/user-0/wake');
    expect((await askEngine(call, 'user-0')).image).toBe('v1');
  });

  it('is upgraded while it runs once a share was given, but not while it is in use', async () => {
    const { o, call } = await fleet(1, { all: { activity: { ...long_ago, in_flight_turns: 1 } } });
    expect((await change(o, { percent: 100 })).body).toMatchObject({ state: 'canary', running_too: true });
    await until('it was looked at', async () => {
      return (await rows(o, 'SELECT FROM engines WHERE next_upgrade_at > now()')).length === 1;
    });
    expect(await touched(o)).toEqual([]);
    await o.engines({ activity: long_ago });
    await rows(o, 'UPDATE engines SET next_upgrade_at = now()');
    await until('it is upgraded', async () => (await rollout(o)).state === 'done');
    expect(await askEngine(call, 'user-0')).toEqual({ image: 'v2', brain: 'what user-0 said;' });
  });

  it('runs on when it goes to work in the moment of its upgrade, and its place is free again', async () => {
    const { o, call } = await fleet(1, { all: { activity: { ...long_ago, open_streams: 1 } } });
    await change(o, { percent: 100 });
    // Whoever takes an engine over asks as well.
    await until('it was taken over', async () => {
      return (await rows(o, "SELECT FROM audit_log WHERE action = 'adopt'")).length === 1;
    });
    // Asked first it says that nothing goes on; the second question is a step of the upgrade.
    const { pid } = await o.processOf((await call('GET', '/engines/user-0')).body.engine_id);
    await o.engines({ activity: long_ago, activities: [null, { ...long_ago, open_streams: 1 }] });
    await rows(o, 'UPDATE engines SET next_upgrade_at = now()');
    await until('it was tried', async () => {
      return (
        (await rows(o, "SELECT FROM operations WHERE kind = 'upgrade' AND outcome = 'failed'")).length > 0
      );
    });
    const { body } = await call('GET', '/engines/user-0');
    expect(body).toMatchObject({ status: 'running', engine_version: 'v1' });
    expect((await o.processOf(body.engine_id)).pid).toBe(pid);
    expect(await rollout(o)).toMatchObject({ state: 'canary', halted: null, engines: { tried: 0 } });
    expect((await call('POST', '/engines/user-0/admit', { body: {} })).body.admitted).toBe(true);
  });

  it('keeps the version that its provision named, or that the policy allows', async () => {
    const { o, call, id } = await fleet(2, {});
    await call('POST', '/engines/provision', { body: { user_id: 'pinned', engine_version: 'v1' } });
    for (const user of ['pinned', 'user-0']) await call('POST', `/engines/${user}/stop`);
    await call('POST', '/engines/pinned/start');
    expect((await askEngine(call, 'pinned')).image).toBe('v1');
    expect((await call('GET', '/engines/pinned/explain')).body.version).toEqual({
      image: 'v1',
      pinned: true,
      wanted: null,
      upgrade: expect.stringMatching(/named the version/),
    });
    const policy = { allowed_versions: ['v1'] };
    await o.call('PUT', `/products/${id}/policy`, { admin: ADMIN, body: { policy } });
    await call('POST', '/engines/user-0/start');
    expect((await askEngine(call, 'user-0')).image).toBe('v1');
    expect((await call('GET', '/engines/user-0/explain')).body.version.upgrade).toMatch(/allowed_versions/);
  });
});

describe('a broken image', () => {
  it.each(Object.entries(BROKEN))('that %s is taken back, brain and all', async (_, v2) => {
    const { o, call } = await fleet(2, { v2, env: { ORCH_BOOT_TIMEOUT_S: '4' } });
    const { body: engine } = await call('GET', '/engines/user-0');
    await call('POST', '/engines/user-0/stop');
    // Whoever starts it gets what he asked for: it runs.
    expect((await call('POST', '/engines/user-0/start')).body.status).toBe('running');
    expect(await askEngine(call, 'user-0')).toEqual({ image: 'v1', brain: 'what user-0 said;' });
    const after = (await call('GET', '/engines/user-0')).body;
    expect(after).toMatchObject({
      engine_id: engine.engine_id,
      engine_version: 'v1',
      api_key: engine.api_key,
    });
    expect(await rollout(o)).toMatchObject({
      state: 'halted',
      halted: { engine_id: engine.engine_id, reason: expect.any(String) },
      engines: { upgraded: 0, tried: 1 },
    });
    const audit = await rows<{ action: string; outcome: string | null }>(
      o,
      "SELECT action, metadata->>'outcome' AS outcome FROM audit_log WHERE action ~ 'upgrade|halted' ORDER BY id",
    );
    expect(audit).toEqual([
      { action: 'upgrade', outcome: 'failed' },
      { action: 'rollout_halted', outcome: null },
      { action: 'upgrade_rolled_back', outcome: 'succeeded' },
    ]);
    // Nobody else is touched, until somebody says so.
    await call('POST', '/engines/user-1/stop');
    await call('POST', '/engines/user-1/start');
    expect((await askEngine(call, 'user-1')).image).toBe('v1');
    expect((await change(o, { percent: 100 })).body.error.code).toBe('ROLLOUT_HALTED');
    await o.engines({ activity: long_ago });
    expect((await change(o, { resume: true })).body).toMatchObject({ state: 'canary', halted: null });
    await call('POST', '/engines/user-0/stop');
    await call('POST', '/engines/user-0/start');
    expect(await askEngine(call, 'user-0')).toEqual({ image: 'v2', brain: 'what user-0 said;' });
  });

  it('rolled out to 20 engines touches at most the canary share, however many wake at once', async () => {
    const { o, call } = await fleet(20, {
      v2: BROKEN['exits at once'],
      env: { ORCH_UPGRADE_CANARY_PERCENT: '10' },
    });
    const all = users(20);
    const asleep = all.slice(0, 12);
    for (const user of asleep) await call('POST', `/engines/${user}/sleep`, { body: { depth: 'hibernate' } });
    expect((await change(o, { percent: 100 })).body.engines.concerned).toBe(20);
    const admit = (user: string) => call('POST', `/engines/${user}/admit`, { body: { auto_wake: true } });
    for (const { body } of await Promise.all(asleep.map(admit))) expect(body.admitted).toBe(true);
    await until('it is halted', async () => (await rollout(o)).state === 'halted');
    await until('nothing is under way', async () => {
      return (await rows(o, 'SELECT FROM operations WHERE outcome IS NULL')).length === 0;
    });
    expect((await touched(o)).length).toBeGreaterThan(0);
    expect((await touched(o)).length).toBeLessThanOrEqual(2);
    for (const user of all) {
      expect((await admit(user)).body.admitted).toBe(true);
      expect(await askEngine(call, user)).toEqual({ image: 'v1', brain: `what ${user} said;` });
    }
    // New engines come up too: on the last good image.
    expect((await call('POST', '/engines/provision', { body: { user_id: 'new' } })).status).toBe(200);
    expect((await askEngine(call, 'new')).image).toBe('v1');
  });

  it('whose predecessor does not come up either leaves that one and its brain to the restarts', async () => {
    const { o, call } = await fleet(1, { v2: BROKEN['exits at once'], all: { exit_code: 1 } });
    const { engine_id } = (await call('GET', '/engines/user-0')).body;
    await call('POST', '/engines/user-0/stop');
    expect((await call('POST', '/engines/user-0/start')).body.error.code).toBe('BACKEND_ERROR');
    expect((await call('GET', '/engines/user-0')).body).toMatchObject({
      status: 'failed',
      engine_version: 'v1',
    });
    expect(await readBrain(o, engine_id)).toBe('what user-0 said;');
    await o.engines({});
    await call('POST', '/engines/user-0/admit', { body: { auto_wake: true } });
    expect(await askEngine(call, 'user-0')).toEqual({ image: 'v1', brain: 'what user-0 said;' });
  });

  it('never has the old one on its brain: where the copy is gone, nothing is started', async () => {
    const { o, call } = await fleet(1, { v2: BROKEN['exits at once'] });
    const { engine_id } = (await call('GET', '/engines/user-0')).body;
    await call('POST', '/engines/user-0/stop');
    // The rollback finds no copy.
    await o.engines({
      activity: long_ago,
      images: { v2: { ...BROKEN['exits at once'], removes_snapshot: true } },
    });
    const answer = await call('POST', '/engines/user-0/start');
    expect(answer.body.error).toMatchObject({
      code: 'BACKEND_ERROR',
      message: expect.stringMatching(/copy/),
    });
    expect((await call('POST', '/engines/user-0/start')).body.error.code).toBe('BACKEND_ERROR');
    expect(await readBrain(o, engine_id)).toBe('what user-0 said;rubbish;');
    await rm(join(o.config.data_dir, 'engines.snapshots'), { recursive: true, force: true });
  });

  it('that a new engine does not come up on is given to no more new ones', async () => {
    const { o, call } = await fleet(1, { v2: BROKEN['exits at once'] });
    expect((await call('POST', '/engines/provision', { body: { user_id: 'bob' } })).status).toBe(502);
    expect(await rollout(o)).toMatchObject({ state: 'halted', previous: 'v1' });
    expect((await call('POST', '/engines/provision', { body: { user_id: 'eve' } })).status).toBe(200);
    expect((await askEngine(call, 'eve')).image).toBe('v1');
  });
});

describe('a roll-out', () => {
  it('goes beyond the canary share when one engine has been well for long enough', async () => {
    const { o } = await fleet(5, { env: { ORCH_UPGRADE_PROBATION_S: '2' } });
    expect((await change(o, { percent: 100 })).body.state).toBe('canary');
    await until('all are upgraded', async () => (await rollout(o)).state === 'done');
    const begun = await rows<{ created_at: Date; proven_at: Date }>(
      o,
      "SELECT o.created_at, r.proven_at FROM operations o, rollouts r WHERE kind = 'upgrade' AND r.image = 'v2' ORDER BY 1",
    );
    expect(begun).toHaveLength(5);
    expect(begun.filter(({ created_at, proven_at }) => created_at < proven_at)).toHaveLength(1);
  });

  it('is halted by an engine that turns ill soon after its upgrade, which keeps its brain and image', async () => {
    const { o, call } = await fleet(2, { env: { ORCH_RESTART_BACKOFF_BASE_S: '1' } });
    await call('POST', '/engines/user-0/stop');
    await call('POST', '/engines/user-0/start');
    const { engine_id } = (await call('GET', '/engines/user-0')).body;
    process.kill((await o.processOf(engine_id)).pid, 'SIGKILL');
    await until('it is halted', async () => (await rollout(o)).state === 'halted');
    await until('it runs', async () => (await call('GET', '/engines/user-0')).body.status === 'running');
    expect((await askEngine(call, 'user-0')).image).toBe('v2');
  });

  it('is one for all replicas, whatever each is configured with', async () => {
    const { o, call, env } = await fleet(2);
    const other = await startTestOrchestrator({ ...env, ORCH_ENGINE_IMAGE: 'v2', ORCH_PORT: '0' });
    expect((await rollout(other)).image).toBe('v2');
    await call('POST', '/engines/user-0/stop');
    await other.orchestrator.close();
    expect((await change(o, { image: 'v3', percent: 0 })).body).toMatchObject({
      image: 'v3',
      previous: 'v1',
    });
    // Started again with what it was configured with before, it undoes nothing.
    const again = await startTestOrchestrator({ ...env, ORCH_ENGINE_IMAGE: 'v2', ORCH_PORT: '0' });
    expect((await rollout(again)).image).toBe('v3');
    await call('POST', '/engines/user-0/start');
    expect((await askEngine(call, 'user-0')).image).toBe('v1');
  });

  it('removes the copies when their time is over', async () => {
    const { o, call } = await fleet(1);
    await call('POST', '/engines/user-0/stop');
    await call('POST', '/engines/user-0/start');
    const copies = async () => (await rows(o, 'SELECT FROM engines WHERE snapshot_until IS NOT NULL')).length;
    expect(await copies()).toBe(1);
    await rows(o, 'UPDATE engines SET snapshot_until = now()');
    await until('it is removed', async () => (await copies()) === 0);
  });
});
