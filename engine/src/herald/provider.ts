import type { ProviderName, StreamEvent } from '../types.ts';
import { type ModelInfo, type ModelRequest, THINKING_TOKENS } from './contract.ts';
import { toCallOptions } from './convert.ts';
import { costOf } from './cost.ts';
import { toEvents } from './events.ts';
import { explain, type Failure } from './failure.ts';
import type { TakesMedia } from './media.ts';
import type { Schema } from './output_schema.ts';
import type { Quotas } from './quota.ts';
import { type Patience, watchedFetch } from './watch.ts';
import type { Wire } from './wires.ts';

/** One provider behind our interface. */
export type Provider = {
  /** One try. Leaves no connection behind, however it ends. */
  stream(
    request: ModelRequest,
    info: ModelInfo,
    isRefused: TakesMedia['isRefused'],
  ): AsyncIterable<StreamEvent>;
  /** What a try threw, in our codes. */
  explain(error: unknown): Failure;
};

export type ProviderOptions = {
  provider: ProviderName;
  wire: Wire;
  api_key: string;
  base_url: string;
  fetch: typeof fetch;
  patience: Patience;
  quotas: Quotas;
};

/** A real provider, by the AI SDK's provider packages at their lowest level (one call, no loop, no retries). */
export function createProvider(options: ProviderOptions): Provider {
  return {
    stream: (request, info, isRefused) => attempt(options, request, info, isRefused),
    explain: (error) => explain(error, options.provider, options.api_key),
  };
}

async function* attempt(
  options: ProviderOptions,
  request: ModelRequest,
  info: ModelInfo,
  isRefused: TakesMedia['isRefused'],
): AsyncGenerator<StreamEvent> {
  const { provider, wire, api_key, base_url, patience, quotas } = options;
  const { thinking } = request;
  const schema = enforcedSchema(request, info, wire);
  const call = new AbortController();
  const fetch: typeof globalThis.fetch = async (input, init) => {
    quotas.asked(provider, info.model);
    const response = await options.fetch(input, init);
    quotas.heard(provider, info.model, response.headers);
    return response;
  };
  try {
    const model = await wire.model(info.model, {
      apiKey: api_key,
      baseURL: base_url,
      fetch: watchedFetch(fetch, call, patience),
    });
    const { stream } = await model.doStream({
      ...toCallOptions(request, wire.namespace, { takes: info.takes, isRefused }),
      maxOutputTokens: Math.min(
        request.max_tokens + (thinking ? THINKING_TOKENS : 0),
        info.max_output_tokens ?? Number.POSITIVE_INFINITY,
      ),
      // The SDK knows which form each model takes: a budget, a level, or that it cannot think.
      ...(thinking && { reasoning: 'high' }),
      ...(schema && { responseFormat: { type: 'json', name: 'answer', schema } }),
      providerOptions: wire.options({ thinking, schema }),
      abortSignal: AbortSignal.any([request.signal, call.signal]),
    });
    for await (const event of toEvents(stream)) {
      if (event.type !== 'end') {
        yield event;
        continue;
      }
      const { stop_reason, tokens, model = info.model } = event;
      const { cache_write_tokens: _, ...usage } = tokens;
      quotas.used(provider, info.model, usage);
      yield { type: 'finish', stop_reason, usage, model, provider, cost_usd: costOf(info.prices, tokens) };
    }
  } catch (error) {
    // Whatever shape an abort took on its way through the SDK, its reason is what happened.
    throw call.signal.aborted ? call.signal.reason : error;
  } finally {
    call.abort();
  }
}

/** The schema of the answer, where this model can be held to it in this call. */
function enforcedSchema(request: ModelRequest, info: ModelInfo, wire: Wire): Schema | undefined {
  const { output_schema: schema, tools } = request;
  const model = info.output_schema;
  const able = model === 'always' || (model === 'without_tools' && tools.length === 0);
  return able && schema !== undefined && wire.enforces(schema) ? schema : undefined;
}
