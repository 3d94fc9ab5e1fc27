import { readFileSync } from 'node:fs';
import type { ModelServer } from '@september/model-server';
import { ModelTable } from '../../src/catalog/models.ts';
import { createHerald, type Herald, type HeraldOptions, type ModelRequest } from '../../src/herald/index.ts';
import type { ContentBlock, Message, StreamEvent, ToolDef } from '../../src/types.ts';

export const KEY = 'sk-test-0123456789';

/** The catalog's own. */
export const MODELS: ModelTable = ModelTable.parse(
  JSON.parse(readFileSync(new URL('../../../catalog/models.json', import.meta.url), 'utf8')),
);

/** The ways to speak to a provider; models are ones that think where the wire shows it. */
export const WIRES = [
  { wire: 'anthropic', provider: 'anthropic', model: 'claude-sonnet-4-5', path: '/v1', thinks: true },
  {
    wire: 'openai_responses',
    provider: 'openai',
    model: 'gpt-5',
    openai_api: 'responses',
    path: '/v1',
    thinks: true,
  },
  {
    wire: 'openai_chat',
    provider: 'openai',
    model: 'gpt-4o',
    openai_api: 'chat',
    path: '/v1',
    thinks: false,
  },
  { wire: 'gemini', provider: 'gemini', model: 'gemini-3-pro-preview', path: '/v1beta', thinks: true },
] as const;

export type WireCase = (typeof WIRES)[number];

/**
 * A herald on the scripted server that never really waits; `waits` are the pauses it asked for, milliseconds,
 * `warnings` what it logged.
 */
export function heraldOn(server: ModelServer, wire: WireCase, options: Partial<HeraldOptions> = {}) {
  const waits: number[] = [];
  const warnings: string[] = [];
  const clock = {
    now: Date.now,
    wait: async (ms: number, signal: AbortSignal) => {
      signal.throwIfAborted();
      waits.push(ms);
    },
    random: () => 0,
  };
  const herald = createHerald({
    provider: wire.provider,
    model: wire.model,
    ...('openai_api' in wire && { openai_api: wire.openai_api }),
    base_url: `${server.url}${wire.path}`,
    api_keys: { [wire.provider]: KEY },
    models: MODELS,
    log: { warn: (message) => void warnings.push(message) },
    clock,
    ...options,
  });
  return { herald, waits, warnings };
}

export const user = (...content: (string | ContentBlock)[]): Message => ({
  role: 'user',
  content: content.map((block) => (typeof block === 'string' ? { type: 'text', text: block } : block)),
});
export const assistant = (...content: ContentBlock[]): Message => ({ role: 'assistant', content });

export const TOOL: ToolDef = {
  name: 'read_file',
  description: 'Reads a file.',
  input_schema: { type: 'object', properties: { path: { type: 'string' } }, required: ['path'] },
};

export function call(herald: Herald, messages: Message[], options: Partial<ModelRequest> = {}) {
  return herald.complete({
    model: herald.model,
    system: 'You are helpful.',
    messages,
    tools: [TOOL],
    max_tokens: 1000,
    thinking: false,
    signal: new AbortController().signal,
    ...options,
  });
}

export type Outcome = { events: StreamEvent[]; error?: unknown };

/** Everything a call gave, and what it threw. */
export async function outcome(stream: AsyncIterable<StreamEvent>): Promise<Outcome> {
  const events: StreamEvent[] = [];
  try {
    for await (const event of stream) events.push(event);
  } catch (error) {
    return { events, error };
  }
  return { events };
}

export const blocksOf = (events: StreamEvent[]) =>
  events.flatMap((event) => (event.type === 'block_stop' ? [event.block] : []));

/** Without what a provider adds of its own. */
export const unsigned = (events: StreamEvent[]) =>
  events.map((event) => {
    if (event.type !== 'block_stop') return event;
    const { signature: _, ...block } = event.block;
    return { ...event, block };
  });
