/**
 * Takes secrets out of text, also out of text that comes in pieces.
 *
 * The problem: a model streams a key as `sk-a`, `nt-ap`, `i03…`; no piece is a secret, and what has been sent cannot be
 * called back. The rule: what a piece could be the beginning of is held back until it is decided, which takes one
 * character more than the longest secret at most, and the end of the block decides everything. Whole texts go the same
 * way, as one piece: so a text gives the same however it was cut. Source: engine-runtime, "Secret scanner and hooks".
 */
import { MAX_BEFORE, type Pattern } from './patterns.ts';

export type Scrubber = {
  /** The text with `[REDACTED:<kind>]` in the place of each secret; the very same string where there is none. */
  text(text: string): string;
  /** All strings of a JSON value, names of members included; the very same value where there is no secret. */
  value<Value>(value: Value): Value;
  /** Of a text that comes in pieces. */
  stream(): ScrubbedStream;
};

export type ScrubbedStream = {
  /** @returns what can be shown now; empty when all is held back. */
  push(piece: string): string;
  /** @returns what was held back: the text is over. */
  end(): string;
};

/** How what stands in the place of a secret begins. */
export const MARK = '[REDACTED:';

/** One way to be a secret. */
type Form = {
  kind: string;
  /** What stands before; sticky. */
  before: RegExp;
  /**
   * How much of the text from `at` on is the secret: 0 for none, `open` if what is there could still become one. `ends`:
   * of this text, for this function to remember how far it has looked.
   */
  measure(text: string, at: number, is_over: boolean, ends: Map<Form, number>): number | 'open';
};

/**
 * Of each value this much stays, and nothing is held back before: else a piece would end in the first letter of one or
 * another of them almost always.
 */
const KEPT_OF_VALUE = 3;

/** A shorter value is a word, not a key. */
export const MIN_VALUE = 8;

/** `values`: secrets that are known, such as the Engine's own keys. */
export function createScrubber(patterns: Pattern[], values: string[] = []): Scrubber {
  const forms = [
    ...values.filter((value) => value.length >= MIN_VALUE).flatMap(formsOfValue),
    ...patterns.map(formOfPattern),
  ];
  // Finds no place twice that begins nothing: one pass over a text that has no secret in it.
  const anywhere = new RegExp(forms.map(({ before }) => `(?:${before.source})`).join('|') || '(?!)', 'g');

  /** Places where a secret may begin, in order. */
  function begins(text: string, from: number): { at: number; form: Form }[] {
    const found: { at: number; form: Form }[] = [];
    anywhere.lastIndex = 0;
    for (let hit = anywhere.exec(text); hit !== null; hit = anywhere.exec(text)) {
      for (const form of forms) {
        form.before.lastIndex = hit.index;
        if (form.before.test(text) && form.before.lastIndex >= from) {
          found.push({ at: form.before.lastIndex, form });
        }
      }
      anywhere.lastIndex = hit.index + 1;
    }
    return found.sort((a, b) => a.at - b.at);
  }

  /** Scrubs `text` from `from` on; before that it was decided. @returns what can be shown, and from where the rest is open. */
  function scan(text: string, from: number, is_over: boolean): { shown: string; decided: number } {
    let shown = '';
    let decided = from;
    const ends = new Map<Form, number>();
    for (const { at, form } of begins(text, from)) {
      if (at < decided) continue;
      const length = form.measure(text, at, is_over, ends);
      if (length === 0) continue;
      shown += text.slice(decided, at);
      decided = at;
      if (length === 'open') return { shown, decided };
      shown += `${MARK}${form.kind}]`;
      decided += length;
    }
    return { shown: shown + text.slice(decided), decided: text.length };
  }

  function scrubText(text: string, before = ''): string {
    anywhere.lastIndex = 0;
    return anywhere.test(before + text) ? scan(before + text, before.length, true).shown : text;
  }

  /** `name`: of the member that holds it, as that tells what it is. */
  function scrubValue(value: unknown, name = ''): unknown {
    if (typeof value === 'string') return scrubText(value, name === '' ? '' : `${name.slice(-MAX_NAME)}:`);
    if (value === null || typeof value !== 'object') return value;
    if (Array.isArray(value)) {
      const items = value.map((item) => scrubValue(item, name));
      return items.some((item, index) => item !== value[index]) ? items : value;
    }
    const members = Object.entries(value);
    const scrubbed = members.map(([member, of]) => [scrubText(member), scrubValue(of, member)] as const);
    const is_same = scrubbed.every(([member, of], index) => {
      const [own, was] = members[index] ?? [];
      return member === own && of === was;
    });
    return is_same ? value : Object.fromEntries(scrubbed);
  }

  return {
    text: (text) => scrubText(text),
    value: (value) => scrubValue(value) as typeof value,

    stream() {
      /** The end of what was decided, as it came, and behind it what is held back. */
      let text = '';
      let decided = 0;
      const advance = (piece: string, is_over: boolean) => {
        text += piece;
        const scanned = scan(text, decided, is_over);
        const from = Math.max(0, scanned.decided - MAX_BEFORE);
        text = text.slice(from);
        decided = scanned.decided - from;
        return scanned.shown;
      };
      return { push: (piece) => advance(piece, false), end: () => advance('', true) };
    },
  };
}

