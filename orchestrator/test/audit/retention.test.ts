import { randomUUID } from 'node:crypto';
import { expect, it } from 'vitest';
import { appendAudit } from '../../src/audit/append.ts';
import { startAuditRetention } from '../../src/audit/retention.ts';
import { verifyAudit } from '../../src/audit/verify.ts';
import { createLog } from '../../src/observe/log.ts';
import type { Db, Sql } from '../../src/registry/db.ts';
import { anEntry, appendRows } from '../support/audit.ts';
import { startTestOrchestrator, testEnvironment } from '../support/orchestrator.ts';
import { addProduct, createRegistry } from '../support/registry.ts';
import { until } from '../support/wait.ts';

const DAY_MS = 86_400_000;

async function appendAged(sql: Sql, product_id: string | null, ...ages: number[]) {
  for (const days of ages) {
    await appendAudit(sql, anEntry(product_id, { timestamp: new Date(Date.now() - days * DAY_MS) }));
  }
}

/** Lets the loop run once, over all chains; gives what it logged. */
async function removeOlderThan(db: Db, audit_retention_days: number): Promise<string> {
  const lines: string[] = [];
  const log = createLog('debug', { write: (line: string) => lines.push(line) });
  const stop = new AbortController();
  const clock = {
    now: () => 0,
    wall: () => 0,
    // The pause after the first run.
    sleep: async () => stop.abort(),
  };
  await db.query("DELETE FROM turns WHERE name = 'audit retention'");
  await startAuditRetention({ db, log, clock, random: () => 0.5, audit_retention_days }, stop.signal).ended;
  return lines.join('');
}

const numbersOf = async (db: Db, product_id: string | null) => {
  const rows = await db.query<{ seq: number }>(
    'SELECT seq::int FROM audit_log WHERE product_id IS NOT DISTINCT FROM $1 ORDER BY id',
    [product_id],
  );
  return rows.map(({ seq }) => seq);
};

it('removes what is too old from every chain, and what is left verifies', async () => {
  const db = await createRegistry();
  const [a, b] = [(await addProduct(db)).id, (await addProduct(db)).id];
  await appendAged(db, null, 40, 31, 1);
  await appendAged(db, a, 40, 29, 35, 1);
  await appendAged(db, b, 50, 40);
  expect(await removeOlderThan(db, 0)).toBe('');
  expect(await verifyAudit(db)).toEqual({ chains: 3, rows: 9, broken: [] });

  expect(await removeOlderThan(db, 30)).toBe('');
  expect(await numbersOf(db, null)).toEqual([3]);
  // What was written behind a row that stays, stays as long: an action may have begun long before it ended.
  expect(await numbersOf(db, a)).toEqual([2, 3, 4]);
  expect(await numbersOf(db, b)).toEqual([]);
  expect(await verifyAudit(db)).toEqual({ chains: 3, rows: 4, broken: [] });

  for (const chain of [null, a, b]) await appendAged(db, chain, 0);
  expect(await numbersOf(db, b)).toEqual([3]);
  expect(await verifyAudit(db)).toEqual({ chains: 3, rows: 7, broken: [] });
});

it('removes more than one batch, while others write', async () => {
  const db = await createRegistry();
  const { id } = await addProduct(db);
  await db.tx((sql) => appendAged(sql, id, ...Array.from({ length: 1_200 }, () => 40)));
  let busy = true;
  let written = 0;
  const writing = [1, 2].map(async () => {
    for (; busy; written += 1) await appendRows(db, id, 1);
  });
  expect(await removeOlderThan(db, 30)).toBe('');
  busy = false;
  await Promise.all(writing);
  expect(await verifyAudit(db)).toEqual({ chains: 1, rows: written, broken: [] });
});

it('leaves a gap that anybody else has made where it is, and says so', async () => {
  const db = await createRegistry();
  const { id } = await addProduct(db);
  await appendAged(db, id, 40, 40, 40, 40, 1);
  await db.query('DELETE FROM audit_log WHERE seq = 3');
  expect(await removeOlderThan(db, 30)).toContain('the audit log is broken');
  expect(await numbersOf(db, id)).toEqual([4, 5]);
  expect((await verifyAudit(db)).broken).toMatchObject([{ product_id: id, seq: 3, fault: 'deleted' }]);
});

it('does not remove an altered row', async () => {
  const db = await createRegistry();
  const { id } = await addProduct(db);
  await appendAged(db, id, 40, 40);
  await db.query("UPDATE audit_log SET actor = 'eve' WHERE seq = 1");
  expect(await removeOlderThan(db, 30)).toContain('the audit log is broken');
  expect((await verifyAudit(db)).broken).toMatchObject([{ product_id: id, seq: 1, fault: 'altered' }]);
});

it('is done by the orchestrator, as ORCH_AUDIT_RETENTION_DAYS says', async () => {
  const env = await testEnvironment();
  const first = await startTestOrchestrator(env);
  // A chain of its own: what the orchestrator does at its start stands in the system's.
  const chain = randomUUID();
  await appendAged(first.orchestrator.db, chain, 8, 6);
  await first.orchestrator.close();

  const { orchestrator } = await startTestOrchestrator({ ...env, ORCH_AUDIT_RETENTION_DAYS: '7' });
  await until('the old row is gone', async () => (await numbersOf(orchestrator.db, chain)).length === 1);
  expect(await numbersOf(orchestrator.db, chain)).toEqual([2]);
  expect((await verifyAudit(orchestrator.db)).broken).toEqual([]);
});
