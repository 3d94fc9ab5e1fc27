import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Engine, startEngine, temporaryFolder } from './support/engine.ts';
import { answer, asks, isAsked } from './support/person.ts';
import { scriptedModel } from './support/scripted.ts';
import { all, errorOf, events, execute, outline, rest, textOf, turn, until } from './support/stream.ts';

const model = await scriptedModel();

describe('a client that leaves', () => {
  let engine: Engine;

  beforeAll(async () => {
    engine = await startEngine(temporaryFolder(), model.settings);
  });

  afterAll(() => engine.stop());

  it('does not stop its turn, and finds every event again, once and in order', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    model.script({
      steps: [{ text: 'a b c ', chunks: 3 }, { until: promise }, { text: 'd e f', chunks: 3 }],
    });
    const leaving = new AbortController();
    const stream = events(
      await execute(engine, { task_id: 'leaves', message: 'Spell.' }, { signal: leaving.signal }),
    );
    const seen = await until(stream, (event) => event.type === 'text_delta');
    leaving.abort();
    const last = seen.at(-1)?.id ?? 0;

    const replayed = all(engine.fetch('/execute/replay?task_id=leaves&follow=true&after=0'));
    resolve();
    const whole = await replayed;
    expect(textOf(whole)).toBe('a b c d e f');
    expect(whole.slice(0, seen.length)).toEqual(seen);
    expect(whole.at(-1)?.data).toMatchObject({ phase: 'completed' });

    const headers = { 'Last-Event-ID': String(last) };
    const remaining = await all(engine.fetch('/execute/replay?task_id=leaves', { headers }));
    expect([...seen, ...remaining]).toEqual(whole);
  });

  it('replays by time, by task, or all', async () => {
    model.script({ steps: [{ text: 'One.' }] }, { steps: [{ text: 'Two.' }] });
    const one = await turn(engine, 'replay-1', 'First');
    const two = await turn(engine, 'replay-2', 'Second');
    const everything = await all(engine.fetch('/execute/replay?after=0'));
    expect(everything.slice(-(one.length + two.length))).toEqual([...one, ...two]);
    expect(await all(engine.fetch('/execute/replay?after=0&task_id=replay-1'))).toEqual(one);
    expect(await all(engine.fetch('/execute/replay?after=0&task_id=replay-1&follow=true'))).toEqual(one);
    const middle = two[1]?.data.timestamp;
    const later = await all(
      engine.fetch(`/execute/replay?after=${Date.parse(String(middle))}&task_id=replay-2`),
    );
    expect(later).toEqual(two.filter((event) => String(event.data.timestamp) > String(middle)));
    expect(await all(engine.fetch(`/execute/replay?after=${Date.now() + 60_000}`))).toEqual([]);
  });

  it('follows all tasks until no turn is in flight', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    model.script({ steps: [{ text: 'Wait ' }, { until: promise }, { text: 'over.' }] });
    const first = events(await execute(engine, { task_id: 'follow-all', message: 'Wait.' }));
    const [started] = await until(first, (event) => event.type === 'text_delta');
    const headers = { 'Last-Event-ID': String((started?.id ?? 1) - 1) };
    const following = all(engine.fetch('/execute/replay?follow=true', { headers }));
    resolve();
    expect(textOf(await following)).toBe('Wait over.');
    await rest(first);
  });

  it('is told of an unknown task, and that it has to say from where', async () => {
    const unknown = await engine.fetch('/execute/replay?after=0&task_id=nobody');
    expect([unknown.status, await errorOf(unknown)]).toEqual([404, 'TASK_NOT_FOUND']);
    const nowhere = await engine.fetch('/execute/replay?task_id=replay-1');
    expect([nowhere.status, await errorOf(nowhere)]).toEqual([400, 'INVALID_REQUEST']);
  });

  it('shows in /activity while it is there', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    model.script({ steps: [{ text: 'Still ' }, { until: promise }, { text: 'here.' }] });
    const stream = events(await execute(engine, { task_id: 'activity', message: 'Here?' }));
    await until(stream, (event) => event.type === 'text_delta');
    const busy = await engine.json('/activity');
    expect(busy).toMatchObject({ in_flight_turns: 1, open_streams: 1, pending_hitl: 0, busy_until: null });
    resolve();
    await rest(stream);
    const idle = await engine.json('/activity');
    expect(idle).toMatchObject({ in_flight_turns: 0, open_streams: 0 });
    expect(Date.parse(idle.last_activity_at)).toBeGreaterThanOrEqual(Date.parse(busy.last_activity_at));
    const asked = await engine.json('/activity');
    expect(asked.last_activity_at).toBe(idle.last_activity_at);
  });

  it('counts the end of a turn as activity, also when nobody is there to see it', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    model.script({ steps: [{ text: 'Slow ' }, { until: promise }, { text: 'work.' }] });
    const leaving = new AbortController();
    const stream = events(
      await execute(engine, { task_id: 'alone', message: 'Work.' }, { signal: leaving.signal }),
    );
    await until(stream, (event) => event.type === 'text_delta');
    leaving.abort();
    await expect.poll(() => engine.json('/activity')).toMatchObject({ open_streams: 0, in_flight_turns: 1 });
    const left = await engine.json('/activity');
    resolve();
    await expect.poll(() => engine.json('/activity')).toMatchObject({ in_flight_turns: 0 });
    const ended = await engine.json('/activity');
    expect(Date.parse(ended.last_activity_at)).toBeGreaterThan(Date.parse(left.last_activity_at));
  });
});

