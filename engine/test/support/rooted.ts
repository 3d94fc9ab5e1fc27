/** Two roots, one of them with the brain in it, a folder beside them, and every kind of way from here to there. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openRoots, type Roots } from '../../src/sandbox/roots.ts';
import { temporaryFolder } from './engine.ts';

/** `inside(path)` is the path of something in the first root; `folder` holds everything. */
export type Rooted = { folder: string; roots: Roots; inside(path: string): string };

export function makeRoots(): Rooted {
  const folder = temporaryFolder();
  for (const name of ['root', 'root/sub', 'second', 'rootless', 'outside']) mkdirSync(join(folder, name));
  writeFileSync(join(folder, 'root', 'in.txt'), 'inside');
  writeFileSync(join(folder, 'second', 'two.txt'), 'second');
  writeFileSync(join(folder, 'rootless', 'near.txt'), 'a sibling whose name begins like a root');
  writeFileSync(join(folder, 'outside', 'secret.txt'), 'secret');
  for (const name of ['brain.sqlite', 'brain.sqlite-wal', 'brain.sqlite-shm', 'brain.sqlite.lock']) {
    writeFileSync(join(folder, 'second', name), 'brain');
  }
  mkdirSync(join(folder, 'second', 'brain.sqlite.scratch'));
  writeFileSync(join(folder, 'second', 'brain.sqlite.scratch', 'note'), 'of another task');
  symlinkSync(join(folder, 'root', 'in.txt'), join(folder, 'root', 'good-link'));
  symlinkSync(join(folder, 'outside', 'secret.txt'), join(folder, 'root', 'file-link'));
  symlinkSync('../outside', join(folder, 'root', 'folder-link'));
  symlinkSync('sub', join(folder, 'root', 'good-folder-link'));
  symlinkSync(join(folder, 'outside', 'absent.txt'), join(folder, 'root', 'dangling-link'));
  symlinkSync('loop', join(folder, 'root', 'loop'));
  symlinkSync(join(folder, 'second', 'brain.sqlite'), join(folder, 'root', 'brain-link'));
  execFileSync('mkfifo', [join(folder, 'root', 'pipe')]);
  const roots = openRoots(
    { paths: [join(folder, 'root'), join(folder, 'second')], own: false },
    join(folder, 'second', 'brain.sqlite'),
  );
  return { folder, roots, inside: (path) => join(folder, 'root', path) };
}

/**
 * Every way out of the roots, for a tool that takes a path. None leads out of the folder that holds everything: tests of
 * tools that write use these, and must not harm the machine they run on when what they test is broken.
 */
export const WAYS_OUT = [
  '..',
  '../outside/secret.txt',
  '../outside/absent.txt',
  '../rootless/near.txt',
  'file-link',
  'folder-link',
  'folder-link/secret.txt',
  'folder-link/absent.txt',
  'folder-link/absent/deeper.txt',
  'dangling-link',
  'loop',
  'brain-link',
  '../second/brain.sqlite',
  '../second/brain.sqlite-wal',
  '../second/brain.sqlite-shm',
  '../second/brain.sqlite.lock',
  '../second/brain.sqlite.scratch',
  '../second/brain.sqlite.scratch/note',
  'sub/../../outside/secret.txt',
];

/** The same, and the machine's own files, for tools that only read. */
export const WAYS_OUT_TO_READ = [...WAYS_OUT, '/', '/etc/passwd', '/etc/absent', '/proc/self/environ'];
