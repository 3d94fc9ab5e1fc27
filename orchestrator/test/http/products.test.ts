/** What operators do with products: list them, rotate their keys, delete them (bap-engine §2.5, O27). */
import { describe, expect, it } from 'vitest';
import type { Db, Sql } from '../../src/registry/db.ts';
import { deleteProduct, replacePolicy } from '../../src/registry/products.ts';
import { ADMIN, type Answer, caller, startTestOrchestrator } from '../support/orchestrator.ts';
import { until } from '../support/wait.ts';

const NOBODY = '00000000-0000-4000-8000-000000000000';

/** What `request` is answered that waits for the product's row while `change` is made to it. */
async function whileHeld(
  db: Db,
  product_id: string,
  { request, change }: { request: () => Promise<Answer>; change: (sql: Sql) => Promise<unknown> },
): Promise<Answer> {
  let answer: Promise<Answer> | undefined;
  await db.tx(async (sql) => {
    await sql.query('SELECT FROM products WHERE id = $1 FOR UPDATE', [product_id]);
    answer = request();
    await until('it waits for the row', async () => {
      const waiting = await db.query(
        "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
      );
      return waiting.length > 0;
    });
    await change(sql);
  });
  if (answer === undefined) throw new TypeError('nothing was asked');
  return await answer;
}

async function start() {
  const o = await startTestOrchestrator();
  return {
    o,
    admin: (method: string, path: string, body?: object, headers = {}) =>
      o.call(method, path, { admin: ADMIN, headers, ...(body && { body }) }),
    statusBy: async (key: string) => (await caller(o.url, key)('GET', '/status')).status,
    audit: async (product_id: string) =>
      await o.orchestrator.db.query<{ action: string; actor: string; metadata: object }>(
        'SELECT action, actor, metadata FROM audit_log WHERE product_id = $1 ORDER BY id',
        [product_id],
      ),
  };
}

describe('POST /products/{product_id}/rotate-platform-key', () => {
  it('gives a new key; without an overlap the old one ends at once', async () => {
    const { o, admin, statusBy, audit } = await start();
    const product = await o.product();
    const { status, body } = await admin('POST', `/products/${product.id}/rotate-platform-key`);
    expect(status).toBe(200);
    expect(body).toEqual({
      product_id: product.id,
      slug: product.slug,
      platform_api_key: expect.stringMatching(/^pk-sept-[\w-]{42,}$/),
      old_key_valid_until: expect.any(String),
    });
    expect(await statusBy(body.platform_api_key)).toBe(200);
    expect(await statusBy(product.key)).toBe(401);
    expect((await audit(product.id)).at(-1)).toEqual({
      action: 'rotate_platform_key',
      actor: 'admin',
      metadata: { overlap_s: 0, old_key_valid_until: body.old_key_valid_until },
    });
  });

  it('leaves the old key good for the overlap, for all calls, and the one before it not at all', async () => {
    const { o, admin, statusBy } = await start();
    const { id, key: first, call } = await o.product();
    const rotate = (overlap_s: number) =>
      admin('POST', `/products/${id}/rotate-platform-key`, { overlap_s }).then(({ body }) => body);
    const second = await rotate(3600);
    expect(Date.parse(second.old_key_valid_until) - Date.now()).toBeGreaterThan(3_500_000);
    expect(await statusBy(first)).toBe(200);
    expect(await statusBy(second.platform_api_key)).toBe(200);
    const admitted = await call('POST', '/engines/ada/admit', { body: { auto_provision: true } });
    expect(admitted.body.admitted).toBe(true);
    const listed = (await admin('GET', '/products')).body.products[0];
    expect(listed.old_key_valid_until).toBe(second.old_key_valid_until);

    const third = await rotate(1);
    expect(await statusBy(first)).toBe(401);
    expect(await statusBy(third.platform_api_key)).toBe(200);
    await until('the overlap is over', async () => (await statusBy(second.platform_api_key)) === 401);
    expect(Date.now()).toBeGreaterThanOrEqual(Date.parse(third.old_key_valid_until));
    expect((await admin('GET', '/products')).body.products[0].old_key_valid_until).toBeNull();
  });

  it('rotates once for a request that is sent again', async () => {
    const { o, admin } = await start();
    const { id } = await o.product();
    const rotate = () =>
      admin('POST', `/products/${id}/rotate-platform-key`, { overlap_s: 60 }, { 'Idempotency-Key': 'r' });
    const first = await rotate();
    expect((await rotate()).body).toEqual(first.body);
  });

  it.each([-1, 604_801, 1.5, '60'])('refuses an overlap of %j', async (overlap_s) => {
    const { o, admin } = await start();
    const { id } = await o.product();
    const { status, body } = await admin('POST', `/products/${id}/rotate-platform-key`, { overlap_s });
    expect([status, body.error.details.issues[0].path]).toEqual([400, 'body.overlap_s']);
  });

  it.each(['x', NOBODY])('does not know the product %s', async (id) => {
    const { admin } = await start();
    const { status, body } = await admin('POST', `/products/${id}/rotate-platform-key`);
    expect([status, body.error.code]).toEqual([404, 'PRODUCT_NOT_FOUND']);
  });
});

