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
  const { long } = prices;
  const rates = long !== undefined && tokens.input_tokens > long.above_input_tokens ? long : prices;
  const { input, cached_input, cache_write = input, output } = rates;
  const fresh = tokens.input_tokens - tokens.cache_hit_tokens - tokens.cache_write_tokens;
  return (
    (fresh * input +
      tokens.cache_hit_tokens * cached_input +
      tokens.cache_write_tokens * cache_write +
      tokens.output_tokens * output) /
    MILLION
  );
}
