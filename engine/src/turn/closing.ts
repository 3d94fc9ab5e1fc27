/**
 * What has to happen before a thread may end: the model has stopped, but its answer may have been cut, or not be what
 * was asked for, or an operator's hook may object. Then the model is told so and the thread goes on.
 *
 * Like the loop this keeps nothing to itself. An answer that something may still stand against is stored without
 * ending its turn; found last in its thread, it is looked at, and what comes of it is one transaction: the turn's end,
 * or a note to the model. How often the model has been told stands in the notes themselves, so a kill neither forgets a
 * repair nor counts one twice. Source: engine-runtime, "One /execute", step 9.
 */
import type { Brain } from '../brain/brain.ts';
import type { StoredMessage } from '../brain/messages.ts';
import { EngineError } from '../errors.ts';
import type { Schema } from '../json_schema.ts';
import type { NoteKind } from '../types.ts';
import { isNote, note } from './note.ts';
import type { Answer, ThreadRecord } from './record.ts';
import { compileSchema, MAX_REPAIRS, repairNote, textOf } from './structured_output.ts';

export type Closing = {
  brain: Brain;
  record: ThreadRecord;
  turn_id: string;
  /** `TOKEN_BUDGET_ENABLED`: an answer that was cut at `MAX_TOKENS` goes on. */
  continues: boolean;
  /** What the turn's final answer has to fit; a sub-agent's has none. */
  output_schema: Schema | undefined;
  /** Asks those hooks that watch the end of a turn; undefined where there is none. */
  askHooks: ((answer: { text: string; refused: boolean }) => Promise<string | undefined>) | undefined;
};

/** Whether nothing can stand against this answer: then it ends its thread in the very step that stores it. */
export function endsAtOnce(closing: Closing, answer: Pick<Answer, 'stop_reason'>): boolean {
  const { output_schema, askHooks } = closing;
  return !isToContinue(closing, answer) && output_schema === undefined && askHooks === undefined;
}

const isToContinue = ({ continues }: Closing, { stop_reason }: Pick<StoredMessage, 'stop_reason'>) =>
  continues && stop_reason === 'max_tokens';

/**
 * Looks at the last answer of a thread, one without tool calls.
 * @returns whether the thread ends with it; else the model has been told why not.
 * @throws EngineError `STRUCTURED_OUTPUT_INVALID`.
 */
export async function close(closing: Closing, last: StoredMessage): Promise<boolean> {
  const { brain, record, turn_id, output_schema, askHooks } = closing;
  if (isToContinue(closing, last)) {
    record.tell(GO_ON);
    return false;
  }
  const messages = brain.messages.ofTurn(turn_id, record.thread_id);
  const pieces = lastAnswer(messages).map(({ content }) => textOf(content));
  const text = pieces.join('');

  const objection = await askHooks?.({ text, refused: count(messages, 'stop_hook') > 0 });
  if (objection !== undefined) {
    record.tell(note('stop_hook', `A hook does not let you end here: ${objection}`));
    return false;
  }
  if (output_schema === undefined) {
    record.end(last);
    return true;
  }

  const check = await compileSchema(output_schema);
  const checked = check(text);
  const repairs = count(messages, 'repair');
  if ('output' in checked) {
    record.end(last, { output: checked.output, repairs });
    return true;
  }
  if (repairs >= MAX_REPAIRS) {
    throw new EngineError(
      'STRUCTURED_OUTPUT_INVALID',
      `The answer does not fit output_schema, nor did it after ${repairs} repairs. It stays in the task.`,
      { errors: checked.errors, repairs },
    );
  }
  record.tell(repairNote(checked.errors));
  return false;
}

const count = (messages: StoredMessage[], kind: NoteKind) =>
  messages.filter(({ content }) => content.some((block) => isNote(block, kind))).length;

/** The messages of the last answer of a thread: one, or, where it was cut and went on, all its pieces. */
export function lastAnswer(messages: StoredMessage[]): StoredMessage[] {
  let first = messages.length - 1;
  while (messages[first - 1]?.content.some((block) => isNote(block, 'continue'))) first -= 2;
  return messages.slice(Math.max(0, first)).filter(({ role }) => role === 'assistant');
}

const GO_ON = note(
  'continue',
  'Your answer was cut off, because it had reached the limit of one message. Go on exactly where it stopped: no repetition, no word about it.',
);
