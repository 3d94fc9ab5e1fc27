import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { VERSION } from '../../src/version.ts';
import { parseExposition } from '../support/exposition.ts';
import {
  ADMIN,
  startTestOrchestrator,
  type TestOrchestrator,
  testEnvironment,
} from '../support/orchestrator.ts';
import { until } from '../support/wait.ts';
import { wireTo } from '../support/wire.ts';

const both = { auto_provision: true, auto_wake: true };

describe('GET /metrics', () => {
  it('has the figures of the last hour and of all times, for each product its own, for an operator the sums', async () => {
    const o = await startTestOrchestrator();
    const [a, b] = [await o.product(), await o.product()];
    const nothing = {
      provisions_1h: 0,
      crashes_1h: 0,
      restarts_1h: 0,
      avg_boot_ms: null,
      total_provisions: 0,
      total_destroys: 0,
    };
    expect((await a.call('GET', '/metrics')).body).toEqual(nothing);
    const { engine } = (await a.call('POST', '/engines/ada/admit', { body: both })).body;
    await a.call('POST', '/engines/bob/admit', { body: both });
    await a.call('POST', '/engines/cy/admit', { body: both });
    await b.call('POST', '/engines/ada/admit', { body: both });
    process.kill((await o.processOf(engine.engine_id)).pid, 'SIGKILL');
    await until('it has failed', async () => (await a.call('GET', '/engines/ada')).body.status === 'failed');
    await a.call('POST', '/engines/ada/admit', { body: both });
    // Destroyed once, also where it takes two steps; and a restored one is not created anew.
    await a.call('DELETE', '/engines/bob');
    await a.call('DELETE', '/engines/cy?retain=true');
    await a.call('POST', '/engines/cy/restore');
    await a.call('DELETE', '/engines/cy?retain=true');
    await a.call('DELETE', '/engines/cy?retain=false');
    await o.engines({ exit_code: 1 });
    expect((await a.call('POST', '/engines/dee/admit', { body: both })).status).toBe(502);
    await o.engines({});

    const boots = await o.orchestrator.db.query<{ ms: number }>(
      `SELECT (metadata->>'boot_duration_ms')::int AS ms FROM audit_log
        WHERE action = 'provision' AND product_id = $1 AND metadata->>'outcome' = 'succeeded'`,
      [a.id],
    );
    expect(boots).toHaveLength(3);
    const ofA = (await a.call('GET', '/metrics')).body;
    expect(ofA).toMatchObject({ provisions_1h: 4, crashes_1h: 2, total_provisions: 4, total_destroys: 3 });
    expect(ofA.restarts_1h).toBeGreaterThanOrEqual(1);
    expect(Math.abs(ofA.avg_boot_ms - boots.reduce((sum, { ms }) => sum + ms, 0) / 3)).toBeLessThanOrEqual(1);
    const ofB = (await b.call('GET', '/metrics')).body;
    expect(ofB).toMatchObject({ provisions_1h: 1, crashes_1h: 0, restarts_1h: 0, total_destroys: 0 });
    const admin = async (query = '') => (await o.call('GET', `/metrics${query}`, { admin: ADMIN })).body;
    expect(await admin()).toMatchObject({ provisions_1h: 5, total_provisions: 5, total_destroys: 3 });
    expect(await admin(`?product_id=${b.id}`)).toEqual(ofB);

    // The log may lose its old rows; what there was, was.
    await o.orchestrator.db.query('TRUNCATE audit_log');
    await o.orchestrator.db.query("UPDATE transitions SET at = at - interval '61 minutes'");
    expect((await b.call('GET', '/metrics')).body).toEqual({ ...nothing, total_provisions: 1 });
  });
});

