/** The model provider goes away under a real engine: its turns fail and say so, and nobody restarts it for that. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type ModelServer, startModelServer } from '../model-server/src/index.ts';
import { caller } from '../orchestrator/test/support/orchestrator.ts';
import { until } from '../orchestrator/test/support/wait.ts';
import { type OwnOrchestrator, startOwnOrchestrator } from '../scripts/own_orchestrator.ts';

let model: ModelServer;
let orchestrator: OwnOrchestrator;

beforeAll(async () => {
  model = await startModelServer();
  orchestrator = await startOwnOrchestrator({
    // Were it a failure, the first probe would be one too many.
    ORCH_HEALTH_MAX_FAILURES: '1',
    ORCH_HEALTH_CHECK_INTERVAL_S: '6',
    ORCH_HEALTH_CHECK_TIMEOUT_S: '5',
    LLM_PROVIDER: 'anthropic',
    LLM_BASE_URL: `${model.url}/v1`,
    LLM_API_KEY: 'sk-for-tests',
  });
}, 120_000);

afterAll(async () => {
  await orchestrator?.stop();
  await model?.close();
}, 30_000);

it('an engine without its model provider is shown as reduced, and left alone', async () => {
  const { body: product } = await caller(orchestrator.url)('POST', '/products/register', {
    admin: orchestrator.adminKey,
    body: { slug: 'provider-away', display_name: 'Provider away' },
  });
  const call = caller(orchestrator.url, product.platform_api_key);
  const { engine } = (await call('POST', '/engines/ada/admit', { body: { auto_provision: true } })).body;

  await model.close();
  const turn = await fetch(`${engine.url}/execute`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', 'X-Engine-Key': engine.api_key },
    body: JSON.stringify({ message: 'Are you there?', task_id: 'cut-off' }),
  });
  expect(await turn.text(), 'the turn ends, with an error').toMatch(/event: error\n.*\n*.*$/);

  const seen = await until('it is seen', async () => {
    const { body } = await call('GET', '/engines/ada/explain');
    return body.evidence.probe?.health === 'reduced' && body;
  });
  expect(seen).toMatchObject({
    status: 'running',
    rule: 'It serves, but llm_provider: error. That is recorded and never a reason for a restart.',
    evidence: {
      process: { state: 'present', epoch: 1 },
      probe: { health: 'reduced', ill_in_a_row: 0 },
      operation: { kind: 'provision' },
      failure: null,
    },
  });
  const health = await fetch(`${engine.url}/health`);
  expect(health.status).toBe(200);
  expect(await health.json()).toMatchObject({ status: 'degraded' });
}, 90_000);
