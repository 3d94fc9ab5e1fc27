import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startEmbeddedPostgres } from '../../src/registry/embedded_postgres.ts';

/** A PostgreSQL for runs alone; `stop` leaves nothing of it. */
export async function startPostgres(): Promise<{ url: string; stop(): Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), 'september-simulation-'));
  // Nothing here outlives the run, so nothing needs to reach the disk. And nothing may tidy up at its own time: what
  // it moves would be read in another order than when the seed is run again.
  const unhurried = { fsync: 'off', full_page_writes: 'off', synchronous_commit: 'off', jit: 'off' };
  const settings = { ...unhurried, autovacuum: 'off', unix_socket_directories: folder };
  const postgres = await startEmbeddedPostgres({ folder, settings });
  // A run is thousands of short statements: over the socket each takes half the time that it takes over TCP.
  const url = new URL(postgres.url);
  url.hostname = encodeURIComponent(folder);
  return {
    url: url.href,
    async stop() {
      await postgres.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
