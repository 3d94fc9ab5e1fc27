import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readFileTool } from '../../src/tools/read_file.ts';
import { makeRoots } from '../support/rooted.ts';
import { toolContext } from '../support/tool_context.ts';

const { folder, roots, inside } = makeRoots();
const read = readFileTool(roots);
const context = toolContext();

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
    writeFileSync(inside('picture.png'), Buffer.from([0x89, 0x50, 0, 0, 1]));
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
        writeFileSync(inside('paged.txt'), content);
        const got = await pages('paged.txt', limit);
        expect(got.map((page) => page.text).join('')).toBe(content);
      }),
      { numRuns: 200 },
    );
  });

  it('hold 50 KB', async () => {
    writeFileSync(inside('large.txt'), 'ü'.repeat(60_000));
    const got = await pages('large.txt');
    expect(got.map((page) => Buffer.byteLength(page.text))).toEqual([51_200, 51_200, 17_600]);
    expect(got[0]?.size).toBe(120_000);
  });

  it('begin at the next character when asked for the middle of one', async () => {
    writeFileSync(inside('middle.txt'), '漢字');
    expect((await read.run({ path: 'middle.txt', offset: 1 }, context)).output).toMatchObject({ text: '字' });
  });

  it('come to an end also in a file that is not UTF-8', async () => {
    writeFileSync(inside('latin1.txt'), Buffer.from('\xe4\xf6\xfc\xff\xff\x80\x80\x80\x80', 'latin1'));
    expect((await pages('latin1.txt', 1)).length).toBeGreaterThan(0);
  });
});
