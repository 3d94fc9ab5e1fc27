import { once } from 'node:events';
import { connect } from 'node:net';
import { beforeAll, describe, expect, it } from 'vitest';
import { ERRORS, type ErrorCode } from '../../src/errors.ts';
import { ADMIN, type Call, startTestOrchestrator, type TestOrchestrator } from '../support/orchestrator.ts';

/** Whose key it takes; `either`: the product's, or the admin key where that is sent. */
type Who = 'admin' | 'product' | 'either';
type Endpoint = [method: string, path: string, who: Who, body?: object];

const ENDPOINTS: Endpoint[] = [
  ['POST', '/products/register', 'admin', { slug: 'x', display_name: 'X' }],
  ['PUT', '/products/00000000-0000-4000-8000-000000000000/policy', 'admin', { policy: {} }],
  ['GET', '/products', 'admin'],
  ['POST', '/products/00000000-0000-4000-8000-000000000000/rotate-platform-key', 'admin', {}],
  ['DELETE', '/products/00000000-0000-4000-8000-000000000000', 'admin'],
  ['POST', '/engines/provision', 'product', { user_id: 'ada' }],
  ['GET', '/engines/ada', 'either'],
  ['POST', '/engines/ada/admit', 'product', {}],
  ['POST', '/engines/ada/start', 'product'],
  ['POST', '/engines/ada/stop', 'product'],
  ['POST', '/engines/ada/sleep', 'product', {}],
  ['POST', '/engines/ada/wake', 'product'],
  ['POST', '/engines/ada/rotate-key', 'product'],
  ['GET', '/engines/ada/explain', 'either'],
  ['DELETE', '/engines/ada', 'product'],
  ['POST', '/engines/ada/restore', 'product'],
  ['GET', '/engines', 'either'],
  ['GET', '/status', 'either'],
  ['GET', '/events', 'either'],
  ['GET', '/metrics', 'either'],
  ['GET', '/metrics/prometheus', 'admin'],
  ['GET', '/operations/00000000-0000-4000-8000-000000000000', 'either'],
  ['GET', '/audit', 'either'],
];
const WITH_BODY = ENDPOINTS.filter(([, , , body]) => body !== undefined);

