/**
 * PostgreSQL with a full disk: a small file system of its own, filled to the last byte. Such a file system can
 * only be mounted by root on Linux; elsewhere this test skips itself and says so.
 */
import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { appendFile, mkdtemp, rm, rmdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { isSystemError } from '../../src/backends/process.ts';
import { mortalPostgres } from '../support/mortal_postgres.ts';
import { startTestOrchestrator, testEnvironment } from '../support/orchestrator.ts';
import { processIsThere, until } from '../support/wait.ts';

/** A PostgreSQL of its own, started twice, on a machine that is busy with other tests, milliseconds. */
const TIME_LIMIT_MS = 90_000;
const both = { auto_provision: true, auto_wake: true };
/** Room for an empty PostgreSQL and some work. */
const SIZE = '160m';
/** Denied admits, each a row of the audit log, until there is no room for one: a few hundred at most. */
const MAX_ROWS = 20_000;

/** An empty file system; null where none can be mounted. */
async function smallDisk(): Promise<string | null> {
  const folder = await mkdtemp(join(tmpdir(), 'orch-disk-'));
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${SIZE},mode=755`, 'tmpfs', folder], { stdio: 'pipe' });
  } catch {
    await rmdir(folder);
    return null;
  }
  onTestFinished(async () => {
    execFileSync('umount', ['--lazy', folder]);
    await rmdir(folder);
  });
  return folder;
}

async function fill(file: string): Promise<void> {
  for (let piece = 2 ** 20; piece >= 1; piece = Math.floor(piece / 2)) {
    try {
      for (;;) await appendFile(file, Buffer.alloc(piece));
    } catch (error) {
      if (!isSystemError(error, 'ENOSPC')) throw error;
    }
  }
}

describe('PostgreSQL with a full disk', () => {
  it(
    'is 503 for what has to be written; engines keep serving, and nothing is lost or half done',
    async ({ skip }) => {
      const disk = await smallDisk();
      if (disk === null) return skip('no file system can be mounted here (root on Linux): not tested');
      const postgres = await mortalPostgres(join(disk, 'postgres'));
      const o = await startTestOrchestrator(testEnvironment({ ORCH_DATABASE_URL: postgres.url }));
      const { call } = await o.product();
      const admit = (user: string) => call('POST', `/engines/${user}/admit`, { body: both });
      const [ada, bob] = await Promise.all(
        ['ada', 'bob'].map(async (user) => (await admit(user)).body.engine),
      );
      const { pid } = await o.processOf(ada.engine_id);

      const ballast = join(disk, 'ballast');
      await fill(ballast);
      const refused = await untilRefused(() => call('POST', '/engines/nobody/admit'));
      expect([refused.status, refused.body.error.code]).toEqual([503, 'NOT_READY']);
      expect(refused.headers.get('retry-after')).toBe('2');
      expect(o.logged()).toContain('No space left on device');

      // Begun or not, it has to write its end, and for that there is no room.
      const once = { 'Idempotency-Key': randomUUID() };
      const stop = () => call('POST', '/engines/bob/stop', { headers: once });
      let answered = false;
      const first = stop().finally(() => {
        answered = true;
      });
      await until('it is refused, or has come as far as it can', async () => {
        return answered || !(await processIsThere((await o.processOf(bob.engine_id)).pid));
      });
      const direct = await fetch(`${ada.url}/execute`, { headers: { 'X-Engine-Key': ada.api_key } });
      expect(direct.status).toBe(200);
      expect((await call('GET', '/engines/ada')).status, 'what is only read is read').toBe(200);

      await rm(ballast);
      const { status } = await first;
      expect([200, 503]).toContain(status);
      expect(await stop()).toMatchObject({ status: 200, body: { status: 'stopped' } });
      const { db } = o.orchestrator;
      expect(await db.query("SELECT outcome FROM operations WHERE kind = 'stop'")).toEqual([
        { outcome: 'succeeded' },
      ]);
      expect(await db.query("SELECT user_id FROM audit_log WHERE action = 'stop'")).toEqual([
        { user_id: 'bob' },
      ]);
      expect((await admit('cy')).body.admitted).toBe(true);
      expect(await processIsThere(pid)).toBe(true);
    },
    TIME_LIMIT_MS,
  );
});

async function untilRefused<T extends { status: number }>(ask: () => Promise<T>): Promise<T> {
  for (let rows = 0; rows < MAX_ROWS; rows += 1) {
    const answer = await ask();
    if (answer.status !== 200) return answer;
  }
  throw new Error('there was room for everything');
}
