/**
 * `npm run bench -- containers`: what an engine in Docker costs above the bare container.
 *
 * Thirty users come at once: thirty provisions against thirty `docker run` of the same image, side by side, each until
 * its `/health` is good. Then wakes, one by one: from a doze against `docker unpause`, from a hibernation against
 * `docker start`, each until the engine answers. The floors are what a person would type, with the time the command
 * itself takes to start; the orchestrator's calls go over HTTP to a process of its own, with a real database behind it.
 * In turns, round after round; only times of one round are compared.
 *
 * Needs a Docker Engine and the image (`npm run test:docker` makes it); `BENCH_ENGINE_IMAGE` names another.
 */
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { hashKey } from '../orchestrator/src/keys/formats.ts';
import { startOwnOrchestrator } from '../scripts/own_orchestrator.ts';
import { type ContainerRound, writeContainersReport } from './containers/report.ts';

const AT_ONCE = 30;
const ROUNDS = 3;
/** Wakes of each kind in one round. */
const WAKES = 5;
/** Between two questions to an engine that does not answer yet, milliseconds. */
const POLL_MS = 10;
const PATIENCE_MS = 180_000;
/** Ports of the bare containers; those of the engines follow. */
const BARE_PORT = 21_000;
const ENGINE_PORT = BARE_PORT + AT_ONCE;
const IMAGE = process.env.BENCH_ENGINE_IMAGE ?? 'september-engine:test';
const NETWORK = 'september_bench';
/** As the orchestrator's engines: no provider's key is needed for the demo model, outside production only. */
const MODE = 'development';

const run = promisify(execFile);
const docker = async (...words: string[]) => (await run('docker', words)).stdout.trim();
const each = <T>(count: number, work: (n: number) => Promise<T>) =>
  Promise.all(Array.from({ length: count }, (_, n) => work(n)));

type Call = <T>(method: string, path: string, body?: object) => Promise<T>;

export async function benchContainers(options: { quick: boolean }): Promise<void> {
  await docker('network', 'create', NETWORK).catch(() => 'it is there');
  const orchestrator = await startOwnOrchestrator({
    ORCH_ENGINE_BACKEND: 'docker',
    ORCH_ENGINE_IMAGE: IMAGE,
    ORCH_ENGINE_NETWORK: `${NETWORK}_engines`,
    ORCH_ENGINE_URL_MODE: 'host',
    ORCH_IDLE_TIMEOUT_S: '0',
    ORCH_BOOT_TIMEOUT_S: '180',
    ORCH_PORT_MIN: String(ENGINE_PORT),
    ORCH_PORT_MAX: String(ENGINE_PORT + 4 * AT_ONCE),
  });
  const send = async (method: string, path: string, headers: Record<string, string>, body?: object) => {
    const response = await fetch(`${orchestrator.url}${path}`, {
      method,
      headers: { ...headers, ...(body && { 'Content-Type': 'application/json' }) },
      ...(body && { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path} gave ${response.status} ${text}`);
    return JSON.parse(text);
  };
  try {
    const product = await send(
      'POST',
      '/products/register',
      { 'X-Admin-Key': orchestrator.adminKey },
      { slug: 'bench', display_name: 'Bench' },
    );
    const call: Call = (method, path, body) =>
      send(method, path, { 'X-Platform-Key': product.platform_api_key }, body);
    const rounds: ContainerRound[] = [];
    for (let round = 0; round < (options.quick ? 1 : ROUNDS); round += 1) {
      const measured = await measure(call);
      rounds.push(measured);
      console.log(
        Object.entries(measured)
          .map(([system, ms]) => `${system} ${ms.toFixed(0)} ms`)
          .join(' · '),
      );
    }
    if (!options.quick) await writeContainersReport(rounds, AT_ONCE);
  } finally {
    await orchestrator.stop();
    await docker('network', 'rm', `${NETWORK}_engines`, NETWORK).catch(() => 'somebody uses it');
  }
}

async function measure(call: Call): Promise<ContainerRound> {
  const bare = await each(AT_ONCE, async (n) => `bench-${n}-${randomUUID().slice(0, 8)}`);
  const users = bare.map((name) => `user-${name}`);
  try {
    const run_ms = await timed(() => each(AT_ONCE, (n) => runBare(bare[n] ?? '', BARE_PORT + n)));
    // Nothing of one system works beside the other, but all that is there stays: thirty idle engines.
    const provision_ms = await timed(() =>
      each(AT_ONCE, (n) => call('POST', '/engines/provision', { user_id: users[n] })),
    );
    const unpause: number[] = [];
    const start: number[] = [];
    const doze: number[] = [];
    const hibernate: number[] = [];
    for (let n = 0; n < WAKES; n += 1) {
      const [name = '', user = ''] = [bare[n], users[n]];
      await docker('pause', name);
      unpause.push(await timed(() => docker('unpause', name).then(() => healthy(BARE_PORT + n))));
      doze.push(await wake(call, user, 'doze'));
      await docker('stop', name);
      start.push(await timed(() => docker('start', name).then(() => healthy(BARE_PORT + n))));
      hibernate.push(await wake(call, user, 'hibernate'));
    }
    return {
      run: run_ms,
      provision: provision_ms,
      unpause: middle(unpause),
      doze: middle(doze),
      start: middle(start),
      hibernate: middle(hibernate),
    };
  } finally {
    await docker('rm', '--force', '--volumes', ...bare).catch((error) => console.error(error.message));
    await docker('volume', 'rm', ...bare).catch((error) => console.error(error.message));
    await Promise.allSettled(users.map((user) => call('DELETE', `/engines/${user}`)));
  }
}

async function runBare(name: string, port: number): Promise<void> {
  const words = ['run', '--detach', '--name', name, '--network', NETWORK, '--volume', `${name}:/data`];
  words.push('--publish', `127.0.0.1:${port}:8000`, '--env', `NODE_ENV=${MODE}`);
  words.push('--env', `ENGINE_KEY_HASH=${hashKey('the key of a benchmark')}`, IMAGE);
  await docker(...words);
  await healthy(port);
}

/** An answer to `wake` means that the engine is healthy: the orchestrator has asked it. */
async function wake(call: Call, user: string, depth: 'doze' | 'hibernate'): Promise<number> {
  await call('POST', `/engines/${user}/sleep`, { depth });
  return await timed(() => call('POST', `/engines/${user}/wake`));
}

async function healthy(port: number): Promise<void> {
  const until = performance.now() + PATIENCE_MS;
  for (;;) {
    const ok = await fetch(`http://127.0.0.1:${port}/health`).then(
      (response) => response.ok,
      () => false,
    );
    if (ok) return;
    if (performance.now() > until) throw new Error(`nothing healthy on port ${port}`);
    await delay(POLL_MS);
  }
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await work();
  return performance.now() - began;
}

const middle = (values: number[]) =>
  values.sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
