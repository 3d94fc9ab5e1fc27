/**
 * A task's own place for what is in the making: what its commands know as /tmp. It lasts from one command of the task to
 * the next, so that a long piece of work can be done in several; another task has another, and a new one begins empty.
 * Source: engine-runtime, "Sandbox".
 */
import { createHash, randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, renameSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { errorFields, type Log } from '../observe/log.ts';

export type Scratch = {
  /** Of this task; made where there is none yet. */
  of(task_id: string): string;
  /** When the task is removed. */
  forget(task_id: string): void;
};

/**
 * What an earlier start has left is out of the way when this returns, and removed by and by.
 * @param mount_points Folders that each must have from its beginning, relative.
 */
export function openScratch(folder: string, mount_points: string[], log: Log): Scratch {
  const removed = `${folder}.removed`;
  mkdirSync(removed, { recursive: true, mode: 0o700 });
  putAway(folder);
  mkdirSync(folder, { mode: 0o700 });

  /** Moved first: a command may have left folders that take long to remove, or that cannot be. */
  function putAway(path: string): void {
    if (existsSync(path)) renameSync(path, join(removed, randomUUID()));
    removeAll().catch((error) =>
      log.warn('What a task left could not be removed', { extra: errorFields(error) }),
    );
  }

  async function removeAll(): Promise<void> {
    for (const name of await readdir(removed))
      await rm(join(removed, name), { recursive: true, force: true });
  }

  const pathOf = (task_id: string) =>
    join(folder, createHash('sha256').update(task_id).digest('hex').slice(0, 32));
  return {
    of(task_id) {
      const path = pathOf(task_id);
      if (!existsSync(path)) {
        for (const inside of ['', ...mount_points])
          mkdirSync(join(path, inside), { recursive: true, mode: 0o700 });
      }
      return path;
    },
    forget: (task_id) => putAway(pathOf(task_id)),
  };
}
