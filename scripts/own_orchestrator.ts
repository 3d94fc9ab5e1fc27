import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from './free_port.ts';

/** A cold start makes a database first; a busy machine takes its time. Milliseconds. */
const START_TIMEOUT_MS = 60_000;

/** `folder`: its data folder. */
export type OwnOrchestrator = { url: string; adminKey: string; folder: string; stop(): Promise<void> };

/**
 * A whole orchestrator in a temporary folder and on free ports, as `npm start` would run it, with `variables`
 * in its environment; `stop` leaves nothing behind.
 */
export async function startOwnOrchestrator(variables: Record<string, string> = {}): Promise<OwnOrchestrator> {
  const folder = await mkdtemp(join(tmpdir(), 'september-tour-'));
  const port = await freePort();
  const adminKey = randomBytes(36).toString('base64url');
  const url = `http://127.0.0.1:${port}`;
  const child = spawn(process.execPath, [join(import.meta.dirname, '../orchestrator/src/main.ts')], {
    env: {
      ...process.env,
      ...variables,
      ORCH_DATA_DIR: folder,
      ORCH_PORT: String(port),
      ORCH_ADMIN_KEY: adminKey,
    },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const ended = once(child, 'exit');
  const stop = async () => {
    child.kill('SIGTERM');
    await ended;
    await rm(folder, { recursive: true, force: true });
  };
  const deadline = Date.now() + START_TIMEOUT_MS;
  while (!(await isHealthy(url))) {
    if (child.exitCode !== null || Date.now() > deadline) {
      const log = await readFile(join(folder, 'orchestrator.log'), 'utf8').catch(() => '');
      await stop();
      throw new Error(`The orchestrator did not come up.\n${log.split('\n').slice(-5).join('\n')}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return { url, adminKey, folder, stop };
}

const isHealthy = (url: string) =>
  fetch(`${url}/health`).then(
    (response) => response.ok,
    () => false,
  );
