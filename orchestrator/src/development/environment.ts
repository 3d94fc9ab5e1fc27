import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseEnv } from 'node:util';
import { readSecretFiles } from '../config.ts';

export type Environment = Record<string, string | undefined>;

/** Stands in for what is made later, so that everything the user did set is checked before anything is made. */
export const MADE_LATER = {
  ORCH_DATABASE_URL: 'postgresql://embedded/postgres',
  ORCH_MASTER_KEY: Buffer.alloc(32).toString('base64'),
  ORCH_ADMIN_KEY: 'made later',
};

/**
 * `given` and what `.env` of the working folder adds, in development only (as E1 has it for the Engine), with the
 * secrets that are given as files. Throws `ConfigError`.
 */
export async function developmentEnvironment(given: Environment, cwd: string): Promise<Environment> {
  const text = await readFile(join(cwd, '.env'), 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '';
    throw error;
  });
  return readSecretFiles({ ...parseEnv(text), ...given }, cwd);
}