describe('GET /metrics/prometheus', () => {
  const read = async (o: TestOrchestrator) => {
    const answer = await o.call('GET', '/metrics/prometheus', { admin: ADMIN });
    expect([answer.status, answer.headers.get('content-type')]).toEqual([
      200,
      'text/plain; version=0.0.4; charset=utf-8',
    ]);
    const text = String(answer.body);
    const families = parseExposition(text);
    const value = (name: string, labels: object = {}) =>
      families.get(name)?.samples.find((sample) => JSON.stringify(sample.labels) === JSON.stringify(labels))
        ?.value;
    return { text, families, value };
  };

  it('tells of the whole fleet by product, and of what this process has done', async () => {
    const o = await startTestOrchestrator(testEnvironment({ ORCH_WARM_POOL: '1' }));
    const [a, b] = [await o.product({ rate_limit_rpm: 2 }, 'alpha'), await o.product({}, 'beta')];
    await until('the pool is full', async () =>
      (await read(o)).value('orch_engines', { product: '', status: 'running' }),
    );
    const { engine } = (await a.call('POST', '/engines/ada@example.org/admit', { body: both })).body;
    for (let n = 0; n < 3; n += 1) await a.call('POST', '/engines/nobody/admit');
    await b.call('POST', '/engines/bob/admit', { body: both });
    await b.call('POST', '/engines/cy/admit', { body: both });
    await b.call('POST', '/engines/cy/sleep', { body: { depth: 'doze' } });
    await o.engines({ health: 'error' });
    await o.orchestrator.db.query("UPDATE engines SET next_probe_at = now() WHERE user_id = 'bob'");
    const { text, families, value } = await until('it is probed', async () => {
      const now = await read(o);
      return now.value('orch_engines_unhealthy', { product: 'beta' }) === 1 && now;
    });
    expect(value('orch_engines', { product: 'alpha', status: 'running' })).toBe(1);
    expect(value('orch_engines', { product: 'beta', status: 'running' })).toBe(1);
    expect(value('orch_engines', { product: 'beta', status: 'sleeping' })).toBe(1);
    expect(value('orch_engines_sleeping', { product: 'beta', depth: 'doze' })).toBe(1);
    expect(value('orch_admits_total', { product: 'alpha', outcome: 'granted' })).toBe(1);
    expect(value('orch_admits_total', { product: 'alpha', outcome: 'denied' })).toBe(1);
    expect(value('orch_admits_total', { product: 'alpha', outcome: 'limited' })).toBe(2);
    expect(value('orch_admits_total', { product: 'beta', outcome: 'granted' })).toBe(2);
    expect(value('orch_operations_total', { kind: 'sleep', outcome: 'succeeded' })).toBe(1);
    expect(value('orch_probes_total', { health: 'ill' })).toBeGreaterThanOrEqual(1);
    expect(value('orch_incidents_open')).toBe(0);
    expect(value('orch_operations_overdue')).toBe(0);
    expect(value('orch_database_up')).toBe(1);
    expect(value('orch_build_info', { version: VERSION, node: process.versions.node })).toBe(1);
    expect(value('process_resident_memory_bytes')).toBeGreaterThan(10 * 2 ** 20);
    expect(value('nodejs_eventloop_lag_p99_seconds')).toBeGreaterThanOrEqual(0);
    const slept = families.get('orch_operation_duration_seconds')?.samples.find(({ name, labels }) => {
      return name.endsWith('_count') && labels.kind === 'sleep';
    });
    expect(slept?.value).toBe(1);
    // No series for each user or engine.
    for (const secret of ['ada@example.org', 'bob', engine.engine_id, engine.api_key, a.key]) {
      expect(text).not.toContain(secret);
    }
    expect((await a.call('GET', '/metrics/prometheus')).body.error.code).toBe('INVALID_ADMIN_KEY');
  });

  it('tells about the process while the database is away', async () => {
    const env = await testEnvironment();
    const wire = await wireTo(env.ORCH_DATABASE_URL);
    const o = await startTestOrchestrator({ ...env, ORCH_DATABASE_URL: wire.url });
    await o.product();
    expect((await read(o)).value('orch_database_up')).toBe(1);
    await wire.cut();
    const away = await read(o);
    expect(away.value('orch_database_up')).toBe(0);
    expect(away.families.has('orch_incidents_open')).toBe(false);
    expect(away.value('process_resident_memory_bytes')).toBeGreaterThan(0);
    await wire.mend();
    await until('it is back', async () => (await read(o)).value('orch_database_up') === 1);
  });

  it('tells the version of the package', async () => {
    const manifest = await readFile(new URL('../../package.json', import.meta.url), 'utf8');
    expect(JSON.parse(manifest).version).toBe(VERSION);
  });
});
