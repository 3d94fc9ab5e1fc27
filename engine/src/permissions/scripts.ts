/**
 * Which small programs for awk and sed only read and print. Both can run commands and write files; both are in every
 * second pipeline. So these are read just far enough to say "nothing but text"; anything else is code like any other.
 */
import { isMarked } from './words.ts';

/** Prints, and neither runs, writes to, reads from, nor loads anything. */
export function isHarmlessAwk(program: string): boolean {
  if (isMarked(program)) return false;
  const text = program.replace(/"(?:[^"\\]|\\.)*"/gsu, '""').replace(/\/(?:[^/\\\n]|\\.)*\//gu, '//');
  if (/system|getline|@|\bclose\b|fflush/u.test(text)) return false;
  // `||` compares, `|` runs.
  if (/(^|[^|])\|([^|]|$)/u.test(text)) return false;
  // `>` after a print writes to a file.
  return !/print[^;}\n]*>/u.test(text);
}

/** Address, then a command that only edits what goes through. */
const ADDRESS = String.raw`(?:\d+|\$|\d*~\d+|\/(?:[^/\\\n]|\\.)*\/I?|\\%(?:[^%\\\n]|\\.)*%)`;
const EDITS = new RegExp(
  String.raw`^\s*(?:${ADDRESS}(?:\s*,\s*(?:${ADDRESS}|[+~]\d+))?\s*!?\s*)?(?:[=dDgGhHnNpPxqQlz]\s*\d*|[bt:]\s*\w*|[aic]\\?\s*.*|y(.)(?:[^\\]|\\.)*?\1(?:[^\\]|\\.)*?\1|s([^\s\\\w])(?:(?!\2)[^\\]|\\.)*\2(?:(?!\2)[^\\]|\\.)*\2[gpiIMm\d]*|\{|\}|)\s*$`,
  'su',
);

/** Edits what goes through it; files are changed by `-i` only. */
export function isHarmlessSed(script: string): boolean {
  if (isMarked(script) || script.length > 2_000) return false;
  return commandsOf(script).every((command) => EDITS.test(command));
}

/** At newlines, `;`, and braces that stand outside of what is replaced. */
function commandsOf(script: string): string[] {
  const commands: string[] = [];
  let rest = script;
  while (rest !== '') {
    const one = new RegExp(
      String.raw`^\s*(?:${ADDRESS}(?:\s*,\s*(?:${ADDRESS}|[+~]\d+))?\s*!?\s*)?(?:s([^\s\\\w])(?:(?!\1)[^\\]|\\.)*\1(?:(?!\1)[^\\]|\\.)*\1[a-zA-Z\d]*|[aic]\\?[^\n]*|[^;\n{}]*[{}]?)`,
      'su',
    ).exec(rest)?.[0];
    if (one === undefined || one === '') {
      if (!/^[;\n{}]/u.test(rest)) return [rest];
      rest = rest.slice(1);
      continue;
    }
    commands.push(one.replace(/\{$/u, ''));
    rest = rest.slice(one.length).replace(/^[ \t]*[;\n]/u, '');
  }
  return commands;
}
