import { constants, mkdirSync, realpathSync, statSync } from 'node:fs';
import { type FileHandle, lstat, open, readlink, realpath } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve, sep } from 'node:path';
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
  /** What a person has opened beside them, for one call; real paths. Also of what is not there yet. */
  opened: string[];
  /** The brain and what is beside it of the Engine's own are never visible, also when a root holds them. */
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
  return { paths: [first, ...others], names: roots.paths, opened: [], brain_path: realpathSync(brain_path) };
}

/** The real path of something inside the roots. Answers a refusal instead, in words for the model. */
export async function locate(roots: Roots, path: string): Promise<{ path: string } | Refusal> {
  const wanted = resolve(roots.paths[0], path);
  // What was opened is known by its real path, and the model may have another name for it.
  if (roots.opened.length === 0 && !isInside([...roots.paths, ...roots.names], wanted)) return outside(path);
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
  const opened = await openReal(located.path, path);
  if ('error' in opened || isVisible(roots, opened.path)) return opened;
  await opened.handle.close();
  return outside(path);
}

/**
 * Opens the folder of a file that is to be written, which need not be there yet. `path` is that of the file; its
 * `name`, used from `self`, is the same place whatever links are put on the way meanwhile. The caller closes it.
 */
export async function openPlace(roots: Roots, path: string): Promise<(Opened & { name: string }) | Refusal> {
  const located = await locate(roots, path);
  if ('error' in located && located.error !== 'not_found') return located;
  const target = 'error' in located ? resolve(roots.paths[0], path) : located.path;
  const name = basename(target);
  let real: string;
  try {
    real = await realpath(dirname(target));
  } catch (error) {
    const code = systemCode(error) ?? '';
    if (MISSING.has(code)) return missing(dirname(path));
    if (REFUSED.has(code)) return outside(path);
    throw error;
  }
  const folder = await openReal(real, path);
  if ('error' in folder) return folder;
  const place = join(folder.path, name);
  if (isVisible(roots, place) && !roots.paths.includes(place)) return { ...folder, path: place, name };
  await folder.handle.close();
  return outside(path);
}

/** Opens what is at a path without links. `asked`: what it was called. */
async function openReal(path: string, asked: string): Promise<Opened | Refusal> {
  let handle: FileHandle;
  try {
    // NONBLOCK: opening a named pipe must not wait for a writer that never comes.
    handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    const code = systemCode(error) ?? '';
    if (MISSING.has(code)) return missing(asked);
    if (REFUSED.has(code)) return outside(asked);
    throw error;
  }
  const self = `/proc/self/fd/${handle.fd}`;
  const opened = await readlink(self).catch(() => undefined);
  return opened === undefined ? { handle, path, self: path } : { handle, path: opened, self };
}

/** What system calls say when there is nothing, and when there is something that is not for us. */
const MISSING = new Set(['ENOENT', 'ENOTDIR', 'ENAMETOOLONG']);
const REFUSED = new Set(['EACCES', 'EPERM', 'ELOOP', 'ENXIO']);

/** Whether a path to nothing, its links resolved as far as it exists, lies outside or ends in a link to nowhere. */
async function leadsOut(roots: Roots, path: string, below: string[] = []): Promise<boolean> {
  const parent = dirname(path);
  const exists = await lstat(path).catch(() => undefined);
  if (exists === undefined) {
    return parent === path || leadsOut(roots, parent, [basename(path), ...below]);
  }
  const real = await realpath(path).catch(() => undefined);
  return real === undefined || !isVisible(roots, join(real, ...below));
}

function isInside(folders: string[], path: string): boolean {
  return folders.some((root) => path === root || path.startsWith(root.endsWith(sep) ? root : root + sep));
}

export function isVisible(roots: Roots, path: string): boolean {
  return isInside([...roots.paths, ...roots.opened], path) && !isOwn(roots, path);
}

/**
 * Whether something is the Engine's own, and nobody's to see: the brain, and whatever lies beside it and begins with its
 * name, as its journals, its lock and the scratch folders of tasks do.
 */
export function isOwn({ brain_path }: Pick<Roots, 'brain_path'>, path: string): boolean {
  const [first = ''] = relative(dirname(brain_path), path).split(sep);
  return first.startsWith(basename(brain_path));
}

export function outside(path: string): Refusal {
  return { error: 'permission_denied', output: `${path} is not inside the folders this agent may see.` };
}

function missing(path: string): Refusal {
  return { error: 'not_found', output: `There is nothing at ${path}.` };
}
