import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { EngineErrorBody, RotateKeyResponse } from '@september/contract';
import { describe, expect, it } from 'vitest';
import { openEngineKeys } from '../src/brain/engine_keys.ts';
import { migrate } from '../src/brain/migrate.ts';
import { parseConfig } from '../src/config.ts';
import { environment, KEY, startEngine, temporaryFolder } from './support/engine.ts';
import { errorOf } from './support/stream.ts';

const hash = (key: string) => createHash('sha256').update(key).digest('hex');

describe('the key check', () => {
  it('comes before everything else, and opens only what holds no data', async () => {
    const engine = await startEngine(temporaryFolder());
    const requests: [string, RequestInit?][] = [
      ['/activity'],
      ['/execute/replay?after=0'],
      ['/nowhere'],
      ['/tasks'],
      ['/tasks/any'],
      ['/tasks/any', { method: 'DELETE' }],
      ['/execute', { method: 'POST', body: '{malformed' }],
      ['/execute', { method: 'GET' }],
      ['/admin/rotate-key', { method: 'POST', body: '{}', headers: { 'Content-Type': 'application/json' } }],
    ];
    for (const [path, init] of requests) {
      for (const key of [undefined, '', 'wrong', `${KEY} `, hash(KEY)]) {
        const headers = { ...init?.headers, ...(key === undefined ? {} : { 'X-Engine-Key': key }) };
        // fetch itself trims what HTTP calls optional whitespace.
        const expected = key?.trim() === KEY ? [400, 404, 200] : [401];
        const answer = await fetch(engine.url + path, { ...init, headers });
        expect(expected, `${path} with ${key}`).toContain(answer.status);
        if (answer.status === 401) expect(await errorOf(answer)).toBe('INVALID_KEY');
        else await answer.body?.cancel();
        expect(answer.headers.get('x-request-id')).toMatch(/^req-/);
      }
    }
    for (const path of ['/health', '/openapi.json', '/docs']) {
      expect((await fetch(engine.url + path)).status, path).toBe(200);
    }
    await engine.stop();
  });

  it('takes ENGINE_KEY_HASH before ENGINE_API_KEY, and warns', async () => {
    const engine = await startEngine(temporaryFolder(), { ENGINE_KEY_HASH: hash('the-other') });
    expect((await engine.fetch('/activity')).status).toBe(401);
    expect((await engine.fetch('/activity', { headers: { 'X-Engine-Key': 'the-other' } })).status).toBe(200);
    expect(engine.logs.find((line) => line.level === 'WARNING')?.message).toContain('ENGINE_KEY_HASH');
    await engine.stop();
  });
});

