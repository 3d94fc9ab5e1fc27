/**
 * Everything below a folder, one entry after the other.
 *
 * A tree may have millions of entries, may grow while it is walked, and a folder in it may become a link to elsewhere
 * between being seen and being opened. So nothing is collected, the walk ends by itself after so many entries or so
 * much time, and each folder is opened by its name from its parent, which is open, and never through a link. Source:
 * engine-runtime, "Sandbox", "Platform tools".
 */
import { constants, type Dir, type Dirent, type Stats } from 'node:fs';
import { type FileHandle, lstat, open, opendir } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCode } from '../errors.ts';
import type { Opened } from '../sandbox/roots.ts';

/** Entries looked at; a larger tree has to be asked for in parts. */
const MAX_ENTRIES = 1_000_000;

/** Each open level holds two descriptors, of a thousand or so that a process has. */
const MAX_DEPTH = 64;

/** Entries the system is asked for at a time. */
const READ_AHEAD = 256;

export const ENTRY_TYPES = ['file', 'folder', 'link', 'other'] as const;
export type EntryType = (typeof ENTRY_TYPES)[number];

/** `stat` is undefined for what is gone meanwhile. */
export type Entry = { path: string; name: string; type: EntryType; stat(): Promise<Stats | undefined> };

/** `stopped`: why not everything was seen, in words for the model; undefined where it was. */
export type Walk = { entries: AsyncIterable<Entry>; stopped(): string | undefined };

type Level = { path: string; self: string; handle: FileHandle | undefined; dir: Dir };

/** `signal` ends it with an error, `late` with what has been seen. The caller closes `start`. */
export function walk(start: Opened, { signal, late }: { signal: AbortSignal; late: AbortSignal }): Walk {
  let stopped: string | undefined;

  async function* entries(): AsyncGenerator<Entry> {
    const levels: Level[] = [
      { path: start.path, self: start.self, handle: undefined, dir: await openDir(start.self) },
    ];
    let seen = 0;
    try {
      for (let level = levels.at(-1); level !== undefined; level = levels.at(-1)) {
        signal.throwIfAborted();
        const found = await level.dir.read();
        if (found === null) {
          levels.pop();
          await close(level);
          continue;
        }
        seen++;
        if (seen > MAX_ENTRIES || late.aborted) {
          stopped = late.aborted ? 'it took too long' : `more than ${MAX_ENTRIES} entries`;
          return;
        }
        const { path, self } = level;
        const { name } = found;
        const entry = { path: join(path, name), name, type: typeOf(found) };
        yield { ...entry, stat: () => statOf(join(self, name)) };
        if (entry.type !== 'folder') continue;
        if (levels.length < MAX_DEPTH) await enter(levels, entry.path, join(self, name));
        else stopped = `folders more than ${MAX_DEPTH} deep were left out`;
      }
    } finally {
      for (const level of levels) await close(level);
    }
  }

  return { entries: entries(), stopped: () => stopped };
}

export function typeOf(entry: Dirent): EntryType {
  if (entry.isFile()) return 'file';
  if (entry.isDirectory()) return 'folder';
  return entry.isSymbolicLink() ? 'link' : 'other';
}

/** Gone meanwhile, become a link, or closed to us: then there is nothing to be seen in it. */
const NOTHING_THERE = new Set(['ENOENT', 'ENOTDIR', 'ELOOP', 'EACCES', 'EPERM']);

async function enter(levels: Level[], path: string, place: string): Promise<void> {
  let handle: FileHandle;
  try {
    handle = await open(place, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  } catch (error) {
    if (NOTHING_THERE.has(systemCode(error) ?? '')) return;
    throw error;
  }
  try {
    // Only Linux has a name for what is open; elsewhere it is the path.
    const self = process.platform === 'linux' ? `/proc/self/fd/${handle.fd}` : path;
    levels.push({ path, self, handle, dir: await openDir(self) });
  } catch (error) {
    await handle.close();
    throw error;
  }
}

const openDir = (path: string) => opendir(path, { bufferSize: READ_AHEAD });

async function close(level: Level): Promise<void> {
  await level.dir.close();
  await level.handle?.close();
}

async function statOf(path: string): Promise<Stats | undefined> {
  try {
    return await lstat(path);
  } catch (error) {
    if (NOTHING_THERE.has(systemCode(error) ?? '')) return undefined;
    throw error;
  }
}
