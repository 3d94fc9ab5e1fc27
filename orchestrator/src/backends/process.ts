/**
 * Processes that outlive the program that started them.
 *
 * The problem: after a restart of the orchestrator an engine is nobody's child, and its process id may by
 * then belong to something else. The rule: a process is known by its id *and* the moment it started; both
 * are read from the system, never remembered as a handle. Without the moment a recycled id would be taken
 * for an engine, and killed in its place.
 */
import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';

/** How often a process that is to end is looked at, milliseconds. */
const POLL_MS = 20;
/** After SIGKILL only the kernel stands between a process and its end, milliseconds. */
const KILL_TIMEOUT_MS = 5_000;
/** After SIGSTOP too, milliseconds. */
const FREEZE_TIMEOUT_MS = 5_000;

export type ProcessIdentity = { pid: number; started: string };

const run = promisify(execFile);

/** When the process with this id started, in the system's own words; null when there is none (or only its corpse). */
export async function startOf(pid: number): Promise<string | null> {
  return (await look(pid))?.started ?? null;
}

/** What the system tells of a process; null when there is none (or only its corpse). */
async function look(pid: number): Promise<{ started: string; frozen: boolean } | null> {
  if (process.platform !== 'linux') return await lookByPs(pid);
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
    // The name, in parentheses, may hold anything; the fields after it are plain: state is the 3rd, start the 22nd.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (fields[0] === 'Z' || fields[0] === 'X') return null;
    // Counted from the machine's boot, so the boot belongs to it.
    const boot = await readFile('/proc/sys/kernel/random/boot_id', 'utf8');
    return { started: `${boot.trim()}/${fields[19]}`, frozen: fields[0] === 'T' };
  } catch (error) {
    if (isSystemError(error, 'ENOENT', 'ESRCH')) return null;
    throw error;
  }
}

async function lookByPs(pid: number): Promise<{ started: string; frozen: boolean } | null> {
  try {
    const { stdout } = await run('ps', ['-o', 'stat=,lstart=', '-p', String(pid)], { env: { LC_ALL: 'C' } });
    const line = stdout.trim();
    if (line === '' || line.startsWith('Z')) return null;
    return { started: line.replace(/^\S+\s+/, ''), frozen: line.startsWith('T') };
  } catch (error) {
    // Exit code 1: no such process.
    if (error instanceof Error && 'code' in error && error.code === 1) return null;
    throw error;
  }
}

export async function isAlive({ pid, started }: ProcessIdentity): Promise<boolean> {
  return (await startOf(pid)) === started;
}

/** Whether a process stands still, and has got no time since (SIGSTOP). */
export async function isFrozen({ pid, started }: ProcessIdentity): Promise<boolean> {
  const seen = await look(pid);
  return seen?.started === started && seen.frozen;
}

/**
 * Makes a process that leads its own group stand still, and the group with it. Returns once it does, or is
 * gone, or is `wanted` no more: another may let it go on before we have seen it stand.
 */
export async function freeze(identity: ProcessIdentity, wanted: () => Promise<boolean>): Promise<void> {
  if (!(await isAlive(identity))) return;
  signalGroup(identity.pid, 'SIGSTOP');
  const until = performance.now() + FREEZE_TIMEOUT_MS;
  while ((await isAlive(identity)) && !(await isFrozen(identity)) && (await wanted())) {
    if (performance.now() >= until) throw new Error(`process ${identity.pid} does not stand still`);
    await delay(POLL_MS);
  }
}

/** Lets it go on. Nothing happens to one that was not frozen. */
export async function thaw(identity: ProcessIdentity): Promise<void> {
  if (await isAlive(identity)) signalGroup(identity.pid, 'SIGCONT');
}

/** The processes of this machine that have an argument beginning with `prefix`, and that argument. */
export async function findByArgument(prefix: string): Promise<{ pid: number; argument: string }[]> {
  const commands = process.platform === 'linux' ? await commandsByProc() : await commandsByPs();
  return commands.flatMap(({ pid, args }) => {
    const argument = args.find((arg) => arg.startsWith(prefix));
    return argument === undefined ? [] : [{ pid, argument }];
  });
}

async function commandsByProc() {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  return await Promise.all(
    pids.map(async (pid) => {
      // A process may end between the two reads, or be nobody's business.
      const line = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
      return { pid: Number(pid), args: line.split('\0') };
    }),
  );
}

async function commandsByPs() {
  const { stdout } = await run('ps', ['-axo', 'pid=,command='], { maxBuffer: 64 * 2 ** 20 });
  return stdout.split('\n').map((line) => {
    const [pid, ...args] = line.trim().split(/\s+/);
    return { pid: Number(pid), args };
  });
}

/**
 * Ends a process that leads its own group, and the group with it: SIGTERM, after `grace_ms` SIGKILL. Returns
 * when it is gone, also when it is not our child; throws when the kernel will not let it go.
 */
export async function terminate(identity: ProcessIdentity, grace_ms: number): Promise<void> {
  if (!(await isAlive(identity))) return;
  signalGroup(identity.pid, 'SIGTERM');
  // A frozen one would not hear it.
  signalGroup(identity.pid, 'SIGCONT');
  const gone = await endsWithin(identity, grace_ms);
  // Also after a good end: what it started may still be there.
  signalGroup(identity.pid, 'SIGKILL');
  if (!gone && !(await endsWithin(identity, KILL_TIMEOUT_MS))) {
    throw new Error(`process ${identity.pid} does not end`);
  }
}

async function endsWithin(identity: ProcessIdentity, limit_ms: number): Promise<boolean> {
  const until = performance.now() + limit_ms;
  while (await isAlive(identity)) {
    if (performance.now() >= until) return false;
    await delay(POLL_MS);
  }
  return true;
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch (error) {
    if (!isSystemError(error, 'ESRCH')) throw error;
  }
}

export function isSystemError(error: unknown, ...codes: string[]): boolean {
  return (
    error instanceof Error && 'code' in error && typeof error.code === 'string' && codes.includes(error.code)
  );
}
