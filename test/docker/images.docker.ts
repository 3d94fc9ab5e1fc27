import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ENGINE_NODE_OPTIONS } from '../../contract/src/index.ts';
import { pdf } from '../../engine/test/media/files.ts';
import {
  type Contained,
  docker,
  ENGINE_IMAGE,
  KEY,
  RESTRICTIONS,
  removeEngine,
  runEngine,
  SECCOMP,
} from './engine.ts';

const ORCHESTRATOR_IMAGE = 'bap-engine:test';
const configOf = (image: string) => JSON.parse(docker(['image', 'inspect', image]))[0].Config;
const runsOnce = (image: string, ...command: string[]) =>
  docker([
    'run',
    '--rm',
    '--read-only',
    '--network',
    'none',
    '--entrypoint',
    ...command.slice(0, 1),
    image,
    ...command.slice(1),
  ]);

describe('the image of the Engine', () => {
  const NAME = 'images-engine';
  const config = configOf(ENGINE_IMAGE);
  let engine: Contained;
  beforeAll(async () => {
    engine = await runEngine(NAME, { environment: { NODE_ENV: 'development', LLM_PROVIDER: 'demo' } });
  });
  afterAll(() => removeEngine(NAME));

  it('has the Engine under tini, an ordinary user, and the options that the contract names', () => {
    expect(config.Entrypoint).toEqual([
      'tini',
      '--',
      'node',
      ...ENGINE_NODE_OPTIONS,
      '/opt/september/main.mjs',
    ]);
    expect(config).toMatchObject({ User: '1000:1000', WorkingDir: '/data' });
    expect(config.Labels['org.opencontainers.image.version']).toMatch(/^\d+\.\d+\.\d+$/);
  });

  it('has folders that are its user’s alone, for volumes to take after', () => {
    const folders = ['/data', '/run/september'];
    expect(runsOnce(ENGINE_IMAGE, 'stat', '-c', '%n %u:%g %a', ...folders).split('\n')).toEqual(
      folders.map((folder) => `${folder} 1000:1000 700`),
    );
  });

  it('has nothing that its user could write but these and what is anybody’s', () => {
    const find = 'find / -xdev -writable -not -type l 2>/dev/null; true';
    // With a root that is written, as nothing could be otherwise.
    const found = docker(['run', '--rm', '--entrypoint', 'sh', ENGINE_IMAGE, '-c', find]).split('\n');
    expect(found).toContain('/data');
    const places = ['/data', '/run/september', '/tmp', '/var/tmp', '/run/lock', '/dev', '/proc'];
    expect(
      found.filter((path) => !places.some((place) => path === place || path.startsWith(`${place}/`))),
    ).toEqual([]);
  });

  it('starts with what was compiled when it was built', () => {
    const said = docker([
      ...[
        'run',
        '--rm',
        '--read-only',
        '-e',
        'NODE_DEBUG_NATIVE=COMPILE_CACHE',
        '--entrypoint',
        'sh',
        ENGINE_IMAGE,
      ],
      ...['-c', `node ${ENGINE_NODE_OPTIONS.join(' ')} /opt/september/main.mjs 2>&1; true`],
    ]);
    expect(said).toContain('/opt/september/main.mjs was accepted');
    expect(said).not.toMatch(/was rejected|is not in the cache/);
  });

  it('is run as the page about it says', () => {
    const page = readFileSync(join(import.meta.dirname, '../../docs/deploy/images.md'), 'utf8');
    const said = page.replaceAll('\\\n', ' ').replace(/ +/g, ' ');
    expect(said).toContain(` ${RESTRICTIONS.join(' ').replace(SECCOMP, 'deploy/engine_seccomp.json')} `);
  });

  it('runs with everything taken from it, and finds itself healthy', async () => {
    expect(await engine.health()).toMatchObject({ status: 'ok', sandbox: { mode: 'sandboxed' } });
    expect(docker(['exec', NAME, ...config.Healthcheck.Test.slice(1)])).toBe('');
  });

  it('shows none of its secrets to who may look at the container', () => {
    expect(docker(['inspect', NAME])).not.toContain(KEY);
    expect(docker(['exec', NAME, 'sh', '-c', 'cat /proc/1/environ | tr "\\0" "\\n"'])).not.toContain(KEY);
  });

  it('runs commands in the sandbox', async () => {
    const answer = await fetch(`${engine.url}/execute`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'X-Engine-Key': KEY },
      body: JSON.stringify({
        task_id: 'hands',
        message: 'run: echo "$((6 * 7)) $(id -u) $(uname -n)"; ls /run/september',
      }),
    });
    const events = await answer.text();
    expect(events).toContain('42 1000 sandbox');
    expect(events).toContain('/run/september');
    expect(events).not.toContain('ENGINE_API_KEY');
  });

  it('has the tools that are packages of their own', async () => {
    const rg = '/opt/september/node_modules/@vscode/ripgrep-linux-*/bin/rg';
    expect(runsOnce(ENGINE_IMAGE, 'sh', '-c', `${rg} --version`)).toContain('ripgrep');
    const program = `console.log(require('node:module').createRequire('/opt/september/main.mjs')('sharp').versions.vips)`;
    expect(runsOnce(ENGINE_IMAGE, 'node', '-e', program)).toMatch(/^\d+\./);
  });

  it.each([
    ['page_worker', { html: '<h1>A heading</h1>', url: 'https://example.com/' }, 'A heading'],
    ['pdf_worker', pdf('A page of text'), 'A page of text'],
  ])('has its %s, which is a program of its own', (worker, data, text) => {
    const program = `
      const { Worker } = require('node:worker_threads');
      const worker = new Worker('/opt/september/${worker}.mjs', {
        workerData: ${Buffer.isBuffer(data) ? `Buffer.from('${data.toString('base64')}', 'base64')` : JSON.stringify(data)},
      });
      worker.on('message', (message) => console.log(JSON.stringify(message)));`;
    expect(runsOnce(ENGINE_IMAGE, 'node', '-e', program)).toContain(text);
  });

  it('ends by itself when it is asked to', () => {
    docker(['stop', '--time', '40', NAME]);
    expect(docker(['inspect', '--format', '{{.State.ExitCode}}', NAME])).toBe('0');
  });

  it.each([
    ['a secret that is not there', ['-e', 'ENGINE_API_KEY_FILE=/run/september/none'], 64],
    ['no key', [], 64],
  ])('says by its exit code why it does not start: %s', (_, args, code) => {
    const name = `${NAME}-refused`;
    removeEngine(name);
    docker(['run', '-d', '--name', name, '--read-only', ...args, ENGINE_IMAGE]);
    expect(docker(['wait', name])).toBe(String(code));
    removeEngine(name);
  });
});

