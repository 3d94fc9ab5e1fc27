import { canonical } from '../brain/tool_calls.ts';
import { EngineError } from '../errors.ts';
import type { ToolUseBlock } from '../types.ts';
import { note } from './note.ts';

/**
 * What ends a turn that would not end by itself (E16): too many model calls, too much time, too many tokens,
 * too much money, the same call again and again. Never silently: each has its code.
 *
 * A budget that is looked at afterwards has been exceeded when it speaks. So each is looked at *before* the
 * model call, with the most that call can cost: the request as estimated, and every token it may answer with.
 * Nothing is counted here: what a turn has spent stands in its row of the brain, so a turn that goes on after
 * a restart has no new budget.
 */

/** What a turn has spent so far, sub-agents included. */
export type Spent = { iterations: number; tokens: number; cost_usd: number; active_ms: number };

/** The most the next model call can take. `max_cost_usd` is null where the model's price is not known. */
export type NextCall = { input_tokens: number; max_output_tokens: number; max_cost_usd: number | null };

export type Guards = {
  /** @throws EngineError with the code of the budget that `next` would exceed. */
  beforeCall(next: NextCall, spent: Spent): void;
  /**
   * Judges the calls of the last answer. `answers`: the calls of each of the turn's last `REPEATS_STOPPED` answers,
   * or of more, oldest first.
   * `warn`: the model is to be told; `stop`: none of them is to run.
   */
  repeated(answers: ToolUseBlock[][]): 'ok' | 'warn' | 'stop';
};

export type GuardLimits = {
  max_iterations: number;
  turn_timeout_s: number;
  /** Input and output of all calls. */
  max_tokens: number | undefined;
  max_cost_usd: number | undefined;
};

/** The same call this many times running: the model is told, with the results. */
const REPEATS_TOLD = 3;

/** And here the turn ends, before the call runs. */
export const REPEATS_STOPPED = 5;

/** What the model is told at `warn`, after the results. */
export const REPEAT_WARNING = note(
  'repeated_call',
  `You have made the same tool call with the same input ${REPEATS_TOLD} times or more in a row. It will not give anything new. Do something else, or answer with what you have; the turn is ended at the ${REPEATS_STOPPED}th.`,
);

/** Source: engine-runtime, "Agent loop and guards". */
export function createGuards(limits: GuardLimits): Guards {
  const { max_iterations, turn_timeout_s, max_tokens, max_cost_usd } = limits;
  return {
    beforeCall(next, spent) {
      if (spent.iterations >= max_iterations) {
        throw ended('AGENT_ITERATION_LIMIT', `after ${max_iterations} model calls`, {
          limit: max_iterations,
        });
      }
      if (spent.active_ms >= turn_timeout_s * 1000) throw timedOut(turn_timeout_s);
      const tokens = next.input_tokens + next.max_output_tokens;
      if (max_tokens !== undefined && spent.tokens + tokens > max_tokens) {
        const details = { limit: max_tokens, spent: spent.tokens, next: tokens };
        throw ended(
          'TURN_TOKEN_LIMIT',
          `before a model call that could exceed ${max_tokens} tokens`,
          details,
        );
      }
      if (max_cost_usd === undefined) return;
      const details = { limit: max_cost_usd, spent: spent.cost_usd, next: next.max_cost_usd };
      // A budget that cannot be watched must not look as if it were.
      if (next.max_cost_usd === null) {
        throw ended(
          'TURN_COST_LIMIT',
          'because it has a budget and the price of the model is not known',
          details,
        );
      }
      if (spent.cost_usd + next.max_cost_usd > max_cost_usd) {
        throw ended('TURN_COST_LIMIT', `before a model call that could exceed ${max_cost_usd} USD`, details);
      }
    },

    repeated(answers) {
      const times = Math.max(0, ...(answers.at(-1) ?? []).map((call) => timesRunning(call, answers)));
      if (times >= REPEATS_STOPPED) return 'stop';
      return times >= REPEATS_TOLD ? 'warn' : 'ok';
    },
  };
}

/** For whoever watches the time while a call runs. */
export function timedOut(turn_timeout_s: number): EngineError {
  return ended('TURN_TIMEOUT', `after ${turn_timeout_s} s`, { limit: turn_timeout_s });
}

export function repeatedCall(): EngineError {
  return ended('REPEATED_TOOL_CALL', `at the ${REPEATS_STOPPED}th identical tool call in a row`);
}

/** How often `call` was made in the last answers without one in between that did not make it. */
function timesRunning(call: ToolUseBlock, answers: ToolUseBlock[][]): number {
  const same = actionOf(call);
  let times = 0;
  for (const calls of answers.toReversed()) {
    const here = calls.filter((other) => actionOf(other) === same).length;
    if (here === 0) break;
    times += here;
  }
  return times;
}

/** The same for calls that differ only in the order of their input's keys. */
function actionOf({ name, invalid_input, input }: ToolUseBlock): string {
  return JSON.stringify([name, invalid_input ?? null, canonical(input)]);
}

function ended(
  code:
    | 'AGENT_ITERATION_LIMIT'
    | 'TURN_TIMEOUT'
    | 'TURN_TOKEN_LIMIT'
    | 'TURN_COST_LIMIT'
    | 'REPEATED_TOOL_CALL',
  why: string,
  details?: Record<string, unknown>,
): EngineError {
  return new EngineError(code, `The turn was ended ${why}. What was done so far stays in the task.`, details);
}
