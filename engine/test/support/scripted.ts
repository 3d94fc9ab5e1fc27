import { type ModelServer, startModelServer } from '@september/model-server';
import { afterAll } from 'vitest';

/** A model that says what a test tells it to, and the settings of an Engine that asks it. */
export type ScriptedModel = ModelServer & { settings: Record<string, string> };

/** One for a test file; gone when that is done. It speaks Anthropic's wire, as most tests do not care which. */
export async function scriptedModel(): Promise<ScriptedModel> {
  const server = await startModelServer();
  afterAll(() => server.close());
  return {
    ...server,
    settings: {
      LLM_PROVIDER: 'anthropic',
      LLM_BASE_URL: `${server.url}/v1`,
      LLM_MODEL: 'claude-sonnet-4-5',
    },
  };
}
