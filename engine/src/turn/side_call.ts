/**
 * A question beside the conversation, in the name of a turn: to condense what was said, to plan what is to be done. It
 * stands in the journal and counts in the turn's budgets like any other call; of its answer nothing is shown but the
 * usage. That it fails is no reason to end the turn: whoever asks has to do without.
 */
import { type Herald, HeraldError, type ModelRequest } from '../herald/contract.ts';
import { errorFields, type Log } from '../observe/log.ts';
import type { Question } from './compaction.ts';
import type { Guards, Spent } from './guards.ts';
import { callModel } from './model_call.ts';
import type { Thread } from './view.ts';

export type SideCallParts = {
  herald: Pick<Herald, 'complete' | 'maxCost'>;
  guards: Guards;
  /** What a turn has spent. */
  spent(turn_id: string): Spent;
  max_tokens: number;
};

/** @returns the model's answer in the thread's name; undefined when it gave none. */
export type SideCall = (
  thread: Pick<Thread, 'task_id' | 'turn_id' | 'record'>,
  question: Question,
  signal: AbortSignal,
) => Promise<string | undefined>;

/** Questions to one model. Source: engine-runtime, "Compaction", "One `/execute`, step by step". */
export function createSideCall(
  { herald, guards, spent, max_tokens }: SideCallParts,
  model: string,
  log: Log,
): SideCall {
  return async ({ task_id, turn_id, record }, { system, text, input_tokens, position }, signal) => {
    const max_cost_usd = herald.maxCost(model, input_tokens, max_tokens);
    guards.beforeCall({ input_tokens, max_output_tokens: max_tokens, max_cost_usd }, spent(turn_id));
    const messages: ModelRequest['messages'] = [{ role: 'user', content: [{ type: 'text', text }] }];
    const request = { model, system, messages, tools: [], max_tokens, thinking: false, signal };
    const unseen = {
      beginCall: record.beginCall,
      emit: () => {},
      breakCall: (call: number) => record.breakCall(call, []),
    };
    try {
      const { call, answer } = await callModel({
        herald,
        request,
        blocks: { next: 0 },
        record: unseen,
        position,
      });
      record.aside(call, answer);
      return answer.content.flatMap((block) => (block.type === 'text' ? [block.text] : [])).join('');
    } catch (error) {
      if (!(error instanceof HeraldError)) throw error;
      log.warn('A question beside the conversation had no answer', {
        task_id,
        extra: { model, ...errorFields(error) },
      });
      return undefined;
    }
  };
}
