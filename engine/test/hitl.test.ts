import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type Engine, startEngine, temporaryFolder } from './support/engine.ts';
import { answer, asks, isAsked } from './support/person.ts';
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
const folder = temporaryFolder();
const engine = await startEngine(folder, model.settings);

const respond = (body: Record<string, unknown>, to: Engine = engine) => answer(to, body);

/** The last results that the model was shown. */
function lastResults(): { content: unknown; is_error?: boolean; type: string; text?: string }[] {
  const messages = model.requests.at(-1)?.body.messages as { content: never }[];
  return messages.at(-1)?.content ?? [];
}

describe('a question to the person', () => {
  it('pauses the turn, is listed, and the answer goes on with it', async () => {
    model.script(
      { steps: [{ text: 'One thing. ' }, asks('Which colour?')] },
      { steps: [{ text: 'Blue it is.' }] },
    );
    const stream = events(await execute(engine, { task_id: 'ask', message: 'Paint.' }));
    const seen = await until(stream, isAsked);
    const asked = seen.at(-1)?.data;
    expect(asked).toMatchObject({ kind: 'question', question: 'Which colour?', task_id: 'ask' });
    expect(asked?.tool).toBeUndefined();
    expect(Date.parse(String(asked?.expires_at)) - Date.parse(String(asked?.created_at))).toBe(
      72 * 3_600_000,
    );

    const { request_id, kind, question, created_at, expires_at } = asked ?? {};
    expect(await engine.json('/hitl/pending')).toEqual({
      pending: [{ request_id, task_id: 'ask', kind, question, created_at, expires_at }],
    });
    await expect
      .poll(() => engine.json('/activity'))
      .toMatchObject({ in_flight_turns: 0, pending_hitl: 1, open_streams: 1 });
    expect(await errorOf(await execute(engine, { task_id: 'ask', message: 'Well?' }))).toBe('HITL_REQUIRED');

    const answer = await respond({ task_id: 'ask', request_id, answer: 'blue', feedback: 'A dark one.' });
    expect([answer.status, await answer.json()]).toEqual([200, { status: 'resumed', request_id }]);
    expect(await errorOf(await respond({ task_id: 'ask', answer: 'red' }))).toBe('NOT_FOUND');
    const remaining = await rest(stream);
    expect(outline(remaining)).toEqual([
      'hitl_resolved',
      'tool_result',
      'content_block_start',
      'text_delta',
      'content_block_stop',
      'usage',
      'thread_lifecycle completed',
    ]);
    expect(remaining[0]?.data).toMatchObject({ request_id, answer: 'blue' });
    expect(remaining[1]?.data).toMatchObject({ tool: 'ask_user', output: 'blue' });
    expect(lastResults()).toMatchObject([
      { type: 'tool_result', content: 'blue' },
      { type: 'text', text: 'The user adds: A dark one.' },
    ]);
    expect(await engine.json('/hitl/pending')).toEqual({ pending: [] });
  });

  it('does not hold up the calls beside it, and the next question comes after the answer', async () => {
    model.script(
      { steps: [asks('First?'), { tool: 'list_files', input: {} }, asks('Second?')] },
      { steps: [{ text: 'Thanks.' }] },
    );
    const stream = events(await execute(engine, { task_id: 'two', message: 'Ask twice.' }));
    await until(stream, isAsked);
    await respond({ task_id: 'two', answer: 'one' });
    const next = await until(stream, isAsked);
    expect(next.at(-1)?.data).toMatchObject({ question: 'Second?' });
    await respond({ task_id: 'two', answer: 'two' });
    expect(textOf(await rest(stream))).toBe('Thanks.');
    expect(lastResults().map(({ content }) => content)).toEqual(['one', expect.any(String), 'two']);
  });

  it('survives kill -9, and is answered from any client, once', async () => {
    const place = temporaryFolder();
    let other = await startEngine(place, model.settings);
    model.script({ steps: [asks('Still there?')] });
    const stream = events(await execute(other, { task_id: 'long', message: 'Wait.' }));
    const seen = await until(stream, isAsked);
    await other.stop('SIGKILL');

    other = await startEngine(place, model.settings);
    const attached = await execute(
      other,
      { task_id: 'long', message: 'Wait.' },
      { headers: { 'Last-Event-ID': String(seen.at(-1)?.id) } },
    );
    const { pending } = await other.json('/hitl/pending');
    expect(pending).toMatchObject([{ request_id: seen.at(-1)?.data.request_id, question: 'Still there?' }]);
    model.script({ steps: [{ text: 'Good.' }] });
    const answers = await Promise.all(
      ['yes', 'no'].map((answer) => respond({ task_id: 'long', answer }, other)),
    );
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 404]);
    const remaining = await all(attached);
    expect(textOf(remaining)).toBe('Good.');
    expect(remaining.filter(({ type }) => type === 'hitl_resolved')).toHaveLength(1);
    await other.stop();
  });

  it('ends its turn with HITL_EXPIRED when nobody answers in time', async () => {
    const hasty = await startEngine(temporaryFolder(), { ...model.settings, CHANNEL_STATE_TTL_HITL: '1' });
    model.script({ steps: [asks('Anybody?')] });
    const received = await turn(hasty, 'nobody', 'Ask.');
    expect(outline(received).slice(-2)).toEqual(['thread_lifecycle errored', 'error']);
    expect(received.at(-1)?.data).toMatchObject({ error: 'HITL_EXPIRED' });
    expect(await errorOf(await respond({ task_id: 'nobody', answer: 'late' }, hasty))).toBe('NOT_FOUND');
    model.script({ steps: [{ text: 'Hello again.' }] });
    expect(textOf(await turn(hasty, 'nobody', 'I am back.'))).toBe('Hello again.');
    await hasty.stop();
  });

  it.each([
    ['an unknown task', { task_id: 'nowhere', answer: 'yes' }, 404, 'TASK_NOT_FOUND'],
    ['a task that waits for nothing', { task_id: 'ask', answer: 'yes' }, 404, 'NOT_FOUND'],
    ['no answer', { task_id: 'ask' }, 400, 'INVALID_REQUEST'],
    ['no task', { answer: 'yes' }, 400, 'INVALID_REQUEST'],
    ['an answer of another type', { task_id: 'ask', answer: true }, 400, 'INVALID_REQUEST'],
    ['an endless answer', { task_id: 'ask', answer: 'a'.repeat(100_001) }, 400, 'INVALID_REQUEST'],
  ])('refuses %s', async (_, body, status, code) => {
    const answer = await respond(body);
    expect([answer.status, await errorOf(answer)]).toEqual([status, code]);
  });

  it('is for the request that is named', async () => {
    model.script({ steps: [asks('Really?')] }, { steps: [{ text: 'Fine.' }] });
    const stream = events(await execute(engine, { task_id: 'named', message: 'Ask.' }));
    await until(stream, isAsked);
    const wrong = await respond({ task_id: 'named', request_id: 'hitl-other', answer: 'x' });
    expect(await errorOf(wrong)).toBe('NOT_FOUND');
    await respond({ task_id: 'named', answer: 'yes' });
    expect(textOf(await rest(stream))).toBe('Fine.');
  });
});

