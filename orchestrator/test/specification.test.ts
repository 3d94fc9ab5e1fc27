/**
 * The specification's tables against the code: each row is there, by exactly its name, and is named by a test that
 * speaks to a whole orchestrator. The lists are written down here, apart from the code, so that what gets lost or
 * renamed there is missed here.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { AUDIT_ACTIONS } from '../src/audit/append.ts';
import { VARIABLES } from '../src/config.ts';
import { ERRORS } from '../src/errors.ts';
import { Policy } from '../src/registry/policy.ts';
import { ADMIN, startTestOrchestrator } from './support/orchestrator.ts';

const ENDPOINTS = [
  'POST /engines/provision',
  'DELETE /engines/{user_id}',
  'POST /engines/{user_id}/start',
  'POST /engines/{user_id}/stop',
  'POST /engines/{user_id}/sleep',
  'POST /engines/{user_id}/wake',
  'POST /engines/{user_id}/rotate-key',
  'POST /engines/{user_id}/restore',
  'GET /engines/{user_id}',
  'POST /engines/{user_id}/admit',
  'GET /engines/{user_id}/explain',
  'GET /engines',
  'GET /status',
  'GET /metrics',
  'GET /metrics/prometheus',
  'GET /audit',
  'GET /operations/{id}',
  'GET /events',
  'POST /products/register',
  'GET /products',
  'PUT /products/{product_id}/policy',
  'POST /products/{product_id}/rotate-platform-key',
  'DELETE /products/{product_id}',
  'GET /health',
];

const CODES: Record<string, number> = {
  INVALID_REQUEST: 400,
  INVALID_PLATFORM_KEY: 401,
  INVALID_ADMIN_KEY: 401,
  POLICY_DENIED: 403,
  PRODUCT_NOT_FOUND: 404,
  ENGINE_NOT_FOUND: 404,
  ENGINE_ALREADY_EXISTS: 409,
  ENGINE_NOT_RUNNING: 409,
  ENGINE_ALREADY_RUNNING: 409,
  PRODUCT_SLUG_EXISTS: 409,
  OPERATION_IN_PROGRESS: 409,
  QUOTA_EXCEEDED: 429,
  RATE_LIMITED: 429,
  INTERNAL_ERROR: 500,
  BACKEND_ERROR: 502,
  NOT_READY: 503,
  PORT_EXHAUSTION: 503,
  BOOT_TIMEOUT: 504,
};

/** By no other test. */
const PROVOKED_HERE = ['PRODUCT_SLUG_EXISTS', 'INTERNAL_ERROR'];

const POLICY_KEYS = [
  'max_engines',
  'rate_limit_rpm',
  'suspended',
  'allow_auto_provision',
  'allowed_versions',
  'sleep_mode',
  'destroy_retention_s',
];

const ACTIONS = [
  'provision',
  'start',
  'stop',
  'sleep',
  'wake',
  'destroy',
  'rotate_key',
  'health_check',
  'health_failed',
  'auto_restart_start',
  'auto_restart_success',
  'auto_restart_failed',
  'auto_restart_gave_up',
  'policy_register',
  'policy_update',
  'admit_denied',
  'adopt',
  'orphan_removed',
  'rotate_platform_key',
];

