/**
 * What a person has allowed for later, so that the same is not asked twice: for one task, or for all. What is
 * remembered is what was asked, one subject under one danger with one tool; nothing is ever derived from it. Source:
 * engine-runtime, "Permissions".
 */
import type { DatabaseSync } from 'node:sqlite';
import { integer, type Row, text, textOrNull } from './sqlite.ts';

/** `subject`: a path, a host, or a whole command; `task_id` null: in every task. */
export type RememberedPermission = {
  permission_id: string;
  task_id: string | null;
  tool: string;
  danger: string;
  subject: string;
  /** Unix milliseconds. */
  created_at: number;
};

export type RememberedPermissions = ReturnType<typeof openRememberedPermissions>;

export function openRememberedPermissions(db: DatabaseSync) {
  const insert = db.prepare(`
    INSERT INTO remembered_permissions (permission_id, task_id, tool, danger, subject, created_at)
    VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`);
  const covering = db.prepare(`
    SELECT 1 FROM remembered_permissions
     WHERE tool = ? AND danger = ? AND subject = ? AND coalesce(task_id, ?) = ?`);
  const all = db.prepare('SELECT * FROM remembered_permissions ORDER BY created_at, permission_id');
  const remove = db.prepare('DELETE FROM remembered_permissions WHERE permission_id = ?');

  return {
    /** What is remembered already stays as it is. */
    add(one: RememberedPermission): void {
      insert.run(one.permission_id, one.task_id, one.tool, one.danger, one.subject, one.created_at);
    },

    /** Whether this was allowed for this task, or for all. */
    covers: (
      task_id: string,
      { tool, danger, subject }: Pick<RememberedPermission, 'tool' | 'danger' | 'subject'>,
    ) => covering.get(tool, danger, subject, task_id, task_id) !== undefined,

    /** Oldest first. */
    all: (): RememberedPermission[] => all.all().map(toRemembered),

    /** False when there is none with this id. */
    remove: (permission_id: string): boolean => remove.run(permission_id).changes === 1,
  };
}

const toRemembered = (row: Row): RememberedPermission => ({
  permission_id: text(row, 'permission_id'),
  task_id: textOrNull(row, 'task_id'),
  tool: text(row, 'tool'),
  danger: text(row, 'danger'),
  subject: text(row, 'subject'),
  created_at: integer(row, 'created_at'),
});
