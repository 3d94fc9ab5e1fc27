import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  add,
  type Counted,
  estimateTokens,
  rateOf,
  sizeOfBlocks,
  sizeOfHead,
  USUAL_RATE,
} from '../src/turn/tokens.ts';
import type { ContentBlock } from '../src/types.ts';

const bytes = (count: number) => ({ bytes: count, media: 0 });
const size = fc.record({ bytes: fc.nat(2_000_000), media: fc.nat(20_000) });

/** A provider: so many tokens per byte, and something around the whole. */
const provider = fc.record({ rate: fc.double({ min: 0.21, max: 0.49, noNaN: true }), around: fc.nat(500) });
type Provider = { rate: number; around: number };
const count = (by: Provider, text: number) => Math.round(by.around + text * by.rate);

describe('an estimate', () => {
  it('of what was counted is the count', () => {
    fc.assert(
      fc.property(provider, fc.integer({ min: 5_000, max: 2_000_000 }), (by, text) => {
        const counted: Counted = { size: bytes(text), tokens: count(by, text) };
        expect(estimateTokens(bytes(text), counted)).toBe(counted.tokens);
      }),
    );
  });

  it('errs by a share of what was added, however long the conversation is', () => {
    fc.assert(
      fc.property(
        provider,
        fc.integer({ min: 50_000, max: 2_000_000 }),
        fc.nat(50_000),
        (by, before, added) => {
          const counted: Counted = { size: bytes(before), tokens: count(by, before) };
          const error = estimateTokens(bytes(before + added), counted) - count(by, before + added);
          expect(Math.abs(error)).toBeLessThanOrEqual(added * 0.03 + 2);
        },
      ),
    );
  });

  it('never falls when something is added, whatever was counted', () => {
    fc.assert(
      fc.property(
        size,
        size,
        fc.option(fc.record({ size, tokens: fc.nat(2_000_000) })),
        (one, more, counted) => {
          const known = counted ?? undefined;
          expect(estimateTokens(add(one, more), known)).toBeGreaterThanOrEqual(estimateTokens(one, known));
          expect(estimateTokens(one, known)).toBeGreaterThanOrEqual(0);
        },
      ),
    );
  });

  it('does not believe a count that cannot be one', () => {
    for (const tokens of [0, 10, 900_000]) {
      const counted = { size: bytes(100_000), tokens };
      expect(rateOf(counted)).toBe(USUAL_RATE);
      expect(estimateTokens(bytes(100_000), counted)).toBe(Math.ceil(100_000 * USUAL_RATE));
    }
  });

  it('takes the count of a short request, but not its rate: most of it is what the provider wraps around', () => {
    const counted = { size: bytes(100), tokens: 400 };
    expect(estimateTokens(bytes(100), counted)).toBe(400);
    expect(rateOf(counted)).toBeLessThan(0.45);
  });
});

it('measures every block that is sent', () => {
  const text = 'Grüße';
  const blocks: ContentBlock[] = [
    { type: 'text', text },
    { type: 'thinking', text, signature: 'not sent as text' },
    { type: 'tool_use', id: 'c', name: 'read_file', input: { path: text } },
    { type: 'tool_result', tool_use_id: 'c', output: text },
    { type: 'tool_result', tool_use_id: 'c', output: { text }, error: 'timeout' },
  ];
  for (const block of blocks) {
    const longer = JSON.parse(JSON.stringify(block).replace(text, text + text));
    const grown = sizeOfBlocks([longer]).bytes - sizeOfBlocks([block]).bytes;
    expect(grown, block.type).toBe(Buffer.byteLength(text));
  }
  const tool = { name: 'n', description: text, input_schema: {} };
  expect(sizeOfHead({ system: text, tools: [tool] }).bytes).toBe(
    7 + Buffer.byteLength(JSON.stringify([tool])),
  );
});
