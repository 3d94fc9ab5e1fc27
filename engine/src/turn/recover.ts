import { EngineError } from '../errors.ts';
import type { Log } from '../observe/log.ts';
import { type RecordParts, turnRecord } from './record.ts';

/**
 * Ends turns that are over but do not know it: left behind by a killed process, or by a disk that was full
 * when their end should have been written. Without this no client would ever be told, the task would stay
 * busy, and its history could be one that no provider takes. Runs before anything is served, and before a
 * turn is started on a task.
 */
export function endLeftTurns(parts: RecordParts, log: Log, task_id?: string): void {
  for (const turn of parts.brain.turns.running(task_id)) {
    turnRecord(parts, turn).fail(
      new EngineError('INTERNAL_ERROR', 'This turn was cut off in the middle. Send the message again.'),
    );
    log.warn('Ended a turn that had been cut off', {
      task_id: turn.task_id,
      extra: { turn_id: turn.turn_id },
    });
  }
}
