import type { Usage } from '../types.ts';

/**
 * Watches how much of what is sent the providers find in their caches.
 *
 * A prefix that is no longer the same from call to call makes every answer slower and several times as dear, and
 * nothing else shows it. One cold call says nothing (a new task, a pause longer than the cache lives), so it is
 * the share over many calls that counts; and it is told once per stretch of calls, not with each of them.
 * Source: engine-runtime, "Model layer: herald".
 */
export type CacheMonitor = {
  /** One model call more. @returns the alert to show, if it is time for one. */
  note(usage: Pick<Usage, 'input_tokens' | 'cache_hit_tokens'>): CacheAlert | undefined;
};

export type CacheAlert = { ratio: number; threshold: number };

/** Calls looked at together (the specification's numbers, as the next). */
const CALLS = 50;
const THRESHOLD = 0.6;

export function createCacheMonitor(): CacheMonitor {
  let calls: { input: number; hit: number }[] = [];
  return {
    note({ input_tokens, cache_hit_tokens }) {
      calls = [...calls.slice(1 - CALLS), { input: input_tokens, hit: cache_hit_tokens }];
      if (calls.length < CALLS) return undefined;
      const input = calls.reduce((sum, call) => sum + call.input, 0);
      const ratio = calls.reduce((sum, call) => sum + call.hit, 0) / Math.max(1, input);
      if (ratio >= THRESHOLD) return undefined;
      calls = [];
      return { ratio: Math.round(ratio * 100) / 100, threshold: THRESHOLD };
    },
  };
}
