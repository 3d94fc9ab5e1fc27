/**
 * Whether a name fits a pattern with `*` and `?`. Pattern and names may both be hostile, and a regular expression made
 * of `*a*a*a*a` tries for hours on a name of many a's; this looks back at the last `*` only, so it takes at most
 * pattern times name.
 */
export function fits(pattern: string, name: string): boolean {
  let at = 0;
  let star: { pattern: number; name: number } | undefined;
  for (let index = 0; index < name.length; ) {
    const wanted = pattern[at];
    if (wanted === '*') {
      star = { pattern: at + 1, name: index };
      at++;
    } else if (wanted === '?' || wanted === name[index]) {
      at++;
      index++;
    } else if (star !== undefined) {
      // The last star takes one character more.
      star.name++;
      at = star.pattern;
      index = star.name;
    } else {
      return false;
    }
  }
  while (pattern[at] === '*') at++;
  return at === pattern.length;
}
