/**
 * Every way out of `ways.ts`, tried through the real sandbox against a real Engine. After each of them nothing is
 * different outside, and the Engine serves.
 */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { createLog } from '../../src/observe/log.ts';
import { type Ended, runCommand } from '../../src/sandbox/command.ts';
import type { Host } from '../../src/sandbox/host.ts';
import { LIMITS, type Limits } from '../../src/sandbox/limits.ts';
import { openRoots } from '../../src/sandbox/roots.ts';
import { createSandbox, type Occasion, type Sandbox } from '../../src/sandbox/sandbox.ts';
import { catalogOf } from '../support/catalog.ts';
import { startEngine, temporaryFolder } from '../support/engine.ts';
import { host, processesWith } from '../support/sandbox.ts';
import { NO_SECRETS } from '../support/secrets.ts';
import { WAYS, type Way, type World } from './ways.ts';

const home = temporaryFolder();
const catalog = catalogOf({ assistant: ['bash'] });
const engine = await startEngine(home, { ...catalog });
const root = join(home, 'workspace');
const CANARY = `canary-${process.pid}`;
let datagrams = 0;
const world = await outside();
const never = new AbortController().signal;

/** What lies around the sandbox, for the attacks to reach. */
async function outside(): Promise<World> {
  mkdirSync(join(home, 'outside'));
  writeFileSync(join(home, 'outside', 'file'), 'secret\n');
  writeFileSync(join('/dev/shm', CANARY), 'secret\n');
  const tcp = createServer((socket) => socket.end()).listen(0, '0.0.0.0');
  const unix = createServer((socket) => socket.end()).listen(join(home, 'outside', 'socket'));
  const abstract = createServer((socket) => socket.end()).listen(`\0${CANARY}`);
  const udp = createSocket('udp4', () => datagrams++).bind(0, '127.0.0.1');
  await Promise.all([
    ...[tcp, unix, abstract].map((server) => once(server, 'listening')),
    once(udp, 'listening'),
  ]);
  afterAll(() => {
    for (const server of [tcp, unix, abstract, udp]) server.close();
    for (const folder of ['/dev/shm', '/tmp']) rmSync(join(folder, CANARY), { force: true });
  });
  const address = tcp.address();
  const own = Object.values(networkInterfaces()).flatMap((all) => all ?? []);
  return {
    ROOT: root,
    BRAIN: join(home, 'brain.sqlite'),
    OUTSIDE: join(home, 'outside', 'file'),
    CATALOG: catalog.CATALOG_DIR,
    ENGINE_PID: String(engine.process.pid),
    ENGINE_PORT: new URL(engine.url).port,
    PORT: String(typeof address === 'object' ? address?.port : ''),
    ADDRESS: own.find(({ internal, family }) => !internal && family === 'IPv4')?.address ?? '127.0.0.1',
    UDP_PORT: String(udp.address().port),
    SOCKET: join(home, 'outside', 'socket'),
    ABSTRACT: CANARY,
    CANARY,
  };
}

/** A sandbox beside the Engine's own, of the same folders. A brain's journal needs no file of its own to stay as it is. */
function sandboxOf(found: Host, limits: Limits = LIMITS): Sandbox {
  return createSandbox({
    mode: 'auto',
    roots: openRoots({ paths: [root], own: false }, world.BRAIN),
    catalog_dir: world.CATALOG,
    findHost: async () => found,
    path: process.env.PATH ?? '',
    node: process.execPath,
    limits,
    egress: { open: async () => undefined },
    engine_port: Number(world.ENGINE_PORT),
    log: createLog('ERROR', NO_SECRETS.shown),
    now: () => Date.now(),
  });
}

const commandOf = ({ script }: Pick<Way, 'script'>) => {
  const variables = Object.entries(world).map(([name, value]) => `export ${name}='${value}'`);
  return {
    words: ['bash', '-c', [...variables, script].join('\n')],
    cwd: root,
    stdin: '',
    timeout_ms: 20_000,
  };
};

/** The same machine, if it did not have one of its layers. */
function without(found: Host, layer: 'seccomp' | 'landlock' | 'limits'): Host {
  if (layer === 'seccomp') return { ...found, seccomp: undefined };
  if (layer === 'landlock') return { ...found, landlock: false };
  return { ...found, perl: undefined, landlock: false };
}

/** Tries one way out; what it has left running ends with its turn. */
async function attempt(sandbox: Sandbox, way: Pick<Way, 'script'>): Promise<Ended> {
  const turn: Occasion = {
    kind: 'task',
    task_id: 'attacks',
    turn_id: 'turn',
    opened: { paths: [], hosts: [] },
  };
  const ended = await sandbox.run(commandOf(way), turn, never);
  sandbox.endTurn('turn');
  return ended;
}

/** What differs outside from how it was. */
function traces(): string[] {
  const found = [];
  if (datagrams > 0) found.push('a datagram came');
  if (existsSync(join('/tmp', CANARY))) found.push('a file in /tmp');
  const own =
    /^(brain\.sqlite(-wal|-shm|\.lock|\.lock-journal|\.scratch|\.scratch\.removed)?|outside|workspace)$/;
  found.push(...readdirSync(home).filter((name) => !own.test(name)));
  datagrams = 0;
  rmSync(join('/tmp', CANARY), { force: true });
  return found;
}

const isHeld = (ended: Ended) => !ended.stdout.includes('ESCAPED');

describe.skipIf(host === undefined)('nothing gets out of the sandbox', () => {
  const sandbox = host === undefined ? undefined : sandboxOf(host);
  it('knows at least 60 ways', () => {
    expect(WAYS.length).toBeGreaterThanOrEqual(60);
    expect(new Set(WAYS.map(({ name }) => name)).size).toBe(WAYS.length);
  });

  it.each(WAYS)('$name', async (way) => {
    if (sandbox === undefined) throw new Error('no sandbox');
    const ended = await attempt(sandbox, way);
    expect(ended.failure?.reason).not.toBe('unavailable');
    // A call that was never made proves nothing.
    if (way.script.includes('REFUSED')) expect(ended.stdout, ended.stderr).toMatch(/REFUSED|ESCAPED/);
    expect(isHeld(ended), ended.stdout + ended.stderr).toBe(true);
    await expect.poll(() => processesWith('61.5'), { timeout: 5_000, interval: 20 }).toEqual([]);
    expect(traces()).toEqual([]);
    expect(await engine.json('/health')).toMatchObject({ status: 'ok', subsystems: { database: 'ok' } });
  });
});

describe.skipIf(host === undefined)('the suite fails where a layer is away', () => {
  const ways = WAYS.flatMap((way) =>
    way.opens_without === undefined ? [] : [{ ...way, layer: way.opens_without }],
  );

  it.each(ways)('without $layer it $name', async ({ layer, ...way }) => {
    if (host === undefined) throw new Error('no sandbox');
    const ended =
      layer === 'bubblewrap'
        ? await runCommand({ ...commandOf(way), env: { PATH: '/usr/bin:/bin' } }, never)
        : await attempt(sandboxOf(without(host, layer)), way);
    const found = isHeld(ended) ? traces() : ['ESCAPED'];
    traces();
    expect(found, ended.stderr).not.toEqual([]);
  });
});
