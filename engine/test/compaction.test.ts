import { startModelServer } from '@september/model-server';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Brain } from '../src/brain/brain.ts';
import type { Compaction } from '../src/brain/compactions.ts';
import type { StoredMessage } from '../src/brain/messages.ts';
import { EngineError } from '../src/errors.ts';
import { randomId } from '../src/ids.ts';
import { compact, type Question } from '../src/turn/compaction.ts';
import { type Contexts, createContexts, type Thread } from '../src/turn/context.ts';
import { toolCalls } from '../src/turn/history.ts';
import { soulOnly } from '../src/turn/recall.ts';
import { type Answer, openTurn, turnRecord } from '../src/turn/record.ts';
import { rewindOf } from '../src/turn/rewind.ts';
import { contextOf, measured } from '../src/turn/view.ts';
import type { ContentBlock, Message, TakenMedia } from '../src/types.ts';
import { brainOf } from './support/brain.ts';
import { startEngine, temporaryFolder } from './support/engine.ts';
import { NO_SECRETS } from './support/secrets.ts';
import { stored } from './support/stored.ts';
import { textOf as textOfTurn, turn } from './support/stream.ts';

/** Small enough that a property sees many compactions. */
const WINDOW = 6_000;
const MAX_TOKENS = 1_000;
const ROOM = WINDOW - MAX_TOKENS;
const LIMIT = ROOM * 0.9;

const agent = { name: 'assistant', description: '', tools: [], system_prompt: 'Be of use.' };
const soul = { version: 1, identity: 'You are careful.', values: [], patterns: [] };
const signal = new AbortController().signal;

type Asked = (question: Question) => string | undefined;

/** A task in a brain of its own: what the loop would do, without a model. */
async function newTask(answer: Asked, options: { compact?: boolean } = {}) {
  const brain = await brainOf();
  const parts = { brain, now: Date.now, newId: randomId, hitl_ttl_ms: 1_000_000, secrets: NO_SECRETS };
  const contexts = createContexts({
    brain,
    memory: soulOnly(soul),
    tools: [],
    window: () => WINDOW,
    max_tokens: MAX_TOKENS,
    compact: options.compact ?? true,
    light_model: 'light',
    now: Date.now,
    ask: async (_thread, question) => answer(question),
  });
  return taskIn(brain, contexts, parts);
}

function taskIn(brain: Brain, contexts: Contexts, parts: Parameters<typeof openTurn>[0]) {
  const task_id = 'task';
  let turns = 0;
  const threadOf = (turn_id: string): Thread => {
    const record = turnRecord(parts, { task_id, turn_id }).thread('');
    return { task_id, turn_id, record, agent, model: 'm' };
  };
  let thread = threadOf('');
  const answered = (content: ContentBlock[]): Answer => ({
    content,
    stop_reason: 'end_turn',
    usage: { input_tokens: 0, output_tokens: 0, cache_hit_tokens: 0 },
    model: 'm',
    provider: 'demo',
    cost_usd: 0,
  });

  return {
    brain,
    /** Begins a turn. */
    ask(
      message: string,
      going_back: { edit_message_id?: string; retry_message_id?: string } = {},
      blocks: TakenMedia['blocks'] = [],
    ) {
      thread = threadOf(`turn-${++turns}`);
      const named = { task_id, edit_message_id: null, retry_message_id: null, ...going_back };
      const rewind = rewindOf(brain, named);
      const media = { blocks, documents: [] };
      const opening = { task_id, turn_id: thread.turn_id, agent: 'assistant', message, media, rewind };
      openTurn(parts, { ...opening, request: '{}', metadata: '{}', idempotency_key: undefined });
    },
    /** Ends the turn. */
    say: (text: string) =>
      thread.record.answer(thread.record.beginCall(0), answered([{ type: 'text', text }])),
    assemble: () => contexts.assemble(thread, signal),
    shrink: () => contexts.shrink(thread, signal),
    /** All text the model sees, in one. */
    async seen(): Promise<string> {
      const { messages } = await contexts.assemble(thread, signal);
      return messages.flatMap(({ content }) => content.map(textOf)).join('\n');
    },
    compactions: () =>
      stored(brain.events.read(0, Number.MAX_SAFE_INTEGER))
        .filter((event) => event.type === 'compaction_event')
        .map(({ data }) => ({ before: Number(data.before_tokens), after: Number(data.after_tokens) })),
  };
}

/** As the model reads it: a result's output is text, not JSON in JSON. */
function textOf(block: ContentBlock): string {
  if (block.type === 'tool_result') return String(block.output);
  if (block.type === 'tool_use') return JSON.stringify(block.input);
  return 'text' in block && block.text !== undefined ? block.text : '';
}

