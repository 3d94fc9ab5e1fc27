/**
 * Text for people: aligned columns that fit the terminal. What products sent (user ids, names) is shown, so no
 * control character gets through: it could move the cursor or recolour what stands beside it.
 */

/** Narrower than this no column becomes, characters. */
const MIN_COLUMN = 8;
const GAP = '  ';

/** A table with a line of names above; too wide for `width`, the widest columns are cut short, shown by an ellipsis. */
export function table(head: string[], rows: unknown[][], width: number): string {
  const cells = [head, ...rows.map((row) => row.map(shown))];
  const widths = head.map((_, column) => Math.max(...cells.map((row) => lengthOf(row[column] ?? ''))));
  const total = () => widths.reduce((sum, one) => sum + one, GAP.length * (widths.length - 1));
  while (total() > width) {
    const widest = widths.indexOf(Math.max(...widths));
    const now = widths[widest] ?? 0;
    if (now <= MIN_COLUMN) break;
    widths[widest] = Math.max(MIN_COLUMN, now - (total() - width));
  }
  return cells
    .map((row) =>
      row
        .map((cell, column) => fit(cell, widths[column] ?? 0))
        .join(GAP)
        .trimEnd(),
    )
    .join('\n');
}

/** Name and meaning, side by side, indented. */
export function columns(rows: string[][]): string {
  const width = Math.max(...rows.map(([name = '']) => name.length));
  return rows.map(([name = '', meaning]) => `  ${name.padEnd(width)}${GAP}${meaning}`).join('\n');
}

/** Facts of one thing, one a line; what is null or absent is left out. */
export function facts(pairs: Record<string, unknown>): string {
  const there = Object.entries(pairs).filter(([, value]) => value !== null && value !== undefined);
  const width = Math.max(0, ...there.map(([name]) => name.length));
  return there.map(([name, value]) => `${name.padEnd(width)}${GAP}${shown(value)}`).join('\n');
}

/** A value as one line without control characters. */
export function shown(value: unknown): string {
  if (value === null || value === undefined) return '-';
  const text = typeof value === 'object' ? JSON.stringify(value) : String(value);
  return text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, (character) => {
    const code = character.codePointAt(0) ?? 0;
    return `\\u{${code.toString(16)}}`;
  });
}

const lengthOf = (text: string) => [...text].length;

function fit(text: string, width: number): string {
  const characters = [...text];
  if (characters.length > width) return `${characters.slice(0, width - 1).join('')}…`;
  return text + ' '.repeat(width - characters.length);
}
