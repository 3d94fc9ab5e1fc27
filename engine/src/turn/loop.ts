import { EngineError } from '../errors.ts';
import type { Herald } from '../herald/contract.ts';
import type { Dispatch } from '../tools/dispatch.ts';
import type { Message, ToolResultBlock } from '../types.ts';
import type { Context } from './context.ts';
import type { EventBody } from './events.ts';
import { toolCalls } from './history.ts';
import { callModel } from './model_call.ts';
import type { TurnRecord } from './record.ts';

export type LoopOptions = {
  model: string;
  max_tokens: number;
  thinking: boolean;
  /** Guard: model calls per turn (E16). */
  max_iterations: number;
  /** Aborts the turn; its reason is what the turn fails with. */
  signal: AbortSignal;
};

/** What the loop works with; all its output goes to `record`. */
export type LoopParts = { herald: Pick<Herald, 'complete'>; dispatch: Dispatch; record: TurnRecord };

/**
 * One turn: call the model, run the tools it asks for, give it the results, until it asks for none. Returns
 * when the turn is complete and recorded; whatever it throws is what the turn failed with. Source:
 * engine-runtime, "Agent loop".
 */
export async function runLoop(context: Context, parts: LoopParts, options: LoopOptions): Promise<void> {
  const { herald, dispatch, record } = parts;
  const { signal } = options;
  const messages: Message[] = [...context.messages];
  const blocks = { next: 0 };

  for (let iteration = 0; iteration < options.max_iterations; iteration++) {
    const request = {
      model: options.model,
      system: context.system,
      tools: context.tools,
      // The model layer gets a copy: what it does with the list must not reach what is sent next.
      messages: [...messages],
      max_tokens: options.max_tokens,
      thinking: options.thinking,
      signal,
    };
    const answer = await callModel(herald, request, blocks, record.emit);

    const calls = toolCalls(answer.content);
    if (calls.length === 0) return record.complete(answer);

    record.answer(
      answer,
      calls.map(
        (call): EventBody => ({
          type: 'tool_call',
          tool: call.name,
          tool_call_id: call.id,
          input: call.input,
        }),
      ),
    );
    messages.push({ role: 'assistant', content: answer.content });

    const results: ToolResultBlock[] = [];
    for (const running of dispatch(calls, signal)) {
      const { call, duration_ms, ...outcome } = await running;
      record.emit({ type: 'tool_result', tool: call.name, tool_call_id: call.id, ...outcome, duration_ms });
      results.push({ type: 'tool_result', tool_use_id: call.id, ...outcome });
    }
    const result: Message = { role: 'user', content: results };
    record.append(result);
    messages.push(result);
    signal.throwIfAborted();
  }
  throw new EngineError(
    'AGENT_ITERATION_LIMIT',
    `The turn was ended after ${options.max_iterations} model calls. What was done so far stays in the task.`,
  );
}
