/**
 * Which engines of this machine have been destroyed: an empty file each, named by the engine's id, beside the
 * engines' folder.
 *
 * A destroy leaves nothing of an engine behind, so nothing in its folder could tell a `create` that comes too
 * late (see fence.ts) that it must not make that folder again. Ids are never used twice, so one mark refuses
 * every later create; nobody is later than a day.
 */
import { mkdir, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isSystemError } from './process.ts';

/** How long a mark is kept, milliseconds. */
const KEPT_MS = 24 * 60 * 60 * 1000;

export type Graveyard = {
  mark(engine_id: string): Promise<void>;
  unmark(engine_id: string): Promise<void>;
  has(engine_id: string): Promise<boolean>;
  /** Removes the marks that are older than a day at `now`, milliseconds since 1970. */
  prune(now: number): Promise<void>;
};

export function openGraveyard(folder: string): Graveyard {
  const fileOf = (engine_id: string) => join(folder, engine_id);
  return {
    async mark(engine_id) {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      await writeFile(fileOf(engine_id), '', { mode: 0o600 });
    },
    unmark: (engine_id) => rm(fileOf(engine_id), { force: true }),
    has: async (engine_id) => (await stat(fileOf(engine_id)).catch(nullIfAbsent)) !== null,
    async prune(now) {
      for (const engine_id of (await readdir(folder).catch(nullIfAbsent)) ?? []) {
        const marked = await stat(fileOf(engine_id)).catch(nullIfAbsent);
        if (marked !== null && marked.mtimeMs < now - KEPT_MS) await rm(fileOf(engine_id), { force: true });
      }
    },
  };
}

function nullIfAbsent(error: unknown): null {
  if (isSystemError(error, 'ENOENT')) return null;
  throw error;
}
