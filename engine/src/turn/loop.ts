import { type Herald, THINKING_TOKENS } from '../herald/contract.ts';
import type { Dispatch } from '../tools/dispatch.ts';
import type { ContentBlock, ToolUseBlock } from '../types.ts';
import type { Contexts, Thread } from './context.ts';
import type { EventBody } from './events.ts';
import { type Guards, REPEAT_WARNING, repeatedCall } from './guards.ts';
import { toolCalls } from './history.ts';
import { callModel } from './model_call.ts';
import type { TurnRecord } from './record.ts';

export type LoopOptions = {
  thread: Thread;
  /** Output limit of each model call. */
  max_tokens: number;
  thinking: boolean;
  /** Aborts the turn; its reason is what the turn fails with. */
  signal: AbortSignal;
};

/** What the loop works with; all its output goes to `record`. */
export type LoopParts = {
  herald: Pick<Herald, 'complete'>;
  contexts: Contexts;
  guards: Guards;
  dispatch: Dispatch;
  record: TurnRecord;
};

/**
 * One turn: call the model, run the tools it asks for, give it the results, until it asks for none. Returns
 * when the turn is complete and recorded; whatever it throws is what the turn failed with. Source:
 * engine-runtime, "Agent loop".
 */
export async function runLoop(parts: LoopParts, options: LoopOptions): Promise<void> {
  const { herald, contexts, guards, dispatch, record } = parts;
  const { thread, max_tokens, thinking, signal } = options;
  const blocks = { next: 0 };
  const answers: ToolUseBlock[][] = [];

  for (;;) {
    const { estimated_tokens, ...context } = await contexts.assemble(thread);
    const max_output_tokens = max_tokens + (thinking ? THINKING_TOKENS : 0);
    guards.beforeCall(
      { input_tokens: estimated_tokens, max_output_tokens, max_cost_usd: null },
      record.spent(),
    );
    const request = { ...context, model: thread.model, max_tokens, thinking, signal };
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

    answers.push(calls);
    const repeated = guards.repeated(answers);
    if (repeated === 'stop') throw repeatedCall();

    const results: ContentBlock[] = [];
    for (const running of dispatch(calls, signal)) {
      const { call, duration_ms, ...outcome } = await running;
      record.emit({ type: 'tool_result', tool: call.name, tool_call_id: call.id, ...outcome, duration_ms });
      results.push({ type: 'tool_result', tool_use_id: call.id, ...outcome });
    }
    if (repeated === 'warn') results.push({ type: 'text', text: REPEAT_WARNING });
    record.append({ role: 'user', content: results });
    signal.throwIfAborted();
  }
}
