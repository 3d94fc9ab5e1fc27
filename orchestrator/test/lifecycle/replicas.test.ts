import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import { describe, expect, it, onTestFinished } from 'vitest';
import { findByArgument } from '../../src/backends/process.ts';
import type { OperationRow } from '../../src/registry/operations.ts';
import { startChildOrchestrator } from '../support/child_orchestrator.ts';
import { startTestOrchestrator, type TestOrchestrator, testEnvironment } from '../support/orchestrator.ts';
import { until } from '../support/wait.ts';

const both = { auto_provision: true, auto_wake: true };
const processesOf = async (id: string) => (await findByArgument(`--engine=${id}/`)).map(({ pid }) => pid);
const operations = (o: TestOrchestrator, kind: string) =>
  o.orchestrator.db.query<OperationRow>('SELECT * FROM operations WHERE kind = $1', [kind]);

async function connectTo(url: string) {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  onTestFinished(() => client.end());
  return client;
}

/** One replica in this process, and one that freezes itself when it comes to `point`. */
async function twoReplicas(point: string) {
  const env = await testEnvironment();
  const alive = await startTestOrchestrator(env);
  const { key } = await alive.product();
  const frozen = await startChildOrchestrator({
    ...env,
    ORCH_FAILPOINT: point,
    ORCH_FAILPOINT_SIGNAL: 'SIGSTOP',
    ORCH_FAILPOINT_FILE: join(env.ORCH_DATA_DIR, 'fired'),
  });
  const call: TestOrchestrator['call'] = (method, path, options) =>
    alive.call(method, path, { key, ...options });
  return { env, alive, frozen, key, call };
}

/**
 * Waits until the replica in this process has done what the frozen one had claimed. Whoever has the time sits
 * out the lease; for the others it runs out at once.
 */
async function takenOver(alive: TestOrchestrator, kind: string, options = { sitOut: false }) {
  const fired = join(alive.config.data_dir, 'fired');
  await until('it is frozen', () => stat(fired).catch(() => null));
  if (!options.sitOut) {
    await alive.orchestrator.db.query(
      "UPDATE operations SET lease_until = now() - interval '1 second' WHERE kind = $1",
      [kind],
    );
  }
  return await until('it is taken over and done', async () => {
    const [operation] = await operations(alive, kind);
    return operation?.outcome === 'succeeded' && operation.lease === 2 && operation;
  });
}

