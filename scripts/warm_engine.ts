/**
 * Has Node.js keep what it compiles when an Engine starts, while the image is built: `node warm_engine.ts BUNDLE`.
 *
 * In the image everything is read-only, so an Engine could keep nothing for its next start, and to compile is a large
 * part of one. A real start and a real turn say what is needed; what they did not load is loaded afterwards. Node.js
 * takes what was compiled only with the same options, by the same user and at the same place.
 */
import { spawn } from 'node:child_process';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { flushCompileCache } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const KEY = 'warm';
/** Milliseconds; a start takes less than one second. */
const PATIENCE_MS = 60_000;
/** They run by themselves, or are workers that want something to read. */
const ENTRIES = new Set(['main.mjs', 'page_worker.mjs', 'pdf_worker.mjs']);

const [bundle] = process.argv.slice(2);
if (bundle === undefined) throw new TypeError('usage: node warm_engine.ts BUNDLE');

const folder = await mkdtemp(join(tmpdir(), 'warm-'));
const engine = spawn(process.execPath, [...process.execArgv, join(bundle, 'main.mjs')], {
  stdio: ['ignore', 'pipe', 'inherit'],
  timeout: PATIENCE_MS,
  env: {
    ...process.env,
    NODE_ENV: 'development',
    LLM_PROVIDER: 'demo',
    ENGINE_API_KEY: KEY,
    ENGINE_HOST: '127.0.0.1',
    ENGINE_PORT: '0',
    SQLITE_DB_PATH: join(folder, 'brain.sqlite'),
  },
});
const ended = new Promise<number | null>((resolve) => engine.once('exit', resolve));
for await (const line of createInterface({ input: engine.stdout })) {
  console.log(line);
  const { message, extra } = JSON.parse(line);
  if (message === 'Ready') turn(extra.url).finally(() => engine.kill('SIGTERM'));
}
const code = await ended;
await rm(folder, { recursive: true });
if (code !== 0) throw new Error(`The Engine ended with ${code}`);

for (const name of await readdir(bundle)) {
  if (name.endsWith('.mjs') && !ENTRIES.has(name)) await import(pathToFileURL(join(bundle, name)).href);
}
flushCompileCache();

async function turn(url: string): Promise<void> {
  const answer = await fetch(`${url}/execute`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-engine-key': KEY },
    body: JSON.stringify({ task_id: 'warm', message: 'run: true' }),
  });
  const said = await answer.text();
  if (!answer.ok) throw new Error(said);
}
