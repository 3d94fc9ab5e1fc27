import type { DatabaseSync } from 'node:sqlite';
import { integer, integerOrNull, real, text } from './sqlite.ts';

/** A compaction as it lies in the brain; what each column means stands with the table. */
export type Compaction = {
  upto: number;
  opening: number | null;
  head: number;
  text: string;
  /** JSON. */
  carried: string;
  tokens_per_byte: number;
};

/** Sizes of the request before and after, tokens, estimated. */
export type NewCompaction = Compaction & { before_tokens: number; after_tokens: number };

/** Where and when; `created_at` in Unix milliseconds. */
type Place = { task_id: string; thread_id: string; turn_id: string; created_at: number };

export type Compactions = ReturnType<typeof openCompactions>;

/** What stands in the place of older messages. Source: engine-runtime, "Compaction". */
export function openCompactions(db: DatabaseSync) {
  const insert = db.prepare(`
    INSERT INTO compactions (task_id, thread_id, turn_id, upto, opening, head, text, carried, tokens_per_byte,
      before_tokens, after_tokens, created_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`);
  const newest = db.prepare(`
    SELECT upto, opening, head, text, carried, tokens_per_byte FROM compactions
    WHERE task_id = ? AND thread_id = ? ORDER BY compaction_id DESC LIMIT 1`);
  const forget = db.prepare('DELETE FROM compactions WHERE task_id = ? AND head >= ?');

  return {
    insert(row: NewCompaction & Place): void {
      insert.run(
        row.task_id,
        row.thread_id,
        row.turn_id,
        row.upto,
        row.opening,
        row.head,
        row.text,
        row.carried,
        row.tokens_per_byte,
        row.before_tokens,
        row.after_tokens,
        row.created_at,
      );
    },

    /** The one that counts. */
    newest(task_id: string, thread_id: string): Compaction | undefined {
      const row = newest.get(task_id, thread_id);
      if (row === undefined) return undefined;
      return {
        upto: integer(row, 'upto'),
        opening: integerOrNull(row, 'opening'),
        head: integer(row, 'head'),
        text: text(row, 'text'),
        carried: text(row, 'carried'),
        tokens_per_byte: real(row, 'tokens_per_byte'),
      };
    },

    /** The messages from this position on are no longer part of the task: nor is what was made with them. */
    forget(task_id: string, from_position: number): void {
      forget.run(task_id, from_position);
    },
  };
}
