/** The Engine under measurement: the real program, configured as in production, with a brain of its own on the disk. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export const KEY = 'the key of a benchmark';

export type BenchedEngine = { url: string; pid: number; end(): Promise<void> };

export async function startEngine(folder: string, model_url: string): Promise<BenchedEngine> {
  const child = spawn(
    process.execPath,
    [fileURLToPath(new URL('../../engine/src/main.ts', import.meta.url))],
    {
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
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  const exited = once(child, 'exit');
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
    async end() {
      child.kill('SIGTERM');
      await exited;
    },
  };
}
