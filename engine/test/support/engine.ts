import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll } from 'vitest';

/** A real Engine: the real program in a process of its own, on a free port, with a folder of its own. */
export type Engine = {
  url: string;
  process: ChildProcess;
  logs: LogLine[];
  /** Resolves with the first log line, past or to come, that `matches`. */
  logged(matches: (line: LogLine) => boolean): Promise<LogLine>;
  /** A request with the engine's key. */
  fetch(path: string, init?: RequestInit): Promise<Response>;
  /** A request with the engine's key, its answer read as JSON. */
  json(path: string, init?: RequestInit): Promise<Json>;
  /** Ends the process and resolves when it is gone, with its exit code, or the signal's name. */
  stop(signal?: NodeJS.Signals): Promise<number | string | null>;
};

// biome-ignore lint/suspicious/noExplicitAny: an answer under test is looked into, not trusted
export type Json = any;

export type LogLine = { level: string; message: string; task_id?: string; extra?: Record<string, unknown> };

export const KEY = 'test-key';
export const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));

/** What this test file has started and made; gone when it is done, also when a test failed half-way. */
const children: ChildProcess[] = [];
const folders: string[] = [];
afterAll(() => {
  for (const child of children) child.kill('SIGKILL');
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'engine-test-'));
  folders.push(folder);
  return folder;
}

/** Nothing of this machine's environment reaches the Engine but where to find programs, and what of them is compiled. */
export function environment(folder: string, extra: Record<string, string> = {}): Record<string, string> {
  return {
    PATH: process.env.PATH ?? '',
    NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE ?? '',
    ENGINE_API_KEY: KEY,
    SQLITE_DB_PATH: join(folder, 'brain.sqlite'),
    ENGINE_PORT: '0',
    ENGINE_LOG_LEVEL: 'DEBUG',
    LLM_PROVIDER: 'demo',
    ...extra,
  };
}

/** Starts an Engine and waits until it is ready. @throws with its last log line when it does not become so. */
export async function startEngine(
  folder: string,
  extra: Record<string, string> = {},
  ready_message = 'Ready',
  command = [process.execPath],
): Promise<Engine> {
  const child = spawnEngine(folder, extra, command);
  const engine = follow(child);
  const ready = await Promise.race([
    engine.logged((line) => line.message === ready_message),
    once(child, 'exit').then(() => undefined),
  ]);
  if (ready === undefined) throw new Error(`The Engine did not start: ${engine.logs.at(-1)?.message}`);
  const url = String(ready.extra?.url);
  const request: Engine['fetch'] = (path, init) =>
    fetch(url + path, { ...init, headers: { 'X-Engine-Key': KEY, ...init?.headers } });
  return {
    ...engine,
    url,
    process: child,
    fetch: request,
    json: async (path, init) => (await request(path, init)).json(),
    async stop(signal = 'SIGTERM') {
      if (child.exitCode === null && child.signalCode === null) {
        const gone = once(child, 'exit');
        child.kill(signal);
        await gone;
      }
      return child.exitCode ?? child.signalCode;
    },
  };
}

/** Starts an Engine that is expected to refuse. */
export async function refusedStart(
  folder: string,
  extra: Record<string, string>,
): Promise<{ code: number | null; last: LogLine | undefined }> {
  const child = spawnEngine(folder, extra);
  const { logs } = follow(child);
  await once(child, 'close');
  return { code: child.exitCode, last: logs.at(-1) };
}

function spawnEngine(
  folder: string,
  extra: Record<string, string>,
  [program = process.execPath, ...parameters]: string[] = [],
): ChildProcess {
  const child = spawn(program, [...parameters, MAIN], {
    cwd: folder,
    env: environment(folder, extra),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  // Nothing is ever written there: no warning, no stack.
  child.stderr?.on('data', (data) => {
    throw new Error(`The Engine wrote to stderr: ${data}`);
  });
  children.push(child);
  return child;
}

function follow(child: ChildProcess): Pick<Engine, 'logs' | 'logged'> {
  const logs: LogLine[] = [];
  const waiting = new Set<(line: LogLine) => void>();
  if (child.stdout === null) throw new Error('No stdout to follow');
  createInterface({ input: child.stdout }).on('line', (text) => {
    // Every line has to be JSON: this is a test as well.
    const line: LogLine = JSON.parse(text);
    logs.push(line);
    for (const tell of [...waiting]) tell(line);
  });
  return {
    logs,
    logged: (matches) =>
      new Promise((resolve) => {
        const seen = logs.find(matches);
        if (seen !== undefined) return resolve(seen);
        const tell = (line: LogLine) => {
          if (!matches(line)) return;
          waiting.delete(tell);
          resolve(line);
        };
        waiting.add(tell);
      }),
  };
}
