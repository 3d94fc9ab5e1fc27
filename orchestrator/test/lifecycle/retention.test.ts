import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { findByArgument } from '../../src/backends/process.ts';
import { ADMIN, startTestOrchestrator } from '../support/orchestrator.ts';
import { until } from '../support/wait.ts';

const both = { auto_provision: true, auto_wake: true };
const DAY_S = 24 * 60 * 60;

type Audit = { actor: string; metadata: Record<string, unknown> };

/** A product whose user ada has an engine with something in its brain. */
async function world(policy: object = { destroy_retention_s: DAY_S }) {
  const o = await startTestOrchestrator();
  const product = await o.product(policy);
  const { call } = product;
  const { db } = o.orchestrator;
  const provision = (user_id = 'ada') => call('POST', '/engines/provision', { body: { user_id } });
  const engine = (await provision()).body;
  const folder = join(o.config.data_dir, 'engines', engine.engine_id);
  await writeFile(join(folder, 'brain.sqlite'), 'what was said');
  return {
    ...product,
    o,
    db,
    engine,
    provision,
    brain: () => readFile(join(folder, 'brain.sqlite'), 'utf8'),
    destroy: (query = '', headers = {}) => call('DELETE', `/engines/ada${query}`, { headers }),
    restore: (query = '', headers = {}) => call('POST', `/engines/ada/restore${query}`, { headers }),
    get: () => call('GET', '/engines/ada'),
    explain: () => call('GET', '/engines/ada/explain'),
    folders: () => readdir(join(o.config.data_dir, 'engines')),
    expire: () => db.query("UPDATE engines SET tombstone_until = now() WHERE status = 'destroyed'"),
    gone: (id: string) =>
      until(
        'it is gone',
        async () => (await db.query('SELECT FROM engines WHERE id = $1', [id])).length === 0,
      ),
    audited: (action: string) =>
      db.query<Audit>('SELECT actor, metadata FROM audit_log WHERE action = $1 ORDER BY id', [action]),
  };
}

const errorOf = ({ status, body }: { status: number; body: { error: { code: string } } }) => [
  status,
  body.error?.code,
];
const processes = (id: string) => findByArgument(`--engine=${id}/`);
const secondsUntil = (at: unknown) => (Date.parse(String(at)) - Date.now()) / 1000;

