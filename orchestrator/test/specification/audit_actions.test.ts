/**
 * Every action of the audit log (bap-engine §11, and what this project adds), brought about and then read through
 * `GET /audit`: an action without a row here, or a row whose action is gone, fails the test.
 */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { AUDIT_ACTIONS, type AuditAction } from '../../src/audit/append.ts';
import { systemClock } from '../../src/lifecycle/clock.ts';
import { bapEngine } from '../cli/command_line.ts';
import { once } from '../support/once.ts';
import {
  ADMIN,
  type Call,
  caller,
  startTestOrchestrator,
  type TestOrchestrator,
  testEnvironment,
} from '../support/orchestrator.ts';
import { until } from '../support/wait.ts';

const both = { auto_provision: true, auto_wake: true };
const admit = (call: Call) => call('POST', '/engines/ada/admit', { body: both });
type Row = { product_id: string; action: string; actor: string; metadata: object };
/** Where the row is to be found. */
type Product = { call: Call; id: string | null };

let env: Record<string, string>;
let o: TestOrchestrator;
/** By how much the orchestrator's clock is ahead; its reconcile acts on what it has seen for a minute. */
let ahead_ms = 0;
beforeAll(async () => {
  env = await testEnvironment({
    NODE_ENV: 'production',
    ORCH_HOST: '127.0.0.1',
    ORCH_ENGINE_BACKEND: 'subprocess',
    ORCH_HEALTH_CHECK_INTERVAL_S: '2',
    ORCH_HEALTH_CHECK_TIMEOUT_S: '1',
    ORCH_RESTART_BACKOFF_BASE_S: '1',
    ORCH_RESTART_MAX_ATTEMPTS: '1',
    ORCH_RECONCILE_INTERVAL_S: '1',
  });
  const clock = { ...systemClock, now: () => systemClock.now() + ahead_ms };
  o = await startTestOrchestrator(env, { clock, outliveTest: true });
}, 60_000);
afterEach(() => o.engines({}));
afterAll(() => o?.end());

/** A new product whose user ada has an engine, and these calls made about it. */
async function life(...calls: [method: string, path: string, body?: object][]): Promise<Product> {
  const product = await o.product();
  await admit(product.call);
  for (const [method, path, body] of calls) {
    expect((await product.call(method, `/engines/ada${path}`, { body })).status, path).toBe(200);
  }
  return product;
}

const lived = once(() =>
  life(
    ['POST', '/stop'],
    ['POST', '/start'],
    ['POST', '/sleep', { depth: 'doze' }],
    ['POST', '/admit', both],
    ['POST', '/rotate-key'],
    ['DELETE', '?retain=true'],
    ['POST', '/restore'],
  ),
);

/** A product whose engine has been killed; with `behaviour` from then on. */
async function killed(behaviour: object = {}): Promise<Product> {
  const product = await life();
  await o.engines(behaviour);
  const { pid } = await o.processOf((await product.call('GET', '/engines/ada')).body.engine_id);
  process.kill(pid, 'SIGKILL');
  return product;
}

const restarted = once(() => killed());
const givenUp = once(async () => {
  const product = await killed({ exit_code: 1 });
  await until('it is given up', () => seen(product, 'auto_restart_gave_up'));
  return product;
});

/** A product whose engine has booted while `image` is rolled out. */
async function rolledOut(image: string): Promise<Product> {
  const product = await life(['POST', '/stop']);
  const answer = await o.call('PUT', '/rollouts/current', { admin: ADMIN, body: { image } });
  expect(answer.status).toBe(200);
  expect((await product.call('POST', '/engines/ada/start')).status).toBe(200);
  return product;
}
const broken = once(async () => {
  await o.engines({ images: { broken: { exit_code: 1 } } });
  return await rolledOut('broken');
});
/** Its rows are about no product. */
const ofSystem = (product: Product): Product => ({ ...product, id: null });

