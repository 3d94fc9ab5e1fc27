/**
 * Every row of the table of endpoints (bap-engine §2.1), called over HTTP along one engine's life. What was called
 * and answered well is written down as it happens and compared at the end with the table below and with the API's own
 * document: an endpoint that is lost, renamed, or added without a call here fails the test.
 */
import { expect, it } from 'vitest';
import { listen } from '../support/events.ts';
import { ADMIN, type Call, startTestOrchestrator } from '../support/orchestrator.ts';
import { until } from '../support/wait.ts';

/** Written down apart from the code; with the two pages about the API itself. */
const ENDPOINTS = [
  'DELETE /engines/{user_id}',
  'DELETE /products/{product_id}',
  'GET /audit',
  'GET /docs',
  'GET /engines',
  'GET /engines/{user_id}',
  'GET /engines/{user_id}/explain',
  'GET /events',
  'GET /health',
  'GET /metrics',
  'GET /metrics/prometheus',
  'GET /openapi.json',
  'GET /operations/{id}',
  'GET /products',
  'GET /rollouts',
  'GET /status',
  'POST /engines/provision',
  'POST /engines/{user_id}/admit',
  'POST /engines/{user_id}/restore',
  'POST /engines/{user_id}/rotate-key',
  'POST /engines/{user_id}/sleep',
  'POST /engines/{user_id}/start',
  'POST /engines/{user_id}/stop',
  'POST /engines/{user_id}/wake',
  'POST /products/register',
  'POST /products/{product_id}/rotate-platform-key',
  'PUT /products/{product_id}/policy',
  'PUT /rollouts/current',
];

const ISO = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
const UUID = expect.stringMatching(/^[0-9a-f-]{36}$/);
const PLATFORM_KEY = expect.stringMatching(/^pk-sept-[\w-]{42,}$/);
const ENGINE_KEY = expect.stringMatching(/^sk-sept-[\w-]{43}$/);

