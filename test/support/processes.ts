import { readdir, readFile } from 'node:fs/promises';

export type Process = { pid: number; command: string };

/**
 * Every living process that belongs to a data folder: its path stands in the command line or the environment,
 * or the process descends from one where it does. What `ps` would show; Linux only.
 */
export async function processesOf(folder: string): Promise<Process[]> {
  const all = await Promise.all(
    (await readdir('/proc'))
      .filter((name) => /^\d+$/.test(name))
      .map((name) => inspect(Number(name), folder)),
  );
  const living = all.filter((p) => p !== null);
  const ours = new Set(living.filter((p) => p.mentions).map((p) => p.pid));
  for (let grown = true; grown; ) {
    const children = living.filter((p) => !ours.has(p.pid) && ours.has(p.parent));
    for (const child of children) ours.add(child.pid);
    grown = children.length > 0;
  }
  return living.filter((p) => ours.has(p.pid)).map(({ pid, command }) => ({ pid, command }));
}

/** Null for a process that is gone, or dead and only not yet collected by its parent. */
async function inspect(pid: number, folder: string) {
  try {
    const [command, environment, stat] = await Promise.all([
      readFile(`/proc/${pid}/cmdline`, 'utf8'),
      readFile(`/proc/${pid}/environ`, 'utf8').catch(() => ''),
      readFile(`/proc/${pid}/stat`, 'utf8'),
    ]);
    const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (state === 'Z' || state === 'X') return null;
    const mentions = pid !== process.pid && (command.includes(folder) || environment.includes(folder));
    return { pid, parent: Number(parent), command: command.replaceAll('\0', ' ').trim(), mentions };
  } catch {
    return null;
  }
}
