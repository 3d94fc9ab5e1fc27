import { type ModelServer, startModelServer } from '@september/model-server';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createHerald, type HeraldOptions } from '../../src/herald/index.ts';
import { call, heraldOn, MODELS, outcome, user, WIRES } from './support.ts';

let server: ModelServer;
beforeEach(async () => {
  server = await startModelServer();
});
afterEach(() => server.close());

const HELLO = [user('Say hello.')];
const ANSWER = { steps: [{ text: 'Hello there.' }] };
const [ANTHROPIC, , CHAT] = WIRES;

/** A herald without a base URL, whose providers are all the scripted server. */
function direct(options: Partial<HeraldOptions>) {
  const warnings: string[] = [];
  const asked: string[] = [];
  const herald = createHerald({
    provider: 'openai',
    model: 'gpt-4o',
    openai_api: 'chat',
    api_keys: {},
    models: MODELS,
    log: { warn: (message) => void warnings.push(message) },
    clock: { now: Date.now, wait: async () => {}, random: () => 0 },
    fetch: (input, init) => {
      const { host, pathname, search } = new URL(String(input));
      asked.push(host);
      return fetch(server.url + pathname + search, init);
    },
    ...options,
  });
  return { herald, warnings, asked };
}

describe('which provider answers', () => {
  const keys = { anthropic: 'a', openai: 'o', gemini: 'g' };

  it.each([
    ['claude-sonnet-4-5', 'anthropic'],
    ['gpt-5', 'openai'],
    ['o3', 'openai'],
    ['gemini-2.5-pro', 'gemini'],
    ['ours-7b', 'openai'],
  ])('%s: %s', (model, provider) => {
    expect(direct({ api_keys: keys }).herald.resolve(model)).toEqual({ provider, model });
  });

  it('the main model where none is asked for', () => {
    const { herald } = direct({ api_keys: keys });
    expect(herald.resolve(undefined)).toEqual({ provider: 'openai', model: 'gpt-4o' });
    expect(herald).toMatchObject({ provider: 'openai', model: 'gpt-4o' });
  });

  it('the main model where the key is missing, said once', () => {
    const { herald, warnings } = direct({ api_keys: { openai: 'o' } });
    for (let i = 0; i < 3; i++) {
      expect(herald.resolve('claude-opus-4-5')).toEqual({ provider: 'openai', model: 'gpt-4o' });
    }
    expect(warnings).toEqual(['There is no key for anthropic: gpt-4o answers instead of claude-opus-4-5']);
    expect(herald.info('claude-opus-4-5')).toMatchObject({ model: 'gpt-4o', context_window: 128_000 });
  });

  it('whoever LLM_BASE_URL is, for every model', () => {
    const { herald } = direct({ base_url: 'http://localhost/v1' });
    expect(herald.resolve('claude-sonnet-4-5')).toEqual({ provider: 'openai', model: 'claude-sonnet-4-5' });
  });

  it('demo, as demo', () => {
    const { herald } = direct({ provider: 'demo', model: 'demo', api_keys: keys });
    expect(herald.resolve('claude-sonnet-4-5')).toEqual({ provider: 'demo', model: 'demo' });
  });

  it('each is asked at its own address with its own key', async () => {
    const { herald, asked } = direct({ api_keys: keys });
    for (const model of ['gpt-4o', 'claude-sonnet-4-5', 'gemini-2.5-pro']) {
      server.script(ANSWER);
      const { events } = await outcome(call(herald, HELLO, { model }));
      expect(events.at(-1)).toMatchObject({ provider: herald.resolve(model).provider, model });
    }
    expect(asked).toEqual(['api.openai.com', 'api.anthropic.com', 'generativelanguage.googleapis.com']);
    expect(server.requests.map(({ headers }) => headers)).toMatchObject([
      { authorization: 'Bearer o' },
      { 'x-api-key': 'a' },
      { 'x-goog-api-key': 'g' },
    ]);
  });
});

