import { describe, expect, it } from 'vitest';
import { ADMIN, startTestOrchestrator } from '../support/orchestrator.ts';

const ISO = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
const UUID = /^[0-9a-f-]{36}$/;
const both = { auto_provision: true, auto_wake: true };

describe('every endpoint', () => {
  it('gives the documented answer along the life of an engine', async () => {
    const o = await startTestOrchestrator();
    const health = await o.call('GET', '/health');
    expect([health.status, health.body]).toEqual([200, { status: 'ok' }]);
    expect(health.headers.get('x-request-id')).toMatch(/^req-/);

    const registered = await o.call('POST', '/products/register', {
      admin: ADMIN,
      body: { slug: 'demo', display_name: 'Demo product', policy: { max_engines: 10, rate_limit_rpm: 60 } },
    });
    expect(registered.body).toEqual({
      product_id: expect.stringMatching(UUID),
      slug: 'demo',
      platform_api_key: expect.stringMatching(/^pk-sept-[\w-]{42,}$/),
    });
    const key = registered.body.platform_api_key;

    const provisioned = await o.call('POST', '/engines/provision', { key, body: { user_id: 'ada' } });
    expect(provisioned.body).toEqual({
      engine_id: expect.stringMatching(UUID),
      user_id: 'ada',
      status: 'running',
      url: `http://127.0.0.1:${o.config.port_min}`,
      api_key: expect.stringMatching(/^sk-sept-[\w-]{43}$/),
    });
    const { engine_id, url, api_key } = provisioned.body;

    const view = await o.call('GET', '/engines/ada', { key });
    expect(view.body).toEqual({
      engine_id,
      user_id: 'ada',
      status: 'running',
      url,
      api_key,
      engine_version: 'september-engine:latest',
      created_at: expect.stringMatching(ISO),
      last_health_at: expect.stringMatching(ISO),
    });
    // A probe may come at any time.
    const same = { ...view.body, last_health_at: expect.stringMatching(ISO) };
    const admitted = await o.call('POST', '/engines/ada/admit', { key, body: both });
    expect(admitted.body).toEqual({ admitted: true, engine: same });

    const { api_key: _, ...summary } = same;
    const list = await o.call('GET', '/engines', { key });
    expect(list.body).toEqual({ engines: [{ ...summary, health: 'ok' }], total: 1 });
    expect((await o.call('GET', '/status', { key })).body).toEqual({
      total: 1,
      by_status: { running: 1 },
      health: 'ok',
      unhealthy_count: 0,
    });

    const again = await o.call('POST', '/engines/ada/start', { key });
    expect([again.status, again.body.error.code]).toEqual([409, 'ENGINE_ALREADY_RUNNING']);
    expect((await o.call('POST', '/engines/ada/stop', { key })).body).toEqual({
      status: 'stopped',
      engine_id,
    });
    const stopped = await o.call('POST', '/engines/ada/stop', { key });
    expect([stopped.status, stopped.body.error.code]).toEqual([409, 'ENGINE_NOT_RUNNING']);
    expect((await o.call('POST', '/engines/ada/start', { key })).body).toEqual({ status: 'running', url });
    expect((await o.call('GET', '/engines/ada', { key })).body.api_key).toBe(api_key);

    expect((await o.call('DELETE', '/engines/ada', { key })).body).toEqual({
      status: 'destroyed',
      engine_id,
    });
    const gone = await o.call('GET', '/engines/ada', { key });
    expect([gone.status, gone.body.error.code]).toEqual([404, 'ENGINE_NOT_FOUND']);

    const actions = await o.orchestrator.db.query<{ action: string; actor: string; duration_ms: number }>(
      'SELECT action, actor, duration_ms FROM audit_log ORDER BY id',
    );
    expect(actions.map(({ action, actor }) => [action, actor])).toEqual([
      ['policy_register', 'admin'],
      ['provision', 'demo'],
      ['stop', 'demo'],
      ['start', 'demo'],
      ['destroy', 'demo'],
    ]);
    for (const { duration_ms } of actions.slice(1)) expect(duration_ms).toBeGreaterThanOrEqual(0);
  });

  it('takes a missing body for the defaults, whatever type it is declared to have', async () => {
    const { product } = await startTestOrchestrator();
    const { call } = await product();
    for (const headers of [{}, { 'Content-Type': 'application/json' }, { 'Content-Type': 'text/plain' }]) {
      const { status, body } = await call('POST', '/engines/ada/admit', { headers });
      expect([status, body.reason]).toEqual([200, 'engine_not_found']);
    }
    expect((await call('POST', '/engines/ada/start')).status).toBe(404);
  });

  it('lists in a stable order, in pages, by state', async () => {
    const { product } = await startTestOrchestrator();
    const { call } = await product();
    for (const user_id of ['c', 'a', 'b']) await call('POST', '/engines/provision', { body: { user_id } });
    await call('POST', '/engines/a/stop');
    const users = async (query: string) => {
      const { body } = await call('GET', `/engines${query}`);
      return [body.engines.map((engine: { user_id: string }) => engine.user_id).join(''), body.total];
    };
    expect(await users('')).toEqual(['cab', 3]);
    expect(await users('?limit=2')).toEqual(['ca', 3]);
    expect(await users('?limit=2&offset=2')).toEqual(['b', 3]);
    expect(await users('?offset=7')).toEqual(['', 3]);
    expect(await users('?status=running')).toEqual(['cb', 2]);
    expect(await users('?status=sleeping')).toEqual(['', 0]);
  });

  it('shows a product nothing of another: not its engines, not under the same user id', async () => {
    const { product, call } = await startTestOrchestrator();
    const [a, b] = [await product(), await product()];
    const mine = (await a.call('POST', '/engines/ada/admit', { body: both })).body.engine;
    expect((await b.call('GET', '/engines/ada')).status).toBe(404);
    for (const [method, path] of [
      ['POST', '/engines/ada/start'],
      ['POST', '/engines/ada/stop'],
      ['DELETE', '/engines/ada'],
    ] as const) {
      expect((await b.call(method, path)).body.error.code).toBe('ENGINE_NOT_FOUND');
    }
    expect((await b.call('GET', '/engines')).body).toEqual({ engines: [], total: 0 });
    expect((await b.call('GET', '/status')).body.total).toBe(0);
    const other = (await b.call('POST', '/engines/ada/admit', { body: both })).body.engine;
    expect(other.engine_id).not.toBe(mine.engine_id);
    expect(other.api_key).not.toBe(mine.api_key);
    // Neither key opens the other's engine, and no platform key the operators' endpoints.
    const knock = (url: string, key: string) =>
      fetch(`${url}/activity`, { headers: { 'X-Engine-Key': key } }).then(({ status }) => status);
    expect([await knock(mine.url, mine.api_key), await knock(mine.url, other.api_key)]).toEqual([200, 401]);
    expect((await call('PUT', `/products/${b.id}/policy`, { key: a.key, body: { policy: {} } })).status).toBe(
      401,
    );
    expect((await a.call('GET', '/engines')).body.total).toBe(1);
  });
});
