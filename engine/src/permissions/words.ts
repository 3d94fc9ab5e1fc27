/**
 * What the words of a command become before a program sees them: quotes off, variables in, braces multiplied.
 *
 * The grammar says where a word begins and ends, and where an expansion stands inside; the text between is read here,
 * by bash's rules. `r\m`, `$'\x72m'`, `"r"m` and `{rm,-rf}` are what bash makes of them. Where the two disagree, on
 * where a word ends or whether something is an expansion, the word is not understood, so an error of the grammar
 * cannot hide a command. What nobody can know before it runs stands in the word as a mark. Source: engine-runtime,
 * "Permissions"; the Bash manual, "Shell Expansions".
 */
import { NotUnderstood } from './grammar.ts';

/** Text after all expansions. A mark stands for what is not known; the characters are of Unicode's private use. */
export type Word = string;

/** Part of one name: what a glob or a number may become. Never a `/`. */
export const SOME = '\uE000';
/** Any text, in any number of words. */
export const WORDS = '\uE001';
/** Any text, in one word. */
export const TEXT = '\uE002';
/** The path of anything below the folder before it. */
export const BELOW = '\uE003';

const MARKS = /[\uE000-\uE003]/u;
const UNKNOWN = /[\uE001\uE002]/u;

/** Whether there is any mark in it. */
export const isMarked = (word: Word) => MARKS.test(word);
/** Whether nothing can be said about where it leads. */
export const isUnknown = (word: Word) => UNKNOWN.test(word);
/** Whether it may be more or fewer words than one. */
export const mayBeMore = (word: Word) => word.includes(WORDS);
/** For people: marks as `…`. */
export const shown = (word: Word) => word.replace(/[\uE000-\uE003]+/gu, '…');

/** What an expansion becomes: one of these. `end`: where it ends in the text. */
export type Expansion = { end: number; values: Word[] };

/** One character as written, or an expansion. An empty character keeps an empty pair of quotes a word. */
type Piece = { char: string; quoted: boolean } | { values: Word[]; quoted: boolean };

/** A word may become so many, and have so many readings. */
const MAX_WORDS = 256;

/**
 * Readings of the word at `from` to `to`, each the words it becomes. More than one where a variable may have several
 * values. `expansionAt`: what the grammar found at a place.
 * @throws NotUnderstood
 */
export function expand(
  source: string,
  from: number,
  to: number,
  expansionAt: (index: number) => Expansion | undefined,
): Word[][] {
  const pieces = readPieces(source, from, to, expansionAt);
  const words = braces(withTilde(pieces));
  let readings: Word[][] = [[]];
  for (const word of words) {
    const alternatives = choose(word).map(split);
    readings = readings.flatMap((reading) => alternatives.map((more) => [...reading, ...more]));
    if (readings.length > MAX_WORDS) throw new NotUnderstood('too many possible readings');
  }
  return readings;
}

/** The one text that a word is where it is neither split nor globbed: a value, the end of a redirection. */
export function expandOne(
  source: string,
  from: number,
  to: number,
  expansionAt: (index: number) => Expansion | undefined,
): Word[] {
  const pieces = withTilde(readPieces(source, from, to, expansionAt));
  return choose(pieces).map((chosen) => chosen.map(({ text }) => text.replaceAll(WORDS, TEXT)).join(''));
}

/** Text of a here-document whose end is not quoted: only expansions count there. */
export function expandText(
  source: string,
  from: number,
  to: number,
  expansionAt: (index: number) => Expansion | undefined,
): Word[] {
  const pieces: Piece[] = [];
  readDoubleQuoted(source, from, to, false, expansionAt, pieces);
  return choose(pieces).map((chosen) => chosen.map(({ text }) => text).join(''));
}

