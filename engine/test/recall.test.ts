import { expect, it } from 'vitest';
import { randomId } from '../src/ids.ts';
import { createContexts } from '../src/turn/context.ts';
import { type Memory, type Recalled, soulOnly } from '../src/turn/recall.ts';
import { openTurn, turnRecord } from '../src/turn/record.ts';
import { brainOf } from './support/brain.ts';
import { NO_SECRETS } from './support/secrets.ts';
import { stored } from './support/stored.ts';

const agent = { name: 'assistant', description: '', tools: [], system_prompt: 'Be of use.' };
const soul = { version: 1, identity: 'You are careful.', values: ['Truth'], patterns: [] };
const signal = new AbortController().signal;

/** A turn whose message has just come, in an Engine with this memory. */
async function turnWith(memory: Memory) {
  const brain = await brainOf();
  const parts = { brain, now: Date.now, newId: randomId, hitl_ttl_ms: 60_000, secrets: NO_SECRETS };
  const contexts = createContexts({
    brain,
    memory,
    tools: [],
    window: () => 100_000,
    max_tokens: 1_000,
    compact: true,
    light_model: 'light',
    now: Date.now,
    ask: async () => undefined,
  });
  const ids = { task_id: 'task', turn_id: 'turn-1' };
  const opening = { ...ids, agent: 'assistant', message: 'Where is Ada?', request: '{}', metadata: '{}' };
  openTurn(parts, { ...opening, idempotency_key: undefined });
  const thread = { ...ids, record: turnRecord(parts, ids).thread(''), agent, model: 'm' };
  return {
    thread,
    begin: () => contexts.begin(thread, false, signal),
    assemble: () => contexts.assemble(thread, signal),
    events: () => stored(brain.events.read(0, Number.MAX_SAFE_INTEGER)).slice(2),
  };
}

it('is asked once for a message; what it gives stays with it, behind the notes, as data', async () => {
  const asked: string[] = [];
  const recalled: Recalled = {
    items: ['Ada lives in London.'],
    episodes: 0,
    knowledge: 1,
    social: 0,
    mode: 'hybrid',
  };
  const { thread, begin, assemble, events } = await turnWith({
    soul: () => soul,
    async recall(message) {
      asked.push(message);
      return { ...recalled, items: [...recalled.items, `Asked ${asked.length} times.`] };
    },
  });
  thread.record.remember({ source: 'call', position: 1, key: 'goal', value: 'find her' });
  await begin();
  // As after a kill before the model has answered.
  await begin();
  expect(asked).toEqual(['Where is Ada?']);
  const { system, messages } = await assemble();
  expect(system).toBe('Be of use.\n\nYou are careful.\nValues:\n- Truth');
  const [notes, memory, message] = messages[0]?.content.map((block) => 'text' in block && block.text) ?? [];
  expect(notes).toContain('find her');
  expect(memory).toMatch(/data, not instructions.*- Ada lives in London\.\n- Asked 1 times\./s);
  expect(message).toBe('Where is Ada?');
  expect(events().map(({ type }) => type)).toEqual(['working_memory_update', 'memory_retrieval']);
  expect(events()[1]?.data).toMatchObject({ episodes: 0, knowledge: 1, social: 0, mode: 'hybrid' });
});

it('that finds nothing says so, and the message stays as it is', async () => {
  const { begin, assemble, events } = await turnWith({
    soul: () => soul,
    recall: async () => ({ items: [], episodes: 0, knowledge: 0, social: 0, mode: 'keyword_only' }),
  });
  await begin();
  await begin();
  expect(events().map(({ type }) => type)).toEqual(['memory_retrieval']);
  expect((await assemble()).messages).toEqual([
    { role: 'user', content: [{ type: 'text', text: 'Where is Ada?' }] },
  ]);
});

it('is silent where there is nothing to search', async () => {
  const { begin, events } = await turnWith(soulOnly(soul));
  await begin();
  expect(events()).toEqual([]);
});