describe('a turn that is cancelled', () => {
  const cancel = (task_id: string) => engine.fetch(`/tasks/${task_id}/cancel`, { method: 'POST' });

  it('ends with TURN_CANCELLED while the model speaks; the task goes on', async () => {
    model.script({ steps: [{ text: 'On and ' }, { until: new Promise(() => {}) }] });
    const stream = events(await execute(engine, { task_id: 'stop', message: 'Talk.' }));
    const seen = await until(stream, (event) => event.type === 'text_delta');
    const answer = await cancel('stop');
    expect([answer.status, await answer.json()]).toEqual([
      200,
      { status: 'cancelled', turn_id: seen[0]?.data.turn_id },
    ]);
    const remaining = await rest(stream);
    expect(outline(remaining).slice(-4)).toEqual([
      'content_block_stop',
      'task_lifecycle',
      'thread_lifecycle errored',
      'error',
    ]);
    expect(remaining.at(-1)?.data).toMatchObject({ error: 'TURN_CANCELLED' });
    await expect(model.requests.at(-1)?.ended).resolves.toBe('client_left');
    expect(await errorOf(await cancel('stop'))).toBe('NOT_FOUND');
    expect(await errorOf(await cancel('nowhere'))).toBe('TASK_NOT_FOUND');
    model.script({ steps: [{ text: 'Yes?' }] });
    expect(textOf(await turn(engine, 'stop', 'Again.'))).toBe('Yes?');
  });

  it('withdraws its question', async () => {
    model.script({ steps: [asks('Shall I?')] });
    const stream = events(await execute(engine, { task_id: 'withdrawn', message: 'Ask.' }));
    await until(stream, isAsked);
    await expect.poll(() => engine.json('/activity')).toMatchObject({ in_flight_turns: 0 });
    expect((await cancel('withdrawn')).status).toBe(200);
    expect((await rest(stream)).at(-1)?.data).toMatchObject({ error: 'TURN_CANCELLED' });
    expect(await engine.json('/hitl/pending')).toEqual({ pending: [] });
    expect(await errorOf(await respond({ task_id: 'withdrawn', answer: 'yes' }))).toBe('NOT_FOUND');
    // The call it left open has a result: the scripted server refuses a history in which one has none.
    model.script({ steps: [{ text: 'All right.' }] });
    expect(textOf(await turn(engine, 'withdrawn', 'Never mind.'))).toBe('All right.');
  });
});

describe('write_file', () => {
  it('writes inside the roots, and nowhere else after a no', async () => {
    const write = (path: string, content: string, mode = 'overwrite') => ({
      tool: 'write_file',
      input: { path, content, mode },
    });
    model.script(
      {
        steps: [
          write('a.txt', 'one\n'),
          write('../outside.txt', 'x'),
          write('/etc/september', 'x'),
          write('missing/a.txt', 'x'),
          write('..', 'x'),
          write('../brain.sqlite', 'x'),
        ],
      },
      { steps: [write('a.txt', 'two\n', 'append'), { tool: 'read_file', input: { path: 'a.txt' } }] },
      { steps: [{ tool: 'read_file', input: { path: 'a.txt' } }] },
      { steps: [{ text: 'Done.' }] },
    );
    const stream = events(await execute(engine, { task_id: 'write', message: 'Write.' }));
    const received: Received[] = [];
    for (const path of ['../outside.txt', '/etc/september', '..']) {
      const seen = await until(stream, isAsked);
      expect(seen.at(-1)?.data).toMatchObject({ kind: 'permission', input: { path } });
      received.push(...seen);
      await respond({ task_id: 'write', answer: 'no' });
    }
    received.push(...(await rest(stream)));
    const results = received.filter((event) => event.type === 'tool_result').map((event) => event.data);
    expect(results.slice(0, 6).map(({ error }) => error)).toEqual([
      undefined,
      'permission_denied',
      'permission_denied',
      'not_found',
      'permission_denied',
      'permission_denied',
    ]);
    expect(results[0]?.output).toMatchObject({ bytes_written: 4 });
    expect(results.at(-1)?.output).toMatchObject({ text: 'one\ntwo\n' });
    expect(existsSync(join(folder, 'outside.txt'))).toBe(false);
  });
});
