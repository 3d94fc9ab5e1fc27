/** `npm start` as a new user meets it: real npm, real processes, the printed commands pasted into a real shell. */
import { execFile } from 'node:child_process';
import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createDatabase } from '../orchestrator/test/support/database.ts';
import { freePort } from '../scripts/free_port.ts';
import { type NpmStart, npmStart } from './support/npm_start.ts';
import { processesOf } from './support/processes.ts';

const shell = promisify(execFile);
/** The promise of `npm start`: Ctrl-C ends everything within 10 s. */
const CTRL_C_LIMIT_MS = 10_000;
const READY = 'Ctrl-C stops everything';

let folder: string;
let env: Record<string, string>;
let run: NpmStart | undefined;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'september-start-'));
  env = { ORCH_DATA_DIR: folder, ORCH_PORT: String(await freePort()) };
});

afterEach(async () => {
  for (const { pid } of await processesOf(folder)) process.kill(pid, 'SIGKILL');
  await run?.exited;
  await rm(folder, { recursive: true, force: true });
});

async function start(): Promise<NpmStart> {
  run = npmStart(env);
  await run.printed(READY);
  return run;
}

/** The printed command that contains `part`, as a person would mark and copy it: with its continuation lines. */
function printedCommand(started: NpmStart, part: string): string {
  const command = started
    .output()
    .replaceAll('\\\n', ' ')
    .split('\n')
    .find((line) => line.trim().startsWith('curl') && line.includes(part));
  if (command === undefined) throw new Error(`no command with "${part}" in:\n${started.output()}`);
  return command.trim();
}

const paste = async (command: string) => (await shell('bash', ['-c', command])).stdout;

/** The text of an answer, put together from the deltas of a pasted execute. */
const textOf = (stream: string) =>
  [...stream.matchAll(/^data: (.*)$/gm)]
    .map((match) => JSON.parse(match[1] ?? ''))
    .filter((event) => event.type === 'text_delta')
    .map((event) => event.text)
    .join('');

const say = (started: NpmStart, message: string) =>
  paste(
    printedCommand(started, '/execute').replace(/"message":"[^"]*"/, `"message":${JSON.stringify(message)}`),
  );

async function ended(started: NpmStart) {
  started.ctrlC();
  await started.exited;
  await expect.poll(() => processesOf(folder), { timeout: CTRL_C_LIMIT_MS }).toEqual([]);
}

describe.skipIf(process.platform !== 'linux')('npm start', () => {
  it('prints commands that work as they are, keeps everything over a restart, and leaves no process behind', async () => {
    expect(await processesOf(folder)).toEqual([]);
    const first = await start();
    expect(JSON.parse(await paste(printedCommand(first, '/status')))).toMatchObject({
      total: 1,
      health: 'ok',
    });
    const admitted = JSON.parse(await paste(printedCommand(first, '/admit')));
    expect(admitted).toMatchObject({ admitted: true, engine: { status: 'running' } });
    expect(await paste(printedCommand(first, '/execute'))).toContain('"phase":"completed"');
    expect(await say(first, 'My name is Ada.')).toContain('"phase":"completed"');
    expect((await stat(join(folder, 'secrets.json'))).mode & 0o777).toBe(0o600);
    await ended(first);

    const second = await start();
    expect(JSON.parse(await paste(printedCommand(second, '/admit')))).toMatchObject({
      admitted: true,
      engine: { engine_id: admitted.engine.engine_id, api_key: admitted.engine.api_key },
    });
    expect(textOf(await say(second, 'What is my name?'))).toContain('Ada');
    await ended(second);
  }, 120_000);

  it('recovers by itself after kill -9: same engine, same conversation, no orphan', async () => {
    const first = await start();
    const { engine } = JSON.parse(await paste(printedCommand(first, '/admit')));
    await say(first, 'My name is Ada.');
    first.kill9();
    await first.exited;
    const left = await processesOf(folder);
    expect(left.length, 'the database and the engine outlive a kill -9').toBeGreaterThan(1);

    const second = await start();
    const again = JSON.parse(await paste(printedCommand(second, '/admit'))).engine;
    expect(again).toMatchObject({ engine_id: engine.engine_id, api_key: engine.api_key });
    expect(textOf(await say(second, 'What is my name?'))).toContain('Ada');
    await ended(second);
  }, 120_000);

  it('ends by itself when npm alone is killed, and the next start waits for that', async () => {
    const first = await start();
    first.kill9Npm();
    await first.exited;
    const second = await start();
    expect(JSON.parse(await paste(printedCommand(second, '/status')))).toMatchObject({ total: 1 });
    await ended(second);
  }, 120_000);

  it('makes nothing up where database and keys are given: no product, no file of secrets, the log on standard output', async () => {
    const given = {
      ORCH_DATABASE_URL: await createDatabase(),
      ORCH_MASTER_KEY: Buffer.alloc(32, 7).toString('base64'),
      ORCH_ADMIN_KEY: 'dev-admin-key',
    };
    run = npmStart({ ...env, ...given });
    await run.printed('"msg":"orchestrator listens"');
    const products = await fetch(`http://127.0.0.1:${env.ORCH_PORT}/products`, {
      headers: { 'X-Admin-Key': 'dev-admin-key' },
    });
    expect(await products.json()).toMatchObject({ products: [] });
    expect(await readdir(folder)).not.toContain('secrets.json');
    await ended(run);
    expect(run.output()).not.toContain('Ctrl-C stops everything');
  }, 120_000);

  it('says in one line what stands in its way, and exits with 1', async () => {
    const refusal = async (extra: Record<string, string>) => {
      run = npmStart({ ...env, ...extra });
      const code = await run.exited;
      const lines = run
        .output()
        .split('\n')
        .filter((line) => line !== '' && !line.startsWith('>') && !line.startsWith('npm '));
      return { code, lines };
    };

    const taken = createServer().listen(Number(env.ORCH_PORT), '127.0.0.1');
    const port = await refusal({});
    expect(port.code).toBe(1);
    expect(port.lines).toEqual([expect.stringMatching(/^Port \d+ is taken.*ORCH_PORT/)]);
    taken.close();

    await writeFile(join(folder, 'a-file'), '');
    const unwritable = await refusal({ ORCH_DATA_DIR: join(folder, 'a-file') });
    expect(unwritable.code).toBe(1);
    expect(unwritable.lines).toEqual([expect.stringMatching(/cannot be written to.*ORCH_DATA_DIR/)]);

    const wrong = await refusal({ ORCH_PORT: 'eighty' });
    expect(wrong.code).toBe(1);
    expect(wrong.lines.join('\n')).toMatch(/ORCH_PORT/);

    await start();
    const twice = await refusal({ ORCH_PORT: String(await freePort()) });
    expect(twice.code).toBe(1);
    expect(twice.lines).toEqual([expect.stringMatching(/already runs in .*ORCH_DATA_DIR/)]);
  }, 120_000);
});
