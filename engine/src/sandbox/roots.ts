import { constants, mkdirSync, realpathSync, statSync } from 'node:fs';
import { type FileHandle, lstat, open, readlink, realpath } from 'node:fs/promises';
import { dirname, resolve, sep } from 'node:path';
import { EngineExit } from '@september/contract';
import { StartError, systemCode } from '../errors.ts';

/**
 * Which files a tool may see: those inside `ALLOWED_ROOTS`, whatever way a path gets there.
 *
 * A path is a string the model chose, perhaps because a hostile document told it to. Comparing strings is not
 * enough: `..` is easy to see, but a symbolic link anywhere on the way leads out just as well, and it can be
 * put in place between the check and the opening. So: resolve the string and check it, resolve every link and
 * check again, open that without following a link at its end, and ask the kernel what was opened. A path that
 * leads out is refused in the same words whether or not there is something at its end, so that refusals tell
 * nothing about the rest of the disk. Source: engine-runtime, "Sandbox", "Platform tools".
 */
export type Roots = {
  /** Real paths. Relative paths start at the first. */
  paths: [string, ...string[]];
  /** The same as the operator wrote them; a link may be among them, and people use its name. */
  names: string[];
  /** The brain and what belongs to it are never visible, also when a root holds them. */
  brain_path: string;
};

export type Refusal = { error: 'permission_denied' | 'not_found'; output: string };

/** @throws StartError `BAD_CONFIG` when a root that an operator named is not a folder. */
export function openRoots(roots: { paths: string[]; own: boolean }, brain_path: string): Roots {
  if (roots.own) for (const path of roots.paths) mkdirSync(path, { recursive: true });
  const [first, ...others] = roots.paths.map((path) => {
    try {
      if (statSync(path).isDirectory()) return realpathSync(path);
    } catch (error) {
      throw new StartError(
        EngineExit.BAD_CONFIG,
        `ALLOWED_ROOTS: ${path} cannot be used (${systemCode(error)}).`,
      );
    }
    throw new StartError(EngineExit.BAD_CONFIG, `ALLOWED_ROOTS: ${path} is not a folder.`);
  });
  if (first === undefined) throw new StartError(EngineExit.BAD_CONFIG, 'ALLOWED_ROOTS: names no folder.');
  return { paths: [first, ...others], names: roots.paths, brain_path: realpathSync(brain_path) };
}

/** The real path of something inside the roots. Answers a refusal instead, in words for the model. */
export async function locate(roots: Roots, path: string): Promise<{ path: string } | Refusal> {
  const wanted = resolve(roots.paths[0], path);
  if (!isInside([...roots.paths, ...roots.names], wanted)) return outside(path);
  try {
    const real = await realpath(wanted);
    return isVisible(roots, real) ? { path: real } : outside(path);
  } catch (error) {
    const code = systemCode(error) ?? '';
    if (REFUSED.has(code)) return outside(path);
    if (!MISSING.has(code)) throw error;
    return (await leadsOut(roots, wanted)) ? outside(path) : missing(path);
  }
}

/** `self` names what is open, whatever is renamed meanwhile. Only Linux has such a name; elsewhere it is the path. */
export type Opened = { handle: FileHandle; path: string; self: string };

/** Opens a file or folder inside the roots for reading. The caller closes it. */
export async function openInside(roots: Roots, path: string): Promise<Opened | Refusal> {
  const located = await locate(roots, path);
  if ('error' in located) return located;
  let handle: FileHandle;
  try {
    // NONBLOCK: opening a named pipe must not wait for a writer that never comes.
    handle = await open(located.path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    const code = systemCode(error) ?? '';
    if (MISSING.has(code)) return missing(path);
    if (REFUSED.has(code)) return outside(path);
    throw error;
  }
  const self = `/proc/self/fd/${handle.fd}`;
  const opened = await readlink(self).catch(() => undefined);
  if (opened === undefined) return { handle, path: located.path, self: located.path };
  if (isVisible(roots, opened)) return { handle, path: opened, self };
  await handle.close();
  return outside(path);
}

/** What system calls say when there is nothing, and when there is something that is not for us. */
const MISSING = new Set(['ENOENT', 'ENOTDIR', 'ENAMETOOLONG']);
const REFUSED = new Set(['EACCES', 'EPERM', 'ELOOP', 'ENXIO']);

/** Whether the nearest thing that exists on the way to `path` is a link to nowhere, or lies outside. */
async function leadsOut(roots: Roots, path: string): Promise<boolean> {
  try {
    if ((await lstat(path)).isSymbolicLink()) return true;
    return !isVisible(roots, await realpath(path));
  } catch {
    const parent = dirname(path);
    return parent === path || !isInside([...roots.paths, ...roots.names], parent)
      ? false
      : leadsOut(roots, parent);
  }
}

function isInside(folders: string[], path: string): boolean {
  return folders.some((root) => path === root || path.startsWith(root.endsWith(sep) ? root : root + sep));
}

export function isVisible(roots: Roots, path: string): boolean {
  return isInside(roots.paths, path) && !isBrain(roots, path);
}

/** The brain, its `-wal`, `-shm` and `-journal`, its `.lock` and that one's journal. */
function isBrain(roots: Roots, path: string): boolean {
  if (!path.startsWith(roots.brain_path)) return false;
  return /^($|-|\.lock)/.test(path.slice(roots.brain_path.length));
}

export function outside(path: string): Refusal {
  return { error: 'permission_denied', output: `${path} is not inside the folders this agent may see.` };
}

function missing(path: string): Refusal {
  return { error: 'not_found', output: `There is nothing at ${path}.` };
}
