/**
 * Where a path of a command leads on this disk: inside the folders of this Engine, outside, or to its brain.
 *
 * Followed one name at a time, as the kernel does it: `link/..` is not where it looks to be, and a folder may be
 * reached by a name outside that is a link to the inside, and the other way round. What does not exist yet is where
 * its folder is. A pattern stands for anything in its folder, so links there count as well. Source: engine-runtime,
 * "Permissions", "Sandbox".
 */
import { lstatSync, opendirSync, realpathSync, statSync } from 'node:fs';
import { posix } from 'node:path';
import { isVisible, type Roots } from '../sandbox/roots.ts';
import { BELOW, isMarked, isUnknown, SOME, type Word } from './words.ts';

/**
 * `path` is real, as far as it exists; for a pattern it is the folder in which it begins. `is_all`: the pattern takes
 * everything there.
 */
export type Place = {
  path: string;
  where: 'inside' | 'outside' | 'brain' | 'free';
  is_pattern: boolean;
  is_all: boolean;
};

/** Entries of a folder that are looked at for links, when a pattern may match them. */
const MAX_ENTRIES = 2_000;

/** Names in a path: more than a system call takes. */
const MAX_NAMES = 2_000;

/** Not files: what is written there is gone, or goes to whoever reads the command. */
const FREE =
  /^(\/dev\/(null|zero|full|random|urandom|tty|stdin|stdout|stderr|fd(\/.*)?)|\/proc\/self\/fd\/.*)$/u;

/**
 * `is_link_itself`: what is done is done to a link at the end of the path, not to what it leads to.
 * @returns undefined where it cannot be said.
 */
export function placeOf(roots: Roots, folder: Word, path: Word, is_link_itself = false): Place | undefined {
  if (isUnknown(path) || (!path.startsWith('/') && isUnknown(folder))) return undefined;
  const whole = path.startsWith('/') ? path : `${folder}/${path}`;
  if (FREE.test(whole)) return { path: whole, where: 'free', is_pattern: false, is_all: false };
  const names = whole.split('/');
  if (names.length > MAX_NAMES) return undefined;

  let at = '/';
  for (const [index, name] of names.entries()) {
    if (name === '' || name === '.') continue;
    if (name === '..') at = posix.dirname(at);
    else if (isMarked(name)) {
      const rest = names.slice(index + 1);
      if (rest.includes('..')) return undefined;
      // `.*` means `..` too.
      if (name.startsWith('.')) at = posix.dirname(at);
      const goes_on = rest.some((more) => more !== '' && more !== '.') || whole.endsWith('/');
      if (goes_on && leadsOut(roots, at)) return undefined;
      const is_all =
        new RegExp(`^\\.?[${SOME}${BELOW}]+$`, 'u').test(name) && rest.every((more) => more === '');
      return { ...located(roots, at), is_pattern: true, is_all: is_all && !name.includes(BELOW) };
    } else if (is_link_itself && index === names.length - 1) at = posix.join(at, name);
    else at = real(posix.join(at, name));
  }
  return { ...located(roots, at), is_pattern: false, is_all: false };
}

function located(roots: Roots, path: string): Pick<Place, 'path' | 'where'> {
  if (path.startsWith(roots.brain_path)) return { path, where: 'brain' };
  return { path, where: isVisible(roots, path) ? 'inside' : 'outside' };
}

function real(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    // It does not exist, or may not be looked at: then the name stands for itself.
    return path;
  }
}

/** Whether a link in a folder leads to where its folder is not. */
function leadsOut(roots: Roots, folder: string): boolean {
  if (!isVisible(roots, folder)) return false;
  try {
    const open = opendirSync(folder);
    try {
      for (let left = MAX_ENTRIES; ; left--) {
        const entry = open.readSync();
        if (entry === null) return false;
        if (left === 0) return true;
        if (entry.isSymbolicLink() && !isVisible(roots, real(posix.join(folder, entry.name)))) return true;
      }
    } finally {
      open.closeSync();
    }
  } catch {
    return false;
  }
}

/** Whether `path` is one of the roots, or holds one. */
export const holdsRoot = (roots: Roots, path: string): boolean =>
  roots.paths.some((root) => root === path || root.startsWith(path === '/' ? '/' : `${path}/`));

/** Bytes of a file that is there; 0 for everything else. */
export function bytesAt(path: string): number {
  try {
    const found = statSync(path);
    return found.isFile() ? found.size : 0;
  } catch {
    return 0;
  }
}

export function isFolder(path: string): boolean {
  try {
    return lstatSync(path).isDirectory();
  } catch {
    return false;
  }
}
