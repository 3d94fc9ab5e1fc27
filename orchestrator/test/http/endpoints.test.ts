import { describe, expect, it } from 'vitest';
import { startTestOrchestrator } from '../support/orchestrator.ts';

const both = { auto_provision: true, auto_wake: true };

describe('every endpoint', () => {
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