describe('the fallback model', () => {
  const options = { fallback_model: 'claude-haiku-4-5', api_keys: { openai: 'o', anthropic: 'a' } };
  const DOWN = Array(3).fill({ status: 500 });

  it('answers when the main one failed for good, and says who it is', async () => {
    const { herald, warnings } = direct(options);
    server.script(...DOWN, ANSWER);
    const { events, error } = await outcome(call(herald, HELLO));
    expect(error).toBeUndefined();
    expect(events.at(-1)).toMatchObject({ model: 'claude-haiku-4-5', provider: 'anthropic' });
    expect(warnings).toEqual(['gpt-4o failed: claude-haiku-4-5 is asked instead']);
    expect(server.requests.map(({ wire }) => wire)).toEqual([...Array(3).fill('openai_chat'), 'anthropic']);
    expect(herald.state()).toBe('ok');
  });

  it('is asked once; when it fails as well, the error is the main one’s', async () => {
    const { herald } = direct(options);
    server.script(...Array(3).fill({ status: 429, retry_after_s: 9 }), { status: 500 });
    const { error } = await outcome(call(herald, HELLO));
    expect(error).toMatchObject({
      code: 'LLM_RATE_LIMITED',
      visible: false,
      details: { provider: 'openai', retry_after: 9 },
    });
    expect(server.requests).toHaveLength(4);
    expect(herald.state()).toBe('error');
  });

  it('is not asked when the answer broke in sight', async () => {
    const { herald } = direct(options);
    server.script({ steps: [{ text: 'Half' }, { cut: true }] });
    expect((await outcome(call(herald, HELLO))).error).toMatchObject({ visible: true });
    expect(server.requests).toHaveLength(1);
  });

  it('breaks in sight itself: that is told', async () => {
    const { herald } = direct(options);
    server.script(...DOWN, { steps: [{ text: 'Half' }, { cut: true }] });
    expect((await outcome(call(herald, HELLO))).error).toMatchObject({
      visible: true,
      details: { provider: 'anthropic' },
    });
  });

  it('is not asked about a conversation that is too long', async () => {
    const { herald } = direct(options);
    server.script({ context_overflow: true });
    expect((await outcome(call(herald, HELLO))).error).toMatchObject({ code: 'CONTEXT_OVERFLOW' });
    expect(server.requests).toHaveLength(1);
  });

  it('is not asked after itself', async () => {
    const { herald } = direct({ ...options, fallback_model: 'gpt-4o' });
    server.script(...DOWN);
    expect((await outcome(call(herald, HELLO))).error).toMatchObject({ code: 'LLM_PROVIDER_ERROR' });
    expect(server.requests).toHaveLength(3);
  });

  it('is left alone when the caller gives up', async () => {
    const { herald } = direct(options);
    const abort = new AbortController();
    server.script({ silent: true });
    const waiting = outcome(call(herald, HELLO, { signal: abort.signal }));
    await expect.poll(() => server.requests.length).toBe(1);
    const reason = new Error('cancelled');
    abort.abort(reason);
    expect((await waiting).error).toBe(reason);
    expect(server.requests).toHaveLength(1);
  });
});

describe('what a call cost', () => {
  it.each(WIRES)('$wire: by the list', async (wire) => {
    const { herald } = heraldOn(server, wire);
    server.script({ ...ANSWER, usage: { input_tokens: 1_000, output_tokens: 100, cache_hit_tokens: 400 } });
    const { events } = await outcome(call(herald, HELLO));
    const { input, cached_input, output } = herald.info(wire.model).prices ?? expect.fail('no price');
    const last = events.at(-1);
    expect(last?.type === 'finish' && last.cost_usd).toBeCloseTo(
      (600 * input + 400 * cached_input + 100 * output) / 1e6,
      12,
    );
  });

  it('at most as much as the dearest model that may answer', () => {
    const keys = { openai: 'o', anthropic: 'a' };
    const most = (fallback_model?: string) =>
      direct({ api_keys: keys, ...(fallback_model !== undefined && { fallback_model }) }).herald.maxCost(
        'gpt-4o',
        1_000_000,
        100_000,
      );
    expect(most()).toBeCloseTo(2.5 + 1, 9);
    expect(most('gpt-4o-mini')).toBeCloseTo(2.5 + 1, 9);
    // All of its input put into the cache.
    expect(most('claude-opus-4-5')).toBeCloseTo(6.25 + 2.5, 9);
    expect(most('ours-7b')).toBeNull();
  });

  it('null for a model without a price', async () => {
    const { herald } = heraldOn(server, CHAT, { model: 'ours-7b' });
    server.script(ANSWER);
    const { events } = await outcome(call(herald, HELLO));
    expect(events.at(-1)).toMatchObject({ cost_usd: null });
  });
});

