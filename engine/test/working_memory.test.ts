import { describe, expect, it } from 'vitest';
import { NOTE_LIMITS } from '../src/brain/working_memory.ts';
import { randomId } from '../src/ids.ts';
import { openTurn, turnRecord } from '../src/turn/record.ts';
import { brainOf } from './support/brain.ts';
import { type Json, startEngine, temporaryFolder } from './support/engine.ts';
import { scriptedModel } from './support/scripted.ts';
import { NO_SECRETS } from './support/secrets.ts';
import { all, execute, type Received, turn } from './support/stream.ts';

const model = await scriptedModel();
const engine = await startEngine(temporaryFolder(), model.settings);

const note = (key: string, value: string | null) => ({
  tool: 'working_memory_write',
  input: { key, value },
});
const answer = (text = 'Well.') => ({ steps: [{ text }] });

/** A turn in which these calls are made at once, then the answer is given. */
async function write(task_id: string, ...calls: ReturnType<typeof note>[]): Promise<Received[]> {
  model.script({ steps: calls }, answer());
  return turn(engine, task_id, 'Note it.');
}

/** A turn of one answer. */
async function ask(task_id: string, message: string, fields = {}): Promise<Received[]> {
  model.script(answer());
  return all(execute(engine, { task_id, message, ...fields }));
}

const updates = (received: Received[]) =>
  received
    .filter((event) => event.type === 'working_memory_update')
    .map(({ data: { op, key, value } }) => (op === 'set' ? `${key}=${value}` : `${op} ${key}`));

const results = (received: Received[]) =>
  received.filter((event) => event.type === 'tool_result').map((event) => event.data);

/** Texts of the newest message that the model was sent, its tail first. */
function lastSent(): string[] {
  const messages: Json = model.requests.at(-1)?.body.messages;
  const { content } = messages.at(-1);
  return typeof content === 'string' ? [content] : content.map((block: Json) => block.text);
}

/** The notes that the newest message brought. */
function brought(): Record<string, string> {
  const notes = lastSent()[0]?.matchAll(/<note key="(.*?)">\n(.*?)\n<\/note>/gs) ?? [];
  return Object.fromEntries([...notes].map(([, key, value]) => [key, value]));
}

describe('what the agent notes', () => {
  it('is told, and goes with the messages to come as it stood then', async () => {
    const first = await write('notes', note('colour', 'blue'), note('size', 'XL\nor so'));
    expect(updates(first)).toEqual(['colour=blue', 'size=XL\nor so']);
    expect(results(first).map(({ output }) => output)).toEqual(['ok', 'ok']);
    await ask('notes', 'Which?');
    expect(brought()).toEqual({ colour: 'blue', size: 'XL\nor so' });
    expect(lastSent().at(-1)).toBe('Which?');
    const before: Json = model.requests.at(-1)?.body.messages;

    const second = await write('notes', note('colour', 'red'), note('size', null), note('size', null));
    expect(updates(second)).toEqual(['colour=red', 'delete size']);
    await ask('notes', 'And now?');
    expect(brought()).toEqual({ colour: 'red' });
    // What the earlier message brought stays with it.
    const after: Json = model.requests.at(-1)?.body.messages;
    expect(textsOf(after.slice(0, before.length))).toEqual(textsOf(before));

    const { messages } = await engine.json('/tasks/notes');
    expect(JSON.stringify(messages)).not.toContain('<working_memory>');
  });

  it('belongs to its task, and goes with it', async () => {
    await write('mine', note('secret', 'a'));
    await ask('other', 'Hi');
    expect(lastSent()).toEqual(['Hi']);
    await engine.fetch('/tasks/mine', { method: 'DELETE' });
    await ask('mine', 'Hi again');
    expect(lastSent()).toEqual(['Hi again']);
  });

  it('is shared with the agents it starts', async () => {
    const message = 'Look and note.';
    model.script(
      { steps: [note('goal', 'find the key')] },
      { steps: [{ tool: 'run_agent', input: { agent: 'assistant', message } }] },
      { steps: [note('found', 'under the mat')] },
      answer('Found.'),
      answer(),
    );
    const received = await turn(engine, 'shared', 'Find it.');
    expect(updates(received)).toEqual(['goal=find the key', 'found=under the mat']);
    const [, nested] = received.filter((event) => event.type === 'working_memory_update');
    const [call] = received.filter((event) => event.data.tool === 'run_agent');
    expect(nested?.data.parent_tool_call_id).toBe(call?.data.tool_call_id);
    const opening: Json = model.requests.find((request) => {
      const [first]: Json = request.body.messages;
      return JSON.stringify(first).includes(message);
    })?.body.messages;
    expect(JSON.stringify(opening[0])).toContain('find the key');
    await ask('shared', 'Where?');
    expect(brought()).toEqual({ found: 'under the mat', goal: 'find the key' });
  });

  it('has limits, and says so', async () => {
    const long = 'x'.repeat(NOTE_LIMITS.value);
    const full = await write('full', note('a', long), note('b', long), note('c', long));
    expect(updates(full).map((update) => update[0])).toEqual(['a', 'b']);
    expect(results(full)[2]).toMatchObject({
      error: 'execution_failed',
      output: expect.stringContaining('a ('),
    });
    // One that takes the place of another has its room.
    expect(updates(await write('full', note('b', long), note('a', null), note('c', long)))).toHaveLength(3);

    const bad = await write('full', note('d', `${long}x`), note('d', ''), note('white space', 'x'));
    expect(results(bad).map(({ error }) => error)).toEqual(Array(3).fill('invalid_input'));
    expect(updates(bad)).toEqual([]);
  });
});

