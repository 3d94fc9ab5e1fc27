import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { availableMemory, keptOfFiles, threadsAllowed } from '../src/sandbox/own_group.ts';
import { temporaryFolder } from './support/engine.ts';

const STAT = 'anon 7\nfile 9\ninactive_anon 1\nactive_anon 2\ninactive_file 40\nactive_file 2\n';

/** The kernel's files as they are on some machine. */
function machine(membership: string, told: Record<string, string>) {
  const tree = temporaryFolder();
  for (const [place, text] of Object.entries({ ...told, membership })) {
    mkdirSync(dirname(join(tree, place)), { recursive: true });
    writeFileSync(join(tree, place), text);
  }
  return { tree, membership: join(tree, 'membership') };
}

describe('the control group of this process', () => {
  it.each([
    ['version 2, within a container', '0::/\n', { 'pids.max': '512\n', 'memory.stat': STAT }],
    [
      'version 2, on a host',
      '0::/a/b\n',
      { 'a/b/pids.max': '512\n', 'a/b/memory.stat': STAT, 'pids.max': '9\n' },
    ],
    [
      'version 1, named by the way from the host',
      '5:memory:/docker/x\n3:pids:/docker/x\n0::/\n',
      { 'pids/pids.max': '512\n', 'memory/memory.stat': STAT },
    ],
    [
      'version 1, with controllers together',
      '5:cpu,memory:/x\n3:pids,misc:/x\n',
      { 'pids/x/pids.max': '512\n', 'memory/x/memory.stat': STAT },
    ],
  ])('%s', (_, membership, told) => {
    const files = machine(membership, told);
    expect(threadsAllowed(files)).toBe(512);
    expect(keptOfFiles(files)).toBe(42);
  });

  it.each([
    ['no limit', machine('0::/\n', { 'pids.max': 'max\n' })],
    ['no such files', machine('0::/\n', {})],
    ['no groups', { tree: '/nowhere', membership: '/nowhere' }],
  ])('%s', (_, files) => {
    expect(threadsAllowed(files)).toBe(Number.POSITIVE_INFINITY);
    expect(keptOfFiles(files)).toBe(0);
  });

  it('tells of this machine', () => {
    expect(availableMemory()).toBeGreaterThan(0);
    expect(threadsAllowed()).toBeGreaterThan(0);
  });
});
