import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { findByArgument } from '../../src/backends/process.ts';
import { startTestOrchestrator, type TestOrchestrator, testEnvironment } from '../support/orchestrator.ts';
import { processIsThere, until } from '../support/wait.ts';

const both = { auto_provision: true, auto_wake: true };
const engineRow = async (o: TestOrchestrator) =>
  (await o.orchestrator.db.query<Record<string, unknown>>('SELECT * FROM engines'))[0];
const lastOperation = async (o: TestOrchestrator) =>
  (
    await o.orchestrator.db.query<Record<string, unknown>>(
      'SELECT * FROM operations ORDER BY created_at DESC LIMIT 1',
    )
  )[0];

describe('a provision', () => {
  it('is one operation: row, steps, evidence, outcome and audit', async () => {
    const o = await startTestOrchestrator();
    const { call, slug } = await o.product();
    const { body } = await call('POST', '/engines/provision', { body: { user_id: 'ada' } });
    const operation = await lastOperation(o);
    expect(operation).toMatchObject({
      engine_id: body.engine_id,
      user_id: 'ada',
      kind: 'provision',
      actor: slug,
      step: 'await_health',
      epoch: 1,
      attempt: 1,
      evidence: { port: o.config.port_min, url: body.url },
      outcome: 'succeeded',
      error_code: null,
    });
    const row = await engineRow(o);
    expect(row).toMatchObject({ status: 'running', epoch: 1, failure_reason: null });
    const [audit] = await o.orchestrator.db.query<Record<string, unknown>>(
      "SELECT * FROM audit_log WHERE action = 'provision'",
    );
    expect(audit).toMatchObject({
      timestamp: operation?.created_at,
      engine_id: body.engine_id,
      actor: slug,
      metadata: {
        operation_id: operation?.id,
        outcome: 'succeeded',
        epoch: 1,
        boot_duration_ms: row?.boot_duration_ms,
      },
    });
  });

  it('that times out leaves a failed engine with the reason, no process, and a way out', async () => {
    const o = await startTestOrchestrator(testEnvironment({ ORCH_BOOT_TIMEOUT_S: '2' }));
    const { call } = await o.product({ max_engines: 1 });
    await o.engines({ health: 'error' });
    const answer = await call('POST', '/engines/provision', { body: { user_id: 'ada' } });
    expect([answer.status, answer.body.error]).toEqual([
      504,
      {
        code: 'BOOT_TIMEOUT',
        message: expect.stringMatching(/^The provision did not end within 2 s\. Last seen: /),
      },
    ]);
    const { engine_id } = (await call('GET', '/engines/ada')).body;
    expect((await engineRow(o))?.failure_reason).toBe(answer.body.error.message);
    expect(await findByArgument(`--engine=${engine_id}/`)).toEqual([]);
    // It counts for the quota (O9), shows in the status, and the audit has it.
    expect((await call('POST', '/engines/provision', { body: { user_id: 'bob' } })).status).toBe(429);
    expect((await call('GET', '/status')).body).toMatchObject({ health: 'degraded', unhealthy_count: 1 });
    const [audit] = await o.orchestrator.db.query<{ metadata: object }>(
      "SELECT metadata FROM audit_log WHERE action = 'provision'",
    );
    expect(audit?.metadata).toMatchObject({ outcome: 'failed', error: { code: 'BOOT_TIMEOUT' } });
    // Ways out: admit tries again, start does, DELETE removes it.
    await o.engines({});
    expect((await call('POST', '/engines/ada/admit', { body: both })).body.admitted).toBe(true);
    expect((await engineRow(o))?.failure_reason).toBe(null);
    expect((await call('DELETE', '/engines/ada')).status).toBe(200);
    expect(await readdir(join(o.config.data_dir, 'engines'))).toEqual([]);
  });

  it('says what to set when the engine refuses its configuration', async () => {
    const o = await startTestOrchestrator();
    const { call } = await o.product();
    await o.engines({ exit_code: 64, last_line: 'LLM_API_KEY is required for LLM_PROVIDER=openai' });
    const { status, body } = await call('POST', '/engines/provision', { body: { user_id: 'ada' } });
    expect([status, body.error]).toEqual([
      502,
      {
        code: 'BACKEND_ERROR',
        message: 'The engine refused its configuration: LLM_API_KEY is required for LLM_PROVIDER=openai',
      },
    ]);
  });

  it('keeps the last line of a crash to itself', async () => {
    const o = await startTestOrchestrator();
    const { call } = await o.product();
    await o.engines({ exit_code: 1, last_line: '    at secret (/somewhere.ts)' });
    const { body } = await call('POST', '/engines/provision', { body: { user_id: 'ada' } });
    expect(body.error.message).toBe('The engine ended before it was ready (exit code 1); its log says why.');
  });

  it('takes the next port when another program listens on the first, and is not fooled by its health', async () => {
    const o = await startTestOrchestrator();
    const { call } = await o.product();
    // Another orchestrator's engine: healthy, and not ours.
    const squatter = createServer((request, response) => {
      const health = {
        status: 'ok',
        uptime_seconds: 1,
        subsystems: { database: 'ok', llm_provider: 'ok', asset_directory: 'ok' },
      };
      response.writeHead(request.url === '/health' ? 200 : 401).end(JSON.stringify(health));
    });
    squatter.listen(o.config.port_min, '127.0.0.1');
    await once(squatter, 'listening');
    onTestFinished(() => void squatter.close());
    const { body } = await call('POST', '/engines/provision', { body: { user_id: 'ada' } });
    expect(body).toMatchObject({ status: 'running', url: `http://127.0.0.1:${o.config.port_min + 1}` });
  });

  it('fails with PORT_EXHAUSTION when none is left', async () => {
    const env = await testEnvironment();
    const o = await startTestOrchestrator({ ...env, ORCH_PORT_MAX: env.ORCH_PORT_MIN });
    const { call } = await o.product();
    expect((await call('POST', '/engines/provision', { body: { user_id: 'ada' } })).status).toBe(200);
    const answer = await call('POST', '/engines/provision', { body: { user_id: 'bob' } });
    expect([answer.status, answer.body.error.code]).toEqual([503, 'PORT_EXHAUSTION']);
    expect(answer.headers.get('retry-after')).toBe('60');
    await call('DELETE', '/engines/ada');
    expect((await call('POST', '/engines/bob/admit', { body: both })).body.admitted).toBe(true);
  });

  it('at the same moment for one user makes one engine; the others get 409', async () => {
    const o = await startTestOrchestrator();
    const { call } = await o.product();
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => call('POST', '/engines/provision', { body: { user_id: 'ada' } })),
    );
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
    for (const { status, body } of answers.filter(({ status }) => status !== 200)) {
      expect([status, body.error.code]).toEqual([409, 'ENGINE_ALREADY_EXISTS']);
    }
    expect(await o.orchestrator.db.query('SELECT id FROM operations')).toHaveLength(1);
    const [product] = await o.orchestrator.db.query('SELECT engine_count FROM products');
    expect(product).toEqual({ engine_count: 1 });
  });
});

