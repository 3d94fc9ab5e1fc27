/**
 * Runs ripgrep, which looks through a gigabyte in the time JavaScript has for some megabytes.
 *
 * It runs as the Engine, on words that a model chose, over files that anybody may have written. So: no word can become
 * an option (each is the value of one, behind `=`), no configuration and no variable of the Engine reaches it, it
 * starts in a folder that is open and follows no link from there, and its memory is limited, because it keeps whole
 * lines and a file may be one line of many gigabytes. Source: engine-runtime, "Platform tools", "Sandbox".
 */
import { spawn } from 'node:child_process';

/** Address space, KiB. Lines are kept twice while they grow: one of 300 MiB does not fit. */
const MEMORY_KIB = 512 * 1024;

/** Processor time, seconds: an end also when the Engine is killed and cannot set one. */
const CPU_S = 60;

/** Milliseconds; well below what a tool has. */
const RUN_MS = 30_000;

/** Kept of what it complains about, bytes; the model reads it. */
const MAX_COMPLAINT = 2_000;

/**
 * Which files are looked at, by all tools alike: hidden ones too, but not what `.gitignore` and `.ignore` below the
 * folder leave out, nor git's own; rules from outside of the folder do not count. A name with a line break in it would
 * make two lines of one in the output.
 */
const WHICH_FILES = [
  '--hidden',
  '--no-require-git',
  '--no-ignore-parent',
  '--no-ignore-global',
  '--sort=path',
  '--glob=!.git',
  '--glob=!*\n*',
];

export type RipgrepRun = {
  /** Options that come before those for all; a positive `--glob` has to. */
  options: string[];
  /** An open folder, or an open file. */
  where: { folder: string } | { file: number };
  /** Gets each line of output, without its end; false ends the run. */
  onLine(line: string): boolean;
  signal: AbortSignal;
};

/**
 * `complaint`: what is wrong with the options, in ripgrep's words. `stopped`: why not everything was looked at, though
 * `onLine` wanted it.
 * @throws `signal.reason` after an abort, when it is gone.
 */
export type RipgrepEnd = { complaint?: string; stopped?: string };

export async function ripgrep({ options, where, onLine, signal }: RipgrepRun): Promise<RipgrepEnd> {
  signal.throwIfAborted();
  const { rgPath } = await import('@vscode/ripgrep');
  const words = ['--no-config', '--no-messages', '--color=never', ...options, ...WHICH_FILES];
  const limits = `ulimit -t ${CPU_S} 2>/dev/null; ulimit -v ${MEMORY_KIB} 2>/dev/null`;
  const child = spawn(
    '/bin/sh',
    ['-c', `${limits}; exec "$0" "$@"`, rgPath, ...words, '--', 'file' in where ? '-' : './'],
    {
      cwd: 'file' in where ? '/' : where.folder,
      env: {},
      stdio: ['file' in where ? where.file : 'ignore', 'pipe', 'pipe'],
    },
  );
  const { promise: closed, resolve, reject } = Promise.withResolvers<void>();
  child.once('error', reject);
  child.once('close', () => resolve());
  if (child.stdout === null || child.stderr === null) throw new Error('ripgrep has no output');

  const late = AbortSignal.timeout(RUN_MS);
  const over = AbortSignal.any([signal, late]);
  const kill = () => child.kill('SIGKILL');
  over.addEventListener('abort', kill, { once: true });

  let is_enough = false;
  let begun = '';
  child.stdout.setEncoding('utf8').on('data', (data: string) => {
    const lines = (begun + data).split('\n');
    begun = lines.pop() ?? '';
    for (const line of lines) {
      is_enough ||= !onLine(line);
      if (is_enough) return kill();
    }
  });
  let complaint = '';
  child.stderr.setEncoding('utf8').on('data', (data: string) => {
    complaint = (complaint + data).slice(0, MAX_COMPLAINT);
  });

  try {
    await closed;
  } finally {
    over.removeEventListener('abort', kill);
  }
  signal.throwIfAborted();
  if (is_enough) return {};
  if (late.aborted) return { stopped: `it took longer than ${RUN_MS / 1000} s` };
  if (child.signalCode !== null) return { stopped: 'a line is too long to be looked at' };
  // Files that cannot be read make it fail too, silently.
  return child.exitCode === 2 && complaint !== '' ? { complaint: complaint.trim() } : {};
}