describe('a rotation', () => {
  const status = async (engine: { url: string }, key: string) => {
    const answer = await fetch(`${engine.url}/activity`, { headers: { 'X-Engine-Key': key } });
    return answer.ok ? answer.status : errorOf(answer);
  };

  it('is hot, survives a restart with the old environment, and is undone by none', async () => {
    const folder = temporaryFolder();
    let engine = await startEngine(folder);
    const rotate = (key: string, body: Record<string, unknown>) =>
      fetch(`${engine.url}/admin/rotate-key`, {
        method: 'POST',
        headers: { 'X-Engine-Key': key, 'Content-Type': 'application/json' },
        body: JSON.stringify(body),
      });

    const answer = await rotate(KEY, { key_hash: hash('second'), min_overlap_s: 3600, max_overlap_s: 7200 });
    expect(answer.status).toBe(200);
    const rotated = RotateKeyResponse.parse(await answer.json());
    expect(rotated).toMatchObject({ status: 'rotated' });
    const valid = Date.parse(rotated.old_key_valid_until) - Date.now();
    expect(valid).toBeGreaterThan(3_500_000);
    expect(valid).toBeLessThanOrEqual(3_600_000);
    expect(await status(engine, KEY)).toBe(200);
    expect(await status(engine, 'second')).toBe(200);
    expect(await (await rotate('second', { key_hash: hash('second') })).json()).toEqual(rotated);

    await engine.stop('SIGKILL');
    engine = await startEngine(folder);
    expect(await status(engine, 'second')).toBe(200);
    expect(await status(engine, KEY)).toBe(200);

    // A second rotation leaves the oldest its time; without a minimum the key before it stops at once.
    await rotate('second', { key_hash: hash('third') });
    expect(await status(engine, KEY)).toBe(200);
    expect(await status(engine, 'second')).toBe('KEY_ROTATION_PENDING');
    expect(await status(engine, 'third')).toBe(200);

    await engine.stop();
    engine = await startEngine(folder, {
      ENGINE_API_KEY: 'fourth',
      BAP_KEY_ROTATION_MIN_OVERLAP_SECONDS: '100',
    });
    expect(await status(engine, 'fourth')).toBe(200);
    expect(await status(engine, 'third')).toBe(200);
    expect(await status(engine, 'second')).toBe('KEY_ROTATION_PENDING');
    expect(await status(engine, KEY)).toBe(200);
    await engine.stop();
  });

  it('is ordered by the current key; a replaced one may only repeat what replaced it', async () => {
    const engine = await startEngine(temporaryFolder());
    const rotate = (key: string, key_hash: string) =>
      fetch(`${engine.url}/admin/rotate-key`, {
        method: 'POST',
        headers: { 'X-Engine-Key': key, 'Content-Type': 'application/json' },
        body: JSON.stringify({ key_hash, min_overlap_s: 3600 }),
      });
    expect((await rotate(KEY, hash('second'))).status).toBe(200);
    expect((await rotate(KEY, hash('second'))).status).toBe(200);
    expect((await rotate('second', hash('third'))).status).toBe(200);
    // Both still open the Engine. One comes late, the other leaked.
    for (const [key, wanted] of [
      [KEY, 'second'],
      [KEY, 'of-a-thief'],
      ['second', 'of-a-thief'],
    ] as const) {
      const answer = await rotate(key, hash(wanted));
      expect(answer.status).toBe(401);
      expect(await errorOf(answer)).toBe('KEY_ROTATION_PENDING');
      expect(await status(engine, key)).toBe(200);
    }
    expect(await status(engine, 'third')).toBe(200);
    expect(await status(engine, 'of-a-thief')).toBe('INVALID_KEY');
    await engine.stop();
  });

  it('walks through the documented table of times, on either side of each border', () => {
    const db = new DatabaseSync(':memory:');
    const { migrations_dir } = parseConfig(environment('/nowhere'), '/nowhere');
    migrate(db, migrations_dir, 0);
    let time = 1_000_000;
    const open = (boot: string) =>
      openEngineKeys(db, { boot_hash: hash(boot), overlap: { min_s: 0, max_s: 300 }, now: () => time });
    let keys = open('a');
    const { old_valid_until, old_purged_at } = keys.rotate('a', hash('b'), { min_s: 60 }) ?? {};
    expect([old_valid_until, old_purged_at]).toEqual([time + 60_000, time + 300_000]);
    const table: [number, string][] = [
      [0, 'valid'],
      [59_999, 'valid'],
      [60_000, 'rotation_pending'],
      [299_999, 'rotation_pending'],
      [300_000, 'invalid'],
    ];
    for (const [after, verdict] of table) {
      time = 1_000_000 + after;
      expect(keys.check('a'), `old key after ${after} ms`).toBe(verdict);
      expect(keys.check('b')).toBe('valid');
    }
    keys.purge();
    expect(db.prepare('SELECT hash FROM old_engine_keys').all()).toEqual([]);
    expect(keys.rotate('b', hash('b'), {})).toEqual({ old_valid_until, old_purged_at });
    keys = open('a');
    expect([keys.check('a'), keys.check('b')]).toEqual(['invalid', 'valid']);
    db.close();
  });

  it('refuses a minimum above the maximum, and hashes that are none', async () => {
    const folder = temporaryFolder();
    const engine = await startEngine(folder);
    for (const body of [
      { key_hash: hash('x'), min_overlap_s: 10, max_overlap_s: 5 },
      { key_hash: 'plaintext' },
      { key_hash: hash('x').toUpperCase() },
      { key_hash: hash('x'), min_overlap_s: -1 },
      { key_hash: hash('x'), max_overlap_s: '60' },
      {},
    ]) {
      const answer = await engine.fetch('/admin/rotate-key', {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify(body),
      });
      expect(answer.status, JSON.stringify(body)).toBe(400);
      const error = EngineErrorBody.parse(await answer.json());
      expect(error.error).toBe('INVALID_REQUEST');
      expect(error.details?.issues).toMatchObject([{ path: expect.stringMatching(/^body\./) }]);
    }
    expect(await status(engine, KEY)).toBe(200);
    await engine.stop();
    const db = new DatabaseSync(join(folder, 'brain.sqlite'), { readOnly: true });
    const dump = JSON.stringify(db.prepare('SELECT * FROM engine_keys').all());
    expect(dump).not.toContain(KEY);
    db.close();
  });
});
