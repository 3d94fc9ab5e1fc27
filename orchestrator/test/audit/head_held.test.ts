import pg from 'pg';
import { expect, it, onTestFinished } from 'vitest';
import { verifyAudit } from '../../src/audit/verify.ts';
import { startTestOrchestrator } from '../support/orchestrator.ts';

it("a chain's head that somebody holds for long holds up its product, and no operation fails", async () => {
  const o = await startTestOrchestrator();
  const { id, call } = await o.product();
  const other = await o.product();
  await call('POST', '/engines/ada/admit', { body: { auto_provision: true } });
  // As a replica does that was frozen between its row and its COMMIT.
  const frozen = new pg.Client({ connectionString: o.config.database_url });
  await frozen.connect();
  onTestFinished(() => frozen.end());
  await frozen.query('BEGIN');
  await frozen.query('SELECT FROM audit_chains WHERE product_id = $1 FOR UPDATE', [id]);

  const stopped = call('POST', '/engines/ada/stop');
  // Each waits as long as any transaction waits for a row.
  const denied = await call('POST', '/engines/nobody/admit');
  expect([denied.status, denied.body.error.code]).toEqual([503, 'NOT_READY']);
  expect(denied.headers.get('retry-after')).toBe('2');
  expect((await other.call('POST', '/engines/nobody/admit')).status).toBe(200);
  await frozen.query('ROLLBACK');

  expect((await stopped).status).toBe(200);
  expect((await call('POST', '/engines/nobody/admit')).body.reason).toBe('engine_not_found');
  const { body } = await call('GET', '/audit?action=stop');
  expect(body.rows).toMatchObject([{ user_id: 'ada', metadata: { outcome: 'succeeded' } }]);
  expect((await verifyAudit(o.orchestrator.db)).broken).toEqual([]);
});
