import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Reply } from '@september/model-server';
import { describe, expect, it } from 'vitest';
import { catalogOf } from './support/catalog.ts';
import { startEngine, temporaryFolder } from './support/engine.ts';
import { answer, asks, isAsked } from './support/person.ts';
import { scriptedModel } from './support/scripted.ts';
import { all, events, execute, outline, rest, textOf, turn, until } from './support/stream.ts';

const model = await scriptedModel();
const folder = temporaryFolder();
const engine = await startEngine(folder, {
  ...model.settings,
  ...catalogOf({
    assistant: ['ask_user', 'list_files', 'run_agent', 'write_file'],
    reader: ['list_files', 'read_file'],
  }),
});

const agent = (message: string, name = 'assistant') => ({
  tool: 'run_agent',
  input: { agent: name, message },
});

describe('they', () => {
  it('have the tools of their own list and no others, also when they name one', async () => {
    const write = { tool: 'write_file', input: { path: 'not_mine.txt', content: 'x' } };
    model.script(
      { steps: [agent('Write a file.', 'reader')] },
      { steps: [write] },
      { steps: [{ text: 'I cannot write.' }] },
      { steps: [{ text: 'It cannot.' }] },
    );
    const received = await turn(engine, 'tools', 'Have it written.');
    const [refused] = received.filter((event) => event.type === 'tool_result').map((event) => event.data);
    expect(refused).toMatchObject({
      tool: 'write_file',
      error: 'not_found',
      output: expect.stringMatching(/list_files, read_file/),
    });
    expect(refused?.output).not.toContain('run_agent');
    expect(existsSync(join(folder, 'workspace', 'not_mine.txt'))).toBe(false);
    expect(textOf(received)).toContain('It cannot.');
  });

  it('work at the same time, in threads of their own, and give their last words', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    model.script({ steps: Array.from({ length: 10 }, (_, n) => agent(`Part ${n}`)) });
    const asked: string[] = [];
    model.answer((request) => {
      const [message] = request.body.messages as { content: { text?: string }[] }[];
      const text = String(message?.content[0]?.text);
      if (!text.startsWith('Part')) return { steps: [{ text: 'Together.' }] };
      asked.push(text);
      // None answers before all were asked: they can only have been asked side by side.
      if (asked.length === 10) resolve();
      return { steps: [{ until: promise }, { text: `Done with ${text}.` }] };
    });
    const received = await turn(engine, 'team', 'Divide.');
    const results = received.filter((event) => event.type === 'tool_result');
    expect(results.map((event) => event.data.output)).toEqual(
      Array.from({ length: 10 }, (_, n) => `Done with Part ${n}.`),
    );
    const calls = received
      .filter((event) => event.type === 'tool_call')
      .map((event) => event.data.tool_call_id);
    const parents = new Set(received.map((event) => event.data.parent_tool_call_id));
    expect(parents).toEqual(new Set([undefined, ...calls]));
    expect(textOf(received.filter((event) => event.data.parent_tool_call_id === undefined))).toBe(
      'Together.',
    );
    // Their messages are not the conversation's.
    model.answer(() => ({ steps: [{ text: 'Yes.' }] }));
    await turn(engine, 'team', 'All done?');
    const messages = model.requests.at(-1)?.body.messages as unknown[];
    expect(messages).toHaveLength(5);
  });

  it('ask in the stream of their parent, and go on with the answer', async () => {
    model.script(
      { steps: [agent('Ask for me.')] },
      { steps: [asks('Which one?')] },
      { steps: [{ text: 'The left one.' }] },
      { steps: [{ text: 'Left.' }] },
    );
    const stream = events(await execute(engine, { task_id: 'nested', message: 'Find out.' }));
    const seen = await until(stream, isAsked);
    const call = seen.find((event) => event.type === 'tool_call');
    expect(seen.at(-1)?.data).toMatchObject({ parent_tool_call_id: call?.data.tool_call_id });
    await answer(engine, { task_id: 'nested', answer: 'left' });
    const remaining = await rest(stream);
    expect(
      remaining.filter((event) => event.type === 'tool_result').map((event) => event.data.output),
    ).toEqual(['left', 'The left one.']);
    expect(remaining.at(-1)?.data).toMatchObject({ phase: 'completed' });
  });

  it('go three deep, and an unknown one is told with those there are', async () => {
    model.script(
      { steps: [agent('1'), agent('x', 'nobody')] },
      { steps: [agent('2')] },
      { steps: [agent('3')] },
      { steps: [agent('4')] },
      { steps: [{ text: 'I am the third.' }] },
      { steps: [{ text: 'Second.' }] },
      { steps: [{ text: 'First.' }] },
      { steps: [{ text: 'End.' }] },
    );
    const received = await turn(engine, 'deep', 'Down.');
    const results = received.filter((event) => event.type === 'tool_result').map((event) => event.data);
    expect(results.map(({ output, error }) => error ?? output)).toEqual([
      'execution_failed',
      'I am the third.',
      'Second.',
      'First.',
      'not_found',
    ]);
    expect(results.at(-1)?.output).toContain('assistant');
  });
});

