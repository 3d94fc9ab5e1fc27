import { mkdirSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { fileSearchTool } from '../../src/tools/file_search.ts';
import { readFileTool } from '../../src/tools/read_file.ts';
import { makeRoots, WAYS_OUT_TO_READ } from '../support/rooted.ts';
import { toolContext } from '../support/tool_context.ts';

const { folder, roots, inside } = makeRoots();
const search = fileSearchTool(roots);
const context = toolContext();

type Result = { path: string; line: number; offset: number; score: number; snippet: string };
type Found = { results: Result[]; files_searched: number; truncated: boolean; note?: string };

async function found(query: string, input: Record<string, unknown> = {}): Promise<Found> {
  const { output, error } = await search.run({ query, path: 'tree', ...input }, context);
  expect(error, String(output)).toBeUndefined();
  return output as Found;
}

const names = async (query: string) =>
  (await found(query)).results.map(({ path }) => path.slice(inside('tree/').length));

const filler = (words: string, lines: number) => `${words} and so on\n`.repeat(lines);

beforeAll(() => {
  mkdirSync(inside('tree/docs'), { recursive: true });
  mkdirSync(inside('tree/built'));
  const files: Record<string, string | Buffer> = {
    'docs/sessions.md': `${filler('the weather is fine', 400)}A session ends after thirty minutes.\n${filler('rain', 400)}`,
    'docs/invoice_2024.md': 'Paid in March.',
    'docs/long.md': filler('the session of the parliament', 2_000),
    'docs/retry.md': 'Requests are retried three times with growing delays.',
    'readConfigFile.ts': 'export {};',
    'old.txt': Buffer.from('Der Schl\xfcssel liegt unter der Matte.', 'latin1'),
    'binary.bin': 'session timeout minutes\0',
    'built/generated.md': 'session ends minutes thirty',
    '.gitignore': 'built/\n',
    '.notes.md': 'Hidden thoughts.',
  };
  for (const [name, text] of Object.entries(files)) writeFileSync(inside(`tree/${name}`), text);
  symlinkSync(join(folder, 'outside', 'secret.txt'), inside('tree/link.txt'));
});

describe('file_search', () => {
  it('puts first what says the rare words, and gives the place', async () => {
    const { results, files_searched, truncated } = await found('when does a session end, minutes?');
    expect(results[0]).toMatchObject({ path: inside('tree/docs/sessions.md'), line: 400 });
    expect(results[0]?.snippet).toContain('A session ends after thirty minutes.');
    expect(results.map(({ score }) => score)).toEqual(
      results.map(({ score }) => score).sort((a, b) => b - a),
    );
    expect([files_searched, truncated]).toEqual([8, false]);
  });

  it('gives passages, not files, and at most three of one', async () => {
    const { results } = await found('parliament session', { limit: 20 });
    const of = (name: string) => results.filter(({ path }) => path.endsWith(name));
    expect(of('long.md').length).toBe(3);
    // One by what it says, one by the name of its file.
    expect(of('sessions.md').length).toBe(2);
    for (const { snippet } of results) expect(snippet.length).toBeLessThanOrEqual(1_000);
  });

  it('leads to the passage with read_file', async () => {
    const [best] = (await found('thirty minutes')).results;
    const page = await readFileTool(roots).run(
      { path: best?.path, offset: best?.offset, limit: 4_100 },
      context,
    );
    expect(page.output).toMatchObject({ text: expect.stringContaining('thirty minutes') });
  });

  it.each([
    ['the invoice of 2024', 'docs/invoice_2024.md'],
    ['read the config', 'readConfigFile.ts'],
    ['retry', 'docs/retry.md'],
    ['Schlussel', 'old.txt'],
    ['hidden thought', '.notes.md'],
  ])('%s: %s', async (query, name) => {
    expect((await names(query))[0]).toBe(name);
  });

  it('leaves out what is no text, what .gitignore names, and what links lead to', async () => {
    expect(await names('secret')).toEqual([]);
    for (const name of await names('session timeout thirty minutes'))
      expect(name).not.toMatch(/built|binary/);
    const brain = await found('brain second', { path: join(folder, 'second') });
    expect(brain.results.map(({ path }) => path)).toEqual([join(folder, 'second', 'two.txt')]);
  });

  it.each(['"', '*', 'NEAR(', 'a AND', '-x', 'path:x', '…', ' '])('%s is only words', async (query) => {
    expect((await found(query)).truncated).toBe(false);
  });

  it.each([
    [{ query: 'x', path: 'in.txt' }, 'invalid_input'],
    [{ query: 'x', path: 'absent' }, 'not_found'],
    [{ query: '', path: 'tree' }, 'invalid_input'],
    [{ query: 'x', path: 'tree', limit: 21 }, 'invalid_input'],
    [{ query: 'x' }, 'invalid_input'],
  ])('%j: %s', async (input, error) => {
    expect((await search.run(input, context)).error).toBe(error);
  });

  it.each(WAYS_OUT_TO_READ)('never looks into %s', async (path) => {
    expect((await search.run({ query: 'secret', path }, context)).error).toBe('permission_denied');
  });

  it('reads the beginning of a large file, and so many bytes in all', async () => {
    mkdirSync(inside('large'));
    const line = 'words that stand in the way\n';
    writeFileSync(inside('large/0.txt'), `needle\n${line.repeat(50_000)}haystack\n`);
    writeFileSync(inside('large/1.txt'), 'x');
    truncateSync(inside('large/1.txt'), 2 ** 30);
    const large = await found('needle haystack', { path: 'large' });
    expect(large.results.map(({ line }) => line)).toEqual([1]);
    expect([large.files_searched, large.truncated]).toEqual([1, false]);
    for (let index = 2; index < 40; index++) writeFileSync(inside(`large/${index}.txt`), line.repeat(40_000));
    const { truncated, note, files_searched } = await found('needle', { path: 'large' });
    expect([truncated, note, files_searched < 40]).toEqual([true, expect.stringContaining('bytes'), true]);
  });

  it('ends with its turn', async () => {
    const ended = toolContext({ signal: AbortSignal.abort(new Error('over')) });
    await expect(search.run({ query: 'x', path: 'tree' }, ended)).rejects.toThrow('over');
  });
});
