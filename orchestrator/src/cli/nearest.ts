/** Further apart than this, two names are not a typing error. */
const MAX_DISTANCE = 3;

/** The name of `names` that `word` was probably meant to be; null when none is near. */
export function nearest(word: string, names: readonly string[]): string | null {
  const ranked = (word === '' ? [] : names)
    .map((name) => ({ name, distance: name.startsWith(word) ? 0 : distance(word, name) }))
    .sort((a, b) => a.distance - b.distance);
  const best = ranked[0];
  return best !== undefined && best.distance <= Math.min(MAX_DISTANCE, word.length / 2) ? best.name : null;
}

/** Characters to insert, remove or replace in order to make `b` of `a`. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (const [i, from] of [...a].entries()) {
    const next = [i + 1];
    for (const [j, to] of [...b].entries()) {
      const [above = 0, left = 0, corner = 0] = [row[j + 1], next[j], row[j]];
      next.push(Math.min(above + 1, left + 1, corner + (from === to ? 0 : 1)));
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}
