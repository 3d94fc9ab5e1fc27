import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { subprocessBackend } from '../../src/backends/subprocess.ts';
import { loadConfig } from '../../src/config.ts';
import { noteExit } from '../../src/lifecycle/presence.ts';
import { failRunning } from '../../src/lifecycle/restarts.ts';
import { STAND_IN } from '../support/images.ts';
import { startTestOrchestrator, testEnvironment } from '../support/orchestrator.ts';
import { processIsThere, until } from '../support/wait.ts';

it('a late report of an end fails no engine that has a successor at the same epoch', async () => {
  const env = await testEnvironment();
  const o = await startTestOrchestrator(env);
  const { call } = await o.product();
  const { engine_id } = (await call('POST', '/engines/provision', { body: { user_id: 'ada' } })).body;
  const { pid, epoch } = await o.processOf(engine_id);
  const { db } = o.orchestrator;
  const statusNow = async () => (await db.query('SELECT status FROM engines'))[0];

  const backend = subprocessBackend({
    root: join(o.config.data_dir, 'engines'),
    entry: STAND_IN,
    catalog_dir: '/catalog',
    environment: { PATH: process.env.PATH ?? '' },
    onError: (error) => {
      throw error;
    },
  });
  onTestFinished(() => backend.close());
  const { restarts } = loadConfig(env, '/');
  const deps = {
    backend,
    fail: (engine_id: string, epoch: number, reason: string, evidence: { found_by: 'exit' }) =>
      db.tx((sql) => failRunning(sql, restarts, 300, { engine_id, epoch, reason, evidence })),
  };
  const report = { code: null, signal: 'SIGKILL', last_words: null };

  await noteExit(deps, { engine_id, epoch, report });
  expect(await statusNow()).toEqual({ status: 'running' });

  // The orchestrator's own listener hears of this one too; whoever is first, it fails once.
  process.kill(pid, 'SIGKILL');
  await until('it is gone', async () => !(await processIsThere(pid)));
  await noteExit(deps, { engine_id, epoch, report });
  const rows = await db.query(
    "SELECT metadata->>'reason' AS reason FROM audit_log WHERE action = 'health_failed'",
  );
  expect(rows).toEqual([{ reason: 'The engine ended (SIGKILL).' }]);
});
