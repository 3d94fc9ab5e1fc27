import { describe, expect, it } from 'vitest';
import { mortalPostgres } from '../support/mortal_postgres.ts';
import { startTestOrchestrator, testEnvironment } from '../support/orchestrator.ts';
import { processIsThere, until } from '../support/wait.ts';

const both = { auto_provision: true, auto_wake: true };

describe('PostgreSQL killed under running engines', () => {
  it('engines keep serving, calls get 503 NOT_READY, nothing is restarted, and it recovers by itself', async () => {
    const postgres = await mortalPostgres();
    const o = await startTestOrchestrator(
      testEnvironment({
        ORCH_DATABASE_URL: postgres.url,
        ORCH_HEALTH_CHECK_INTERVAL_S: '2',
        ORCH_HEALTH_CHECK_TIMEOUT_S: '1',
        ORCH_HEALTH_MAX_FAILURES: '1',
        ORCH_RECONCILE_INTERVAL_S: '1',
        ORCH_RESTART_BACKOFF_BASE_S: '1',
      }),
    );
    const { call } = await o.product();
    const users = ['ada', 'bob', 'cy'];
    const engines = await Promise.all(
      users.map(async (user) => (await call('POST', `/engines/${user}/admit`, { body: both })).body.engine),
    );
    const processes = await Promise.all(engines.map(({ engine_id }) => o.processOf(engine_id)));
    const [doomed] = processes.splice(2, 1);

    await postgres.kill();
    // Each loop comes round several times in vain.
    const rounds = o.logged().split('a run of a background loop failed').length;
    for (const method of ['/health', '/engines/ada', '/status']) {
      const answer = await call('GET', method);
      expect([answer.status, answer.body.error.code]).toEqual([503, 'NOT_READY']);
      expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
    }
    await until('the loops came round', () => {
      return o.logged().split('a run of a background loop failed').length >= rounds + 8;
    });
    for (const { url, api_key } of engines.slice(0, 2)) {
      const answer = await fetch(`${url}/execute`, { headers: { 'X-Engine-Key': api_key } });
      expect(answer.status).toBe(200);
    }
    for (const { pid } of processes) expect(await processIsThere(pid)).toBe(true);
    process.kill(doomed?.pid ?? 0, 'SIGKILL');

    await postgres.comeBack();
    await until('it serves', async () => (await o.call('GET', '/health')).status === 200);
    const { body } = await call('POST', '/engines/ada/admit');
    expect(body).toMatchObject({ admitted: true, engine: { url: engines[0].url } });
    // Who really ended is found, and nobody else.
    await until('the one that ended is back', async () => {
      const { engine } = (await call('POST', '/engines/cy/admit', { body: both })).body;
      return engine?.status === 'running' && (await o.processOf(engine.engine_id)).epoch > 1;
    });
    for (const { pid } of processes) expect(await processIsThere(pid)).toBe(true);
    const failed = await o.orchestrator.db.query(
      "SELECT user_id FROM audit_log WHERE action = 'health_failed'",
    );
    expect(failed).toEqual([{ user_id: 'cy' }]);
  });
});
