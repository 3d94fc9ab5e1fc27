import { randomBytes } from 'node:crypto';
import { readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';

/**
 * What `npm start` needs and a production start is given: made once, kept in `secrets.json` of the data
 * folder, mode 0600. The platform key of the demo product is made here, and kept before the product is
 * registered with it, so that a crash in between cannot leave a product whose key nobody knows.
 */
const Secrets = z.object({ master_key: z.string(), admin_key: z.string(), demo_platform_key: z.string() });
export type DevelopmentSecrets = z.infer<typeof Secrets>;

export async function loadOrMakeSecrets(
  dataDir: string,
  makePlatformKey: () => string,
): Promise<DevelopmentSecrets> {
  const kept = await readSecrets(dataDir);
  if (kept !== null) return kept;
  const file = secretsFile(dataDir);
  const secrets = {
    master_key: urlSafe(32),
    admin_key: `dev-admin-${randomBytes(24).toString('base64url')}`,
    demo_platform_key: makePlatformKey(),
  };
  const draft = `${file}.new`;
  await writeFile(draft, `${JSON.stringify(secrets, null, 2)}\n`, { mode: 0o600, flush: true });
  await rename(draft, file);
  return secrets;
}

/** Those of a run before, or of one that is under way; null where there was none. */
export async function readSecrets(dataDir: string): Promise<DevelopmentSecrets | null> {
  const text = await readFile(secretsFile(dataDir), 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null;
    throw error;
  });
  return text === null ? null : Secrets.parse(JSON.parse(text));
}

export const secretsFile = (dataDir: string) => join(dataDir, 'secrets.json');

/** URL-safe base64 with padding: the form of a Fernet key. */
const urlSafe = (bytes: number) =>
  randomBytes(bytes).toString('base64').replaceAll('+', '-').replaceAll('/', '_');
