import type { Herald } from './contract.ts';
import { createDemoHerald } from './demo.ts';
import { type Clock, systemClock } from './timing.ts';

export type { Herald, HeraldErrorCode, ModelRequest } from './contract.ts';
export { HeraldError } from './contract.ts';

/** Which model to talk to, and how. Plain values; config.ts reads them from the environment. */
export type HeraldOptions = {
  provider: Herald['provider'];
  model: string;
  /** `LLM_API_KEY`; not needed by `demo`, nor by a compatible server that asks for none. */
  api_key?: string;
  /** `LLM_BASE_URL`: any compatible server, with its version segment, e.g. `http://localhost:11434/v1` (E2). */
  base_url?: string;
  /** Which of OpenAI's two APIs. Default: `responses`, with a `base_url` `chat`, which is what others speak. */
  openai_api?: 'responses' | 'chat';
  clock?: Clock;
};

/** The model layer for one provider. Connects to nothing and loads no provider package before the first call. */
export function createHerald(options: HeraldOptions): Herald {
  return createDemoHerald(options.model, options.clock ?? systemClock);
}
