import type { DatabaseSync } from 'node:sqlite';
import type { ContentBlock, Message, StopReason, Usage } from '../types.ts';
import { integer, type Row, text, textOrNull } from './sqlite.ts';

/** What the provider counted for the call that gave an answer, and the model as it names itself. */
export type CountedUsage = Usage & { model: string };

export type NewMessage = Message & {
  message_id: string;
  task_id: string;
  turn_id: string;
  /** `''`: the turn's own thread; else a sub-agent's. */
  thread_id: string;
  /** Blocks of the volatile tail, sent before the message's own (E14); absent: not known yet, or never any. */
  tail?: ContentBlock[] | undefined;
  created_at: number;
  /** Of an answer; null for what comes from the user's side. */
  usage: CountedUsage | null;
  /** Of an answer: why it ended. */
  stop_reason?: StopReason;
};

/** A message as it lies in a thread; `position` grows with every message of the brain. */
export type StoredMessage = Message & {
  message_id: string;
  turn_id: string;
  position: number;
  /** Null: not known yet, or never any. */
  tail: ContentBlock[] | null;
  usage: CountedUsage | null;
  stop_reason: StopReason | null;
};

/** A message of a turn's own thread as it is shown, without its tail. */
export type ListedMessage = Message & {
  message_id: string;
  turn_id: string;
  /** Unix milliseconds. */
  created_at: number;
  /** No longer part of the conversation: an edit or a retry went back behind it. */
  superseded: boolean;
};

export type Messages = ReturnType<typeof openMessages>;

/** The history of each task: append-only, read back exactly as written (E14). */
export function openMessages(db: DatabaseSync) {
  const columns = 'position, message_id, turn_id, role, content, tail, usage, stop_reason';
  const insert = db.prepare(`
    INSERT INTO messages (message_id, task_id, turn_id, thread_id, role, content, tail, created_at, usage, stop_reason)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`);
  const ofThread = db.prepare(`
    SELECT ${columns} FROM messages
     WHERE task_id = ? AND thread_id = ? AND superseded = 0 AND position > ? ORDER BY position`);
  const last = db.prepare(`
    SELECT ${columns} FROM messages
     WHERE task_id = ? AND thread_id = ? AND superseded = 0 ORDER BY position DESC LIMIT 1`);
  const ofTask = db.prepare(`
    SELECT message_id, turn_id, role, content, created_at, superseded FROM messages
     WHERE task_id = ? AND thread_id = '' ORDER BY position`);
  const setTail = db.prepare('UPDATE messages SET tail = ? WHERE message_id = ? AND tail IS NULL');
  const supersede = db.prepare('UPDATE messages SET superseded = 1 WHERE task_id = ? AND position >= ?');

  const ofTurn = db.prepare(`
    SELECT ${columns} FROM messages
     WHERE turn_id = ? AND thread_id = ? AND superseded = 0 ORDER BY position`);
  const answers = db.prepare(`
    SELECT ${columns} FROM messages
     WHERE turn_id = ? AND thread_id = ? AND role = 'assistant' AND superseded = 0 ORDER BY position DESC LIMIT ?`);
  const byId = db.prepare('SELECT content FROM messages WHERE message_id = ?');
  const at = db.prepare(`SELECT ${columns} FROM messages WHERE position = ? AND superseded = 0`);
  const before = db.prepare(`
    SELECT ${columns} FROM messages
     WHERE task_id = ? AND thread_id = ? AND position < ? AND superseded = 0 ORDER BY position DESC LIMIT 1`);
  const newest = db.prepare('SELECT coalesce(max(position), 0) AS position FROM messages WHERE turn_id = ?');

  return {
    /** @returns its position. */
    append(message: NewMessage): number {
      const { lastInsertRowid } = insert.run(
        message.message_id,
        message.task_id,
        message.turn_id,
        message.thread_id,
        message.role,
        JSON.stringify(message.content),
        message.tail === undefined ? null : JSON.stringify(message.tail),
        message.created_at,
        message.usage === null ? null : JSON.stringify(message.usage),
        message.stop_reason ?? null,
      );
      return Number(lastInsertRowid);
    },

    /** What goes with a message from now on (E14); one that has a tail keeps it. */
    setTail(message_id: string, tail: ContentBlock[]): void {
      setTail.run(JSON.stringify(tail), message_id);
    },

    /** The live messages of a thread after a position, oldest first. */
    ofThread: (task_id: string, thread_id: string, after = 0): StoredMessage[] =>
      ofThread.all(task_id, thread_id, after).map(toMessage),

    /** The live one at this position, if there is one. */
    at: (position: number): StoredMessage[] => at.all(position).map(toMessage),

    /** All messages of a turn in a thread, oldest first. */
    ofTurn: (turn_id: string, thread_id: string): StoredMessage[] =>
      ofTurn.all(turn_id, thread_id).map(toMessage),

    /** The live one that stands in front of this position in its thread. */
    before: (task_id: string, thread_id: string, position: number): StoredMessage | undefined =>
      before.all(task_id, thread_id, position).map(toMessage)[0],

    /** What a message says; nothing where there is no such message. */
    content(message_id: string): ContentBlock[] {
      const row = byId.get(message_id);
      return row === undefined ? [] : JSON.parse(text(row, 'content'));
    },

    /** The last answers of a turn in a thread, `limit` of them at most, oldest first. */
    answers: (turn_id: string, thread_id: string, limit: number): StoredMessage[] =>
      answers.all(turn_id, thread_id, limit).map(toMessage).reverse(),

    /** The whole conversation, oldest first. */
    ofTask: (task_id: string): ListedMessage[] => ofTask.all(task_id).map(toListed),

    /** What lies at this position or behind it is no longer part of the task: of its own thread or any sub-agent's. */
    supersede(task_id: string, from_position: number): void {
      supersede.run(task_id, from_position);
    },

    /** Position of the newest message of a turn, in any of its threads; 0 when it has none. */
    newest(turn_id: string): number {
      const row = newest.get(turn_id);
      return row === undefined ? 0 : integer(row, 'position');
    },

    last(task_id: string, thread_id: string): StoredMessage | undefined {
      const row = last.get(task_id, thread_id);
      return row === undefined ? undefined : toMessage(row);
    },
  };
}

function toListed(row: Row): ListedMessage {
  return {
    role: toRole(row),
    content: JSON.parse(text(row, 'content')),
    message_id: text(row, 'message_id'),
    turn_id: text(row, 'turn_id'),
    created_at: integer(row, 'created_at'),
    superseded: integer(row, 'superseded') === 1,
  };
}

function toMessage(row: Row): StoredMessage {
  // Written by `append` above and by nothing else, so the shapes are known.
  const content: ContentBlock[] = JSON.parse(text(row, 'content'));
  const tail: ContentBlock[] | null = JSON.parse(textOrNull(row, 'tail') ?? 'null');
  const usage: CountedUsage | null = JSON.parse(textOrNull(row, 'usage') ?? 'null');
  return {
    role: toRole(row),
    content,
    tail,
    usage,
    stop_reason: toStopReason(textOrNull(row, 'stop_reason')),
    message_id: text(row, 'message_id'),
    turn_id: text(row, 'turn_id'),
    position: integer(row, 'position'),
  };
}

const toRole = (row: Row) => (text(row, 'role') === 'assistant' ? 'assistant' : 'user');

function toStopReason(reason: string | null): StopReason | null {
  if (reason === null || reason === 'end_turn' || reason === 'tool_use' || reason === 'max_tokens')
    return reason;
  throw new TypeError(`An answer ended with ${reason}`);
}
