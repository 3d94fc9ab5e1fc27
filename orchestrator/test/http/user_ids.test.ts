import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { startTestOrchestrator } from '../support/orchestrator.ts';

const both = { auto_provision: true, auto_wake: true };

describe('a user id', () => {
  it.each([
    'plain',
    'with spaces  and more ',
    'a/b',
    '/',
    '//',
    '../up',
    '%',
    '100%25',
    '%2F',
    '%2e%2e',
    'a?b#c',
    'a\\b',
    'a+b&c=d',
    'naïve Ünïcode 日本語',
    '🦉👩‍👩‍👧',
    'e\u0301',
    'line\nbreak\ttab',
    'quote\'"`;--',
    '{user_id}',
    ':user_id',
    'provision',
    '...',
    ' ',
    '🦉'.repeat(256),
  ])('%j is the same through every endpoint', async (user_id) => {
    const { product } = await startTestOrchestrator();
    const { call } = await product();
    const path = `/engines/${encodeURIComponent(user_id)}`;
    const provisioned = await call('POST', '/engines/provision', { body: { user_id } });
    expect([provisioned.status, provisioned.body.user_id]).toEqual([200, user_id]);
    const { engine_id } = provisioned.body;
    expect((await call('GET', path)).body).toMatchObject({ user_id, engine_id });
    expect((await call('POST', `${path}/admit`, { body: both })).body.engine).toMatchObject({
      user_id,
      engine_id,
    });
    expect((await call('GET', '/engines')).body.engines).toMatchObject([{ user_id, engine_id }]);
    expect((await call('POST', `${path}/stop`)).body).toMatchObject({ engine_id });
    expect((await call('POST', `${path}/start`)).body).toMatchObject({ status: 'running' });
    expect((await call('DELETE', path)).body).toMatchObject({ engine_id });
  });

  it('is never taken for another one', async () => {
    const { product, orchestrator } = await startTestOrchestrator();
    const { call } = await product();
    const someText = fc.oneof(
      fc.string({ unit: 'binary', minLength: 1, maxLength: 12 }),
      fc.stringMatching(/^[%/.\\ +?#0-9a-fA-F]{1,12}$/),
    );
    await fc.assert(
      fc.asyncProperty(someText, async (user_id) => {
        fc.pre(user_id !== '.' && user_id !== '..' && !user_id.includes('\0') && user_id.isWellFormed());
        // The denial of an unknown user is audited with the id as it arrived.
        await call('POST', `/engines/${encodeURIComponent(user_id)}/admit`);
        const [row] = await orchestrator.db.query<{ user_id: string }>(
          "SELECT user_id FROM audit_log WHERE action = 'admit_denied' ORDER BY id DESC LIMIT 1",
        );
        expect(row?.user_id).toBe(user_id);
      }),
      { numRuns: 150 },
    );
  });
});
