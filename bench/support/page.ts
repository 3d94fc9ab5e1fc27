/** docs/performance.md: words by people, and between two marks per benchmark what its last whole run measured. */
import { readFile, writeFile } from 'node:fs/promises';
import { availableParallelism, loadavg } from 'node:os';
import { quantile } from './measure.ts';

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

/** A machine that is busy with other things shows in every figure; so how busy it was stands beside them. */
export function machine(): string {
  return `${availableParallelism()} cores, shared by all processes; load average at the end ${loadavg()[1]?.toFixed(1)} (5 minutes).`;
}

/** Median over the rounds, and the least and the most. */
export function spread(values: number[], digits: number): string {
  const [least, middle, most] = [0, 0.5, 1].map((q) =>
    quantile(
      [...values].sort((a, b) => a - b),
      q,
    ).toFixed(digits),
  );
  return `${middle} (${least}–${most})`;
}
