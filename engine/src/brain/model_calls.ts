import type { DatabaseSync } from 'node:sqlite';
import { integer, text } from './sqlite.ts';

/** A model call that began and was not seen to end. */
export type OpenModelCall = { id: number; thread_id: string; cursor: number };

export type ModelCalls = ReturnType<typeof openModelCalls>;

/** The journal of model calls: a row before the provider is asked, its end with the answer (E15). */
export function openModelCalls(db: DatabaseSync) {
  const insert = db.prepare(`
    INSERT INTO model_calls (turn_id, thread_id, position, state, cursor, started_at)
    VALUES (?, ?, ?, 'started', ?, ?)`);
  const end = db.prepare('UPDATE model_calls SET state = ?, ended_at = ? WHERE id = ?');
  const open = db.prepare(
    "SELECT id, thread_id, cursor FROM model_calls WHERE turn_id = ? AND state = 'started' ORDER BY id",
  );
  const count = db.prepare('SELECT count(*) AS calls FROM model_calls WHERE turn_id = ?');

  return {
    /** `position`: newest message shown to the model; `cursor`: newest event. @returns its id. */
    begin(call: {
      turn_id: string;
      thread_id: string;
      position: number;
      cursor: number;
      started_at: number;
    }): number {
      const { turn_id, thread_id, position, cursor, started_at } = call;
      return Number(insert.run(turn_id, thread_id, position, cursor, started_at).lastInsertRowid);
    },

    end(id: number, state: 'done' | 'broken', ended_at: number): void {
      end.run(state, ended_at, id);
    },

    /** Those of a turn that a kill has cut. */
    open: (turn_id: string): OpenModelCall[] =>
      open.all(turn_id).map((row) => ({
        id: integer(row, 'id'),
        thread_id: text(row, 'thread_id'),
        cursor: integer(row, 'cursor'),
      })),

    /** Of all threads of a turn, broken ones too. */
    count(turn_id: string): number {
      const row = count.get(turn_id);
      return row === undefined ? 0 : integer(row, 'calls');
    },
  };
}