describe('the image of bap-engine', () => {
  it('has an ordinary user, a folder of his own, and the command line', () => {
    expect(configOf(ORCHESTRATOR_IMAGE).User).toBe('1000:1000');
    expect(runsOnce(ORCHESTRATOR_IMAGE, 'stat', '-c', '%u:%g %a', '/data')).toBe('1000:1000 700');
    expect(runsOnce(ORCHESTRATOR_IMAGE, 'bap-engine', '--help')).toContain('products list');
  });

  it('has modules that can be loaded, all of them', () => {
    const program = `
      const own = ['main.mjs', 'bap-engine.mjs'];
      const names = require('node:fs').readdirSync('/opt/bap-engine').filter((name) => name.endsWith('.mjs'));
      const others = names.filter((name) => !own.includes(name));
      Promise.all(others.map((name) => import('/opt/bap-engine/' + name))).then(({ length }) => console.log(length));`;
    expect(Number(runsOnce(ORCHESTRATOR_IMAGE, 'node', '-e', program))).toBeGreaterThan(0);
  });

  it('says what is missing, and does not make it up', () => {
    const said = runsOnce(
      ORCHESTRATOR_IMAGE,
      'sh',
      '-c',
      'node /opt/bap-engine/main.mjs 2>&1 || echo "left with $?"',
    );
    expect(said).toContain('ORCH_DATABASE_URL is required');
    expect(said).toContain('left with 1');
  });

  it('has what the firewall and the Docker backend need', () => {
    expect(runsOnce(ORCHESTRATOR_IMAGE, 'sh', '-c', '/usr/sbin/iptables --version')).toContain('iptables');
    expect(runsOnce(ORCHESTRATOR_IMAGE, 'cat', '/opt/bap-engine/deploy/engine_seccomp.json')).toContain(
      'bubblewrap',
    );
  });
});