/** The numbers and texts of the person's messages in what the light model is given. */
function messagesIn({ text }: Question): { n: number; text: string }[] {
  return [...text.matchAll(/<message n="(\d+)" from="person">\n(.*?)\n<\/message>/gs)].map(([, n, said]) => ({
    n: Number(n),
    text: said ?? '',
  }));
}

/** A light model that does what it is asked: it quotes every rule. */
const RULE = /RULE[^.]*\./g;
const honest: Asked = (question) =>
  JSON.stringify({
    messages: messagesIn(question).map(({ n, text }) => ({ n, keep: text.match(RULE) ?? [] })),
    summary: 'Much was said.',
  });

const filler = (words: number, seed = 0) =>
  Array.from({ length: words }, (_, index) => `word${(index * 7 + seed) % 97}`).join(' ');

/** Every result answers a call of the message before it, and every call is answered. */
function expectPairs(messages: Message[]): void {
  for (const [index, { content }] of messages.entries()) {
    const results = content.flatMap((block) => (block.type === 'tool_result' ? [block.tool_use_id] : []));
    const calls = toolCalls(messages[index - 1]?.content ?? []).map((call) => call.id);
    expect(results).toEqual(calls);
  }
}

const overflows = async (work: Promise<unknown>) => {
  const error = await work.then(
    () => undefined,
    (thrown) => thrown,
  );
  expect(error).toBeInstanceOf(EngineError);
  expect(error.code).toBe('CONTEXT_OVERFLOW');
};

describe('a conversation that outgrows the window', () => {
  it('goes on: what is sent keeps below the limit, the originals stay, the event tells', async () => {
    const task = await newTask(honest);
    for (let turn = 0; turn < 60; turn++) {
      task.ask(`Question ${turn}: ${filler(30, turn)}`);
      const { estimated_tokens } = await task.assemble();
      expect(estimated_tokens).toBeLessThanOrEqual(LIMIT);
      task.say(`Answer ${turn}: ${filler(60, turn)}`);
    }
    const compactions = task.compactions();
    expect(compactions.length).toBeGreaterThan(2);
    for (const { before, after } of compactions) expect(after).toBeLessThan(before * 0.7);
    expect(task.brain.messages.ofThread('task', '')).toHaveLength(120);
    const seen = await task.seen().catch(String);
    expect(seen).toContain('Much was said.');
    expect(seen).toContain('Question 59');
  });

  it('sends each request as the continuation of the one before, but for the compactions', async () => {
    const task = await newTask(honest);
    let before: string[] = [];
    let broken = 0;
    for (let turn = 0; turn < 60; turn++) {
      task.ask(`Question ${turn}: ${filler(30, turn)}`);
      const sent = (await task.assemble()).messages.map((message) => JSON.stringify(message));
      if (before.some((message, index) => sent[index] !== message)) broken++;
      before = sent;
      task.say(filler(60, turn));
    }
    expect(broken).toBe(task.compactions().length);
  });

  it('names what was attached once it is no longer shown, so that it can be asked for again', async () => {
    const task = await newTask(honest);
    const data = Buffer.from('seven..').toString('base64');
    task.ask('Look at these.', {}, [
      { type: 'image', source: { type: 'base64', media_type: 'image/png', data } },
      { type: 'document', name: 'a "bill".pdf', source: { type: 'url', url: 'https://example.com/bill' } },
      { type: 'text', text: '[document "b": the first is doc-b/1]', note: 'document' },
    ]);
    const [{ message_id } = { message_id: '' }] = task.brain.messages.ofThread('task', '');
    task.say('I see.');
    for (let turn = 0; task.compactions().length < 2; turn++) {
      task.ask(`Question ${turn}: ${filler(60, turn)}`);
      await task.assemble();
      task.say(filler(60, turn));
    }
    const seen = (await task.seen()).split('\n');
    expect(seen.join('\n')).toContain('<documents>\n[document "b": the first is doc-b/1]\n</documents>');
    expect(seen).toContain(`- image, image/png, 7 bytes, in message ${message_id}`);
    expect(seen).toContain(
      `- document, "a \\"bill\\".pdf", https://example.com/bill, in message ${message_id}`,
    );
  });

  it('is refused when the gate is off, or when the message alone is too much', async () => {
    const off = await newTask(honest, { compact: false });
    off.ask(filler(3_000));
    off.say('I see.');
    off.ask('And now?');
    await overflows(off.assemble());
    await overflows(off.shrink());

    const long = await newTask(honest);
    long.ask(filler(6_000));
    await overflows(long.assemble());
    expect(long.compactions()).toEqual([]);
  });
});

