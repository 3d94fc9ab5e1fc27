/** The rotation of an engine's key: what is promised, and what becomes of it wherever it breaks off (O8). */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { hashKey } from '../../src/keys/formats.ts';
import { type Clock, systemClock } from '../../src/lifecycle/clock.ts';
import { startTestOrchestrator, type TestOrchestrator, testEnvironment } from '../support/orchestrator.ts';
import type { StandInBehaviour, StandInKeys } from '../support/stand_in_engine.ts';
import { until } from '../support/wait.ts';

type Options = { env?: Record<string, string>; failpoint?: (point: string) => void; clock?: Clock };

async function engineOfAda({ env = {}, failpoint, clock }: Options = {}) {
  const test = await startTestOrchestrator(testEnvironment({ ORCH_RESTART_BACKOFF_BASE_S: '1', ...env }), {
    failpoint,
    clock,
  });
  const product = await test.product();
  const { body: engine } = await product.call('POST', '/engines/provision', { body: { user_id: 'ada' } });
  return {
    test,
    ...product,
    engine,
    rotate: (headers = {}) => product.call('POST', '/engines/ada/rotate-key', { headers }),
    current: async () => (await product.call('GET', '/engines/ada')).body,
    opensBy: async (api_key: string) => {
      const { url } = (await product.call('GET', '/engines/ada')).body;
      return (await fetch(`${url}/activity`, { headers: { 'X-Engine-Key': api_key } })).status === 200;
    },
    /** What the Engine keeps of its keys. */
    kept: async (): Promise<StandInKeys> =>
      JSON.parse(
        await readFile(join(test.config.data_dir, 'engines', engine.engine_id, 'keys.json'), 'utf8'),
      ),
    audit: () => auditOf(test, engine.engine_id),
  };
}

const auditOf = ({ orchestrator }: TestOrchestrator, engine_id: string) =>
  orchestrator.db.query<{ actor: string; metadata: Record<string, unknown> }>(
    "SELECT actor, metadata FROM audit_log WHERE engine_id = $1 AND action = 'rotate_key' ORDER BY id",
    [engine_id],
  );

/** A clock on which whatever waits for longer than 20 s can be told that its time has come. */
function clockThatCanBeHurried(): { clock: Clock; hurry(): void } {
  const waiting = new Set<() => void>();
  const sleep: Clock['sleep'] = async (ms, signal) => {
    if (ms <= 20_000) return await systemClock.sleep(ms, signal);
    let come = () => {};
    const hurried = new Promise<void>((resolve) => {
      come = resolve;
    });
    waiting.add(come);
    await Promise.race([systemClock.sleep(ms, signal), hurried]).finally(() => waiting.delete(come));
  };
  return { clock: { ...systemClock, sleep }, hurry: () => [...waiting].map((come) => come()) };
}

