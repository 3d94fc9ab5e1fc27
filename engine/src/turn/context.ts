import type { Brain } from '../brain/brain.ts';
import type { StoredMessage } from '../brain/messages.ts';
import type { Agent, Soul } from '../catalog/catalog.ts';
import type { Message, ToolDef } from '../types.ts';
import { add, type Counted, estimateTokens, type Size, sizeOfBlocks, sizeOfHead } from './tokens.ts';

/** What the model sees in one call. */
export type Context = { system: string; tools: ToolDef[]; messages: Message[] };

/** One conversation with one model. `thread_id` is empty for a turn's own, and names a sub-agent's otherwise. */
export type Thread = { task_id: string; turn_id: string; thread_id: string; agent: Agent; model: string };

export type Contexts = {
  /** What the model sees next, and what that will count. */
  assemble(thread: Thread): Context & { estimated_tokens: number };
};

export type ContextParts = { brain: Pick<Brain, 'messages'>; soul: Soul; tools: ToolDef[] };

/**
 * Puts the context together anew before each model call, from what is stored and nothing else: stable first,
 * volatile last: tools, system prompt, soul, history, message (E14). Tools are sorted and the history is sent
 * as it was sent before, so that every call extends the prefix the provider has cached. Source: engine-runtime,
 * "Context".
 */
export function createContexts(parts: ContextParts): Contexts {
  return {
    assemble(thread) {
      const head = headOf(parts, thread.agent);
      // A model may answer with nothing at all; providers refuse to be sent that back.
      const history = parts.brain.messages
        .ofThread(thread.task_id, thread.thread_id)
        .map((message) => ({ ...message, content: [...message.tail, ...message.content] }))
        .filter(({ content }) => content.length > 0);
      const messages = history.map(({ role, content }): Message => ({ role, content }));
      return { ...head, messages, estimated_tokens: estimate(sizeOfHead(head), history, thread.model) };
    },
  };
}

function headOf({ soul, tools }: ContextParts, agent: Agent): Pick<Context, 'system' | 'tools'> {
  return {
    system: [agent.system_prompt, soulText(soul)].join('\n\n'),
    tools: tools.filter((tool) => agent.tools.includes(tool.name)).sort((a, b) => (a.name < b.name ? -1 : 1)),
  };
}

function soulText(soul: Soul): string {
  const list = (title: string, items: string[]) =>
    items.length === 0 ? [] : [`${title}:`, ...items.map((item) => `- ${item}`)];
  return [soul.identity, ...list('Values', soul.values), ...list('Patterns', soul.patterns)].join('\n');
}

/** What was counted last is the request that the last answer of this model answered. */
function estimate(head: Size, history: StoredMessage[], model: string): number {
  let size = head;
  let counted: Counted | undefined;
  for (const { content, usage } of history) {
    if (usage?.model.startsWith(model)) counted = { size, tokens: usage.input_tokens };
    size = add(size, sizeOfBlocks(content));
  }
  return estimateTokens(size, counted);
}