describe('a conversation that goes back', () => {
  /** Until there are so many compactions; the last answer is given. */
  async function talk(task: Awaited<ReturnType<typeof newTask>>, compactions: number): Promise<void> {
    for (let turn = 0; task.compactions().length < compactions; turn++) {
      task.ask(`RULE ${compactions}-${turn}. ${filler(60, turn)}`);
      await task.assemble();
      task.say(filler(60, turn));
    }
  }
  const idOf = (task: Awaited<ReturnType<typeof newTask>>, said: string) =>
    task.brain.messages
      .ofThread('task', '')
      .find(({ content }) => content[0]?.type === 'text' && content[0].text.startsWith(said))?.message_id ??
    '';

  it('to before a compaction loses it: nothing superseded is told, the one before counts again', async () => {
    const task = await newTask(honest);
    await talk(task, 1);
    const kept = task.brain.compactions.newest('task', '');
    await talk(task, 2);
    task.ask('Rather this.', { edit_message_id: idOf(task, 'RULE 2-0.') });
    expect(task.brain.compactions.newest('task', '')).toEqual(kept);
    const seen = await task.seen();
    expect(seen).toContain('RULE 1-0.');
    expect(seen).not.toContain('RULE 2');
    expect(seen).toContain('Rather this.');

    task.say('Well.');
    task.ask('From the very beginning.', { edit_message_id: idOf(task, 'RULE 1-0.') });
    expect(await task.seen()).toBe('From the very beginning.');
  });

  it('can be condensed also where a message is answered again', async () => {
    const task = await newTask(honest);
    for (let turn = 0; turn < 12; turn++) {
      task.ask(`RULE ${turn}. ${filler(60, turn)}`);
      task.say(filler(120, turn));
    }
    task.ask('ignored', { retry_message_id: idOf(task, 'RULE 11.') });
    const { estimated_tokens } = await task.assemble();
    expect(estimated_tokens).toBeLessThanOrEqual(LIMIT);
    expect(task.compactions()).toHaveLength(1);
    const seen = await task.seen();
    for (let turn = 0; turn < 12; turn++) expect(seen).toContain(`RULE ${turn}.`);
    expect(seen).not.toContain('ignored');
  });
});

describe('a request that the provider finds too large', () => {
  it('is condensed and sent again, also when it is far below the window that the catalog knows', async () => {
    const model = await startModelServer();
    const engine = await startEngine(temporaryFolder(), {
      LLM_PROVIDER: 'openai',
      LLM_BASE_URL: `${model.url}/v1`,
    });
    const long = (turn: number) => ({ steps: [{ text: `Answer ${turn}. ${filler(100, turn)}` }] });
    model.script(long(1), long(2), long(3));
    for (const number of [1, 2, 3]) await turn(engine, 'refused', `Question ${number} ${filler(800)}`);

    const messages = [1, 3, 5].map((n, index) => ({ n, keep: [`Question ${index + 1}`] }));
    const light = { steps: [{ text: JSON.stringify({ messages, summary: 'Three questions.' }) }] };
    model.script({ context_overflow: true }, light, { steps: [{ text: 'Four.' }] });
    const received = await turn(engine, 'refused', 'Question 4');
    expect(received.filter((event) => event.type === 'compaction_event')).toHaveLength(1);
    expect(textOfTurn(received)).toBe('Four.');
    const sent = JSON.stringify(model.requests.at(-1)?.body.messages);
    for (const kept of ['Question 1', 'Question 4', 'Three questions.']) expect(sent).toContain(kept);
    expect(sent).not.toContain('Answer 1.');

    model.script({ context_overflow: true }, light, { context_overflow: true });
    const refused = await turn(engine, 'refused', 'Question 5');
    expect(refused.at(-1)?.data).toMatchObject({ type: 'error', error: 'CONTEXT_OVERFLOW' });
    await engine.stop();
    await model.close();
  });
});

