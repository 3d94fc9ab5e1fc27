import type { ModelTable } from '../catalog/models.ts';
import type { Log } from '../observe/log.ts';
import type { ProviderName, StreamEvent } from '../types.ts';
import { type Herald, HeraldError, type ModelRequest } from './contract.ts';
import { mostItCosts } from './cost.ts';
import { createDemo } from './demo.ts';
import { withFallback } from './fallback.ts';
import { createMediaRecovery } from './media_recovery.ts';
import { createProvider, type Provider } from './provider.ts';
import { createQuotas } from './quota.ts';
import { MAX_TRIES, withRetries } from './retry.ts';
import { createRouting } from './routing.ts';
import { type Clock, systemClock } from './timing.ts';
import { DEFAULT_PATIENCE, type Patience } from './watch.ts';
import { WIRES, type Wire } from './wires.ts';

export type { Herald, HeraldErrorCode, ModelInfo, ModelRequest } from './contract.ts';
export { HeraldError } from './contract.ts';

/** Which models to talk to, and how. Plain values; config.ts reads them from the environment. */
export type HeraldOptions = {
  provider: ProviderName;
  model: string;
  /** Asked once when another model has failed. */
  fallback_model?: string;
  /** By provider; not needed by `demo`, nor by a compatible server that asks for none. */
  api_keys: Partial<Record<ProviderName, string>>;
  /** `LLM_BASE_URL`: any compatible server, with its version segment, e.g. `http://localhost:11434/v1` (E2). */
  base_url?: string;
  /** Which of OpenAI's two APIs. Default: `responses`; with a `base_url` `chat`, which is what others speak. */
  openai_api?: 'responses' | 'chat';
  /** `MEDIA_ERROR_RECOVERY_ENABLED`. */
  media_error_recovery?: boolean;
  models: ModelTable;
  log: Pick<Log, 'warn'>;
  fetch?: typeof fetch;
  patience?: Patience;
  clock?: Clock;
};

/** The model layer (E2). Connects to nothing and loads no provider package before the first call. */
export function createHerald(options: HeraldOptions): Herald {
  const { base_url, api_keys, log, clock = systemClock } = options;
  const quotas = createQuotas(clock.now);
  const media = createMediaRecovery({
    enabled: options.media_error_recovery ?? false,
    onRefused: (blocks) =>
      log.warn('A provider refused media; they are left out from now on', { extra: { blocks } }),
  });
  const { resolve, info } = createRouting({
    ...options,
    single: base_url !== undefined,
    refuses: (provider) => (provider === 'demo' ? [] : wireOf(provider).refuses),
    hasKey: (provider) => api_keys[provider] !== undefined,
    onMissingKey: ({ provider, model, instead }) =>
      log.warn(`There is no key for ${provider}: ${instead} answers instead of ${model}`, {
        extra: { provider, model, instead },
      }),
  });
  const main = resolve(undefined);
  const providers = new Map<ProviderName, Provider>();
  let state: 'ok' | 'error' = 'ok';

  function providerOf(name: ProviderName): Provider {
    const provider = providers.get(name) ?? makeProvider(name);
    providers.set(name, provider);
    return provider;
  }

  function wireOf(provider: Exclude<ProviderName, 'demo'>): Wire {
    const openai = `openai_${options.openai_api ?? (base_url === undefined ? 'responses' : 'chat')}` as const;
    return WIRES[provider === 'openai' ? openai : provider];
  }

  function makeProvider(provider: ProviderName): Provider {
    if (provider === 'demo') return createDemo(clock);
    const wire = wireOf(provider);
    return createProvider({
      provider,
      wire,
      api_key: api_keys[provider] ?? '',
      base_url: base_url ?? wire.default_url,
      fetch: options.fetch ?? fetch,
      patience: options.patience ?? DEFAULT_PATIENCE,
      quotas,
    });
  }

  const answer = (request: ModelRequest) =>
    withFallback(
      resolve(request.model),
      options.fallback_model === undefined ? undefined : resolve(options.fallback_model),
      (route, position) => {
        const { stream, explain } = providerOf(route.provider);
        return media.recover(request, (isRefused) =>
          withRetries(() => stream(request, info(route.model), isRefused), {
            max_tries: position === 'first' ? MAX_TRIES : 1,
            explain,
            provider: route.provider,
            clock,
            signal: request.signal,
          }),
        );
      },
      (error, second) =>
        log.warn(`${request.model} failed: ${second.model} is asked instead`, {
          extra: { code: error.code, error: error.message, model: request.model, fallback: second.model },
        }),
    );

  async function* complete(request: ModelRequest): AsyncGenerator<StreamEvent> {
    try {
      yield* answer(request);
      state = 'ok';
    } catch (error) {
      // A conversation that is too long says nothing about the provider's health, nor does one given up.
      if (error instanceof HeraldError && error.code !== 'CONTEXT_OVERFLOW') state = 'error';
      throw error;
    }
  }

  return {
    ...main,
    complete,
    resolve,
    info,
    maxCost(model, input_tokens, max_output_tokens) {
      const models = [model, ...(options.fallback_model === undefined ? [] : [options.fallback_model])];
      const costs = models.map((id) => mostItCosts(info(id).prices, input_tokens, max_output_tokens));
      return costs.reduce((most, cost) => (most === null || cost === null ? null : Math.max(most, cost)));
    },
    quota: quotas.list,
    state: () => (main.provider === 'demo' ? 'demo' : state),
  };
}