describe('an Engine that is stopped', () => {
  it('remembers the conversation and the replay after SIGTERM and after kill -9', async () => {
    const folder = temporaryFolder();
    let engine = await startEngine(folder, model.settings);
    model.script({ steps: [{ text: 'Hello Ada.' }] });
    const before = await turn(engine, 'memory', 'I am Ada.');
    expect(await engine.stop('SIGTERM')).toBe(0);

    engine = await startEngine(folder, model.settings);
    expect(await all(engine.fetch('/execute/replay?after=0'))).toEqual(before);
    model.script({ steps: [{ text: 'You are Ada.' }] });
    const again = await turn(engine, 'memory', 'Who am I?');
    expect(again[0]?.id).toBeGreaterThan(before.at(-1)?.id ?? 0);
    expect(await engine.stop('SIGKILL')).toBe('SIGKILL');

    engine = await startEngine(folder, model.settings);
    model.script({ steps: [{ text: 'Still Ada.' }] });
    await turn(engine, 'memory', 'And now?');
    const sent = JSON.stringify(model.requests.at(-1)?.body.messages);
    for (const said of ['I am Ada.', 'Hello Ada.', 'Who am I?', 'You are Ada.', 'And now?'])
      expect(sent).toContain(said);
    await engine.stop();
  });

  it('goes on with a turn that kill -9 cut in the middle of an answer; what was shown of that is void', async () => {
    const folder = temporaryFolder();
    let engine = await startEngine(folder, model.settings);
    model.script(
      { steps: [{ text: 'Let me look. ' }, { tool: 'list_files', input: {} }] },
      { steps: [{ text: 'I see ' }, { until: new Promise(() => {}) }] },
    );
    const stream = events(await execute(engine, { task_id: 'killed', message: 'Look.' }));
    const seen = await until(stream, (event) => String(event.data.text).includes('see'));
    await engine.stop('SIGKILL');

    model.script({ steps: [{ text: 'I see nothing.' }] });
    engine = await startEngine(folder, model.settings);
    const headers = { 'Last-Event-ID': String(seen.at(-1)?.id) };
    const remaining = await all(execute(engine, { task_id: 'killed', message: 'Look.' }, { headers }));
    expect(outline(remaining)).toEqual([
      'content_block_stop',
      'task_lifecycle',
      'content_block_start',
      'text_delta',
      'content_block_stop',
      'usage',
      'thread_lifecycle completed',
    ]);
    expect(remaining[0]?.data).toMatchObject({ block_index: 2, discarded: true });
    expect(remaining[1]?.data).toMatchObject({ phase: 'resumed' });
    expect(remaining[2]?.data).toMatchObject({ block_index: 3 });
    const replayed = await all(engine.fetch('/execute/replay?after=0&task_id=killed'));
    expect(replayed).toEqual([...seen, ...remaining]);
    await engine.stop();
  });

  it('is found by sending the same again; another message has to wait', async () => {
    const folder = temporaryFolder();
    let engine = await startEngine(folder, model.settings);
    model.script({ steps: [{ tool: 'list_files', input: {} }] });
    const stream = events(await execute(engine, { task_id: 'open', message: 'Look.' }));
    const seen = await until(stream, (event) => event.type === 'tool_call');
    await engine.stop('SIGKILL');

    const { promise, resolve } = Promise.withResolvers<void>();
    model.script({ steps: [{ text: 'Fine' }, { until: promise }, { text: '.' }] });
    engine = await startEngine(folder, model.settings);
    expect(await errorOf(await execute(engine, { task_id: 'open', message: 'Well?' }))).toBe('TASK_BUSY');
    const same = await execute(engine, { task_id: 'open', message: 'Look.' });
    resolve();
    const received = await all(same);
    expect(received.slice(0, seen.length)).toEqual(seen);
    expect(received.filter((event) => event.type === 'tool_result')).toHaveLength(1);
    expect(textOf(received)).toBe('Fine.');
    await engine.stop();
  });

  it('is found by sending the same again also when it has gone on and ended; once', async () => {
    const folder = temporaryFolder();
    let engine = await startEngine(folder, model.settings);
    const asked = model.requests.length + 1;
    model.script({ silent: true });
    const cut = await execute(engine, { task_id: 'late', message: 'Think.' });
    await expect.poll(() => model.requests.length).toBe(asked);
    await engine.stop('SIGKILL');
    await cut.body?.cancel().catch(() => undefined);

    model.script({ steps: [{ text: 'Thought.' }] }, { steps: [{ text: 'Again.' }] });
    engine = await startEngine(folder, model.settings);
    await all(engine.fetch('/execute/replay?after=0&task_id=late&follow=true'));
    expect(model.requests.length).toBe(asked + 1);
    expect(textOf(await turn(engine, 'late', 'Think.'))).toBe('Thought.');
    expect(textOf(await turn(engine, 'late', 'Think.'))).toBe('Again.');
    await engine.stop();
  });

  it('gives a turn up that took the Engine down three times at the same step', async () => {
    const folder = temporaryFolder();
    for (let crash = 1; crash <= 3; crash++) {
      model.script({ steps: [{ text: 'Now ' }, { until: new Promise(() => {}) }] });
      const engine = await startEngine(folder, model.settings);
      const stream = events(await execute(engine, { task_id: 'deadly', message: 'Crash.' }));
      await until(stream, (event) => event.data.phase === 'resumed' || crash === 1);
      await until(stream, (event) => event.type === 'text_delta');
      await engine.stop('SIGKILL');
    }
    const engine = await startEngine(folder, model.settings);
    const last = await all(engine.fetch('/execute/replay?after=0&task_id=deadly&follow=true'));
    expect(outline(last).slice(-2)).toEqual(['thread_lifecycle errored', 'error']);
    expect(last.at(-1)?.data).toMatchObject({ error: 'INTERNAL_ERROR' });
    model.script({ steps: [{ text: 'Better.' }] });
    expect(textOf(await turn(engine, 'deadly', 'And now?'))).toBe('Better.');
    await engine.stop();
  });

  it('outlives a turn that it cannot even begin with, and takes it up when it can', async () => {
    const folder = temporaryFolder();
    const engine = await startEngine(folder, model.settings);
    model.script({ steps: [asks('Ready?')] });
    const stream = events(await execute(engine, { task_id: 'begin', message: 'Ask.' }));
    await until(stream, isAsked);
    await expect.poll(() => engine.json('/activity')).toMatchObject({ in_flight_turns: 0 });
    // A brain that cannot be read, as with a broken disk.
    const brain = new DatabaseSync(join(folder, 'brain.sqlite'), { timeout: 5_000 });
    brain.exec('ALTER TABLE turns RENAME COLUMN active_ms TO away');
    await answer(engine, { task_id: 'begin', answer: 'yes' });
    await engine.logged((line) => line.message === 'The end of a turn could not be recorded');
    await rest(stream);

    brain.exec('ALTER TABLE turns RENAME COLUMN away TO active_ms');
    brain.close();
    model.script({ steps: [{ text: 'Go.' }] });
    const received = await all(execute(engine, { task_id: 'begin', message: 'Ask.' }));
    expect(textOf(received)).toBe('Go.');
    await engine.stop();
  });

  it('drains on SIGTERM: says so, takes no new turns, lets the running one end', async () => {
    const engine = await startEngine(temporaryFolder(), model.settings);
    const { promise, resolve } = Promise.withResolvers<void>();
    model.script({ steps: [{ text: 'Nearly ' }, { until: promise }, { text: 'done.' }] });
    const stream = events(await execute(engine, { task_id: 'drain', message: 'Finish.' }));
    const seen = await until(stream, (event) => event.type === 'text_delta');
    const exit = engine.stop('SIGTERM');
    await engine.logged((line) => line.message.includes('draining'));

    const health = await fetch(`${engine.url}/health`);
    expect(health.status).toBe(503);
    expect(await health.json()).toMatchObject({ status: 'draining' });
    const refused = await execute(engine, { task_id: 'new', message: 'Hi' });
    expect(refused.status).toBe(503);
    expect(refused.headers.get('retry-after')).toMatch(/^\d+$/);
    expect(await refused.json()).toMatchObject({ error: 'NOT_READY' });
    const headers = { 'Last-Event-ID': String(seen.at(-1)?.id) };
    const attached = await execute(engine, { task_id: 'drain', message: 'Finish.' }, { headers });

    resolve();
    const remaining = await rest(stream);
    expect(textOf([...seen, ...remaining])).toBe('Nearly done.');
    expect(await all(attached)).toEqual(remaining);
    expect(await exit).toBe(0);
  });

  it('leaves at once on a second signal', async () => {
    const engine = await startEngine(temporaryFolder(), model.settings);
    model.script({ steps: [{ text: 'Never ' }, { until: new Promise(() => {}) }] });
    const stream = events(await execute(engine, { task_id: 'stuck', message: 'Go.' }));
    await until(stream, (event) => event.type === 'text_delta');
    const exit = engine.stop('SIGINT');
    await engine.logged((line) => line.message.includes('draining'));
    engine.process.kill('SIGINT');
    expect(await exit).toBe(1);
  });
});
