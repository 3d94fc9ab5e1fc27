/**
 * docs/deploy/quickstart.md, run as it stands: each of its blocks of shell in the project's folder, by a person who
 * pastes the keys that are answered into the next. Only names and ports are others, so that nothing of this machine is in the way.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Deployment, docker, newDeployment } from './support/deployment.ts';

const root = join(import.meta.dirname, '../..');

let deployment: Deployment;
let blocks: string[];

/** What Docker has of the deployment, but volumes. */
async function left(): Promise<string[]> {
  const all = await Promise.all([
    docker('ps', '-a', '--format', '{{.Names}}', '--filter', `name=${deployment.project}`),
    docker(
      'ps',
      '-a',
      '--format',
      '{{.Names}}',
      '--filter',
      `label=dev.september.network=${deployment.network}`,
    ),
    docker('network', 'ls', '--format', '{{.Name}}', '--filter', `name=${deployment.project}`),
    docker('network', 'ls', '--format', '{{.Name}}', '--filter', `name=${deployment.network}`),
  ]);
  return all.filter((names) => names !== '');
}

/** From a container beside the orchestrator, as a product would be: it has an address that is let through to engines. */
const tour = () =>
  docker(
    ...[
      'run',
      '--rm',
      '--network',
      deployment.network,
      '--ip',
      `${deployment.net}.0.10`,
      '-v',
      `${root}:/repository:ro`,
    ],
    ...['-e', `ORCH_ADMIN_KEY=${deployment.admin_key}`, '--entrypoint', 'node', 'bap-engine:test'],
    ...['/repository/scripts/tour.ts', `--url=http://${deployment.net}.0.2:8000`],
  );

beforeAll(async () => {
  deployment = await newDeployment((net) => ({ ENGINE_TRUSTED: `${net}.0.10` }));
  const page = await readFile(join(root, 'docs/deploy/quickstart.md'), 'utf8');
  blocks = [...page.matchAll(/```sh\n(.*?)```/gs)].map(([, block = '']) => block);
});

afterAll(() => deployment.remove(), 60_000);

it('works word for word, and leaves nothing but volumes', async () => {
  expect(await left()).toEqual([]);
  let line = 0;
  const env: Record<string, string> = {};
  /** Runs the next block, which has `part` in it. */
  const step = async (part: string) => {
    const block = blocks[line++] ?? '';
    expect(block).toContain(part);
    return await deployment.shell(block.replaceAll('http://localhost:8000', deployment.url), env);
  };
  const skip = (part: string) => expect(blocks[line++]).toContain(part);

  // Both done: by newDeployment, and by `npm run test:docker`, whose image has another tag.
  skip('sh deploy/new_env.sh');
  skip('docker build -t september-engine:2.3.0 --target prod .');
  skip('docker compose up postgres orchestrator');
  await deployment.start();

  expect(await left()).not.toEqual([]);
  expect(JSON.parse(await step('/health'))).toEqual({ status: 'ok' });
  const product = JSON.parse(await step('/products/register'));
  expect(product).toMatchObject({ slug: 'demo', platform_api_key: expect.stringMatching(/^pk-sept-/) });
  skip('export PLATFORM_KEY=');
  env.PLATFORM_KEY = product.platform_api_key;

  const { admitted, engine } = JSON.parse(await step('/admit'));
  expect(admitted).toBe(true);
  skip('export ENGINE_URL=http://localhost:9001');
  expect(engine.url).toBe(`http://engine-${engine.engine_id.slice(0, 12)}:8000`);
  env.ENGINE_URL = 'http://localhost:21001';
  env.ENGINE_KEY = engine.api_key;
  const stream = await step('/execute');
  expect(stream).toContain('event: text_delta');
  expect(stream).toContain('"phase":"completed"');

  expect(JSON.parse(await step('/status'))).toEqual({
    total: 1,
    by_status: { running: 1 },
    health: 'ok',
    unhealthy_count: 0,
  });
  expect(JSON.parse(await step('/engines'))).toMatchObject({
    total: 1,
    engines: [{ user_id: 'demo-user-001' }],
  });

  expect(await tour()).toContain('The tour is over');

  expect(await step('/stop')).toContain('"status":"destroyed"');
  skip('docker compose down');
  await deployment.compose('down');
  expect(await left()).toEqual([]);
}, 180_000);