describe('one that fails at its work', () => {
  const look = { tool: 'list_files', input: {} };

  it.each<[string, Reply[]]>([
    ['REPEATED_TOOL_CALL', [1, 2, 3, 4, 5].map(() => ({ steps: [look] }))],
    ['CONTEXT_OVERFLOW', [{ context_overflow: true }]],
    ['LLM_PROVIDER_ERROR', [{ status: 401 }]],
    ['LLM_RATE_LIMITED', [{ status: 429, retry_after_s: 3600 }]],
  ])('%s: its parent reads why, and goes on', async (code, replies) => {
    model.script({ steps: [agent('Look.', 'reader')] }, ...replies, { steps: [{ text: 'Never mind.' }] });
    const received = await turn(engine, code, 'Have it looked at.');
    const result = received.findLast((event) => event.type === 'tool_result')?.data;
    expect(result).toMatchObject({ tool: 'run_agent', error: code });
    expect(result?.output).toMatch(/^reader did not finish its work: it \w/);
    expect(textOf(received)).toBe('Never mind.');
    expect(received.at(-1)?.data).toMatchObject({ phase: 'completed' });
  });
});

describe('one that runs into what ends the turn', () => {
  const look = (path: string) => ({ tool: 'list_files', input: { path } });

  it('ends it as what it is, and nothing of the others comes after that', async () => {
    const small = await startEngine(temporaryFolder(), {
      ...model.settings,
      TURN_MAX_TOKENS: '20000',
      MAX_TOKENS: '1000',
    });
    const { promise: speaks, resolve } = Promise.withResolvers<void>();
    model.script({ steps: [agent('Spend.'), agent('Speak.')] });
    model.answer(({ body }) =>
      JSON.stringify(body.messages).includes('Speak.')
        ? { steps: [{ text: 'On and ' }, { until: new Promise(() => {}) }] }
        : { steps: [{ until: speaks }, look('.')], usage: { input_tokens: 18_500, output_tokens: 500 } },
    );
    const stream = events(await execute(small, { task_id: 'spent', message: 'Divide.' }));
    const seen = await until(stream, (event) => event.type === 'text_delta');
    resolve();
    seen.push(...(await rest(stream)));
    expect(outline(seen).slice(-3)).toEqual(['content_block_stop', 'thread_lifecycle errored', 'error']);
    expect(seen.at(-1)?.data).toMatchObject({ error: 'TURN_TOKEN_LIMIT', details: { limit: 20_000 } });
    expect(await all(small.fetch('/execute/replay?after=0&task_id=spent'))).toEqual(seen);
    await small.stop();
  });

  it('also by the number of model calls', async () => {
    const short = await startEngine(temporaryFolder(), { ...model.settings, AGENT_MAX_ITERATIONS: '3' });
    model.script({ steps: [agent('Look.')] }, { steps: [look('.')] }, { steps: [look('./.')] });
    const received = await turn(short, 'calls', 'Have it looked at.');
    expect(received.at(-1)?.data).toMatchObject({ type: 'error', error: 'AGENT_ITERATION_LIMIT' });
    model.script({ steps: [{ text: 'Yes.' }] });
    expect(textOf(await turn(short, 'calls', 'Still there?'))).toBe('Yes.');
    await short.stop();
  });
});