describe('what binds the agent', () => {
  /** What a light model may come up with, besides what it is asked for. */
  const nonsense = fc.oneof(
    fc.constant(undefined),
    fc.string({ maxLength: 200 }),
    fc.json(),
    fc
      .record({ summary: fc.anything(), messages: fc.anything() })
      .map((value) => JSON.stringify(value) ?? ''),
    fc
      .array(fc.record({ n: fc.nat(60), keep: fc.array(fc.string({ minLength: 1 }), { minLength: 1 }) }))
      .map((messages) => JSON.stringify({ summary: 'Nothing.', messages })),
  );
  /** One answer: honest about some of the messages (those of the bits), nonsense otherwise. */
  const answers = fc.infiniteStream(
    fc.oneof(
      {
        weight: 3,
        arbitrary: fc.nat().map(
          (bits): Asked =>
            (question) => {
              const { messages, summary } = JSON.parse(honest(question) ?? '');
              const told = messages.filter((_: unknown, index: number) => (bits >> (index % 20)) & 1);
              return JSON.stringify({ summary, messages: told });
            },
        ),
      },
      {
        weight: 2,
        arbitrary: nonsense.map(
          (answer): Asked =>
            () =>
              answer,
        ),
      },
      { weight: 3, arbitrary: fc.constant(honest) },
    ),
  );
  /** Text with everything in it that could break a quotation. */
  const wording = fc
    .string({ unit: 'grapheme', minLength: 1, maxLength: 40 })
    .map((text) => text.replaceAll('.', ' ').replaceAll('RULE', ''));
  const turns = fc.record({
    rule: fc.option(wording),
    refused: fc.option(wording, { freq: 3 }),
    asked: fc.option(wording, { freq: 4 }),
    noted: fc.option(fc.record({ key: fc.constantFrom('a', 'b', 'plan'), value: fc.option(wording) }), {
      freq: 3,
    }),
    words: fc.nat(20),
    rounds: fc.nat(3),
  });

  it('survives any number of compactions byte for byte, whatever the light model answers', async () => {
    let compactions = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(turns, { minLength: 12, maxLength: 40 }), answers, async (turns, stream) => {
        let turn_id = '';
        const head = { system: agent.system_prompt, tools: [] };
        const messages: StoredMessage[] = [];
        const binding: string[] = [];
        const notes = new Map<string, string>();
        let row: Compaction | undefined;
        const add = (role: StoredMessage['role'], content: ContentBlock[]) => {
          const position = messages.length + 1;
          messages.push({
            role,
            content,
            position,
            turn_id,
            message_id: `msg-${position}`,
            tail: null,
            usage: null,
            stop_reason: null,
          });
        };
        const view = () => {
          const history = messages.filter(
            ({ position }) => position === row?.opening || position > (row?.upto ?? 0),
          );
          return measured('m', { head, compaction: row, history });
        };
        /** What the Engine does before each model call. */
        const makeRoom = async () => {
          if (view().tokens <= LIMIT) return;
          const ask = async (question: Question) => stream.next().value(question);
          const standing = [...notes].map(([key, value]) => ({ key, value }));
          const asking = { ask, ask_room: ROOM, notes: standing };
          const made = await compact(view(), { room: ROOM, limit: LIMIT }, asking);
          if (made === undefined) throw new Error('Nothing left to condense');
          row = made;
          compactions++;
          expect(view().tokens).toBeLessThanOrEqual(LIMIT);
          for (const { key, value } of standing)
            expect(made.text).toContain(`<note key="${key}">\n${value}\n</note>`);
          expectPairs(contextOf(view()).messages);
        };
        const call = async (
          name: string,
          input: Record<string, unknown>,
          output: unknown,
          error?: string,
        ) => {
          const id = `call-${messages.length}`;
          add('assistant', [{ type: 'tool_use', id, name, input }]);
          add('user', [
            { type: 'tool_result', tool_use_id: id, output, ...(error !== undefined && { error }) },
          ]);
          await makeRoom();
        };

        for (const [index, { rule, refused, asked, noted, words, rounds }] of turns.entries()) {
          turn_id = `turn-${index}`;
          const said = rule === null ? '' : `RULE ${index}: ${rule}.`;
          if (rule !== null) binding.push(said);
          add('user', [{ type: 'text', text: `${filler(words)} ${said} ${filler(words)}` }]);
          await makeRoom();
          for (let round = 0; round < rounds; round++) {
            await call('read_file', { path: `${index}/${round}` }, filler(250, round));
          }
          if (refused !== null) {
            const input = { command: `rm ${index} ${refused}` };
            await call('bash', input, `No: ${refused}`, 'permission_denied');
            binding.push(JSON.stringify(input), `No: ${refused}`);
          }
          if (noted !== null) {
            const { key, value } = noted;
            if (value === null) notes.delete(key);
            else notes.set(key, value);
            await call('working_memory_write', noted, 'ok');
          }
          if (asked !== null) {
            const output = `RULE by answer ${index}: ${asked}.`;
            await call('ask_user', { question: 'How?' }, output);
            binding.push(output);
          }
          add('assistant', [{ type: 'text', text: filler(20, index) }]);
        }
        const seen = contextOf(view())
          .messages.flatMap(({ content }) => content.map(textOf))
          .join('\n');
        for (const text of binding) expect(seen).toContain(text);
      }),
      { numRuns: 100 },
    );
    expect(compactions).toBeGreaterThan(100);
  }, 60_000);
});
