import { join } from 'node:path';
import { afterEach } from 'vitest';
import { type Brain, openBrain } from '../../src/brain/brain.ts';
import { parseConfig } from '../../src/config.ts';
import { environment, temporaryFolder } from './engine.ts';

const open: Brain[] = [];
afterEach(() => {
  for (const brain of open.splice(0)) brain.close();
});

/** A brain on its own, as the Engine opens it; closed after the test. */
export async function brainOf({ now = Date.now, folder = temporaryFolder() } = {}): Promise<Brain> {
  const config = parseConfig(environment(folder), folder);
  const brain = await openBrain({
    path: join(folder, 'brain.sqlite'),
    migrations_dir: config.migrations_dir,
    epoch: undefined,
    key_hash: config.key.hash,
    key_overlap: { min_s: 0, max_s: 300 },
    replay_ttl_ms: 60_000,
    now,
    onError: (error) => {
      throw error;
    },
  });
  open.push(brain);
  return brain;
}
