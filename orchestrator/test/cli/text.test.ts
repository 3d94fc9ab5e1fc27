import { describe, expect, it } from 'vitest';
import { facts, shown, table } from '../../src/cli/text.ts';

describe('a table', () => {
  const rows = [
    ['ada', 'running', 1],
    ['a user with a very long name indeed', 'failed', null],
  ];

  it('is aligned, and as wide as it has to be where nobody limits it', () => {
    expect(table(['USER', 'STATUS', 'N'], rows, Number.POSITIVE_INFINITY).split('\n')).toEqual([
      'USER                                 STATUS   N',
      'ada                                  running  1',
      'a user with a very long name indeed  failed   -',
    ]);
  });

  it('fits the terminal: the widest columns are cut', () => {
    const lines = table(['USER', 'STATUS', 'N'], rows, 30).split('\n');
    expect(lines.at(-1)).toBe('a user with a ver…  failed   -');
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(30);
  });

  it('stays readable in the narrowest one', () => {
    expect(table(['USER', 'STATUS', 'N'], rows, 1).split('\n').at(-1)).toBe('a user …  failed   -');
  });
});

describe('what others wrote', () => {
  it('cannot steer the terminal', () => {
    expect(shown('a\u001b[31mb\nc\u009bd\u202ee')).toBe('a\\u{1b}[31mb\\u{a}c\\u{9b}d\\u{202e}e');
    expect(facts({ user: 'a\rb', gone: null, policy: { max: 1 } })).toBe(
      'user    a\\u{d}b\npolicy  {"max":1}',
    );
  });
});
