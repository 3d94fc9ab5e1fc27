import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MAX_BEFORE, PATTERNS } from '../../src/secrets/patterns.ts';
import { createScrubber, kindsIn, MIN_VALUE } from '../../src/secrets/scrubber.ts';

const OWN = 'own-key/+of "this"\\Engine-42';
const scrubber = createScrubber(PATTERNS, [OWN, 'short']);

/** Each example as it stands in a text, and the half of it that must not be seen. */
const planted = PATTERNS.map(({ kind, example: [before, secret] }) => {
  const behind =
    kind === 'url_password' ? '@db/x' : kind === 'private_key' ? '-----END PRIVATE KEY-----' : '';
  return { kind, secret, text: `${before}${secret}${behind}` };
});

function streamed(pieces: string[]): string {
  const stream = scrubber.stream();
  return pieces.map((piece) => stream.push(piece)).join('') + stream.end();
}

describe('each kind of secret', () => {
  it.each(planted)('$kind is taken out, in text and in JSON', ({ kind, secret, text }) => {
    const scrubbed = scrubber.text(`See ${text} there.`);
    expect(scrubbed).toContain(`[REDACTED:${kind}]`);
    expect(scrubbed).not.toContain(secret.trim());
    expect(scrubbed.startsWith('See ') && scrubbed.endsWith(' there.')).toBe(true);
    expect(scrubber.text(scrubbed), 'there is no more of it').toBe(scrubbed);
    const json = JSON.stringify(scrubber.value({ a: [`\n${text}\n`] }));
    expect(json).toContain(`[REDACTED:${kind}]`);
    expect(json).not.toContain(JSON.stringify(secret.trim()).slice(1, -1));
  });

  it.each(planted)('$kind is taken out wherever its text is cut in two', ({ text }) => {
    const whole = `See ${text} there.`;
    const scrubbed = scrubber.text(whole);
    for (let cut = 0; cut <= whole.length; cut++) {
      expect(streamed([whole.slice(0, cut), whole.slice(cut)])).toBe(scrubbed);
    }
    expect(streamed([...whole])).toBe(scrubbed);
  });

  it.each(planted)('$kind at the very end of a text is taken out', ({ kind, text, secret }) => {
    const open = kind === 'url_password' ? text : text.replace(/-----END.*/, '');
    expect(streamed([...open])).toBe(scrubber.text(open));
    expect(scrubber.text(open)).not.toContain(secret.trim());
  });

  it('what stands before is no longer than what a stream remembers', () => {
    for (const { text, secret } of planted) expect(text.indexOf(secret)).toBeLessThan(MAX_BEFORE);
  });
});

describe('any text', () => {
  const word = fc.oneof(
    fc.constantFrom(...planted.map(({ text }) => text), OWN, Buffer.from(OWN).toString('base64')),
    fc.constantFrom(
      'sk-',
      'token=',
      'token: "',
      '://u:',
      '-----BEGIN PRIVATE KEY-----',
      'eyJ',
      'Bearer ',
      'own',
    ),
    fc.string({ unit: 'grapheme', maxLength: 12 }),
    fc.constantFrom(' ', '\n', '"', '.', '@', '-'),
  );
  const texts = fc.array(word, { maxLength: 12 }).map((words) => words.join(''));
  const cuts = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 30 });

  it('gives the same however it was cut', () => {
    fc.assert(
      fc.property(texts, cuts, (text, lengths) => {
        const pieces: string[] = [];
        for (let at = 0, i = 0; at < text.length; i++) {
          const length = lengths[i % lengths.length] ?? 1;
          pieces.push(text.slice(at, at + length));
          at += length;
        }
        expect(streamed(pieces)).toBe(scrubber.text(text));
      }),
      { numRuns: 2_000 },
    );
  });
});

