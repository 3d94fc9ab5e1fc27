import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type ModelServer, startModelServer } from '@september/model-server';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Engine, startEngine, temporaryFolder } from './support/engine.ts';
import { all, execute, outline, textOf, turn } from './support/stream.ts';

const PROVIDERS: { name: string; path: string; thinks: boolean; env: Record<string, string> }[] = [
  {
    name: 'anthropic',
    path: '/v1',
    thinks: true,
    env: { LLM_PROVIDER: 'anthropic', LLM_MODEL: 'claude-sonnet-4-5' },
  },
  {
    name: 'openai responses',
    path: '/v1',
    thinks: true,
    env: { LLM_PROVIDER: 'openai', LLM_MODEL: 'gpt-5', LLM_OPENAI_API: 'responses' },
  },
  {
    name: 'openai chat',
    path: '/v1',
    thinks: false,
    env: { LLM_PROVIDER: 'openai', LLM_MODEL: 'gpt-4o', LLM_OPENAI_API: 'chat' },
  },
  {
    name: 'gemini',
    path: '/v1beta',
    thinks: true,
    env: { LLM_PROVIDER: 'gemini', LLM_MODEL: 'gemini-2.5-pro' },
  },
];

describe.each(PROVIDERS)('$name, through the whole Engine', ({ path, thinks, env }) => {
  let model: ModelServer;
  let engine: Engine;

  beforeAll(async () => {
    const folder = temporaryFolder();
    model = await startModelServer();
    engine = await startEngine(folder, {
      ...env,
      LLM_API_KEY: 'sk-provider',
      LLM_BASE_URL: model.url + path,
    });
    writeFileSync(join(folder, 'workspace', 'notes.txt'), 'Tuesday.');
  });

  afterAll(async () => {
    await engine.stop();
    await model.close();
  });

  const failed = (received: { data: Record<string, unknown> }[]) => {
    const [lifecycle, error] = received.slice(-2).map((event) => event.data);
    expect(lifecycle).toMatchObject({ type: 'thread_lifecycle', phase: 'errored' });
    expect(error?.type).toBe('error');
    expect(lifecycle?.error).toMatchObject({ error: error?.error, message: error?.message });
    expect(JSON.stringify(error)).not.toContain('sk-provider');
    return error;
  };

  it('text', async () => {
    model.script({
      steps: [{ text: 'Grüße, 世界!', chunks: 4 }],
      usage: { input_tokens: 9, output_tokens: 4 },
    });
    const received = await turn(engine, 'text', 'Hi');
    expect(textOf(received)).toBe('Grüße, 世界!');
    expect(received.find((event) => event.type === 'usage')?.data).toMatchObject({
      input_tokens: 9,
      output_tokens: 4,
    });
    expect(received.at(-1)?.data).toMatchObject({ phase: 'completed', stop_reason: 'end_turn' });
  });

  it('tools, their calls in fragments', async () => {
    model.script(
      {
        steps: [
          { tool: 'read_file', input: { path: 'notes.txt' }, fragments: 5 },
          { tool: 'list_files', input: {} },
        ],
      },
      { steps: [{ text: 'On Tuesday.' }] },
    );
    const received = await turn(engine, 'tools', 'When?');
    const results = received.filter((event) => event.type === 'tool_result').map((event) => event.data);
    expect(results).toMatchObject([
      { tool: 'read_file', output: { text: 'Tuesday.' } },
      { tool: 'list_files', output: { entries: [{ name: 'notes.txt' }] } },
    ]);
    expect(textOf(received)).toBe('On Tuesday.');
    expect(JSON.stringify(model.requests.at(-1)?.body)).toContain('Tuesday.');
  });

  it('thinking, where the wire has it', async () => {
    model.script({ steps: [{ thinking: 'Let me see.' }, { text: 'Four.' }] });
    const received = await all(
      execute(engine, { task_id: 'thinking', message: '2 + 2?', super_thinking: true }),
    );
    expect(outline(received)).toEqual([
      'thread_lifecycle started',
      'task_lifecycle',
      ...(thinks ? ['content_block_start', 'thinking_delta', 'content_block_stop'] : []),
      'content_block_start',
      'text_delta',
      'content_block_stop',
      'usage',
      'thread_lifecycle completed',
    ]);
    model.script({ steps: [{ text: 'Eight.' }] });
    expect(textOf(await turn(engine, 'thinking', 'Doubled?'))).toBe('Eight.');
  });

  it('429: waits as told, then answers', async () => {
    model.script({ status: 429, retry_after_s: 0 }, { steps: [{ text: 'There.' }] });
    const received = await turn(engine, 'limited', 'Hi');
    expect(textOf(received)).toBe('There.');
    expect(received.filter((event) => event.data.discarded)).toEqual([]);
  });

  it('429 for good: LLM_RATE_LIMITED', async () => {
    model.script(...Array(3).fill({ status: 429, retry_after_s: 0 }));
    expect(failed(await turn(engine, 'rate', 'Hi'))).toMatchObject({ error: 'LLM_RATE_LIMITED' });
  });

  it('500 for good: LLM_PROVIDER_ERROR, degraded in /health, and the task goes on', async () => {
    model.script(...Array(3).fill({ status: 500 }));
    expect(failed(await turn(engine, 'down', 'Hi'))).toMatchObject({ error: 'LLM_PROVIDER_ERROR' });
    const degraded = await fetch(`${engine.url}/health`);
    expect(degraded.status).toBe(200);
    expect(await degraded.json()).toMatchObject({
      status: 'degraded',
      subsystems: { llm_provider: 'error' },
    });
    model.script({ steps: [{ text: 'Back.' }] });
    expect(textOf(await turn(engine, 'down', 'And now?'))).toBe('Back.');
    expect(await (await fetch(`${engine.url}/health`)).json()).toMatchObject({ status: 'ok' });
  });

  it('a cut connection: the block is dropped and the call made again', async () => {
    model.script({ steps: [{ text: 'Half of ' }, { cut: true }] }, { steps: [{ text: 'All of it.' }] });
    const received = await turn(engine, 'cut', 'Tell me.');
    expect(received.filter((event) => event.data.discarded)).toHaveLength(1);
    expect(textOf(received)).toMatch(/^Half of ?All of it\.$/);
    expect(received.at(-1)?.data).toMatchObject({ phase: 'completed' });
  });

  it('cut every time: an error, with nothing of it kept', async () => {
    model.script(...Array(3).fill({ steps: [{ text: 'Half of ' }, { cut: true }] }));
    const received = await turn(engine, 'cut-always', 'Tell me.');
    expect(failed(received)).toMatchObject({ error: 'LLM_PROVIDER_ERROR' });
    expect(received.filter((event) => event.data.discarded)).toHaveLength(3);
    model.script({ steps: [{ text: 'Sorry.' }] });
    await turn(engine, 'cut-always', 'Again.');
    expect(JSON.stringify(model.requests.at(-1)?.body)).not.toContain('Half of');
  });

  it('a context too large: CONTEXT_OVERFLOW, at once', async () => {
    model.script({ context_overflow: true });
    const calls = model.requests.length;
    expect(failed(await turn(engine, 'overflow', 'Hi'))).toMatchObject({ error: 'CONTEXT_OVERFLOW' });
    expect(model.requests.length).toBe(calls + 1);
  });
});
