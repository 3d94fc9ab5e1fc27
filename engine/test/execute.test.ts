import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type ModelServer, startModelServer } from '@september/model-server';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Engine, startEngine, temporaryFolder } from './support/engine.ts';
import { all, events, execute, outline, rest, textOf, turn, until } from './support/stream.ts';

let folder: string;
let model: ModelServer;
let engine: Engine;

beforeAll(async () => {
  folder = temporaryFolder();
  mkdirSync(join(folder, 'workspace'));
  writeFileSync(join(folder, 'workspace', 'notes.txt'), 'The meeting is on Tuesday.');
  model = await startModelServer();
  engine = await startEngine(folder, {
    LLM_PROVIDER: 'anthropic',
    LLM_BASE_URL: `${model.url}/v1`,
    LLM_MODEL: 'claude-sonnet-4-5',
    AGENT_MAX_ITERATIONS: '3',
    TURN_TIMEOUT_S: '4',
  });
});

afterAll(async () => {
  await engine.stop();
  await model.close();
});

describe('a turn', () => {
  it('streams its events in the documented order, each with id and common fields', async () => {
    model.script({ steps: [{ text: 'Hello, world.' }], usage: { input_tokens: 12, output_tokens: 3 } });
    const received = await turn(engine, 'order', 'Hi');
    expect(outline(received)).toEqual([
      'thread_lifecycle started',
      'task_lifecycle',
      'content_block_start',
      'text_delta',
      'content_block_stop',
      'usage',
      'thread_lifecycle completed',
    ]);
    expect(textOf(received)).toBe('Hello, world.');
    expect(received.map((event) => event.id)).toEqual(
      [...received.map((event) => event.id)].sort((a, b) => a - b),
    );
    expect(new Set(received.map((event) => event.id)).size).toBe(received.length);
    expect(new Set(received.map((event) => event.data.task_id))).toEqual(new Set(['order']));
    expect(new Set(received.map((event) => event.data.turn_id)).size).toBe(1);
    expect(received.at(-2)?.data).toMatchObject({
      input_tokens: 12,
      output_tokens: 3,
      model: 'claude-sonnet-4-5',
    });
    expect(received.at(-1)?.data).toMatchObject({ stop_reason: 'end_turn' });
  });

  it('calls tools at once and gives their results back in the order of the calls', async () => {
    model.script(
      {
        steps: [
          { text: 'Let me look.' },
          { tool: 'read_file', input: { path: 'notes.txt' }, id: 'call_a' },
          { tool: 'list_files', input: {}, id: 'call_b' },
          { tool: 'read_file', input: { path: 7 }, id: 'call_c' },
          { tool: 'launch', input: {}, id: 'call_d' },
        ],
      },
      { steps: [{ text: 'Tuesday.' }] },
    );
    const received = await turn(engine, 'tools', 'When is the meeting?');
    const calls = received.filter((event) => event.type === 'tool_call');
    const results = received.filter((event) => event.type === 'tool_result');
    expect(calls.map((event) => event.data.tool_call_id)).toEqual(['call_a', 'call_b', 'call_c', 'call_d']);
    expect(results.map((event) => event.data.tool_call_id)).toEqual(['call_a', 'call_b', 'call_c', 'call_d']);
    expect(results.map((event) => event.data.error)).toEqual([
      undefined,
      undefined,
      'invalid_input',
      'not_found',
    ]);
    expect(results[0]?.data.output).toEqual({
      text: 'The meeting is on Tuesday.',
      size: 26,
      next_offset: null,
    });
    expect(results[1]?.data.output).toMatchObject({ entries: [{ name: 'notes.txt', type: 'file' }] });
    const stops = received.filter((event) => event.type === 'content_block_start');
    expect(stops.map((event) => event.data.block_index)).toEqual([0, 1, 2, 3, 4, 5]);
    expect(textOf(received)).toBe('Let me look.Tuesday.');
  });

  it('remembers the conversation, and sends it again exactly as before', async () => {
    model.script({ steps: [{ text: 'Nice to meet you.' }] }, { steps: [{ text: 'Ada.' }] });
    await turn(engine, 'memory', 'I am Ada.');
    const before = model.requests.at(-1)?.body;
    await turn(engine, 'memory', 'Who am I?');
    const after = model.requests.at(-1)?.body;
    expect(after?.system).toEqual(before?.system);
    expect(after?.tools).toEqual(before?.tools);
    const text = JSON.stringify(after?.messages);
    expect(text).toContain('I am Ada.');
    expect(text).toContain('Nice to meet you.');
    expect(text.indexOf('Nice to meet you.')).toBeLessThan(text.indexOf('Who am I?'));
  });

  it('keeps tasks apart', async () => {
    model.script({ steps: [{ text: 'Noted.' }] }, { steps: [{ text: 'No idea.' }] });
    await turn(engine, 'apart-1', 'The word is swordfish.');
    await turn(engine, 'apart-2', 'What is the word?');
    expect(JSON.stringify(model.requests.at(-1)?.body)).not.toContain('swordfish');
  });

  it('tells a broken model call, drops its blocks and makes it again', async () => {
    model.script(
      { steps: [{ text: 'Half an ans' }, { cut: true }] },
      { steps: [{ text: 'A whole answer.' }] },
    );
    const received = await turn(engine, 'broken', 'Tell me.');
    const starts = received
      .filter((event) => event.type === 'content_block_start')
      .map((event) => event.data.block_index);
    const dropped = received
      .filter((event) => event.data.discarded === true)
      .map((event) => event.data.block_index);
    expect(starts).toEqual([0, 1]);
    expect(dropped).toEqual([0]);
    expect(received.at(-1)?.data).toMatchObject({ phase: 'completed' });
    model.script({ steps: [{ text: 'Yes.' }] });
    await turn(engine, 'broken', 'Sure?');
    expect(JSON.stringify(model.requests.at(-1)?.body.messages)).not.toContain('Half an ans');
  });

  it('ends at the iteration limit with its own code, and the task goes on', async () => {
    const again = { steps: [{ tool: 'list_files', input: {} }] };
    model.script(again, again, again);
    const received = await turn(engine, 'limit', 'Loop.');
    expect(outline(received).slice(-2)).toEqual(['thread_lifecycle errored', 'error']);
    expect(received.at(-1)?.data).toMatchObject({ error: 'AGENT_ITERATION_LIMIT' });
    model.script({ steps: [{ text: 'Done.' }] });
    expect(textOf(await turn(engine, 'limit', 'Stop.'))).toBe('Done.');
  });

  it('ends at the time limit with its own code', async () => {
    model.script({ steps: [{ text: 'Thinking' }, { until: new Promise(() => {}) }] });
    const received = await turn(engine, 'slow', 'Take your time.');
    expect(received.at(-1)?.data).toMatchObject({ type: 'error', error: 'TURN_TIMEOUT' });
    expect(received.filter((event) => event.data.discarded === true)).toHaveLength(1);
    expect(await model.requests.at(-1)?.ended).toBe('client_left');
  });

  it('says max_tokens when the answer was cut by the limit', async () => {
    model.script({ steps: [{ text: 'And then' }], stop_reason: 'max_tokens' });
    const received = await turn(engine, 'long', 'Go on.');
    expect(received.at(-1)?.data).toMatchObject({ phase: 'completed', stop_reason: 'max_tokens' });
  });
});