describe('ordinary text', () => {
  const ordinary = [
    'The quick brown fox asks for a token, skips the password and takes the key.',
    'task-0123456789abcdefghij and disk-0123456789abcdefghij are no keys; neither is sk-a.',
    'const token = getToken(); password: string; secret = process.env.MY_SECRET;',
    'max_tokens: 4096, TOKEN_BUDGET_ENABLED=false, "cache_hit_tokens": 1200',
    'http://localhost:8000/execute and postgres://db:5432/app, mail me: a@b.example',
    'commit 9fceb02d0ae598e95dc970b74767f19372d61af8, sha256:e3b0c44298fc1c149afbf4c8996fb924',
    '<a class="sk-some-very-long-hyphenated-name-of-a-class">',
    'a PEM file begins with -----BEGIN PRIVATE KEY----- and that is a fact',
    'password=hunter2',
    '550e8400-e29b-41d4-a716-446655440000',
  ];
  it.each(ordinary)('%s', (text) => {
    expect(scrubber.text(text)).toBe(text);
    expect(scrubber.value({ text })).toEqual({ text });
  });

  it('is not held back at all', () => {
    const stream = scrubber.stream();
    for (const piece of [
      'The',
      ' sk',
      'y is a',
      ' pass',
      'word',
      ', or',
      ' To',
      'ken',
      ' ey',
      'e',
      ' https:',
      '//x',
      '.y/',
    ])
      expect(stream.push(piece)).toBe(piece);
    expect(stream.end()).toBe('');
  });

  it('comes back as the very same value', () => {
    const value = { a: [1, null, { b: 'c' }], d: 'e' };
    expect(scrubber.value(value)).toBe(value);
  });
});

describe('what is held back', () => {
  it('comes when it is decided, and not later', () => {
    const stream = scrubber.stream();
    expect(stream.push('key sk-abc')).toBe('key sk-');
    expect(stream.push('def')).toBe('');
    expect(stream.push(' and')).toBe('abcdef and');
    expect(stream.end()).toBe('');
  });

  it('is never more than the longest secret', () => {
    const longest = Math.max(...PATTERNS.map(({ max }) => max));
    for (const start of ['-----BEGIN PRIVATE KEY-----', 'token=', 'eyJ', '://u:', 'sk-']) {
      const stream = scrubber.stream();
      let given = 0;
      let shown = stream.push(start).length;
      for (; given < 40_000; given += 100) {
        shown += stream.push('aB3'.repeat(34).slice(0, 100)).length;
        if (shown > start.length) break;
      }
      expect(given, start).toBeLessThanOrEqual(longest + 100);
    }
  });
});

describe('the Engine’s own secrets', () => {
  const around = fc.string({ maxLength: 20 });

  it('are found as they are, in URLs, in JSON, in hex and in base64, wherever they stand', () => {
    fc.assert(
      fc.property(around, around, (before, behind) => {
        const text = `${before}${OWN}${behind}`;
        const base64 = Buffer.from(text).toString('base64');
        for (const spelling of [
          text,
          before + encodeURIComponent(OWN) + behind,
          JSON.stringify(text),
          Buffer.from(text).toString('hex'),
          base64,
          Buffer.from(text).toString('base64url'),
        ]) {
          expect(scrubber.text(spelling), spelling).toContain('[REDACTED:engine_secret]');
          expect(scrubber.text(spelling)).not.toContain(OWN);
        }
      }),
    );
  });

  it('that are words are left alone', () => {
    expect('short'.length).toBeLessThan(MIN_VALUE);
    expect(scrubber.text('a short text')).toBe('a short text');
  });
});

it('the name of a member tells what it holds', () => {
  const value = { password: 'aB3!xyzq', nested: [{ api_key: 'Zk39!mmQp1' }], colour: 'aB3!xyzq' };
  expect(scrubber.value(value)).toEqual({
    password: '[REDACTED:secret]',
    nested: [{ api_key: '[REDACTED:secret]' }],
    colour: 'aB3!xyzq',
  });
});

it('which kinds were found can be read off it', () => {
  const texts = planted.map(({ text }) => text);
  expect(kindsIn(scrubber.value({ texts: [...texts, ...texts] }))).toEqual([
    ...new Set(planted.map(({ kind }) => kind)),
  ]);
  expect(kindsIn('nothing')).toEqual([]);
});
