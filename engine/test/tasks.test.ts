import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { type ModelServer, startModelServer } from '@september/model-server';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Engine, type Json, startEngine, temporaryFolder } from './support/engine.ts';
import { all, errorOf, events, execute, rest, textOf, turn, until } from './support/stream.ts';

let folder: string;
let model: ModelServer;
let engine: Engine;

beforeAll(async () => {
  folder = temporaryFolder();
  model = await startModelServer();
  engine = await startEngine(folder, {
    LLM_PROVIDER: 'anthropic',
    LLM_BASE_URL: `${model.url}/v1`,
    LLM_MODEL: 'claude-sonnet-4-5',
  });
});

afterAll(async () => {
  await engine.stop();
  await model.close();
});

const path = (task_id: string) => `/tasks/${encodeURIComponent(task_id)}`;
const task = (task_id: string): Promise<Json> => engine.json(path(task_id));
const remove = (task_id: string) => engine.fetch(path(task_id), { method: 'DELETE' });

/** A turn that waits for a person. */
async function ask(task_id: string): Promise<void> {
  model.script({ steps: [{ tool: 'ask_user', input: { question: 'Which one?' } }] });
  await until(
    events(await execute(engine, { task_id, message: 'Choose.' })),
    (e) => e.type === 'hitl_request',
  );
}

describe('GET /tasks/{task_id}', () => {
  it('has the conversation with its ids, and each turn with what it took', async () => {
    model.script(
      {
        steps: [
          { thinking: 'A list will do.' },
          { text: 'Let me look.' },
          { tool: 'list_files', input: {}, id: 'call_a' },
        ],
        usage: { input_tokens: 100, output_tokens: 7, cache_hit_tokens: 40 },
      },
      { steps: [{ text: 'Nothing.' }], usage: { input_tokens: 120, output_tokens: 3 } },
    );
    const body = { task_id: 'one', message: 'What is there?', super_thinking: true, metadata: { ticket: 7 } };
    const received = await all(execute(engine, body));
    const [{ turn_id, message_id } = {}] = received.map((event) => event.data);

    const whole = await task('one');
    expect(whole).toMatchObject({ task_id: 'one', status: 'idle', agent: 'assistant', turns: 1 });
    expect(whole.messages[0]).toEqual({
      message_id,
      turn_id,
      role: 'user',
      content: [{ type: 'text', text: 'What is there?' }],
      created_at: received[0]?.data.timestamp,
      superseded: false,
    });
    expect(whole.messages.map((message: Json) => [message.role, message.content])).toEqual([
      ['user', [{ type: 'text', text: 'What is there?' }]],
      [
        'assistant',
        [
          { type: 'thinking', text: 'A list will do.' },
          { type: 'text', text: 'Let me look.' },
          { type: 'tool_use', id: 'call_a', name: 'list_files', input: {} },
        ],
      ],
      ['user', [expect.objectContaining({ type: 'tool_result', tool_use_id: 'call_a' })]],
      ['assistant', [{ type: 'text', text: 'Nothing.' }]],
    ]);
    expect(whole.messages[3].message_id).toBe(received.at(-1)?.data.message_id);
    expect(whole.turn_list).toEqual([
      {
        turn_id,
        status: 'completed',
        agent: 'assistant',
        started_at: received[0]?.data.timestamp,
        ended_at: expect.any(String),
        usage: { input_tokens: 220, output_tokens: 10, cache_hit_tokens: 40 },
        metadata: { ticket: 7 },
        error: null,
      },
    ]);
    expect(whole.last_activity_at).toBe(whole.turn_list[0].ended_at);
  });

  it('says how the last turn stands: running, waiting, errored', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    model.script({ steps: [{ text: 'Wait' }, { until: promise }] });
    const stream = events(await execute(engine, { task_id: 'stands', message: 'Go.' }));
    await until(stream, (event) => event.type === 'text_delta');
    const running = await task('stands');
    expect([running.status, running.turn_list[0].status]).toEqual(['running', 'running']);
    expect([running.turn_list[0].ended_at, running.messages.length]).toEqual([null, 1]);
    resolve();
    await rest(stream);

    await ask('stands');
    const waiting = await task('stands');
    expect(waiting).toMatchObject({ status: 'waiting', turns: 2 });
    expect(waiting.turn_list.map((each: Json) => each.status)).toEqual(['completed', 'waiting']);

    await engine.fetch(`${path('stands')}/cancel`, { method: 'POST' });
    const errored = await task('stands');
    expect(errored.status).toBe('errored');
    expect(errored.turn_list[1]).toMatchObject({ status: 'errored', error: { error: 'TURN_CANCELLED' } });
  });

  it('leaves out what sub-agents say among themselves', async () => {
    model.script(
      { steps: [{ tool: 'run_agent', input: { agent: 'assistant', message: 'Inner question' } }] },
      { steps: [{ text: 'Inner answer' }] },
      { steps: [{ text: 'Outer answer' }] },
    );
    await turn(engine, 'nested', 'Outer question');
    const { messages } = await task('nested');
    expect(messages.map((message: Json) => message.content[0].type)).toEqual([
      'text',
      'tool_use',
      'tool_result',
      'text',
    ]);
    expect(messages.filter((message: Json) => message.content[0].text === 'Inner question')).toEqual([]);
  });

  it('finds any task by its id', async () => {
    const task_id = 'a/b?c=%2F&d#é 🙂';
    model.script({ steps: [{ text: 'Odd.' }] });
    await turn(engine, task_id, 'Hi');
    expect(await task(task_id)).toMatchObject({ task_id, turns: 1 });
    expect(await (await remove(task_id)).json()).toEqual({ status: 'deleted', task_id });
  });
});

