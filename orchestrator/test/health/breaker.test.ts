import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { grantRestarts, restartsGranted } from '../../src/health/breaker.ts';
import type { Db } from '../../src/registry/db.ts';
import { openIncident } from '../../src/registry/incidents.ts';
import { startTestOrchestrator, testEnvironment } from '../support/orchestrator.ts';
import { addProduct, createRegistry } from '../support/registry.ts';
import { until } from '../support/wait.ts';

const both = { auto_provision: true, auto_wake: true };

/** A fleet of running engines, of which `ill` failed just now and are due for a restart. */
async function fleetOf(size: number, ill: number): Promise<Db> {
  const db = await createRegistry();
  const { id } = await addProduct(db);
  await db.query(
    `INSERT INTO engines (id, product_id, user_id, status, engine_version, key_hash, engine_key_enc, ill_since, restart_at)
     SELECT gen_random_uuid(), $1, n::text, CASE WHEN n <= $3 THEN 'failed' ELSE 'running' END, 'v', 'h', 'e',
            CASE WHEN n <= $3 THEN now() END, CASE WHEN n <= $3 THEN now() END
       FROM generate_series(1, $2::int) n`,
    [id, size, ill],
  );
  return db;
}

const grant = (db: Db, limit = 100) => grantRestarts(db, limit);
/** As if restarts had resumed so many seconds ago. */
const resumed = (db: Db, seconds: number) =>
  db.query('UPDATE incidents SET resumes_at = now() - make_interval(secs => $1) WHERE ended_at IS NULL', [
    seconds,
  ]);

describe('the breaker', () => {
  it.each([
    [20, 4, 'four'],
    [26, 5, 'five, less than a fifth of the fleet'],
  ])('of %i engines %i ill is none: %s', async (size, ill) => {
    const db = await fleetOf(size, ill);
    expect((await grant(db)).restarts).toHaveLength(ill);
    expect(await openIncident(db)).toBeNull();
  });

  it('a fifth of the fleet at once is one incident: restarts pause, resume slowly, and it ends by itself', async () => {
    const db = await fleetOf(25, 5);
    expect(await grant(db)).toMatchObject({ restarts: [], incident: { began: true, ill: 5, fleet: 25 } });
    expect(await grant(db)).toMatchObject({ restarts: [], incident: { restarts: 0 } });
    await resumed(db, 0);
    expect((await grant(db)).restarts).toHaveLength(1);
    expect((await grant(db)).restarts).toHaveLength(0);
    await resumed(db, 2);
    expect((await grant(db)).restarts).toHaveLength(2);
    await resumed(db, 60);
    // None waits any more, but what turned ill a moment ago still is.
    expect((await grant(db)).restarts).toHaveLength(2);
    expect(await openIncident(db)).toMatchObject({ restarts: 5 });
    await db.query("UPDATE engines SET status = 'running', ill_since = NULL, restart_at = NULL");
    expect(await grant(db)).toMatchObject({ restarts: [], incident: { ended: true } });
    expect(await openIncident(db)).toBeNull();
    expect(await db.query('SELECT count(*)::int AS n FROM incidents')).toEqual([{ n: 1 }]);
  });

  it('ill for longer than a minute is no incident of this minute', async () => {
    const db = await fleetOf(10, 10);
    await db.query("UPDATE engines SET ill_since = now() - interval '61 s'");
    expect((await grant(db)).restarts).toHaveLength(10);
  });

  it('is exact over orchestrators that ask in the same moment', async () => {
    const db = await fleetOf(100, 50);
    await Promise.all(Array.from({ length: 8 }, () => grant(db)));
    expect(await db.query('SELECT count(*)::int AS n FROM incidents')).toEqual([{ n: 1 }]);
    await resumed(db, 4);
    const granted = await Promise.all(Array.from({ length: 8 }, () => grant(db, 3)));
    // The clock goes on while they ask.
    const total = granted.flatMap(({ restarts }) => restarts).length;
    expect(total).toBeGreaterThanOrEqual(restartsGranted(4));
    expect(total).toBeLessThanOrEqual(restartsGranted(8));
  });

  it('lets through one at first, ever more, and never takes one back', () => {
    expect([-1, 0, 1, 10, 100].map(restartsGranted)).toEqual([0, 1, 2, 16, 601]);
    fc.assert(
      fc.property(
        fc.double({ min: -100, max: 1e5, noNaN: true }),
        fc.double({ min: 0, max: 100, noNaN: true }),
        (t, d) => {
          expect(restartsGranted(t + d)).toBeGreaterThanOrEqual(restartsGranted(t));
        },
      ),
    );
  });
});

describe('engines killed together', () => {
  it('are one incident, shown by GET /health, and come back one after the other when it has passed', async () => {
    const o = await startTestOrchestrator(testEnvironment({ ORCH_RESTART_BACKOFF_BASE_S: '2' }));
    const { call } = await o.product();
    const users = ['ada', 'bob', 'cy', 'dee', 'eve', 'fay'];
    const engines = await Promise.all(
      users.map(async (user) => (await call('POST', `/engines/${user}/admit`, { body: both })).body.engine),
    );
    expect((await o.call('GET', '/health')).body).toEqual({ status: 'ok' });
    for (const { engine_id } of engines) process.kill((await o.processOf(engine_id)).pid, 'SIGKILL');
    const { body } = await until('it is shown', async () => {
      const health = await o.call('GET', '/health');
      return health.body.status === 'degraded' && health;
    });
    expect(body.incident).toEqual({ began_at: expect.any(String), restarts_resume_at: expect.any(String) });
    expect(o.logged()).toContain('many engines turned ill at once: restarts pause');
    const { db } = o.orchestrator;
    await db.query('UPDATE engines SET restart_at = now()');
    expect((await call('GET', '/engines?status=failed')).body.total).toBe(6);
    // Who asks for an engine gets it, whatever waits in line.
    expect((await call('POST', '/engines/ada/admit', { body: both })).body.admitted).toBe(true);
    expect((await call('GET', '/engines?status=failed')).body.total).toBe(5);

    await resumed(db, 0);
    await until('all are back', async () => (await call('GET', '/engines?status=running')).body.total === 6);
    await until('it is over', async () => (await o.call('GET', '/health')).body.status === 'ok');
    const [incident] = await db.query<{ restarts: number; paced: boolean }>(
      `SELECT restarts, (SELECT max(created_at) - min(created_at) > interval '1 s' FROM operations
                          WHERE kind = 'restart' AND actor = 'system') AS paced FROM incidents`,
    );
    expect(incident).toEqual({ restarts: 5, paced: true });
  });
});
