/**
 * compose.yaml as somebody has it who deploys it: a folder of its own, a `.env` made from the template, the images that
 * `npm run test:docker` has built. Names, addresses and ports are its own, so that it leaves what else runs on this
 * machine alone.
 */
import { execFile } from 'node:child_process';
import { randomBytes, randomInt } from 'node:crypto';
import { appendFile, cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { freePort } from '../../../scripts/free_port.ts';

const root = join(import.meta.dirname, '../../..');
const run = promisify(execFile);
/** What a command may print. Bytes. */
const MAX_OUTPUT = 64 * 2 ** 20;
/** How long an orchestrator may take to answer once its container is there, milliseconds. */
const START_TIMEOUT_MS = 60_000;

export type Deployment = {
  /** The project's folder. */
  folder: string;
  /** The project's name, in which the names of its containers and volumes begin. */
  project: string;
  /** Of the orchestrator, on this host. */
  url: string;
  admin_key: string;
  /** The first two numbers of the engines' network. */
  net: string;
  bridge: string;
  network: string;
  /** `docker compose …`, whichever is there; gives what it prints. */
  compose(...args: string[]): Promise<string>;
  /** A line of shell in the project's folder, with `env` on top of this process's. */
  shell(line: string, env?: Record<string, string>): Promise<string>;
  /** The id of the container of a service. */
  container(service: string): Promise<string>;
  /** `docker compose up -d postgres orchestrator`, until the orchestrator answers. */
  start(): Promise<void>;
  /** Ends and removes everything that runs or is kept: engines that are left, volumes. The folder stays. */
  wipe(): Promise<void>;
  /** All that, and the folder. */
  remove(): Promise<void>;
};

/** A project that is ready for `docker compose up`; `settings`, which may depend on its `net`, are appended to its `.env`. */
export async function newDeployment(
  settings: (net: string) => Record<string, string> = () => ({}),
): Promise<Deployment> {
  const folder = await mkdtemp(join(tmpdir(), 'september-compose-'));
  for (const name of ['compose.yaml', 'compose.production.yaml', '.env.example', 'deploy']) {
    await cp(join(root, name), join(folder, name), { recursive: true });
  }
  const suffix = randomBytes(3).toString('hex');
  const project = `september-${suffix}`;
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const net = `10.${randomInt(100, 250)}`;
  const own = {
    COMPOSE_PROJECT_NAME: project,
    ORCH_IMAGE: 'bap-engine:test',
    ORCH_ENGINE_IMAGE: 'september-engine:test',
    POSTGRES_IMAGE: 'postgres-stand-in:test',
    ORCH_PUBLISH: `127.0.0.1:${port}`,
    ORCH_ENGINE_NETWORK: `engine-net-${suffix}`,
    ENGINE_BRIDGE: `sept-${suffix}`,
    ENGINE_NET: net,
    ORCH_PORT_MIN: '21001',
    ORCH_PORT_MAX: '22000',
    ...settings(net),
  };

  const shell = async (line: string, env: Record<string, string> = {}) => {
    const options = { cwd: folder, env: { ...process.env, PWD: folder, ...env }, maxBuffer: MAX_OUTPUT };
    const { stdout } = await run('sh', ['-euc', line], options);
    return stdout;
  };
  await shell('sh deploy/new_env.sh');
  await appendFile(
    join(folder, '.env'),
    Object.entries(own)
      .map(([name, value]) => `${name}=${value}\n`)
      .join(''),
  );
  const program = await composeProgram();
  const compose = (...args: string[]) => shell([program, ...args.map(quoted)].join(' '));
  const wipe = async () => {
    // First who would bring engines up again.
    await compose('rm', '--stop', '--force', 'orchestrator');
    await removeEngines(own.ORCH_ENGINE_NETWORK);
    await compose('down', '--volumes');
  };
  return {
    folder,
    project,
    url,
    admin_key: 'dev-admin-key',
    net,
    bridge: own.ENGINE_BRIDGE,
    network: own.ORCH_ENGINE_NETWORK,
    compose,
    shell,
    async container(service) {
      return (await compose('ps', '-q', service)).trim();
    },
    async start() {
      await compose('up', '-d', 'postgres', 'orchestrator');
      for (const end = Date.now() + START_TIMEOUT_MS; ; await sleep(100)) {
        if (await answers(`${url}/health`)) return;
        if (Date.now() > end) throw new Error(await compose('logs', 'orchestrator'));
      }
    },
    wipe,
    async remove() {
      await wipe();
      await rm(folder, { recursive: true });
    },
  };
}

/** Compose v2 where it is there, else the program of before. */
async function composeProgram(): Promise<string> {
  return await run('docker', ['compose', 'version']).then(
    () => 'docker compose',
    () => 'docker-compose',
  );
}

/** Gives what a `docker` command prints, without the line break at its end. */
export async function docker(...args: string[]): Promise<string> {
  return (await run('docker', args, { maxBuffer: MAX_OUTPUT })).stdout.trimEnd();
}

const answers = (url: string) =>
  fetch(url).then(
    ({ ok }) => ok,
    () => false,
  );

const lines = (text: string) => text.split('\n').filter((line) => line !== '');

/** Containers and volumes of engines of the deployment with that network. */
async function removeEngines(network: string): Promise<void> {
  const ours = ['--filter', `label=dev.september.network=${network}`];
  for (const id of lines(await docker('ps', '-aq', ...ours))) await docker('rm', '-f', id);
  for (const name of lines(await docker('volume', 'ls', '-q', ...ours))) await docker('volume', 'rm', name);
}

const quoted = (word: string) => `'${word.replaceAll("'", `'\\''`)}'`;
