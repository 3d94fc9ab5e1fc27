/**
 * Working memory: notes within one task, as a log of their changes. A log, so that an edit can go back behind a message
 * and take with it only what was noted after. Source: engine-runtime, "Memory".
 */
import type { DatabaseSync } from 'node:sqlite';
import { text } from './sqlite.ts';

/** What the agent has noted under a key. */
export type Note = { key: string; value: string };

/** A change of a note as it is made; what each column means stands with the table. `value` null: deleted. */
export type NoteChange = { source: string; position: number; key: string; value: string | null };

/** In characters, and of a task's notes together in bytes of UTF-8: they go with every turn, and are never condensed. */
export const NOTE_LIMITS = { key: 128, value: 4_000, total_bytes: 8 * 1024 };

/** How long notes outlive the last turn of their task (the specification's number). */
const KEPT_MS = 3 * 3_600_000;

export type WorkingMemory = ReturnType<typeof openWorkingMemory>;

export function openWorkingMemory(db: DatabaseSync) {
  const insert = db.prepare(`
    INSERT INTO working_memory_log (task_id, source, position, key, value, created_at) VALUES (?, ?, ?, ?, ?, ?)`);
  const bySource = db.prepare('SELECT 1 FROM working_memory_log WHERE source = ?');
  const newest = db.prepare(`
    SELECT key, value FROM working_memory_log
     WHERE id IN (SELECT max(id) FROM working_memory_log WHERE task_id = ? GROUP BY key) AND value IS NOT NULL
     ORDER BY key`);
  const forget = db.prepare('DELETE FROM working_memory_log WHERE task_id = ? AND position >= ?');
  // While a turn runs it has no end, and nothing is compared with it.
  const expire = db.prepare(`
    DELETE FROM working_memory_log AS w WHERE task_id = coalesce(?1, task_id) AND ?2 >
      (SELECT ended_at FROM turns t WHERE t.task_id = w.task_id ORDER BY first_event_id DESC LIMIT 1)`);

  return {
    append(task_id: string, change: NoteChange, created_at: number): void {
      const { source, position, key, value } = change;
      insert.run(task_id, source, position, key, value, created_at);
    },

    /** Whether this source has made its change. */
    has: (source: string): boolean => bySource.get(source) !== undefined,

    /** A task's notes as they stand, by key. */
    ofTask: (task_id: string): Note[] =>
      newest.all(task_id).map((row) => ({ key: text(row, 'key'), value: text(row, 'value') })),

    /** The messages from this position on are no longer part of the task: nor is what followed from them. */
    forget(task_id: string, from_position: number): void {
      forget.run(task_id, from_position);
    },

    /** Drops the notes of tasks, or of one, whose last turn ended too long before `now` (Unix milliseconds). */
    expire(now: number, task_id?: string): void {
      expire.run(task_id ?? null, now - KEPT_MS);
    },
  };
}