/** Which kinds of secrets were taken out of a text, or of the strings of a JSON value, going by the marks in it. */
export function kindsIn(scrubbed: unknown): string[] {
  const marks = JSON.stringify(scrubbed).matchAll(/\[REDACTED:(\w+)\]/g);
  return [...new Set(Array.from(marks, ([, kind]) => String(kind)))];
}

/** Of a member's name: enough for every word that announces a secret. */
const MAX_NAME = 64;

function formOfPattern({ kind, before, chars, min, max, check }: Pattern): Form {
  const is_exact = min === max;
  const run = new RegExp(`${chars}*`, 'y');
  const form: Form = {
    kind,
    before: new RegExp(before, 'y'),
    measure(text, at, is_over, ends) {
      let end = ends.get(form) ?? 0;
      // Who writes `eyJ.eyJ.eyJ` for a megabyte must not have each of them looked at to its end.
      if (at >= end) {
        run.lastIndex = at;
        end = at + (run.exec(text)?.[0].length ?? 0);
        ends.set(form, end);
      }
      const length = end - at;
      if (end === text.length && length <= max && !is_over) return 'open';
      if (length < min || (is_exact && length > max)) return 0;
      const secret = text.slice(at, Math.min(end, at + max));
      return check?.(secret, text.charAt(at + secret.length)) === false ? 0 : secret.length;
    },
  };
  return form;
}

/** A known value in all the ways in which it is usually passed on. */
function formsOfValue(value: string): Form[] {
  const spellings = new Set([
    value,
    encodeURIComponent(value),
    JSON.stringify(value).slice(1, -1),
    Buffer.from(value).toString('hex'),
    ...inBase64(value),
  ]);
  return [...spellings].map((spelling) => {
    const rest = spelling.slice(KEPT_OF_VALUE);
    return {
      kind: 'engine_secret',
      before: new RegExp(spelling.slice(0, KEPT_OF_VALUE).replaceAll(/[^\w]/gu, escaped), 'y'),
      measure(text, at, is_over) {
        if (text.startsWith(rest, at)) return rest.length;
        const there = text.length - at;
        return there < rest.length && !is_over && rest.startsWith(text.slice(at)) ? 'open' : 0;
      },
    };
  });
}

const escaped = (character: string) =>
  [...character].map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`).join('');

/** As base64 has it, whatever stands before and behind it there: what does not depend on either, at each of the three places. */
function inBase64(value: string): string[] {
  return [0, 1, 2].flatMap((place) => {
    const bytes = Buffer.concat([Buffer.alloc(place), Buffer.from(value)]);
    const digits = bytes.toString('base64').replace(/=+$/, '');
    const own = digits.slice(place === 0 ? 0 : place + 1, bytes.length % 3 === 0 ? undefined : -1);
    return [own, own.replaceAll('+', '-').replaceAll('/', '_')];
  });
}
