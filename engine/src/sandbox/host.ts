/**
 * What this machine has for walls. It cannot be told from versions: within a container bubblewrap may be installed and
 * forbidden, a new process file system refused, or the filter not loaded. So it is tried, the best first.
 */
import { accessSync, constants } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import { bubblewrapArguments } from './bubblewrap.ts';
import { type Command, runCommand, SECCOMP_FD, start, untilEnded } from './command.ts';
import { findGroups, type Groups } from './group.ts';
import { systemPlaces } from './places.ts';
import { seccompFilter } from './seccomp.ts';

export type Host = {
  bubblewrap: string;
  proc: 'own' | 'none';
  /** Undefined where the machine is not known. */
  seccomp: Buffer | undefined;
  /** What runs `launch.pl`; without it there are no limits, no file rules and no network. */
  perl: string | undefined;
  landlock: boolean;
  /** Where control groups can be made for the number of processes; undefined where none are needed or allowed. */
  groups: Groups | undefined;
  /** Whether the kernel counts the threads of a sandbox by themselves. */
  threads_counted: boolean;
};

const PERL = '/usr/bin/perl';

/** A probe does next to nothing; a machine under load may take its time. Milliseconds. */
const PROBE_MS = 20_000;

const probe = (words: string[]): Command => ({ words, cwd: '/', env: {}, stdin: '', timeout_ms: PROBE_MS });

/** @returns why there can be no sandbox, for whoever could mend it. `path`: where programs are looked for. */
export async function findHost(path: string, node: string): Promise<Host | { reason: string }> {
  const { signal } = new AbortController();
  const bubblewrap = path
    .split(':')
    .map((folder) => join(folder, 'bwrap'))
    .find(isExecutable);
  if (bubblewrap === undefined) return { reason: 'bubblewrap is not installed' };
  const seccomp = seccompFilter(process.arch);
  // Without a filter the machine is not known, and `launch.pl` has no numbers for it either.
  const perl = seccomp !== undefined && isExecutable(PERL) ? PERL : undefined;
  const landlock = perl !== undefined && (await hasLandlock(perl, signal));
  const places = systemPlaces(node);

  const groups = findGroups();

  let reason = '';
  for (const proc of ['own', 'none'] as const) {
    const words = [
      bubblewrap,
      ...bubblewrapArguments({ places, proc, cwd: '/' }, seccomp && SECCOMP_FD),
      'true',
    ];
    const tried = await untilEnded(start(probe(words), { seccomp, told: false }), signal);
    if (tried.exit_code === 0)
      return { bubblewrap, proc, seccomp, perl, landlock, groups, threads_counted: isAtLeast(5, 14) };
    reason = tried.failure?.message ?? tried.stderr.trim().slice(0, 300);
  }
  return { reason: `bubblewrap cannot work here: ${reason}` };
}

async function hasLandlock(perl: string, signal: AbortSignal): Promise<boolean> {
  const asked = 'exit(syscall(444, 0, 0, 1) > 0 ? 0 : 1)';
  return (await runCommand(probe([perl, '-e', asked]), signal)).exit_code === 0;
}

function isAtLeast(major: number, minor: number): boolean {
  const [has_major = 0, has_minor = 0] = release().split('.').map(Number);
  return has_major > major || (has_major === major && has_minor >= minor);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
