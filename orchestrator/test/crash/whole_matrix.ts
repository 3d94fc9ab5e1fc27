/** Every cell of the crash matrix; writes what came out into docs/reliability.md. Run by `npm run crash-matrix`. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, describe, it } from 'vitest';
import { CELLS, SCENARIOS } from './cells.ts';
import { runCell } from './run_cell.ts';

const PAGE = join(import.meta.dirname, '../../../docs/reliability.md');
const [BEGIN, END] = ['<!-- crash matrix: begin -->', '<!-- crash matrix: end -->'];

/** By scenario and point: how long it took, null where there was nothing to settle; absent: it failed. */
const results = new Map<string, number | null>();
let begun = 0;
const nameOf = (scenario: string, point: string) => `${scenario} × ${point}`;

describe('the crash matrix', () => {
  it.each(CELLS)('$scenario.name × $point', async (one) => {
    begun += 1;
    results.set(nameOf(one.scenario.name, one.point), await runCell(one));
  });
});

afterAll(async () => {
  // A run of some of the cells must not pass for the whole.
  if (begun < CELLS.length) return;
  const page = await readFile(PAGE, 'utf8');
  const [head, rest] = page.split(BEGIN);
  const tail = rest?.split(END)[1];
  if (head === undefined || tail === undefined) throw new Error(`${PAGE} has no place for the matrix`);
  await writeFile(PAGE, `${head}${BEGIN}\n\n${report()}\n${END}${tail}`);
});

function settleTimes() {
  const times = [...results.values()].filter((ms) => ms !== null).sort((a, b) => a - b);
  return { p50: times[Math.floor(times.length / 2)] ?? Infinity, max: times.at(-1) ?? Infinity };
}

function report(): string {
  const { p50, max } = settleTimes();
  const points = [...new Set(CELLS.map(({ point }) => point))];
  const names = SCENARIOS.map(({ name }) => name);
  const textOf = (name: string, point: string) => {
    if (!CELLS.some((one) => one.scenario.name === name && one.point === point)) return '';
    const ms = results.get(nameOf(name, point));
    if (ms === undefined) return '**failed**';
    return ms === null ? '✓' : String(Math.round(ms));
  };
  const rows = [
    ['point', ...names],
    ['---', ...names.map(() => '---:')],
    ...points.map((point) => [`\`${point}\``, ...names.map((name) => textOf(name, point))]),
  ];
  const total = `${results.size} of ${CELLS.length} cells green. Settled after ${Math.round(p50)} ms (median), ${Math.round(max)} ms at most.`;
  return `${total}\n\n${rows.map((row) => `| ${row.join(' | ')} |`).join('\n')}\n`;
}