describe('a retained destroy', () => {
  it('is a destroy to everybody, gives back process, port and quota, and keeps the brain', async () => {
    const w = await world({ destroy_retention_s: DAY_S, max_engines: 1 });
    expect((await w.destroy()).body).toEqual({ status: 'destroyed', engine_id: w.engine.engine_id });
    expect(errorOf(await w.get())).toEqual([404, 'ENGINE_NOT_FOUND']);
    expect((await w.call('GET', '/engines')).body).toEqual({ engines: [], total: 0 });
    expect((await w.call('GET', '/status')).body.total).toBe(0);
    expect((await w.call('POST', '/engines/ada/admit')).body.reason).toBe('engine_not_found');
    for (const [method, path] of [
      ['POST', '/start'],
      ['POST', '/stop'],
      ['POST', '/sleep'],
      ['POST', '/wake'],
      ['DELETE', ''],
    ] as const) {
      expect(errorOf(await w.call(method, `/engines/ada${path}`))).toEqual([404, 'ENGINE_NOT_FOUND']);
    }
    expect(await processes(w.engine.engine_id)).toEqual([]);
    expect(await w.brain()).toBe('what was said');
    // Port and place are the next one's.
    expect((await w.provision('bob')).body.url).toBe(w.engine.url);
    const [destroyed] = await w.audited('destroy');
    expect(destroyed).toMatchObject({ actor: w.slug, metadata: { outcome: 'succeeded' } });
    const left_s = secondsUntil(destroyed?.metadata.retained_until);
    expect(left_s).toBeGreaterThan(DAY_S - 60);
    expect(left_s).toBeLessThanOrEqual(DAY_S + 1);
  });

  it.each([
    ['the policy', { destroy_retention_s: DAY_S }, '', DAY_S],
    ['the call, where the policy has no time', {}, '?retain=true', 7 * DAY_S],
    ['the call, where the policy has 0', { destroy_retention_s: 0 }, '?retain=true', 7 * DAY_S],
    ['both', { destroy_retention_s: DAY_S }, '?retain=true', DAY_S],
  ])('comes of %s', async (_, policy, query, retain_s) => {
    const w = await world(policy);
    await w.destroy(query);
    const [row] = await w.db.query<{ left_s: number }>(
      'SELECT extract(epoch FROM tombstone_until - destroyed_at)::float8 AS left_s FROM engines',
    );
    expect(row).toEqual({ left_s: retain_s });
  });

  it.each([
    ['no policy', {}, ''],
    ['a policy of 0', { destroy_retention_s: 0 }, ''],
    ['the call, whatever the policy', { destroy_retention_s: DAY_S }, '?retain=false'],
  ])('does not come of %s', async (_, policy, query) => {
    const w = await world(policy);
    expect((await w.destroy(query)).status).toBe(200);
    expect(await w.folders()).toEqual([]);
    expect(errorOf(await w.restore())).toEqual([404, 'ENGINE_NOT_FOUND']);
    expect(await w.db.query('SELECT id FROM engines')).toEqual([]);
  });

  it('joins its like, and neither joins nor is joined by a final one', async () => {
    const w = await world();
    await w.o.engines({ stubborn: true });
    const first = (await w.destroy('?wait=false')).body;
    expect(first).toMatchObject({ kind: 'retire', user_id: 'ada' });
    expect((await w.destroy('?wait=false&retain=true')).body.id).toBe(first.id);
    expect(errorOf(await w.destroy('?retain=false'))).toEqual([409, 'OPERATION_IN_PROGRESS']);
    expect((await w.explain()).body).toMatchObject({ status: 'destroying' });
    const [process] = await processes(w.engine.engine_id);
    globalThis.process.kill(process?.pid ?? 0, 'SIGKILL');
    await until('it is done', async () => (await w.call('GET', `/operations/${first.id}`)).body.ended_at);
    expect((await w.restore()).status).toBe(200);
  });

  it('of what a final one has left half-way is final: nothing that may lack a part comes up or is kept', async () => {
    const w = await world();
    const graveyard = join(w.o.config.data_dir, 'engines.destroyed');
    await writeFile(graveyard, '');
    expect(errorOf(await w.destroy('?retain=false'))).toEqual([502, 'BACKEND_ERROR']);
    await rm(graveyard);
    for (const path of ['start', 'stop']) {
      expect(errorOf(await w.call('POST', `/engines/ada/${path}`))).toEqual([502, 'BACKEND_ERROR']);
    }
    expect((await w.explain()).body.advice).toBe('DELETE /engines/{user_id} once more.');
    expect((await w.destroy()).body).toEqual({ status: 'destroyed', engine_id: w.engine.engine_id });
    expect(errorOf(await w.restore())).toEqual([404, 'ENGINE_NOT_FOUND']);
    expect(await w.db.query('SELECT id FROM engines')).toEqual([]);
    expect(await w.folders()).toEqual([]);
  });

  it.each(['doze', 'hibernate'])('is possible from %s, and wakes nobody', async (depth) => {
    const w = await world();
    await w.o.engines({ activity: { last_activity_at: '2020-01-01T00:00:00.000Z' } });
    expect((await w.call('POST', '/engines/ada/sleep', { body: { depth } })).status).toBe(200);
    expect((await w.destroy()).status).toBe(200);
    expect(await processes(w.engine.engine_id)).toEqual([]);
    expect((await w.restore()).body.status).toBe('running');
  });
});

