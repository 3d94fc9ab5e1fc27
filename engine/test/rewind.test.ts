import { beforeAll, describe, expect, it } from 'vitest';
import { type Json, startEngine, temporaryFolder } from './support/engine.ts';
import { scriptedModel } from './support/scripted.ts';
import {
  all,
  errorOf,
  events,
  execute,
  outline,
  type Received,
  rest,
  textOf,
  turn,
  until,
} from './support/stream.ts';

const model = await scriptedModel();
const engine = await startEngine(temporaryFolder(), model.settings);

const first = (received: Received[]) => String(received[0]?.data.message_id);
const last = (received: Received[]) => String(received.at(-1)?.data.message_id);

/** A turn of one answer. */
async function say(task_id: string, message: string, answer: string, fields = {}): Promise<Received[]> {
  model.script({ steps: [{ text: answer }] });
  return all(execute(engine, { task_id, message, ...fields }));
}

/** What the last model call was shown of the conversation, role and text of each message. */
function sent(): string[] {
  const messages: Json = model.requests.at(-1)?.body.messages;
  return messages.map(({ role, content }: Json) =>
    [role, ...(typeof content === 'string' ? [content] : content.map((each: Json) => each.text))].join(': '),
  );
}

/** The task's messages, what is superseded in brackets. */
async function conversation(task_id: string): Promise<string[]> {
  const { messages } = await engine.json(`/tasks/${task_id}`);
  return messages.map(({ content: [block], superseded }: Json) => {
    const text = block.text ?? block.type;
    return superseded ? `(${text})` : text;
  });
}

describe('an edit', () => {
  it('replaces a message and all after it; what was before is sent as before', async () => {
    await say('edit', 'I am Ada.', 'Hello Ada.');
    const asked = await say('edit', 'How far is the moon?', '384,000 km.');
    await say('edit', 'And there and back?', '768,000 km.');
    const received = await say('edit', 'How far is the sun?', '150,000,000 km.', {
      edit_message_id: first(asked),
    });
    expect(outline(received).slice(0, 3)).toEqual([
      'thread_lifecycle started',
      'task_lifecycle',
      'content_block_start',
    ]);
    expect(received[1]?.data).toMatchObject({ phase: 'edited' });
    expect(sent()).toEqual(['user: I am Ada.', 'assistant: Hello Ada.', 'user: How far is the sun?']);
    expect(first(received)).not.toBe(first(asked));
    expect(await conversation('edit')).toEqual([
      'I am Ada.',
      'Hello Ada.',
      '(How far is the moon?)',
      '(384,000 km.)',
      '(And there and back?)',
      '(768,000 km.)',
      'How far is the sun?',
      '150,000,000 km.',
    ]);

    await say('edit', 'Thanks.', 'Gladly.');
    expect(sent().slice(2)).toEqual([
      'user: How far is the sun?',
      'assistant: 150,000,000 km.',
      'user: Thanks.',
    ]);
  });

  it('of the very first message starts the conversation again; tools and sub-agents of it are forgotten', async () => {
    model.script(
      { steps: [{ tool: 'run_agent', input: { agent: 'assistant', message: 'Seek the swordfish.' } }] },
      { steps: [{ text: 'Found the swordfish.' }] },
      { steps: [{ text: 'There.' }] },
    );
    const received = await turn(engine, 'edit-all', 'Find the swordfish.');
    await say('edit-all', 'Find the cod.', 'Here.', { edit_message_id: first(received) });
    expect(sent()).toEqual(['user: Find the cod.']);
    expect(await engine.json('/tasks/edit-all')).toMatchObject({ turns: 2, status: 'idle' });
  });
});

describe('a retry', () => {
  it('answers a message again, named by itself or by its answer; its own text adds nothing', async () => {
    await say('retry', 'I am Ada.', 'Hello Ada.');
    const asked = await say('retry', 'A number?', 'Four.');
    const again = await say('retry', 'ignored', 'Five.', { retry_message_id: last(asked) });
    expect(again[0]?.data).toMatchObject({ phase: 'started', message_id: first(asked) });
    expect(again[1]?.data).toMatchObject({ type: 'task_lifecycle', phase: 'retried' });
    expect(sent()).toEqual(['user: I am Ada.', 'assistant: Hello Ada.', 'user: A number?']);
    const third = await say('retry', 'ignored', 'Six.', { retry_message_id: first(asked) });
    expect(first(third)).toBe(first(asked));
    expect(await conversation('retry')).toEqual([
      'I am Ada.',
      'Hello Ada.',
      'A number?',
      '(Four.)',
      '(Five.)',
      'Six.',
    ]);
    const { messages, turn_list } = await engine.json('/tasks/retry');
    expect(turn_list).toHaveLength(4);
    expect(messages.at(-1)).toMatchObject({ message_id: last(third), turn_id: turn_list[3].turn_id });
    await say('retry', 'Plus one?', 'Seven.');
    expect(sent().slice(2)).toEqual(['user: A number?', 'assistant: Six.', 'user: Plus one?']);
  });

  it('from an earlier message leaves out the later ones, and runs the tools anew', async () => {
    const call = { steps: [{ tool: 'list_files', input: {} }] };
    model.script(call, { steps: [{ text: 'None.' }] });
    const asked = await turn(engine, 'early', 'Which files?');
    await say('early', 'Sure?', 'Yes.');
    model.script(call, { steps: [{ text: 'Still none.' }] });
    const again = await all(
      execute(engine, { task_id: 'early', message: '-', retry_message_id: first(asked) }),
    );
    expect(again.filter((event) => event.type === 'tool_result')).toHaveLength(1);
    expect(await conversation('early')).toEqual([
      'Which files?',
      '(tool_use)',
      '(tool_result)',
      '(None.)',
      '(Sure?)',
      '(Yes.)',
      'tool_use',
      'tool_result',
      'Still none.',
    ]);
  });

  it('is what one does after a failure', async () => {
    model.script({ status: 401 });
    const failed = await turn(engine, 'failed', 'Hi');
    expect(failed.at(-1)?.type).toBe('error');
    const received = await say('failed', 'Hi', 'Hello.', { retry_message_id: first(failed) });
    expect(textOf(received)).toBe('Hello.');
    expect(await conversation('failed')).toEqual(['Hi', 'Hello.']);
    expect(await engine.json('/tasks/failed')).toMatchObject({ status: 'idle', turns: 2 });
  });
});