const BLANK_OR_OPERATOR = /[\s;|&<>()]/u;
/** Begins an expansion when it follows `$`. */
const AFTER_DOLLAR = /[\w{(@*#?$!\-[]/u;

function readPieces(
  source: string,
  from: number,
  to: number,
  expansionAt: (index: number) => Expansion | undefined,
): Piece[] {
  const pieces: Piece[] = [];
  let at = from;
  while (at < to) {
    const char = source.charAt(at);
    if (MARKS.test(char)) throw new NotUnderstood('characters that have no meaning');
    const expansion = expansionAt(at);
    if (expansion !== undefined) {
      pieces.push({ values: expansion.values, quoted: false });
      at = expansion.end;
    } else if (char === '\\') {
      const next = source.charAt(at + 1);
      if (next !== '\n') pieces.push({ char: next, quoted: true });
      at += 2;
    } else if (char === "'") {
      const end = source.indexOf("'", at + 1);
      if (end < 0 || end >= to) throw new NotUnderstood('a quote without its end');
      pushQuoted(source.slice(at + 1, end), pieces);
      at = end + 1;
    } else if (char === '$' && source.charAt(at + 1) === "'") {
      at = readAnsiC(source, at + 2, to, pieces);
    } else if (char === '"' || (char === '$' && source.charAt(at + 1) === '"')) {
      pieces.push({ char: '', quoted: true });
      at = readDoubleQuoted(source, at + (char === '$' ? 2 : 1), to, true, expansionAt, pieces);
    } else if (char === '`' || (char === '$' && AFTER_DOLLAR.test(source.charAt(at + 1)))) {
      throw new NotUnderstood('an expansion that cannot be read');
    } else if (BLANK_OR_OPERATOR.test(char)) {
      throw new NotUnderstood('a word whose end is not clear');
    } else {
      pieces.push({ char, quoted: false });
      at++;
    }
  }
  if (at !== to) throw new NotUnderstood('a word whose end is not clear');
  return pieces;
}

function pushQuoted(text: string, pieces: Piece[]): void {
  if (MARKS.test(text)) throw new NotUnderstood('characters that have no meaning');
  pieces.push({ char: '', quoted: true });
  for (const char of text) pieces.push({ char, quoted: true });
}

/** @returns the place behind the closing quote. */
function readDoubleQuoted(
  source: string,
  from: number,
  to: number,
  ends_with_quote: boolean,
  expansionAt: (index: number) => Expansion | undefined,
  pieces: Piece[],
): number {
  let at = from;
  while (at < to) {
    const char = source.charAt(at);
    if (MARKS.test(char)) throw new NotUnderstood('characters that have no meaning');
    const next = source.charAt(at + 1);
    const expansion = expansionAt(at);
    if (expansion !== undefined) {
      pieces.push({ values: expansion.values, quoted: true });
      at = expansion.end;
    } else if (char === '"' && ends_with_quote) {
      return at + 1;
    } else if (char === '\\' && '$`"\\\n'.includes(next) && next !== '') {
      if (next !== '\n') pieces.push({ char: next, quoted: true });
      at += 2;
    } else if (char === '`' || (char === '$' && AFTER_DOLLAR.test(next))) {
      throw new NotUnderstood('an expansion that cannot be read');
    } else {
      pieces.push({ char, quoted: true });
      at++;
    }
  }
  if (ends_with_quote || at !== to) throw new NotUnderstood('a quote without its end');
  return at;
}

const ESCAPES: Record<string, string> = {
  a: '\x07',
  b: '\b',
  e: '\x1b',
  E: '\x1b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
};

/** `$'…'`. @returns the place behind the closing quote. */
function readAnsiC(source: string, from: number, to: number, pieces: Piece[]): number {
  let text = '';
  let at = from;
  while (at < to) {
    const char = source.charAt(at);
    if (char === "'") {
      pushQuoted(text, pieces);
      return at + 1;
    }
    if (char !== '\\') {
      text += char;
      at++;
      continue;
    }
    const coded =
      /^(?:([0-7]{1,3})|x([\da-fA-F]{1,2})|u([\da-fA-F]{1,4})|U([\da-fA-F]{1,8})|c(.))/u.exec(
        source.slice(at + 1, at + 12),
      ) ?? undefined;
    if (coded === undefined) {
      const next = source.charAt(at + 1);
      text += ESCAPES[next] ?? ('\\\'"?'.includes(next) ? next : `\\${next}`);
      at += 2;
      continue;
    }
    const [all, octal, hex, short, long, control] = coded;
    if (control !== undefined) text += String.fromCodePoint(control.charCodeAt(0) & 0x1f);
    else {
      const code =
        octal === undefined ? Number.parseInt(hex ?? short ?? long ?? '', 16) : Number.parseInt(octal, 8);
      // A byte above 127 is a part of a character that only bash puts together, and NUL would end the word there.
      if (code === 0 || code > 0x10ffff || (code > 127 && (octal ?? hex) !== undefined)) {
        throw new NotUnderstood('a character that cannot be read');
      }
      text += String.fromCodePoint(code);
    }
    at += 1 + all.length;
  }
  throw new NotUnderstood('a quote without its end');
}

/** Where `~` leads is not known here. */
function withTilde(pieces: Piece[]): Piece[] {
  const [first] = pieces;
  if (first === undefined || !isPlain(first, '~')) return pieces;
  const end = pieces.findIndex((piece) => isPlain(piece, '/'));
  const rest = end < 0 ? [] : pieces.slice(end);
  return [{ values: [TEXT], quoted: true }, ...rest];
}

const isPlain = (piece: Piece | undefined, char: string) =>
  piece !== undefined && 'char' in piece && !piece.quoted && piece.char === char;

/** `a{b,c}d` as `abd` and `acd`; `{1..3}` as three. Before everything else, as bash does it. */
function braces(pieces: Piece[]): Piece[][] {
  for (let open = 0; open < pieces.length; open++) {
    if (!isPlain(pieces[open], '{')) continue;
    const found = alternativesAt(pieces, open);
    if (found === undefined) continue;
    const before = pieces.slice(0, open);
    const ends = braces(pieces.slice(found.end));
    const words = found.alternatives
      .flatMap(braces)
      .flatMap((middle) => ends.map((end) => [...before, ...middle, ...end]));
    if (words.length > MAX_WORDS) throw new NotUnderstood('too many words in braces');
    return words;
  }
  return [pieces];
}

function alternativesAt(pieces: Piece[], open: number): { end: number; alternatives: Piece[][] } | undefined {
  const alternatives: Piece[][] = [];
  let depth = 0;
  let from = open + 1;
  for (let at = open; at < pieces.length; at++) {
    if (isPlain(pieces[at], '{')) depth++;
    else if (isPlain(pieces[at], ',') && depth === 1) {
      alternatives.push(pieces.slice(from, at));
      from = at + 1;
    } else if (isPlain(pieces[at], '}') && --depth === 0) {
      alternatives.push(pieces.slice(from, at));
      if (alternatives.length > 1) return { end: at + 1, alternatives };
      const sequence = sequenceOf(pieces.slice(open + 1, at));
      return sequence === undefined ? undefined : { end: at + 1, alternatives: sequence };
    }
  }
  return undefined;
}

function sequenceOf(pieces: Piece[]): Piece[][] | undefined {
  const text = pieces.map((piece) => ('char' in piece && !piece.quoted ? piece.char : '\0')).join('');
  const [, first, last] =
    /^(-?\d{1,9}|[a-zA-Z])\.\.(-?\d{1,9}|[a-zA-Z])(?:\.\.-?\d{1,9})?$/u.exec(text) ?? [];
  if (first === undefined || last === undefined) return undefined;
  // Every one of a long row is as harmless, or not, as any: letters and digits, no slash.
  return [[{ values: [SOME], quoted: true }]];
}

type Chosen = { text: string; quoted: boolean };

/** Every way to give each expansion one of its values. */
function choose(pieces: Piece[]): Chosen[][] {
  let ways: Chosen[][] = [[]];
  for (const piece of pieces) {
    if ('char' in piece) {
      for (const way of ways) way.push({ text: piece.char, quoted: piece.quoted });
      continue;
    }
    const texts = piece.values.map((value) => (piece.quoted ? value.replaceAll(WORDS, TEXT) : value));
    ways = texts.flatMap((text) => ways.map((way) => [...way, { text, quoted: piece.quoted }]));
    if (ways.length > MAX_WORDS) throw new NotUnderstood('too many possible readings');
  }
  return ways;
}

/** Splits what came out of unquoted expansions, and marks what is a pattern. */
function split(chosen: Chosen[]): Word[] {
  const words: Word[] = [];
  let word: string | undefined;
  for (const { text, quoted } of chosen) {
    if (quoted) {
      word = (word ?? '') + text;
      continue;
    }
    const [first = '', ...rest] = text.split(/[ \t\n]+/u);
    if (first !== '') word = (word ?? '') + first.replace(/[*?[]/gu, SOME);
    for (const part of rest) {
      if (word !== undefined) words.push(word);
      word = part === '' ? undefined : part.replace(/[*?[]/gu, SOME);
    }
  }
  if (word !== undefined) words.push(word);
  return words;
}
