import { type ModelServer, type Reply, startModelServer } from '@september/model-server';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EngineError } from '../src/errors.ts';
import { createGuards, type GuardLimits, type NextCall, type Spent } from '../src/turn/guards.ts';
import type { ToolUseBlock } from '../src/types.ts';
import { type Engine, startEngine, temporaryFolder } from './support/engine.ts';
import { all, events, execute, outline, textOf, turn, until } from './support/stream.ts';

const NO_LIMITS: GuardLimits = {
  max_iterations: 1000,
  turn_timeout_s: 1000,
  max_tokens: undefined,
  max_cost_usd: undefined,
};
const NOTHING: Spent = { iterations: 0, tokens: 0, cost_usd: 0, active_ms: 0 };
const CALL: NextCall = { input_tokens: 100, max_output_tokens: 50, max_cost_usd: 0.5 };

/** The code the call is refused with, or undefined when it may be made. */
function refusal(limits: Partial<GuardLimits>, next: Partial<NextCall>, spent: Partial<Spent>) {
  try {
    createGuards({ ...NO_LIMITS, ...limits }).beforeCall({ ...CALL, ...next }, { ...NOTHING, ...spent });
  } catch (error) {
    if (error instanceof EngineError) return error.code;
    throw error;
  }
  return undefined;
}

describe('a budget', () => {
  it.each([
    ['calls', { max_iterations: 3 }, {}, { iterations: 2 }, undefined],
    ['calls', { max_iterations: 3 }, {}, { iterations: 3 }, 'AGENT_ITERATION_LIMIT'],
    ['time', { turn_timeout_s: 2 }, {}, { active_ms: 1999 }, undefined],
    ['time', { turn_timeout_s: 2 }, {}, { active_ms: 2000 }, 'TURN_TIMEOUT'],
    ['tokens', { max_tokens: 1150 }, {}, { tokens: 1000 }, undefined],
    ['tokens', { max_tokens: 1150 }, { input_tokens: 101 }, { tokens: 1000 }, 'TURN_TOKEN_LIMIT'],
    ['tokens', { max_tokens: 1150 }, { max_output_tokens: 51 }, { tokens: 1000 }, 'TURN_TOKEN_LIMIT'],
    ['money', { max_cost_usd: 1 }, {}, { cost_usd: 0.5 }, undefined],
    ['money', { max_cost_usd: 1 }, {}, { cost_usd: 0.51 }, 'TURN_COST_LIMIT'],
    ['money', { max_cost_usd: 1 }, { max_cost_usd: null }, {}, 'TURN_COST_LIMIT'],
    ['no money', {}, { max_cost_usd: null }, { cost_usd: 1e9 }, undefined],
  ])('of %s %j: a call of %j after %j is %s', (_, limits, next, spent, code) => {
    expect(refusal(limits, next, spent)).toBe(code);
  });

  it('is never exceeded by a call that keeps to its own limits', () => {
    const call = fc.record({
      input_tokens: fc.nat(5000),
      max_output_tokens: fc.nat(5000),
      answered: fc.double({ min: 0, max: 1, noNaN: true }),
    });
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 50_000 }),
        fc.array(call, { maxLength: 30 }),
        (max_tokens, calls) => {
          let tokens = 0;
          for (const next of calls) {
            if (refusal({ max_tokens }, next, { tokens }) !== undefined) continue;
            tokens += next.input_tokens + Math.floor(next.max_output_tokens * next.answered);
            expect(tokens).toBeLessThanOrEqual(max_tokens);
          }
        },
      ),
    );
  });
});

