import type { DatabaseSync } from 'node:sqlite';
import type { ContentBlock, Message } from '../types.ts';
import { type Row, text } from './sqlite.ts';

export type NewMessage = Message & {
  message_id: string;
  task_id: string;
  turn_id: string;
  created_at: number;
};

export type Messages = ReturnType<typeof openMessages>;

/** The history of each task: append-only, read back exactly as written (E14). */
export function openMessages(db: DatabaseSync) {
  const insert = db.prepare(
    'INSERT INTO messages (message_id, task_id, turn_id, role, content, created_at) VALUES (?, ?, ?, ?, ?, ?)',
  );
  const ofTask = db.prepare('SELECT role, content FROM messages WHERE task_id = ? ORDER BY position');
  const last = db.prepare(
    'SELECT role, content FROM messages WHERE task_id = ? ORDER BY position DESC LIMIT 1',
  );

  return {
    append(message: NewMessage): void {
      insert.run(
        message.message_id,
        message.task_id,
        message.turn_id,
        message.role,
        JSON.stringify(message.content),
        message.created_at,
      );
    },

    /** Oldest first. */
    ofTask: (task_id: string): Message[] => ofTask.all(task_id).map(toMessage),

    last(task_id: string): Message | undefined {
      const row = last.get(task_id);
      return row === undefined ? undefined : toMessage(row);
    },
  };
}

function toMessage(row: Row): Message {
  // Written by `append` above and by nothing else, so its shape is known.
  const content: ContentBlock[] = JSON.parse(text(row, 'content'));
  return { role: text(row, 'role') === 'assistant' ? 'assistant' : 'user', content };
}
