import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { findModel } from '../../src/catalog/models.ts';
import { costOf, mostItCosts } from '../../src/herald/cost.ts';
import { MODELS } from './support.ts';

/** In millionths of a dollar, so that figures stay whole. */
function cost(model: string, input: number, output: number, hit = 0, write = 0): number | null {
  const usd = costOf(findModel(MODELS, model).prices, {
    input_tokens: input,
    output_tokens: output,
    cache_hit_tokens: hit,
    cache_write_tokens: write,
  });
  return usd === null ? null : Math.round(usd * 1e6);
}

describe('what a call costs', () => {
  it.each([
    ['input and output', 'gpt-4o', [1000, 100], 2500 + 1000],
    ['a part read from the cache', 'gpt-4o', [1000, 100, 800], 200 * 2.5 + 800 * 1.25 + 1000],
    [
      'a part put into the cache',
      'claude-sonnet-4-5',
      [1000, 10, 300, 500],
      200 * 3 + 300 * 0.3 + 500 * 3.75 + 150,
    ],
    ['just within the short price', 'gemini-2.5-pro', [200_000, 10], 250_000 + 100],
    ['beyond it, all of it', 'gemini-2.5-pro', [200_001, 10, 1], 200_000 * 2.5 + 0.25 + 150],
    ['nothing', 'gpt-4o', [0, 0], 0],
  ] as [string, string, [number, number, number?, number?], number][])(
    '%s',
    (_, model, [input, output, hit, write], expected) => {
      expect(cost(model, input, output, hit, write)).toBe(Math.round(expected));
    },
  );

  it('is never more than the most it can cost', () => {
    const count = fc.nat(400_000);
    const model = fc.constantFrom(...MODELS.models.flatMap((row) => (row.prices === null ? [] : row.models)));
    fc.assert(
      fc.property(
        model,
        count,
        count,
        fc.double({ min: 0, max: 1, noNaN: true }),
        (id, input, output, share) => {
          const { prices } = findModel(MODELS, id);
          const hit = Math.floor(input * share);
          const tokens = { input_tokens: input, output_tokens: output };
          for (const cache of [
            { cache_hit_tokens: hit, cache_write_tokens: 0 },
            { cache_hit_tokens: 0, cache_write_tokens: hit },
            { cache_hit_tokens: hit, cache_write_tokens: input - hit },
          ]) {
            const most = mostItCosts(prices, input, output) ?? expect.fail('no price');
            expect(costOf(prices, { ...tokens, ...cache })).toBeLessThanOrEqual(most + 1e-9);
          }
        },
      ),
    );
  });

  it('is not known where the price is not', () => {
    expect(cost('llama3', 1000, 1000)).toBeNull();
  });
});
