import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createTcpServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createGuard } from '../src/net/guard.ts';
import { type HostList, parseHosts } from '../src/net/hosts.ts';
import { createLog } from '../src/observe/log.ts';
import { createEgress } from '../src/sandbox/egress.ts';
import { LIMITS } from '../src/sandbox/limits.ts';
import { openRoots } from '../src/sandbox/roots.ts';
import { createSandbox } from '../src/sandbox/sandbox.ts';
import { temporaryFolder } from './support/engine.ts';
import { host } from './support/sandbox.ts';
import { NO_SECRETS } from './support/secrets.ts';

/** A site, and a service that speaks no HTTP, both on this machine: names lead here by the resolver below. */
const site = createServer((request, response) => {
  if (request.url === '/cut')
    return void response.writeHead(200, { 'Content-Length': 100 }).write('half', () => response.destroy());
  const seen = JSON.stringify({ method: request.method, url: request.url, headers: request.headers });
  request.resume().on('end', () => response.writeHead(200, { 'X-Site': 'yes' }).end(seen));
});
const echo = createTcpServer((socket) => socket.pipe(socket));
const portOf = (server: { address(): unknown }) => Object(server.address()).port as number;

beforeAll(async () => {
  site.listen(0, '127.0.0.1');
  echo.listen(0, '127.0.0.1');
  await Promise.all([once(site, 'listening'), once(echo, 'listening')]);
});
afterAll(() => {
  site.close();
  echo.close();
});

function hosts(text: string): HostList {
  const list = parseHosts(text);
  if ('bad' in list) throw new Error(list.bad);
  return list;
}

/** Here 127.0.0.1 counts as public, and 127.0.0.2 does not. */
const guard = createGuard(hosts('127.0.0.1'), async (name) =>
  name.startsWith('inside') ? ['127.0.0.2'] : ['127.0.0.1'],
);

function sandboxWith(allowed: string) {
  const home = temporaryFolder();
  const root = join(home, 'workspace');
  for (const folder of [root, join(home, 'catalog')]) mkdirSync(folder);
  writeFileSync(join(home, 'brain.sqlite'), '');
  const sandbox = createSandbox({
    mode: 'auto',
    roots: openRoots({ paths: [root], own: false }, join(home, 'brain.sqlite')),
    catalog_dir: join(home, 'catalog'),
    findHost: async () => host ?? { reason: 'none here' },
    path: process.env.PATH ?? '',
    node: process.execPath,
    limits: LIMITS,
    egress: createEgress(guard, hosts(allowed)),
    engine_port: 1,
    log: createLog('ERROR', NO_SECRETS.shown),
    now: () => Date.now(),
  });
  return async (script: string, opened: string[] = []) => {
    const command = { words: ['bash', '-c', script], cwd: root, stdin: '', timeout_ms: 25_000 };
    const occasion = {
      kind: 'task' as const,
      task_id: 't',
      turn_id: 'u',
      opened: { paths: [], hosts: opened },
    };
    const { stdout } = await sandbox.run(command, occasion, new AbortController().signal);
    sandbox.endTurn('u');
    return stdout;
  };
}

/** Without a program that every machine would have to have. */
const viaProxy = (lines: string[], more = '') => {
  const text = lines.map((line) => `${line}\\r\\n`).join('');
  return `exec 3<>/dev/tcp/127.0.0.1/3128 || exit 1; printf '${text}\\r\\n${more}' >&3; cat <&3`;
};
const get = (name: string, more: string[] = []) =>
  viaProxy([
    `GET http://${name}:${portOf(site)}/page?a=1 HTTP/1.1`,
    'Host: other.test',
    'Connection: close',
    ...more,
  ]);
const tunnel = (name: string, port: number) =>
  `exec 3<>/dev/tcp/127.0.0.1/3128; printf 'CONNECT ${name}:${port} HTTP/1.1\\r\\n\\r\\n' >&3; read -r status <&3; read -r _ <&3; printf 'hello\\n' >&3; read -r back <&3; echo "$status $back"`;

