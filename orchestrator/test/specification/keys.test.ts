/**
 * Every row of the table of keys (bap-engine §4): its format, where it lives, who checks it, and its rotation, on
 * an orchestrator that is started anew as an operator would do it.
 */
import { expect, it } from 'vitest';
import { hashKey } from '../../src/keys/formats.ts';
import { parseMasterKeys } from '../../src/keys/master.ts';
import { bapEngine } from '../cli/command_line.ts';
import {
  ADMIN,
  type Answer,
  MASTER,
  startTestOrchestrator,
  testEnvironment,
} from '../support/orchestrator.ts';

const NEW_MASTER = Buffer.alloc(32, 9).toString('base64url');
const NEW_ADMIN = 'the-admin-key-of-the-next-quarter';

const errorOf = ({ status, body }: Answer) => [status, body.error?.code];
const opens = async (engine: { url: string; api_key: string }) =>
  (await fetch(`${engine.url}/activity`, { headers: { 'X-Engine-Key': engine.api_key } })).status;

it('platform and engine key: shown once or on demand, kept as hash or sealed, rotated', async () => {
  const o = await startTestOrchestrator(testEnvironment({ ORCH_ROTATE_OVERLAP_S: '0' }));
  const { id, key, call } = await o.product();
  const { engine } = (await call('POST', '/engines/ada/admit', { body: { auto_provision: true } })).body;
  expect(key).toMatch(/^pk-sept-[\w-]{42,}$/);
  expect(engine.api_key).toMatch(/^sk-sept-[\w-]{42,}$/);
  const { db } = o.orchestrator;
  const [product] = await db.query<{ api_key_hash: string }>('SELECT * FROM products');
  expect(product?.api_key_hash).toBe(hashKey(key));
  const [row] = await db.query<{ key_hash: string; engine_key_enc: string }>('SELECT * FROM engines');
  expect(row?.key_hash).toBe(hashKey(engine.api_key));
  expect(parseMasterKeys(MASTER)?.open(row?.engine_key_enc ?? '')).toBe(engine.api_key);
  expect(await opens(engine)).toBe(200);
  expect(await opens({ ...engine, api_key: key }), 'no other key opens an engine').toBe(401);
  expect(errorOf(await o.call('GET', '/status', { key: engine.api_key }))).toEqual([
    401,
    'INVALID_PLATFORM_KEY',
  ]);

  const { api_key } = (await call('POST', '/engines/ada/rotate-key')).body;
  expect([await opens({ ...engine, api_key }), await opens(engine)]).toEqual([200, 401]);
  const rotated = await o.call('POST', `/products/${id}/rotate-platform-key`, { admin: ADMIN });
  expect((await o.call('GET', '/status', { key: rotated.body.platform_api_key })).status).toBe(200);
  expect(errorOf(await call('GET', '/status'))).toEqual([401, 'INVALID_PLATFORM_KEY']);
});

it('master and admin key: from the environment, rotated by a start with the next one', async () => {
  const env = await testEnvironment({ NODE_ENV: 'production', ORCH_ENGINE_BACKEND: 'subprocess' });
  const first = await startTestOrchestrator(env);
  const { key, call } = await first.product();
  const { api_key } = (await call('POST', '/engines/ada/admit', { body: { auto_provision: true } })).body
    .engine;
  await first.orchestrator.close();

  const both = { ...env, ORCH_MASTER_KEY: `${NEW_MASTER},${MASTER}`, ORCH_ADMIN_KEY: NEW_ADMIN };
  const second = await startTestOrchestrator(both);
  expect((await second.call('GET', '/engines/ada', { key })).body.api_key).toBe(api_key);
  expect((await second.call('GET', '/products', { admin: NEW_ADMIN })).status).toBe(200);
  expect(errorOf(await second.call('GET', '/products', { admin: ADMIN }))).toEqual([
    401,
    'INVALID_ADMIN_KEY',
  ]);
  expect((await bapEngine(['rotate-master-key'], { env: both })).exit).toBe(0);
  await second.orchestrator.close();

  const third = await startTestOrchestrator({ ...both, ORCH_MASTER_KEY: NEW_MASTER });
  expect((await third.call('GET', '/engines/ada', { key })).body.api_key).toBe(api_key);
  const [row] = await third.orchestrator.db.query<{ engine_key_enc: string }>('SELECT * FROM engines');
  expect(() => parseMasterKeys(MASTER)?.open(row?.engine_key_enc ?? '')).toThrow();
});
