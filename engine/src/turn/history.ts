import type { ContentBlock, Message, ToolResultBlock, ToolUseBlock } from '../types.ts';

/**
 * What keeps a conversation acceptable to every provider: each `tool_use` is answered by exactly one
 * `tool_result`, in the message right after it. A turn can be cut between the two (crash, abort, guard); a
 * history left like that would be refused by the provider for ever, and the task with it.
 */

export function toolCalls(content: ContentBlock[]): ToolUseBlock[] {
  return content.filter((block) => block.type === 'tool_use');
}

/** The answers the last message of a cut turn still owes, or undefined when it owes none. */
export function interruptedResults(last: Message | undefined): Message | undefined {
  if (last === undefined || last.role !== 'assistant') return undefined;
  const calls = toolCalls(last.content);
  if (calls.length === 0) return undefined;
  const content = calls.map(
    (call): ToolResultBlock => ({
      type: 'tool_result',
      tool_use_id: call.id,
      output: 'The turn ended before the outcome of this call was known.',
      error: 'interrupted',
    }),
  );
  return { role: 'user', content };
}
