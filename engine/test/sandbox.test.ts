import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createLog } from '../src/observe/log.ts';
import type { Host } from '../src/sandbox/host.ts';
import { LIMITS, type Limits, limitsWithin } from '../src/sandbox/limits.ts';
import { createKept } from '../src/sandbox/output.ts';
import { openRoots } from '../src/sandbox/roots.ts';
import { createSandbox, type SandboxParts } from '../src/sandbox/sandbox.ts';
import { temporaryFolder } from './support/engine.ts';
import { host, processesWith } from './support/sandbox.ts';
import { NO_SECRETS } from './support/secrets.ts';

function hostOf(): Host {
  if (host === undefined) throw new Error('This machine has no sandbox');
  return host;
}

const never = new AbortController().signal;

type World = { paths?: string[]; brain?: string; catalog_dir?: string; limits?: Partial<Limits> };

/** A sandbox, and how to run a command in it. */
function worldOf(
  home: string,
  { paths, brain = join(home, 'brain.sqlite'), catalog_dir, limits }: World = {},
) {
  mkdirSync(dirname(brain), { recursive: true });
  writeFileSync(brain, 'SQLite');
  const names = paths ?? [join(home, 'workspace')];
  for (const name of names) mkdirSync(name, { recursive: true });
  const catalog = catalog_dir ?? join(home, 'catalog');
  mkdirSync(catalog, { recursive: true });
  const roots = openRoots({ paths: names, own: false }, brain);
  const parts: SandboxParts = {
    mode: 'auto',
    roots,
    catalog_dir: catalog,
    findHost: async () => host ?? { reason: 'none here' },
    path: process.env.PATH ?? '',
    node: process.execPath,
    limits: { ...LIMITS, ...limits },
    egress: { open: async () => undefined },
    engine_port: 1,
    log: createLog('ERROR', NO_SECRETS.shown),
    now: () => Date.now(),
  };
  const sandbox = createSandbox(parts);
  const run = async (script: string, opened: string[] = [], timeout_ms = 25_000) => {
    const command = { words: ['bash', '-c', script], cwd: roots.paths[0], stdin: '', timeout_ms };
    const ended = await sandbox.run(
      command,
      { kind: 'task', task_id: 't', turn_id: 'u', opened: { paths: opened, hosts: [] } },
      never,
    );
    sandbox.endTurn('u');
    return ended;
  };
  return { sandbox, run, parts };
}

describe.skipIf(host === undefined)('a root that holds the brain', () => {
  it('shows what lies beside it, and neither the brain nor what SQLite could take for its own', async () => {
    const home = temporaryFolder();
    const { run } = worldOf(home, { paths: [home] });
    mkdirSync(join(home, 'notes'));
    writeFileSync(join(home, 'plan.txt'), 'plan');
    symlinkSync('plan.txt', join(home, 'link'));
    const { stdout } = await run('ls; cat link; echo x > notes/new; echo x > plan.txt');
    expect(stdout).toBe('catalog\nlink\nnotes\nplan.txt\nplan');
    expect(readFileSync(join(home, 'notes/new'), 'utf8')).toBe('x\n');
    expect(readFileSync(join(home, 'plan.txt'), 'utf8')).toBe('x\n');
    const { exit_code } = await run('echo x > brain.sqlite-journal || echo x > brain.sqlite || mkdir new');
    expect(exit_code).not.toBe(0);
    expect(readFileSync(join(home, 'brain.sqlite'), 'utf8')).toBe('SQLite');
    expect(readdirSync(home).sort()).toEqual([
      'brain.sqlite',
      'brain.sqlite.scratch',
      'brain.sqlite.scratch.removed',
      'catalog',
      'link',
      'notes',
      'plan.txt',
    ]);
  });

  it('keeps what lies beside the brain, whatever it is called', async () => {
    const home = temporaryFolder();
    mkdirSync(join(home, 'scratch'));
    writeFileSync(join(home, 'scratch', 'mine'), 'mine');
    const { run } = worldOf(home, { paths: [home] });
    expect((await run('cat scratch/mine')).stdout).toBe('mine');
  });

  it('cannot be turned so that the brain gets another name', async () => {
    const home = temporaryFolder();
    const { run } = worldOf(home, { paths: [home], brain: join(home, 'a', 'b', 'brain.sqlite') });
    await run('mv a a2; mv a/b a/b2; rm -rf a; mkdir -p a/b; ln -s . a/b');
    const { stdout } = await run('find . -name "*.sqlite*"; cat a*/b*/brain.sqlite');
    expect(stdout).toBe('');
    expect(readFileSync(join(home, 'a/b/brain.sqlite'), 'utf8')).toBe('SQLite');
  });

  it('holds the catalog too, which cannot be written or exchanged', async () => {
    const home = temporaryFolder();
    const catalog_dir = join(home, 'workspace', 'deep', 'catalog');
    const { run } = worldOf(home, { catalog_dir });
    writeFileSync(join(catalog_dir, 'hooks.json'), '{}');
    await run('echo x > deep/catalog/hooks.json; mv deep deep2; rm -rf deep/catalog; mkdir -p deep/catalog');
    expect(readFileSync(join(catalog_dir, 'hooks.json'), 'utf8')).toBe('{}');
    expect((await run('cat deep/catalog/hooks.json')).stdout).toBe('{}');
  });
});