describe('a restore', () => {
  it('brings back the same engine: id, key and brain, as a new epoch', async () => {
    const w = await world();
    const before = (await w.get()).body;
    await w.destroy();
    const { status, body } = await w.restore();
    expect([status, body]).toEqual([200, w.engine]);
    expect(await w.brain()).toBe('what was said');
    expect((await w.o.processOf(w.engine.engine_id)).epoch).toBe(2);
    const after = (await w.get()).body;
    expect(after).toEqual({ ...before, last_health_at: after.last_health_at });
    expect((await w.call('POST', '/engines/ada/admit')).body.admitted).toBe(true);
    expect((await w.call('GET', '/engines')).body.total).toBe(1);
    expect(await w.audited('restore')).toMatchObject([
      { actor: w.slug, metadata: { outcome: 'succeeded', epoch: 2, boot_duration_ms: expect.any(Number) } },
    ]);
    // And all again.
    await w.destroy();
    expect((await w.restore()).body).toEqual(w.engine);
  });

  it('is refused while the user has another engine, and waits for it', async () => {
    const w = await world();
    await w.destroy();
    const other = (await w.call('POST', '/engines/ada/admit', { body: both })).body.engine;
    expect(other.engine_id).not.toBe(w.engine.engine_id);
    expect(errorOf(await w.restore())).toEqual([409, 'ENGINE_ALREADY_EXISTS']);
    expect((await w.destroy('?retain=false')).body.engine_id).toBe(other.engine_id);
    expect((await w.restore()).body.engine_id).toBe(w.engine.engine_id);
  });

  it('is of the engine destroyed last, whatever the time each is kept', async () => {
    const w = await world();
    await w.destroy();
    const second = (await w.provision()).body;
    await w.o.call('PUT', `/products/${w.id}/policy`, {
      admin: ADMIN,
      body: { policy: { destroy_retention_s: 60 } },
    });
    await w.destroy();
    expect((await w.restore()).body.engine_id).toBe(second.engine_id);
  });

  it('takes its place in the quota, and keeps to the policy', async () => {
    const w = await world({ destroy_retention_s: DAY_S, max_engines: 1 });
    await w.destroy();
    await w.provision('bob');
    expect(errorOf(await w.restore())).toEqual([429, 'QUOTA_EXCEEDED']);
    await w.call('DELETE', '/engines/bob?retain=false');
    expect((await w.restore()).status).toBe(200);
    expect(errorOf(await w.provision('bob'))).toEqual([429, 'QUOTA_EXCEEDED']);

    const put = (policy: object) =>
      w.o.call('PUT', `/products/${w.id}/policy`, { admin: ADMIN, body: { policy } });
    await w.destroy('?retain=true');
    await put({ suspended: true });
    expect(errorOf(await w.restore())).toEqual([403, 'POLICY_DENIED']);
    await put({ allowed_versions: ['another'] });
    expect(errorOf(await w.restore())).toEqual([403, 'POLICY_DENIED']);
    await put({});
    expect((await w.restore()).status).toBe(200);
  });

  it('is one operation for one Idempotency-Key, told at once where nobody waits', async () => {
    const w = await world();
    const [bye, hello] = [{ 'Idempotency-Key': 'bye' }, { 'Idempotency-Key': 'hello' }];
    await w.destroy('', bye);
    const first = await w.restore('?wait=false', hello);
    expect([first.status, first.body.kind]).toEqual([202, 'restore']);
    expect((await w.restore('', hello)).body).toEqual(w.engine);
    // The same destroy, not another.
    expect((await w.destroy('', bye)).body.status).toBe('destroyed');
    expect((await w.get()).body.status).toBe('running');
    expect(errorOf(await w.destroy('?retain=false', bye))).toEqual([409, 'IDEMPOTENCY_KEY_REUSED']);
    expect((await w.audited('restore')).length).toBe(1);
  });

  it('whose boot fails leaves a failed engine with its brain, to be restarted as any', async () => {
    const w = await world({ destroy_retention_s: DAY_S, max_engines: 1 });
    await w.destroy();
    await w.o.engines({ exit_code: 1 });
    expect(errorOf(await w.restore())).toEqual([502, 'BACKEND_ERROR']);
    expect((await w.get()).body).toMatchObject({ status: 'failed', engine_id: w.engine.engine_id });
    expect(await w.brain()).toBe('what was said');
    expect(errorOf(await w.restore())).toEqual([409, 'ENGINE_ALREADY_EXISTS']);
    await w.o.engines({});
    expect((await w.call('POST', '/engines/ada/admit', { body: both })).body.engine.engine_id).toBe(
      w.engine.engine_id,
    );
  });

  it('races with restores, provisions and admits: one engine, one outcome each', async () => {
    const w = await world({ destroy_retention_s: DAY_S, max_engines: 2 });
    await w.destroy();
    const answers = await Promise.all([
      ...Array.from({ length: 10 }, () => w.restore()),
      ...Array.from({ length: 10 }, () => w.provision()),
      ...Array.from({ length: 10 }, () => w.call('POST', '/engines/ada/admit', { body: both })),
    ]);
    const ids = new Set<string>();
    for (const { status, body } of answers) {
      if (status === 200) ids.add(body.engine_id ?? body.engine.engine_id);
      else expect([status, body.error.code]).toEqual([409, 'ENGINE_ALREADY_EXISTS']);
    }
    const engine = (await w.get()).body;
    expect([...ids]).toEqual([engine.engine_id]);
    const rows = await w.db.query('SELECT engine_count FROM products');
    expect(rows).toEqual([{ engine_count: 1 }]);
    expect((await w.call('GET', '/engines')).body.total).toBe(1);
  });
});

