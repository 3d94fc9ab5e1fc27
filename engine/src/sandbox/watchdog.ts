/**
 * Looks after what the kernel's limits of one process do not cover: many processes, the memory of all together, the
 * memory that belongs to no process, a full disk. It looks at all sandboxes a few times a second, for as long as there
 * is one, and kills the one that takes too much, whole: which of its processes is to blame nobody can say, and while
 * one is killed another is started. Source: engine-runtime, "Sandbox".
 */
import { readdirSync, readFileSync, statfsSync } from 'node:fs';
import type { Process } from './command.ts';
import type { Limits } from './limits.ts';
import { availableMemory } from './own_group.ts';

/** Between two looks, milliseconds: what a bomb can do meanwhile is bounded by the limits of its processes. */
const INTERVAL_MS = 200;

export type Watchdog = { watch(running: Process, folders: string[]): void };

type Watched = { process: Process & { pid: number }; disks: { folder: string; free_before: number }[] };

export function createWatchdog(limits: Limits): Watchdog {
  const watched = new Set<Watched>();
  let timer: NodeJS.Timeout | undefined;

  function look(): void {
    const trees = processTrees(new Set([...watched].map(({ process }) => process.pid)));
    const short_of_memory = availableMemory() < limits.free_memory_bytes;
    for (const sandbox of watched) {
      const taken = trees.get(sandbox.process.pid) ?? { threads: 0, memory_bytes: 0 };
      const problem = short_of_memory ? 'the machine has no memory left' : tooMuch(taken, sandbox);
      if (problem !== undefined) {
        sandbox.process.kill({ reason: 'limit', message: `killed with all it had started: ${problem}` });
      }
    }
  }

  function tooMuch({ threads, memory_bytes }: Taken, { disks }: Watched): string | undefined {
    if (threads > limits.threads) return `more than ${limits.threads} processes and threads`;
    if (memory_bytes > limits.memory_bytes)
      return `more than ${mebibytes(limits.memory_bytes)} MiB of memory`;
    for (const { folder, free_before } of disks) {
      const free = freeBytes(folder);
      if (free < limits.free_disk_bytes && free < free_before) {
        return `less than ${mebibytes(limits.free_disk_bytes)} MiB left on the disk of ${folder}`;
      }
    }
    return undefined;
  }

  return {
    watch(running, folders) {
      const { pid } = running;
      if (pid === undefined) return;
      const disks = folders.map((folder) => ({ folder, free_before: freeBytes(folder) }));
      const sandbox = { process: { ...running, pid }, disks };
      watched.add(sandbox);
      timer ??= setInterval(look, INTERVAL_MS);
      running.gone.then(() => {
        watched.delete(sandbox);
        if (watched.size > 0) return;
        clearInterval(timer);
        timer = undefined;
      });
    },
  };
}

type Taken = { threads: number; memory_bytes: number };

/** What the processes that stem from each of `roots` take; who loses his parent in a sandbox gets its first process. */
function processTrees(roots: Set<number>): Map<number, Taken> {
  const found = new Map(readdirSync('/proc').flatMap((name) => statOf(Number(name))));
  const root_of = new Map<number, number | undefined>();
  const rootOf = (pid: number): number | undefined => {
    if (roots.has(pid)) return pid;
    if (root_of.has(pid)) return root_of.get(pid);
    // Also ends a circle, which numbers that were given anew meanwhile might make.
    root_of.set(pid, undefined);
    const parent = found.get(pid)?.parent;
    const root = parent === undefined ? undefined : rootOf(parent);
    root_of.set(pid, root);
    return root;
  };
  const trees = new Map<number, Taken>();
  for (const [pid, { threads, memory_bytes }] of found) {
    const root = rootOf(pid);
    if (root === undefined) continue;
    const taken = trees.get(root) ?? { threads: 0, memory_bytes: 0 };
    trees.set(root, { threads: taken.threads + threads, memory_bytes: taken.memory_bytes + memory_bytes });
  }
  return trees;
}

/** Of the machines we run on. */
const PAGE_BYTES = 4_096;

function statOf(pid: number): [number, Taken & { parent: number }][] {
  if (Number.isNaN(pid)) return [];
  try {
    // The name of the program stands in parentheses and may hold anything; fields are counted behind it.
    const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').replace(/^.*\)/s, '').trim().split(' ');
    const [parent, threads, pages] = [fields[1], fields[17], fields[21]].map(Number);
    return [[pid, { parent: parent ?? 0, threads: threads ?? 0, memory_bytes: (pages ?? 0) * PAGE_BYTES }]];
  } catch {
    // Gone meanwhile.
    return [];
  }
}

/** A folder that is not there any more has nothing that could be filled. */
function freeBytes(folder: string): number {
  try {
    const { bavail, bsize } = statfsSync(folder);
    return bavail * bsize;
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}

const mebibytes = (bytes: number) => Math.round(bytes / (1024 * 1024));
