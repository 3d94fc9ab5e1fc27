import type { LanguageModelV4, LanguageModelV4CallOptions } from '@ai-sdk/provider';
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
  /** The provider's own options of a call. */
  options(thinking: boolean): LanguageModelV4CallOptions['providerOptions'];
};

/** All of them given, always: what is missing the SDK would look up in the environment, past our config (E1). */
export type Settings = { apiKey: string; baseURL: string; fetch: typeof fetch };

const OPENAI_URL = 'https://api.openai.com/v1';

export const WIRES = {
  anthropic: {
    namespace: 'anthropic',
    default_url: 'https://api.anthropic.com/v1',
    model: async (id, settings) => (await import('@ai-sdk/anthropic')).createAnthropic(settings)(id),
    options: () => undefined,
  },
  openai_responses: {
    namespace: 'openai',
    default_url: OPENAI_URL,
    model: async (id, settings) => (await import('@ai-sdk/openai')).createOpenAI(settings).responses(id),
    // Nothing is kept at the provider: the conversation is ours, reasoning comes back sealed.
    options: (thinking) => ({ openai: { store: false, ...(thinking && { reasoningSummary: 'auto' }) } }),
  },
  openai_chat: {
    namespace: 'openai',
    default_url: OPENAI_URL,
    model: async (id, settings) => (await import('@ai-sdk/openai')).createOpenAI(settings).chat(id),
    // No options of OpenAI's own: the other end is mostly some compatible server.
    options: () => undefined,
  },
  gemini: {
    namespace: 'google',
    default_url: 'https://generativelanguage.googleapis.com/v1beta',
    model: async (id, settings) => (await import('@ai-sdk/google')).createGoogle(settings)(id),
    options: (thinking) => (thinking ? { google: { thinkingConfig: { includeThoughts: true } } } : undefined),
  },
} satisfies Record<string, Wire>;
