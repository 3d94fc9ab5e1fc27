import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { expect, it, onTestFinished } from 'vitest';
import { testEnvironment } from './support/orchestrator.ts';
import { until } from './support/wait.ts';

const MAIN = join(import.meta.dirname, '../src/main.ts');

it('a start keeps what it compiled for the next one at once, not when it ends: it may be killed', async () => {
  const env = await testEnvironment({ NODE_ENV: 'production', ORCH_ENGINE_BACKEND: 'subprocess' });
  onTestFinished(() => rm(env.ORCH_DATA_DIR, { recursive: true, force: true }));
  const cache = join(env.ORCH_DATA_DIR, 'compiled');
  const child = spawn(process.execPath, [MAIN], {
    env: { ...env, NODE_COMPILE_CACHE: cache },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = once(child, 'exit');
  onTestFinished(async () => {
    child.kill('SIGKILL');
    await exited;
  });
  for await (const line of createInterface(child.stdout)) if (line.includes('orchestrator listens')) break;
  await until('its own files and those of what it stands on are kept', async () => {
    return (await readdir(cache, { recursive: true })).length > 100;
  });
  expect(child.exitCode, 'it goes on').toBeNull();
});