describe('POST /engines/{user_id}/rotate-key', () => {
  it('gives the engine a new key, and leaves the old one its time', async () => {
    const { engine, slug, rotate, current, opensBy, audit, call } = await engineOfAda();
    const { status, body } = await rotate();
    expect(status).toBe(200);
    expect(body).toEqual({
      engine_id: engine.engine_id,
      api_key: expect.stringMatching(/^sk-sept-/),
      old_key_valid_until: expect.any(String),
    });
    expect(body.api_key).not.toBe(engine.api_key);
    const overlap = Date.parse(body.old_key_valid_until) - Date.now();
    expect(overlap).toBeGreaterThan(40_000);
    expect(overlap).toBeLessThanOrEqual(60_000);
    expect([await opensBy(body.api_key), await opensBy(engine.api_key)]).toEqual([true, true]);
    expect((await current()).api_key).toBe(body.api_key);
    expect((await call('POST', '/engines/ada/admit')).body.engine.api_key).toBe(body.api_key);
    expect(await audit()).toMatchObject([
      { actor: slug, metadata: { outcome: 'succeeded', old_key_valid_until: body.old_key_valid_until } },
    ]);
  });

  it('ends the old key when its time is over', async () => {
    const { engine, rotate, opensBy } = await engineOfAda({ env: { ORCH_ROTATE_OVERLAP_S: '1' } });
    const { body } = await rotate();
    expect(await opensBy(body.api_key)).toBe(true);
    await until('the old key is refused', async () => !(await opensBy(engine.api_key)));
    expect(Date.now()).toBeGreaterThanOrEqual(Date.parse(body.old_key_valid_until));
  });

  it('is done once for all who ask at the same moment, and for who asks again with his key', async () => {
    const { rotate, kept, audit } = await engineOfAda();
    const together = await Promise.all(Array.from({ length: 10 }, () => rotate()));
    expect(together.map(({ status }) => status)).toEqual(Array(10).fill(200));
    // Who comes after the end of the first begins another; within one all get the same.
    const begun = (await audit()).length;
    expect(new Set(together.map(({ body }) => body.old_key_valid_until)).size).toBe(begun);
    expect((await kept()).told).toHaveLength(begun);

    const headers = { 'Idempotency-Key': 'once' };
    const first = await rotate(headers);
    expect((await rotate(headers)).body).toEqual(first.body);
    expect(await audit()).toHaveLength(begun + 1);
  });

  it('answers with the operation where that is wanted; the key is there by GET then', async () => {
    const { call, current, engine } = await engineOfAda();
    const { status, body } = await call('POST', '/engines/ada/rotate-key?wait=false');
    expect(status).toBe(202);
    expect(body).toMatchObject({ kind: 'rotate-key', engine_id: engine.engine_id });
    const ended = await until('it has ended', async () => {
      const { body: operation } = await call('GET', `/operations/${body.id}`);
      return operation.ended_at !== null && operation;
    });
    expect(ended.status).toBe('succeeded');
    expect(JSON.stringify(ended)).not.toContain('sk-sept-');
    expect((await current()).api_key).not.toBe(engine.api_key);
  });

  it('is for running engines only', async () => {
    const { call, rotate, engine, current, test } = await engineOfAda();
    expect((await call('POST', '/engines/nobody/rotate-key')).body.error.code).toBe('ENGINE_NOT_FOUND');
    await call('POST', '/engines/ada/sleep', { body: { depth: 'doze' } });
    expect(await rotate()).toMatchObject({ status: 409, body: { error: { code: 'ENGINE_NOT_RUNNING' } } });
    await call('POST', '/engines/ada/wake');
    await call('POST', '/engines/ada/stop');
    expect(await rotate()).toMatchObject({ status: 409, body: { error: { code: 'ENGINE_NOT_RUNNING' } } });
    expect((await current()).api_key).toBe(engine.api_key);
    const row = await test.orchestrator.db.query('SELECT next_key_hash FROM engines');
    expect(row, 'a refused one prepares nothing').toEqual([{ next_key_hash: null }]);
  });

  it('lets admits through while it is under way', async () => {
    const { test, call, rotate, engine, current } = await engineOfAda();
    await test.engines({ rotate: ['deaf', 'deaf'] });
    const rotating = rotate();
    await until('it is under way', async () => {
      const rows = await test.orchestrator.db.query(
        "SELECT 1 FROM operations WHERE kind = 'rotate-key' AND outcome IS NULL AND step = 'rotate_key'",
      );
      return rows.length > 0;
    });
    const { body } = await call('POST', '/engines/ada/admit');
    expect(body).toMatchObject({ admitted: true, engine: { api_key: engine.api_key } });
    expect((await call('POST', '/engines/ada/stop')).body.error.code).toBe('OPERATION_IN_PROGRESS');
    expect((await rotating).body.api_key).toBe((await current()).api_key);
  });
});

