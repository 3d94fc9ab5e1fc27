/** A destroyed engine that was retained comes back with a real brain: the conversation goes on. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type ModelServer, startModelServer } from '../model-server/src/index.ts';
import { type OwnOrchestrator, startOwnOrchestrator } from '../scripts/own_orchestrator.ts';
import { type Admission, type Engine, registerProduct, say } from './support/product.ts';

let model: ModelServer;
let orchestrator: OwnOrchestrator;

beforeAll(async () => {
  model = await startModelServer();
  orchestrator = await startOwnOrchestrator({
    LLM_PROVIDER: 'anthropic',
    LLM_BASE_URL: `${model.url}/v1`,
    LLM_API_KEY: 'sk-for-tests',
  });
}, 120_000);

afterAll(async () => {
  await orchestrator?.stop();
  await model?.close();
}, 30_000);

it('a restored engine knows what was said before it was destroyed, and the one in between does not', async () => {
  const asProduct = await registerProduct(orchestrator, 'keepers');
  const admit = async () => {
    const flags = { auto_provision: true, auto_wake: true };
    return (await asProduct<Admission>('POST', '/engines/ada/admit', flags)).engine;
  };
  const ask = async (engine: Engine, message: string) => {
    model.script({ steps: [{ text: 'Noted.' }] });
    expect(await say(engine, message)).toBe('Noted.');
    return JSON.stringify(model.requests.at(-1)?.body);
  };
  const first = await admit();
  await ask(first, 'The word is heron.');
  await asProduct('DELETE', '/engines/ada?retain=true');

  const between = await admit();
  expect(between.engine_id).not.toBe(first.engine_id);
  expect(await ask(between, 'What is the word?')).not.toContain('heron');
  await asProduct('DELETE', '/engines/ada?retain=false');

  const restored = await asProduct<Engine>('POST', '/engines/ada/restore');
  expect(restored).toMatchObject({ engine_id: first.engine_id, api_key: first.api_key, status: 'running' });
  expect(await ask(restored, 'What is the word?')).toContain('The word is heron.');
}, 60_000);
