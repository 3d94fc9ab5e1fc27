import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { ToolOutcome } from '../../src/tools/contract.ts';
import { type SearchSettings, webSearchTool } from '../../src/tools/web_search.ts';
import { catalogOf } from '../support/catalog.ts';
import { startEngine, temporaryFolder } from '../support/engine.ts';
import { scriptedModel } from '../support/scripted.ts';
import { BRAVE_KEY, type SearchProviders, searchProviders, TAVILY_KEY } from '../support/search_providers.ts';
import { all, execute } from '../support/stream.ts';
import { toolContext } from '../support/tool_context.ts';

let providers: SearchProviders;
beforeAll(async () => {
  providers = await searchProviders();
});
beforeEach(() => {
  providers.brave = undefined;
  providers.tavily = undefined;
  providers.asked.length = 0;
});

const brave = () => ({ api_key: BRAVE_KEY, base_url: providers.brave_url });
const tavily = () => ({ api_key: TAVILY_KEY, base_url: providers.tavily_url });
const search = (
  input: unknown,
  settings: SearchSettings = { brave: brave(), tavily: tavily() },
): Promise<ToolOutcome> => webSearchTool(settings).run(input, toolContext());

describe('Brave', () => {
  it('is asked first; what it answers comes in our shape', async () => {
    let sent: URLSearchParams | undefined;
    providers.brave = (query) => {
      sent = query;
      return {
        body: {
          type: 'search',
          query: { original: 'tea' },
          web: {
            type: 'search',
            results: [
              {
                title: 'Tea',
                url: 'https://tea.example/',
                description: 'On tea.',
                page_age: '2026-01-05T12:00:00',
              },
              { title: 'Plain', url: 'https://plain.example/', age: 'yesterday' },
            ],
          },
        },
      };
    };
    expect((await search({ query: ' tea  ', count: 5 })).output).toEqual([
      {
        title: 'Tea',
        url: 'https://tea.example/',
        snippet: 'On tea.',
        published_at: '2026-01-05T12:00:00.000Z',
      },
      { title: 'Plain', url: 'https://plain.example/', snippet: '', published_at: null },
    ]);
    expect([sent?.get('q'), sent?.get('count')]).toEqual(['tea', '5']);
    expect(providers.asked).toEqual(['brave']);
  });

  it('that found nothing has answered', async () => {
    providers.brave = () => ({ body: { type: 'search', query: { original: 'x' } } });
    expect(await search({ query: 'x' })).toEqual({ output: [] });
    expect(providers.asked).toEqual(['brave']);
  });

  it('never gives more than was asked for, and no text without end', async () => {
    const long = { title: 't'.repeat(5_000), url: 'https://x.example/', description: 'd'.repeat(9_000) };
    providers.brave = () => ({ body: { web: { results: Array.from({ length: 50 }, () => long) } } });
    const found = (await search({ query: 'x' })).output as { title: string; snippet: string }[];
    expect(found).toHaveLength(10);
    expect([found[0]?.title.length, found[0]?.snippet.length]).toEqual([300, 1_000]);
  });
});

describe('Tavily', () => {
  const answers = () => {
    providers.tavily = ({ query, max_results }) => ({
      body: {
        query,
        response_time: 0.4,
        results: [
          {
            title: `${query} ${max_results}`,
            url: 'https://t.example/',
            content: 'Found.',
            score: 0.9,
            published_date: 'Fri, 02 Jan 2026 10:00:00 GMT',
          },
        ],
      },
    });
  };
  const found = {
    title: 'tea 10',
    url: 'https://t.example/',
    snippet: 'Found.',
    published_at: '2026-01-02T10:00:00.000Z',
  };

  it('is asked alone where there is no key of Brave', async () => {
    answers();
    expect(await search({ query: 'tea' }, { brave: undefined, tavily: tavily() })).toEqual({
      output: [found],
    });
    expect(providers.asked).toEqual(['tavily']);
  });

  it.each([
    ['is asked too often', () => ({ status: 429, headers: { 'X-RateLimit-Reset': '1, 1419704' }, body: {} })],
    ['refuses the key', () => ({ status: 401, body: {} })],
    ['is broken', () => ({ status: 503, text: '<h1>busy</h1>' })],
    ['gives no JSON', () => ({ text: '{"web": {"resul' })],
    ['gives another shape', () => ({ body: { web: { results: [{ title: 1 }] } } })],
    ['redirects', () => ({ status: 302, headers: { Location: providers.tavily_url } })],
    ['gives far too much', () => ({ text: ' '.repeat(3_000_000) })],
  ])('is asked when Brave %s', async (_, answer: () => object) => {
    answers();
    providers.brave = answer;
    expect(await search({ query: 'tea' })).toEqual({ output: [found] });
    expect(providers.asked).toEqual(['brave', 'tavily']);
  });
});

