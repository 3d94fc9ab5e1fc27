import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openRoots } from '../../src/sandbox/roots.ts';
import { listFilesTool } from '../../src/tools/list_files.ts';
import { readFileTool } from '../../src/tools/read_file.ts';
import { makeRoots, WAYS_OUT_TO_READ } from '../support/rooted.ts';
import { toolContext } from '../support/tool_context.ts';

const { folder, roots, inside } = makeRoots();
const read = readFileTool(roots);
const list = listFilesTool(roots);
const context = toolContext();

it('a root can be named by the link an operator gave it', async () => {
  const link = join(folder, 'linked-root');
  symlinkSync(join(folder, 'root'), link);
  const linked = openRoots({ paths: [link], own: false }, join(folder, 'second', 'brain.sqlite'));
  const tool = readFileTool(linked);
  expect((await tool.run({ path: join(link, 'in.txt') }, context)).output).toMatchObject({ text: 'inside' });
  expect((await tool.run({ path: join(link, 'file-link') }, context)).error).toBe('permission_denied');
  expect((await tool.run({ path: `${link}/../outside/secret.txt` }, context)).error).toBe(
    'permission_denied',
  );
});

describe('nothing leads out', () => {
  it.each(WAYS_OUT_TO_READ)('%s', async (path) => {
    for (const tool of [read, list]) {
      const outcome = await tool.run({ path }, context);
      expect(outcome.error, tool.definition.name).toBe('permission_denied');
      expect(JSON.stringify(outcome)).not.toContain('secret"');
    }
  });

  it('also not while links are swapped under the reader', async () => {
    const place = inside('swapped');
    const [good, bad] = [inside('swap-good'), inside('swap-bad')];
    mkdirSync(good);
    writeFileSync(join(good, 'secret.txt'), 'inside');
    symlinkSync(join(folder, 'outside'), bad);
    renameSync(good, place);
    let left = 300;
    const swapping = (async () => {
      while (left > 0) {
        renameSync(place, good);
        renameSync(bad, place);
        await new Promise(setImmediate);
        renameSync(place, bad);
        renameSync(good, place);
        await new Promise(setImmediate);
      }
    })();
    const texts = new Set<unknown>();
    for (; left > 0; left--) {
      const { output, error } = await read.run({ path: 'swapped/secret.txt' }, context);
      texts.add(error ?? (output as { text: string }).text);
    }
    await swapping;
    expect([...texts]).not.toContain('secret');
    rmSync(place, { recursive: true });
    rmSync(bad);
  });
});
