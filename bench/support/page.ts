/** docs/performance.md: words by people, and between two marks per benchmark what its last whole run measured. */
import { readFile, writeFile } from 'node:fs/promises';

const PAGE = new URL('../../docs/performance.md', import.meta.url);

export async function writeReport(name: string, text: string): Promise<void> {
  const [begin, end] = [`<!-- ${name}: begin -->`, `<!-- ${name}: end -->`];
  const page = await readFile(PAGE, 'utf8');
  const [head, rest] = page.split(begin);
  const tail = rest?.split(end)[1];
  if (head === undefined || tail === undefined)
    throw new Error(`docs/performance.md has no place for ${name}`);
  await writeFile(PAGE, `${head}${begin}\n\n${text}\n\n${end}${tail}`);
}
