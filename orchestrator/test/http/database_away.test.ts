import { describe, expect, it } from 'vitest';
import { ADMIN, startTestOrchestrator, testEnvironment } from '../support/orchestrator.ts';
import { processIsThere, until } from '../support/wait.ts';
import { wireTo } from '../support/wire.ts';

const both = { auto_provision: true, auto_wake: true };

describe('while the database is away', () => {
  it('every call says so, engines keep serving, and nothing is lost when it is back', async () => {
    const env = await testEnvironment();
    const { url, cut, mend } = await wireTo(env.ORCH_DATABASE_URL);
    const o = await startTestOrchestrator({ ...env, ORCH_DATABASE_URL: url });
    const { call, id } = await o.product();
    const { engine } = (await call('POST', '/engines/ada/admit', { body: both })).body;
    const { pid } = await o.processOf(engine.engine_id);
    await o.engines({ health: 'starting' });
    const booting = call('POST', '/engines/bob/admit', { body: both });
    await until('bob boots', async () => {
      const { body } = await call('GET', '/engines?status=provisioning');
      return body.total === 1 && o.processOf(body.engines[0].engine_id).catch(() => null);
    });

    await cut();
    const policy = { admin: ADMIN, body: { policy: {} } };
    for (const answer of [
      await o.call('GET', '/health'),
      await o.call('PUT', `/products/${id}/policy`, policy),
      await o.call('POST', '/products/register', { admin: ADMIN, body: { slug: 's', display_name: 'S' } }),
      await call('POST', '/engines/provision', { body: { user_id: 'cy' } }),
      await call('GET', '/engines/ada'),
      await call('POST', '/engines/ada/admit', { body: both }),
      await call('POST', '/engines/ada/start'),
      await call('POST', '/engines/ada/stop'),
      await call('DELETE', '/engines/ada'),
      await call('GET', '/engines'),
      await call('GET', '/status'),
    ]) {
      expect([answer.status, answer.body.error.code]).toEqual([503, 'NOT_READY']);
      expect(answer.headers.get('retry-after')).toBe('2');
    }
    expect((await o.call('GET', '/openapi.json')).status).toBe(200);
    const direct = await fetch(`${engine.url}/activity`, { headers: { 'X-Engine-Key': engine.api_key } });
    expect(direct.status).toBe(200);

    await mend();
    await o.engines({});
    expect((await o.call('GET', '/health')).body).toEqual({ status: 'ok' });
    expect((await booting).body).toMatchObject({
      admitted: true,
      engine: { user_id: 'bob', status: 'running' },
    });
    expect((await call('POST', '/engines/ada/admit')).body).toMatchObject({ admitted: true });
    expect(await processIsThere(pid)).toBe(true);
    expect((await call('GET', '/status')).body).toMatchObject({ total: 2, by_status: { running: 2 } });
  });
});
