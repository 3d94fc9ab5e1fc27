/**
 * Runs one program to its end, the only way in which programs of others are started. It gets no variable that is not
 * named, so no key of the Engine; its output is kept to a limit; and when it is over, late or not wanted any more, its
 * whole process group is killed, so that nothing it has started stays behind. Source: engine-runtime, "Sandbox".
 */
import { spawn } from 'node:child_process';

export type Command = {
  /** Program and arguments, no shell. */
  words: string[];
  cwd: string;
  env: Record<string, string>;
  stdin: string;
  timeout_ms: number;
};

/** `exit_code` is null for a program that was killed or could not be started; then `problem` says why. */
export type Ended = { exit_code: number | null; stderr: string; problem?: string };

/** @throws `signal.reason` after an abort, when the program is gone. */
export type RunCommand = (command: Command, signal: AbortSignal) => Promise<Ended>;

/** Kept of what a program says, bytes; what is more is read and dropped, so that it does not block. */
const MAX_OUTPUT = 32 * 1024;

/** After the end of a program its output may be held open by one that has left its group, milliseconds. */
const LAST_WORDS_MS = 1_000;

export const runCommand: RunCommand = async (command, signal) => {
  signal.throwIfAborted();
  const [program = '', ...parameters] = command.words;
  const child = spawn(program, parameters, {
    cwd: command.cwd,
    env: command.env,
    stdio: ['pipe', 'ignore', 'pipe'],
    detached: true,
  });
  const { promise: closed, resolve } = Promise.withResolvers<string | undefined>();
  child.once('error', (error) => resolve(error.message));
  child.once('close', () => resolve(undefined));

  const kill = () => {
    if (child.pid === undefined) return;
    try {
      process.kill(-child.pid, 'SIGKILL');
    } catch {
      // Nobody is left in the group.
    }
  };
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    kill();
  }, command.timeout_ms);
  signal.addEventListener('abort', kill, { once: true });

  const said: Buffer[] = [];
  let left = MAX_OUTPUT;
  child.stderr.on('data', (data: Buffer) => {
    if (left > 0) said.push(data.subarray(0, left));
    left -= data.length;
  });
  // A program may well end without reading what it is given.
  child.stdin.on('error', () => {});
  child.stdin.end(command.stdin);

  let last_words: NodeJS.Timeout | undefined;
  child.once('exit', () => {
    kill();
    last_words = setTimeout(() => child.stderr.destroy(), LAST_WORDS_MS);
  });

  const unstarted = await closed;
  clearTimeout(timer);
  clearTimeout(last_words);
  signal.removeEventListener('abort', kill);
  signal.throwIfAborted();
  const stderr = Buffer.concat(said).toString('utf8');
  if (unstarted !== undefined) return { exit_code: null, stderr, problem: unstarted };
  if (late) return { exit_code: null, stderr, problem: `no end after ${command.timeout_ms / 1000} s` };
  return {
    exit_code: child.exitCode,
    stderr,
    ...(child.signalCode && { problem: `ended by ${child.signalCode}` }),
  };
};
