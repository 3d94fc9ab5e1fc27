/**
 * Every key of a policy (bap-engine §6, O19), set over HTTP and felt over HTTP: a key without a row here, or a row
 * whose key is gone, fails the test.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Policy } from '../../src/registry/policy.ts';
import {
  ADMIN,
  type Answer,
  type Call,
  startTestOrchestrator,
  type TestOrchestrator,
} from '../support/orchestrator.ts';

let o: TestOrchestrator;
beforeAll(async () => {
  o = await startTestOrchestrator(undefined, { outliveTest: true });
}, 60_000);
afterAll(() => o?.end());

const provision = (call: Call, user_id: string, engine_version?: string) =>
  call('POST', '/engines/provision', { body: { user_id, engine_version } });
const admit = (call: Call) => call('POST', '/engines/ada/admit', { body: { auto_provision: true } });
const errorOf = ({ status, body }: Answer) => [status, body.error?.code];

/** A value, what it does, and a value of the wrong type. */
const ROWS: Record<keyof Policy, [value: unknown, felt: (call: Call) => Promise<void>, wrong: unknown]> = {
  max_engines: [
    1,
    async (call) => {
      expect((await provision(call, 'ada')).status).toBe(200);
      const refused = await provision(call, 'bob');
      expect(errorOf(refused)).toEqual([429, 'QUOTA_EXCEEDED']);
      expect(refused.body.error.message).toBe('Product at max_engines limit (1).');
      expect((await admit(call)).body.admitted).toBe(true);
    },
    '1',
  ],
  rate_limit_rpm: [
    2,
    async (call) => {
      expect((await admit(call)).status).toBe(200);
      expect((await admit(call)).status).toBe(200);
      const refused = await admit(call);
      expect(errorOf(refused)).toEqual([429, 'RATE_LIMITED']);
      const wait_s = Number(refused.headers.get('retry-after'));
      expect(refused.body.error.message).toBe(`Rate limit exceeded. Retry in ${wait_s} seconds.`);
      expect(wait_s).toBeLessThanOrEqual(60);
    },
    0,
  ],
  suspended: [
    true,
    async (call) => {
      expect(errorOf(await admit(call))).toEqual([403, 'POLICY_DENIED']);
      expect(errorOf(await provision(call, 'ada'))).toEqual([403, 'POLICY_DENIED']);
    },
    'yes',
  ],
  allow_auto_provision: [
    false,
    async (call) => {
      expect(errorOf(await admit(call))).toEqual([403, 'POLICY_DENIED']);
      expect((await provision(call, 'ada')).status).toBe(200);
    },
    null,
  ],
  allowed_versions: [
    ['engine:1'],
    async (call) => {
      expect(errorOf(await provision(call, 'ada', 'engine:2'))).toEqual([403, 'POLICY_DENIED']);
      expect((await provision(call, 'ada', 'engine:1')).status).toBe(200);
    },
    'engine:1',
  ],
  sleep_mode: [
    'hibernate',
    async (call) => {
      await admit(call);
      expect((await call('POST', '/engines/ada/sleep')).body.sleep_depth).toBe('hibernate');
    },
    'deep',
  ],
  destroy_retention_s: [
    3600,
    async (call) => {
      const { engine_id } = (await admit(call)).body.engine;
      expect((await call('DELETE', '/engines/ada')).status).toBe(200);
      expect((await call('POST', '/engines/ada/restore')).body).toMatchObject({
        engine_id,
        status: 'running',
      });
    },
    -1,
  ],
};

describe('the policy key', () => {
  it.each(Object.entries(ROWS))('%s', async (key, [value, felt, wrong]) => {
    const { id, call } = await o.product();
    const put = (policy: object) =>
      o.call('PUT', `/products/${id}/policy`, { admin: ADMIN, body: { policy } });
    expect(errorOf(await put({ [key]: wrong }))).toEqual([400, 'INVALID_REQUEST']);
    expect((await put({ [key]: value })).body).toEqual({ policy: { [key]: value } });
    await felt(call);
    expect((await put({})).body, 'replaced, not merged').toEqual({ policy: {} });
  });

  it('has a row for each key, and no other is taken', async () => {
    expect(Object.keys(ROWS).sort()).toEqual(Object.keys(Policy.shape).sort());
    const { id } = await o.product();
    const policy = { max_engine: 1 };
    const refused = await o.call('PUT', `/products/${id}/policy`, { admin: ADMIN, body: { policy } });
    expect(errorOf(refused)).toEqual([400, 'INVALID_REQUEST']);
  });
});
