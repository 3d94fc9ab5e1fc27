import type { Agent, Soul } from '../catalog/catalog.ts';
import type { Message, ToolDef } from '../types.ts';

/** What the model sees in the calls of one turn. */
export type Context = { system: string; tools: ToolDef[]; messages: Message[] };

/**
 * Puts the context together, stable first, volatile last: tools, system prompt, soul, history, message (E14).
 * Tools are sorted and the history is sent as it was sent before, so that every call extends the prefix the
 * provider has cached. Source: engine-runtime, "Context".
 */
export function buildContext(parts: {
  agent: Agent;
  soul: Soul;
  tools: ToolDef[];
  history: Message[];
}): Context {
  const { agent, soul, tools, history } = parts;
  return {
    system: [agent.system_prompt, soulText(soul)].join('\n\n'),
    tools: tools.filter((tool) => agent.tools.includes(tool.name)).sort((a, b) => (a.name < b.name ? -1 : 1)),
    // A model may answer with nothing at all; providers refuse to be sent that back.
    messages: history.filter((message) => message.content.length > 0),
  };
}

function soulText(soul: Soul): string {
  const list = (title: string, items: string[]) =>
    items.length === 0 ? [] : [`${title}:`, ...items.map((item) => `- ${item}`)];
  return [soul.identity, ...list('Values', soul.values), ...list('Patterns', soul.patterns)].join('\n');
}