describe('going back', () => {
  it('takes back what was noted since', async () => {
    await write('back', note('a', 'one'), note('b', 'one'));
    const asked = await ask('back', 'Which?');
    const changed = await write('back', note('a', 'two'), note('b', null), note('c', 'two'));
    await ask('back', 'Now?');
    expect(brought()).toEqual({ a: 'two', c: 'two' });

    model.script({ steps: [note('a', 'three')] }, answer());
    const retried = { task_id: 'back', message: '-', retry_message_id: changed[0]?.data.message_id };
    expect(updates(await all(execute(engine, retried)))).toEqual(['a=three']);
    await ask('back', 'Now?');
    expect(brought()).toEqual({ a: 'three', b: 'one' });

    await ask('back', 'Which one?', { edit_message_id: asked[0]?.data.message_id });
    expect(brought()).toEqual({ a: 'one', b: 'one' });
  });

  it('has a message answered again with the notes it came with', async () => {
    await write('again', note('a', 'one'));
    const asked = await ask('again', 'Which?');
    const before = lastSent();
    await ask('again', '-', { retry_message_id: asked[0]?.data.message_id });
    expect(lastSent()).toEqual(before);
  });
});

it('outlives a task that rests for three hours, not for longer', async () => {
  const HOUR = 3_600_000;
  let time = 1_000_000_000_000;
  const brain = await brainOf({ now: () => time });
  const parts = { brain, now: () => time, newId: randomId, hitl_ttl_ms: 60_000, secrets: NO_SECRETS };
  const begin = (task_id: string) => {
    const turn_id = randomId('turn');
    const opening = { task_id, turn_id, agent: 'assistant', message: 'Hi', request: '{}', metadata: '{}' };
    openTurn(parts, { ...opening, idempotency_key: undefined });
    return turnRecord(parts, { task_id, turn_id }).thread('');
  };
  const end = (own: ReturnType<typeof begin>) =>
    own.answer(own.beginCall(1), {
      content: [{ type: 'text', text: 'Hello.' }],
      stop_reason: 'end_turn',
      usage: { input_tokens: 1, output_tokens: 1, cache_hit_tokens: 0 },
      model: 'm',
      provider: 'demo',
      cost_usd: 0,
    });
  const notes = () => [brain.working_memory.ofTask('a').length, brain.working_memory.ofTask('b').length];

  for (const task_id of ['a', 'b']) {
    const own = begin(task_id);
    own.remember({ source: task_id, position: 1, key: 'k', value: 'v' });
    if (task_id === 'a') end(own);
  }
  time += 3 * HOUR;
  end(begin('a'));
  time += 3 * HOUR;
  brain.working_memory.expire(time);
  expect(notes()).toEqual([1, 1]);
  time += 1;
  // A turn that begins too late finds none; one that runs for long keeps its own.
  begin('a');
  expect(notes()).toEqual([0, 1]);
  brain.working_memory.expire(time);
  expect(notes()).toEqual([0, 1]);
});

const textsOf = (messages: Json[]): string[][] =>
  messages.map(({ content }) =>
    typeof content === 'string' ? [content] : content.map((block: Json) => block.text ?? block.content),
  );
