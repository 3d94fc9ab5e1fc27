/**
 * A gigabyte in one file, and 100,000 files: what a tool answers stays small, and so does the memory it takes, which is
 * measured as the peak of a process of its own. How long it takes is not asserted, but all of it has to end well within
 * the test's time.
 */
import { execFile } from 'node:child_process';
import { closeSync, linkSync, mkdirSync, openSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, it } from 'vitest';
import { type Json, temporaryFolder } from '../support/engine.ts';

const GIGABYTE = 2 ** 30;
const FOLDERS = 100;
const FILES_EACH = 1_000;

/** A quarter of the file; a process of Node.js that only loads the tools takes a tenth. */
const MAX_PEAK = GIGABYTE / 4;

/** Files are made and calls run on a disk that others use too. */
const SETUP_MS = 180_000;

const MAX_ANSWER = 256 * 1024;

const MEASURED = fileURLToPath(new URL('../support/measured.ts', import.meta.url));
const folder = temporaryFolder();
const root = join(folder, 'workspace');
mkdirSync(root);
writeFileSync(join(folder, 'brain.sqlite'), '');

/** The outcomes of these calls, all made by one process, which stays below the peak. */
async function outcomesOf(calls: Record<string, [tool: string, input: unknown]>): Promise<Json> {
  const words = [MEASURED, folder, JSON.stringify(calls)];
  const { stdout } = await promisify(execFile)(process.execPath, words, { maxBuffer: 2 ** 24 });
  const { outcomes, peak_bytes } = JSON.parse(stdout);
  expect(peak_bytes).toBeLessThan(MAX_PEAK);
  for (const name of Object.keys(calls)) {
    expect(Buffer.byteLength(JSON.stringify(outcomes[name])), name).toBeLessThan(MAX_ANSWER);
  }
  return outcomes;
}

/** A file of so many bytes: this again and again, and `last` at its end. */
function fill(path: string, bytes: number, line: string, last: string): void {
  const block = Buffer.from(line.repeat(Math.ceil(2 ** 24 / line.length)));
  const file = openSync(path, 'w');
  for (let left = bytes; left > 0; left -= block.length)
    writeSync(file, block, 0, Math.min(left, block.length));
  writeSync(file, last);
  closeSync(file);
}

describe('a file of a gigabyte', () => {
  const last = '\nneedle at the very end\n';
  const offsets = [0, GIGABYTE / 2, GIGABYTE - 1_000, GIGABYTE];
  let outcomes: Json;

  beforeAll(async () => {
    fill(join(root, 'text.log'), GIGABYTE, 'the quick brown fox jumps over the lazy dog, and so on\n', last);
    fill(join(root, 'line.json'), 300 * 2 ** 20, 'x', 'needle\n');
    writeFileSync(join(root, 'sparse.bin'), 'needle\n');
    truncateSync(join(root, 'sparse.bin'), GIGABYTE);
    outcomes = await outcomesOf({
      needle: ['grep', { pattern: 'needle', path: 'text.log' }],
      every_line: ['grep', { pattern: 'fox', path: 'text.log' }],
      sparse: ['grep', { pattern: 'absent', path: 'sparse.bin' }],
      one_line: ['grep', { pattern: 'needle', path: 'line.json' }],
      ...Object.fromEntries(offsets.map((offset) => [offset, ['read_file', { path: 'text.log', offset }]])),
      no_text: ['read_file', { path: 'sparse.bin' }],
      edit: ['edit_file', { path: 'text.log', old_string: 'needle', new_string: 'x' }],
      search: ['file_search', { query: 'lazy fox', path: '.' }],
    });
  }, SETUP_MS);

  it('is looked through to its end by grep', () => {
    expect(outcomes.needle.output).toMatchObject({
      matches: [{ text: 'needle at the very end' }],
      truncated: false,
    });
  });

  it('in which every line matches gives 100', () => {
    const { matches, truncated } = outcomes.every_line.output;
    expect([matches.length, truncated]).toEqual([100, true]);
  });

  it('is read a page at a time, anywhere', () => {
    for (const offset of offsets) {
      const { text, size, next_offset } = outcomes[offset].output;
      expect(size).toBe(GIGABYTE + last.length);
      expect(Buffer.byteLength(text)).toBe(Math.min(50 * 1024, size - offset));
      expect(next_offset).toBe(offset + text.length === size ? null : offset + text.length);
    }
    expect(outcomes[GIGABYTE].output.text).toBe(last);
  });

  it('that is sparse is no text', () => {
    expect(outcomes.no_text.error).toBe('invalid_input');
    expect(outcomes.sparse.output.matches).toEqual([]);
  });

  it('is not edited', () => {
    expect(outcomes.edit.error).toBe('invalid_input');
  });

  it('whose lines are too long for the memory ripgrep may take is given up, and that is said', () => {
    const note = expect.stringContaining('line is too long');
    expect(outcomes.one_line.output).toEqual({ matches: [], truncated: true, note });
  });

  it('gives file_search its beginning', () => {
    const { files_searched, results } = outcomes.search.output;
    expect([files_searched, results.length]).toEqual([2, 3]);
  });
});

describe('a tree of 100,000 files', () => {
  let outcomes: Json;

  beforeAll(async () => {
    for (let index = 0; index < FOLDERS; index++) {
      const place = join(root, 'tree', `${index}`);
      mkdirSync(place, { recursive: true });
      writeFileSync(join(place, 'first.txt'), 'hay\n');
      writeFileSync(join(place, 'last.txt'), `needle ${index}\n`);
      for (let file = 2; file < FILES_EACH; file++)
        linkSync(join(place, 'first.txt'), join(place, `${file}.txt`));
    }
    outcomes = await outcomesOf({
      needle: ['grep', { pattern: 'needle 77', path: 'tree' }],
      every_file: ['grep', { pattern: 'hay', path: 'tree' }],
      by_name: ['find', { path: 'tree', name: 'last.txt', min_size: 9 }],
      all: ['find', { path: 'tree' }],
      list: ['list_files', { path: 'tree/0' }],
      search: ['file_search', { query: 'needle', path: 'tree' }],
    });
  }, SETUP_MS);

  it('is looked through by grep', () => {
    expect(outcomes.needle.output).toMatchObject({ matches: [{ text: 'needle 77' }], truncated: false });
    const { matches, truncated } = outcomes.every_file.output;
    expect([matches.length, truncated]).toEqual([100, true]);
  });

  it('is walked by find', () => {
    const { by_name, all } = outcomes;
    expect([by_name.output.paths.length, by_name.output.truncated]).toEqual([FOLDERS, false]);
    expect([all.output.paths.length, all.output.truncated]).toEqual([1_000, true]);
  });

  it('is more than file_search reads, which it says', () => {
    expect(outcomes.list.output.truncated).toBe(false);
    const { results, truncated, note } = outcomes.search.output;
    expect([results.length, truncated, note]).toEqual([10, true, expect.stringContaining('20000 files')]);
  });
});
