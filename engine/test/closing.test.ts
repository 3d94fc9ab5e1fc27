import { describe, expect, it } from 'vitest';
import { type Engine, startEngine, temporaryFolder } from './support/engine.ts';
import { scriptedModel } from './support/scripted.ts';
import { all, events, execute, outline, type Received, textOf, turn, until } from './support/stream.ts';

const model = await scriptedModel();
const GOES_ON = { ...model.settings, TOKEN_BUDGET_ENABLED: 'true' };
const engine = await startEngine(temporaryFolder(), GOES_ON);

const cut = (...steps: { text: string }[]) => ({ steps, stop_reason: 'max_tokens' as const });
const say = (text: string) => ({ steps: [{ text }] });
const asked = () => model.requests.length;
const end = (received: Received[]) => received.at(-1)?.data;

describe('an answer that is cut at MAX_TOKENS', () => {
  it('goes on until it is whole, and is one answer to the client', async () => {
    model.script(cut({ text: 'One, ' }), cut({ text: 'two, ' }), say('three.'));
    const received = await turn(engine, 'long', 'Count.');
    expect(textOf(received)).toBe('One, two, three.');
    expect(end(received)).toMatchObject({ phase: 'completed', stop_reason: 'end_turn' });
    expect(outline(received).filter((type) => type.startsWith('thread'))).toEqual([
      'thread_lifecycle started',
      'thread_lifecycle completed',
    ]);
    const { messages } = await engine.json('/tasks/long');
    expect(messages.at(-1).message_id).toBe(end(received)?.message_id);
    expect(messages.map(({ role }: { role: string }) => role).join(' ')).toBe(
      'user assistant user assistant user assistant',
    );
    // The word to go on is nobody's message: there is nothing of the person's to edit.
    const [, , go_on] = messages;
    expect(go_on.content[0]).toMatchObject({ note: 'continue' });
    const edit = { task_id: 'long', message: 'm', edit_message_id: go_on.message_id };
    expect((await execute(engine, edit)).status).toBe(400);
  });

  it('goes on in a sub-agent too, whose output is the whole of it', async () => {
    const input = { agent: 'assistant', message: 'Count.' };
    model.script(
      { steps: [{ tool: 'run_agent', input }] },
      cut({ text: 'One, ' }),
      say('two.'),
      say('It has counted.'),
    );
    const received = await turn(engine, 'nested', 'Have it counted.');
    const result = received.find((event) => event.type === 'tool_result');
    expect(result?.data.output).toBe('One, two.');
    expect(end(received)).toMatchObject({ phase: 'completed' });
  });

  it('goes on only as far as the guards allow', async () => {
    const engine = await startEngine(temporaryFolder(), { ...GOES_ON, AGENT_MAX_ITERATIONS: '3' });
    const before = asked();
    model.script(cut({ text: 'a' }), cut({ text: 'b' }), cut({ text: 'c' }));
    const received = await turn(engine, 'endless', 'Never stop.');
    expect(end(received)).toMatchObject({ error: 'AGENT_ITERATION_LIMIT' });
    expect(asked() - before).toBe(3);
    await engine.stop();
  });

  it('is the end where the flag is off, and says so', async () => {
    const engine = await startEngine(temporaryFolder(), model.settings);
    model.script(cut({ text: 'And then' }));
    expect(end(await turn(engine, 'off', 'Tell.'))).toMatchObject({ stop_reason: 'max_tokens' });
    await engine.stop();
  });

  it('is no answer where a tool call was cut: the model hears that its input is none', async () => {
    model.script(
      { steps: [{ tool: 'list_files', input: '{"path": "no' }], stop_reason: 'max_tokens' },
      say('I could not say it.'),
    );
    const received = await turn(engine, 'half a call', 'List.');
    expect(received.find((event) => event.type === 'tool_result')?.data).toMatchObject({
      error: 'invalid_input',
    });
    expect(textOf(received)).toBe('I could not say it.');
  });

  it('goes on after a kill from what was said before', async () => {
    const home = temporaryFolder();
    let engine: Engine = await startEngine(home, GOES_ON);
    model.script(cut({ text: 'One, ' }), { steps: [{ text: 'two' }, { until: new Promise(() => {}) }] });
    const body = { task_id: 'killed', message: 'Count.' };
    const stream = events(await execute(engine, body));
    const seen = await until(stream, ({ data }) => data.text === 'two');
    await engine.stop('SIGKILL');
    model.script(say('two.'));
    engine = await startEngine(home, GOES_ON);
    const headers = { 'Last-Event-ID': String(seen.at(-1)?.id) };
    const received = await all(execute(engine, body, { headers }));
    expect(textOf(received)).toBe('two.');
    expect(end(received)).toMatchObject({ phase: 'completed' });
    const { messages } = (model.requests.at(-1)?.body ?? {}) as { messages: unknown[] };
    expect(messages).toHaveLength(3);
    await engine.stop();
  });
});

it('the demo model goes on where it was cut', async () => {
  const engine = await startEngine(temporaryFolder(), { TOKEN_BUDGET_ENABLED: 'true', MAX_TOKENS: '5' });
  const received = await turn(engine, 'demo', 'count to 12');
  expect(textOf(received)).toBe('1 2 3 4 5 6 7 8 9 10 11 12');
  expect(end(received)).toMatchObject({ phase: 'completed', stop_reason: 'end_turn' });
  await engine.stop();
});
