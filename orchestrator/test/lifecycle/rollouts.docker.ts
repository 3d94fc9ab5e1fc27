/** A broken image rolled out over real containers: what it may touch, and that no brain is lost by it. */
import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it, onTestFinished } from 'vitest';
import { LABEL } from '../../src/backends/docker/names.ts';
import { removeAllWith, STAND_IN_IMAGE } from '../support/docker.ts';
import { askEngine, users } from '../support/fleet.ts';
import { ADMIN, behave, startTestOrchestrator, testEnvironment } from '../support/orchestrator.ts';
import { until } from '../support/wait.ts';

const COUNT = 20;
const PERCENT = 10;
/** Containers that change at once: more of them take a small machine's processors from the database. */
const AT_ONCE = 4;
const NETWORK = `rollouts-${randomUUID().slice(0, 8)}`;
const BROKEN_IMAGE = `stand-in-engine:broken-${randomUUID().slice(0, 8)}`;
/** It has changed the brain before anybody can see that it is broken. */
const BROKEN = `FROM ${STAND_IN_IMAGE}
ENTRYPOINT ["node", "-e", "require('fs').appendFileSync('/data/brain.sqlite', 'rubbish;'); process.exit(1)"]
`;
const TIME_LIMIT_MS = 240_000;

afterAll(async () => {
  await removeAllWith(`${LABEL.network}=${NETWORK}`);
  execFileSync('docker', ['rmi', '--force', BROKEN_IMAGE], { stdio: 'ignore' });
});

it(
  `a broken image rolled out to ${COUNT} engines touches at most the canary share, and every brain is as it was`,
  async () => {
    execFileSync('docker', ['build', '-q', '-t', BROKEN_IMAGE, '-'], { input: BROKEN, stdio: 'pipe' });
    const catalog = await mkdtemp(join(tmpdir(), 'rollouts-'));
    await chmod(catalog, 0o755);
    onTestFinished(() => rm(catalog, { recursive: true }));
    await behave(catalog, { writes: 'what was said;' });
    const env = await testEnvironment({
      ORCH_ENGINE_BACKEND: 'docker',
      ORCH_ENGINE_IMAGE: STAND_IN_IMAGE,
      ORCH_ENGINE_NETWORK: NETWORK,
      ORCH_ENGINE_MEMORY_MB: '128',
      ORCH_CATALOG_MOUNT_PATH: catalog,
      ORCH_BOOT_TIMEOUT_S: '60',
      ORCH_IDLE_TIMEOUT_S: '0',
      ORCH_UPGRADE_CANARY_PERCENT: String(PERCENT),
    });
    const all = users(COUNT);
    const before = await startTestOrchestrator(env);
    const { call: first, key } = await before.product();
    const provision = (user_id: string) => first('POST', '/engines/provision', { body: { user_id } });
    for (const { status } of await Promise.all(all.map(provision))) expect(status).toBe(200);
    await before.orchestrator.close();

    const o = await startTestOrchestrator({ ...env, ORCH_ENGINE_IMAGE: BROKEN_IMAGE });
    const call: typeof o.call = (method, path, options) => o.call(method, path, { key, ...options });
    const change = async (what: string, status: string) => {
      for (let from = 0; from < COUNT; from += AT_ONCE) {
        const some = all.slice(from, from + AT_ONCE);
        const answers = await Promise.all(some.map((user) => call('POST', `/engines/${user}/${what}`)));
        for (const { body } of answers) expect(body).toMatchObject({ status });
      }
    };
    await change('stop', 'stopped');
    await change('start', 'running');

    const rollout = async () => (await o.call('GET', '/rollouts', { admin: ADMIN })).body.rollouts[0];
    await until('it is halted', async () => (await rollout()).state === 'halted');
    expect(await rollout()).toMatchObject({
      image: BROKEN_IMAGE,
      engines: { concerned: COUNT, upgraded: 0 },
    });
    const touched = await o.orchestrator.db.query(
      "SELECT DISTINCT engine_id FROM operations WHERE kind = 'upgrade'",
    );
    expect(touched.length).toBeGreaterThan(0);
    expect(touched.length).toBeLessThanOrEqual((COUNT * PERCENT) / 100);
    for (const user of all) {
      expect((await call('GET', `/engines/${user}`)).body.engine_version).toBe(STAND_IN_IMAGE);
      expect((await askEngine(call, user)).brain).toBe('what was said;');
    }
  },
  TIME_LIMIT_MS,
);
