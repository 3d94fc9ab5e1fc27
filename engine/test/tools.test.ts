import { execFileSync } from 'node:child_process';
import { linkSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import type { Log } from '../src/observe/log.ts';
import { openRoots, type Roots } from '../src/sandbox/roots.ts';
import { defineTool, type Tool } from '../src/tools/contract.ts';
import { listFilesTool } from '../src/tools/list_files.ts';
import { readFileTool } from '../src/tools/read_file.ts';
import { createSlots, createToolRunner } from '../src/tools/runner.ts';
import { temporaryFolder } from './support/engine.ts';
import { toolContext } from './support/tool_context.ts';

let folder: string;
let roots: Roots;
let read: Tool;
let list: Tool;
const context = toolContext();

beforeAll(() => {
  folder = temporaryFolder();
  for (const name of ['root', 'root/sub', 'second', 'rootless', 'outside']) mkdirSync(join(folder, name));
  writeFileSync(join(folder, 'root', 'in.txt'), 'inside');
  writeFileSync(join(folder, 'second', 'two.txt'), 'second');
  writeFileSync(join(folder, 'rootless', 'near.txt'), 'a sibling whose name begins like a root');
  writeFileSync(join(folder, 'outside', 'secret.txt'), 'secret');
  for (const name of ['brain.sqlite', 'brain.sqlite-wal', 'brain.sqlite-shm', 'brain.sqlite.lock']) {
    writeFileSync(join(folder, 'second', name), 'brain');
  }
  symlinkSync(join(folder, 'root', 'in.txt'), join(folder, 'root', 'good-link'));
  symlinkSync(join(folder, 'outside', 'secret.txt'), join(folder, 'root', 'file-link'));
  symlinkSync('../outside', join(folder, 'root', 'folder-link'));
  symlinkSync(join(folder, 'outside', 'absent.txt'), join(folder, 'root', 'dangling-link'));
  symlinkSync('loop', join(folder, 'root', 'loop'));
  symlinkSync(join(folder, 'second', 'brain.sqlite'), join(folder, 'root', 'brain-link'));
  execFileSync('mkfifo', [join(folder, 'root', 'pipe')]);
  roots = openRoots(
    { paths: [join(folder, 'root'), join(folder, 'second')], own: false },
    join(folder, 'second', 'brain.sqlite'),
  );
  read = readFileTool(roots);
  list = listFilesTool(roots);
});

describe('read_file sees what is inside the roots', () => {
  it.each(['in.txt', './sub/../in.txt', 'good-link', '{root}/in.txt', '{root}/../second/two.txt'])(
    '%s',
    async (path) => {
      const outcome = await read.run({ path: path.replace('{root}', join(folder, 'root')) }, context);
      expect(outcome.error).toBeUndefined();
      expect(outcome.output).toMatchObject({
        text: expect.stringMatching(/^(inside|second)$/),
        next_offset: null,
      });
    },
  );
});

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
  it.each([
    '..',
    '../outside/secret.txt',
    '../outside/absent.txt',
    '/etc/passwd',
    '/etc/absent',
    '../rootless/near.txt',
    'file-link',
    'folder-link',
    'folder-link/secret.txt',
    'folder-link/absent.txt',
    'folder-link/absent/deeper.txt',
    'dangling-link',
    'loop',
    'brain-link',
    '../second/brain.sqlite',
    '../second/brain.sqlite-wal',
    '../second/brain.sqlite-shm',
    '../second/brain.sqlite.lock',
    'sub/../../outside/secret.txt',
    '/proc/self/environ',
  ])('%s', async (path) => {
    for (const tool of [read, list]) {
      const outcome = await tool.run({ path }, context);
      expect(outcome.error, tool.definition.name).toBe('permission_denied');
      expect(JSON.stringify(outcome)).not.toContain('secret"');
    }
  });

  it('also not while links are swapped under the reader', async () => {
    const place = join(folder, 'root', 'swapped');
    const [good, bad] = [join(folder, 'root', 'swap-good'), join(folder, 'root', 'swap-bad')];
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

describe('read_file says what is wrong, so that the model can mend it', () => {
  it.each([
    [{ path: 'absent.txt' }, 'not_found'],
    [{ path: 'in.txt/deeper' }, 'not_found'],
    [{ path: 'n'.repeat(5000) }, 'not_found'],
    [{ path: 'sub' }, 'invalid_input'],
    [{ path: 'pipe' }, 'invalid_input'],
    [{ path: '' }, 'invalid_input'],
    [{ path: 'a\0b' }, 'invalid_input'],
    [{}, 'invalid_input'],
    [{ path: 'in.txt', offset: -1 }, 'invalid_input'],
    [{ path: 'in.txt', offset: 7 }, 'invalid_input'],
    [{ path: 'in.txt', limit: 0 }, 'invalid_input'],
    [{ path: 'in.txt', limit: 1_000_000 }, 'invalid_input'],
    ['in.txt', 'invalid_input'],
    [null, 'invalid_input'],
  ])('%j: %s', async (input, error) => {
    const outcome = await read.run(input, context);
    expect(outcome.error).toBe(error);
    expect(outcome.output).toEqual(expect.any(String));
  });

  it('a file that is no text', async () => {
    writeFileSync(join(folder, 'root', 'picture.png'), Buffer.from([0x89, 0x50, 0, 0, 1]));
    expect((await read.run({ path: 'picture.png' }, context)).error).toBe('invalid_input');
  });
});

describe('pages', () => {
  type Page = { text: string; size: number; next_offset: number | null };

  async function pages(path: string, limit?: number): Promise<Page[]> {
    const seen: Page[] = [];
    for (let offset: number | null = 0; offset !== null; ) {
      const outcome = await read.run({ path, offset, ...(limit === undefined ? {} : { limit }) }, context);
      expect(outcome.error).toBeUndefined();
      const page = outcome.output as Page;
      expect(page.next_offset === null || page.next_offset > offset).toBe(true);
      seen.push(page);
      offset = page.next_offset;
    }
    return seen;
  }

  it('put together are the file, wherever they are cut', async () => {
    const text = fc.string({ unit: 'binary', maxLength: 60 }).map((value) => value.replaceAll('\0', ''));
    await fc.assert(
      fc.asyncProperty(text, fc.integer({ min: 1, max: 20 }), async (content, limit) => {
        writeFileSync(join(folder, 'root', 'paged.txt'), content);
        const got = await pages('paged.txt', limit);
        expect(got.map((page) => page.text).join('')).toBe(content);
      }),
      { numRuns: 200 },
    );
  });

  it('hold 50 KB', async () => {
    writeFileSync(join(folder, 'root', 'large.txt'), 'ü'.repeat(60_000));
    const got = await pages('large.txt');
    expect(got.map((page) => Buffer.byteLength(page.text))).toEqual([51_200, 51_200, 17_600]);
    expect(got[0]?.size).toBe(120_000);
  });

  it('begin at the next character when asked for the middle of one', async () => {
    writeFileSync(join(folder, 'root', 'middle.txt'), '漢字');
    expect((await read.run({ path: 'middle.txt', offset: 1 }, context)).output).toMatchObject({ text: '字' });
  });

  it('come to an end also in a file that is not UTF-8', async () => {
    writeFileSync(
      join(folder, 'root', 'latin1.txt'),
      Buffer.from('\xe4\xf6\xfc\xff\xff\x80\x80\x80\x80', 'latin1'),
    );
    expect((await pages('latin1.txt', 1)).length).toBeGreaterThan(0);
  });
});

describe('list_files', () => {
  it('lists one folder, sorted, with types, and follows no link', async () => {
    const { output } = await list.run({}, context);
    const entries = (output as { entries: { name: string; type: string }[] }).entries;
    const types = Object.fromEntries(entries.map((entry) => [entry.name, entry.type]));
    expect(types).toMatchObject({ 'in.txt': 'file', sub: 'folder', 'folder-link': 'link', pipe: 'other' });
    expect(entries.map((entry) => entry.name)).toEqual(entries.map((entry) => entry.name).sort());
  });

  it('stops at 1,000 and says so', async () => {
    mkdirSync(join(folder, 'root', 'many'));
    for (let index = 0; index < 1_001; index++)
      linkSync(join(folder, 'root', 'in.txt'), join(folder, 'root', 'many', `${index}`));
    const many = (await list.run({ path: 'many' }, context)).output as {
      entries: unknown[];
      truncated: boolean;
    };
    expect([many.entries.length, many.truncated]).toEqual([1_000, true]);
    rmSync(join(folder, 'root', 'many', '0'));
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
});

describe('slots', () => {
  it('let at most so many through, the others in the order in which they came, also after one that failed', async () => {
    const inSlot = createSlots(3);
    const begun: number[] = [];
    const end: (() => void)[] = [];
    const work = (n: number) => async () => {
      begun.push(n);
      await new Promise<void>((resolve) => {
        end[n] = resolve;
      });
      if (n === 1) throw new Error('failed');
      return n;
    };
    const settled = Promise.allSettled([0, 1, 2, 3, 4].map((n) => inSlot(work(n))));
    await expect.poll(() => begun).toEqual([0, 1, 2]);
    end[2]?.();
    await expect.poll(() => begun).toEqual([0, 1, 2, 3]);
    end[1]?.();
    await expect.poll(() => begun).toEqual([0, 1, 2, 3, 4]);
    for (const n of [0, 3, 4]) end[n]?.();
    expect((await settled).map(({ status }) => status)).toEqual([
      'fulfilled',
      'rejected',
      'fulfilled',
      'fulfilled',
      'fulfilled',
    ]);
  });
});

describe('the runner', () => {
  const logged: string[] = [];
  const note = (message: string) => void logged.push(message);
  const log: Log = { debug: note, info: note, warn: note, error: note, named: () => log };
  const tool = (name: string, run: () => Promise<never>) =>
    defineTool({ name, description: '', effect: 'once', input: z.object({}), run });

  it('turns whatever a tool does into an outcome', async () => {
    const tools = [
      tool('throws', async () => {
        throw new Error('secret path /home/x');
      }),
      tool('hangs', () => new Promise(() => {})),
    ];
    const runner = createToolRunner(tools, { log, time_limit_ms: 30 });
    const outcomes = await Promise.all(tools.map((tool) => runner.run(tool, {}, context)));
    expect(outcomes.map((outcome) => outcome.error)).toEqual(['execution_failed', 'timeout']);
    expect(JSON.stringify(outcomes)).not.toContain('/home/x');
    expect(logged).toEqual(['A tool broke']);
  });

  it('gives a tool up with its turn, and starts none after that', async () => {
    let started = 0;
    const counted = tool('counted', () => {
      started++;
      return new Promise(() => {});
    });
    const turn = new AbortController();
    const runner = createToolRunner([counted], { log });
    const cut = runner.run(counted, {}, { ...context, signal: turn.signal });
    await expect.poll(() => started).toBe(1);
    turn.abort(new Error('over'));
    await expect(cut).rejects.toThrow('over');
    await expect(runner.run(counted, {}, { ...context, signal: turn.signal })).rejects.toThrow('over');
    expect(started).toBe(1);
  });
});
