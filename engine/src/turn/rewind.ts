import type { Brain } from '../brain/brain.ts';
import { EngineError } from '../errors.ts';
import { isOpening } from './history.ts';
import type { ExecuteRequest } from './request.ts';

/**
 * Going back in a conversation (E10): an edit replaces a message of the user, a retry has one answered again.
 *
 * The history is append-only, so nothing is taken out of it: what comes after that place is marked superseded,
 * which the model does not see and `GET /tasks/{task_id}` does. A compaction that was made from any of it goes;
 * its text would tell the model what is no longer said. So do the notes that followed from it. Source: engine-api, "Edit", "Retry".
 */
export type Rewind = {
  phase: 'edited' | 'retried';
  /** Position of the first message that is no longer part of the conversation. */
  from: number;
  /** The user's message that is answered again; null where the request brings its own. */
  message_id: string | null;
};

/**
 * Where a request goes back to; undefined when it only goes on.
 * @throws EngineError `TASK_NOT_FOUND`, `NOT_FOUND` for a message that is not, or no longer, part of the task,
 *   `INVALID_REQUEST` for an edit of what the user did not say.
 */
export function rewindOf(
  brain: Brain,
  request: Pick<ExecuteRequest, 'task_id' | 'edit_message_id' | 'retry_message_id'>,
): Rewind | undefined {
  const { task_id, edit_message_id, retry_message_id } = request;
  const named = edit_message_id ?? retry_message_id;
  if (named === null) return undefined;
  if (!brain.conversations.exists(task_id)) {
    throw new EngineError('TASK_NOT_FOUND', 'There is no such task.');
  }
  const history = brain.messages.ofThread(task_id, '');
  const index = history.findIndex(({ message_id }) => message_id === named);
  // A turn begins with the user's message, so each message has one at or before it.
  const opening = history.slice(0, index + 1).findLast(isOpening);
  if (opening === undefined) {
    throw new EngineError('NOT_FOUND', `The task has no message ${JSON.stringify(named)}, or no longer.`);
  }
  if (edit_message_id === null) {
    return { phase: 'retried', from: opening.position + 1, message_id: opening.message_id };
  }
  if (opening.message_id !== edit_message_id) {
    const issue = { path: 'body.edit_message_id', message: 'must name a message of the user' };
    throw new EngineError('INVALID_REQUEST', `${issue.path}: ${issue.message}`, { issues: [issue] });
  }
  return { phase: 'edited', from: opening.position, message_id: null };
}
