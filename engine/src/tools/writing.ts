/**
 * What the tools that write files have in common.
 *
 * A file is named from its folder, which is open, so that no link put in place meanwhile leads out (openPlace of
 * sandbox/roots.ts). It is replaced in one step: whoever reads it sees the old text or the new, and a kill leaves one
 * of them. And calls on one file run one after the other: those of one answer start together, and of two that read,
 * change and write the same file the first would be lost.
 */
import { randomBytes } from 'node:crypto';
import { constants, type Stats } from 'node:fs';
import { type FileHandle, lstat, open, rename, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCode } from '../errors.ts';
import { outside, type Roots } from '../sandbox/roots.ts';
import type { Action, ToolContext, ToolOutcome } from './contract.ts';

/** Text of one call; more is written in several. */
export const MAX_WRITTEN_CHARACTERS = 1_000_000;

/** Of a new file. */
const MODE = 0o644;

/** What a call that writes `path` would do, for permissions. */
export function writes({ path }: Record<string, unknown>): Action[] {
  return typeof path === 'string' ? [{ kind: 'write', path }] : [];
}

/** The roots of one call: with what a person has opened for it. */
export function withOpened(roots: Roots, { opened }: Pick<ToolContext, 'opened'>): Roots {
  return { ...roots, opened: opened.paths };
}

/** Puts a file in the place of another, which it is like in mode and owner, or of none. `folder` as openPlace gives it. */
export async function replaceFile(folder: string, name: string, content: string): Promise<void> {
  const place = join(folder, name);
  const fresh = join(folder, `.${name.slice(0, 50)}.${randomBytes(6).toString('hex')}`);
  const before = await statOf(place);
  try {
    const file = await open(fresh, 'wx', MODE);
    await written(file, content, before?.isFile() ? before : undefined);
    await rename(fresh, place);
  } catch (error) {
    // It may not have come into being; what went wrong before says more.
    await unlink(fresh).catch(() => undefined);
    throw error;
  }
}

export async function appendToFile(folder: string, name: string, content: string): Promise<void> {
  const flags = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NOFOLLOW;
  await written(await open(join(folder, name), flags | constants.O_NONBLOCK, MODE), content);
}

async function written(file: FileHandle, content: string, like?: Stats): Promise<void> {
  try {
    await file.writeFile(content);
    if (like !== undefined) {
      // Only root can give files away; for everybody else they are their own already, or become it.
      await file.chown(like.uid, like.gid).catch(() => undefined);
      await file.chmod(like.mode & 0o777);
    }
    await file.sync();
  } finally {
    await file.close();
  }
}

async function statOf(path: string): Promise<Stats | undefined> {
  try {
    return await lstat(path);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** What a system call said when a file could not be written, or read to be changed, in words for the model. */
export function refusal(path: string, error: unknown): ToolOutcome {
  const code = systemCode(error);
  if (code === 'EISDIR' || code === 'ENOTEMPTY') {
    return { error: 'invalid_input', output: `${path} is a folder.` };
  }
  if (code === 'ENOTDIR') return { error: 'not_found', output: `${path}: its folder is a file.` };
  if (code === 'ELOOP' || code === 'EACCES' || code === 'EPERM' || code === 'ENXIO') return outside(path);
  if (code === undefined) throw error;
  return { error: 'execution_failed', output: `${path} could not be written (${code}).` };
}

/** Runs what is to be done with a file when what came before for the same file is over. */
export type FileQueue = <Result>(path: string, work: () => Promise<Result>) => Promise<Result>;

export function createFileQueue(): FileQueue {
  const last = new Map<string, Promise<unknown>>();
  return async (path, work) => {
    const before = last.get(path) ?? Promise.resolve();
    const mine = before.then(work);
    const over = mine.catch(() => undefined);
    last.set(path, over);
    try {
      return await mine;
    } finally {
      if (last.get(path) === over) last.delete(path);
    }
  };
}
