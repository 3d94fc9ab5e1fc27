import { join } from 'node:path';
import { afterEach } from 'vitest';
import { type Brain, openBrain } from '../../src/brain/brain.ts';
import { parseConfig } from '../../src/config.ts';
import { environment, temporaryFolder } from './engine.ts';

const open = new Set<Brain>();
afterEach(() => {
  for (const brain of open) closeBrain(brain);
});

/** Closes one before its test is over, so that another can open its file. */
export function closeBrain(brain: Brain): void {
  open.delete(brain);
  brain.close();
}

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
  open.add(brain);
  return brain;
}
