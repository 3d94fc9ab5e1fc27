/**
 * A question beside the conversation, in the name of a turn. It stands in the journal and counts in the turn's
 * budgets like any other call; of its answer nothing is shown but the usage. That it fails is no reason to end
 * the turn: whoever asks has to do without.
 */
import { type Herald, HeraldError, type ModelRequest } from '../herald/contract.ts';
import { errorFields, type Log } from '../observe/log.ts';
import type { ContextParts } from './context.ts';
import type { Guards, Spent } from './guards.ts';
import { callModel } from './model_call.ts';

export type LightCallParts = {
  herald: Pick<Herald, 'complete' | 'maxCost'>;
  guards: Guards;
  /** What a turn has spent. */
  spent(turn_id: string): Spent;
  model: string;
  max_tokens: number;
  log: Log;
};

/** Source: engine-runtime, "Compaction". */
export function createLightCall(parts: LightCallParts): ContextParts['ask'] {
  const { herald, guards, spent, model, max_tokens, log } = parts;
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
      log.warn('The light model gave no answer', { task_id, extra: errorFields(error) });
      return undefined;
    }
  };
}