/** What every error answer has in common; the process must be well after each. */
function expectError(answer: Awaited<ReturnType<Call>>, code: ErrorCode) {
  expect([answer.body?.error?.code, answer.status]).toEqual([code, ERRORS[code].status]);
  expect(Object.keys(answer.body)).toEqual(['error']);
  expect(answer.body.error.message).toMatch(/./);
  expect(answer.body.error.message).not.toMatch(/\n|at \w+ \(|node_modules|\.ts\b/);
  expect(answer.headers.get('x-request-id')).toMatch(/^req-/);
  expect(answer.headers.has('retry-after')).toBe([429, 503].includes(answer.status));
}

describe('bad input', () => {
  let o: TestOrchestrator;
  let key: string;
  let call: Call;

  // One orchestrator for all: it must stand everything that follows, one after the other.
  beforeAll(async () => {
    o = await startTestOrchestrator(undefined, { outliveTest: true });
    ({ key, call } = await o.product());
    return () => o.end();
  });

  const keyFor = (who: Who) => (who === 'admin' ? { admin: ADMIN } : { key });
  const codeFor = (who: Who, sent: { admin?: string } = {}) =>
    who === 'admin' || (who === 'either' && sent.admin !== undefined)
      ? ('INVALID_ADMIN_KEY' as const)
      : ('INVALID_PLATFORM_KEY' as const);

  describe.each(ENDPOINTS)('%s %s', (method, path, who, body) => {
    it('without a key', async () => {
      expectError(await o.call(method, path, { body }), codeFor(who));
      expectError(await o.call(method, path, { raw: body && '{broken' }), codeFor(who));
    });

    it('with a wrong key, or the key of the other kind', async () => {
      const wrong = { key: `${key}x`, admin: `${ADMIN}x` };
      expectError(await o.call(method, path, { body, ...wrong }), codeFor(who, wrong));
      expectError(await o.call(method, path, { raw: body && '{broken', ...wrong }), codeFor(who, wrong));
      if (who === 'either') return;
      const other = who === 'admin' ? { key } : { admin: ADMIN };
      expectError(await o.call(method, path, { body, ...other }), codeFor(who));
    });
  });

  describe.each(ENDPOINTS.filter(([method]) => method !== 'GET'))('%s %s', (method, path, who) => {
    it('with a body of 10 MB', async () => {
      const raw = JSON.stringify({ user_id: 'a', padding: 'x'.repeat(10 * 2 ** 20) });
      const answer = await o.call(method, path, { raw, ...keyFor(who) });
      expectError(answer, 'INVALID_REQUEST');
      expect(answer.body.error.message).toBe('body is larger than 262144 bytes');
    });
  });

  describe.each(WITH_BODY)('%s %s', (method, path, who) => {
    it.each(['{', '{"a":', 'nonsense', '{"user_id":"a",}'])('with the malformed JSON %s', async (raw) => {
      const answer = await o.call(method, path, { raw, ...keyFor(who) });
      expectError(answer, 'INVALID_REQUEST');
      expect(answer.body.error.details.issues).toEqual([{ path: 'body', message: 'is not valid JSON' }]);
    });

    it.each(['[]', '"text"', '7', 'null', 'true'])('with %s, which is no object', async (raw) => {
      const answer = await o.call(method, path, { raw, ...keyFor(who) });
      expectError(answer, 'INVALID_REQUEST');
      expect(answer.body.error.details.issues[0].path).toBe('body');
    });

    it('with another content type', async () => {
      const answer = await o.call(method, path, {
        raw: 'a=b',
        ...keyFor(who),
        headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
      });
      expectError(answer, 'INVALID_REQUEST');
      expect(answer.body.error.details.issues[0].path).toBe('header.content-type');
    });
  });

  const WRONG: [method: string, path: string, body: object, field: string][] = [
    ['POST', '/products/register', {}, 'body.slug'],
    ['POST', '/products/register', { slug: 'x' }, 'body.display_name'],
    ['POST', '/products/register', { slug: 7, display_name: 'X' }, 'body.slug'],
    ['POST', '/products/register', { slug: '', display_name: 'X' }, 'body.slug'],
    ['POST', '/products/register', { slug: 'a b', display_name: 'X' }, 'body.slug'],
    ['POST', '/products/register', { slug: 'x', display_name: 'a\0b' }, 'body.display_name'],
    ['POST', '/products/register', { slug: 'x', display_name: 'X', policy: { max: 1 } }, 'body.policy'],
    ['POST', '/products/register', { slug: 'x', display_name: 'X', policy: [] }, 'body.policy'],
    ['PUT', '/products/x/policy', {}, 'body.policy'],
    ['PUT', '/products/x/policy', { policy: { max_engines: '10' } }, 'body.policy.max_engines'],
    ['PUT', '/products/x/policy', { policy: { max_engines: -1 } }, 'body.policy.max_engines'],
    ['PUT', '/products/x/policy', { policy: { rate_limit_rpm: 1.5 } }, 'body.policy.rate_limit_rpm'],
    ['PUT', '/products/x/policy', { policy: { rate_limit_rpm: 0 } }, 'body.policy.rate_limit_rpm'],
    ['PUT', '/products/x/policy', { policy: { suspended: 'no' } }, 'body.policy.suspended'],
    ['PUT', '/products/x/policy', { policy: { allowed_versions: 'v1' } }, 'body.policy.allowed_versions'],
    ['PUT', '/products/x/policy', { policy: { sleep_mode: 'deep' } }, 'body.policy.sleep_mode'],
    ['PUT', '/products/x/policy', { policy: { region: 'eu' } }, 'body.policy'],
    ['POST', '/engines/provision', {}, 'body.user_id'],
    ['POST', '/engines/provision', { user_id: 7 }, 'body.user_id'],
    ['POST', '/engines/provision', { user_id: '' }, 'body.user_id'],
    ['POST', '/engines/provision', { user_id: '.' }, 'body.user_id'],
    ['POST', '/engines/provision', { user_id: '..' }, 'body.user_id'],
    ['POST', '/engines/provision', { user_id: 'a\0b' }, 'body.user_id'],
    ['POST', '/engines/provision', { user_id: '\ud800' }, 'body.user_id'],
    ['POST', '/engines/provision', { user_id: 'x'.repeat(257) }, 'body.user_id'],
    ['POST', '/engines/provision', { user_id: 'x'.repeat(1000) }, 'body.user_id'],
    ['POST', '/engines/provision', { user_id: 'a', engine_version: 2 }, 'body.engine_version'],
    ['POST', '/engines/a/admit', { auto_provision: 'yes' }, 'body.auto_provision'],
    ['POST', '/engines/a/admit', { auto_wake: 1 }, 'body.auto_wake'],
  ];

  it.each(WRONG)('%s %s %j names %s', async (method, path, body, field) => {
    const who = path.startsWith('/products') ? 'admin' : 'product';
    const answer = await o.call(method, path, { body, ...keyFor(who) });
    expectError(answer, 'INVALID_REQUEST');
    expect(answer.body.error.details.issues.map((issue: { path: string }) => issue.path)).toContain(field);
  });

  it.each([
    ['limit=0', 'query.limit'],
    ['limit=1001', 'query.limit'],
    ['limit=ten', 'query.limit'],
    ['limit=', 'query.limit'],
    ['offset=-1', 'query.offset'],
    ['offset=1e3', 'query.offset'],
    ['status=awake', 'query.status'],
    ['limit=1&limit=2', 'query.limit'],
    ['sleep_depth=deep', 'query.sleep_depth'],
    ['health=well', 'query.health'],
    ['engine_version=', 'query.engine_version'],
    ['user_id_prefix=', 'query.user_id_prefix'],
    ['user_id_prefix=%00', 'query.user_id_prefix'],
    ['product_id=00000000-0000-4000-8000-000000000000', 'query.product_id'],
  ])('GET /engines?%s names %s', async (query, field) => {
    const answer = await call('GET', `/engines?${query}`);
    expectError(answer, 'INVALID_REQUEST');
    expect(answer.body.error.details.issues.map((issue: { path: string }) => issue.path)).toEqual([field]);
  });

  it.each([
    ['?after=now', {}, 'query.after'],
    ['?after=-1', {}, 'query.after'],
    ['', { 'Last-Event-ID': 'x' }, 'header.last-event-id'],
  ])('GET /events%s with %j names %s', async (query, headers, field) => {
    const answer = await call('GET', `/events${query}`, { headers });
    expectError(answer, 'INVALID_REQUEST');
    expect(answer.body.error.details.issues.map((issue: { path: string }) => issue.path)).toEqual([field]);
  });

  it.each([
    ['limit=0', 'query.limit'],
    ['limit=1001', 'query.limit'],
    ['order=newest', 'query.order'],
    ['user_id=', 'query.user_id'],
    ['user_id=%00', 'query.user_id'],
    ['engine_id=7', 'query.engine_id'],
    ['action=dance', 'query.action'],
    ['actor=', 'query.actor'],
    ['from=yesterday', 'query.from'],
    ['to=2024-02-30T00:00:00Z', 'query.to'],
    ['to=2024-02-29', 'query.to'],
    ['cursor=', 'query.cursor'],
    ['cursor=7', 'query.cursor'],
    ['cursor=LTE', 'query.cursor'],
    ['cursor=MQ&cursor=MQ', 'query.cursor'],
    ['product_id=7', 'query.product_id'],
  ])('GET /audit?%s names %s', async (query, field) => {
    const answer = await call('GET', `/audit?${query}`);
    expectError(answer, 'INVALID_REQUEST');
    expect(answer.body.error.details.issues.map((issue: { path: string }) => issue.path)).toEqual([field]);
  });

  it.each(['retain=maybe', 'retain=', 'retain=true&retain=false'])(
    'DELETE /engines/{user_id}?%s names query.retain',
    async (query) => {
      const answer = await call('DELETE', `/engines/ada?${query}`);
      expectError(answer, 'INVALID_REQUEST');
      expect(answer.body.error.details.issues.map((issue: { path: string }) => issue.path)).toEqual([
        'query.retain',
      ]);
    },
  );

  describe.each([
    ['GET', ''],
    ['POST', '/admit'],
    ['POST', '/start'],
    ['POST', '/stop'],
    ['POST', '/restore'],
    ['DELETE', ''],
  ])('%s /engines/{user_id}%s', (method, tail) => {
    it('for an unknown user', async () => {
      const answer = await call(method, `/engines/nobody${tail}`);
      if (tail === '/admit') expect(answer.body.reason).toBe('engine_not_found');
      else expectError(answer, 'ENGINE_NOT_FOUND');
    });

    it.each([
      ['1,000 characters', 'x'.repeat(1000)],
      ['257 emoji', encodeURIComponent('🦉'.repeat(257))],
      ['NUL', '%00'],
      ['half an escape', '%E0%A4%A'],
      ['an escape of nothing', '%zz'],
      ['half a surrogate pair', '%ED%A0%80'],
    ])('with a user id of %s', async (_, id) => {
      expectError(await call(method, `/engines/${id}${tail}`), 'INVALID_REQUEST');
    });

    it.each(['.', '..', '%2e', '%2E%2e'])(
      'with the user id %s, as a client that keeps it sends it',
      async (id) => {
        const url = new URL(o.url);
        const socket = connect(Number(url.port), url.hostname);
        const head = `${method} /engines/${id}${tail} HTTP/1.1\r\nHost: ${url.host}\r\n`;
        socket.write(`${head}X-Platform-Key: ${key}\r\nConnection: close\r\n\r\n`);
        let text = '';
        for await (const chunk of socket) text += chunk;
        expect(text).toMatch(/^HTTP\/1\.1 400 /);
        expect(text).toContain('"code":"INVALID_REQUEST"');
      },
    );
  });

  it('is not looked at before the key', async () => {
    const raw = 'x'.repeat(10 * 2 ** 20);
    expectError(await o.call('POST', '/engines/provision', { raw }), 'INVALID_PLATFORM_KEY');
    expectError(await o.call('GET', '/engines/%zz'), 'INVALID_PLATFORM_KEY');
    expectError(await o.call('PUT', '/products/%zz/policy'), 'INVALID_ADMIN_KEY');
  });

  it.each([
    ['GET', '/nowhere'],
    ['GET', '/engines/'],
    ['POST', '/engines'],
    ['PATCH', '/engines/ada'],
    ['PUT', '/engines/ada/admit'],
    ['GET', '/engines/ada/bed/admit'],
  ])('%s %s is not found', async (method, path) => {
    expectError(await call(method, path), 'NOT_FOUND');
    expectError(await o.call(method, path), 'INVALID_PLATFORM_KEY');
  });

  it.each([
    ['an unknown id', '00000000-0000-4000-8000-000000000000', 'OPERATION_NOT_FOUND'],
    ['1,000 characters', 'x'.repeat(1000), 'OPERATION_NOT_FOUND'],
    ['NUL', '%00', 'OPERATION_NOT_FOUND'],
    ['SQL', encodeURIComponent("' OR '1'='1"), 'OPERATION_NOT_FOUND'],
    ['half an escape', '%E0%A4%A', 'INVALID_REQUEST'],
    ['half a surrogate pair', '%ED%A0%80', 'INVALID_REQUEST'],
  ] as const)('GET /operations/{id} with %s', async (_, id, code) => {
    for (const sent of [{ key }, { admin: ADMIN }]) {
      expectError(await o.call('GET', `/operations/${id}`, sent), code);
    }
  });

  it('an unknown product', async () => {
    for (const id of ['00000000-0000-4000-8000-000000000000', 'x', '%00']) {
      const answer = await o.call('PUT', `/products/${id}/policy`, { admin: ADMIN, body: { policy: {} } });
      expectError(answer, 'PRODUCT_NOT_FOUND');
    }
  });

  it('a slug that is taken', async () => {
    const body = { slug: 'taken', display_name: 'T' };
    expect((await o.call('POST', '/products/register', { admin: ADMIN, body })).status).toBe(200);
    expectError(await o.call('POST', '/products/register', { admin: ADMIN, body }), 'PRODUCT_SLUG_EXISTS');
  });

  it('a request line that makes no URL', async () => {
    const url = new URL(o.url);
    for (const request of ['GET \\engines HTTP/1.1\r\nHost: a', 'GET /status HTTP/1.1\r\nHost: a b']) {
      const socket = connect(Number(url.port), url.hostname);
      socket.write(`${request}\r\nConnection: close\r\n\r\n`);
      const [first] = await once(socket, 'data');
      expect(String(first)).toMatch(/^HTTP\/1\.1 400 /);
    }
  });

  it('leaves the process healthy, and no stack in any answer', async () => {
    expect((await o.call('GET', '/health')).body).toEqual({ status: 'ok' });
    expect(o.logged()).not.toContain('request failed');
  });
});