describe('a tombstone', () => {
  it('is removed for good when its time is over, beside a new engine of the user', async () => {
    const w = await world();
    await w.destroy();
    const other = (await w.provision()).body;
    await w.expire();
    await w.gone(w.engine.engine_id);
    expect(await w.folders()).toEqual([other.engine_id]);
    expect((await w.get()).body).toMatchObject({ status: 'running', engine_id: other.engine_id });
    expect(await w.db.query('SELECT engine_count FROM products')).toEqual([{ engine_count: 1 }]);
    const [retired, purged] = await w.audited('destroy');
    expect(retired?.metadata.purged).toBeUndefined();
    expect(purged).toMatchObject({ actor: 'system', metadata: { purged: true, outcome: 'succeeded' } });
    await w.destroy('?retain=false');
    expect(errorOf(await w.restore())).toEqual([404, 'ENGINE_NOT_FOUND']);
  });

  it('is one of three of its user: the oldest goes at once when there is a fourth', async () => {
    const w = await world();
    const ids = [w.engine.engine_id];
    await w.provision('bob');
    await w.call('DELETE', '/engines/bob');
    for (let n = 0; n < 4; n += 1) {
      await w.destroy();
      ids.push((await w.provision()).body.engine_id);
    }
    await w.gone(ids[0]);
    const kept = await w.db.query<{ id: string }>(
      `SELECT id FROM engines WHERE user_id = 'ada' AND status = 'destroyed' AND tombstone_until > now()
        ORDER BY destroyed_at`,
    );
    expect(kept.map(({ id }) => id)).toEqual(ids.slice(1, 4));
    expect((await w.call('POST', '/engines/bob/restore')).status).toBe(200);
    await w.destroy('?retain=false');
    expect((await w.restore()).body.engine_id).toBe(ids[3]);
  });

  it('whose time is over cannot be restored, also before it is removed', async () => {
    const w = await world();
    await w.destroy();
    // As long as a removal lately failed it is not tried again.
    await w.db.query(
      `INSERT INTO operations (engine_id, product_id, user_id, kind, actor, step, epoch, deadline, outcome, error_code, ended_at)
       SELECT id, product_id, user_id, 'purge', 'system', 'remove', epoch, now(), 'failed', 'BACKEND_ERROR', now() FROM engines`,
    );
    await w.expire();
    expect(errorOf(await w.restore())).toEqual([404, 'ENGINE_NOT_FOUND']);
    expect(errorOf(await w.explain())).toEqual([404, 'ENGINE_NOT_FOUND']);
    expect(await w.brain()).toBe('what was said');
  });

  it('whose removal fails is not half restored but removed later', async () => {
    const w = await world();
    await w.destroy();
    // Where the marks of the destroyed are kept there is a file: none can be made.
    const graveyard = join(w.o.config.data_dir, 'engines.destroyed');
    await rm(graveyard, { recursive: true, force: true });
    await writeFile(graveyard, '');
    expect(errorOf(await w.destroy('?retain=false'))).toEqual([502, 'BACKEND_ERROR']);
    const status = 'SELECT status, failure_reason FROM engines';
    expect(await w.db.query(status)).toEqual([{ status: 'destroyed', failure_reason: null }]);
    expect(errorOf(await w.restore())).toEqual([404, 'ENGINE_NOT_FOUND']);
    await rm(graveyard);
    await w.db.query(
      "UPDATE operations SET created_at = created_at - interval '11 min' WHERE kind = 'purge'",
    );
    await w.gone(w.engine.engine_id);
    expect(await w.folders()).toEqual([]);
    expect((await w.audited('destroy')).map(({ metadata }) => metadata.outcome)).toEqual([
      'succeeded',
      'failed',
      'succeeded',
    ]);
  });

  it('is erased at once on demand, with all others of the user and of nobody else', async () => {
    const w = await world();
    await w.destroy();
    await w.provision('bob');
    await w.call('DELETE', '/engines/bob');
    const second = (await w.provision()).body;
    await w.destroy();
    const other = await w.o.product();
    expect(errorOf(await other.call('DELETE', '/engines/ada?retain=false'))).toEqual([
      404,
      'ENGINE_NOT_FOUND',
    ]);
    expect(errorOf(await other.call('POST', '/engines/ada/restore'))).toEqual([404, 'ENGINE_NOT_FOUND']);
    const once = { 'Idempotency-Key': 'forget-me' };
    const { body } = await w.destroy('?retain=false', once);
    expect(body).toEqual({ status: 'destroyed', engine_id: second.engine_id });
    expect((await w.folders()).length).toBe(1);
    expect((await w.destroy('?retain=false', once)).body).toEqual(body);
    expect(errorOf(await w.destroy('?retain=false'))).toEqual([404, 'ENGINE_NOT_FOUND']);
    expect(errorOf(await w.restore())).toEqual([404, 'ENGINE_NOT_FOUND']);
    expect((await w.call('POST', '/engines/bob/restore')).status).toBe(200);
    const purged = (await w.audited('destroy')).filter(({ metadata }) => metadata.purged === true);
    expect(purged.map(({ actor }) => actor)).toEqual([w.slug, w.slug]);
  });

  it('that is restored and erased at once is one or the other', async () => {
    const w = await world();
    await w.destroy();
    const [restored, erased] = await Promise.all([w.restore(), w.destroy('?retain=false')]);
    const rows = await w.db.query<{ id: string; status: string }>('SELECT id, status FROM engines');
    if (restored.status === 200) {
      // The erasure found nothing, or an engine at work on its way up.
      expect(['ENGINE_NOT_FOUND', 'OPERATION_IN_PROGRESS']).toContain(erased.body.error.code);
      expect(rows).toEqual([{ id: w.engine.engine_id, status: 'running' }]);
      expect(await w.brain()).toBe('what was said');
    } else {
      expect(errorOf(restored)).toEqual([404, 'ENGINE_NOT_FOUND']);
      expect(erased.status).toBe(200);
      expect(rows).toEqual([]);
      expect(await w.folders()).toEqual([]);
    }
  });

  it('is explained: until when, and the way back', async () => {
    const w = await world();
    await w.destroy();
    const { status, body } = await w.explain();
    expect(status).toBe(200);
    expect(body).toMatchObject({
      engine_id: w.engine.engine_id,
      user_id: 'ada',
      status: 'destroyed',
      source: 'O30',
      evidence: {
        process: { state: 'absent' },
        probe: null,
        operation: { kind: 'retire', status: 'succeeded' },
        audit: { action: 'destroy', metadata: { retained_until: body.next.at } },
      },
      next: { what: 'It is removed for good, with its brain.' },
    });
    expect(body.advice).toContain('POST /engines/{user_id}/restore');
    expect(secondsUntil(body.next.at)).toBeGreaterThan(DAY_S - 60);
  });
});
