/**
 * Which places of this machine exist for a command: the programs, without what is configured or kept beside them; the
 * roots, at their own paths; what a person has opened for this one call; a folder of its task's own as /tmp. Nothing
 * else has a name in there.
 *
 * The hard part is the brain. A root may hold it, and a command that can write beside it can give SQLite a journal to
 * replay; a file cannot be hidden by name, as it can be replaced by another of that name. So its whole folder is
 * covered: what lies in it is shown entry by entry, without the Engine's own, and there is no making new ones.
 *
 * And whatever is placed inside a folder that commands can write has a way to it that they could change: rename a
 * folder, or put a link there, for the next command to be led by. So in every sandbox each step of such a way is a mount
 * point: the kernel lets nobody rename or remove those. Source: engine-runtime, "Sandbox".
 */
import { existsSync, lstatSync, readdirSync, readlinkSync, realpathSync } from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Place } from './bubblewrap.ts';
import { isOwn, type Roots } from './roots.ts';

/** Where the Engine puts what its sandboxes need of it. */
export const INSIDE = '/run/sandbox';
export const LAUNCHER = `${INSIDE}/launch.pl`;

/** Not `/etc` as a whole: it holds keys and the names of the host's people. */
const SYSTEM = [
  '/usr',
  '/bin',
  '/sbin',
  '/lib',
  '/lib32',
  '/lib64',
  '/libx32',
  '/etc/alternatives',
  '/etc/ca-certificates.conf',
  '/etc/ld.so.cache',
  '/etc/ld.so.conf',
  '/etc/ld.so.conf.d',
  '/etc/localtime',
  '/etc/magic',
  '/etc/mime.types',
  '/etc/protocols',
  '/etc/services',
  '/etc/ssl/certs',
  '/etc/ssl/openssl.cnf',
];

const ours = (name: string) => fileURLToPath(new URL(name, import.meta.url));

/** The same for every command. */
export function systemPlaces(node: string): Place[] {
  const places: Place[] = [
    { kind: 'read', from: ours('etc/passwd'), at: '/etc/passwd' },
    { kind: 'read', from: ours('etc/group'), at: '/etc/group' },
    { kind: 'read', from: ours('launch.pl'), at: LAUNCHER },
    { kind: 'read', from: node, at: `${INSIDE}/bin/node` },
  ];
  for (const at of SYSTEM) {
    if (!existsSync(at)) continue;
    const link = lstatSync(at).isSymbolicLink() && dirname(at) === '/';
    places.push(link ? { kind: 'link', target: readlinkSync(at), at } : { kind: 'read', from: at, at });
  }
  return places;
}

export type Seen = {
  roots: Roots;
  /** Opened for this call; what is not there any more, or can never be opened, is left out. */
  opened: string[];
  /** Never written, also where a root holds it. `shown`: visible also where none does. */
  catalog: { path: string; shown: boolean };
  /** What stands for /tmp: a folder of this machine, or null for one in memory. */
  scratch: string | null;
};

/** For a program that needs a place for a moment, bytes. */
const MEMORY_BYTES = 64 * 1024 * 1024;

/** @throws what the file system says when a root cannot be read any more. */
export function placesOf({ roots, opened, catalog, scratch }: Seen): Place[] {
  const writing = outermost([...roots.paths, ...opened.filter((path) => canBeOpened(path, roots))]);
  const others = writing.filter((path) => path !== TMP);
  const tmp: Place[] =
    scratch === null
      ? [{ kind: 'memory', at: TMP, bytes: MEMORY_BYTES }]
      : [{ kind: 'write', from: scratch, at: TMP }, ...others.flatMap((path) => way(scratch, TMP, path))];
  const holder = others.find((path) => isWithin(catalog.path, [path]));
  const guarded: Place[] =
    holder === undefined && !catalog.shown
      ? []
      : [
          ...(holder === undefined ? [] : way(holder, holder, catalog.path)),
          { kind: 'read', from: catalog.path, at: catalog.path },
        ];
  const named = roots.names.filter(
    (name, index) => name !== roots.paths[index] && !isWithin(name, [TMP, ...writing]),
  );
  return [
    ...(writing.includes(TMP) ? [] : tmp),
    ...writing.flatMap((path) => writable(path, roots)),
    ...guarded,
    ...(writing.some((path) => isWithin(path, [VAR_TMP]))
      ? []
      : [{ kind: 'link', target: TMP, at: VAR_TMP } satisfies Place]),
    ...named.map((at): Place => ({ kind: 'link', target: realpathSync(at), at })),
  ];
}

const TMP = '/tmp';
/** The same in there, for programs that keep larger files apart. */
const VAR_TMP = '/var/tmp';

/** Folders that a new scratch folder needs, for what is placed inside of /tmp; relative to it. */
export function mountPoints(roots: Roots): string[] {
  return roots.paths
    .filter((path) => path !== TMP && isWithin(path, [TMP]))
    .map((path) => relative(TMP, path));
}

/** The kernel's own file systems are opened by no yes, nor is everything at once; /tmp is not this machine's in there. */
const NEVER = ['/proc', '/sys', '/dev', '/run', TMP];

function canBeOpened(path: string, roots: Roots): boolean {
  if (path === '/' || isWithin(path, NEVER) || isOwn(roots, path)) return false;
  return existsSync(path);
}

function writable(path: string, roots: Roots): Place[] {
  const home = dirname(roots.brain_path);
  const whole: Place = { kind: 'write', from: path, at: path };
  if (!isWithin(home, [path])) return [whole];
  return [...(path === home ? [] : [whole, ...way(path, path, home)]), ...covered(home, roots)];
}

/** The steps between a folder that commands can write, which is `from` on this machine, and what is placed in it. */
function way(from: string, at: string, placed: string): Place[] {
  const parent = dirname(placed);
  if (placed === at || parent === at || !isWithin(placed, [at])) return [];
  return [...way(from, at, parent), { kind: 'write', from: join(from, relative(at, parent)), at: parent }];
}

function covered(home: string, roots: Roots): Place[] {
  const entries = readdirSync(home, { withFileTypes: true })
    .map((entry) => ({ entry, at: join(home, entry.name) }))
    .filter(({ at }) => !isOwn(roots, at))
    .flatMap(({ entry, at }): Place[] => {
      if (entry.isSymbolicLink()) return [{ kind: 'link', target: readlinkSync(at), at }];
      return entry.isDirectory() || entry.isFile() ? [{ kind: 'write', from: at, at }] : [];
    });
  return [{ kind: 'cover', at: home }, ...entries, { kind: 'seal', at: home }];
}

/** What lies within another is shown by it; placed again by name it could be replaced by a link meanwhile. */
function outermost(paths: string[]): string[] {
  const each = [...new Set(paths)];
  return each.filter((path) => !each.some((other) => other !== path && isWithin(path, [other])));
}

function isWithin(path: string, folders: string[]): boolean {
  return folders.some(
    (folder) => path === folder || path.startsWith(folder.endsWith(sep) ? folder : folder + sep),
  );
}
