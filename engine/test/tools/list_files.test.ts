import { linkSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { listFilesTool } from '../../src/tools/list_files.ts';
import { makeRoots } from '../support/rooted.ts';
import { toolContext } from '../support/tool_context.ts';

const { folder, roots, inside } = makeRoots();
const list = listFilesTool(roots);
const context = toolContext();

describe('list_files', () => {
  it('lists one folder, sorted, with types, and follows no link', async () => {
    const { output } = await list.run({}, context);
    const entries = (output as { entries: { name: string; type: string }[] }).entries;
    const types = Object.fromEntries(entries.map((entry) => [entry.name, entry.type]));
    expect(types).toMatchObject({ 'in.txt': 'file', sub: 'folder', 'folder-link': 'link', pipe: 'other' });
    expect(entries.map((entry) => entry.name)).toEqual(entries.map((entry) => entry.name).sort());
  });

  it('stops at 1,000 and says so', async () => {
    mkdirSync(inside('many'));
    for (let index = 0; index < 1_001; index++) linkSync(inside('in.txt'), inside(`many/${index}`));
    const many = (await list.run({ path: 'many' }, context)).output as {
      entries: unknown[];
      truncated: boolean;
    };
    expect([many.entries.length, many.truncated]).toEqual([1_000, true]);
    rmSync(inside('many/0'));
    const full = (await list.run({ path: 'many' }, context)).output as {
      entries: unknown[];
      truncated: boolean;
    };
    expect([full.entries.length, full.truncated]).toEqual([1_000, false]);
  });

  it('tells a file from a folder', async () => {
    expect((await list.run({ path: 'in.txt' }, context)).error).toBe('invalid_input');
    expect((await list.run({ path: 'absent' }, context)).error).toBe('not_found');
    expect((await list.run({ path: 'pipe' }, context)).error).toBe('invalid_input');
  });

  it('does not name the brain', async () => {
    const { output } = await list.run({ path: join(folder, 'second') }, context);
    expect(output).toMatchObject({ entries: [{ name: 'two.txt', type: 'file' }] });
  });
});