describe.skipIf(host === undefined)('what a person has opened', () => {
  it('can be written by this one command', async () => {
    const home = temporaryFolder();
    const { run } = worldOf(home);
    // Not in /tmp, which is the task's own in there.
    const folder = mkdtempSync('/var/tmp/opened-');
    try {
      const write = `echo x > ${folder}/file`;
      expect((await run(write)).exit_code).not.toBe(0);
      expect((await run(write, [folder])).exit_code).toBe(0);
      expect(readFileSync(join(folder, 'file'), 'utf8')).toBe('x\n');
      expect((await run(`cat ${folder}/file`)).exit_code).not.toBe(0);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('is never the brain, the whole machine, or the kernel', async () => {
    const home = temporaryFolder();
    const { run } = worldOf(home);
    const brain = join(home, 'brain.sqlite');
    const opened = ['/', '/proc', '/sys', brain, `${brain}.scratch`, '/no/such/path'];
    expect(
      await run(`cat ${brain} || ls /root || : >> /proc/sys/kernel/core_pattern || ls /sys/kernel`, opened),
    ).toMatchObject({ stdout: '', exit_code: 2 });
  });
});

describe.skipIf(host === undefined)('a root', () => {
  it('is found by the name that the operator gave it', async () => {
    const home = temporaryFolder();
    mkdirSync(join(home, 'real'));
    symlinkSync('real', join(home, 'name'));
    const { run } = worldOf(home, { paths: [join(home, 'real'), join(home, 'name')] });
    expect((await run('echo x > here')).exit_code).toBe(0);
    // Within /tmp names cannot be made: that is the task's own. So what is tested here is that nothing breaks.
    expect((await run('cat here')).stdout).toBe('x\n');
  });
});

describe.skipIf(host === undefined)('the watchdog', () => {
  const killed = (problem: string) => ({
    failure: { reason: 'limit', message: expect.stringContaining(problem) },
  });

  it('ends a bomb of processes', async () => {
    const { run } = worldOf(temporaryFolder(), { limits: { threads: 100 } });
    const bomb = 'bomb() { bomb | bomb & }; bomb; sleep 61.7';
    const ended = await run(`ulimit -u; ${bomb}`);
    // To an ordinary user the kernel itself refuses more.
    if (ended.failure !== undefined) expect(ended).toMatchObject(killed('more than 100 processes'));
    await expect.poll(() => processesWith('61.7'), { timeout: 25_000 }).toEqual([]);
  });

  it('ends many processes that take too much together', async () => {
    const { run } = worldOf(temporaryFolder(), { limits: { memory_bytes: 200 << 20 } });
    const each = `/usr/bin/perl -e '$x = "x" x (50 << 20); sleep 20'`;
    expect(await run(`for i in 1 2 3 4 5 6; do ${each} & done; wait`)).toMatchObject(
      killed('200 MiB of memory'),
    );
  });

  it('ends who fills a disk, and leaves alone who does not', async () => {
    const home = temporaryFolder();
    const { bavail, bsize } = statfsSync(home);
    // The machine is busy: what others write meanwhile counts too, so there is room for it.
    const { run } = worldOf(home, { limits: { free_disk_bytes: bavail * bsize - (300 << 20) } });
    expect((await run('echo x > small; sleep 0.5')).exit_code).toBe(0);
    expect(await run('head -c 1500M /dev/zero > big; sleep 20')).toMatchObject(killed('left on the disk'));
    rmSync(join(home, 'workspace', 'big'), { force: true });
  });
});

describe('the limits of a container', () => {
  it.each([
    [Number.POSITIVE_INFINITY, LIMITS.threads],
    [4096, LIMITS.threads],
    [512, 384],
    [100, 50],
  ])('of %s processes leave %s to one sandbox', (allowed, threads) => {
    expect(limitsWithin(LIMITS, allowed)).toEqual({ ...LIMITS, threads });
  });
});

describe.skipIf(host === undefined)('a layer that is there and does not hold', () => {
  it('is found by the Engine itself, and no command runs', async () => {
    // Allows everything.
    const seccomp = Buffer.from('060000000000ff7f', 'hex');
    const { sandbox, run, parts } = worldOf(temporaryFolder());
    const found = hostOf();
    expect(await sandbox.check()).toMatchObject({ mode: 'sandboxed' });
    const weak = createSandbox({ ...parts, findHost: async () => ({ ...found, seccomp }) });
    expect(await weak.check()).toMatchObject({
      mode: 'refused',
      layers: {
        bubblewrap: { state: 'active' },
        seccomp: { state: 'broken', reason: 'calls ptrace, calls unshare' },
      },
    });
    const command = { words: ['true'], cwd: '/', stdin: '', timeout_ms: 1_000 };
    expect(await weak.run(command, { kind: 'hook' }, never)).toMatchObject({
      failure: { reason: 'unavailable' },
    });
    expect((await run('echo still')).stdout).toBe('still\n');
  });

  it('that is not there is missing, and the others go on', async () => {
    const { parts } = worldOf(temporaryFolder());
    const found = hostOf();
    const bare = createSandbox({
      ...parts,
      findHost: async () => ({ ...found, perl: undefined, landlock: false }),
    });
    expect(await bare.check()).toMatchObject({
      mode: 'sandboxed',
      layers: {
        bubblewrap: { state: 'active' },
        landlock: { state: 'missing' },
        limits: { state: 'missing' },
      },
    });
    const command = { words: ['bash', '-c', 'echo out; exit 4'], cwd: '/', stdin: '', timeout_ms: 10_000 };
    expect(await bare.run(command, { kind: 'hook' }, never)).toMatchObject({ stdout: 'out\n', exit_code: 4 });
  });
});

describe('what is kept of output', () => {
  it('is all of what fits, else its beginning and its end, however it comes in pieces', () => {
    fc.assert(
      fc.property(
        fc.array(fc.string({ minLength: 1, maxLength: 30, unit: 'binary' })),
        fc.integer({ min: 20, max: 100 }),
        (pieces, limit) => {
          const whole = Buffer.from(pieces.join(''));
          const kept = createKept(limit);
          for (const at of Array.from(whole.keys()).filter((at) => at % 7 === 0))
            kept.add(whole.subarray(at, at + 7));
          const text = kept.text();
          if (whole.length <= limit) {
            expect(text).toBe(whole.toString());
            return;
          }
          const [, head = '', count = '', tail = ''] =
            /^(.*)\n\[(\d+) bytes left out here\]\n(.*)$/s.exec(text) ?? [];
          expect(Number(count)).toBe(whole.length - limit);
          expect(whole.toString().startsWith(head)).toBe(true);
          expect(whole.toString().endsWith(tail)).toBe(true);
          expect(Buffer.byteLength(head)).toBeGreaterThan(limit / 2 - 4);
          expect(Buffer.byteLength(tail)).toBeGreaterThanOrEqual(limit / 2 - 4);
        },
      ),
    );
  });
});
