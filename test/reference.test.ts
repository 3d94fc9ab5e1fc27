import { readdir, readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { referencePages } from '../scripts/reference/pages.ts';

const FOLDER = new URL('../docs/reference/', import.meta.url);
const pages = referencePages();

describe('docs/reference', () => {
  it.each(Object.entries(pages))(
    '%s says what the program does; otherwise: npm run docs',
    async (file, text) => {
      expect(await readFile(new URL(file, FOLDER), 'utf8')).toBe(text);
    },
  );

  it('has no page that nobody makes', async () => {
    expect((await readdir(FOLDER)).sort()).toEqual(Object.keys(pages).sort());
  });

  it('has no path of the machine that made it', () => {
    const root = new URL('..', import.meta.url).pathname;
    for (const text of Object.values(pages)) expect(text).not.toContain(root);
  });

  it('links lead somewhere', () => {
    for (const text of Object.values(pages)) {
      for (const [, target] of text.matchAll(/\]\((\w+\.md)\)/g))
        expect(Object.keys(pages)).toContain(target);
    }
  });
});
