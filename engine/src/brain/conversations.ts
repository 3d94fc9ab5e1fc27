import type { DatabaseSync } from 'node:sqlite';
import { integer, type Row, text } from './sqlite.ts';

/** A task as it stands. Times are Unix milliseconds. */
export type Task = {
  task_id: string;
  /** `waiting`: for a person; `errored`: its last turn. */
  status: 'idle' | 'running' | 'waiting' | 'errored';
  /** Of the last turn. */
  agent: string;
  turns: number;
  created_at: number;
  last_activity_at: number;
};

/** Where a page of tasks ended: its last row. */
export type TaskPlace = Pick<Task, 'last_activity_at' | 'task_id'>;

/** Before every task. */
const FRONT: TaskPlace = { last_activity_at: Number.MAX_SAFE_INTEGER, task_id: '' };

export type Conversations = ReturnType<typeof openConversations>;

/** Tasks by their id. Source: engine-runtime, "Brain". */
export function openConversations(db: DatabaseSync) {
  const touch = db.prepare(`
    INSERT INTO conversations (task_id, created_at, last_activity_at) VALUES (?1, ?2, ?2)
    ON CONFLICT (task_id) DO UPDATE SET last_activity_at = ?2`);
  const known = db.prepare('SELECT 1 FROM conversations WHERE task_id = ?');
  const tasks = `
    SELECT c.task_id, c.created_at, c.last_activity_at, t.agent, t.status,
           (SELECT count(*) FROM turns WHERE task_id = c.task_id) AS turns,
           EXISTS (SELECT 1 FROM hitl_requests WHERE task_id = c.task_id AND state = 'waiting') AS waiting
      FROM conversations c JOIN turns t ON t.turn_id =
           (SELECT turn_id FROM turns WHERE task_id = c.task_id ORDER BY first_event_id DESC LIMIT 1)`;
  const one = db.prepare(`${tasks} WHERE c.task_id = ?`);
  const page = db.prepare(`${tasks}
     WHERE (c.last_activity_at, c.task_id) < (?, ?) ORDER BY c.last_activity_at DESC, c.task_id DESC LIMIT ?`);
  const removeEvents = db.prepare('DELETE FROM channel_state_snapshots WHERE task_id = ?');
  const remove = db.prepare('DELETE FROM conversations WHERE task_id = ?');

  return {
    /** Starts the conversation, or marks it active. `now`: Unix milliseconds. */
    touch(task_id: string, now: number): void {
      touch.run(task_id, now);
    },

    exists: (task_id: string): boolean => known.get(task_id) !== undefined,

    get(task_id: string): Task | undefined {
      const row = one.get(task_id);
      return row === undefined ? undefined : toTask(row);
    },

    /** Those behind `after`, newest activity first. */
    list: (limit: number, after: TaskPlace = FRONT): Task[] =>
      page.all(after.last_activity_at, after.task_id, limit).map(toTask),

    /** The conversation and everything that belongs to it; what has learnt from it stays. */
    remove(task_id: string): void {
      // The event buffer is the only table without a reference that cascades.
      removeEvents.run(task_id);
      remove.run(task_id);
    },
  };
}

function toTask(row: Row): Task {
  return {
    task_id: text(row, 'task_id'),
    status: toStatus(text(row, 'status'), integer(row, 'waiting') === 1),
    agent: text(row, 'agent'),
    turns: integer(row, 'turns'),
    created_at: integer(row, 'created_at'),
    last_activity_at: integer(row, 'last_activity_at'),
  };
}

/** What the last turn's status says of its task. */
function toStatus(last_turn: string, waiting: boolean): Task['status'] {
  if (last_turn === 'running') return waiting ? 'waiting' : 'running';
  return last_turn === 'errored' ? 'errored' : 'idle';
}
