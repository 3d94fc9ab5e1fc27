/**
 * No secret shows: a long life of a product and its engine, at the lowest log level, and then a look for every secret
 * that was used, wherever people or other programs may look.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { findByArgument } from '../orchestrator/src/backends/process.ts';
import {
  ADMIN,
  MASTER,
  startTestOrchestrator,
  testEnvironment,
} from '../orchestrator/test/support/orchestrator.ts';
import { until } from '../orchestrator/test/support/wait.ts';

const ENGINE = join(import.meta.dirname, '../engine/src/main.ts');
const PROVIDER_KEY = 'sk-provider-0123456789';

it('no secret is in logs, audit rows, operations, lists, errors, process lists or documents', async () => {
  const environment = await testEnvironment({
    ORCH_LOG_LEVEL: 'trace',
    ORCH_ROTATE_OVERLAP_S: '1',
    ORCH_HEALTH_CHECK_INTERVAL_S: '2',
    ORCH_HEALTH_CHECK_TIMEOUT_S: '1',
    ORCH_RESTART_BACKOFF_BASE_S: '1',
    ORCH_ENGINE_ENV_PASSTHROUGH: 'LLM_PROVIDER,LLM_API_KEY',
    LLM_PROVIDER: 'demo',
    LLM_API_KEY: PROVIDER_KEY,
  });
  const database_password = decodeURIComponent(new URL(environment.ORCH_DATABASE_URL).password);
  expect(database_password.length, 'one that could be found').toBeGreaterThan(15);
  const o = await startTestOrchestrator(environment, { engine_entry: ENGINE });
  const { db } = o.orchestrator;
  const shown: string[] = [];
  const secrets = new Set([ADMIN, MASTER, database_password]);
  const show = async (...call: Parameters<typeof o.call>) => {
    const { body } = await o.call(...call);
    shown.push(JSON.stringify(body));
    return body;
  };

  // What may show a key is kept apart; all else is looked through.
  const product = await o.product({ rate_limit_rpm: 50 });
  secrets.add(product.key);
  const admin = { admin: ADMIN };
  const key = { key: product.key };
  const rotate = await o.call('POST', `/products/${product.id}/rotate-platform-key`, {
    ...admin,
    headers: { 'Idempotency-Key': 'platform' },
    body: { overlap_s: 3600 },
  });
  secrets.add(rotate.body.platform_api_key);
  const admitted = await product.call('POST', '/engines/ada/admit', { body: { auto_provision: true } });
  const { engine } = admitted.body;
  secrets.add(engine.api_key);
  await (
    await fetch(`${engine.url}/execute`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', 'X-Engine-Key': engine.api_key },
      body: JSON.stringify({ message: 'Hello', task_id: 'one' }),
    })
  ).text();
  const rotated = await product.call('POST', '/engines/ada/rotate-key');
  expect(rotated.status).toBe(200);
  secrets.add(rotated.body.api_key);

  const asked = await product.call('POST', '/engines/ada/rotate-key?wait=false');
  shown.push(JSON.stringify(asked.body));
  await until('it is rotated', async () => {
    return (await show('GET', `/operations/${asked.body.id}`, key)).ended_at !== null;
  });
  secrets.add((await product.call('GET', '/engines/ada')).body.api_key);

  const { pid } = await o.processOf(engine.engine_id);
  process.kill(pid, 'SIGKILL');
  await until('it is restarted', async () => {
    const { status } = (await product.call('GET', '/engines/ada')).body;
    return status === 'running' && (await o.processOf(engine.engine_id)).pid !== pid;
  });
  await show('POST', '/engines/ada/sleep', { ...key, body: { depth: 'hibernate' } });
  await show('POST', '/engines/ada/rotate-key', key);
  await show('POST', '/engines/ada/wake', key);

  // Errors, also of those who send a secret where it does not belong.
  await show('GET', '/engines', { key: `${product.key}x` });
  await show('GET', '/products', { admin: product.key });
  await show('POST', '/engines/provision', { ...key, body: { user_id: 'ada' } });
  await show('PUT', `/products/${product.id}/policy`, { ...admin, body: { policy: { unknown: 1 } } });
  await show('GET', '/nowhere', key);
  for (const path of ['/engines', '/status', '/engines/ada/explain', '/openapi.json', '/docs']) {
    await show('GET', path, key);
  }
  for (const path of ['/products', '/audit', '/engines', `/engines/ada?product_id=${product.id}`]) {
    await show('GET', path, admin);
  }
  shown.push(o.logged());
  for (const table of ['audit_log', 'operations', 'engines', 'products', 'idempotency_keys', 'transitions']) {
    shown.push(JSON.stringify(await db.query(`SELECT * FROM ${table}`)));
  }
  const engines = await findByArgument(`--engine=${engine.engine_id}/`);
  expect(engines).toHaveLength(1);
  for (const { pid } of engines) {
    shown.push(await readFile(`/proc/${pid}/cmdline`, 'utf8'));
    const environ = (await readFile(`/proc/${pid}/environ`, 'utf8')).split('\0');
    // The operator has named it; it is all of them that an engine gets.
    expect(environ).toContain(`LLM_API_KEY=${PROVIDER_KEY}`);
    shown.push(environ.filter((line) => !line.startsWith('LLM_API_KEY=')).join('\n'));
  }
  const folder = join(o.config.data_dir, 'engines', engine.engine_id);
  for (const file of await readdir(folder, { withFileTypes: true })) {
    if (file.isFile()) shown.push(await readFile(join(folder, file.name), 'latin1'));
  }

  secrets.add(PROVIDER_KEY);
  expect(secrets.size).toBe(9);
  for (const secret of secrets) {
    for (const text of shown) {
      const at = text.indexOf(secret);
      const found = at < 0 ? null : text.slice(Math.max(0, at - 200), at).concat('…');
      expect(found, 'a secret, after').toBeNull();
    }
  }
}, 120_000);
