import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { startEmbeddedPostgres } from '../../src/registry/embedded_postgres.ts';
import { processIsThere, until } from './wait.ts';

/** A PostgreSQL of the test's own, in `folder`, which comes back at the same address after a `kill -9`. */
export async function mortalPostgres(folder?: string) {
  const home = folder ?? (await mkdtemp(join(tmpdir(), 'orch-postgres-')));
  const first = await startEmbeddedPostgres({ folder: home });
  const { port } = new URL(first.url);
  let server = first;
  onTestFinished(async () => {
    await server.stop();
    if (folder === undefined) await rm(home, { recursive: true, force: true });
  });
  return {
    url: first.url,
    async kill() {
      process.kill(server.pid, 'SIGKILL');
      await until('the server is gone', async () => !(await processIsThere(server.pid)));
    },
    async comeBack() {
      server = await startEmbeddedPostgres({ folder: home, settings: { port } });
    },
  };
}
