import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { expose, gauge } from '../../src/observe/exposition.ts';
import { createTally } from '../../src/observe/tally.ts';
import { parseExposition } from '../support/exposition.ts';

describe('the text format', () => {
  it('brings every label and value to the other side', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.string({ unit: 'grapheme' }), { maxLength: 5 }),
        fc.double({ noNaN: true }),
        (products, value) => {
          const samples = products.map((product) => ({ labels: { product, state: 'a"\\\n' }, value }));
          const parsed = parseExposition(expose([gauge('orch_engines', 'Two\nlines \\ of help.', samples)]));
          expect(parsed.get('orch_engines')?.samples).toEqual(
            samples.map(({ labels }) => ({ name: 'orch_engines', labels, value: value === 0 ? 0 : value })),
          );
        },
      ),
    );
  });

  it('has for a histogram buckets that only grow, the last of which is its count', () => {
    fc.assert(
      fc.property(fc.array(fc.double({ min: 0, max: 200, noNaN: true }), { minLength: 1 }), (durations) => {
        const tally = createTally();
        for (const duration of durations) tally.operation('wake', 'succeeded', duration);
        const family = parseExposition(expose(tally.families())).get('orch_operation_duration_seconds');
        const of = (suffix: string) =>
          (family?.samples ?? []).filter(({ name }) => name.endsWith(suffix)).map(({ value }) => value);
        const buckets = of('_bucket');
        expect(buckets).toEqual([...buckets].sort((a, b) => a - b));
        expect([buckets.at(-1), of('_count')]).toEqual([durations.length, [durations.length]]);
        expect(buckets[0]).toBe(durations.filter((duration) => duration <= 0.01).length);
        expect(of('_sum')[0]).toBeCloseTo(
          durations.reduce((sum, duration) => sum + duration, 0),
          6,
        );
      }),
    );
  });
});
