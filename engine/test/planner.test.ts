import { describe, expect, it } from 'vitest';
import { startEngine, temporaryFolder } from './support/engine.ts';
import { scriptedModel } from './support/scripted.ts';
import { all, events, execute, type Received, textOf, turn, until } from './support/stream.ts';

const model = await scriptedModel();
const settings = { ...model.settings, PLANNER_MODEL: 'planner' };
const folder = temporaryFolder();
let engine = await startEngine(folder, settings);

const say = (text: string) => ({ steps: [{ text }] });
const plans = (received: Received[]) =>
  received
    .filter((event) => event.type === 'working_memory_update')
    .map(({ data }) => [data.key, data.value]);
/** The models asked since, in order. */
const askedSince = (from: number) => model.requests.slice(from).map(({ body }) => body.model);
const lastSent = () => JSON.stringify(model.requests.at(-1)?.body.messages);

describe('a turn', () => {
  it('is planned before its first model call; the plan is a note that goes with the message', async () => {
    const from = model.requests.length;
    model.script(say('1. Look.\n2. Answer.'), say('Done.'));
    const received = await turn(engine, 'planned', 'Tidy up, please.');
    expect(askedSince(from)).toEqual(['planner', 'claude-sonnet-4-5']);
    expect(plans(received)).toEqual([['plan', '1. Look.\n2. Answer.']]);
    expect(textOf(received)).toBe('Done.');
    // What it cost is shown, what it said is not.
    expect(received.filter((event) => event.type === 'usage').map(({ data }) => data.model)).toEqual([
      'planner',
      'claude-sonnet-4-5',
    ]);
    expect(lastSent()).toContain('1. Look.\\n2. Answer.');

    const question = JSON.stringify(model.requests[from]?.body.messages);
    for (const known of ['Tidy up, please.', '- working_memory_write: ']) expect(question).toContain(known);
    model.script(say('No plan.'), say('Gladly.'));
    expect(plans(await turn(engine, 'planned', 'Thanks.'))).toEqual([]);
    const again = JSON.stringify(model.requests.at(-2)?.body.messages);
    for (const known of ['Tidy up, please.', 'Done.', '1. Look.']) expect(again).toContain(known);
  });

  it('is not planned where it is direct', async () => {
    const from = model.requests.length;
    model.script(say('Hello.'));
    await all(execute(engine, { task_id: 'direct', message: 'Hi', direct: true }));
    expect(askedSince(from)).toEqual(['claude-sonnet-4-5']);
  });

  it('goes on without a plan when the planner fails', async () => {
    model.script({ status: 400 }, say('Hello.'));
    const received = await turn(engine, 'failing', 'Hi');
    expect(textOf(received)).toBe('Hello.');
    expect(plans(received)).toEqual([]);
  });
});

it('is planned once: after a kill the plan stays, and one that was cut is asked for again once', async () => {
  const from = model.requests.length;
  model.script(say('1. Go.'), { steps: [{ text: 'On' }, { until: new Promise(() => {}) }] });
  const body = { task_id: 'killed', message: 'Go.' };
  const seen = await until(events(await execute(engine, body)), (event) => event.type === 'text_delta');
  await engine.stop('SIGKILL');
  model.script(say('There.'));
  engine = await startEngine(folder, settings);
  const received = await all(
    execute(engine, body, { headers: { 'Last-Event-ID': String(seen.at(-1)?.id) } }),
  );
  expect(received.at(-1)?.data).toMatchObject({ phase: 'completed' });
  expect(plans([...seen, ...received])).toEqual([['plan', '1. Go.']]);
  const [, first, second] = model.requests.slice(from);
  expect(askedSince(from)).toEqual(['planner', 'claude-sonnet-4-5', 'claude-sonnet-4-5']);
  expect(second?.body.messages).toEqual(first?.body.messages);
});

it('is planned once more when a kill has cut its planning, and goes without a plan after a second one', async () => {
  const body = { task_id: 'cut', message: 'Go.' };
  const cutWhilePlanned = async (from: number, ask: () => Promise<unknown>) => {
    model.script({ steps: [{ text: '1. G' }, { until: new Promise(() => {}) }] });
    const asking = ask().catch(() => undefined);
    await expect.poll(() => askedSince(from), { timeout: 10_000 }).toEqual(['planner']);
    await engine.stop('SIGKILL');
    await asking;
  };
  await cutWhilePlanned(model.requests.length, () => all(execute(engine, body)));
  // The next start takes the turn up by itself.
  await cutWhilePlanned(model.requests.length, async () => {
    engine = await startEngine(folder, settings);
  });
  const from = model.requests.length;
  model.script(say('There.'));
  engine = await startEngine(folder, settings);
  const received = await all(execute(engine, body));
  expect(received.at(-1)?.data).toMatchObject({ phase: 'completed' });
  expect(textOf(received)).toBe('There.');
  expect(plans(received)).toEqual([]);
  expect(askedSince(from)).toEqual(['claude-sonnet-4-5']);
});
