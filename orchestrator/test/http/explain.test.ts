import { describe, expect, it } from 'vitest';
import { startTestOrchestrator, testEnvironment } from '../support/orchestrator.ts';
import { until } from '../support/wait.ts';

const both = { auto_provision: true, auto_wake: true };

async function world(overrides: Record<string, string> = {}) {
  const o = await startTestOrchestrator(
    testEnvironment({
      ORCH_HEALTH_CHECK_INTERVAL_S: '2',
      ORCH_HEALTH_CHECK_TIMEOUT_S: '1',
      ORCH_HEALTH_MAX_FAILURES: '100',
      ORCH_RESTART_BACKOFF_BASE_S: '300',
      ...overrides,
    }),
  );
  const product = await o.product();
  const explain = async () => {
    const { status, body } = await product.call('GET', '/engines/ada/explain');
    expect(status).toBe(200);
    return body;
  };
  return { o, ...product, explain };
}

const ahead = (at: string) => Date.parse(at) - Date.now();

describe('explain', () => {
  it('an engine that runs, is reduced, is ill', async () => {
    const { o, call, explain } = await world();
    await call('POST', '/engines/ada/admit', { body: both });
    const running = await explain();
    expect(running).toMatchObject({
      status: 'running',
      rule: 'Healthy and serving.',
      evidence: {
        process: { state: 'present', epoch: 1, frozen: false },
        probe: { health: 'ok', seen: null, ill_in_a_row: 0 },
        operation: { kind: 'provision', status: 'succeeded' },
        failure: null,
        audit: { action: 'provision' },
      },
      next: { what: 'It is probed.' },
      advice: 'Nothing to do.',
    });
    await o.engines({ health: 'degraded', subsystems: { llm_provider: 'error' } });
    const reduced = await until('it is reduced', async () => {
      const seen = await explain();
      return seen.evidence.probe.health === 'reduced' && seen;
    });
    expect(reduced).toMatchObject({ status: 'running', source: 'O11' });
    expect(reduced.rule).toMatch(/llm_provider: error.*never a reason for a restart/);
    expect(reduced.evidence.audit).toMatchObject({ action: 'health_check' });

    await o.engines({ health: 'error' });
    const ill = await until('it is ill', async () => {
      const seen = await explain();
      return seen.evidence.probe.health === 'ill' && seen;
    });
    expect(ill.rule).toMatch(/^Ill for \d+ of 100 probes in a row: HTTP 503/);
    expect(ill.advice).toMatch(/failed and restarted by itself/);
  });

  it('one on which an operation is under way: which, how far, until when', async () => {
    const { o, call } = await world();
    await o.engines({ health: 'starting' });
    const booting = call('POST', '/engines/ada/admit', { body: both });
    const seen = await until('it boots', async () => {
      const { status, body } = await call('GET', '/engines/ada/explain');
      return status === 200 && body.evidence.operation.step === 'await_health' && body;
    });
    expect(seen).toMatchObject({ status: 'provisioning', evidence: { operation: { status: 'running' } } });
    expect(seen.rule).toMatch(/^A provision is under way, at step await_health/);
    expect(seen.next.what).toMatch(/the engine is failed then/);
    expect(seen.next.at).toBe(seen.evidence.operation.deadline);
    expect(seen.advice).toContain(`/operations/${seen.evidence.operation.id}`);
    await o.engines({});
    await booting;

    await o.engines({ stubborn: true });
    call('DELETE', '/engines/ada').catch(() => {});
    const leaving = await until('it is on the way out', async () => {
      const { body } = await call('GET', '/engines/ada/explain');
      return body.status === 'destroying' && body;
    });
    expect(leaving.rule).toMatch(/^A destroy is under way, at step remove/);
  });

  it('one that sleeps, dozing or hibernating', async () => {
    const { call, slug, explain } = await world();
    await call('POST', '/engines/ada/admit', { body: both });
    await call('POST', '/engines/ada/sleep', { body: { depth: 'doze' } });
    const dozing = await explain();
    expect(dozing).toMatchObject({
      status: 'sleeping',
      sleep_depth: 'doze',
      rule: `Put to sleep by ${slug}. Frozen in memory: no CPU, no answers, awake in milliseconds.`,
      evidence: { process: { state: 'present', frozen: true } },
      next: { what: 'It may be put into a deeper sleep.' },
    });
    await call('POST', '/engines/ada/sleep', { body: { depth: 'hibernate' } });
    expect(await explain()).toMatchObject({
      sleep_depth: 'hibernate',
      evidence: { process: { state: 'absent' } },
      next: null,
    });
  });

  it('one that a person stopped', async () => {
    const { call, explain } = await world();
    await call('POST', '/engines/ada/admit', { body: both });
    await call('POST', '/engines/ada/stop');
    const stopped = await explain();
    expect(stopped).toMatchObject({
      status: 'stopped',
      next: null,
      evidence: { process: { state: 'absent' }, operation: { kind: 'stop' }, audit: { action: 'stop' } },
    });
    expect(stopped.advice).toMatch(/start/);
  });

  it('one that failed: how it ended and when it is tried again, that it is held back, that it is given up', async () => {
    const { o, call, explain } = await world();
    const { engine } = (await call('POST', '/engines/ada/admit', { body: both })).body;
    process.kill((await o.processOf(engine.engine_id)).pid, 'SIGKILL');
    const failed = await until('it is failed', async () => {
      const seen = await explain();
      return seen.status === 'failed' && seen;
    });
    expect(failed).toMatchObject({
      rule: 'The engine ended (SIGKILL).',
      evidence: {
        process: { state: 'absent' },
        failure: { action: 'health_failed', metadata: { found_by: 'exit', exit: { signal: 'SIGKILL' } } },
      },
      next: { what: 'Restart 1 of 8.' },
    });
    expect(ahead(failed.next.at)).toBeGreaterThan(0);
    const { db } = o.orchestrator;
    await db.query("INSERT INTO incidents (ill, fleet, resumes_at) VALUES (9, 9, now() + interval '1 hour')");
    expect(await explain()).toMatchObject({
      rule: 'The engine ended (SIGKILL). Many engines turned ill at once: restarts pause.',
      source: 'O11',
    });
    await db.query('UPDATE engines SET restart_at = NULL, restart_attempts = 8');
    expect(await explain()).toMatchObject({
      rule: 'The engine ended (SIGKILL). All 8 restarts are used up.',
      next: null,
    });
  });

  it('is for the product that has the user', async () => {
    const { o, call } = await world();
    await call('POST', '/engines/ada/admit', { body: both });
    const other = await o.product();
    expect((await other.call('GET', '/engines/ada/explain')).body.error.code).toBe('ENGINE_NOT_FOUND');
    expect((await o.call('GET', '/engines/ada/explain')).body.error.code).toBe('INVALID_PLATFORM_KEY');
  });
});
