/**
 * Brave Search and Tavily as their documents describe them: addresses, headers, the shapes of answers and refusals.
 * What they answer is told by the test.
 */
import type { ServerResponse } from 'node:http';
import { json } from 'node:stream/consumers';
import { site } from './site.ts';

export const BRAVE_KEY = 'BSA-brave-key-0123456789';
export const TAVILY_KEY = 'tvly-tavily-key-0123456789';

export type Answer = { status?: number; headers?: Record<string, string>; body?: unknown; text?: string };

export type SearchProviders = {
  /** What each does with the next requests; none: it never answers. */
  brave: ((query: URLSearchParams) => Answer) | undefined;
  tavily: ((body: Record<string, unknown>) => Answer) | undefined;
  /** Who was asked, in order. */
  asked: string[];
  brave_url: string;
  tavily_url: string;
  settings: Record<string, string>;
};

export async function searchProviders(): Promise<SearchProviders> {
  const brave = await site((request, response) => {
    providers.asked.push('brave');
    const url = new URL(request.url ?? '', 'http://brave');
    if (request.method !== 'GET' || url.pathname !== '/res/v1/web/search') response.writeHead(404).end();
    else if (request.headers['x-subscription-token'] !== BRAVE_KEY) {
      send(response, {
        status: 422,
        body: { type: 'ErrorResponse', error: { code: 'SUBSCRIPTION_TOKEN_INVALID' } },
      });
    } else if (providers.brave !== undefined) send(response, providers.brave(url.searchParams));
  });
  const tavily = await site(async (request, response) => {
    providers.asked.push('tavily');
    const body = (await json(request)) as Record<string, unknown>;
    if (request.method !== 'POST' || request.url !== '/search') response.writeHead(404).end();
    else if (request.headers.authorization !== `Bearer ${TAVILY_KEY}`) {
      send(response, {
        status: 401,
        body: { detail: { error: 'Unauthorized: missing or invalid API key.' } },
      });
    } else if (providers.tavily !== undefined) send(response, providers.tavily(body));
  });
  const providers: SearchProviders = {
    brave: undefined,
    tavily: undefined,
    asked: [],
    brave_url: brave.url,
    tavily_url: tavily.url,
    settings: {
      BRAVE_API_KEY: BRAVE_KEY,
      BRAVE_BASE_URL: brave.url,
      TAVILY_API_KEY: TAVILY_KEY,
      TAVILY_BASE_URL: tavily.url,
    },
  };
  return providers;
}

function send(
  response: ServerResponse,
  { status = 200, headers = {}, body, text = JSON.stringify(body) }: Answer,
): void {
  response.writeHead(status, { 'Content-Type': 'application/json', ...headers }).end(text);
}
