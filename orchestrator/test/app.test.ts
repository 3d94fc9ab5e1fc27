import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { StartError, startOrchestrator } from '../src/app.ts';
import { loadConfig } from '../src/config.ts';
import { createLog } from '../src/observe/log.ts';
import { STAND_IN } from './support/images.ts';
import { ADMIN, MASTER, startTestOrchestrator, testEnvironment } from './support/orchestrator.ts';
import { until } from './support/wait.ts';

/** The configuration of an orchestrator that will not come up; nothing stays of it. */
async function failing(overrides: Record<string, string>) {
  const env = await testEnvironment();
  onTestFinished(() => rm(env.ORCH_DATA_DIR, { recursive: true }));
  return { config: loadConfig({ ...env, ...overrides }, '/'), log: silent, engine_entry: STAND_IN };
}

const silent = createLog('fatal', { write: () => {} });
const both = { auto_provision: true, auto_wake: true };

describe('a start that cannot succeed says what to do', () => {
  it('port taken', async () => {
    const squatter = createServer().listen(0, '127.0.0.1');
    await once(squatter, 'listening');
    onTestFinished(() => void squatter.close());
    const address = squatter.address();
    const port = address !== null && typeof address === 'object' ? address.port : 0;
    await expect(startOrchestrator(await failing({ ORCH_PORT: String(port) }))).rejects.toThrow(
      new StartError(`Port ${port} is taken: stop what uses it, or choose another with ORCH_PORT.`),
    );
  });

  it('data folder not writable', async () => {
    await expect(startOrchestrator(await failing({ ORCH_DATA_DIR: '/dev/null/data' }))).rejects.toThrow(
      'The data folder /dev/null/data cannot be used (ENOTDIR): make it writable, or name another',
    );
  });

  it('no database', async () => {
    const ORCH_DATABASE_URL = 'postgresql://somebody:hush@127.0.0.1:1/nothing';
    await expect(startOrchestrator(await failing({ ORCH_DATABASE_URL }))).rejects.toThrow(
      new StartError(
        'The database cannot be reached (ECONNREFUSED): is it up, and is ORCH_DATABASE_URL right?',
      ),
    );
  });
});

describe('no secret', () => {
  it('is in the log, the audit log, the operations, an error or a list', async () => {
    const o = await startTestOrchestrator();
    const { call, key } = await o.product();
    const { engine } = (await call('POST', '/engines/ada/admit', { body: both })).body;
    const answers = [
      await call('GET', '/engines'),
      await call('GET', '/status'),
      await call('POST', '/engines/ada/start'),
      await call('POST', '/engines/provision', { body: { user_id: 'ada' } }),
      await o.call('GET', '/engines', { key: `${key}x` }),
      await o.call('POST', '/products/register', { admin: `${ADMIN}x`, body: {} }),
      await call('POST', '/engines/ada/admit', { raw: `{"${key}` }),
    ];
    await o.engines({ exit_code: 1 });
    await call('POST', '/engines/bob/admit', { body: both });
    const tables = await Promise.all(
      ['audit_log', 'operations'].map((table) => o.orchestrator.db.query(`SELECT * FROM ${table}`)),
    );
    const haystacks = [o.logged(), JSON.stringify(answers), JSON.stringify(tables)];
    const database = new URL(o.config.database_url).password;
    for (const secret of [key, engine.api_key, ADMIN, MASTER, database]) {
      expect(secret).toMatch(/./);
      for (const haystack of haystacks) expect(haystack).not.toContain(secret);
    }
    // And in the registry no key can be read.
    const registry = JSON.stringify([
      await o.orchestrator.db.query('SELECT * FROM products'),
      await o.orchestrator.db.query('SELECT * FROM engines'),
    ]);
    for (const secret of [key, engine.api_key]) expect(registry).not.toContain(secret);
  });

  it('nor a user id is in the request log, which names routes', async () => {
    const o = await startTestOrchestrator();
    const { call, slug } = await o.product();
    await call('POST', '/engines/ada%20lovelace/admit');
    const lines = await until('it is logged', () => {
      const all = o
        .logged()
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line));
      const found = all.filter(({ route }) => route === '/engines/:user_id/admit');
      return found.length > 0 && found;
    });
    expect(lines).toEqual([
      expect.objectContaining({
        request_id: expect.stringMatching(/^req-/),
        method: 'POST',
        status: 200,
        duration_ms: expect.any(Number),
        product: slug,
      }),
    ]);
    await call('GET', '/lovelace');
    expect(o.logged()).toMatch(/"route":null,"status":404/);
    expect(o.logged()).not.toMatch(/lovelace/);
  });
});
