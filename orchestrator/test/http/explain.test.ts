import { readFile, rm, writeFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { type Answer, startTestOrchestrator, testEnvironment } from '../support/orchestrator.ts';
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
    expectWhole(body);
    return body;
  };
  return { o, ...product, explain };
}

/** What every explanation has: the rule and where it stands, evidence of this moment, what comes next, what to do. */
function expectWhole({ rule, source, evidence, next, advice }: Answer['body']) {
  expect(rule).toMatch(/^[A-Z].*\.$/);
  expect(source).toMatch(/O\d|bap-engine §\d/);
  expect(evidence).toMatchObject({
    process: { state: expect.stringMatching(/^(present|absent|unknown)$/) },
    operation: { kind: expect.any(String), id: expect.any(String) },
  });
  if (next !== null) expect(next).toEqual({ what: expect.any(String), at: expect.any(String) });
  expect(advice).toMatch(/^[A-Z].*\.$/);
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
    expect(ill).toMatchObject({ source: 'bap-engine §7, O11', next: { what: 'It is probed.' } });
    expect(ill.evidence.probe.seen).toMatch(/^HTTP 503/);
    expect(ill.advice).toMatch(/After 100 it is failed and restarted by itself/);
  });

  it('one of which the backend cannot tell whether it is there, well or ill', async () => {
    const { o, call, explain } = await world({ ORCH_HEALTH_MAX_FAILURES: '1' });
    const { engine } = (await call('POST', '/engines/ada/admit', { body: both })).body;
    const record = `${o.config.data_dir}/engines/${engine.engine_id}/process.json`;
    const kept = await readFile(record, 'utf8');
    await writeFile(record, '{"half');
    const unknown = await explain();
    expect(unknown).toMatchObject({
      status: 'running',
      rule: 'The backend cannot tell whether it is there. Unknown is not dead: nothing is done to it.',
      source: 'O12',
      evidence: { process: { state: 'unknown' } },
      next: { what: 'It is probed.' },
    });
    expect(unknown.advice).toMatch(/^See to the backend/);
    await o.engines({ health: 'error' });
    const ill = await until('it is ill', async () => {
      const seen = await explain();
      return seen.evidence.probe?.health === 'ill' && seen;
    });
    expect(ill).toMatchObject({ status: 'running', source: 'O12' });
    expect(ill.rule).toMatch(/It is ill: HTTP 503/);
    await writeFile(record, kept);
  });

  it('one on which an operation is under way: which, how far, until when', async () => {
    const { o, call, explain } = await world();
    await o.engines({ health: 'starting' });
    const booting = call('POST', '/engines/ada/admit', { body: both });
    const seen = await until('it boots', async () => {
      const { status, body } = await call('GET', '/engines/ada/explain');
      return status === 200 && body.evidence.operation.step === 'await_health' && body;
    });
    expect(seen).toMatchObject({ status: 'provisioning', evidence: { operation: { status: 'running' } } });
    expectWhole(seen);
    expect(seen.rule).toMatch(/^A provision is under way, at step await_health/);
    expect(seen.next.what).toMatch(/the engine is failed then/);
    expect(seen.next.at).toBe(seen.evidence.operation.deadline);
    expect(seen.advice).toContain(`/operations/${seen.evidence.operation.id}`);
    await o.engines({});
    await booting;

    await o.engines({ stubborn: true });
    call('POST', '/engines/ada/stop').catch(() => {});
    const stopping = await until('a stop is under way', async () => {
      const seen = await explain();
      return seen.evidence.operation.kind === 'stop' && seen;
    });
    expect(stopping).toMatchObject({ status: 'running', source: 'O7, O21' });
    expect(stopping.next.what).toMatch(/the state stays then/);
    process.kill((await o.processOf(stopping.engine_id)).pid, 'SIGKILL');
    await until('it is stopped', async () => (await explain()).status === 'stopped');
    await call('POST', '/engines/ada/start');

    call('DELETE', '/engines/ada').catch(() => {});
    const leaving = await until('it is on the way out', async () => {
      const seen = await explain();
      return seen.status === 'destroying' && seen;
    });
    expect(leaving.rule).toMatch(/^A destroy is under way, at step remove/);
    expect(leaving.next.what).toMatch(/the engine is failed then/);
    expect(ahead(leaving.next.at)).toBeGreaterThan(0);
  });

  it('one that sleeps, at each depth', async () => {
    const { call, slug, explain } = await world();
    await call('POST', '/engines/ada/admit', { body: both });
    await call('POST', '/engines/ada/sleep', { body: { depth: 'label' } });
    expect(await explain()).toMatchObject({
      status: 'sleeping',
      sleep_depth: 'label',
      rule: `Put to sleep by ${slug}. In name only: the process runs and answers.`,
      source: 'O4, O5',
      evidence: { process: { state: 'present', frozen: false }, audit: { action: 'sleep' } },
      next: null,
    });
    await call('POST', '/engines/ada/sleep', { body: { depth: 'doze' } });
    const dozing = await explain();
    expect(dozing).toMatchObject({
      status: 'sleeping',
      sleep_depth: 'doze',
      rule: `Put to sleep by ${slug}. Frozen in memory: no CPU, no answers, awake in milliseconds.`,
      evidence: { process: { state: 'present', frozen: true } },
      next: { what: 'It may be put into a deeper sleep.' },
      advice: 'Admit with `auto_wake: true`, or POST /engines/{user_id}/wake.',
    });
    await call('POST', '/engines/ada/sleep', { body: { depth: 'hibernate' } });
    expect(await explain()).toMatchObject({
      sleep_depth: 'hibernate',
      evidence: { process: { state: 'absent' } },
      next: null,
    });
  });

  it('one that fell asleep by itself', async () => {
    const { o, call, explain } = await world({ ORCH_IDLE_TIMEOUT_S: '1' });
    await o.engines({ activity: { last_activity_at: '2020-01-01T00:00:00.000Z' } });
    await call('POST', '/engines/ada/admit', { body: both });
    const asleep = await until('it sleeps', async () => {
      const seen = await explain();
      return seen.status === 'sleeping' && seen.evidence.operation.status === 'succeeded' && seen;
    });
    expect(asleep.rule).toMatch(/^It was idle for longer than the policy allows\. Frozen in memory/);
    expect(asleep.evidence).toMatchObject({ operation: { kind: 'sleep', actor: 'system' } });
  });

  it('one that a person stopped', async () => {
    const { call, explain } = await world();
    await call('POST', '/engines/ada/admit', { body: both });
    await call('POST', '/engines/ada/stop');
    const stopped = await explain();
    expect(stopped).toMatchObject({
      status: 'stopped',
      rule: 'Stopped by a person; only a person starts it.',
      source: 'bap-engine §5, O6',
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
    expect(failed.advice).toMatch(/^Wait, or admit/);
    const { db } = o.orchestrator;
    await db.query("INSERT INTO incidents (ill, fleet, resumes_at) VALUES (9, 9, now() + interval '1 hour')");
    const held = await explain();
    expect(held).toMatchObject({
      rule: 'The engine ended (SIGKILL). Many engines turned ill at once: restarts pause.',
      source: 'O11',
      next: { what: 'Restart 1 of 8.' },
    });
    expect(ahead(held.next.at), 'when the incident lets it').toBeGreaterThan(ahead(failed.next.at));
    await db.query('UPDATE engines SET restart_at = NULL, restart_attempts = 8');
    expect(await explain()).toMatchObject({
      rule: 'The engine ended (SIGKILL). All 8 restarts are used up.',
      source: 'O9, O10',
      next: null,
      advice: "Remove the cause (see the engine's log), then POST /engines/{user_id}/start, or DELETE it.",
    });
  });

  it('one whose first boot failed', async () => {
    const { o, call, explain } = await world();
    await o.engines({ exit_code: 1 });
    await call('POST', '/engines/provision', { body: { user_id: 'ada' } });
    expect(await explain()).toMatchObject({
      status: 'failed',
      rule: 'The engine ended before it was ready (exit code 1); its log says why.',
      evidence: { probe: null, operation: { kind: 'provision', status: 'failed' }, failure: null },
      next: { what: 'Restart 1 of 8.' },
    });
  });

  it('one whose destroy failed: only another destroy leads on, and does', async () => {
    const { o, call, explain } = await world();
    await call('POST', '/engines/ada/admit', { body: both });
    const marks = `${o.config.data_dir}/engines.destroyed`;
    await writeFile(marks, 'a file where a folder should be');
    expect((await call('DELETE', '/engines/ada')).body.error.code).toBe('BACKEND_ERROR');
    const failed = await explain();
    expect(failed).toMatchObject({
      status: 'failed',
      evidence: { operation: { kind: 'destroy', status: 'failed' } },
      next: null,
      advice: 'DELETE /engines/{user_id} once more.',
    });
    expect(failed.rule).toMatch(/^The backend could not do the destroy \(E[A-Z]+\)\. A destroy that fails/);
    await rm(marks);
    expect((await call('DELETE', '/engines/ada')).status).toBe(200);
  });

  it('is for the product that has the user', async () => {
    const { o, call } = await world();
    await call('POST', '/engines/ada/admit', { body: both });
    const other = await o.product();
    expect((await other.call('GET', '/engines/ada/explain')).body.error.code).toBe('ENGINE_NOT_FOUND');
    expect((await o.call('GET', '/engines/ada/explain')).body.error.code).toBe('INVALID_PLATFORM_KEY');
  });
});
