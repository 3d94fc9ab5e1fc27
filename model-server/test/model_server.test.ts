import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type ModelServer, startModelServer } from '../src/index.ts';

let server: ModelServer;
beforeEach(async () => {
  server = await startModelServer();
});
afterEach(() => server.close());

type Body = Record<string, unknown>;

const ANTHROPIC = '/v1/messages';
const CHAT = '/v1/chat/completions';
const RESPONSES = '/v1/responses';
const GEMINI = '/v1beta/models/gemini-3-pro:streamGenerateContent?alt=sse';
const GEMINI_2 = GEMINI.replace('gemini-3-pro', 'gemini-2.5-pro');

/** A request each provider takes. */
const GOOD: Record<string, Body> = {
  [ANTHROPIC]: { model: 'm', max_tokens: 100, messages: [{ role: 'user', content: 'Hi' }] },
  [CHAT]: {
    model: 'm',
    messages: [{ role: 'user', content: 'Hi' }],
    stream_options: { include_usage: true },
  },
  [RESPONSES]: { model: 'm', store: false, input: [{ role: 'user', content: 'Hi' }] },
  [GEMINI]: { contents: [{ role: 'user', parts: [{ text: 'Hi' }] }] },
};
const PATHS = Object.keys(GOOD);

function post(path: string, body: Body | undefined = GOOD[path]): Promise<Response> {
  return fetch(`${server.url}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'anthropic-version': '2023-06-01', 'x-api-key': 'k' },
    body: JSON.stringify(body),
  });
}

/** The events of a stream: their names where the wire has names, and their data. */
async function events(response: Response): Promise<{ event?: string; data: string }[]> {
  const blocks = (await response.text()).split('\n\n').filter((block) => block !== '');
  return blocks.map((block) => ({
    ...(block.startsWith('event: ') && { event: block.slice('event: '.length, block.indexOf('\n')) }),
    data: block.slice(block.indexOf('data: ') + 'data: '.length),
  }));
}

const SCRIPT = {
  steps: [
    { thinking: 'Hm.' },
    { text: 'I read it.' },
    { tool: 'read_file', id: 'c1', input: { path: 'a' }, fragments: 2 },
  ],
  usage: { input_tokens: 100, output_tokens: 20, cache_hit_tokens: 40 },
};

describe('an answer', () => {
  it('anthropic: blocks in a message, usage without the cached part', async () => {
    server.script(SCRIPT);
    const got = (await events(await post(ANTHROPIC))).map(({ event, data }) => ({
      event,
      ...JSON.parse(data),
    }));
    expect(got.map(({ event }) => event)).toEqual([
      'message_start',
      'ping',
      'content_block_start',
      'content_block_delta',
      'content_block_delta',
      'content_block_stop',
      'content_block_start',
      'content_block_delta',
      'content_block_delta',
      'content_block_delta',
      'content_block_stop',
      'content_block_start',
      'content_block_delta',
      'content_block_delta',
      'content_block_stop',
      'message_delta',
      'message_stop',
    ]);
    expect(got.every(({ event, type }) => event === type)).toBe(true);
    expect(got[4]).toMatchObject({
      index: 0,
      delta: { type: 'signature_delta', signature: expect.any(String) },
    });
    expect(got[11]).toMatchObject({
      index: 2,
      content_block: { type: 'tool_use', id: 'c1', name: 'read_file', input: {} },
    });
    expect(got[15]).toMatchObject({
      delta: { stop_reason: 'tool_use' },
      usage: { input_tokens: 60, cache_read_input_tokens: 40, output_tokens: 20 },
    });
  });

  it('chat: one choice, calls in fragments, a last chunk with the usage, [DONE]', async () => {
    server.script(SCRIPT);
    const got = (await events(await post(CHAT))).map(({ data }) => data);
    expect(got.at(-1)).toBe('[DONE]');
    const chunks = got.slice(0, -1).map((data) => JSON.parse(data));
    expect(chunks.every(({ object }) => object === 'chat.completion.chunk')).toBe(true);
    expect(chunks.map(({ choices }) => choices[0]?.delta)).toEqual([
      { role: 'assistant', content: '', refusal: null },
      { content: 'I' },
      { content: ' read' },
      { content: ' it.' },
      {
        tool_calls: [
          { index: 0, id: 'c1', type: 'function', function: { name: 'read_file', arguments: '' } },
        ],
      },
      { tool_calls: [{ index: 0, function: { arguments: '{"path' } }] },
      { tool_calls: [{ index: 0, function: { arguments: '":"a"}' } }] },
      {},
      undefined,
    ]);
    expect(chunks.at(-2).choices[0].finish_reason).toBe('tool_calls');
    expect(chunks.at(-1).usage).toMatchObject({
      prompt_tokens: 100,
      completion_tokens: 20,
      prompt_tokens_details: { cached_tokens: 40 },
    });
  });

  it('responses: items added, streamed and done, numbered without a gap', async () => {
    server.script(SCRIPT);
    const got = (await events(await post(RESPONSES))).map(({ event, data }) => ({
      event,
      ...JSON.parse(data),
    }));
    expect(got.map(({ event }) => event.replace('response.', ''))).toEqual([
      'created',
      'in_progress',
      'output_item.added',
      'reasoning_summary_part.added',
      'reasoning_summary_text.delta',
      'reasoning_summary_text.done',
      'reasoning_summary_part.done',
      'output_item.done',
      'output_item.added',
      'content_part.added',
      'output_text.delta',
      'output_text.delta',
      'output_text.delta',
      'output_text.done',
      'content_part.done',
      'output_item.done',
      'output_item.added',
      'function_call_arguments.delta',
      'function_call_arguments.delta',
      'function_call_arguments.done',
      'output_item.done',
      'completed',
    ]);
    expect(got.map(({ sequence_number }) => sequence_number)).toEqual(got.map((_, index) => index));
    const { response } = got.at(-1) ?? {};
    expect(response.output.map(({ type }: Body) => type)).toEqual(['reasoning', 'message', 'function_call']);
    expect(response.usage).toMatchObject({ input_tokens: 100, input_tokens_details: { cached_tokens: 40 } });
  });

  it('gemini: parts of one candidate, thoughts marked, calls whole and signed', async () => {
    server.script(SCRIPT);
    const got = (await events(await post(GEMINI))).map(({ data }) => JSON.parse(data));
    expect(got.map(({ candidates }) => candidates[0].content.parts[0])).toEqual([
      { text: 'Hm.', thought: true },
      { text: 'I' },
      { text: ' read' },
      { text: ' it.' },
      {
        functionCall: { id: 'c1', name: 'read_file', args: { path: 'a' } },
        thoughtSignature: expect.any(String),
      },
      { text: '' },
    ]);
    expect(got.at(-1)).toMatchObject({
      candidates: [{ finishReason: 'STOP' }],
      usageMetadata: { promptTokenCount: 100, candidatesTokenCount: 20, cachedContentTokenCount: 40 },
    });
  });

  it('comes in as many writes as it has chunks', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    server.script({ steps: [{ text: 'now' }, { until: promise }, { text: ' later' }] });
    const reader = (await post(GEMINI)).body?.pipeThrough(new TextDecoderStream()).getReader();
    const first = await reader?.read();
    expect(first?.value).toContain('now');
    expect(first?.value).not.toContain('later');
    resolve();
    let rest = '';
    for (let chunk = await reader?.read(); chunk?.value !== undefined; chunk = await reader?.read())
      rest += chunk.value;
    expect(rest).toContain('later');
    expect(await server.requests[0]?.ended).toBe('complete');
  });
});

describe('a failure', () => {
  it.each([
    [ANTHROPIC, 429, { type: 'error', error: { type: 'rate_limit_error' } }],
    [ANTHROPIC, 529, { type: 'error', error: { type: 'overloaded_error' } }],
    [CHAT, 429, { error: { code: 'rate_limit_exceeded' } }],
    [RESPONSES, 401, { error: { code: 'invalid_api_key' } }],
    [GEMINI, 500, { error: { code: 500, status: 'INTERNAL' } }],
  ])('%s %i has the provider’s own body', async (path, status, body) => {
    server.script({ status });
    const response = await post(path);
    expect(response.status).toBe(status);
    expect(await response.json()).toMatchObject(body);
  });

  it('tells how long to wait where the provider tells it', async () => {
    for (const path of PATHS) {
      server.script({ status: 429, retry_after_s: 7 });
      const response = await post(path);
      const told =
        path === GEMINI ? JSON.stringify(await response.json()) : response.headers.get('retry-after');
      expect(told).toMatch(path === GEMINI ? /"retryDelay":"7s"/ : /^7$/);
    }
  });

  it.each(PATHS)('%s: overload within the stream ends it', async (path) => {
    server.script({ steps: [{ text: 'Hi' }, { overloaded: true }] });
    const got = await events(await post(path));
    expect(got.at(-1)?.data).toMatch(/overloaded/i);
  });

  it.each(PATHS)('%s: a malformed chunk, a cut socket, no answer', async (path) => {
    server.script(
      { steps: [{ malformed: true }] },
      { steps: [{ text: 'Hi' }, { cut: true }] },
      { silent: true },
    );
    const malformed = await events(await post(path));
    expect(malformed.map(({ data }) => data)).toContain('{"type": "broken');

    const cut = await post(path);
    await expect(cut.text()).rejects.toThrow();
    expect(await server.requests[1]?.ended).toBe('cut');

    const abort = new AbortController();
    const silent = fetch(`${server.url}${path}`, {
      method: 'POST',
      headers: { 'anthropic-version': '2023-06-01' },
      body: JSON.stringify(GOOD[path]),
      signal: abort.signal,
    });
    await expect.poll(() => server.requests.length).toBe(3);
    abort.abort();
    await expect(silent).rejects.toThrow();
    expect(await server.requests[2]?.ended).toBe('client_left');
  });

  it('says that the script is used up', async () => {
    const response = await post(ANTHROPIC);
    expect(response.status).toBe(500);
    expect(await response.text()).toContain('no reply left');
  });
});

describe('a bad request is refused as the provider would', () => {
  const u = (...content: Body[]) => ({ role: 'user', content });
  const a = (...content: Body[]) => ({ role: 'assistant', content });
  const text = { type: 'text', text: 'Hi' };
  const use = { type: 'tool_use', id: 'c1', name: 't', input: {} };
  const result = { type: 'tool_result', tool_use_id: 'c1', content: 'x' };
  const messages = (...list: Body[]) => ({ model: 'm', max_tokens: 100, messages: list });
  const tool_calls = [{ id: 'c1', type: 'function', function: { name: 't', arguments: '{}' } }];
  const asked = { type: 'function_call', call_id: 'c1', name: 't', arguments: '{}' };
  const answered = { type: 'function_call_output', call_id: 'c1', output: 'x' };
  const g = (role: string, ...parts: Body[]) => ({ role, parts });
  const functionCall = { name: 't', args: {} };
  const open = { type: 'object', properties: { a: { type: 'object', properties: {} } } };
  const optional = { type: 'object', properties: { a: { type: 'string' } }, additionalProperties: false };
  const json_schema = (schema: Body, strict = true) => ({
    type: 'json_schema',
    name: 'answer',
    strict,
    schema,
  });

  it.each<[string, Body, RegExp]>([
    [ANTHROPIC, {}, /model: Field required/],
    [ANTHROPIC, messages(), /at least one message/],
    [ANTHROPIC, messages(a(text)), /first message must use the "user" role/],
    [ANTHROPIC, messages(u(text), u(text)), /roles must alternate/],
    [ANTHROPIC, messages(u(text), a(use), u(text)), /without `tool_result` blocks immediately after: c1/],
    [ANTHROPIC, messages(u(text), a(use)), /without `tool_result` blocks immediately after: c1/],
    [ANTHROPIC, messages(u(text), a(use), u(result, result)), /single result/],
    [ANTHROPIC, messages(u(result)), /unexpected `tool_use_id`/],
    [ANTHROPIC, messages(u(text), a(use), u(text, result)), /must come first/],
    [ANTHROPIC, messages(u({ type: 'text', text: ' ' })), /non-whitespace/],
    [
      ANTHROPIC,
      messages(u(text), a({ type: 'thinking', thinking: 'x', signature: 'forged' }, text), u(text)),
      /Invalid `signature`/,
    ],
    [
      ANTHROPIC,
      { ...messages(u(text), a(use), u(result)), thinking: { type: 'enabled', budget_tokens: 50 } },
      /Expected `thinking`/,
    ],
    [
      ANTHROPIC,
      { ...messages(u(text)), thinking: { type: 'enabled', budget_tokens: 100 } },
      /must be greater than/,
    ],
    [
      ANTHROPIC,
      { ...messages(u(text)), output_config: { format: json_schema(open) } },
      /format.schema: In context=\(\), 'additionalProperties'/,
    ],
    [CHAT, { ...messages(u(text)), response_format: { json_schema: json_schema(optional) } }, /Missing 'a'/],
    [
      CHAT,
      { ...messages(u(text)), response_format: { json_schema: json_schema({ type: 'array' }) } },
      /got 'type: "array"'/,
    ],
    [RESPONSES, { ...GOOD[RESPONSES], text: { format: json_schema(open) } }, /'additionalProperties'/],
    [
      GEMINI_2,
      {
        ...GOOD[GEMINI],
        tools: [{ functionDeclarations: [] }],
        generationConfig: { responseMimeType: 'application/json' },
      },
      /response mime type/,
    ],
    [
      ANTHROPIC,
      { ...messages(u(text)), tools: [{ name: 'a.b', input_schema: { type: 'object' } }] },
      /match pattern/,
    ],
    [CHAT, { model: 'm', messages: [] }, /empty array/],
    [
      CHAT,
      { model: 'm', messages: [{ role: 'assistant', tool_calls }] },
      /did not have response messages: c1/,
    ],
    [
      CHAT,
      { model: 'm', messages: [{ role: 'tool', tool_call_id: 'c1', content: 'x' }] },
      /must be a response/,
    ],
    [RESPONSES, { model: 'm', input: [asked] }, /No tool output found for function call c1/],
    [RESPONSES, { model: 'm', input: [answered] }, /No tool call found/],
    [RESPONSES, { model: 'm', input: [asked, answered, answered] }, /No tool call found/],
    [
      RESPONSES,
      {
        model: 'm',
        store: false,
        input: [{ type: 'reasoning', id: 'rs_1', summary: [], encrypted_content: 'forged' }, asked, answered],
      },
      /could not be verified/,
    ],
    [
      RESPONSES,
      { model: 'm', input: [{ type: 'reasoning', id: 'rs_1', summary: [] }] },
      /required following item/,
    ],
    [RESPONSES, { model: 'm', store: false, input: [{ type: 'item_reference', id: 'x' }] }, /not persisted/],
    [GEMINI, { contents: [] }, /contents is not specified/],
    [
      GEMINI,
      { contents: [g('user', { text: 'Hi' }), g('model', { functionCall })] },
      /followed by a function response/,
    ],
    [
      GEMINI_2,
      {
        contents: [
          g('user', { text: 'Hi' }),
          g('model', { functionCall }, { functionCall }),
          g('user', { functionResponse: { name: 't' } }),
        ],
      },
      /number of function response parts/,
    ],
    [
      GEMINI,
      {
        contents: [
          g('user', { text: 'Hi' }),
          g('model', { functionCall }),
          g('user', { functionResponse: { name: 't' } }),
        ],
      },
      /missing a thought_signature/,
    ],
  ])('%s %j', async (path, body, message) => {
    server.script({ steps: [{ text: 'never sent' }] });
    const response = await post(path, body);
    expect(response.status).toBe(400);
    expect(JSON.parse(await response.text()).error.message).toMatch(message);
  });
});