describe('a replica that is frozen past its lease and continues', () => {
  it.each(['create.before', 'create.replaced', 'create.spawned'])(
    'starts no second engine: at %s',
    async (point) => {
      const { alive, frozen, key, call } = await twoReplicas(point);
      const asked = frozen.call('POST', '/engines/provision', { key, body: { user_id: 'ada' } });
      const before = await takenOver(alive, 'provision', { sitOut: point === 'create.before' });
      const processes = await until('one process is left', async () => {
        const found = await processesOf(before.engine_id);
        return found.length >= 1 && found;
      });
      const { pid, epoch } = await alive.processOf(before.engine_id);
      expect([epoch, processes]).toEqual([2, expect.arrayContaining([pid])]);

      frozen.signal('SIGCONT');
      // Its caller gets what the other has done.
      const answer = await asked;
      expect([answer.status, answer.body]).toMatchObject([
        200,
        { engine_id: before.engine_id, status: 'running' },
      ]);
      await until('what it still did is undone', async () => {
        return (await processesOf(before.engine_id)).join() === String(pid);
      });
      expect(await alive.processOf(before.engine_id)).toMatchObject({ pid, epoch: 2 });
      expect(await operations(alive, 'provision')).toEqual([before]);
      expect((await call('POST', '/engines/ada/admit')).body.admitted).toBe(true);
      const audit = await alive.orchestrator.db.query("SELECT id FROM audit_log WHERE action = 'provision'");
      expect(audit).toHaveLength(1);
    },
  );

  it.each([
    ['stop.before', 'stop', 'POST', '/stop', '/start'],
    ['end.before', 'stop', 'POST', '/stop', '/start'],
    ['stop.before', 'retire', 'DELETE', '?retain=true', '/restore'],
    ['end.before', 'retire', 'DELETE', '?retain=true', '/restore'],
  ])('ends no engine that was brought up since: at %s of a %s', async (point, kind, method, path, back) => {
    const { alive, frozen, key, call } = await twoReplicas(point);
    const { engine } = (await call('POST', '/engines/ada/admit', { body: both })).body;
    const asked = frozen.call(method, `/engines/ada${path}`, { key });
    const before = await takenOver(alive, kind);
    expect((await call('POST', `/engines/ada${back}`)).status).toBe(200);
    const after = await alive.processOf(engine.engine_id);

    frozen.signal('SIGCONT');
    expect((await asked).status).toBe(200);
    expect(await operations(alive, kind)).toEqual([before]);
    expect((await call('GET', '/engines/ada')).body.status).toBe('running');
    expect(await processesOf(engine.engine_id)).toEqual([after.pid]);
    const held = await alive.orchestrator.db.query('SELECT port FROM ports WHERE engine_id IS NOT NULL');
    expect(held).toEqual([{ port: after.port }]);
  });

  it('tries no restart when the others have used up the last one: at begin.before of an admit', async () => {
    const { alive, frozen, key, call } = await twoReplicas('begin.before');
    await call('POST', '/engines/ada/admit', { body: both });
    const { db } = alive.orchestrator;
    await db.query("UPDATE engines SET status = 'failed', restart_at = now() + interval '1 hour'");
    const asked = frozen.call('POST', '/engines/ada/admit', { key, body: both });
    await until('it is frozen', () => stat(join(alive.config.data_dir, 'fired')).catch(() => null));
    await db.query('UPDATE engines SET restart_at = NULL, restart_attempts = 8');

    frozen.signal('SIGCONT');
    expect((await asked).body).toMatchObject({ admitted: false, reason: 'engine_unhealthy' });
    expect(await operations(alive, 'restart')).toEqual([]);
  });

  it('begins no restart that others have put off since it was claimed', async () => {
    const { env, alive, frozen, call } = await twoReplicas('begin.before');
    await call('POST', '/engines/ada/admit', { body: both });
    // The other must claim it; this one only leaves its engine behind.
    await alive.orchestrator.close();
    const db = await connectTo(env.ORCH_DATABASE_URL);
    await db.query("UPDATE engines SET status = 'failed', restart_at = now()");
    await until('it is frozen', () => stat(join(alive.config.data_dir, 'fired')).catch(() => null));
    const { rows } = await db.query(
      "UPDATE engines SET restart_attempts = 1, restart_at = now() + interval '2 seconds' RETURNING restart_at",
    );

    frozen.signal('SIGCONT');
    const began = await until('it is restarted', async () => {
      const found = await db.query("SELECT created_at FROM operations WHERE kind = 'restart'");
      return found.rows[0]?.created_at;
    });
    expect(began.getTime()).toBeGreaterThanOrEqual(rows[0].restart_at.getTime());
  });

  it('brings up no engine that has become a tombstone since', async () => {
    const { alive, frozen, key, call } = await twoReplicas('create.before');
    const { engine } = (await call('POST', '/engines/ada/admit', { body: both })).body;
    await call('DELETE', '/engines/ada?retain=true');
    const asked = frozen.call('POST', '/engines/ada/restore', { key });
    await takenOver(alive, 'restore');
    await call('DELETE', '/engines/ada?retain=true');

    frozen.signal('SIGCONT');
    expect((await asked).body.error.code).toBe('ENGINE_NOT_FOUND');
    expect(await processesOf(engine.engine_id)).toEqual([]);
    expect((await call('POST', '/engines/ada/restore')).body.engine_id).toBe(engine.engine_id);
  });

  it('brings nothing back that was destroyed since', async () => {
    const { alive, frozen, key, call, env } = await twoReplicas('create.before');
    const asked = frozen.call('POST', '/engines/provision', { key, body: { user_id: 'ada' } });
    const { engine_id } = await takenOver(alive, 'provision');
    expect((await call('DELETE', '/engines/ada')).status).toBe(200);

    frozen.signal('SIGCONT');
    expect((await asked).body.error.code).toBe('ENGINE_NOT_FOUND');
    expect(await processesOf(engine_id)).toEqual([]);
    expect(await readdir(join(env.ORCH_DATA_DIR, 'engines'))).toEqual([]);
  });
});

describe('a replica that is killed under load', () => {
  it('takes down only the calls in flight on it, and what it had begun goes on at once', async () => {
    const { alive, frozen: victim, key, call } = await twoReplicas('none');
    const users = ['ada', 'bob', 'cy'];
    await Promise.all(users.map((user) => call('POST', `/engines/${user}/admit`, { body: both })));
    await alive.engines({ health: 'starting' });
    const begun = (
      await victim.call('POST', '/engines/provision?wait=false', { key, body: { user_id: 'dee' } })
    ).body;
    await until('it is claimed', async () => {
      return (await call('GET', `/operations/${begun.id}`)).body.step === 'await_health';
    });

    let dead = false;
    const seen = { alive: 0, victim: 0, lost: 0 };
    const admitOver = async (name: 'alive' | 'victim', user: string) => {
      while (!dead || name === 'alive') {
        const answer = await (name === 'alive' ? call : victim.call)('POST', `/engines/${user}/admit`, {
          key,
        }).catch(() => null);
        if (answer === null) {
          // The one call that this client had in flight.
          expect([name, dead]).toEqual(['victim', true]);
          seen.lost += 1;
          return;
        }
        expect([answer.status, answer.body.admitted]).toEqual([200, true]);
        seen[name] += 1;
        if (dead && seen.alive > 150) return;
      }
    };
    const load = [
      ...users.map((user) => admitOver('alive', user)),
      ...users.map((user) => admitOver('victim', user)),
    ];
    await until('both are under load', () => seen.alive > 50 && seen.victim > 50);
    await alive.engines({});
    dead = true;
    await victim.kill();
    await Promise.all(load);
    expect(seen.lost).toBeLessThanOrEqual(users.length);

    const ended = await until('its operation has ended', async () => {
      const { body } = await call('GET', `/operations/${begun.id}`);
      return body.status === 'succeeded' && body;
    });
    expect((await call('GET', '/engines/dee')).body.status).toBe('running');
    expect(ended.epoch).toBe(ended.attempt);
  });
});
