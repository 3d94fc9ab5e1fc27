import { randomInt, randomUUID } from 'node:crypto';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import type { Backend } from '../../src/backends/contract.ts';
import { LABEL } from '../../src/backends/docker/names.ts';
import { tarOf } from '../../src/backends/docker/secrets.ts';
import { FAILPOINTS, type Failpoint } from '../../src/failpoints.ts';
import { hashKey } from '../../src/keys/formats.ts';
import {
  askDocker,
  containersWith,
  DOCKER_HOST,
  docker,
  logsOf,
  removeAllWith,
  STAND_IN_IMAGE,
  volumesWith,
} from '../support/docker.ts';
import { faultyDocker } from '../support/faulty_docker.ts';
import { behave } from '../support/orchestrator.ts';
import { until } from '../support/wait.ts';
import type { Place } from './conformance/place.ts';
import { describeBackend } from './conformance.ts';
import { elsewhere, open } from './elsewhere.ts';

const NETWORK = `conformance-${randomUUID().slice(0, 8)}`;
/** Above the ports of other tests, below those the system gives out. */
const PORTS = { min: 30_000, count: 2_500 };

afterAll(() => removeAllWith(`${LABEL.network}=${NETWORK}`));

const DATA = '/data/brain.sqlite';

describeBackend('docker', makePlace, { rounds: 2, sequences: 8 });

async function makePlace(): Promise<Place> {
  const folder = await mkdtemp(join(tmpdir(), 'conformance-'));
  // The engine's user reads there how it is to behave.
  await chmod(folder, 0o755);
  const proxy = await faultyDocker(folder, DOCKER_HOST);
  const settings = {
    network: NETWORK,
    catalog_dir: folder,
    memory_mb: 256,
    cpus: 2,
    pids: 100,
    runtime: '',
    seccomp: 'unconfined',
    url_mode: 'host' as const,
  };
  const backends: Backend[] = [];
  const engine_ids: string[] = [];
  let port = randomInt(PORTS.count);

  const labelOf = (engine_id: string) => `${LABEL.engine_id}=${engine_id}`;
  const containersOf = (engine_id: string) => containersWith(labelOf(engine_id));

  async function running(engine_id: string): Promise<string[]> {
    const standing = (await containersOf(engine_id)).filter(({ State }) => State.Running);
    // Docker's own restart is another process in the same container.
    return standing.map(({ Id, State }) => `container ${Id}, process ${State.Pid}`);
  }

  async function kill(engine_id: string): Promise<void> {
    // As Docker's own kill: it does not start the engine again by itself.
    for (const { Id } of await containersOf(engine_id)) await askDocker('POST', `/containers/${Id}/kill`);
    await until('it is gone', async () => (await running(engine_id)).length === 0);
  }

  return {
    open(hit) {
      const backend = open({ kind: 'docker', options: { ...settings, host: proxy.host } }, hit);
      backends.push(backend);
      return backend;
    },
    elsewhere: elsewhere(
      { kind: 'docker', options: { ...settings, host: DOCKER_HOST } },
      join(folder, 'died_at'),
    ),
    points: Object.keys(FAILPOINTS).filter((name): name is Failpoint =>
      /^(create|stop|snapshot|revert|remove)\./.test(name),
    ),
    newEngine() {
      port = (port + 1) % PORTS.count;
      const engine_id = randomUUID();
      engine_ids.push(engine_id);
      return {
        engine_id,
        epoch: 1,
        port: PORTS.min + port,
        image: STAND_IN_IMAGE,
        environment: { ENGINE_KEY_HASH: hashKey('sk-sept-test') },
      };
    },
    behave: (behaviour) => behave(folder, behaviour),
    running,
    async traces({ engine_id, port }) {
      const containers = await containersOf(engine_id);
      const traces = containers.map(({ Id, State }) => `container ${Id}, ${State.Status}`);
      // Not the mark that refuses a late create: it is meant to stay for a day.
      for (const { Name, Labels } of await volumesWith(labelOf(engine_id))) {
        if (Labels[LABEL.mark] !== 'destroyed') traces.push(`volume ${Name}`);
      }
      if (await listens(port ?? 0)) traces.push(`port ${port}`);
      return traces;
    },
    kill,
    async obscure(engine_id) {
      // A state that nobody has heard of, and no closer look.
      const [{ Id }] = await containersOf(engine_id);
      const takeBack = proxy.add((method, path) => {
        if (method !== 'GET') return null;
        if (path.startsWith(`/containers/${Id}/`)) return { answer: 500 };
        if (!path.startsWith('/containers/json')) return null;
        return {
          rewrite: (body) =>
            JSON.stringify(
              JSON.parse(body).map((one: { Id: string }) =>
                one.Id === Id ? { ...one, State: 'obscure' } : one,
              ),
            ),
        };
      });
      return async () => takeBack();
    },
    async output(engine_id) {
      const [container] = await containersOf(engine_id);
      return await logsOf(container.Id);
    },
    writeData: (engine_id, words) =>
      withVolume(engine_id, async (id) => {
        const file = tarOf({ 'brain.sqlite': words }, 1000);
        await docker('PUT', `/containers/${id}/archive?path=/data`, { body: file });
      }),
    readData: (engine_id) =>
      withVolume(engine_id, async (id) => {
        const { status, body } = await askDocker('GET', `/containers/${id}/archive?path=${DATA}`);
        if (status !== 200) throw new Error(`there is no ${DATA}`);
        const size = Number.parseInt(body.toString('utf8', 124, 135), 8);
        return body.toString('utf8', 512, 512 + size);
      }),
    async dispose() {
      for (const backend of backends) await backend.close();
      proxy.close();
      for (const engine_id of engine_ids) await removeAllWith(labelOf(engine_id));
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Through a container that only exists, because the engine's may be gone. */
async function withVolume<T>(engine_id: string, use: (id: string) => Promise<T>): Promise<T> {
  const body = {
    Image: STAND_IN_IMAGE,
    HostConfig: { Mounts: [{ Type: 'volume', Source: `engine-data-${engine_id}`, Target: '/data' }] },
  };
  const { Id } = await docker('POST', '/containers/create', { body });
  try {
    return await use(Id);
  } finally {
    await docker('DELETE', `/containers/${Id}`);
  }
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => socket.destroy(void resolve(true)));
    socket.once('error', () => resolve(false));
  });
}
