import { describe, expect, it } from 'vitest';
import { createHerald, type ModelRequest } from '../../src/herald/index.ts';
import type { Message, StreamEvent, ToolDef } from '../../src/types.ts';
import { MODELS } from './support.ts';

const at_once = {
  now: Date.now,
  wait: async (_: number, signal: AbortSignal) => signal.throwIfAborted(),
  random: () => 0,
};
const demo = { provider: 'demo', model: 'demo', api_keys: {}, models: MODELS, log: { warn() {} } } as const;
const herald = createHerald({ ...demo, clock: at_once });

const tool = (name: string): ToolDef => ({ name, description: name, input_schema: { type: 'object' } });
const TOOLS = ['read_file', 'list_files', 'bash', 'web_fetch'].map(tool);

/** A conversation in which the person said these things, with some answer between. */
function conversation(...said: string[]): Message[] {
  return said.flatMap((text, index): Message[] => [
    ...(index === 0
      ? []
      : [{ role: 'assistant' as const, content: [{ type: 'text' as const, text: 'Yes.' }] }]),
    { role: 'user', content: [{ type: 'text', text }] },
  ]);
}

async function ask(messages: Message[], options: Partial<ModelRequest> = {}) {
  const events: StreamEvent[] = [];
  const request: ModelRequest = {
    model: 'demo',
    system: 'You are helpful.',
    messages,
    tools: TOOLS,
    max_tokens: 4096,
    thinking: false,
    signal: new AbortController().signal,
    ...options,
  };
  for await (const event of herald.complete(request)) events.push(event);
  const blocks = events.flatMap((event) => (event.type === 'block_stop' ? [event.block] : []));
  const text = events.flatMap((event) => (event.type === 'text' ? [event.text] : [])).join('');
  return { events, blocks, text, finish: events.at(-1) };
}

