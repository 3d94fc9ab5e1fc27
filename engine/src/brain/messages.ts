import type { DatabaseSync } from 'node:sqlite';
import type { ContentBlock, Message, Usage } from '../types.ts';
import { integer, type Row, text, textOrNull } from './sqlite.ts';

/** What the provider counted for the call that gave an answer, and the model as it names itself. */
export type CountedUsage = Usage & { model: string };

export type NewMessage = Message & {
  message_id: string;
  task_id: string;
  turn_id: string;
  created_at: number;
  /** Of an answer; null for what comes from the user's side. */
  usage: CountedUsage | null;
};

/** A message with its place; `position` grows over the brain's life. */
export type StoredMessage = Message & {
  message_id: string;
  turn_id: string;
  position: number;
  usage: CountedUsage | null;
};

export type Messages = ReturnType<typeof openMessages>;

/** The history of each task: append-only, read back exactly as written (E14). */
export function openMessages(db: DatabaseSync) {
  const insert = db.prepare(`
    INSERT INTO messages (message_id, task_id, turn_id, role, content, created_at, usage)
    VALUES (?, ?, ?, ?, ?, ?, ?)`);
  const columns = 'position, message_id, turn_id, role, content, usage';
  const ofTask = db.prepare(
    `SELECT ${columns} FROM messages WHERE task_id = ? AND position > ? ORDER BY position`,
  );
  const last = db.prepare(`SELECT ${columns} FROM messages WHERE task_id = ? ORDER BY position DESC LIMIT 1`);

  return {
    append(message: NewMessage): void {
      insert.run(
        message.message_id,
        message.task_id,
        message.turn_id,
        message.role,
        JSON.stringify(message.content),
        message.created_at,
        message.usage === null ? null : JSON.stringify(message.usage),
      );
    },

    /** Those after a position, oldest first. */
    ofTask: (task_id: string, after = 0): StoredMessage[] => ofTask.all(task_id, after).map(toMessage),

    last(task_id: string): StoredMessage | undefined {
      const row = last.get(task_id);
      return row === undefined ? undefined : toMessage(row);
    },
  };
}

function toMessage(row: Row): StoredMessage {
  // Written by `append` above and by nothing else, so the shapes are known.
  const content: ContentBlock[] = JSON.parse(text(row, 'content'));
  const usage: CountedUsage | null = JSON.parse(textOrNull(row, 'usage') ?? 'null');
  return {
    message_id: text(row, 'message_id'),
    turn_id: text(row, 'turn_id'),
    position: integer(row, 'position'),
    role: text(row, 'role') === 'assistant' ? 'assistant' : 'user',
    content,
    usage,
  };
}
