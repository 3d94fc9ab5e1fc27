/**
 * The one limit that the kernel does not hold the real root to is the number of its processes (`RLIMIT_NPROC`). A bomb of
 * them fills the machine's table within a second, and whoever is to count and kill it gets no turn any more. So where the
 * Engine is root, and may make control groups, each sandbox is started in one of its own, and the kernel refuses what is
 * too many. For everybody else the limit of the process does (`limits.ts`). Source: engine-runtime, "Sandbox".
 */
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

/** @param threads Processes and threads at most. */
export type Groups = { open(threads: number): Group };

export type Group = {
  /** Words before a command: it enters, and then runs. */
  enter: string[];
  /** When nothing runs in it any more. */
  close(): Promise<void>;
};

/** Where groups are made: by the controller (version 1), or all in one tree (version 2). */
const TREES = ['/sys/fs/cgroup/pids', '/sys/fs/cgroup'];

const NAME = /^september-sandbox-(\d+)-/;

/** bubblewrap's own, the launcher, and what carries its streams. */
const OVERHEAD = 8;

/** A process that was killed leaves its group some moments later. */
const CLOSING_TRIES = 20;
const CLOSING_MS = 50;

/** Undefined where they are not needed, or cannot be made. */
export function findGroups(): Groups | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const tree = TREES.find(isUsable);
  if (tree === undefined) return undefined;
  removeStale(tree);
  return {
    open(threads) {
      const folder = mkdtempSync(join(tree, `september-sandbox-${process.pid}-`));
      writeFileSync(join(folder, 'pids.max'), String(threads + OVERHEAD));
      return {
        enter: ['/bin/sh', '-c', 'echo $$ > "$0" && exec "$@"', join(folder, 'cgroup.procs')],
        async close() {
          for (let tries = 1; !isRemoved(folder) && tries < CLOSING_TRIES; tries++) await delay(CLOSING_MS);
        },
      };
    },
  };
}

function isUsable(tree: string): boolean {
  const folder = join(tree, `september-probe-${process.pid}`);
  try {
    mkdirSync(folder);
    accessSync(join(folder, 'pids.max'), constants.W_OK);
    return true;
  } catch {
    return false;
  } finally {
    isRemoved(folder);
  }
}

/** What Engines have left that were killed. */
function removeStale(tree: string): void {
  for (const name of readdirSync(tree)) {
    const pid = NAME.exec(name)?.[1];
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) isRemoved(join(tree, name));
  }
}

/** Not while something runs in it. */
function isRemoved(folder: string): boolean {
  try {
    rmdirSync(folder);
    return true;
  } catch {
    return !existsSync(folder);
  }
}