/** The newest row of this action about the product. */
async function seen({ id }: Product, action: string): Promise<Row | undefined> {
  const { body } = await o.call('GET', `/audit?action=${action}`, { admin: ADMIN });
  return body.rows.find(({ product_id }: Row) => product_id === id);
}

const operators =
  (method: string, path = '', body?: object) =>
  async (): Promise<Product> => {
    const product = await o.product();
    const { status } = await o.call(method, `/products/${product.id}${path}`, { admin: ADMIN, body });
    expect(status).toBe(200);
    return product;
  };

/** What leads to the action, and the actor: null is the product. */
const ROWS: Record<AuditAction, [actor: 'system' | 'admin' | null, cause: () => Promise<Product>]> = {
  provision: [null, lived],
  start: [null, lived],
  stop: [null, lived],
  sleep: [null, lived],
  wake: [null, lived],
  destroy: [null, lived],
  restore: [null, lived],
  rotate_key: [null, lived],
  health_check: [
    'system',
    async () => {
      const product = await life();
      await o.engines({ health: 'degraded', subsystems: { llm_provider: 'error' } });
      await until('the change of outcome is noted', () => seen(product, 'health_check'));
      return product;
    },
  ],
  health_failed: ['system', restarted],
  auto_restart_start: ['system', restarted],
  auto_restart_success: ['system', restarted],
  auto_restart_failed: ['system', givenUp],
  auto_restart_gave_up: ['system', givenUp],
  policy_register: ['admin', () => o.product()],
  policy_update: ['admin', operators('PUT', '/policy', { policy: {} })],
  rotate_platform_key: ['admin', operators('POST', '/rotate-platform-key')],
  product_delete: ['admin', operators('DELETE')],
  admit_denied: [
    null,
    async () => {
      const product = await o.product();
      expect((await product.call('POST', '/engines/ada/admit')).body.admitted).toBe(false);
      return product;
    },
  ],
  upgrade: [null, () => rolledOut('next')],
  upgrade_rolled_back: ['system', broken],
  rollout: ['admin', async () => ofSystem(await broken())],
  rollout_halted: ['system', async () => ofSystem(await broken())],
  adopt: [
    'system',
    async () => {
      const product = await life();
      await o.orchestrator.close();
      o = await startTestOrchestrator(env, { outliveTest: true });
      return { ...product, call: caller(o.url) };
    },
  ],
  orphan_removed: [
    'system',
    async () => {
      const product = await life();
      await o.orchestrator.db.query('DELETE FROM engines WHERE product_id = $1', [product.id]);
      await until('it is removed', async () => {
        ahead_ms += 61_000;
        return await seen(product, 'orphan_removed');
      });
      return product;
    },
  ],
  epoch_repaired: [
    'admin',
    async () => {
      const product = await life(['POST', '/stop'], ['POST', '/start'], ['POST', '/stop']);
      await o.orchestrator.db.query('UPDATE engines SET epoch = 1 WHERE product_id = $1', [product.id]);
      expect((await bapEngine(['repair-epochs', '--yes'], { env })).exit).toBe(0);
      return product;
    },
  ],
};

describe('the audit action', () => {
  // The one that starts the orchestrator anew, without the clock that can be put forward, comes last.
  const rows = Object.entries(ROWS).sort(([a], [b]) => Number(a === 'adopt') - Number(b === 'adopt'));
  it.each(rows)('%s', async (action, [actor, cause]) => {
    const product = await cause();
    const row = await until('it is in the log', () => seen(product, action));
    const { products } = (await o.call('GET', '/products', { admin: ADMIN })).body;
    const slug = products.find(({ product_id }: Row) => product_id === product.id)?.slug;
    expect(row).toMatchObject({ action, actor: actor ?? slug, metadata: expect.any(Object) });
  });

  it('has a row for each action', () => {
    expect(Object.keys(ROWS).sort()).toEqual([...AUDIT_ACTIONS].sort());
  });
});