describe('GET /products', () => {
  it('lists all, oldest first, in pages, with their engines and without their keys', async () => {
    const { o, admin } = await start();
    const first = await o.product({ max_engines: 2 }, 'first');
    await o.product({}, 'second');
    await o.product({}, 'third');
    await first.call('POST', '/engines/provision', { body: { user_id: 'ada' } });
    await first.call('POST', '/engines/provision', { body: { user_id: 'bob' } });
    await first.call('DELETE', '/engines/bob?retain=true');

    const { status, body } = await admin('GET', '/products');
    expect([status, body.total]).toEqual([200, 3]);
    expect(body.products.map(({ slug }: { slug: string }) => slug)).toEqual(['first', 'second', 'third']);
    expect(body.products[0]).toEqual({
      product_id: first.id,
      slug: 'first',
      display_name: 'first',
      policy: { max_engines: 2 },
      engines: 1,
      tombstones: 1,
      created_at: expect.any(String),
      old_key_valid_until: null,
    });
    expect(JSON.stringify(body)).not.toMatch(/key_hash|pk-sept/);

    const page = (await admin('GET', '/products?limit=1&offset=1')).body;
    expect([page.products.length, page.products[0].slug, page.total]).toEqual([1, 'second', 3]);
    expect((await admin('GET', '/products?offset=9')).body).toEqual({ products: [], total: 3 });
    for (const [query, path] of [
      ['limit=0', 'query.limit'],
      ['limit=1001', 'query.limit'],
      ['offset=-1', 'query.offset'],
    ]) {
      expect((await admin('GET', `/products?${query}`)).body.error.details.issues[0].path).toBe(path);
    }
  });
});

describe('DELETE /products/{product_id}', () => {
  it('is refused while there are engines or tombstones, and leaves the audit rows', async () => {
    const { o, admin, statusBy, audit } = await start();
    const { id, key, call, slug } = await o.product();
    await call('POST', '/engines/provision', { body: { user_id: 'ada' } });
    const remove = () => admin('DELETE', `/products/${id}`);
    const refused = { status: 409, body: { error: { code: 'PRODUCT_HAS_ENGINES' } } };
    expect(await remove()).toMatchObject(refused);
    await call('DELETE', '/engines/ada?retain=true');
    expect(await remove()).toMatchObject(refused);
    expect(await statusBy(key)).toBe(200);
    await call('DELETE', '/engines/ada?retain=false');

    const { status, body } = await remove();
    expect([status, body]).toEqual([200, { status: 'deleted', product_id: id }]);
    expect(await statusBy(key)).toBe(401);
    expect((await admin('GET', '/products')).body.total).toBe(0);
    expect((await remove()).body.error.code).toBe('PRODUCT_NOT_FOUND');
    const rows = await audit(id);
    expect(rows.map(({ action }) => action)).toEqual([
      'policy_register',
      'provision',
      'destroy',
      'destroy',
      'product_delete',
    ]);
    expect(rows.at(-1)).toMatchObject({ actor: 'admin', metadata: { slug } });
    // The name is free again, for another product.
    expect((await o.product({}, slug)).id).not.toBe(id);
  });

  it('answers a request that is sent again as the first time', async () => {
    const { o, admin } = await start();
    const { id } = await o.product();
    const remove = () => admin('DELETE', `/products/${id}`, undefined, { 'Idempotency-Key': 'd' });
    const first = await remove();
    expect(first.status).toBe(200);
    expect((await remove()).body).toEqual(first.body);
  });

  it('that a provision finds gone in the last moment answers it as any unknown key', async () => {
    const { o } = await start();
    const { id, call } = await o.product();
    const provisioned = await whileHeld(o.orchestrator.db, id, {
      request: () => call('POST', '/engines/provision', { body: { user_id: 'ada' } }),
      change: (sql) => deleteProduct(sql, id),
    });
    expect([provisioned.status, provisioned.body.error.code]).toEqual([401, 'INVALID_PLATFORM_KEY']);
  });

  it('and a provision in the same moment end in one of two ways: never an engine without a product', async () => {
    const { o, admin } = await start();
    for (let round = 0; round < 5; round += 1) {
      const { id, call } = await o.product();
      const [provisioned, removed] = await Promise.all([
        call('POST', '/engines/provision?wait=false', { body: { user_id: 'ada' } }),
        admin('DELETE', `/products/${id}`),
      ]);
      expect([removed.status === 200, provisioned.status === 202].filter(Boolean)).toHaveLength(1);
      const [left] = await o.orchestrator.db.query<{ n: number }>(
        'SELECT count(*)::int AS n FROM engines WHERE product_id = $1',
        [id],
      );
      expect(left?.n).toBe(removed.status === 200 ? 0 : 1);
    }
  });
});

describe('PUT /products/{product_id}/policy', () => {
  it('in the moment of a provision: the refusal names the limit that refused it', async () => {
    const { o } = await start();
    const { id, call } = await o.product();
    const { status, body } = await whileHeld(o.orchestrator.db, id, {
      request: () => call('POST', '/engines/provision', { body: { user_id: 'ada' } }),
      change: (sql) => replacePolicy(sql, id, { max_engines: 0 }),
    });
    expect([status, body.error.message]).toEqual([429, 'Product at max_engines limit (0).']);
  });
});
