/** The Engine under measurement: the real program, configured as in production, with a brain of its own on the disk. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { ENGINE_NODE_OPTIONS } from '@september/contract';

export const KEY = 'the key of a benchmark';

/** `inspector`: where its debugger listens; undefined unless it was asked for. */
export type BenchedEngine = { url: string; pid: number; inspector: string | undefined; end(): Promise<void> };

const MAIN = fileURLToPath(new URL('../../engine/src/main.ts', import.meta.url));

export async function startEngine(
  folder: string,
  model_url: string,
  options: { inspect: boolean } = { inspect: false },
): Promise<BenchedEngine> {
  const inspect = options.inspect ? ['--inspect=127.0.0.1:0'] : [];
  const child = spawn(process.execPath, [...ENGINE_NODE_OPTIONS, ...inspect, MAIN], {
    cwd: folder,
    env: {
      PATH: process.env.PATH,
      NODE_ENV: 'production',
      ENGINE_API_KEY: KEY,
      ENGINE_PORT: '0',
      SQLITE_DB_PATH: `${folder}/brain.sqlite`,
      LLM_PROVIDER: 'anthropic',
      LLM_MODEL: 'claude-sonnet-4-5',
      LLM_BASE_URL: `${model_url}/v1`,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const exited = once(child, 'exit');
  let inspector: string | undefined;
  createInterface({ input: child.stderr }).on('line', (line) => {
    inspector ??= /^Debugger listening on (ws:\S+)$/.exec(line)?.[1];
    if (!options.inspect) console.error(line);
  });
  const url = await new Promise<string>((resolve, reject) => {
    let last = '';
    createInterface({ input: child.stdout }).on('line', (line) => {
      last = line;
      const log: { message?: string; extra?: { url?: string } } = JSON.parse(line);
      if (log.message === 'Ready') resolve(log.extra?.url ?? '');
    });
    exited.then(() => reject(new Error(`the Engine ended: ${last}`)));
  });
  return {
    url,
    pid: child.pid ?? 0,
    inspector,
    async end() {
      child.kill('SIGTERM');
      await exited;
    },
  };
}
