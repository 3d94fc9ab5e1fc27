import type { ProviderName, Usage } from '../types.ts';

/**
 * What a provider's limits leave us, from what it says itself and from what we asked of it.
 *
 * Limits are per minute and per model; an Engine that meets one finds out by a refusal, and by then a person
 * waits. This page tells before. It never holds a call back: other Engines may share the key, so only the
 * provider knows, and a guess of ours would refuse calls that would have gone through. Source: engine-runtime,
 * "Model layer: herald".
 */
export type Quota = {
  provider: ProviderName;
  model: string;
  /** Used in the last 60 seconds by this Engine. */
  last_minute: { requests: number; input_tokens: number; output_tokens: number };
  /** What the provider said with its last answer; empty for one that says nothing (Gemini, most compatible servers). */
  left: Partial<Record<Allowance, Left>>;
};

type Allowance = 'requests' | 'tokens' | 'input_tokens' | 'output_tokens';

/** `resets_at` in Unix milliseconds: when `remaining` is back at `limit`. */
export type Left = { limit: number; remaining: number; resets_at: number | null };

const MINUTE_MS = 60_000;

export type Quotas = {
  /** A request goes out. */
  asked(provider: ProviderName, model: string): void;
  /** An answer begins, or a refusal. */
  heard(provider: ProviderName, model: string, headers: Headers): void;
  used(provider: ProviderName, model: string, usage: Usage): void;
  list(): Quota[];
};

type Entry = { at: number; requests: number; input_tokens: number; output_tokens: number };

export function createQuotas(now: () => number): Quotas {
  const known = new Map<
    string,
    { provider: ProviderName; model: string; entries: Entry[]; left: Quota['left'] }
  >();

  const of = (provider: ProviderName, model: string) => {
    const key = `${provider} ${model}`;
    const found = known.get(key) ?? { provider, model, entries: [], left: {} };
    known.set(key, found);
    return found;
  };
  const add = (provider: ProviderName, model: string, entry: Omit<Entry, 'at'>) => {
    const found = of(provider, model);
    found.entries = recent(found.entries, now());
    found.entries.push({ at: now(), ...entry });
  };

  return {
    asked: (provider, model) => add(provider, model, { requests: 1, input_tokens: 0, output_tokens: 0 }),
    used: (provider, model, { input_tokens, output_tokens }) =>
      add(provider, model, { requests: 0, input_tokens, output_tokens }),
    heard(provider, model, headers) {
      const left = readHeaders(headers, now());
      if (Object.keys(left).length > 0) of(provider, model).left = left;
    },
    list: () =>
      [...known.values()].map(({ provider, model, entries, left }) => {
        const last_minute = { requests: 0, input_tokens: 0, output_tokens: 0 };
        for (const entry of recent(entries, now())) {
          last_minute.requests += entry.requests;
          last_minute.input_tokens += entry.input_tokens;
          last_minute.output_tokens += entry.output_tokens;
        }
        return { provider, model, last_minute, left };
      }),
  };
}

const recent = (entries: Entry[], now: number) => entries.filter(({ at }) => at > now - MINUTE_MS);

/** Anthropic's and OpenAI's words for the same: which header holds a limit, and what it limits. */
const HEADERS: { of: Allowance; name(field: 'limit' | 'remaining' | 'reset'): string }[] = [
  ...(['requests', 'tokens', 'input_tokens', 'output_tokens'] as const).map((of) => ({
    of,
    name: (field: string) => `anthropic-ratelimit-${of.replace('_', '-')}-${field}`,
  })),
  ...(['requests', 'tokens'] as const).map((of) => ({
    of,
    name: (field: string) => `x-ratelimit-${field}-${of}`,
  })),
];

function readHeaders(headers: Headers, now: number): Quota['left'] {
  const left: Quota['left'] = {};
  for (const { of, name } of HEADERS) {
    const limit = count(headers.get(name('limit')));
    const remaining = count(headers.get(name('remaining')));
    if (limit === undefined || remaining === undefined) continue;
    left[of] = { limit, remaining, resets_at: resetTime(headers.get(name('reset')) ?? '', now) };
  }
  return left;
}

const count = (text: string | null) => (text !== null && /^\d+$/.test(text) ? Number(text) : undefined);

const UNITS_MS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Anthropic gives a date, OpenAI a span such as `6m0s` or `88ms`. */
function resetTime(text: string, now: number): number | null {
  const date = Date.parse(text);
  if (text.includes('T') && Number.isFinite(date)) return date;
  const spans = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)];
  if (spans.length === 0) return null;
  return spans.reduce((sum, [, amount, unit = '']) => sum + Number(amount) * (UNITS_MS[unit] ?? 0), now);
}
