/**
 * The attacks of `ways.ts` carried out: what lies around the sandbox for them to reach, one attempt, and what it has
 * changed. Not bound to a test runner, since the same is done inside the image of the Engine (`in_container.ts`).
 */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { createLog } from '../../src/observe/log.ts';
import { type Ended, runCommand } from '../../src/sandbox/command.ts';
import type { Host } from '../../src/sandbox/host.ts';
import { LIMITS, limitsWithin } from '../../src/sandbox/limits.ts';
import { threadsAllowed } from '../../src/sandbox/own_group.ts';
import { openRoots } from '../../src/sandbox/roots.ts';
import { createSandbox, type Occasion, type Sandbox } from '../../src/sandbox/sandbox.ts';
import { NO_SECRETS } from '../support/secrets.ts';
import type { Way, World } from './ways.ts';

export type Range = {
  /** A sandbox beside the Engine's own, of the same folders. */
  sandboxOf(host: Host): Sandbox;
  /** Tries one way out; what it has left running ends with its turn. */
  attempt(sandbox: Sandbox, way: Way): Promise<Ended>;
  /** The same without any walls. */
  attemptOutside(way: Way): Promise<Ended>;
  /** What differs outside from how it was; afterwards it is as it was. */
  traces(): string[];
  close(): void;
};

/** @param home The folder of the brain, with `workspace` in it. `engine`: the one whose folders they are. */
export async function openRange(
  home: string,
  catalog_dir: string,
  engine: { pid: number; port: string },
): Promise<Range> {
  const root = join(home, 'workspace');
  const canary = `canary-${process.pid}`;
  const never = new AbortController().signal;
  let datagrams = 0;

  mkdirSync(join(home, 'outside'));
  writeFileSync(join(home, 'outside', 'file'), 'secret\n');
  writeFileSync(join('/dev/shm', canary), 'secret\n');
  const tcp = createServer((socket) => socket.end()).listen(0, '0.0.0.0');
  const unix = createServer((socket) => socket.end()).listen(join(home, 'outside', 'socket'));
  const abstract = createServer((socket) => socket.end()).listen(`\0${canary}`);
  const udp = createSocket('udp4', () => datagrams++).bind(0, '127.0.0.1');
  await Promise.all([
    ...[tcp, unix, abstract].map((server) => once(server, 'listening')),
    once(udp, 'listening'),
  ]);
  const address = tcp.address();
  const own = Object.values(networkInterfaces()).flatMap((all) => all ?? []);
  const world: World = {
    ROOT: root,
    BRAIN: join(home, 'brain.sqlite'),
    OUTSIDE: join(home, 'outside', 'file'),
    CATALOG: catalog_dir,
    ENGINE_PID: String(engine.pid),
    ENGINE_PORT: engine.port,
    PORT: String(typeof address === 'object' ? address?.port : ''),
    ADDRESS: own.find(({ internal, family }) => !internal && family === 'IPv4')?.address ?? '127.0.0.1',
    UDP_PORT: String(udp.address().port),
    SOCKET: join(home, 'outside', 'socket'),
    ABSTRACT: canary,
    CANARY: canary,
  };

  const commandOf = ({ script }: Way) => {
    const variables = Object.entries(world).map(([name, value]) => `export ${name}='${value}'`);
    return {
      words: ['bash', '-c', [...variables, script].join('\n')],
      cwd: root,
      stdin: '',
      timeout_ms: 20_000,
    };
  };

  return {
    sandboxOf: (host) =>
      createSandbox({
        mode: 'auto',
        // A brain's journal needs no file of its own to stay as it is.
        roots: openRoots({ paths: [root], own: false }, world.BRAIN),
        catalog_dir,
        findHost: async () => host,
        path: process.env.PATH ?? '',
        node: process.execPath,
        limits: limitsWithin(LIMITS, threadsAllowed()),
        egress: { open: async () => undefined },
        engine_port: Number(world.ENGINE_PORT),
        log: createLog('ERROR', NO_SECRETS.shown),
        now: () => Date.now(),
      }),
    async attempt(sandbox, way) {
      const turn: Occasion = {
        kind: 'task',
        task_id: 'attacks',
        turn_id: 'turn',
        opened: { paths: [], hosts: [] },
      };
      const ended = await sandbox.run(commandOf(way), turn, never);
      sandbox.endTurn('turn');
      return ended;
    },
    attemptOutside: (way) => runCommand({ ...commandOf(way), env: { PATH: '/usr/bin:/bin' } }, never),
    traces() {
      const found = [];
      if (datagrams > 0) found.push('a datagram came');
      if (existsSync(join('/tmp', canary))) found.push('a file in /tmp');
      const own =
        /^(brain\.sqlite(-wal|-shm|\.lock|\.lock-journal|\.scratch|\.scratch\.removed)?|outside|workspace)$/;
      found.push(...readdirSync(home).filter((name) => !own.test(name)));
      datagrams = 0;
      rmSync(join('/tmp', canary), { force: true });
      return found;
    },
    close() {
      for (const server of [tcp, unix, abstract, udp]) server.close();
      for (const folder of ['/dev/shm', '/tmp']) rmSync(join(folder, canary), { force: true });
    },
  };
}

export const isHeld = (ended: Ended) => !ended.stdout.includes('ESCAPED');

/** Why an attempt proves nothing, or that it got through; undefined: it was made, and held. */
export function verdict(way: Way, ended: Ended): string | undefined {
  const said = ended.stdout + ended.stderr;
  if (ended.failure?.reason === 'unavailable') return ended.failure.message;
  if (!isHeld(ended)) return said;
  // A call that was never made proves nothing.
  return way.script.includes('REFUSED') && !ended.stdout.includes('REFUSED')
    ? `not tried: ${said}`
    : undefined;
}
