import type { LanguageModelV4, LanguageModelV4CallOptions } from '@ai-sdk/provider';
import type { ModelInfo } from './contract.ts';
import { hasReferences, isClosed, isObjectAtRoot, isStrict, type Schema } from './output_schema.ts';
import type { Namespace } from './proofs.ts';

/**
 * The providers' APIs, as far as they differ from one another here. Everything else about their wire formats is
 * the AI SDK's business; its packages are imported with the first call, because an Engine starts often and
 * needs one of them at most.
 */
export type Wire = {
  namespace: Namespace;
  default_url: string;
  model(id: string, settings: Settings): Promise<LanguageModelV4>;
  /** What does not go over this wire, whatever the model takes. */
  refuses: (keyof ModelInfo['takes'])[];
  /** Can it hold an answer to this schema? */
  enforces(schema: Schema): boolean;
  /** The provider's own options of a call. `schema` is one that it `enforces`. */
  options(call: {
    thinking: boolean;
    schema: Schema | undefined;
  }): LanguageModelV4CallOptions['providerOptions'];
};

/** All of them given, always: what is missing the SDK would look up in the environment, past our config (E1). */
export type Settings = { apiKey: string; baseURL: string; fetch: typeof fetch };

const OPENAI_URL = 'https://api.openai.com/v1';

export const WIRES = {
  anthropic: {
    namespace: 'anthropic',
    default_url: 'https://api.anthropic.com/v1',
    model: async (id, settings) => (await import('@ai-sdk/anthropic')).createAnthropic(settings)(id),
    refuses: [],
    enforces: isClosed,
    // Never by a made-up tool, which is what the SDK does otherwise: our tools could not be called beside it.
    options: ({ schema }) => schema && { anthropic: { structuredOutputMode: 'outputFormat' } },
  },
  openai_responses: {
    namespace: 'openai',
    default_url: OPENAI_URL,
    model: async (id, settings) => (await import('@ai-sdk/openai')).createOpenAI(settings).responses(id),
    refuses: ['audio', 'video'],
    enforces: isObjectAtRoot,
    // Nothing is kept at the provider: the conversation is ours, reasoning comes back sealed.
    options: ({ thinking, schema }) => ({
      openai: {
        store: false,
        ...(thinking && { reasoningSummary: 'auto' }),
        ...(schema && { strictJsonSchema: isStrict(schema) }),
      },
    }),
  },
  openai_chat: {
    namespace: 'openai',
    default_url: OPENAI_URL,
    model: async (id, settings) => (await import('@ai-sdk/openai')).createOpenAI(settings).chat(id),
    // Documents go as text, which every compatible server takes.
    refuses: ['document', 'video'],
    enforces: isObjectAtRoot,
    // No other options of OpenAI's own: the other end is mostly some compatible server.
    options: ({ schema }) => schema && { openai: { strictJsonSchema: isStrict(schema) } },
  },
  gemini: {
    namespace: 'google',
    default_url: 'https://generativelanguage.googleapis.com/v1beta',
    model: async (id, settings) => (await import('@ai-sdk/google')).createGoogle(settings)(id),
    refuses: [],
    enforces: (schema) => !hasReferences(schema),
    options: ({ thinking }) =>
      thinking ? { google: { thinkingConfig: { includeThoughts: true } } } : undefined,
  },
} satisfies Record<string, Wire>;