describe('is refused before the stream', () => {
  let asked: Received[];
  const refused = async (task_id: string, fields: Record<string, unknown>) => {
    const answer = await execute(engine, { task_id, message: 'Again.', ...fields });
    return [answer.status, await errorOf(answer)];
  };

  beforeAll(async () => {
    asked = await say('refused', 'Hi', 'Hello.');
  });

  it.each(['edit_message_id', 'retry_message_id'])(
    '%s: an unknown task, an unknown message',
    async (field) => {
      expect(await refused('nobody', { [field]: first(asked) })).toEqual([404, 'TASK_NOT_FOUND']);
      expect((await engine.fetch('/tasks/nobody')).status).toBe(404);
      expect(await refused('refused', { [field]: 'msg-none' })).toEqual([404, 'NOT_FOUND']);
      await say('refused-too', 'Hi', 'Hello.');
      expect(await refused('refused-too', { [field]: first(asked) })).toEqual([404, 'NOT_FOUND']);
    },
  );

  it('a message that is no longer part of the conversation', async () => {
    const before = await say('replaced', 'Hi', 'Hello.');
    await say('replaced', 'Hi!', 'Hello!', { edit_message_id: first(before) });
    for (const field of ['edit_message_id', 'retry_message_id']) {
      expect(await refused('replaced', { [field]: first(before) })).toEqual([404, 'NOT_FOUND']);
    }
  });

  it('an edit of what the user did not say', async () => {
    model.script({ steps: [{ tool: 'list_files', input: {} }] }, { steps: [{ text: 'None.' }] });
    await turn(engine, 'not-mine', 'Which files?');
    const { messages } = await engine.json('/tasks/not-mine');
    for (const { message_id } of messages.slice(1)) {
      expect(await refused('not-mine', { edit_message_id: message_id })).toEqual([400, 'INVALID_REQUEST']);
    }
    expect((await conversation('not-mine')).filter((text) => text.startsWith('('))).toEqual([]);
  });

  it('while a turn is in flight', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    model.script({ steps: [{ text: 'Wait' }, { until: promise }] });
    const stream = events(await execute(engine, { task_id: 'refused', message: 'Go.' }));
    await until(stream, (event) => event.type === 'text_delta');
    expect(await refused('refused', { retry_message_id: first(asked) })).toEqual([409, 'TASK_BUSY']);
    resolve();
    await rest(stream);
    expect((await conversation('refused')).filter((text) => text.startsWith('('))).toEqual([]);
  });
});

it('goes on after kill -9, is found by the same request, and by no other', async () => {
  const folder = temporaryFolder();
  let own = await startEngine(folder, model.settings);
  model.script({ steps: [{ text: 'Four.' }] }, { steps: [{ text: 'Fi' }, { until: new Promise(() => {}) }] });
  const asked = await turn(own, 'killed', 'A number?');
  const body = { task_id: 'killed', message: 'A number?', retry_message_id: first(asked) };
  const seen = await until(events(await execute(own, body)), (event) => event.type === 'text_delta');
  await own.stop('SIGKILL');

  const { promise, resolve } = Promise.withResolvers<void>();
  model.script({ steps: [{ text: 'Five' }, { until: promise }, { text: '.' }] });
  own = await startEngine(folder, model.settings);
  for (const other of [
    { retry_message_id: null },
    { retry_message_id: null, edit_message_id: first(asked) },
  ]) {
    expect(await errorOf(await execute(own, { ...body, ...other }))).toBe('TASK_BUSY');
  }
  const same = await execute(own, body);
  resolve();
  const received = await all(same);
  expect(received.slice(0, seen.length)).toEqual(seen);
  expect(received.filter((event) => event.data.phase === 'retried')).toHaveLength(1);
  expect(received.at(-1)?.data).toMatchObject({ phase: 'completed' });
  expect(sent()).toEqual(['user: A number?']);
  await own.stop();
});
