import { mkdirSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { findTool } from '../../src/tools/find.ts';
import { fits } from '../../src/tools/wildcard.ts';
import { makeRoots, WAYS_OUT_TO_READ } from '../support/rooted.ts';
import { toolContext } from '../support/tool_context.ts';

const { folder, roots, inside } = makeRoots();
const find = findTool(roots);
const context = toolContext();

type Found = { paths: string[]; truncated: boolean; note?: string };

async function found(input: Record<string, unknown>): Promise<Found> {
  const { output, error } = await find.run(input, context);
  expect(error).toBeUndefined();
  return output as Found;
}

/** Names below the folder `tree`. */
const names = async (input: Record<string, unknown>) =>
  (await found({ path: 'tree', ...input })).paths.map((path) => path.slice(inside('tree/').length));

beforeAll(() => {
  mkdirSync(inside('tree/.hidden/deep'), { recursive: true });
  for (const [name, size] of Object.entries({
    'a.ts': 10,
    'b.test.ts': 100,
    '.hidden/c.ts': 1,
    '.hidden/deep/d.md': 0,
  })) {
    writeFileSync(inside(`tree/${name}`), 'x'.repeat(size));
  }
  utimesSync(inside('tree/a.ts'), 0, new Date('2020-05-05T12:00:00Z'));
  symlinkSync('.hidden', inside('tree/link'));
  symlinkSync(join(folder, 'outside'), inside('tree/out'));
});

describe('find', () => {
  it('sees everything below, sorted, and follows no link', async () => {
    expect(await names({})).toEqual([
      '.hidden',
      '.hidden/c.ts',
      '.hidden/deep',
      '.hidden/deep/d.md',
      'a.ts',
      'b.test.ts',
      'link',
      'out',
    ]);
  });

  it.each([
    [{ name: '*.ts' }, ['.hidden/c.ts', 'a.ts', 'b.test.ts']],
    [{ name: '?.ts' }, ['.hidden/c.ts', 'a.ts']],
    [{ type: 'folder' }, ['.hidden', '.hidden/deep']],
    [{ type: 'link' }, ['link', 'out']],
    [{ min_size: 10 }, ['a.ts', 'b.test.ts']],
    [{ max_size: 1 }, ['.hidden/c.ts', '.hidden/deep/d.md']],
    [{ min_size: 10, max_size: 99, name: '*.ts' }, ['a.ts']],
    [{ modified_since: '2020-05-06', name: '*.ts' }, ['.hidden/c.ts', 'b.test.ts']],
    [{ modified_since: '2020-05-05T14:00:00+02:00', name: 'a*' }, ['a.ts']],
    [{ modified_since: '2020-05-05T12:00:01Z', name: 'a*' }, []],
  ])('%j', async (input, expected) => {
    expect(await names(input)).toEqual(expected);
  });

  it.each([
    [{ path: 'in.txt' }, 'invalid_input'],
    [{ path: 'pipe' }, 'invalid_input'],
    [{ path: 'absent' }, 'not_found'],
    [{ path: 'sub', modified_since: 'yesterday' }, 'invalid_input'],
    [{ path: 'sub', type: 'directory' }, 'invalid_input'],
    [{ path: 'sub', min_size: -1 }, 'invalid_input'],
    [{}, 'invalid_input'],
  ])('%j: %s', async (input, error) => {
    expect((await find.run(input, context)).error).toBe(error);
  });

  it.each(WAYS_OUT_TO_READ)('never looks into %s', async (path) => {
    expect((await find.run({ path }, context)).error).toBe('permission_denied');
  });

  it('does not know the brain', async () => {
    const { paths } = await found({ path: join(folder, 'second') });
    expect(paths).toEqual([join(folder, 'second', 'two.txt')]);
  });

  it('stops at 1,000 paths and says so', async () => {
    mkdirSync(inside('many'));
    for (let index = 0; index < 1_001; index++) writeFileSync(inside(`many/${index}`), '');
    const { paths, truncated, note } = await found({ path: 'many' });
    expect([paths.length, truncated, note]).toEqual([1_000, true, expect.stringContaining('first 1000')]);
    expect((await found({ path: 'many', name: '1*' })).truncated).toBe(false);
  });

  it('stops at so many bytes of paths', async () => {
    const long = join('long', 'l'.repeat(250), 'l'.repeat(250), 'l'.repeat(250));
    mkdirSync(inside(long), { recursive: true });
    for (let index = 0; index < 200; index++) writeFileSync(inside(join(long, `${index}`)), '');
    const { paths, truncated } = await found({ path: 'long' });
    expect(truncated).toBe(true);
    expect(Buffer.byteLength(paths.join(''))).toBeLessThanOrEqual(100 * 1024);
  });

  it('goes 64 folders deep and says when there is more', async () => {
    const deep = Array.from({ length: 70 }, () => 'd').join('/');
    mkdirSync(inside(`deep/${deep}`), { recursive: true });
    const { paths, truncated, note } = await found({ path: 'deep' });
    expect([paths.length, truncated]).toEqual([64, true]);
    expect(note).toContain('deep');
  });

  it('ends with its turn', async () => {
    const ended = toolContext({ signal: AbortSignal.abort(new Error('over')) });
    await expect(find.run({ path: 'tree' }, ended)).rejects.toThrow('over');
  });
});

describe('a pattern', () => {
  const unit = fc.constantFrom('a', 'b', '*', '?');

  it('fits what the regular expression of the same meaning does', () => {
    const text = fc.string({ unit: fc.constantFrom('a', 'b'), maxLength: 8 });
    fc.assert(
      fc.property(fc.string({ unit, maxLength: 6 }), text, (pattern, name) => {
        const same = new RegExp(`^${pattern.replaceAll('*', '.*').replaceAll('?', '.')}$`);
        expect(fits(pattern, name)).toBe(same.test(name));
      }),
      { numRuns: 1_000 },
    );
  });

  it('takes everything else literally, and does not go astray', () => {
    expect([fits('[a].ts', 'a.ts'), fits('[a].ts', '[a].ts'), fits('', '')]).toEqual([false, true, true]);
    expect(fits(`${'*a'.repeat(120)}*b`, 'a'.repeat(255))).toBe(false);
  });
});