it('each endpoint gives the documented answer along the life of an engine', async () => {
  const o = await startTestOrchestrator();
  const { paths } = (await o.call('GET', '/openapi.json')).body;
  const served = Object.entries<object>(paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
  );
  const answered = new Set<string>();
  /** Notes the endpoint that a call went to. Literal segments win over named ones, as in the router. */
  function note(method: string, target: string) {
    const [path = ''] = target.split('?');
    const fits = (pattern: string) => new RegExp(`^${pattern.replace(/\{\w+\}/g, '[^/]+')}$`).test(path);
    const templates = Object.keys(paths).filter((template) => fits(template));
    answered.add(`${method} ${templates.find((template) => template === path) ?? templates[0]}`);
  }
  const call: Call = async (method, path, options) => {
    const answer = await o.call(method, path, options);
    if (answer.status === 200) note(method, path);
    return answer;
  };
  const body = async (...args: Parameters<Call>) => (await call(...args)).body;

  for (const path of ['/docs', '/openapi.json']) expect((await call('GET', path)).status).toBe(200);
  const health = await call('GET', '/health');
  expect([health.status, health.body]).toEqual([200, { status: 'ok' }]);
  expect(health.headers.get('x-request-id')).toMatch(/^req-/);

  const policy = { max_engines: 10, rate_limit_rpm: 60 };
  const registered = await body('POST', '/products/register', {
    admin: ADMIN,
    body: { slug: 'demo', display_name: 'Demo product', policy },
  });
  expect(registered).toEqual({ product_id: UUID, slug: 'demo', platform_api_key: PLATFORM_KEY });
  const { product_id } = registered;
  const rotated = await body('POST', `/products/${product_id}/rotate-platform-key`, { admin: ADMIN });
  expect(rotated).toEqual({
    product_id,
    slug: 'demo',
    platform_api_key: PLATFORM_KEY,
    old_key_valid_until: ISO,
  });
  expect(rotated.platform_api_key).not.toBe(registered.platform_api_key);
  const kept = { policy: { ...policy, destroy_retention_s: 3600 } };
  expect(await body('PUT', `/products/${product_id}/policy`, { admin: ADMIN, body: kept })).toEqual(kept);
  expect(await body('GET', '/products', { admin: ADMIN })).toEqual({
    products: [
      {
        product_id,
        slug: 'demo',
        display_name: 'Demo product',
        ...kept,
        engines: 0,
        tombstones: 0,
        created_at: ISO,
        old_key_valid_until: null,
      },
    ],
    total: 1,
  });
  const key = rotated.platform_api_key;

  const stream = await listen(o.url, { 'X-Platform-Key': key });
  expect(stream.headers.get('content-type')).toMatch('text/event-stream');
  await stream.begun();
  note('GET', '/events');

  const provisioned = await body('POST', '/engines/provision', { key, body: { user_id: 'ada' } });
  const url = `http://127.0.0.1:${o.config.port_min}`;
  expect(provisioned).toEqual({
    engine_id: UUID,
    user_id: 'ada',
    status: 'running',
    url,
    api_key: ENGINE_KEY,
  });
  const { engine_id, api_key } = provisioned;
  await until('the engine is told to run', () => stream.seen.at(-1)?.to === 'running');
  await stream.close();

  const view = await body('GET', '/engines/ada', { key });
  expect(view).toEqual({
    engine_id,
    user_id: 'ada',
    status: 'running',
    url,
    api_key,
    engine_version: 'september-engine:latest',
    created_at: ISO,
    last_health_at: ISO,
  });
  // A probe may come at any time.
  const same = { ...view, last_health_at: ISO };
  const flags = { auto_provision: true, auto_wake: true };
  expect(await body('POST', '/engines/ada/admit', { key, body: flags })).toEqual({
    admitted: true,
    engine: same,
  });
  const { api_key: _, ...summary } = same;
  expect(await body('GET', '/engines', { key })).toEqual({
    engines: [{ ...summary, health: 'ok' }],
    total: 1,
  });
  expect(await body('GET', '/status', { key })).toEqual({
    total: 1,
    by_status: { running: 1 },
    health: 'ok',
    unhealthy_count: 0,
  });
  expect(await body('GET', '/engines/ada/explain', { key })).toMatchObject({
    engine_id,
    status: 'running',
    rule: expect.any(String),
    source: expect.any(String),
    evidence: { process: { state: 'present', epoch: 1 } },
    advice: expect.any(String),
  });

  expect(await body('POST', '/engines/ada/sleep', { key, body: { depth: 'doze' } })).toEqual({
    status: 'sleeping',
    engine_id,
    sleep_depth: 'doze',
  });
  expect(await body('POST', '/engines/ada/wake', { key })).toEqual({ status: 'running', engine_id, url });
  expect(await body('POST', '/engines/ada/rotate-key', { key })).toEqual({
    engine_id,
    api_key: ENGINE_KEY,
    old_key_valid_until: ISO,
  });
  const second_key = (await body('GET', '/engines/ada', { key })).api_key;
  expect(second_key).not.toBe(api_key);
  expect(await body('POST', '/engines/ada/stop', { key })).toEqual({ status: 'stopped', engine_id });
  expect(await body('POST', '/engines/ada/start', { key })).toEqual({ status: 'running', url });
  expect(await body('DELETE', '/engines/ada', { key })).toEqual({ status: 'destroyed', engine_id });
  expect(await body('POST', '/engines/ada/restore', { key })).toEqual({
    ...provisioned,
    api_key: second_key,
  });

  const asked = await call('DELETE', '/engines/ada?retain=false&wait=false', { key });
  expect(asked.status).toBe(202);
  await call('DELETE', '/engines/ada?retain=false', { key });
  expect(await body('GET', `/operations/${asked.body.id}`, { key })).toMatchObject({
    id: asked.body.id,
    engine_id,
    user_id: 'ada',
    kind: 'destroy',
    actor: 'demo',
    status: 'succeeded',
    error: null,
    created_at: ISO,
    ended_at: ISO,
  });
  expect((await call('GET', '/engines/ada', { key })).status).toBe(404);
  expect(await body('GET', '/metrics', { key })).toEqual({
    provisions_1h: 1,
    crashes_1h: 0,
    restarts_1h: 0,
    avg_boot_ms: expect.any(Number),
    total_provisions: 1,
    total_destroys: 2,
  });
  const exposition = await body('GET', '/metrics/prometheus', { admin: ADMIN });
  expect(exposition).toMatch(/^# HELP /);

  const rollout = {
    image: 'september-engine:latest',
    state: 'done',
    percent: 5,
    running_too: false,
    previous: null,
    started_at: ISO,
    proven_at: ISO,
    halted: null,
    engines: { concerned: 0, upgraded: 0, under_way: 0, tried: 0 },
    next: expect.any(String),
  };
  expect(await body('GET', '/rollouts', { admin: ADMIN })).toEqual({ rollouts: [rollout] });
  const wider = { ...rollout, percent: 25, running_too: true };
  expect(await body('PUT', '/rollouts/current', { admin: ADMIN, body: { percent: 25 } })).toEqual(wider);

  const { rows } = await body('GET', '/audit?order=asc', { key });
  expect(rows.map(({ action, actor }: { action: string; actor: string }) => `${action} by ${actor}`)).toEqual(
    [
      'policy_register by admin',
      'rotate_platform_key by admin',
      'policy_update by admin',
      'provision by demo',
      'sleep by demo',
      'wake by demo',
      'rotate_key by demo',
      'stop by demo',
      'start by demo',
      'destroy by demo',
      'restore by demo',
      'destroy by demo',
    ],
  );
  for (const { duration_ms } of rows.slice(3)) expect(duration_ms).toBeGreaterThanOrEqual(0);

  expect(await body('DELETE', `/products/${product_id}`, { admin: ADMIN })).toEqual({
    status: 'deleted',
    product_id,
  });

  expect([...answered].sort()).toEqual(ENDPOINTS);
  expect(served.sort()).toEqual(ENDPOINTS);
});
