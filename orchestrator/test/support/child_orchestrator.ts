import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { onTestFinished } from 'vitest';
import { ADMIN, type Call, caller } from './orchestrator.ts';

/**
 * Starts `run_orchestrator.ts`; `kill` is `kill -9`, and so is the end of the test. With `ORCH_FAILPOINT` it may
 * end by itself.
 */
export async function startChildOrchestrator(env: Record<string, string>) {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'run_orchestrator.ts')], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const exited = once(child, 'exit');
  const kill = async () => {
    child.kill('SIGKILL');
    await exited;
  };
  onTestFinished(kill);
  let log = '';
  child.stderr.on('data', (chunk) => {
    log += chunk;
  });
  const first = await Promise.race([
    once(createInterface(child.stdout), 'line'),
    exited.then(() => {
      throw new Error(`the orchestrator ended: ${log}`);
    }),
  ]);
  const url = String(first[0]);
  return { url, call: caller(url), exited, signal: (name: NodeJS.Signals) => child.kill(name), kill };
}

export async function registerProduct(call: Call): Promise<string> {
  const { body } = await call('POST', '/products/register', {
    admin: ADMIN,
    body: { slug: `p-${Math.random().toString(36).slice(2)}`, display_name: 'Test' },
  });
  return body.platform_api_key;
}
