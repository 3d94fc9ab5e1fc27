import { EngineError } from '../errors.ts';
import { HeraldError } from '../herald/contract.ts';
import { errorFields, type Log } from '../observe/log.ts';

/**
 * Whatever ended a turn, as the error its client is told. An error that nobody foresaw is told as
 * `INTERNAL_ERROR` and no more; what it was goes to the log.
 */
export function turnFailure(error: unknown, log: Log, task_id: string): EngineError {
  if (error instanceof EngineError) return error;
  if (error instanceof HeraldError) {
    log.warn('The model call failed', {
      task_id,
      extra: { code: error.code, error: error.message, ...error.details },
    });
    return new EngineError(error.code, error.message, error.details);
  }
  log.error('The turn broke', { task_id, extra: errorFields(error) });
  return new EngineError('INTERNAL_ERROR', 'Something unexpected ended the turn. The log has it.');
}
