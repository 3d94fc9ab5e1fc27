/**
 * Searches the web: Brave, and where that fails or has no key, Tavily.
 *
 * Both are asked at the address the operator has configured, so the guard of web_fetch does not stand before them; but
 * what they answer is bounded, checked, and made by strangers all the same. A key goes into one header, is never sent
 * on by a redirect, and stands in no failure: of those only the status is told. Source: engine-runtime, "Platform tools";
 * operations, "Web search".
 */
import { z } from 'zod';
import { readBody } from '../net/body.ts';
import { defineTool, type Tool } from './contract.ts';

/** Undefined: not configured. `base_url` without a slash at its end. */
export type SearchSettings = Record<'brave' | 'tavily', { api_key: string; base_url: string } | undefined>;

type Result = { title: string; url: string; snippet: string; published_at: string | null };

/** Both providers take no more of either. */
const MAX_QUERY = 400;
const MAX_COUNT = 20;

/** One provider; most answer within two seconds. */
const TIME_LIMIT_MS = 15_000;

/** Twenty results are some 50 KB. */
const MAX_ANSWER_BYTES = 2 * 1024 * 1024;

/** Of one result: enough to choose by. */
const MAX_TITLE = 300;
const MAX_SNIPPET = 1_000;

export function webSearchTool(settings: SearchSettings): Tool {
  const providers = [
    ...(settings.brave === undefined ? [] : [{ name: 'Brave', ask: brave(settings.brave) }]),
    ...(settings.tavily === undefined ? [] : [{ name: 'Tavily', ask: tavily(settings.tavily) }]),
  ];
  return defineTool({
    name: 'web_search',
    description:
      'Searches the web and gives titles, URLs and snippets. Use it for what you cannot know or what may have changed; read what you found with web_fetch before you rely on it. Not for the user’s own data, nor where you have the URL. Example: {"query": "node 24 release notes"}',
    effect: 'pure',
    brings_outside: true,
    input: z.object({
      query: z.string().trim().min(1).max(MAX_QUERY).describe('A few words, as one would type them.'),
      count: z.int().min(1).max(MAX_COUNT).default(10).describe('Results at most.'),
    }),
    async run({ query, count }, { signal }) {
      if (providers.length === 0) {
        return {
          error: 'execution_failed',
          output:
            'Web search is not configured: the operator has set neither BRAVE_API_KEY nor TAVILY_API_KEY. Say so; do not try again.',
        };
      }
      const failures: string[] = [];
      for (const { name, ask } of providers) {
        const late = AbortSignal.timeout(TIME_LIMIT_MS);
        try {
          return { output: (await ask(query, count, AbortSignal.any([signal, late]))).slice(0, count) };
        } catch (error) {
          signal.throwIfAborted();
          failures.push(`${name} ${failureOf(error, late.aborted)}`);
        }
      }
      return { error: 'execution_failed', output: `${failures.join('; ')}.` };
    },
  });
}

type Ask = (query: string, count: number, signal: AbortSignal) => Promise<Result[]>;
type Provider = { api_key: string; base_url: string };

const BraveAnswer = z.object({
  web: z
    .object({
      results: z.array(
        z.object({
          title: z.string(),
          url: z.string(),
          description: z.string().default(''),
          page_age: z.string().optional(),
        }),
      ),
    })
    // Left out where nothing was found.
    .optional(),
});

/** `GET /res/v1/web/search` (Brave Search API, "Web search"). */
function brave({ api_key, base_url }: Provider): Ask {
  return async (query, count, signal) => {
    const parameters = new URLSearchParams({ q: query, count: String(count), text_decorations: 'false' });
    const headers = { Accept: 'application/json', 'X-Subscription-Token': api_key };
    const answer = await askJson(`${base_url}/res/v1/web/search?${parameters}`, { headers, signal });
    const { web } = parsed(BraveAnswer, answer);
    return (web?.results ?? []).map(({ title, url, description, page_age }) =>
      result(title, url, description, page_age),
    );
  };
}

const TavilyAnswer = z.object({
  results: z.array(
    z.object({
      title: z.string(),
      url: z.string(),
      content: z.string().default(''),
      published_date: z.string().nullish(),
    }),
  ),
});

/** `POST /search` (Tavily API, "Search"). */
function tavily({ api_key, base_url }: Provider): Ask {
  return async (query, count, signal) => {
    const answer = await askJson(`${base_url}/search`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${api_key}` },
      body: JSON.stringify({ query, max_results: count }),
      signal,
    });
    return parsed(TavilyAnswer, answer).results.map(({ title, url, content, published_date }) =>
      result(title, url, content, published_date),
    );
  };
}

function result(title: string, url: string, snippet: string, published: string | null | undefined): Result {
  return {
    title: title.slice(0, MAX_TITLE),
    url,
    snippet: snippet.slice(0, MAX_SNIPPET),
    published_at: published ? instantOf(published) : null,
  };
}

/** ISO 8601, UTC; null for what is no date. Brave's have no zone and mean UTC. */
function instantOf(text: string): string | null {
  const at = new Date(/^\d{4}-\d{2}-\d{2}T[\d:.]+$/.test(text) ? `${text}Z` : text);
  return Number.isNaN(at.getTime()) ? null : at.toISOString();
}

/** What a provider did instead of answering; the message is told to the model. */
class Refused extends Error {
  override name = 'Refused';
}

async function askJson(url: string, request: RequestInit): Promise<string> {
  // A redirect would carry the key to whoever it names.
  const response = await fetch(url, { ...request, redirect: 'error' });
  if (!response.ok) {
    response.body?.cancel().catch(() => undefined);
    throw new Refused(refusalOf(response));
  }
  const { bytes, cut } = await readBody(response, MAX_ANSWER_BYTES);
  if (cut) throw new Refused(`answered more than ${MAX_ANSWER_BYTES} bytes`);
  return Buffer.from(bytes).toString('utf8');
}

function refusalOf({ status, headers }: Response): string {
  if (status === 401 || status === 403) return `refused the operator's key (${status})`;
  // 432 and 433 are Tavily's, for plans that are used up.
  if (status === 432 || status === 433) return `says that the operator's plan is used up (${status})`;
  if (status !== 429) return `failed (${status})`;
  // Brave's list begins with the shortest window.
  const wait = /^\d{1,6}/.exec(headers.get('retry-after') ?? headers.get('x-ratelimit-reset') ?? '')?.[0];
  return `is asked too often (429)${wait === undefined ? '' : `, try again after ${wait} s`}`;
}

function parsed<Shape>(shape: z.ZodType<Shape>, text: string): Shape {
  try {
    return shape.parse(JSON.parse(text));
  } catch {
    throw new Refused('gave an answer that could not be understood');
  }
}

function failureOf(error: unknown, is_late: boolean): string {
  if (is_late) return `did not answer within ${TIME_LIMIT_MS / 1000} s`;
  return error instanceof Refused ? error.message : 'could not be reached';
}
