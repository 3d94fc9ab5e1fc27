import type { Answered } from '../brain/hitl.ts';
import type { StoredMessage } from '../brain/messages.ts';
import type { Outcome, ToolCallRow } from '../brain/tool_calls.ts';
import type { ContentBlock, Message, TextBlock, ToolResultBlock, ToolUseBlock } from '../types.ts';
import { isNote, note } from './note.ts';

/**
 * What keeps a conversation acceptable to every provider: each `tool_use` is answered by exactly one
 * `tool_result`, in the message right after it. A turn can be cut between the two (crash, abort, guard); a
 * history left like that would be refused by the provider for ever, and the task with it.
 */

export function toolCalls(content: ContentBlock[]): ToolUseBlock[] {
  return content.filter((block) => block.type === 'tool_use');
}

/** What the model is sent of a message: its tail, then its own blocks (E14). */
export function sentBlocks({ tail, content }: Pick<StoredMessage, 'tail' | 'content'>): ContentBlock[] {
  return [...(tail ?? []), ...content];
}

/** Said by the person, not results and not only a note of ours: what begins a turn, or a sub-agent's thread. */
export function isOpening({ role, content }: Message): boolean {
  return (
    role === 'user' &&
    !content.some((block) => block.type === 'tool_result') &&
    content.some((block) => !isNote(block))
  );
}

/** Whether there are words of strangers in it. */
export const bringsOutside = (content: ContentBlock[]): boolean =>
  content.some((block) => block.type === 'tool_result' && block.outside !== undefined);

/**
 * The message that answers `calls`: their outcomes in the order of the calls, then what a person and what hooks said
 * to them, then `warning`. `mark`: nobody outside knows it; it tells where the words of strangers begin and end.
 */
export function resultsMessage(
  calls: ToolUseBlock[],
  rows: ToolCallRow[],
  said: Answered[],
  mark: string,
  warning?: TextBlock,
): ContentBlock[] {
  const results = calls.map((call, ordinal): ToolResultBlock => {
    const { hook: _, outside, ...outcome } = rows[ordinal]?.outcome ?? INTERRUPTED;
    return { type: 'tool_result', tool_use_id: call.id, ...outcome, ...(outside && { outside: mark }) };
  });
  const hooked = rows.flatMap(({ tool, outcome }) =>
    outcome?.hook === undefined
      ? []
      : [note('tool_hook', `A hook says to the call of ${tool}: ${outcome.hook}`)],
  );
  const comments = said.flatMap(({ feedback, content }): ContentBlock[] => [
    ...(feedback === null ? [] : [{ type: 'text' as const, text: `The user adds: ${feedback}` }]),
    ...content,
  ]);
  return [...results, ...comments, ...hooked, ...(warning === undefined ? [] : [warning])];
}

const INTERRUPTED: Outcome = {
  output: 'The turn ended before the outcome of this call was known.',
  error: 'interrupted',
};

/** The answers that `last`, the last message of a cut turn, still owes, or undefined when it owes none. */
export function owedResults(last: StoredMessage, rows: ToolCallRow[], mark: string): Message | undefined {
  if (last.role !== 'assistant') return undefined;
  const calls = toolCalls(last.content);
  if (calls.length === 0) return undefined;
  return { role: 'user', content: resultsMessage(calls, rows, [], mark) };
}
