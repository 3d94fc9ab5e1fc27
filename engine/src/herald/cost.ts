import type { Prices } from '../catalog/models.ts';

/** Tokens of a call as they are billed. `cache_hit_tokens` and `cache_write_tokens` are parts of `input_tokens`. */
export type BilledTokens = {
  input_tokens: number;
  output_tokens: number;
  cache_hit_tokens: number;
  cache_write_tokens: number;
};

const MILLION = 1_000_000;

/** What a call costs by the list, USD; null where the price is not known. Source: engine-api, "SSE events", `usage`. */
export function costOf(prices: Prices | null, tokens: BilledTokens): number | null {
  if (prices === null) return null;
  const { input, cached_input, cache_write = input, output } = ratesOf(prices, tokens.input_tokens);
  const fresh = tokens.input_tokens - tokens.cache_hit_tokens - tokens.cache_write_tokens;
  return (
    (fresh * input +
      tokens.cache_hit_tokens * cached_input +
      tokens.cache_write_tokens * cache_write +
      tokens.output_tokens * output) /
    MILLION
  );
}

/** The most a call can cost, USD: nothing of its input in the cache, all of it put there. */
export function mostItCosts(
  prices: Prices | null,
  input_tokens: number,
  max_output_tokens: number,
): number | null {
  if (prices === null) return null;
  const { input, cache_write = input, output } = ratesOf(prices, input_tokens);
  return (input_tokens * Math.max(input, cache_write) + max_output_tokens * output) / MILLION;
}

function ratesOf(prices: Prices, input_tokens: number): Omit<Prices, 'long'> {
  const { long } = prices;
  return long !== undefined && input_tokens > long.above_input_tokens ? long : prices;
}