describe('demo model', () => {
  it.each([
    [['Say hello.'], /^Hello! I am the demo model/],
    [['Who are you?'], /demo model.*no provider key/],
    [['What can you do?'], /list the files/],
    [['help'], /LLM_PROVIDER/],
    [['I like figs.', 'What did I say?'], /"I like figs\."/],
    [['One.', 'Two.', 'What was my first message?'], /"One\."/],
    [['What did I just say?'], /nothing before/],
    [['My name is Ada.'], /Nice to meet you, Ada\./],
    [['My name is Ada', 'Hm.', 'What is my name?'], /Your name is Ada/],
    [['My name is Ada', 'My name is Zoë', "What's my name?"], /Your name is Zoë/],
    [['What is my name?'], /not told me/],
    [['A.', 'B.', 'How many messages did I send?'], /3 in this conversation/],
    [['What is 17 * 3?'], /17 \* 3 = 51/],
    [['12 divided by 0'], /cannot divide by zero/],
    [['Count to 5'], /^1 2 3 4 5$/],
    [['Colourless green ideas'], /You said: "Colourless green ideas".*demo model/],
  ])('answers %j', async (said, expected) => {
    const answer = await ask(conversation(...said));
    expect(answer.text).toMatch(expected);
    expect(answer.blocks).toEqual([{ type: 'text', text: answer.text }]);
    expect(answer.finish).toMatchObject({ type: 'finish', stop_reason: 'end_turn', model: 'demo' });
  });

  it.each([
    ['read the file notes.txt', 'read_file', { path: 'notes.txt' }],
    ['Please read the file "my notes.txt" for me.', 'read_file', { path: 'my notes.txt' }],
    ['Can you open /tmp/a-b/c.md?', 'read_file', { path: '/tmp/a-b/c.md' }],
    ['show me the file called todo.', 'read_file', { path: 'todo' }],
    ['list the files', 'list_files', {}],
    ['What files are there in the folder src/http?', 'list_files', { path: 'src/http' }],
    ['List all files in `my dir`', 'list_files', { path: 'my dir' }],
    ['run: ls -la | wc -l', 'bash', { command: 'ls -la | wc -l' }],
    ['Please run the command `cat notes.txt`', 'bash', { command: 'cat notes.txt' }],
    ['$ echo "read the file a.txt"', 'bash', { command: 'echo "read the file a.txt"' }],
    ['Fetch https://example.com/a?b=1.', 'web_fetch', { url: 'https://example.com/a?b=1' }],
  ])('calls a tool for %j', async (said, name, input) => {
    const answer = await ask(conversation(said));
    expect(answer.blocks.at(-1)).toEqual({ type: 'tool_use', id: 'demo-call-1', name, input });
    expect(answer.finish).toMatchObject({ stop_reason: 'tool_use' });
  });

  it('does not call a tool that it was not given', async () => {
    const answer = await ask(conversation('read the file notes.txt'), { tools: [] });
    expect(answer.blocks.map((block) => block.type)).toEqual(['text']);
    expect(answer.text).toMatch(/read_file, which this agent does not have/);
  });

  it('answers a tool result with a digest, and an error with its reason', async () => {
    const called: Message[] = [
      ...conversation('read the file notes.txt'),
      {
        role: 'assistant',
        content: [{ type: 'tool_use', id: 'c1', name: 'read_file', input: { path: 'notes.txt' } }],
      },
    ];
    const result = (output: unknown, error?: string): Message => ({
      role: 'user',
      content: [{ type: 'tool_result', tool_use_id: 'c1', output, ...(error && { error }) }],
    });
    const good = await ask([...called, result({ text: 'first\nsecond\n', size: 13, next_offset: null })]);
    expect(good.text).toBe('read_file of notes.txt gave:\nfirst\nsecond');
    expect(good.finish).toMatchObject({ stop_reason: 'end_turn' });
    const listed = await ask([...called, result({ path: '/w', entries: [{ name: 'a.txt', type: 'file' }] })]);
    expect(listed.text).toMatch(/gave:\n- a\.txt$/);
    const ran = await ask([...called, result({ stdout: 'a\n', stderr: 'b\n', exit_code: 1 })]);
    expect(ran.text).toMatch(/gave:\na\nb$/);
    const long = await ask([...called, result('x'.repeat(10_000))]);
    expect(long.text.length).toBeLessThan(500);
    const bad = await ask([...called, result('', 'not_found')]);
    expect(bad.text).toBe('read_file of notes.txt failed (not_found).');
  });

  it('frames every block, counts them from 0, and streams word by word', async () => {
    const { events } = await ask(conversation('list the files'), { thinking: true });
    expect(events.filter((event) => event.type.startsWith('block_'))).toMatchObject([
      { type: 'block_start', index: 0, block_type: 'thinking' },
      { type: 'block_stop', index: 0 },
      { type: 'block_start', index: 1, block_type: 'text' },
      { type: 'block_stop', index: 1 },
      { type: 'block_start', index: 2, block_type: 'tool_use' },
      { type: 'block_stop', index: 2 },
    ]);
    expect(events.filter((event) => event.type === 'text').map((event) => event.text)).toEqual([
      'Let',
      ' me',
      ' call',
      ' list_files.',
    ]);
  });

  it('stops at max_tokens', async () => {
    const answer = await ask(conversation('count to 100'), { max_tokens: 3 });
    expect(answer.text).toBe('1 2 3');
    expect(answer.finish).toMatchObject({ stop_reason: 'max_tokens' });
  });

  it('hears the last text of a message: what the Engine put before it is context', async () => {
    const answer = await ask([
      {
        role: 'user',
        content: [
          { type: 'text', text: 'Working memory: my name is Bob' },
          { type: 'text', text: 'What is 1 + 1?' },
        ],
      },
    ]);
    expect(answer.text).toBe('1 + 1 = 2');
  });

  it('is not held up by a message of a megabyte', async () => {
    const answer = await ask(conversation('read the '.repeat(120_000)));
    expect(answer.text.length).toBeLessThan(5000);
  });

  it('ends with the reason of the abort, in the middle of its real pace', async () => {
    const slow = createHerald(demo);
    const abort = new AbortController();
    const reason = new Error('stopped by the test');
    const request = { ...{ model: 'demo', system: '', tools: [], max_tokens: 4096, thinking: false } };
    const consume = async () => {
      for await (const event of slow.complete({
        ...request,
        messages: conversation('count to 1000'),
        signal: abort.signal,
      })) {
        if (event.type === 'text') abort.abort(reason);
      }
    };
    await expect(consume()).rejects.toBe(reason);
  });
});
