/**
 * Which engines of this machine have been destroyed: a folder each, named by the engine's id, beside the engines'
 * folder, with an empty file for each call that destroys it.
 *
 * A destroy leaves nothing of an engine behind, so nothing in its folder could tell a `create` that comes too
 * late (see fence.ts) that it must not make that folder again. Ids are never used twice, so one mark refuses
 * every later create; nobody is later than a day.
 *
 * A mark for each call, because an outdated destroy takes its own back. Were it the engine's one mark, that would
 * be the mark of a rightful destroy too, and a late create could bring half an engine back.
 */
import { randomUUID } from 'node:crypto';
import { mkdir, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isSystemError } from './process.ts';

/** How long a mark is kept, milliseconds. */
const KEPT_MS = 24 * 60 * 60 * 1000;

export type Graveyard = {
  /** Gives the way to take this mark back; others of the engine stay. */
  mark(engine_id: string): Promise<() => Promise<void>>;
  has(engine_id: string): Promise<boolean>;
  /** Removes the marks of engines that were last marked more than a day before `now`, milliseconds since 1970. */
  prune(now: number): Promise<void>;
};

export function openGraveyard(folder: string): Graveyard {
  const marksOf = (engine_id: string) => join(folder, engine_id);
  return {
    async mark(engine_id) {
      await mkdir(marksOf(engine_id), { recursive: true, mode: 0o700 });
      const mark = join(marksOf(engine_id), randomUUID());
      await writeFile(mark, '', { mode: 0o600 });
      return () => rm(mark, { force: true });
    },
    has: async (engine_id) => ((await readdir(marksOf(engine_id)).catch(nullIfAbsent)) ?? []).length > 0,
    async prune(now) {
      for (const engine_id of (await readdir(folder).catch(nullIfAbsent)) ?? []) {
        const marked = await stat(marksOf(engine_id)).catch(nullIfAbsent);
        if (marked === null || marked.mtimeMs >= now - KEPT_MS) continue;
        await rm(marksOf(engine_id), { recursive: true, force: true });
      }
    },
  };
}

function nullIfAbsent(error: unknown): null {
  if (isSystemError(error, 'ENOENT')) return null;
  throw error;
}
