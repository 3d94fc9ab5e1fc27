import { describe, expect, it } from 'vitest';
import { findGroups } from '../src/sandbox/group.ts';

describe.skipIf(findGroups() === undefined)('control groups of sandboxes', () => {
  it('have names of their own, also when the machine is looked at again while one is in use', async () => {
    const opened = [findGroups(), findGroups()].flatMap((groups) => groups?.open(10) ?? []);
    const folders = opened.map(({ enter }) => enter.at(-1));
    expect(new Set(folders).size).toBe(2);
    await Promise.all(opened.map((group) => group.close()));
  });
});
