/**
 * Sleep with real engines: a turn that outlasts the idle timeout is not put to sleep, an idle engine dozes and
 * then hibernates, an admit brings it back, and the conversation goes on as if nothing had been.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ModelServer, startModelServer } from '../model-server/src/index.ts';
import { type OwnOrchestrator, startOwnOrchestrator } from '../scripts/own_orchestrator.ts';
import { type Admission, type Engine, execute, registerProduct, say } from './support/product.ts';

/** Longer than from an admit to the message after it, on a slow day; the turn lasts longer. */
const IDLE_TIMEOUT_S = 2;

let model: ModelServer;
let orchestrator: OwnOrchestrator;
let asProduct: Awaited<ReturnType<typeof registerProduct>>;

beforeAll(async () => {
  model = await startModelServer();
  orchestrator = await startOwnOrchestrator({
    ORCH_IDLE_TIMEOUT_S: String(IDLE_TIMEOUT_S),
    // Until a test asks for it.
    ORCH_HIBERNATE_AFTER_S: '3600',
    LLM_PROVIDER: 'anthropic',
    LLM_BASE_URL: `${model.url}/v1`,
    LLM_API_KEY: 'sk-for-tests',
  });
  asProduct = await registerProduct(orchestrator, 'sleepers');
}, 120_000);

afterAll(async () => {
  await orchestrator?.stop();
  await model?.close();
}, 30_000);

const admit = (user: string): Promise<Admission> =>
  asProduct('POST', `/engines/${user}/admit`, { auto_provision: true, auto_wake: true });
const engineOf = (user: string): Promise<Engine> => asProduct('GET', `/engines/${user}`);

async function until(what: string, check: () => Promise<boolean>): Promise<void> {
  const limit = Date.now() + 20_000;
  while (!(await check())) {
    if (Date.now() > limit) throw new Error(`waited in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const asleep = (user: string, depth: string) =>
  until(`${user} sleeps (${depth})`, async () => (await engineOf(user)).sleep_depth === depth);

const answersAt = (url: string) =>
  fetch(`${url}/health`, { signal: AbortSignal.timeout(500) }).then(
    () => true,
    () => false,
  );

describe('an engine at work', () => {
  it('is not put to sleep, however long it thinks and whoever is gone; then it dozes, and wakes as it was', async () => {
    const { engine } = await admit('ada');
    const thinking = Promise.withResolvers<void>();
    model.script({ steps: [{ text: 'The answer ' }, { until: thinking.promise }, { text: 'is seven.' }] });
    // The client leaves: nothing but the turn keeps the engine awake.
    await (await execute(engine, 'Think hard.')).body?.cancel();
    // Bob comes later and does nothing. When he dozes, ada has been at work for longer than that.
    for (const bystander of ['bob', 'eve']) {
      await admit(bystander);
      await asleep(bystander, 'doze');
    }
    expect(await engineOf('ada')).toMatchObject({ status: 'running' });
    expect(await answersAt(engine.url)).toBe(true);
    expect(model.requests).toHaveLength(1);

    thinking.resolve();
    await asleep('ada', 'doze');
    expect(await answersAt(engine.url)).toBe(false);

    const woken = await admit('ada');
    expect(woken).toEqual({ admitted: true, engine: { ...engine, last_health_at: expect.any(String) } });
    model.script({ steps: [{ text: 'Still seven.' }] });
    expect(await say(woken.engine, 'And now?')).toBe('Still seven.');
    expect(JSON.stringify(model.requests.at(-1)?.body)).toContain('The answer is seven.');
  }, 60_000);

  it('hibernates, and goes on with the same conversation when it is admitted', async () => {
    await admit('ada');
    await asProduct('POST', '/engines/ada/sleep', { depth: 'hibernate' });
    const sleeping = await engineOf('ada');
    expect(sleeping).toMatchObject({ status: 'sleeping', sleep_depth: 'hibernate' });
    expect(await answersAt(sleeping.url)).toBe(false);
    const { admitted, engine } = await admit('ada');
    expect([admitted, engine.url, engine.api_key]).toEqual([true, sleeping.url, sleeping.api_key]);
    model.script({ steps: [{ text: 'Seven it is.' }] });
    expect(await say(engine, 'Once more?')).toBe('Seven it is.');
    const history = JSON.stringify(model.requests.at(-1)?.body);
    for (const said of ['Think hard.', 'The answer is seven.', 'Still seven.'])
      expect(history).toContain(said);
  }, 60_000);

  it('is not put to sleep by hand in a turn', async () => {
    const { engine } = await admit('ada');
    const thinking = Promise.withResolvers<void>();
    model.script({ steps: [{ text: 'Well, ' }, { until: thinking.promise }, { text: 'yes.' }] });
    const answer = say(engine, 'Sure?');
    const calls = model.requests.length;
    await until('the model is asked', async () => model.requests.length > calls);
    const refused = await asProduct<{ error: object }>('POST', '/engines/ada/sleep', { depth: 'hibernate' });
    expect(refused.error).toEqual({
      code: 'OPERATION_IN_PROGRESS',
      message: 'The engine is busy: turns in flight: 1.',
    });
    thinking.resolve();
    expect(await answer).toBe('Well, yes.');
  }, 60_000);
});
