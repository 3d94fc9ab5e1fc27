import { z } from 'zod';

/**
 * What is known of the models: `catalog/models.json`, data that changes more often than the program and that an
 * operator may correct. It holds what the providers publish, noted on a day it names. What is not known is null,
 * never a guess: a wrong price is worse than none, because budgets are held by it. The one exception is the
 * context window, which something must be assumed of; it is then the smallest of the family's, and a provider
 * that says it is smaller still is believed. Source: engine-runtime, "Model layer: herald".
 */

/** USD per million tokens. `cached_input` is for tokens read from the provider's cache, `cache_write` for those put there. */
const rates = {
  input: z.number().nonnegative(),
  cached_input: z.number().nonnegative(),
  cache_write: z.number().nonnegative().optional(),
  output: z.number().nonnegative(),
};

const Prices = z.strictObject({
  ...rates,
  /** What a whole call costs whose input, cached part included, is above so many tokens. */
  long: z.strictObject({ above_input_tokens: z.int().positive(), ...rates }).optional(),
});

/** The ways a model takes a kind of media. */
const Takes = z.enum(['base64', 'url', 'both', 'no']);

const ModelRow = z.strictObject({
  /**
   * Ids, each also standing for its dated snapshots (`gpt-4o-2024-08-06`), or beginnings of ids, ending in `*`.
   * An id goes before a beginning, a longer beginning before a shorter one.
   */
  models: z.array(z.string().regex(/^[^*]*\*?$/)).min(1),
  /** Who serves it; null for whoever LLM_PROVIDER names. */
  provider: z.enum(['anthropic', 'openai', 'gemini', 'demo']).nullable(),
  /** Tokens, input and output together. */
  context_window: z.int().positive(),
  max_output_tokens: z.int().positive().nullable(),
  prices: Prices.nullable(),
  takes: z.strictObject({ image: Takes, document: Takes, audio: Takes, video: Takes }),
  /** When the provider can hold an answer to a JSON Schema while it is written. */
  output_schema: z.enum(['always', 'without_tools', 'never']),
});

export const ModelTable = z.strictObject({
  noted_on: z.iso.date(),
  sources: z.array(z.url()),
  models: z.array(ModelRow).refine((rows) => rows.some((row) => row.models.includes('*')), {
    error: 'there must be a row for "*", every other model',
  }),
});

export type Prices = z.infer<typeof Prices>;
export type ModelRow = z.infer<typeof ModelRow>;
export type ModelTable = z.infer<typeof ModelTable>;

const SNAPSHOT = /^-(\d{8}|\d{4}-\d{2}-\d{2}|latest)$/;

/** The row that fits a model id best. */
export function findModel(table: ModelTable, id: string): ModelRow {
  let best: ModelRow | undefined;
  let best_fit = 0;
  for (const row of table.models) {
    for (const pattern of row.models) {
      const found = fit(pattern, id);
      if (found > best_fit) [best, best_fit] = [row, found];
    }
  }
  if (best === undefined) throw new Error('The model table has no row for "*"');
  return best;
}

/** How well a pattern fits, 0 for not at all. */
function fit(pattern: string, id: string): number {
  if (pattern.endsWith('*')) return id.startsWith(pattern.slice(0, -1)) ? pattern.length : 0;
  const isIt = id === pattern || (id.startsWith(pattern) && SNAPSHOT.test(id.slice(pattern.length)));
  return isIt ? Number.POSITIVE_INFINITY : 0;
}