describe('an answer of the Engine that does not come', () => {
  const modes: { name: string; overlap: string; rotate: StandInBehaviour['rotate'] }[] = [
    { name: 'was lost', overlap: '60', rotate: ['lost'] },
    { name: 'was lost, more than once', overlap: '60', rotate: ['lost', 'lost'] },
    { name: 'was lost, and the old key with it', overlap: '0', rotate: ['lost'] },
    { name: 'was never given', overlap: '60', rotate: ['deaf'] },
    { name: 'was lost, and is no sense the second time', overlap: '60', rotate: ['lost', 'rubbish'] },
    { name: 'was lost, and is a no the second time', overlap: '60', rotate: ['lost', 'refused'] },
  ];
  it.each(modes)('because it $name, is made up for', async ({ overlap, rotate: how }) => {
    const { test, rotate, opensBy, current, kept } = await engineOfAda({
      env: { ORCH_ROTATE_OVERLAP_S: overlap },
    });
    await test.engines({ rotate: how });
    const { status, body } = await rotate();
    expect(status).toBe(200);
    expect(await opensBy(body.api_key)).toBe(true);
    expect((await current()).api_key).toBe(body.api_key);
    expect(new Set((await kept()).told), 'one hash').toEqual(new Set([hashKey(body.api_key)]));
    if (overlap === '0') expect(Date.parse(body.old_key_valid_until)).toBeLessThanOrEqual(Date.now());
  });

  it.each(['refused', 'rubbish'] as const)(
    'because it was %s, changes nothing; the next try does',
    async (how) => {
      const { test, engine, rotate, current, opensBy, audit, kept } = await engineOfAda();
      await test.engines({ rotate: [how] });
      expect(await rotate()).toMatchObject({ status: 502, body: { error: { code: 'BACKEND_ERROR' } } });
      expect(await current()).toMatchObject({ status: 'running', api_key: engine.api_key });
      expect(await opensBy(engine.api_key)).toBe(true);
      expect(await audit()).toMatchObject([{ metadata: { outcome: 'failed' } }]);
      const { status, body } = await rotate();
      expect(status).toBe(200);
      expect((await kept()).told).toEqual([hashKey(body.api_key)]);
    },
  );

  it('for 30 s ends the rotation; the old key stays, and the next try does it', async () => {
    const { clock, hurry } = clockThatCanBeHurried();
    const passed = new Set<string>();
    const failpoint = (point: string) => passed.add(point);
    const { test, engine, rotate, current, opensBy } = await engineOfAda({ clock, failpoint });
    await test.engines({ rotate: Array(1_000).fill('deaf') });
    const answer = rotate();
    await until('the Engine is being told', () => passed.has('rotate_key.before'));
    hurry();
    const { status, body } = await answer;
    expect([status, body.error.code]).toEqual([502, 'BACKEND_ERROR']);
    expect(body.error.message).toMatch(/^The rotate-key did not end within 30 s\./);
    expect(await current()).toMatchObject({ status: 'running', api_key: engine.api_key });
    expect(await opensBy(engine.api_key)).toBe(true);
    await test.engines({});
    const again = await rotate();
    expect(again.status).toBe(200);
    expect(await opensBy(again.body.api_key)).toBe(true);
  });

  it('and never will, is found out about by a probe', async () => {
    const { test, engine, rotate, current, opensBy, audit, kept } = await engineOfAda({
      env: { ORCH_ROTATE_OVERLAP_S: '0' },
    });
    // It takes the hash, and then can be asked nothing.
    await test.engines({ rotate: ['lost', 'refused', 'refused'], activity: null });
    expect(await rotate()).toMatchObject({ status: 502 });
    expect((await current()).api_key, 'as far as anybody knows').toBe(engine.api_key);
    expect(await opensBy(engine.api_key)).toBe(false);
    await test.orchestrator.db.query('UPDATE engines SET next_probe_at = now()');
    await test.engines({});
    const found = await until('it is found out', async () => {
      await test.orchestrator.db.query('UPDATE engines SET next_probe_at = now()');
      const now = await current();
      return now.api_key !== engine.api_key && now;
    });
    expect(await opensBy(found.api_key)).toBe(true);
    expect((await kept()).told).toEqual([hashKey(found.api_key)]);
    expect(await audit()).toMatchObject([
      { metadata: { outcome: 'failed' } },
      { actor: 'system', metadata: { found_by: 'probe' } },
    ]);
  });
});

describe('an Engine that ends in the middle of a rotation', () => {
  it('after it took the key, comes up with it', async () => {
    const { test, engine, rotate, current, opensBy, audit } = await engineOfAda();
    await test.engines({ rotate: ['dies'] });
    expect(await rotate()).toMatchObject({ status: 502 });
    await test.engines({});
    const up = await until('it is up again', async () => {
      const now = await current();
      return now.status === 'running' && now;
    });
    expect(up.api_key).not.toBe(engine.api_key);
    expect(await opensBy(up.api_key)).toBe(true);
    expect(await opensBy(engine.api_key), 'the old key has its time').toBe(true);
    expect(await audit()).toMatchObject([
      { metadata: { outcome: 'failed' } },
      { metadata: { found_by: 'restart' } },
    ]);
  });

  it('after it was told and did not hear, comes up with it all the same', async () => {
    const { test, engine, rotate, current, opensBy, call } = await engineOfAda();
    await test.engines({ rotate: ['refused'] });
    expect(await rotate()).toMatchObject({ status: 502 });
    expect((await current()).api_key).toBe(engine.api_key);
    await call('POST', '/engines/ada/stop');
    await call('POST', '/engines/ada/start');
    const up = await current();
    expect(up.api_key).not.toBe(engine.api_key);
    expect([await opensBy(up.api_key), await opensBy(engine.api_key)]).toEqual([true, true]);
  });

  it('right after it confirmed, comes up with it', async () => {
    let kill = () => {};
    const { test, engine, rotate, current, opensBy } = await engineOfAda({
      failpoint: (point) => {
        if (point === 'rotate_key.after') kill();
      },
    });
    const { pid } = await test.processOf(engine.engine_id);
    kill = () => process.kill(pid, 'SIGKILL');
    const { status, body } = await rotate();
    expect(status).toBe(200);
    const up = await until('it is up again', async () => {
      const now = await current();
      return now.status === 'running' && (await test.processOf(engine.engine_id)).pid !== pid && now;
    });
    expect(up.api_key).toBe(body.api_key);
    expect(await opensBy(body.api_key)).toBe(true);
  });

  it('and slept since, is asked by both keys when it wakes', async () => {
    const { test, engine, rotate, current, opensBy, call } = await engineOfAda();
    await test.engines({ rotate: ['refused'] });
    expect(await rotate()).toMatchObject({ status: 502 });
    await call('POST', '/engines/ada/sleep', { body: { depth: 'doze' } });
    expect((await call('POST', '/engines/ada/wake')).status).toBe(200);
    expect((await current()).api_key).toBe(engine.api_key);
    expect(await opensBy(engine.api_key)).toBe(true);
  });
});