describe('the same call again', () => {
  const { repeated } = createGuards(NO_LIMITS);
  let calls = 0;
  const call = (name: string, input: Record<string, unknown> = {}): ToolUseBlock => ({
    type: 'tool_use',
    id: `call_${++calls}`,
    name,
    input,
  });
  const times = <T>(count: number, make: () => T) => Array.from({ length: count }, make);

  it('is told at the third and stopped at the fifth', () => {
    const verdicts = [1, 2, 3, 4, 5, 6].map((count) =>
      repeated(times(count, () => [call('a', { x: 1, y: [2] })])),
    );
    expect(verdicts).toEqual(['ok', 'ok', 'warn', 'warn', 'stop', 'stop']);
  });

  it('is the same whatever the order of its keys, and beside other calls', () => {
    const other = { n: 0 };
    const answers = times(5, () => [
      call('b', { n: other.n++ }),
      call('a', other.n % 2 ? { x: 1, y: 2 } : { y: 2, x: 1 }),
    ]);
    expect(repeated(answers)).toBe('stop');
    expect(repeated([times(3, () => call('a'))])).toBe('warn');
  });

  it('begins anew after an answer without it', () => {
    const four = () => times(4, () => [call('a')]);
    expect(repeated([...four(), [call('b')], [call('a')]])).toBe('ok');
    expect(repeated([...four(), [call('a', { other: true })]])).toBe('ok');
    expect(repeated([])).toBe('ok');
  });
});

describe('in a turn', () => {
  let model: ModelServer;
  let engine: Engine;
  beforeAll(async () => {
    model = await startModelServer();
    engine = await startEngine(temporaryFolder(), {
      LLM_PROVIDER: 'openai',
      LLM_BASE_URL: `${model.url}/v1`,
      TURN_MAX_TOKENS: '12000',
      MAX_TOKENS: '1000',
    });
  });
  afterAll(async () => {
    await engine.stop();
    await model.close();
  });

  const list: Reply = { steps: [{ tool: 'list_files', input: {} }] };

  it('a repeated call is told to the model at the third and ends the turn at the fifth, before it runs', async () => {
    model.script(list, list, list, list, list);
    const received = await turn(engine, 'again', 'Loop.');
    expect(received.filter((event) => event.type === 'tool_call')).toHaveLength(5);
    expect(received.filter((event) => event.type === 'tool_result')).toHaveLength(4);
    expect(outline(received).slice(-2)).toEqual(['thread_lifecycle errored', 'error']);
    expect(received.at(-1)?.data).toMatchObject({ error: 'REPEATED_TOOL_CALL' });
    const told = model.requests.map(({ body }) => JSON.stringify(body.messages).includes('same tool call'));
    expect(told).toEqual([false, false, false, true, true]);

    model.script({ steps: [{ text: 'Something else.' }] });
    expect(textOf(await turn(engine, 'again', 'Stop.'))).toBe('Something else.');
  });

  it('TURN_MAX_TOKENS ends it before the call that could exceed it', async () => {
    const before = model.requests.length;
    model.script({ ...list, usage: { input_tokens: 6000, output_tokens: 400 } }, list);
    const received = await turn(engine, 'budget', 'Work.');
    expect(received.at(-1)?.data).toMatchObject({
      type: 'error',
      error: 'TURN_TOKEN_LIMIT',
      details: { limit: 12_000, spent: 6400 },
    });
    expect(model.requests).toHaveLength(before + 1);
  });
});

it('money: what a turn has spent counts after a kill, and the call that could exceed the budget is not made', async () => {
  const folder = temporaryFolder();
  const model = await startModelServer();
  const settings = { LLM_PROVIDER: 'anthropic', LLM_MODEL: 'claude-sonnet-4-5', MAX_TOKENS: '1000' };
  const start = (extra: Record<string, string>) =>
    startEngine(folder, { ...settings, LLM_BASE_URL: `${model.url}/v1`, ...extra });
  const first = await start({});
  model.script(
    { steps: [{ tool: 'list_files', input: {} }], usage: { input_tokens: 100_000, output_tokens: 400 } },
    { steps: [{ text: 'Now' }, { until: new Promise(() => {}) }] },
  );
  const stream = events(await execute(first, { task_id: 'money', message: 'Work.' }));
  await until(stream, (event) => event.type === 'text_delta');
  await first.stop('SIGKILL');

  const second = await start({ TURN_MAX_COST_USD: '0.30' });
  const replayed = await all(second.fetch('/execute/replay?after=0&task_id=money&follow=true'));
  expect(replayed.at(-1)?.data).toMatchObject({ error: 'TURN_COST_LIMIT', details: { limit: 0.3 } });
  expect(model.requests).toHaveLength(2);
  await second.stop();
  await model.close();
});
