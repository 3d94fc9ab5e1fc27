import { readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { findByArgument } from '../../src/backends/process.ts';
import { registerProduct, startChildOrchestrator } from '../support/child_orchestrator.ts';
import { behave, startTestOrchestrator, testEnvironment } from '../support/orchestrator.ts';
import { processIsThere, until } from '../support/wait.ts';

const both = { auto_provision: true, auto_wake: true };

/** The processes of one engine, whoever started them. */
const processesOf = async (engine_id: string) =>
  (await findByArgument(`--engine=${engine_id}/`)).map(({ pid }) => pid);

async function killable() {
  const env = await testEnvironment();
  const child = await startChildOrchestrator(env);
  onTestFinished(async () => {
    await child.kill();
    for (const engine_id of await readdir(join(env.ORCH_DATA_DIR, 'engines')).catch(() => [])) {
      for (const pid of await processesOf(engine_id)) process.kill(pid, 'SIGKILL');
    }
  });
  const key = await registerProduct(child.call);
  return { env, child, key };
}

describe('after kill -9 of the orchestrator', () => {
  it('the next one takes over an engine as it is: same process, same epoch, same key', async () => {
    const { env, child, key } = await killable();
    const { engine } = (await child.call('POST', '/engines/ada/admit', { key, body: both })).body;
    const before = await processesOf(engine.engine_id);
    await child.kill();
    expect(await processIsThere(before[0] ?? 0)).toBe(true);

    const next = await startTestOrchestrator(env);
    const after = (await next.call('POST', '/engines/ada/admit', { key })).body;
    expect(after).toMatchObject({
      admitted: true,
      engine: { url: engine.url, api_key: engine.api_key, created_at: engine.created_at },
    });
    expect(await processesOf(engine.engine_id)).toEqual(before);
    expect(await next.processOf(engine.engine_id)).toMatchObject({ pid: before[0], epoch: 1 });
    const audit = await until('it is noted', async () => {
      const rows = await next.orchestrator.db.query<{ metadata: object }>(
        "SELECT metadata FROM audit_log WHERE action = 'adopt'",
      );
      return rows.length > 0 && rows;
    });
    expect(audit).toEqual([{ metadata: { epoch: 1, healthy: true } }]);
    // It is the new one's to stop, though not its child.
    expect((await next.call('POST', '/engines/ada/stop', { key })).status).toBe(200);
    expect(await processesOf(engine.engine_id)).toEqual([]);
  });

  it('in the middle of a provision: the next one finishes it, with one process', async () => {
    const { env, child, key } = await killable();
    await behave(env.ORCH_DATA_DIR, { health: 'starting' });
    const lost = child.call('POST', '/engines/provision', { key, body: { user_id: 'ada' } });
    lost.catch(() => {});
    const { engine_id } = await until('the engine boots', async () => {
      const { status, body } = await child.call('GET', '/engines/ada', { key });
      return status === 200 && (await processesOf(body.engine_id)).length === 1 && body;
    });
    await child.kill();
    await expect(lost).rejects.toThrow();

    await behave(env.ORCH_DATA_DIR, {});
    const next = await startTestOrchestrator(env);
    const { body } = await next.call('POST', '/engines/ada/admit', { key });
    expect(body).toMatchObject({ admitted: true, engine: { engine_id, status: 'running' } });
    expect(await processesOf(engine_id)).toHaveLength(1);
    expect(await readdir(join(env.ORCH_DATA_DIR, 'engines'))).toEqual([engine_id]);
    const operations = await next.orchestrator.db.query(
      'SELECT kind, epoch, attempt, outcome FROM operations',
    );
    // Each take-up has an epoch of its own (O22).
    expect(operations).toEqual([{ kind: 'provision', epoch: 2, attempt: 2, outcome: 'succeeded' }]);
  });

  it('before it noted the process it had started: no second one', async () => {
    const { env, child, key } = await killable();
    await behave(env.ORCH_DATA_DIR, { health: 'starting' });
    child.call('POST', '/engines/provision', { key, body: { user_id: 'ada' } }).catch(() => {});
    const engine_id = await until('the engine boots', async () => {
      const { body } = await child.call('GET', '/engines/ada', { key });
      return (await processesOf(body.engine_id)).length === 1 && body.engine_id;
    });
    await child.kill();
    const before = await processesOf(engine_id);
    await rm(join(env.ORCH_DATA_DIR, 'engines', engine_id, 'process.json'), { force: true });

    await behave(env.ORCH_DATA_DIR, {});
    const next = await startTestOrchestrator(env);
    expect((await next.call('POST', '/engines/ada/admit', { key })).body.admitted).toBe(true);
    const after = await processesOf(engine_id);
    expect(after).toHaveLength(1);
    expect(after).not.toEqual(before);
  });

  it('and of its engines: they come up again, and an admit waits for it', async () => {
    const { env, child, key } = await killable();
    const users = ['ada', 'bob', 'cy', 'dee', 'eve'];
    const engines = await Promise.all(
      users.map(
        async (user) => (await child.call('POST', `/engines/${user}/admit`, { key, body: both })).body.engine,
      ),
    );
    await child.kill();
    for (const { engine_id } of engines) {
      for (const pid of await processesOf(engine_id)) process.kill(pid, 'SIGKILL');
    }
    const next = await startTestOrchestrator(env);
    // Never the address of a dead one: an admit that may not wake is denied, one that may brings it back at once.
    const denied = await next.call('POST', '/engines/ada/admit', { key });
    expect(denied.body).toEqual({ admitted: false, engine: null, reason: 'engine_unhealthy' });
    const admits = await Promise.all(
      users.map((user) => next.call('POST', `/engines/${user}/admit`, { key, body: both })),
    );
    for (const [n, { body }] of admits.entries()) {
      expect(body).toMatchObject({ admitted: true, engine: { url: engines[n].url, status: 'running' } });
      expect(await processesOf(engines[n].engine_id)).toHaveLength(1);
      expect(await next.processOf(engines[n].engine_id)).toMatchObject({ epoch: 2 });
    }
    const actions = await next.orchestrator.db.query<{ action: string; n: number }>(
      `SELECT action, count(*)::int AS n FROM audit_log
        WHERE action ~ 'restart|failed' GROUP BY action ORDER BY action`,
    );
    expect(actions).toEqual([
      { action: 'auto_restart_start', n: 5 },
      { action: 'auto_restart_success', n: 5 },
      { action: 'health_failed', n: 5 },
    ]);
    // They went while nobody looked, not in this minute: no incident.
    expect(await next.orchestrator.db.query('SELECT FROM incidents')).toEqual([]);
  });

  it('in the middle of a stop and a destroy: both come to their end', async () => {
    const { env, child, key } = await killable();
    await behave(env.ORCH_DATA_DIR, { stubborn: true });
    const ids = await Promise.all(
      ['ada', 'bob'].map(
        async (user) =>
          (await child.call('POST', `/engines/${user}/admit`, { key, body: both })).body.engine.engine_id,
      ),
    );
    child.call('POST', '/engines/ada/stop', { key }).catch(() => {});
    child.call('DELETE', '/engines/bob', { key }).catch(() => {});
    await until('bob is on the way out', async () => {
      const { body } = await child.call('GET', '/engines/bob', { key });
      return body.status === 'destroying';
    });
    await until('ada is too', async () => {
      const { body } = await child.call('POST', '/engines/ada/start', { key });
      return body.error?.code === 'OPERATION_IN_PROGRESS';
    });
    await child.kill();
    for (const id of ids) expect(await processesOf(id)).toHaveLength(1);

    await behave(env.ORCH_DATA_DIR, {});
    const next = await startTestOrchestrator(env);
    await until('bob is gone', async () => (await next.call('GET', '/engines/bob', { key })).status === 404);
    await until('ada is stopped', async () => {
      return (await next.call('GET', '/engines/ada', { key })).body.status === 'stopped';
    });
    for (const id of ids) expect(await processesOf(id)).toEqual([]);
    expect(await readdir(join(env.ORCH_DATA_DIR, 'engines'))).toEqual([ids[0]]);
  });
});

describe('at the start', () => {
  it('an engine that cannot be found out about is left alone', async () => {
    const { env, child, key } = await killable();
    const { engine } = (await child.call('POST', '/engines/ada/admit', { key, body: both })).body;
    await child.kill();
    const before = await processesOf(engine.engine_id);
    const record = join(env.ORCH_DATA_DIR, 'engines', engine.engine_id, 'process.json');
    await writeFile(record, '{"half');
    const next = await startTestOrchestrator(env);
    expect((await next.call('GET', '/engines/ada', { key })).body.status).toBe('running');
    expect(await processesOf(engine.engine_id)).toEqual(before);
    await until('it is reported', () => next.logged().includes('left alone'));
    expect((await next.call('GET', '/engines/ada', { key })).body.status).toBe('running');
    expect(await processesOf(engine.engine_id)).toEqual(before);
    // The process is found by its mark, so the engine can still be ended.
    expect((await next.call('DELETE', '/engines/ada', { key })).status).toBe(200);
    expect(await processesOf(engine.engine_id)).toEqual([]);
  });
});