describe.skipIf(host === undefined)('the way from the sandbox to the network', () => {
  it('is not there where no host is allowed', async () => {
    const run = sandboxWith('');
    expect(
      await run('env | grep -i proxy; ls /run/sandbox/proxy; (exec 3<>/dev/tcp/127.0.0.1/3128) && echo open'),
    ).toBe('');
  });

  it('leads to allowed hosts, and tells them nothing of what was for the proxy', async () => {
    const run = sandboxWith('site.test,*.wide.test');
    const answer = await run(get('site.test', ['Proxy-Authorization: Basic eDp5', 'X-Own: kept']));
    expect(answer).toMatch(/^HTTP\/1.1 200/);
    expect(answer).toMatch(/x-site: yes/i);
    expect(answer).toContain('"url":"/page?a=1"');
    expect(answer).toContain(`"host":"site.test:${portOf(site)}"`);
    expect(answer).toContain('"x-own":"kept"');
    expect(answer).not.toContain('proxy-authorization');
    expect(await run(get('a.b.wide.test'))).toMatch(/^HTTP\/1.1 200/);
    expect(await run(tunnel('site.test', portOf(echo)))).toBe(
      'HTTP/1.1 200 Connection established\r hello\n',
    );
  });

  it('leads to no other host, under no spelling, and not into the network of the Engine', async () => {
    const run = sandboxWith('site.test,*.wide.test,inside.test');
    for (const name of [
      'other.test',
      'wide.test',
      'site.test.evil.test',
      'xsite.test',
      '127.0.0.1',
      '2130706433',
    ]) {
      expect(await run(get(name)), name).toMatch(/^HTTP\/1.1 403/);
      expect(await run(tunnel(name, portOf(echo))), name).toMatch(/^HTTP\/1.1 403/);
    }
    const inside = await run(get('inside.test'));
    expect(inside).toMatch(/^HTTP\/1.1 403/);
    expect(inside).not.toContain('127.0.0.2');
    expect(await run(viaProxy(['GET /page HTTP/1.1', 'Host: site.test', 'Connection: close']))).toMatch(
      /^HTTP\/1.1 400/,
    );
  });

  it('is open for one command to what a person has opened for it', async () => {
    const run = sandboxWith('');
    expect(await run(get('asked.test'), ['asked.test'])).toMatch(/^HTTP\/1.1 200/);
    expect(await run(get('other.test'), ['asked.test'])).toMatch(/^HTTP\/1.1 403/);
    expect(await run(get('asked.test'))).toBe('');
  });

  it('survives what breaks off, on both sides, and what is no HTTP', async () => {
    const run = sandboxWith('site.test');
    const port = portOf(site);
    const first = [
      'GET http://site.test:',
      'CONNECT site.test:1 HTTP/1.1\\r\\n\\r\\n',
      'CONNECT site.test\\r\\n\\r\\n',
      '\\x00\\xff',
      `CONNECT site.test:${port} HTTP/1.1\\r\\n\\r\\nnonsense\\r\\n\\r\\n`,
      `POST http://site.test:${port}/ HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 100\\r\\n\\r\\nhalf`,
    ];
    for (const text of first) await run(`exec 3<>/dev/tcp/127.0.0.1/3128; printf '${text}' >&3; exec 3>&-`);
    const cut = await run(
      viaProxy([`GET http://site.test:${port}/cut HTTP/1.1`, 'Host: x', 'Connection: close']),
    );
    expect(cut).toMatch(/half$/);
    expect(await run(get('site.test'))).toMatch(/^HTTP\/1.1 200/);
  });

  it('is found by programs that know proxies', async () => {
    const run = sandboxWith('site.test');
    const script = `fetch('http://site.test:${portOf(site)}/node').then((r) => r.text()).then(console.log)`;
    expect(await run(`/run/sandbox/bin/node -e "${script}"`)).toContain('"url":"/node"');
  });
});
