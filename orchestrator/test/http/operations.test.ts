import { randomUUID } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { ADMIN, startTestOrchestrator, type TestOrchestrator } from '../support/orchestrator.ts';
import { until } from '../support/wait.ts';

const withKey = (key: string) => ({ headers: { 'Idempotency-Key': key } });
const count = async (o: TestOrchestrator) =>
  (await o.orchestrator.db.query('SELECT id FROM operations')).length;

describe('an Idempotency-Key', () => {
  it('makes a repeated mutation do nothing again and answer the same, for each kind', async () => {
    const o = await startTestOrchestrator();
    const { call } = await o.product();
    for (const [method, path, body] of [
      ['POST', '/engines/provision', { user_id: 'ada' }],
      ['POST', '/engines/ada/stop', undefined],
      ['POST', '/engines/ada/start', undefined],
      ['DELETE', '/engines/ada', undefined],
    ] as const) {
      const before = await count(o);
      const once = { ...withKey(randomUUID()), body };
      const together = await Promise.all(Array.from({ length: 5 }, () => call(method, path, once)));
      const later = await call(method, path, once);
      for (const { status, body } of [...together, later]) {
        expect([status, body]).toEqual([200, together[0]?.body]);
      }
      expect(await count(o)).toBe(before + 1);
    }
  });

  it('stands for one request only: any other with it is refused', async () => {
    const o = await startTestOrchestrator();
    const { call } = await o.product();
    const once = withKey('k-1');
    await call('POST', '/engines/provision', { ...once, body: { user_id: 'ada' } });
    for (const [path, body] of [
      ['/engines/provision', { user_id: 'bob' }],
      ['/engines/provision', { user_id: 'ada', engine_version: 'other' }],
      ['/engines/ada/stop', undefined],
    ] as const) {
      const answer = await call('POST', path, { ...once, body });
      expect([answer.status, answer.body.error.code]).toEqual([409, 'IDEMPOTENCY_KEY_REUSED']);
    }
    // Another product's keys are its own.
    const other = await o.product();
    const { status } = await other.call('POST', '/engines/provision', { ...once, body: { user_id: 'bob' } });
    expect(status).toBe(200);
  });

  it('gives the failure again, and leaves no trace of a request that was refused', async () => {
    const o = await startTestOrchestrator();
    const { call } = await o.product({ max_engines: 1 });
    await o.engines({ exit_code: 1 });
    const once = { ...withKey('k-1'), body: { user_id: 'ada' } };
    const failed = await call('POST', '/engines/provision', once);
    expect(failed.status).toBe(502);
    expect((await call('POST', '/engines/provision', once)).body).toEqual(failed.body);
    await o.engines({});
    const refused = { ...withKey('k-2'), body: { user_id: 'bob' } };
    expect((await call('POST', '/engines/provision', refused)).status).toBe(429);
    await call('DELETE', '/engines/ada');
    expect((await call('POST', '/engines/provision', refused)).status).toBe(200);
    // What the first one made is gone, and must not be taken for what another request made.
    expect((await call('POST', '/engines/provision', once)).body).toEqual(failed.body);
  });

  it('keeps an answer with a key in it sealed, and does not let an old policy come back', async () => {
    const o = await startTestOrchestrator();
    const register = { admin: ADMIN, ...withKey('k-1'), body: { slug: 'demo', display_name: 'Demo' } };
    const [first, again] = await Promise.all([
      o.call('POST', '/products/register', register),
      o.call('POST', '/products/register', register),
    ]);
    expect([first.status, again.body]).toEqual([200, first.body]);
    const rows = await o.orchestrator.db.query('SELECT * FROM idempotency_keys');
    expect(rows).toHaveLength(1);
    expect(JSON.stringify(rows)).not.toContain(first.body.platform_api_key);
    const put = (key: string, max_engines: number) =>
      o.call('PUT', `/products/${first.body.product_id}/policy`, {
        admin: ADMIN,
        ...withKey(key),
        body: { policy: { max_engines } },
      });
    await put('k-2', 1);
    await put('k-3', 2);
    expect((await put('k-2', 1)).body).toEqual({ policy: { max_engines: 1 } });
    expect(await o.orchestrator.db.query('SELECT policy FROM products')).toEqual([
      { policy: { max_engines: 2 } },
    ]);
    expect((await put('k-1', 1)).body.error.code).toBe('IDEMPOTENCY_KEY_REUSED');
  });

  it('is forgotten after a day, a few at a time', async () => {
    const o = await startTestOrchestrator();
    const { db } = o.orchestrator;
    await db.query(
      `INSERT INTO idempotency_keys (scope, key, request_hash, created_at)
       SELECT 'admin', 'old-' || n, '', now() - interval '25 hours' FROM generate_series(1, 5) AS n`,
    );
    for (const key of ['a', 'b', 'c']) {
      const register = { admin: ADMIN, ...withKey(key), body: { slug: key, display_name: key } };
      await o.call('POST', '/products/register', register);
    }
    expect(await db.query('SELECT key FROM idempotency_keys ORDER BY key')).toEqual([
      { key: 'a' },
      { key: 'b' },
      { key: 'c' },
    ]);
  });

  it('must be visible text of at most 255 characters', async () => {
    const o = await startTestOrchestrator();
    const { call } = await o.product();
    for (const key of ['two words', 'x'.repeat(256)]) {
      const answer = await call('POST', '/engines/ada/stop', withKey(key));
      expect([answer.status, answer.body.error.code]).toEqual([400, 'INVALID_REQUEST']);
      expect(answer.body.error.message).toContain('header.idempotency-key');
    }
  });
});

