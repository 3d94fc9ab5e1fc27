/**
 * Whose question waits in a task. The answer may bring pictures, and whether they can be taken is a matter of the
 * model that will see them: not the turn's where a sub-agent with a model of its own has asked. That agent is
 * written nowhere but in the call that started it. Source: engine-api, "/hitl"; E18, E19.
 */
import type { Brain } from '../brain/brain.ts';
import { toolCalls } from './history.ts';

/** Name of the agent that waits for a person in this task; undefined where none does. */
export function askingAgent(
  { hitl, messages, tool_calls, turns }: Pick<Brain, 'hitl' | 'messages' | 'tool_calls' | 'turns'>,
  task_id: string,
): string | undefined {
  const [request] = hitl.waiting(task_id);
  if (request === undefined) return undefined;
  const [asking] = tool_calls.ofMessage(request.message_id);
  const started_by = asking === undefined ? undefined : tool_calls.startOf(asking.thread_id);
  if (started_by === undefined) return turns.inFlight(task_id)[0]?.agent;
  const call = toolCalls(messages.content(started_by.message_id))[started_by.ordinal];
  return typeof call?.input.agent === 'string' ? call.input.agent : undefined;
}
