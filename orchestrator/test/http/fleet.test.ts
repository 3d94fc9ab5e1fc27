/** What operators and products read of a fleet: each its slice, and an operator everybody's. */
import { beforeAll, describe, expect, it } from 'vitest';
import { ADMIN, type Answer, startTestOrchestrator, type TestOrchestrator } from '../support/orchestrator.ts';

const both = { auto_provision: true, auto_wake: true };

describe('the fleet', () => {
  let o: TestOrchestrator;
  let a: Awaited<ReturnType<TestOrchestrator['product']>>;
  let b: typeof a;
  const admin = (path: string) => o.call('GET', path, { admin: ADMIN });
  const users = async (read: (path: string) => Promise<Answer>, query: string) => {
    const { body } = await read(`/engines${query}`);
    return [body.engines.map((engine: { user_id: string }) => engine.user_id).join(), body.total];
  };

  beforeAll(async () => {
    o = await startTestOrchestrator(undefined, { outliveTest: true });
    [a, b] = [await o.product(), await o.product()];
    for (const user of ['ada', 'adam', 'bob']) {
      await a.call('POST', '/engines/provision', {
        body: { user_id: user, ...(user === 'bob' && { engine_version: 'v2' }) },
      });
    }
    await b.call('POST', '/engines/ada/admit', { body: both });
    await a.call('POST', '/engines/adam/sleep', { body: { depth: 'doze' } });
    return () => o.end();
  });

  it.each([
    ['?status=sleeping', 'adam'],
    ['?sleep_depth=doze', 'adam'],
    ['?sleep_depth=hibernate', ''],
    ['?engine_version=v2', 'bob'],
    ['?user_id_prefix=ada', 'ada,adam'],
    ['?user_id_prefix=ad%25', ''],
    ['?user_id_prefix=ada&status=running', 'ada'],
    ['?health=ok', 'ada,adam,bob'],
    ['?health=ill', ''],
  ])('GET /engines%s', async (query, expected) => {
    expect(await users((path) => a.call('GET', path), query)).toEqual([
      expected,
      expected === '' ? 0 : expected.split(',').length,
    ]);
  });

  it('is for an operator that of all products, product by product, or of one', async () => {
    expect((await users(admin, '?user_id_prefix=ada'))[1]).toBe(3);
    expect(await users(admin, `?product_id=${b.id}`)).toEqual(['ada', 1]);
    const { engines } = (await admin('/engines')).body;
    expect(engines.map(({ product_id }: { product_id: string }) => product_id)).toEqual(
      [...Array(3).fill(a.id), b.id].sort(),
    );
    const pages = await Promise.all([0, 1, 2, 3].map((offset) => admin(`/engines?limit=1&offset=${offset}`)));
    expect(pages.map(({ body }) => body.engines[0].engine_id)).toEqual(
      engines.map(({ engine_id }: { engine_id: string }) => engine_id),
    );
    expect((await admin('/status')).body).toMatchObject({ total: 4, by_status: { running: 3, sleeping: 1 } });
    expect((await admin(`/status?product_id=${a.id}`)).body.total).toBe(3);
  });

  it('shows an operator an engine and why it is so, but never its key', async () => {
    const mine = (await b.call('GET', '/engines/ada')).body;
    const seen = await admin(`/engines/ada?product_id=${b.id}`);
    const { api_key, last_health_at: _, ...rest } = mine;
    expect([seen.status, seen.body]).toMatchObject([200, rest]);
    const why = await admin(`/engines/adam/explain?product_id=${a.id}`);
    expect([why.status, why.body]).toMatchObject([200, { user_id: 'adam', status: 'sleeping' }]);
    for (const { body } of [seen, why, await admin('/engines')]) {
      expect(JSON.stringify(body)).not.toContain('sk-sept-');
      expect(JSON.stringify(body)).not.toContain(api_key);
    }
  });

  it.each(['/engines/ada', '/engines/ada/explain'])('GET %s asks an operator which product', async (path) => {
    const { status, body } = await admin(path);
    expect([status, body.error.code, body.error.details.issues]).toEqual([
      400,
      'INVALID_REQUEST',
      [{ path: 'query.product_id', message: 'is required with the admin key' }],
    ]);
  });

  const PATHS = ['/engines', '/engines/ada', '/engines/ada/explain', '/status'];

  it.each(PATHS)('GET %s knows no other products than there are', async (path) => {
    const unknown = await admin(`${path}?product_id=00000000-0000-4000-8000-000000000000`);
    expect([unknown.status, unknown.body.error.code]).toEqual([404, 'PRODUCT_NOT_FOUND']);
    for (const query of ['product_id=x', 'product_id=', `product_id=${a.id}&product_id=${b.id}`]) {
      const { status, body } = await admin(`${path}?${query}`);
      expect([status, body.error.details.issues[0].path]).toEqual([400, 'query.product_id']);
    }
  });

  it.each(PATHS)(
    "GET %s shows a product nothing of another, also when it asks by the other's id",
    async (path) => {
      expect((await a.call('GET', `${path}?product_id=${a.id}`)).status).toBe(200);
      const asked = await a.call('GET', `${path}?product_id=${b.id}`);
      expect([asked.status, asked.body.error.details.issues[0].path]).toEqual([400, 'query.product_id']);
      const mine = JSON.stringify((await a.call('GET', path)).body);
      const { engine_id } = (await b.call('GET', '/engines/ada')).body;
      expect(mine).not.toContain(engine_id);
    },
  );
});