describe('the output limit', () => {
  it('is never above what the model can', async () => {
    const { herald } = heraldOn(server, CHAT);
    server.script(ANSWER);
    await outcome(call(herald, HELLO, { max_tokens: 1_000_000 }));
    expect(JSON.stringify(server.requests[0]?.body)).toContain('16384');
  });
});

describe('quota', () => {
  const anthropic = {
    'anthropic-ratelimit-requests-limit': '50',
    'anthropic-ratelimit-requests-remaining': '49',
    'anthropic-ratelimit-requests-reset': '2026-01-01T00:00:10Z',
    'anthropic-ratelimit-input-tokens-limit': '40000',
    'anthropic-ratelimit-input-tokens-remaining': '39000',
    'anthropic-ratelimit-input-tokens-reset': '2026-01-01T00:00:20Z',
  };
  const openai = {
    'x-ratelimit-limit-requests': '500',
    'x-ratelimit-remaining-requests': '499',
    'x-ratelimit-reset-requests': '120ms',
    'x-ratelimit-limit-tokens': '30000',
    'x-ratelimit-remaining-tokens': '100',
    'x-ratelimit-reset-tokens': '1m2s',
  };

  function metered(wire: (typeof WIRES)[number], headers: Record<string, string>) {
    const clock = { now: () => clock.time, time: 1_000_000, wait: async () => {}, random: () => 0 };
    const { herald } = heraldOn(server, wire, {
      clock,
      fetch: async (input, init) => {
        const { body, status, headers: own } = await fetch(input, init);
        return new Response(body, { status, headers: { ...Object.fromEntries(own), ...headers } });
      },
    });
    return { herald, clock };
  }

  it('counts requests and tokens of the last minute', async () => {
    const { herald, clock } = metered(CHAT, {});
    expect(herald.quota()).toEqual([]);
    const usage = { input_tokens: 100, output_tokens: 10 };
    server.script({ status: 500 }, { ...ANSWER, usage }, { ...ANSWER, usage });
    await outcome(call(herald, HELLO));
    clock.time += 59_000;
    await outcome(call(herald, HELLO));
    const [quota] = herald.quota();
    expect(quota).toEqual({
      provider: 'openai',
      model: 'gpt-4o',
      last_minute: { requests: 3, input_tokens: 200, output_tokens: 20 },
      left: {},
    });
    clock.time += 2_000;
    expect(herald.quota()[0]?.last_minute).toEqual({ requests: 1, input_tokens: 100, output_tokens: 10 });
  });

  it('reads what Anthropic says is left', async () => {
    const { herald } = metered(ANTHROPIC, anthropic);
    server.script(ANSWER);
    await outcome(call(herald, HELLO));
    expect(herald.quota()[0]?.left).toEqual({
      requests: { limit: 50, remaining: 49, resets_at: Date.UTC(2026, 0, 1, 0, 0, 10) },
      input_tokens: { limit: 40_000, remaining: 39_000, resets_at: Date.UTC(2026, 0, 1, 0, 0, 20) },
    });
  });

  it('reads what OpenAI says is left, from a refusal too, and holds nothing back', async () => {
    const { herald } = metered(CHAT, openai);
    server.script({ status: 400 }, ANSWER);
    await outcome(call(herald, HELLO));
    expect(herald.quota()[0]?.left).toEqual({
      requests: { limit: 500, remaining: 499, resets_at: 1_000_120 },
      tokens: { limit: 30_000, remaining: 100, resets_at: 1_062_000 },
    });
    expect((await outcome(call(herald, HELLO))).error).toBeUndefined();
  });
});
