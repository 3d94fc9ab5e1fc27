import { readFile, writeFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { startTestOrchestrator, type TestOrchestrator, testEnvironment } from '../support/orchestrator.ts';
import { processIsThere, until } from '../support/wait.ts';

const both = { auto_provision: true, auto_wake: true };

/** An orchestrator that probes every two seconds and restarts after one. */
const quick = (overrides: Record<string, string> = {}) =>
  testEnvironment({
    ORCH_HEALTH_CHECK_INTERVAL_S: '2',
    ORCH_HEALTH_CHECK_TIMEOUT_S: '1',
    ORCH_RESTART_BACKOFF_BASE_S: '1',
    ...overrides,
  });

const audit = (o: TestOrchestrator, ...actions: string[]) =>
  // biome-ignore lint/suspicious/noExplicitAny: looked into freely by assertions
  o.orchestrator.db.query<{ action: string; metadata: any }>(
    'SELECT action, metadata FROM audit_log WHERE action = ANY($1) ORDER BY id',
    [actions],
  );
const restarts = [
  'auto_restart_start',
  'auto_restart_success',
  'auto_restart_failed',
  'auto_restart_gave_up',
];

// biome-ignore lint/suspicious/noExplicitAny: looked into freely by assertions
async function row(o: TestOrchestrator): Promise<any> {
  const [only] = await o.orchestrator.db.query('SELECT * FROM engines');
  return only;
}

async function withEngine(env = quick()) {
  const o = await startTestOrchestrator(env);
  const { call } = await o.product();
  const { engine } = (await call('POST', '/engines/ada/admit', { body: both })).body;
  return { o, call, engine, process: await o.processOf(engine.engine_id) };
}

describe('an engine that ends', () => {
  it('is noticed at once and restarted after the backoff, though no probe is due', async () => {
    const {
      o,
      call,
      engine,
      process: before,
    } = await withEngine(quick({ ORCH_HEALTH_CHECK_INTERVAL_S: '3600' }));
    await until('it was probed after its boot', async () => (await row(o)).probes > 0);
    process.kill(before.pid, 'SIGKILL');
    await until('it is failed', async () => (await row(o)).status === 'failed');
    expect((await call('GET', '/engines/ada')).body).toMatchObject({ status: 'failed' });
    const [failed] = await audit(o, 'health_failed');
    expect(failed?.metadata).toEqual({
      reason: 'The engine ended (SIGKILL).',
      epoch: 1,
      found_by: 'exit',
      exit: { code: null, signal: 'SIGKILL' },
    });
    await until('it runs', async () => (await row(o)).status === 'running');
    expect(await o.processOf(engine.engine_id)).toMatchObject({ epoch: 2, port: before.port });
    expect((await audit(o, ...restarts)).map(({ action }) => action)).toEqual(restarts.slice(0, 2));
  });

  it('is noticed at once also when it is nobody’s child', async () => {
    const env = await quick({ ORCH_HEALTH_CHECK_INTERVAL_S: '3600', ORCH_RECONCILE_INTERVAL_S: '3600' });
    const { o: first, process: before } = await withEngine(Promise.resolve(env));
    await until('it was probed after its boot', async () => (await row(first)).probes > 0);
    await first.orchestrator.close();
    const second = await startTestOrchestrator(env);
    await until('it is taken over', async () => (await audit(second, 'adopt')).length === 1);
    process.kill(before.pid, 'SIGKILL');
    await until('it is restarted', async () => (await row(second)).epoch === 2);
    expect((await audit(second, 'health_failed'))[0]?.metadata).toMatchObject({ found_by: 'exit' });
  });

  it('on purpose is not: a stop and a destroy are no failures', async () => {
    const { o, call } = await withEngine();
    await call('POST', '/engines/ada/stop');
    await call('POST', '/engines/ada/start');
    await call('DELETE', '/engines/ada');
    expect(await audit(o, 'health_failed')).toEqual([]);
  });
});

describe('a probe', () => {
  it('that finds an engine ill so many times in a row fails it; its process is replaced', async () => {
    const { o, engine, process: before } = await withEngine(quick({ ORCH_HEALTH_MAX_FAILURES: '2' }));
    await o.engines({ health: 'error' });
    const failed = await until('it is failed', async () => (await audit(o, 'health_failed'))[0]);
    expect(failed.metadata).toMatchObject({ found_by: 'probe', ill_probes: 2, epoch: 1 });
    expect(failed.metadata.reason).toMatch(/^The engine was ill 2 times in a row: HTTP 503/);
    await o.engines({});
    await until('it runs', async () => (await row(o)).status === 'running');
    expect((await o.processOf(engine.engine_id)).pid).not.toBe(before.pid);
    expect(await processIsThere(before.pid)).toBe(false);
    expect(await row(o)).toMatchObject({
      health: 'ok',
      ill_probes: 0,
      ill_since: null,
      failure_reason: null,
    });
  });

  it('that finds it well again in between starts the count anew', async () => {
    const { o } = await withEngine(quick({ ORCH_HEALTH_MAX_FAILURES: '3' }));
    await o.engines({ health: 'error' });
    await until('it is ill', async () => (await row(o)).ill_probes >= 1);
    await o.engines({});
    await until('it is well', async () => (await row(o)).health === 'ok');
    expect(await row(o)).toMatchObject({ status: 'running', ill_probes: 0, ill_since: null });
    // One row for each change of outcome, and none for the probes in between (O20).
    const outcomes = (await audit(o, 'health_check')).map(({ metadata }) => [metadata.was, metadata.health]);
    expect(outcomes).toEqual([
      ['ok', 'ill'],
      ['ill', 'ok'],
    ]);
  });

  it('that times out counts: a process that stands still is replaced', async () => {
    const { o, process: before } = await withEngine(quick({ ORCH_HEALTH_MAX_FAILURES: '1' }));
    process.kill(before.pid, 'SIGSTOP');
    const failed = await until('it is failed', async () => (await audit(o, 'health_failed'))[0]);
    expect(failed.metadata.seen).toBe('no answer (TimeoutError)');
    await until('it runs', async () => (await row(o)).status === 'running' && (await row(o)).epoch === 2);
    expect(await processIsThere(before.pid)).toBe(false);
  });

  it('never restarts an engine whose model provider or catalog is away', async () => {
    const { o, process: before } = await withEngine(quick({ ORCH_HEALTH_MAX_FAILURES: '1' }));
    await o.engines({ health: 'degraded', subsystems: { llm_provider: 'error' } });
    await until('it is seen', async () => (await row(o)).health === 'reduced');
    const { probes } = await row(o);
    await until('it is probed again and again', async () => (await row(o)).probes >= probes + 2);
    expect(await row(o)).toMatchObject({
      status: 'running',
      health_seen: 'llm_provider: error',
      ill_probes: 0,
    });
    expect(await audit(o, 'health_failed')).toEqual([]);
    expect(await processIsThere(before.pid)).toBe(true);
  });

  it('restarts none of 50 whose model provider is away at once, and shows each as reduced', async () => {
    const o = await startTestOrchestrator(
      quick({ ORCH_HEALTH_CHECK_INTERVAL_S: '4', ORCH_HEALTH_CHECK_TIMEOUT_S: '3' }),
    );
    const { call } = await o.product();
    const users = Array.from({ length: 50 }, (_, n) => `user-${n}`);
    // A few at a time: fifty boots side by side would take longer than a boot may.
    for (let from = 0; from < users.length; from += 5) {
      await Promise.all(
        users.slice(from, from + 5).map((user) => call('POST', `/engines/${user}/admit`, { body: both })),
      );
    }
    const { db } = o.orchestrator;
    const reduced = async () =>
      (await db.query("SELECT id FROM engines WHERE health = 'reduced' AND probes >= 2")).length;
    await o.engines({ health: 'degraded', subsystems: { llm_provider: 'error' } });
    await db.query('UPDATE engines SET probes = 0');
    await until('all are seen, twice', async () => (await reduced()) === users.length);

    expect((await call('GET', '/status')).body).toMatchObject({ by_status: { running: 50 }, health: 'ok' });
    expect((await o.call('GET', '/health')).body).toEqual({ status: 'ok' });
    const { rule, evidence } = (await call('GET', '/engines/user-7/explain')).body;
    expect([rule, evidence.probe.health]).toEqual([
      'It serves, but llm_provider: error. That is recorded and never a reason for a restart.',
      'reduced',
    ]);
    expect(await audit(o, 'health_failed', ...restarts)).toEqual([]);
    expect(await db.query("SELECT kind FROM operations WHERE kind <> 'provision'")).toEqual([]);
  }, 120_000);

  it('does nothing to an ill engine while the backend cannot tell whether it is there', async () => {
    const { o, engine, process: before } = await withEngine(quick({ ORCH_HEALTH_MAX_FAILURES: '1' }));
    const record = `${o.config.data_dir}/engines/${engine.engine_id}/process.json`;
    const kept = await readFile(record, 'utf8');
    await writeFile(record, '{"half');
    await o.engines({ health: 'error' });
    await until('it was ill often', async () => (await row(o)).ill_probes >= 2);
    expect(await row(o)).toMatchObject({ status: 'running', epoch: 1 });
    expect(await processIsThere(before.pid)).toBe(true);
    await writeFile(record, kept);
    await until('it is failed', async () => (await audit(o, 'health_failed')).length === 1);
  });

  it('leaves an audit row once in a hundred times', async () => {
    const { o } = await withEngine();
    await o.orchestrator.db.query('UPDATE engines SET probes = 99, next_probe_at = now()');
    const [sampled] = await until('it is noted', async () => {
      const rows = await audit(o, 'health_check');
      return rows.length > 0 && rows;
    });
    expect(sampled?.metadata).toEqual({ health: 'ok', was: 'ok' });
  });
});

describe('restarts', () => {
  it('are tried so often and then given up; an admit does not go on, a start does', async () => {
    const { o, call, process: before } = await withEngine(quick({ ORCH_RESTART_MAX_ATTEMPTS: '2' }));
    await o.engines({ exit_code: 1 });
    process.kill(before.pid, 'SIGKILL');
    await until('it is given up', async () => (await audit(o, 'auto_restart_gave_up')).length > 0);
    expect((await audit(o, ...restarts)).map(({ action }) => action)).toEqual([
      'auto_restart_start',
      'auto_restart_failed',
      'auto_restart_start',
      'auto_restart_failed',
      'auto_restart_gave_up',
    ]);
    expect(await row(o)).toMatchObject({ status: 'failed', restart_at: null, restart_attempts: 2 });
    await o.engines({});
    expect((await call('POST', '/engines/ada/admit', { body: both })).body).toMatchObject({
      admitted: false,
      reason: 'engine_unhealthy',
    });
    expect((await call('POST', '/engines/ada/start')).status).toBe(200);
    expect(await row(o)).toMatchObject({ status: 'running', restart_attempts: 0 });
  });

  it('bring back what never came up', async () => {
    const o = await startTestOrchestrator(quick());
    const { call } = await o.product();
    await o.engines({ exit_code: 1 });
    expect((await call('POST', '/engines/provision', { body: { user_id: 'ada' } })).status).toBe(502);
    expect(await row(o)).toMatchObject({ status: 'failed', restart_attempts: 0 });
    await o.engines({});
    await until('it runs', async () => (await row(o)).status === 'running');
    expect(await row(o)).toMatchObject({ restart_attempts: 1 });
  });

  it('wait longer each time, within the jitter and up to the limit, over a restart of the orchestrator', async () => {
    const env = await quick({ ORCH_RESTART_BACKOFF_BASE_S: '100', ORCH_RESTART_BACKOFF_MAX_S: '300' });
    const { o: first } = await withEngine(Promise.resolve(env));
    await first.orchestrator.close();
    const o = await startTestOrchestrator(env);
    for (const [attempts, pause_s] of [
      [0, 100],
      [1, 200],
      [2, 300],
      [7, 300],
    ] as const) {
      await until('it runs', async () => (await row(o)).status === 'running');
      await o.orchestrator.db.query('UPDATE engines SET restart_attempts = $1', [attempts]);
      const { engine_id, pid } = await only(o);
      process.kill(pid, 'SIGKILL');
      const [planned] = await until('it is planned', async () => {
        const rows = await o.orchestrator.db.query<{ pause_s: number }>(
          // From the moment of the failure; a probe may have seen it ill before, and have set ill_since.
          `SELECT extract(epoch FROM restart_at - failed_at)::float8 AS pause_s
             FROM engines, (SELECT max(timestamp) AS failed_at FROM audit_log WHERE action = 'health_failed') AS log
            WHERE id = $1 AND status = 'failed'`,
          [engine_id],
        );
        return rows.length > 0 && rows;
      });
      expect(planned?.pause_s).toBeGreaterThanOrEqual(pause_s * 0.9);
      expect(planned?.pause_s).toBeLessThanOrEqual(pause_s * 1.1);
      await o.orchestrator.db.query('UPDATE engines SET restart_at = now()');
    }
  });

  it('are forgotten after steady health, and not before', async () => {
    const { o } = await withEngine(quick({ ORCH_RESTART_RESET_AFTER_S: '300' }));
    await o.orchestrator.db.query('UPDATE engines SET restart_attempts = 3');
    const { probes } = await row(o);
    await until('it was probed', async () => (await row(o)).probes > probes + 1);
    expect(await row(o)).toMatchObject({ restart_attempts: 3 });
    await o.orchestrator.db.query("UPDATE engines SET well_since = now() - interval '301 s'");
    await until('they are forgotten', async () => (await row(o)).restart_attempts === 0);
  });

  it('are cancelled by a stop', async () => {
    const { o, call, process: before } = await withEngine(quick({ ORCH_RESTART_BACKOFF_BASE_S: '300' }));
    process.kill(before.pid, 'SIGKILL');
    await until('it is failed', async () => (await row(o)).status === 'failed');
    expect((await call('POST', '/engines/ada/stop')).body).toMatchObject({ status: 'stopped' });
    expect(await row(o)).toMatchObject({ status: 'stopped', restart_at: null, restart_attempts: 0 });
  });
});

async function only(o: TestOrchestrator) {
  const { id } = await row(o);
  return { engine_id: id as string, pid: (await o.processOf(id)).pid };
}
