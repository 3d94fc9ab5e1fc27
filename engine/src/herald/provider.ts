import type { StreamEvent } from '../types.ts';
import { type Herald, HeraldError, type ModelRequest, THINKING_TOKENS } from './contract.ts';
import { toCallOptions } from './convert.ts';
import { toEvents } from './events.ts';
import { explain } from './failure.ts';
import { withRetries } from './retry.ts';
import type { Clock } from './timing.ts';
import { type Patience, watchedFetch } from './watch.ts';
import type { Wire } from './wires.ts';

export type ProviderOptions = {
  provider: Exclude<Herald['provider'], 'demo'>;
  model: string;
  wire: Wire;
  api_key: string;
  base_url: string;
  fetch: typeof fetch;
  patience: Patience;
  clock: Clock;
};

/** A real provider behind our interface, by the AI SDK's provider packages at their lowest level (one call, no loop, no retries). */
export function createProviderHerald(options: ProviderOptions): Herald {
  const { provider, model, api_key, clock } = options;
  let state: 'ok' | 'error' = 'ok';

  async function* complete(request: ModelRequest): AsyncGenerator<StreamEvent> {
    try {
      yield* withRetries(() => attempt(options, request), {
        explain: (error) => explain(error, provider, api_key),
        provider,
        clock,
        signal: request.signal,
      });
      state = 'ok';
    } catch (error) {
      // A conversation that is too long says nothing about the provider's health, nor does one given up.
      if (error instanceof HeraldError && error.code !== 'CONTEXT_OVERFLOW') state = 'error';
      throw error;
    }
  }
  return { provider, model, complete, state: () => state };
}

/** One try. Leaves no connection behind, however it ends. */
async function* attempt(options: ProviderOptions, request: ModelRequest): AsyncGenerator<StreamEvent> {
  const { wire, api_key, base_url, fetch, patience } = options;
  const call = new AbortController();
  try {
    const model = await wire.model(request.model, {
      apiKey: api_key,
      baseURL: base_url,
      fetch: watchedFetch(fetch, call, patience),
    });
    const { stream } = await model.doStream({
      ...toCallOptions(request, wire.namespace),
      maxOutputTokens: request.max_tokens + (request.thinking ? THINKING_TOKENS : 0),
      // The SDK knows which form each model takes: a budget, a level, or that it cannot think.
      ...(request.thinking && { reasoning: 'high' }),
      providerOptions: wire.options(request.thinking),
      abortSignal: AbortSignal.any([request.signal, call.signal]),
    });
    yield* toEvents(stream, request.model);
  } catch (error) {
    // Whatever shape an abort took on its way through the SDK, its reason is what happened.
    throw call.signal.aborted ? call.signal.reason : error;
  } finally {
    call.abort();
  }
}
