import { type ModelServer, startModelServer } from '@september/model-server';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Engine, startEngine, temporaryFolder } from './support/engine.ts';
import { turn } from './support/stream.ts';

/** With gpt-4o and MAX_TOKENS=4096 a call can cost 4.1 cents for its answer, and a little for its question. */
const BUDGET = { TURN_MAX_COST_USD: '0.06' };
/** 2.5 cents. */
const DEAR = { input_tokens: 2000, output_tokens: 2000 };

let model: ModelServer;
let engine: Engine;
beforeAll(async () => {
  model = await startModelServer();
});
afterEach(() => engine.stop());
afterAll(() => model.close());

const start = async (LLM_MODEL: string) => {
  engine = await startEngine(temporaryFolder(), {
    LLM_PROVIDER: 'openai',
    LLM_MODEL,
    LLM_BASE_URL: `${model.url}/v1`,
    ...BUDGET,
  });
};

describe('a budget in dollars', () => {
  it('ends the turn before the call that could exceed it, with what was spent', async () => {
    await start('gpt-4o');
    model.script({ steps: [{ tool: 'list_files', input: {} }], usage: DEAR });
    const received = await turn(engine, 'dear', 'Look.');
    expect(received.find(({ type }) => type === 'usage')?.data).toMatchObject({ cost_usd: 0.025 });
    expect(received.at(-1)?.data).toMatchObject({
      error: 'TURN_COST_LIMIT',
      details: { limit: 0.06, spent: 0.025 },
    });
    expect(model.requests).toHaveLength(1);
  });

  it('makes no call whose price is not known', async () => {
    await start('ours-7b');
    const calls = model.requests.length;
    const received = await turn(engine, 'unknown', 'Look.');
    expect(received.at(-1)?.data).toMatchObject({ error: 'TURN_COST_LIMIT' });
    expect(model.requests).toHaveLength(calls);
  });
});
