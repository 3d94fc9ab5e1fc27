/**
 * An orchestrator on Docker as its configuration says, told by what Docker itself has of an engine; and that an engine
 * somebody removes by hand is noticed and brought back.
 */
import { randomUUID } from 'node:crypto';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it, onTestFinished } from 'vitest';
import { LABEL } from '../../src/backends/docker/names.ts';
import { hashKey } from '../../src/keys/formats.ts';
import {
  askDocker,
  containersWith,
  DOCKER_HOST,
  docker,
  removeAllWith,
  STAND_IN_IMAGE,
  volumesWith,
} from '../support/docker.ts';
import { startTestOrchestrator, testEnvironment } from '../support/orchestrator.ts';
import { until } from '../support/wait.ts';
import { open } from './elsewhere.ts';

const NETWORK = `settings-${randomUUID().slice(0, 8)}`;
const PROVIDER_KEY = 'the key of a provider that nobody sees';

afterAll(() => removeAllWith(`${LABEL.network}=${NETWORK}`));

/** An orchestrator on Docker with one running engine. */
async function withEngine(variables: Record<string, string>) {
  const catalog = await mkdtemp(join(tmpdir(), 'settings-'));
  await chmod(catalog, 0o755);
  onTestFinished(() => rm(catalog, { recursive: true }));
  const env = await testEnvironment({
    ORCH_ENGINE_BACKEND: 'docker',
    ORCH_ENGINE_IMAGE: STAND_IN_IMAGE,
    ORCH_ENGINE_NETWORK: NETWORK,
    ORCH_CATALOG_MOUNT_PATH: catalog,
    ...variables,
  });
  const { product } = await startTestOrchestrator(env);
  const { call } = await product();
  const { status, body: engine } = await call('POST', '/engines/provision', { body: { user_id: 'ada' } });
  expect(status).toBe(200);
  const label = `${LABEL.engine_id}=${engine.engine_id}`;
  return { env, call, engine, label, containers: () => containersWith(label) };
}

it('an engine has the limits, the network and the walls of the configuration, and no secret in its settings', async () => {
  const { env, engine, label, containers, call } = await withEngine({
    ORCH_ENGINE_MEMORY_MB: '300',
    ORCH_ENGINE_CPUS: '0.5',
    ORCH_ENGINE_PIDS: '77',
    ORCH_ENGINE_RUNTIME: 'runc',
    ORCH_ENGINE_ENV_PASSTHROUGH: 'LLM_API_KEY,LLM_MODEL',
    LLM_API_KEY: PROVIDER_KEY,
    LLM_MODEL: 'a-model',
  });
  const [container, ...more] = await containers();
  expect(more).toEqual([]);
  expect(container.HostConfig).toMatchObject({
    Memory: 300 * 2 ** 20,
    NanoCpus: 5e8,
    PidsLimit: 77,
    Runtime: 'runc',
    ReadonlyRootfs: true,
    CapDrop: ['ALL'],
    Privileged: false,
    RestartPolicy: { Name: 'unless-stopped' },
  });
  expect(container.HostConfig.SecurityOpt).toContain('no-new-privileges');
  expect(container.HostConfig.SecurityOpt).toContainEqual(expect.stringMatching(/^seccomp=\{/));
  expect(Object.keys(container.NetworkSettings.Networks)).toEqual([NETWORK]);
  const network = await docker('GET', `/networks/${NETWORK}`);
  expect(network.Options['com.docker.network.bridge.enable_icc']).toBe('false');
  expect(engine.url).toBe(`http://127.0.0.1:${env.ORCH_PORT_MIN}`);

  const settings = JSON.stringify(container);
  expect(settings).toContain('a-model');
  expect(settings).not.toContain(PROVIDER_KEY);
  expect(settings).not.toContain(hashKey(engine.api_key));
  const { status, body } = await askDocker(
    'GET',
    `/containers/${container.Id}/archive?path=/run/september/LLM_API_KEY`,
  );
  expect([status, body.includes(PROVIDER_KEY)]).toEqual([200, true]);

  expect((await call('DELETE', '/engines/ada')).status).toBe(200);
  expect(await containers()).toEqual([]);
  const left = (await volumesWith(label)).filter(({ Labels }) => Labels[LABEL.mark] !== 'destroyed');
  expect(left).toEqual([]);
});

it('in the mode `network` an engine has its name there, and the port of the host beside it', async () => {
  const engine = {
    engine_id: randomUUID(),
    epoch: 1,
    port: 32_600,
    image: STAND_IN_IMAGE,
    environment: { ENGINE_KEY_HASH: hashKey('sk-sept-test') },
  };
  const backend = open({
    kind: 'docker',
    options: {
      host: DOCKER_HOST,
      url_mode: 'network',
      network: NETWORK,
      catalog_dir: null,
      memory_mb: 256,
      cpus: 1,
      pids: 100,
      runtime: '',
      seccomp: 'unconfined',
    },
  });
  onTestFinished(() => backend.close());
  const endpoint = await backend.create(engine, new AbortController().signal);
  expect(endpoint).toMatchObject({
    url: `http://engine-${engine.engine_id.slice(0, 12)}:8000`,
    host_url: 'http://127.0.0.1:32600',
  });
  await backend.destroy(engine.engine_id, { epoch: 1 });
});

it('an engine whose container is removed by hand is noticed at once, and comes up again on its data', async () => {
  const { call, engine, containers } = await withEngine({ ORCH_RESTART_BACKOFF_BASE_S: '1' });
  const [container] = await containers();
  await docker('DELETE', `/containers/${container.Id}?force=true`);
  await until('another container stands', async () =>
    (await containers()).some(({ Id, State }) => Id !== container.Id && State.Running),
  );
  await until('it runs', async () => (await call('GET', '/engines/ada')).body.status === 'running');
  const [next] = await containers();
  expect(Number(next.Config.Labels[LABEL.epoch])).toBeGreaterThan(1);
  const dataOf = ({ Mounts }: { Mounts: { Destination: string; Name: string }[] }) =>
    Mounts.find(({ Destination }) => Destination === '/data')?.Name;
  expect(dataOf(next)).toBe(dataOf(container));
  const { body: again } = await call('GET', '/engines/ada');
  const activity = await fetch(`${again.url}/activity`, { headers: { 'X-Engine-Key': engine.api_key } });
  expect(activity.status).toBe(200);
  await call('DELETE', '/engines/ada');
});
