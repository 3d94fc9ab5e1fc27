/**
 * Every row of the error catalogue (bap-engine §3, and what this project adds), provoked over HTTP: a code that
 * nothing here provokes, or a row whose code is gone, fails the test.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ERRORS, type ErrorCode } from '../../src/errors.ts';
import { listen } from '../support/events.ts';
import {
  ADMIN,
  type Answer,
  startTestOrchestrator,
  type TestOrchestrator,
  testEnvironment,
} from '../support/orchestrator.ts';
import { wireTo } from '../support/wire.ts';

/** Streams that one product may have; one more is refused. */
const STREAMS = 32;

let o: TestOrchestrator;
/** A product whose user ada has an engine that runs. */
let served: Awaited<ReturnType<TestOrchestrator['product']>>;
beforeAll(async () => {
  o = await startTestOrchestrator(undefined, { outliveTest: true });
  served = await o.product();
  await served.call('POST', '/engines/provision', { body: { user_id: 'ada' } });
}, 60_000);
afterAll(() => o?.end());

const provision = async (user_id: string, policy = {}) =>
  (await o.product(policy)).call('POST', '/engines/provision', { body: { user_id } });

/** The status by the specification, and a call that is answered so. */
const ROWS: Record<ErrorCode, [status: number, provoke: () => Promise<Answer>]> = {
  INVALID_REQUEST: [400, async () => (await o.product()).call('POST', '/engines/provision', { raw: '{' })],
  INVALID_PLATFORM_KEY: [401, () => o.call('GET', '/status', { key: 'pk-sept-of-nobody' })],
  INVALID_ADMIN_KEY: [401, () => o.call('GET', '/products', { admin: `${ADMIN}x` })],
  POLICY_DENIED: [403, () => provision('ada', { suspended: true })],
  NOT_FOUND: [404, async () => (await o.product()).call('GET', '/nowhere')],
  PRODUCT_NOT_FOUND: [404, () => o.call('DELETE', '/products/nobody', { admin: ADMIN })],
  ENGINE_NOT_FOUND: [404, async () => (await o.product()).call('GET', '/engines/nobody')],
  OPERATION_NOT_FOUND: [404, async () => (await o.product()).call('GET', '/operations/none')],
  ENGINE_ALREADY_EXISTS: [409, () => served.call('POST', '/engines/provision', { body: { user_id: 'ada' } })],
  ENGINE_NOT_RUNNING: [
    409,
    async () => {
      await served.call('POST', '/engines/bob/admit', { body: { auto_provision: true } });
      await served.call('POST', '/engines/bob/stop');
      return await served.call('POST', '/engines/bob/stop');
    },
  ],
  ENGINE_ALREADY_RUNNING: [409, () => served.call('POST', '/engines/ada/start')],
  PRODUCT_SLUG_EXISTS: [
    409,
    async () => {
      const body = { slug: (await o.product()).slug, display_name: 'Again' };
      return await o.call('POST', '/products/register', { admin: ADMIN, body });
    },
  ],
  ROLLOUT_HALTED: [
    409,
    async () => {
      const put = (body: object) => o.call('PUT', '/rollouts/current', { admin: ADMIN, body });
      await o.orchestrator.db.query("UPDATE rollouts SET halted_at = now(), halted_reason = 'a test'");
      const answer = await put({ percent: 50 });
      expect((await put({ resume: true })).status).toBe(200);
      return answer;
    },
  ],
  PRODUCT_HAS_ENGINES: [409, () => o.call('DELETE', `/products/${served.id}`, { admin: ADMIN })],
  OPERATION_IN_PROGRESS: [
    409,
    async () => {
      const { call } = await o.product();
      await o.engines({ health: 'starting' });
      await call('POST', '/engines/provision?wait=false', { body: { user_id: 'ada' } });
      const refused = await call('POST', '/engines/ada/stop');
      await o.engines({});
      return refused;
    },
  ],
  IDEMPOTENCY_KEY_REUSED: [
    409,
    async () => {
      const { id } = await o.product();
      const rotate = (overlap_s: number) =>
        o.call('POST', `/products/${id}/rotate-platform-key`, {
          admin: ADMIN,
          headers: { 'Idempotency-Key': 'one-wish' },
          body: { overlap_s },
        });
      expect((await rotate(60)).status).toBe(200);
      return await rotate(0);
    },
  ],
  QUOTA_EXCEEDED: [429, () => provision('ada', { max_engines: 0 })],
  RATE_LIMITED: [
    429,
    async () => {
      const { call } = await o.product({ rate_limit_rpm: 1 });
      await call('POST', '/engines/ada/admit');
      return await call('POST', '/engines/ada/admit');
    },
  ],
  INTERNAL_ERROR: [
    500,
    async () => {
      const { call } = await o.product();
      await o.orchestrator.db.query('ALTER TABLE audit_log RENAME TO audit_log_away');
      const answer = await call('GET', '/audit');
      await o.orchestrator.db.query('ALTER TABLE audit_log_away RENAME TO audit_log');
      expect(JSON.stringify(answer.body)).not.toMatch(/audit_log|relation/);
      return answer;
    },
  ],
  BACKEND_ERROR: [
    502,
    async () => {
      await o.engines({ exit_code: 1 });
      const answer = await provision('ada');
      await o.engines({});
      return answer;
    },
  ],
  NOT_READY: [
    503,
    async () => {
      const env = await testEnvironment();
      const wire = await wireTo(env.ORCH_DATABASE_URL);
      const { call } = await startTestOrchestrator({ ...env, ORCH_DATABASE_URL: wire.url });
      await wire.cut();
      const answer = await call('GET', '/health');
      await wire.mend();
      return answer;
    },
  ],
  TOO_MANY_STREAMS: [
    503,
    async () => {
      const { call, key } = await o.product();
      const open = await Promise.all(
        Array.from({ length: STREAMS }, () => listen(o.url, { 'X-Platform-Key': key })),
      );
      expect(open.map(({ status }) => status)).toEqual(Array(STREAMS).fill(200));
      const answer = await call('GET', '/events');
      await Promise.all(open.map((stream) => stream.close()));
      return answer;
    },
  ],
  PORT_EXHAUSTION: [
    503,
    async () => {
      const env = await testEnvironment();
      const small = await startTestOrchestrator({ ...env, ORCH_PORT_MAX: env.ORCH_PORT_MIN });
      const { call } = await small.product();
      const first = await call('POST', '/engines/provision', { body: { user_id: 'ada' } });
      expect(first.status).toBe(200);
      return await call('POST', '/engines/provision', { body: { user_id: 'bob' } });
    },
  ],
  BOOT_TIMEOUT: [
    504,
    async () => {
      const hasty = await startTestOrchestrator(testEnvironment({ ORCH_BOOT_TIMEOUT_S: '1' }));
      await hasty.engines({ health: 'starting' });
      return await (await hasty.product()).call('POST', '/engines/provision', { body: { user_id: 'ada' } });
    },
  ],
};

describe('the error', () => {
  it.each(Object.entries(ROWS))('%s', async (code, [status, provoke]) => {
    const answer = await provoke();
    expect([answer.status, answer.body.error?.code]).toEqual([status, code]);
    const { message, details, ...rest } = answer.body.error;
    expect(Object.keys(answer.body)).toEqual(['error']);
    expect(rest).toEqual({ code });
    expect(message).toMatch(/\w/);
    expect(JSON.stringify(answer.body), 'a line of code').not.toMatch(/\.ts\b|node_modules/);
    if (code === 'INVALID_REQUEST') expect(details.issues).not.toEqual([]);
    const wait_s = Number(answer.headers.get('retry-after'));
    if (status === 429 || status === 503) expect(wait_s).toBeGreaterThanOrEqual(1);
    else expect(answer.headers.get('retry-after')).toBeNull();
  });

  it('has a row for each code', () => {
    expect(Object.keys(ROWS).sort()).toEqual(Object.keys(ERRORS).sort());
  });
});
