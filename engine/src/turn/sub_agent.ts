/**
 * What a sub-agent's failure is to its parent.
 *
 * Two things must not be confused. A sub-agent that went in circles, had more to read than its model takes, or
 * whose model failed, has failed at its piece of work: its parent reads that as the outcome of the call and does
 * something else, as with any other tool. What ends the turn ends it also out of a sub-agent: the budgets are the
 * turn's, and a parent told that "the tool broke" would go on until it runs into the same budget itself, or, where
 * a disk is full, work on with what could not be written. So what is not in the table below ends the turn as what
 * it is. Source: engine-runtime, "Many agents"; E16, E19.
 */
import { EngineError, type ErrorCode } from '../errors.ts';
import { HeraldError } from '../herald/contract.ts';
import type { Log } from '../observe/log.ts';
import type { ToolOutcome } from '../tools/contract.ts';
import { turnFailure } from './failure.ts';
import { REPEATS_STOPPED } from './guards.ts';

const OWN_FAILURES: Partial<Record<ErrorCode, string>> = {
  REPEATED_TOOL_CALL: `made the same tool call ${REPEATS_STOPPED} times in a row`,
  CONTEXT_OVERFLOW: 'had more to read than fits into the context of its model; give it less at once',
  LLM_RATE_LIMITED: 'was refused by the provider of its model, which takes no more requests for now',
  LLM_PROVIDER_ERROR: 'got no answer: the provider of its model failed',
  LLM_TIMEOUT: 'got no answer: its model did not answer in time',
};

/** @returns the outcome of the call that started `agent`; undefined where `error` is not that agent's own. */
export function outcomeOfFailure(
  agent: string,
  error: unknown,
  log: Log,
  task_id: string,
): ToolOutcome | undefined {
  if (!(error instanceof EngineError || error instanceof HeraldError)) return undefined;
  const what = OWN_FAILURES[error.code];
  if (what === undefined) return undefined;
  const { code } = turnFailure(error, log, task_id);
  return { error: code, output: `${agent} did not finish its work: it ${what}.` };
}
