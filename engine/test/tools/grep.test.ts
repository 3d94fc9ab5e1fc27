import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { grepTool } from '../../src/tools/grep.ts';
import { makeRoots, WAYS_OUT_TO_READ } from '../support/rooted.ts';
import { toolContext } from '../support/tool_context.ts';

const { folder, roots, inside } = makeRoots();
const grep = grepTool(roots);
const context = toolContext();

type Found = { matches: { path: string; line: number; text: string }[]; truncated: boolean; note?: string };

async function found(input: Record<string, unknown>): Promise<Found> {
  const { output, error } = await grep.run({ path: 'tree', ...input }, context);
  expect(error, String(output)).toBeUndefined();
  return output as Found;
}

/** What was found below the folder `tree`, as grep would print it. */
const lines = async (input: Record<string, unknown>) =>
  (await found(input)).matches.map(
    ({ path, line, text }) => `${path.slice(inside('tree/').length)}:${line}:${text}`,
  );

beforeAll(() => {
  mkdirSync(inside('tree/.hidden'), { recursive: true });
  mkdirSync(inside('tree/.git'));
  mkdirSync(inside('tree/built'));
  const files: Record<string, string> = {
    'a.ts': 'const needle = 1;\r\n// nothing\nneedle: x:y\n',
    'b.md': 'Needle',
    '.hidden/c.md': 'a needle',
    '.git/config': 'needle',
    'built/d.ts': 'needle',
    '.gitignore': 'built\n',
    'two\nlines.md': 'needle',
    'binary.bin': 'needle\n\0needle\n',
  };
  for (const [name, text] of Object.entries(files)) writeFileSync(inside(`tree/${name}`), text);
  symlinkSync(join(folder, 'outside'), inside('tree/out'));
  symlinkSync(join(folder, 'outside', 'secret.txt'), inside('tree/secret-link'));
  writeFileSync(inside('.gitignore'), '*.md\n');
});

describe('grep', () => {
  it('finds lines with their place, hidden files too, not what .gitignore names', async () => {
    expect(await lines({ pattern: 'needle' })).toEqual([
      '.hidden/c.md:1:a needle',
      'a.ts:1:const needle = 1;\r',
      'a.ts:3:needle: x:y',
    ]);
    expect(await lines({ pattern: 'needle', path: 'tree/built' })).toEqual(['built/d.ts:1:needle']);
  });

  it('takes a glob and the case', async () => {
    expect(await lines({ pattern: '^NEEDLE', case_insensitive: true, glob: '*.md' })).toEqual([
      'b.md:1:Needle',
    ]);
    expect(await lines({ pattern: 'needle', glob: '!*.ts' })).toEqual(['.hidden/c.md:1:a needle']);
  });

  it('looks into one file', async () => {
    expect(await lines({ pattern: 'n.thing', path: 'tree/a.ts' })).toEqual(['a.ts:2:// nothing']);
    expect(await lines({ pattern: 'needle', path: 'tree/built/d.ts' })).toEqual(['built/d.ts:1:needle']);
    const { matches, note } = await found({ pattern: 'needle', path: 'tree/binary.bin' });
    expect([matches.length < 2, note]).toEqual([true, expect.stringContaining('not text')]);
  });

  it('finds nothing without that being an error', async () => {
    expect(await found({ pattern: 'absent from everywhere' })).toEqual({ matches: [], truncated: false });
  });

  it('follows no link out, and does not know the brain', async () => {
    expect(await lines({ pattern: 'secret' })).toEqual([]);
    const { matches } = await found({ pattern: '.', path: join(folder, 'second') });
    expect(matches).toEqual([{ path: join(folder, 'second', 'two.txt'), line: 1, text: 'second' }]);
  });

  it.each(WAYS_OUT_TO_READ)('never looks into %s', async (path) => {
    expect((await grep.run({ pattern: '.', path }, context)).error).toBe('permission_denied');
  });

  it.each([
    [{ pattern: '(', path: 'tree' }, 'unclosed group'],
    [{ pattern: 'a\\nb', path: 'tree' }, 'not allowed'],
    [{ pattern: 'a', path: 'tree', glob: '[' }, 'glob'],
    [{ pattern: '(a{1000}){1000}{1000}', path: 'tree' }, 'size'],
    [{ pattern: 'a\0b', path: 'tree' }, 'NUL'],
    [{ pattern: '', path: 'tree' }, 'pattern'],
    [{ pattern: 'a', path: 'pipe' }, 'neither a file nor a folder'],
    [{ pattern: 'a' }, 'path'],
  ])('%j: invalid_input', async (input, said) => {
    const { error, output } = await grep.run(input, context);
    expect([error, output]).toEqual(['invalid_input', expect.stringContaining(said)]);
  });

  it.each(['--files', '-f/etc/passwd', '--pre=sh', '--', '-'])(
    '%s is a pattern, not an option',
    async (pattern) => {
      writeFileSync(inside('options.txt'), `${pattern}\n`);
      expect((await found({ pattern, path: 'options.txt', glob: '--pre=sh' })).matches).toMatchObject([
        { text: pattern },
      ]);
    },
  );

  it('stops at 100 lines and says so', async () => {
    writeFileSync(inside('many.txt'), 'x\n'.repeat(101));
    const { matches, truncated, note } = await found({ pattern: 'x', path: 'many.txt' });
    expect([matches.length, truncated, note]).toEqual([100, true, expect.stringContaining('first 100')]);
    writeFileSync(inside('many.txt'), 'x\n'.repeat(100));
    expect(await found({ pattern: 'x', path: 'many.txt' })).toMatchObject({ truncated: false });
  });

  it('cuts long lines, and stops at so many bytes', async () => {
    writeFileSync(inside('wide.txt'), `${'ü'.repeat(100_000)}\n`.repeat(200));
    const { matches, truncated } = await found({ pattern: 'ü', path: 'wide.txt' });
    expect(truncated).toBe(true);
    expect(Buffer.byteLength(JSON.stringify(matches))).toBeLessThan(100 * 1024);
  });

  it('ends with its turn', async () => {
    const turn = new AbortController();
    const running = grep.run({ pattern: 'x', path: 'tree' }, toolContext({ signal: turn.signal }));
    turn.abort(new Error('over'));
    await expect(running).rejects.toThrow('over');
  });
});
