/**
 * Runs inside a container of the Engine's image, beside the Engine (`docker exec`), under all that the container is held
 * to: tries every way out and prints for each a line of JSON, `Attempted`. Its Node.js is the image's; the sandbox is
 * that of the sources which the image was made from.
 */
import { readFileSync } from 'node:fs';
import { findHost } from '../../src/sandbox/host.ts';
import { processesWith } from '../support/sandbox.ts';
import { openRange, verdict } from './attacks.ts';
import { FILES_BEYOND_MEMORY, IN_CONTAINER, MEMORY_BOMBS, PROCESS_BOMB, WAYS } from './ways.ts';

/** `problems`: empty where the wall held, nothing is left of the attempt, and the Engine serves. */
export type Attempted = { name: string; problems: string[] };

/** For what was killed to be gone, milliseconds. */
const GONE_MS = 5_000;
const POLL_MS = 20;

const { ENGINE_PORT = '', CATALOG_DIR = '', PATH = '' } = process.env;
const host = await findHost(PATH, process.execPath);
if ('reason' in host) throw new Error(host.reason);

// What tini, process 1, has started.
const pid = Number(readFileSync('/proc/1/task/1/children', 'utf8').trim().split(' ')[0]);
const range = await openRange('/data', CATALOG_DIR, { pid, port: ENGINE_PORT });
const sandbox = range.sandboxOf(host);
/** With turns of its own: what ends with one of `sandbox` does not end there. */
const neighbour = range.sandboxOf(host);
for (const way of [...WAYS, ...IN_CONTAINER]) {
  const ended = await range.attempt(sandbox, way);
  tell(way.name, [verdict(way, ended), ...(await leftRunning()), ...range.traces(), await illness()]);
}
for (const way of MEMORY_BOMBS) {
  const { failure } = await range.attempt(sandbox, way);
  const problem = failure?.reason === 'limit' ? undefined : `ended by ${failure?.reason ?? 'itself'}`;
  tell(way.name, [problem, ...(await leftRunning()), await illness()]);
}
const { stdout, failure } = await range.attempt(sandbox, FILES_BEYOND_MEMORY);
tell(FILES_BEYOND_MEMORY.name, [
  stdout === 'done\n' ? undefined : (failure?.message ?? stdout),
  await illness(),
]);
tell(PROCESS_BOMB.name, [...(await crowd()), await illness()]);
range.close();

/** Others start commands for as long as the bomb is there. */
async function crowd(): Promise<string[]> {
  const problems: string[] = [];
  let is_over = false;
  const bomb = range.attempt(sandbox, PROCESS_BOMB).finally(() => {
    is_over = true;
  });
  while (!is_over) {
    const ended = await range.attempt(neighbour, { name: 'another', script: 'echo fine' });
    if (ended.stdout !== 'fine\n')
      problems.push(`another did not start: ${ended.failure?.message ?? ended.stderr}`);
  }
  await bomb;
  return problems;
}

function tell(name: string, problems: (string | undefined)[]): void {
  const attempted: Attempted = { name, problems: problems.filter((one) => one !== undefined) };
  console.log(JSON.stringify(attempted));
}

async function leftRunning(): Promise<string[]> {
  const late = Date.now() + GONE_MS;
  while (processesWith('61.5').length > 0) {
    if (Date.now() > late) return ['something is left running'];
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  return [];
}

async function illness(): Promise<string | undefined> {
  const answer = await fetch(`http://127.0.0.1:${ENGINE_PORT}/health`);
  const { status, subsystems } = (await answer.json()) as {
    status: string;
    subsystems: { database: string };
  };
  return status === 'ok' && subsystems.database === 'ok' ? undefined : `the Engine is ${status}`;
}