describe('without an answer', () => {
  it('says that search is not configured, where there is no key', async () => {
    const outcome = await search({ query: 'tea' }, { brave: undefined, tavily: undefined });
    expect(outcome.error).toBe('execution_failed');
    expect(outcome.output).toMatch(/not configured.*BRAVE_API_KEY/);
  });

  it('says what became of each provider, and when to try again', async () => {
    providers.brave = () => ({ status: 429, headers: { 'X-RateLimit-Reset': '1, 1419704' }, body: {} });
    providers.tavily = () => ({ status: 432, body: { detail: { error: 'plan' } } });
    expect(await search({ query: 'tea' })).toEqual({
      error: 'execution_failed',
      output:
        "Brave is asked too often (429), try again after 1 s; Tavily says that the operator's plan is used up (432).",
    });
    providers.brave = () => ({ status: 429, headers: { 'Retry-After': '30' }, body: {} });
    expect((await search({ query: 'tea' }, { brave: brave(), tavily: undefined })).output).toContain(
      'after 30 s',
    );
  });

  it('a provider that nobody can reach, or that has another key', async () => {
    const closed = { api_key: BRAVE_KEY, base_url: 'http://127.0.0.1:9' };
    const wrong = { api_key: 'wrong-key', base_url: providers.tavily_url };
    const { output } = await search({ query: 'tea' }, { brave: closed, tavily: wrong });
    expect(output).toBe("Brave could not be reached; Tavily refused the operator's key (401).");
  });

  it('ends with its turn, and asks nobody else then', async () => {
    const turn = new AbortController();
    const searching = webSearchTool({ brave: brave(), tavily: tavily() }).run(
      { query: 'tea' },
      toolContext({ signal: turn.signal }),
    );
    await expect.poll(() => providers.asked).toEqual(['brave']);
    turn.abort(new Error('over'));
    await expect(searching).rejects.toThrow('over');
    expect(providers.asked).toEqual(['brave']);
  });

  it.each([
    [{}],
    [{ query: ' ' }],
    [{ query: 'x'.repeat(401) }],
    [{ query: 'x', count: 0 }],
    [{ query: 'x', count: 21 }],
  ])('%j breaks the schema', async (input) => {
    expect((await search(input)).error).toBe('invalid_input');
  });
});

it('in a turn: by the operator’s variables, and no key in any event or log line', async () => {
  const model = await scriptedModel();
  const folder = temporaryFolder();
  const engine = await startEngine(folder, {
    ...model.settings,
    ...providers.settings,
    ...catalogOf({ assistant: ['web_search'] }),
    LLM_API_KEY: 'k',
  });
  providers.brave = () => ({ status: 401, body: { key: BRAVE_KEY } });
  providers.tavily = () => ({
    body: { results: [{ title: 'Tea', url: 'https://tea.example/', content: 'On tea.' }] },
  });
  model.script(
    { steps: [{ tool: 'web_search', input: { query: 'tea' } }] },
    { steps: [{ text: 'Found it.' }] },
  );
  const received = await all(execute(engine, { task_id: 'search', message: 'Search for tea' }));
  expect(received.find(({ type }) => type === 'tool_result')?.data.output).toEqual([
    { title: 'Tea', url: 'https://tea.example/', snippet: 'On tea.', published_at: null },
  ]);
  for (const shown of [received, engine.logs, model.requests]) {
    for (const key of [BRAVE_KEY, TAVILY_KEY]) expect(JSON.stringify(shown)).not.toContain(key);
  }
  await engine.stop();
});
