/**
 * What the control group that this process was put into allows it, in a container above all. Node.js knows the limit of
 * memory, but counts as taken what the kernel keeps of files that were read or written: a command that writes a large
 * file would seem to use up all there is, though the kernel gives that back whenever somebody needs it.
 * Source: engine-runtime, "Sandbox".
 */
import { readFileSync } from 'node:fs';
import { totalmem } from 'node:os';
import { join } from 'node:path';

/** Where the kernel tells it; another place in tests. */
export type GroupFiles = { tree: string; membership: string };

const HERE: GroupFiles = { tree: '/sys/fs/cgroup', membership: '/proc/self/cgroup' };

/** How many processes and threads may run here in all. */
export function threadsAllowed(files = HERE): number {
  // The word for no limit is `max`.
  return Number(read(files, 'pids', 'pids.max') ?? 'max') || Number.POSITIVE_INFINITY;
}

/** Memory that can still be had, bytes. */
export function availableMemory(): number {
  const available = process.availableMemory();
  const limit = process.constrainedMemory();
  return limit > 0 && limit < totalmem() ? available + keptOfFiles() : available;
}

/** What the kernel could give back at once, bytes. */
export function keptOfFiles(files = HERE): number {
  const told = read(files, 'memory', 'memory.stat') ?? '';
  const kept = [...told.matchAll(/^(?:in)?active_file (\d+)$/gm)];
  return kept.reduce((sum, [, bytes]) => sum + Number(bytes), 0);
}

/**
 * Version 2 of control groups has one tree, version 1 one for each controller. In a container the tree may begin at the
 * group itself, though it is named by its way from the host's root.
 */
function read({ tree, membership }: GroupFiles, controller: string, name: string): string | undefined {
  const lines = text(membership)?.split('\n') ?? [];
  for (const line of lines) {
    const [, controllers = '', way = ''] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    if (controllers !== '' && !controllers.split(',').includes(controller)) continue;
    const top = controllers === '' ? tree : join(tree, controller);
    const told = text(join(top, way, name)) ?? text(join(top, name));
    if (told !== undefined) return told;
  }
  return undefined;
}

function text(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    // This machine has no such thing.
    return undefined;
  }
}