describe('GET /tasks', () => {
  it('lists by activity, a page after the other, each task once', async () => {
    for (const task_id of ['page-1', 'page-2', 'page-3']) {
      model.script({ steps: [{ text: 'Yes.' }] });
      await turn(engine, task_id, 'Listed?');
    }
    model.script({ steps: [{ text: 'Again.' }] });
    await turn(engine, 'page-1', 'Again?');

    const everything = await engine.json('/tasks');
    expect(everything.next_cursor).toBeNull();
    expect(everything.tasks.slice(0, 3)).toMatchObject([
      { task_id: 'page-1', turns: 2, status: 'idle', agent: 'assistant' },
      { task_id: 'page-3', turns: 1 },
      { task_id: 'page-2', turns: 1 },
    ]);
    const pages: Json[] = [];
    let cursor: string | null = '';
    while (cursor !== null) {
      const page: Json = await engine.json(`/tasks?limit=2${cursor === '' ? '' : `&cursor=${cursor}`}`);
      pages.push(...page.tasks);
      cursor = page.next_cursor;
    }
    expect(pages).toEqual(everything.tasks);
  });

  it.each([
    'limit=0',
    'limit=201',
    'limit=few',
    'limit=1.5',
    'limit=',
    'cursor=',
    'cursor=none',
    'cursor=MQ',
  ])('refuses %s', async (query) => {
    const answer = await engine.fetch(`/tasks?${query}`);
    expect([answer.status, await errorOf(answer)]).toEqual([400, 'INVALID_REQUEST']);
  });
});

