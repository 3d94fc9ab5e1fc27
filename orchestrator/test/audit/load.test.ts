/** Many users of one product, everything at once: nobody waits for each other in a circle, no row gets lost. */
import { expect, it } from 'vitest';
import { verifyAudit } from '../../src/audit/verify.ts';
import { ADMIN, startTestOrchestrator, testEnvironment } from '../support/orchestrator.ts';

const USERS = 6;
const TIME_LIMIT_MS = 120_000;

it('two orchestrators under load write one chain', { timeout: TIME_LIMIT_MS }, async () => {
  const env = await testEnvironment({ ORCH_BOOT_TIMEOUT_S: '60' });
  const o = await startTestOrchestrator(env);
  const other = await startTestOrchestrator(env);
  const { id, key } = await o.product({ destroy_retention_s: 3600 });
  const statuses: number[] = [];
  const ask = async (user: number, method: string, path: string, body?: object) => {
    const { call } = user % 2 === 0 ? o : other;
    const { status } = await call(method, path, { key, body });
    statuses.push(status);
  };

  let busy = true;
  const policies = (async () => {
    while (busy) {
      const body = { policy: { destroy_retention_s: 3600 } };
      await o.call('PUT', `/products/${id}/policy`, { admin: ADMIN, body });
    }
  })();
  const users = Array.from({ length: USERS }, async (_, user) => {
    const engine = `/engines/user-${user}`;
    await ask(user, 'POST', '/engines/provision', { user_id: `user-${user}` });
    await ask(user, 'POST', `${engine}/stop`);
    // Denied, and told so in the log, by both; while the next begins.
    await Promise.all([
      ask(user, 'POST', `${engine}/admit`, {}),
      ask(user + 1, 'POST', `${engine}/admit`, {}),
      ask(user, 'POST', `${engine}/start`),
      ask(user + 1, 'POST', `${engine}/start`),
    ]);
    await ask(user, 'POST', `${engine}/sleep`, { depth: 'doze' });
    await ask(user, 'POST', `${engine}/wake`);
    await ask(user, 'DELETE', engine);
    await ask(user, 'POST', `${engine}/restore`);
    await ask(user, 'DELETE', `${engine}?retain=false`);
  });
  await Promise.all(users);
  busy = false;
  await policies;

  // A start that comes second may find the engine running.
  expect(statuses.filter((status) => status !== 200 && status !== 409)).toEqual([]);
  const { db } = o.orchestrator;
  const [{ deadlocks } = {}] = await db.query<{ deadlocks: number }>(
    'SELECT deadlocks::int FROM pg_stat_database WHERE datname = current_database()',
  );
  expect(deadlocks).toBe(0);
  const verdict = await verifyAudit(db, { product_id: id });
  expect(verdict.broken).toEqual([]);
  const [{ ended } = {}] = await db.query<{ ended: number }>(
    'SELECT count(*)::int AS ended FROM operations WHERE ended_at IS NOT NULL',
  );
  // Eight operations of each user, each with its row, beside denials and policies.
  expect(ended).toBe(8 * USERS);
  expect(verdict.rows).toBeGreaterThan(8 * USERS);
});