describe('a busy task', () => {
  it('answers 409, lets others run, and can be attached to', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    model.script({ steps: [{ text: 'One two ' }, { until: promise }, { text: 'three.' }] });
    const first = events(await execute(engine, { task_id: 'busy', message: 'Count.' }));
    const seen = await until(first, (event) => event.type === 'text_delta');

    const refused = await execute(engine, { task_id: 'busy', message: 'And?' });
    expect(refused.status).toBe(409);
    expect(await refused.json()).toMatchObject({ error: 'TASK_BUSY' });
    model.script({ steps: [{ text: 'Free.' }] });
    expect(textOf(await turn(engine, 'not-busy', 'You?'))).toBe('Free.');

    const last = seen.at(-1)?.id ?? 0;
    const attached = all(
      execute(
        engine,
        { task_id: 'busy', message: 'ignored' },
        { headers: { 'Last-Event-ID': String(last) } },
      ),
    );
    resolve();
    const remaining = await rest(first);
    expect(await attached).toEqual(remaining);
    expect(textOf([...seen, ...remaining])).toBe('One two three.');
  });

  it('attaches by an equal Idempotency-Key, also after the end, without running twice', async () => {
    const body = { task_id: 'idempotent', message: 'Once.', metadata: { order: 7 } };
    const headers = { 'Idempotency-Key': 'k-1' };
    const calls = model.requests.length;
    model.script({ steps: [{ text: 'Done once.' }] });
    const [one, two] = await Promise.all([
      all(execute(engine, body, { headers })),
      all(execute(engine, body, { headers })),
    ]);
    const three = await all(execute(engine, body, { headers }));
    expect(one).toEqual(two);
    expect(three).toEqual(one);
    expect(model.requests.length).toBe(calls + 1);

    const other = await execute(engine, { ...body, message: 'Something else.' }, { headers });
    expect(other.status).toBe(400);
    expect(await other.json()).toMatchObject({ error: 'INVALID_REQUEST' });
  });

  it('starts nothing when Last-Event-ID is sent and no turn runs', async () => {
    model.script({ steps: [{ text: 'Hi.' }] });
    const received = await turn(engine, 'ended', 'Hello');
    const calls = model.requests.length;
    const after = received[2]?.id ?? 0;
    const body = { task_id: 'ended', message: 'Hello' };
    const again = await all(execute(engine, body, { headers: { 'Last-Event-ID': String(after) } }));
    expect(again).toEqual(received.slice(3));
    expect(model.requests.length).toBe(calls);
    const unknown = await execute(
      engine,
      { ...body, task_id: 'never' },
      { headers: { 'Last-Event-ID': '0' } },
    );
    expect(unknown.status).toBe(404);
    expect(await unknown.json()).toMatchObject({ error: 'TASK_NOT_FOUND' });
  });
});

describe('an agent', () => {
  it('is named by the request; an unknown one is 404', async () => {
    model.script({ steps: [{ text: 'Yes?' }] });
    const received = await all(execute(engine, { task_id: 'agent', message: 'Hi', agent: 'assistant' }));
    expect(received[0]?.data).toMatchObject({ agent: 'assistant' });
    const refused = await execute(engine, { task_id: 'agent', message: 'Hi', agent: 'nobody' });
    expect(refused.status).toBe(404);
    expect(await refused.json()).toMatchObject({ error: 'NOT_FOUND' });
  });
});