/** Without those of the Docker backend and of traces, which have issues of their own. */
const NAMES = [
  'ORCH_DATABASE_URL',
  'ORCH_MASTER_KEY',
  'ORCH_ADMIN_KEY',
  'ORCH_ENGINE_IMAGE',
  'ORCH_ENGINE_BACKEND',
  'ORCH_ENGINE_ENV_PASSTHROUGH',
  'ORCH_CATALOG_MOUNT_PATH',
  'ORCH_HOST',
  'ORCH_PORT',
  'ORCH_DATA_DIR',
  'ORCH_LOG_LEVEL',
  'ORCH_PORT_MIN',
  'ORCH_PORT_MAX',
  'ORCH_BOOT_TIMEOUT_S',
  'ORCH_HEALTH_CHECK_INTERVAL_S',
  'ORCH_HEALTH_CHECK_TIMEOUT_S',
  'ORCH_HEALTH_MAX_FAILURES',
  'ORCH_RESTART_BACKOFF_BASE_S',
  'ORCH_RESTART_BACKOFF_MAX_S',
  'ORCH_RESTART_MAX_ATTEMPTS',
  'ORCH_RESTART_RESET_AFTER_S',
  'ORCH_IDLE_TIMEOUT_S',
  'ORCH_SLEEP_MODE',
  'ORCH_HIBERNATE_AFTER_S',
  'ORCH_RECONCILE_INTERVAL_S',
  'ORCH_ROTATE_OVERLAP_S',
  'ORCH_AUDIT_RETENTION_DAYS',
  'ORCH_WARM_POOL',
  'NODE_ENV',
];

/** All tests but this one that start a whole orchestrator. */
const tests = await (async () => {
  const folder = import.meta.dirname;
  const files = (await readdir(folder, { recursive: true })).filter((file) => file.endsWith('.test.ts'));
  const texts = await Promise.all(files.map((file) => readFile(join(folder, file), 'utf8')));
  return texts.filter(
    (text) => /startTestOrchestrator|startChild/.test(text) && !text.includes('const ENDPOINTS'),
  );
})();

/** Whether one of them has the word, not as a part of another. */
const named = (word: string) => {
  const whole = new RegExp(`(?<![\\w-])${word}(?![\\w-])`);
  return tests.some((text) => whole.test(text));
};

describe('the specification has', () => {
  it('endpoints: each is served and called', async () => {
    const { call } = await startTestOrchestrator();
    const { paths } = (await call('GET', '/openapi.json')).body;
    for (const endpoint of ENDPOINTS) {
      const [method = '', path = ''] = endpoint.split(' ');
      expect(paths[path]?.[method.toLowerCase()], endpoint).toBeDefined();
      const [, last = ''] = /\/(?:\{\w+\})?([\w-]*)$/.exec(path) ?? [];
      expect(named(last === '' ? `'${method}'` : last), endpoint).toBe(true);
    }
  });

  it.each(Object.entries(CODES))('the error %s, %i', (code, status) => {
    expect(ERRORS).toHaveProperty([code, 'status'], status);
  });

  it.each(Object.keys(CODES).filter((code) => !PROVOKED_HERE.includes(code)))(
    'the error %s, which a test provokes',
    (code) => {
      expect(named(code)).toBe(true);
    },
  );

  it.each(POLICY_KEYS)('the policy key %s', (key) => {
    expect(Object.keys(Policy.shape)).toContain(key);
    expect(named(key)).toBe(true);
  });

  it.each(ACTIONS)('the audit action %s', (action) => {
    expect(AUDIT_ACTIONS).toContain(action);
    expect(named(action)).toBe(true);
  });

  it.each(NAMES)('the variable %s', (name) => {
    expect(VARIABLES.map((variable) => variable.name)).toContain(name);
  });

  it('PRODUCT_SLUG_EXISTS and INTERNAL_ERROR, which says nothing of what happened', async () => {
    const o = await startTestOrchestrator();
    const { slug, call } = await o.product();
    const body = { slug, display_name: 'Again' };
    expect(await o.call('POST', '/products/register', { admin: ADMIN, body })).toMatchObject({
      status: 409,
      body: { error: { code: 'PRODUCT_SLUG_EXISTS' } },
    });
    await o.orchestrator.db.query('ALTER TABLE audit_log RENAME TO audit_log_away');
    const { status, body: answer } = await call('GET', '/audit');
    await o.orchestrator.db.query('ALTER TABLE audit_log_away RENAME TO audit_log');
    expect([status, answer.error.code]).toEqual([500, 'INTERNAL_ERROR']);
    expect(JSON.stringify(answer)).not.toMatch(/audit_log|relation|\.ts/);
  });
});