describe('?wait=false', () => {
  it('answers with the operation at once, which GET /operations/{id} follows to its end', async () => {
    const o = await startTestOrchestrator();
    const { call, slug } = await o.product();
    await o.engines({ health: 'starting' });
    const { status, body } = await call('POST', '/engines/provision?wait=false', {
      body: { user_id: 'ada' },
    });
    expect([status, body]).toMatchObject([
      202,
      { kind: 'provision', user_id: 'ada', actor: slug, status: 'pending', error: null, ended_at: null },
    ]);
    await o.engines({});
    const ended = await until('it has ended', async () => {
      const seen = (await call('GET', `/operations/${body.id}`)).body;
      return seen.ended_at !== null && seen;
    });
    expect(ended).toMatchObject({ id: body.id, status: 'succeeded', epoch: 1, attempt: 1 });
    expect((await call('GET', '/engines/ada')).body).toMatchObject({
      engine_id: body.engine_id,
      status: 'running',
    });
    for (const [method, path] of [
      ['POST', '/engines/ada/stop'],
      ['POST', '/engines/ada/start'],
      ['DELETE', '/engines/ada'],
    ] as const) {
      const begun = await call(method, `${path}?wait=false`);
      expect([begun.status, begun.body.engine_id]).toEqual([202, body.engine_id]);
      await until('it has ended', async () => {
        return (await call('GET', `/operations/${begun.body.id}`)).body.status === 'succeeded';
      });
    }
  });

  it('still refuses at once what cannot begin', async () => {
    const o = await startTestOrchestrator();
    const { call } = await o.product();
    expect((await call('POST', '/engines/ada/stop?wait=false')).status).toBe(404);
    expect((await call('POST', '/engines/ada/stop?wait=perhaps')).status).toBe(400);
  });
});

describe('GET /operations/{id}', () => {
  it("shows a product its own, an operator anybody's, and tells nobody else", async () => {
    const o = await startTestOrchestrator();
    const { call } = await o.product();
    const other = await o.product();
    await o.engines({ exit_code: 1 });
    const { body } = await call('POST', '/engines/provision?wait=false', { body: { user_id: 'ada' } });
    const path = `/operations/${body.id}`;
    await until('it has ended', async () => (await call('GET', path)).body.status === 'failed');
    const seen = await call('GET', path);
    expect(seen.body.error).toEqual({
      code: 'BACKEND_ERROR',
      message: expect.stringContaining('exit code 1'),
    });
    expect((await o.call('GET', path, { admin: ADMIN })).body).toEqual(seen.body);
    for (const [answer, code] of [
      [await other.call('GET', path), 'OPERATION_NOT_FOUND'],
      [await call('GET', '/operations/nonsense'), 'OPERATION_NOT_FOUND'],
      [await o.call('GET', `/operations/${randomUUID()}`, { admin: ADMIN }), 'OPERATION_NOT_FOUND'],
      [await o.call('GET', path, { admin: 'guess' }), 'INVALID_ADMIN_KEY'],
      [await o.call('GET', path), 'INVALID_PLATFORM_KEY'],
    ] as const) {
      expect(answer.body.error.code).toBe(code);
    }
  });
});