describe('DELETE /tasks/{task_id}', () => {
  it('leaves nothing of the task in the brain, and others alone', async () => {
    model.script(
      { steps: [{ tool: 'run_agent', input: { agent: 'assistant', message: 'Keep: swordfish.' } }] },
      { steps: [{ tool: 'ask_user', input: { question: 'Is it swordfish?' } }] },
    );
    const stream = events(await execute(engine, { task_id: 'gone', message: 'Remember swordfish.' }));
    await until(stream, (event) => event.type === 'hitl_request');
    const answered = { task_id: 'gone', answer: 'swordfish' };
    model.script({ steps: [{ text: 'Kept.' }] }, { steps: [{ text: 'Noted.' }] });
    await engine.json('/hitl/respond', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify(answered),
    });
    await rest(stream);
    model.script({ steps: [{ text: 'Not you.' }] });
    const other = await turn(engine, 'stays', 'Who goes?');

    expect(await (await remove('gone')).json()).toEqual({ status: 'deleted', task_id: 'gone' });
    const db = new DatabaseSync(join(folder, 'brain.sqlite'), { readOnly: true });
    const tables = db.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").all();
    for (const { name } of tables) {
      for (const row of db.prepare(`SELECT * FROM ${name}`).iterate()) {
        const text = Object.values(row).map((value) =>
          value instanceof Uint8Array ? Buffer.from(value).toString() : String(value),
        );
        expect(text.join(' '), `a row of ${name}`).not.toMatch(/swordfish|\bgone\b/);
      }
    }
    db.close();
    for (const known of ['/tasks/gone', '/execute/replay?after=0&task_id=gone']) {
      expect(await errorOf(await engine.fetch(known))).toBe('TASK_NOT_FOUND');
    }
    expect(await all(engine.fetch('/execute/replay?after=0&task_id=stays'))).toEqual(other);
  });

  it('frees the id: the same one starts afresh, and event ids go on', async () => {
    model.script({ steps: [{ text: 'Noted.' }] }, { steps: [{ text: 'No idea.' }] });
    const before = await turn(engine, 'anew', 'The word is swordfish.');
    await remove('anew');
    const after = await turn(engine, 'anew', 'What is the word?');
    expect(textOf(after)).toBe('No idea.');
    expect(JSON.stringify(model.requests.at(-1)?.body)).not.toContain('swordfish');
    expect(after[0]?.id).toBeGreaterThan(before.at(-1)?.id ?? 0);
    expect(await task('anew')).toMatchObject({ turns: 1 });
  });

  it('also where the turn went on after kill -9 a moment ago: the same message is a new one', async () => {
    const own = temporaryFolder();
    const settings = {
      LLM_PROVIDER: 'anthropic',
      LLM_BASE_URL: `${model.url}/v1`,
      LLM_MODEL: 'claude-sonnet-4-5',
    };
    model.script({ steps: [{ text: 'Fo' }, { until: new Promise(() => {}) }] });
    let engine = await startEngine(own, settings);
    const stream = events(await execute(engine, { task_id: 'cut', message: 'A number?' }));
    await until(stream, (event) => event.type === 'text_delta');
    await engine.stop('SIGKILL');
    model.script({ steps: [{ text: 'Four.' }] }, { steps: [{ text: 'Five.' }] });
    engine = await startEngine(own, settings);
    await all(engine.fetch('/execute/replay?after=0&task_id=cut&follow=true'));
    await engine.fetch('/tasks/cut', { method: 'DELETE' });
    expect(textOf(await turn(engine, 'cut', 'A number?'))).toBe('Five.');
    await engine.stop();
  });

  it('is refused while a turn runs or waits', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    model.script({ steps: [{ text: 'Wait' }, { until: promise }] });
    const stream = events(await execute(engine, { task_id: 'busy', message: 'Go.' }));
    await until(stream, (event) => event.type === 'text_delta');
    const running = await remove('busy');
    expect([running.status, await errorOf(running)]).toEqual([409, 'TASK_BUSY']);
    resolve();
    await rest(stream);

    await ask('busy');
    expect(await errorOf(await remove('busy'))).toBe('TASK_BUSY');
    await engine.fetch(`${path('busy')}/cancel`, { method: 'POST' });
    expect((await remove('busy')).status).toBe(200);
  });
});

it('an unknown task is 404, however it is asked for', async () => {
  for (const [method, suffix] of [
    ['GET', ''],
    ['DELETE', ''],
    ['POST', '/cancel'],
  ] as const) {
    const answer = await engine.fetch(`/tasks/nobody${suffix}`, { method });
    expect([answer.status, await errorOf(answer)], method).toEqual([404, 'TASK_NOT_FOUND']);
  }
});
