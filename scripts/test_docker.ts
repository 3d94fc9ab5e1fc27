/**
 * `npm run test:docker`: builds the images and runs the tests that need Docker (`*.docker.ts`); closes with the line
 * `N passed, N failed, N skipped`. Each image counts as one. Arguments are handed on to vitest.
 *
 * BASE_IMAGE is what the images stand on, as in the Dockerfiles. Where it has no npm, a build image is made of it with
 * the npm of this machine; where this machine trusts a certificate of its own (NODE_EXTRA_CA_CERTS), so does that image,
 * and only that: nothing of it gets into what is shipped. Docker keeps what has not changed, so nothing here decides
 * what is out of date.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, realpathSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { type Count, check, close, run, tests } from './counted.ts';

const BASE_IMAGE = process.env.BASE_IMAGE || 'node:24-bookworm-slim';
const BUILD_IMAGE = 'september-build:test';

const counts: Count[] = [];
if (docker('version', '--format', '{{.Server.Version}}') !== 0) {
  console.error('Docker does not answer (docker version): start it, or set DOCKER_HOST. Nothing was tested.');
  close([{ passed: 0, failed: 1, skipped: 0 }]);
}
const base = ['--build-arg', `BASE_IMAGE=${BASE_IMAGE}`];
const own = [...base, '--target', 'prod'];
if (docker('run', '--rm', '--network', 'none', '--entrypoint', 'npm', BASE_IMAGE, '--version') !== 0) {
  if ((await makeBuildImage()) !== 0) close([{ passed: 0, failed: 1, skipped: 0 }]);
  own.push('--build-arg', `BUILD_IMAGE=${BUILD_IMAGE}`);
}
await image('september-engine:test', ...own, '-f', 'deploy/engine.Dockerfile', '.');
await image('bap-engine:test', ...own, '-f', 'deploy/orchestrator.Dockerfile', '.');
await image(
  'stand-in-engine:test',
  ...base,
  '-f',
  'test/docker/stand_in.Dockerfile',
  'orchestrator/test/support',
);
const others = [
  ['postgres-stand-in:test', 'postgres.Dockerfile'],
  ['proxies:test', 'proxies.Dockerfile'],
];
for (const [tag = '', file] of others) {
  await image(tag, ...base, '-f', `test/docker/${file}`, 'test/docker');
}
// Tests of yesterday's images would say nothing.
if (counts.every(({ failed }) => failed === 0)) {
  counts.push(await tests(['--config', 'test/docker/vitest.config.ts', ...process.argv.slice(2)]));
}
close(counts);

async function image(tag: string, ...args: string[]): Promise<void> {
  counts.push(await check(`image ${tag}`, 'docker', ['build', '-t', tag, ...args]));
}

async function makeBuildImage(): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), 'september-build-'));
  try {
    cpSync(npmPackage(), join(folder, 'npm'), { recursive: true, dereference: true });
    const lines = [
      `FROM ${BASE_IMAGE}`,
      'COPY npm /usr/local/lib/node_modules/npm',
      'RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm',
    ];
    const { NODE_EXTRA_CA_CERTS: certificates } = process.env;
    if (certificates) {
      cpSync(certificates, join(folder, 'certificates'), { dereference: true });
      lines.push('COPY certificates /usr/local/share/certificates');
      lines.push('ENV NODE_EXTRA_CA_CERTS=/usr/local/share/certificates');
    }
    await writeFile(join(folder, 'Dockerfile'), lines.join('\n'));
    console.log(`\n── ${BASE_IMAGE} has no npm: making ${BUILD_IMAGE}`);
    return await run('docker', ['build', '-t', BUILD_IMAGE, folder]);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** The npm that runs this script, or the first on the PATH. */
function npmPackage(): string {
  const { npm_execpath, PATH = '' } = process.env;
  const found = [npm_execpath, ...PATH.split(delimiter).map((folder) => join(folder, 'npm'))].find(
    (file) => file !== undefined && existsSync(file),
  );
  if (found === undefined) throw new Error('npm is not on the PATH');
  return dirname(dirname(realpathSync(found)));
}

function docker(...args: string[]): number | null {
  return spawnSync('docker', args, { stdio: 'ignore' }).status;
}