describe('other operations', () => {
  it('are one for any number of callers, who all get its outcome', async () => {
    const o = await startTestOrchestrator();
    const { call } = await o.product();
    await call('POST', '/engines/ada/admit', { body: both });
    for (const [method, path, kind] of [
      ['POST', '/engines/ada/stop', 'stop'],
      ['POST', '/engines/ada/start', 'start'],
      ['DELETE', '/engines/ada', 'destroy'],
    ] as const) {
      await o.orchestrator.db.query('DELETE FROM operations');
      const answers = await Promise.all(Array.from({ length: 10 }, () => call(method, path)));
      const good = answers.filter(({ status }) => status === 200);
      expect(good.length).toBeGreaterThanOrEqual(1);
      for (const { body } of good) expect(body).toEqual(good[0]?.body);
      expect(await o.orchestrator.db.query('SELECT kind, outcome FROM operations')).toEqual([
        { kind, outcome: 'succeeded' },
      ]);
    }
  });

  it('do not cut into one that leads elsewhere', async () => {
    const o = await startTestOrchestrator();
    const { call } = await o.product();
    await o.engines({ health: 'starting' });
    const provision = call('POST', '/engines/provision', { body: { user_id: 'ada' } });
    await until('it is under way', async () => (await call('GET', '/engines/ada')).status === 200);
    expect((await call('GET', '/engines/ada')).body).toMatchObject({ status: 'provisioning', url: null });
    for (const [method, path] of [
      ['POST', '/engines/ada/stop'],
      ['DELETE', '/engines/ada'],
    ] as const) {
      const { status, body } = await call(method, path);
      expect([status, body.error]).toEqual([
        409,
        {
          code: 'OPERATION_IN_PROGRESS',
          message: 'The engine is provisioning, with a provision under way.',
        },
      ]);
    }
    const start = call('POST', '/engines/ada/start');
    await o.engines({});
    expect((await provision).status).toBe(200);
    expect((await start).body).toEqual({ status: 'running', url: (await provision).body.url });
  });

  it('keep key, port and brain over stop and start, and count the epoch up', async () => {
    const o = await startTestOrchestrator();
    const { call } = await o.product();
    const { engine } = (await call('POST', '/engines/ada/admit', { body: both })).body;
    const { pid } = await o.processOf(engine.engine_id);
    await call('POST', '/engines/ada/stop');
    expect(await processIsThere(pid)).toBe(false);
    expect((await call('GET', '/engines/ada')).body).toMatchObject({ status: 'stopped', url: engine.url });
    await call('POST', '/engines/ada/start');
    expect(await o.processOf(engine.engine_id)).toMatchObject({ epoch: 2 });
    const after = (await call('GET', '/engines/ada')).body;
    expect([after.api_key, after.url]).toEqual([engine.api_key, engine.url]);
  });

  it('are walked again when the database was away in the middle', async () => {
    const o = await startTestOrchestrator();
    const { call } = await o.product();
    await o.engines({ health: 'starting' });
    const provision = call('POST', '/engines/provision', { body: { user_id: 'ada' } });
    await until('the engine boots', async () => (await lastOperation(o))?.step === 'await_health');
    // Every connection of the orchestrator is cut, as by a restart of PostgreSQL.
    await o.orchestrator.db
      .query(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
          WHERE datname = current_database() AND pid <> pg_backend_pid()`,
      )
      .catch(() => {});
    await o.engines({});
    expect((await provision).body).toMatchObject({ status: 'running' });
    expect((await lastOperation(o))?.outcome).toBe('succeeded');
  });
});

describe('the end of an orchestrator', () => {
  it('leaves engines running, answers those who wait, and keeps what is unfinished for the next', async () => {
    const env = await testEnvironment();
    const first = await startTestOrchestrator(env);
    const { call, key } = await first.product();
    const { engine } = (await call('POST', '/engines/ada/admit', { body: both })).body;
    const { pid } = await first.processOf(engine.engine_id);
    await first.engines({ health: 'starting' });
    const waiting = call('POST', '/engines/bob/admit', { body: both });
    await until('bob boots', async () => {
      const operation = await lastOperation(first);
      return operation?.user_id === 'bob' && operation.step === 'await_health';
    });
    await first.orchestrator.close();
    const answer = await waiting;
    expect([answer.status, answer.body.error.code]).toEqual([503, 'NOT_READY']);
    expect(answer.headers.get('retry-after')).toBe('2');
    expect(await processIsThere(pid)).toBe(true);

    await first.engines({});
    const second = await startTestOrchestrator(env);
    expect((await second.call('POST', '/engines/bob/admit', { key })).body.admitted).toBe(true);
    expect(await lastOperation(second)).toMatchObject({
      kind: 'provision',
      outcome: 'succeeded',
      attempt: 2,
    });
  });

  it.each([
    ['its deadline passed in an outage has a last chance', "deadline = now() - interval '1 hour'", null],
    ['has brought ten replicas down is given up', 'attempt = 10', 'Given up after 10 attempts.'],
  ])('leaves an operation that the next one ends: one that %s', async (_, change, reason) => {
    const env = await testEnvironment();
    const first = await startTestOrchestrator(env);
    const { call, key } = await first.product();
    await first.engines({ health: 'starting' });
    call('POST', '/engines/provision', { body: { user_id: 'ada' } }).catch(() => {});
    await until('it boots', async () => (await lastOperation(first))?.step === 'await_health');
    await first.orchestrator.db.query(`UPDATE operations SET ${change}`);
    await first.orchestrator.close();

    await first.engines({});
    const second = await startTestOrchestrator(env);
    const { body } = await until('it has ended', async () => {
      const seen = await second.call('GET', '/engines/ada', { key });
      return seen.body.status !== 'provisioning' && seen;
    });
    expect([body.status, (await engineRow(second))?.failure_reason]).toEqual([
      reason === null ? 'running' : 'failed',
      reason,
    ]);
  });

  it('takes the engines along when told to, and the next start brings them up again', async () => {
    const env = await testEnvironment();
    const first = await startTestOrchestrator(env);
    const { call, key } = await first.product();
    const { engine } = (await call('POST', '/engines/ada/admit', { body: both })).body;
    await first.engines({ stubborn: true });
    const { pid } = await first.processOf(engine.engine_id);
    await first.orchestrator.close({ stop_engines_within_ms: 100 });
    expect(await processIsThere(pid)).toBe(false);

    const second = await startTestOrchestrator(env);
    const again = (await second.call('POST', '/engines/ada/admit', { key, body: both })).body;
    expect(again).toMatchObject({ admitted: true, engine: { url: engine.url, api_key: engine.api_key } });
    expect(await second.processOf(engine.engine_id)).toMatchObject({ epoch: 2 });
  });
});
