import type { DatabaseSync } from 'node:sqlite';

export type Conversations = ReturnType<typeof openConversations>;

/** Tasks by their id. Source: engine-runtime, "Brain". */
export function openConversations(db: DatabaseSync) {
  const touch = db.prepare(`
    INSERT INTO conversations (task_id, created_at, last_activity_at) VALUES (?1, ?2, ?2)
    ON CONFLICT (task_id) DO UPDATE SET last_activity_at = ?2`);
  const known = db.prepare('SELECT 1 FROM conversations WHERE task_id = ?');

  return {
    /** Starts the conversation, or marks it active. `now`: Unix milliseconds. */
    touch(task_id: string, now: number): void {
      touch.run(task_id, now);
    },

    exists: (task_id: string): boolean => known.get(task_id) !== undefined,
  };
}
