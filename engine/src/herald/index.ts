import type { Herald } from './contract.ts';
import { createDemoHerald } from './demo.ts';
import { createProviderHerald } from './provider.ts';
import { type Clock, systemClock } from './timing.ts';
import { DEFAULT_PATIENCE, type Patience } from './watch.ts';
import { WIRES } from './wires.ts';

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
  /** Which of OpenAI's two APIs. Default: `responses`; with a `base_url` `chat`, which is what others speak. */
  openai_api?: 'responses' | 'chat';
  fetch?: typeof fetch;
  patience?: Patience;
  clock?: Clock;
};

/** The model layer for one provider (E2). Connects to nothing and loads no provider package before the first call. */
export function createHerald(options: HeraldOptions): Herald {
  const { provider, model, base_url, clock = systemClock } = options;
  if (provider === 'demo') return createDemoHerald(model, clock);
  const openai = `openai_${options.openai_api ?? (base_url === undefined ? 'responses' : 'chat')}` as const;
  const wire = WIRES[provider === 'openai' ? openai : provider];
  return createProviderHerald({
    provider,
    model,
    wire,
    api_key: options.api_key ?? '',
    base_url: base_url ?? wire.default_url,
    fetch: options.fetch ?? fetch,
    patience: options.patience ?? DEFAULT_PATIENCE,
    clock,
  });
}
