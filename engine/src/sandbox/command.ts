/**
 * Runs one program, the only way in which programs of others are started. It gets no variable that is not named, so no
 * key of the Engine; of its output the beginning and the end are kept; and when its time is over, or nobody wants it
 * any more, it is killed together with everything it has started, which is its process group, or its sandbox.
 *
 * In a sandbox a command ends before its world does: what it has left running goes on there. So the end is told by
 * `launch.pl` on a descriptor of its own, and the process that is started here stands for the whole world.
 * Source: engine-runtime, "Sandbox".
 */
import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { createInterface } from 'node:readline';
import { Readable, Writable } from 'node:stream';
import { createKept } from './output.ts';

export type Command = {
  /** Program and arguments, no shell. */
  words: string[];
  cwd: string;
  env: Record<string, string>;
  stdin: string;
  timeout_ms: number;
};

/** Why there is no exit code. `limit`: killed by the watchdog. `unavailable`: not started, as there would be no walls. */
export type Failure = {
  reason: 'timeout' | 'unstarted' | 'limit' | 'unavailable';
  /** In words for the model and the log. */
  message: string;
};

export type Ended = {
  /** Null for a program that was ended by a signal, or that failed. */
  exit_code: number | null;
  signal?: string;
  stdout: string;
  stderr: string;
  failure?: Failure;
};

export type Process = {
  /** Undefined where it could not be started. */
  pid: number | undefined;
  /** When the command has ended; what it left running may still be there. */
  ended: Promise<Ended>;
  /** When nothing of it is there any more. */
  gone: Promise<void>;
  /** Kills all of it. `failure`: what is told of it, where its end was not told yet. */
  kill(failure?: Failure): void;
};

/** The program is bubblewrap; `told`: with `launch.pl` inside. */
export type Walls = { seccomp: Buffer | undefined; told: boolean };

/** Where bubblewrap finds the filter. `launch.pl` tells the end on the next one. */
export const SECCOMP_FD = 3;

/**
 * When a command has ended, its output may still be held open by what it left running. Nothing of its own is on the way
 * any more after so much silence; and where there is none it is heard for so long at most. Milliseconds.
 */
const SILENCE_MS = 50;
const LAST_WORDS_MS = 1_000;

type Outcome = Omit<Ended, 'stdout' | 'stderr'>;

/** Starts a program. It goes on, whatever becomes of the caller, until it ends or is killed. */
export function start(command: Command, walls?: Walls): Process {
  const [program = '', ...parameters] = command.words;
  const child = spawn(program, parameters, {
    cwd: command.cwd,
    env: command.env,
    stdio: ['pipe', 'pipe', 'pipe', ...(walls === undefined ? [] : (['pipe', 'pipe'] as const))],
    detached: true,
  });
  const [stdin, stdout, stderr, filter, status] = child.stdio;
  const ended = Promise.withResolvers<Ended>();
  const gone = Promise.withResolvers<void>();
  const said = [hear(stdout), hear(stderr)] as const;

  let outcome: Outcome | undefined;
  /** Who is first to know what came of it is believed. */
  const finish = (how: Outcome) => {
    if (outcome !== undefined) return;
    outcome = how;
    clearTimeout(late);
    Promise.race([gone.promise, silence(said)]).then(() => {
      ended.resolve({ ...how, stdout: said[0].stop(), stderr: said[1].stop() });
    });
  };
  const fail = (failure: Failure) => finish({ exit_code: null, failure });
  const kill = (failure?: Failure) => {
    if (failure !== undefined) fail(failure);
    killGroup(child.pid);
  };
  const late = setTimeout(
    () => kill({ reason: 'timeout', message: `no end after ${command.timeout_ms / 1000} s` }),
    command.timeout_ms,
  );

  child.once('error', (error) => fail({ reason: 'unstarted', message: error.message }));
  child.once('exit', (code, signal) => {
    // Without walls some of its group may be left; they end with it.
    killGroup(child.pid);
    if (walls?.told !== true) finish(signal === null ? { exit_code: code } : { exit_code: null, signal });
  });
  child.once('close', () => {
    // The end of a command is told before that of its world; where nothing was told, it never began.
    const said_instead = said[1].text().trim().slice(0, 500);
    fail({ reason: 'unavailable', message: `the sandbox could not be made: ${said_instead}` });
    gone.resolve();
  });
  if (status instanceof Readable) {
    createInterface({ input: status }).once('line', (line) => finish(toldOutcome(line)));
  }
  if (filter instanceof Writable) give(filter, walls?.seccomp ?? '');
  if (stdin instanceof Writable) give(stdin, command.stdin);

  return { pid: child.pid, ended: ended.promise, gone: gone.promise, kill };
}

/** Runs a program to its end, without walls, and leaves nothing running. @throws `signal.reason` after an abort. */
export async function runCommand(command: Command, signal: AbortSignal): Promise<Ended> {
  signal.throwIfAborted();
  const running = start(command);
  return untilEnded(running, signal);
}

/** @throws `signal.reason` after an abort, when the command has been killed. */
export async function untilEnded(running: Process, signal: AbortSignal): Promise<Ended> {
  const kill = () => running.kill();
  signal.addEventListener('abort', kill, { once: true });
  if (signal.aborted) kill();
  const ended = await running.ended;
  signal.removeEventListener('abort', kill);
  signal.throwIfAborted();
  return ended;
}

/** What `launch.pl` tells, in one line. */
function toldOutcome(line: string): Outcome {
  const [, word = '', rest = ''] = /^(\w+) (.*)$/.exec(line) ?? [];
  if (word === 'exit') return { exit_code: Number(rest) };
  if (word === 'signal') return { exit_code: null, signal: signalName(Number(rest)) };
  const reason = word === 'unstarted' ? 'unstarted' : 'unavailable';
  return { exit_code: null, failure: { reason, message: rest } };
}

const signalName = (number: number) =>
  Object.entries(constants.signals).find(([, value]) => value === number)?.[0] ?? `signal ${number}`;

type Heard = { last_at: () => number; text(): string; stop(): string };

/** Keeps what a stream says until it is stopped; what comes then is read and dropped, so that no writer blocks. */
function hear(stream: unknown): Heard {
  const kept = createKept();
  let stopped = false;
  let last_at = performance.now();
  if (stream instanceof Readable) {
    stream.on('data', (data: Buffer) => {
      last_at = performance.now();
      if (!stopped) kept.add(data);
    });
  }
  return {
    last_at: () => last_at,
    text: () => kept.text(),
    stop() {
      stopped = true;
      return kept.text();
    },
  };
}

/** Resolves when nothing was said for a while. */
function silence(said: readonly Heard[]): Promise<void> {
  const since = performance.now();
  return new Promise((resolve) => {
    const timer = setInterval(() => {
      const now = performance.now();
      const quiet = said.every(({ last_at }) => now - Math.max(last_at(), since) >= SILENCE_MS);
      if (!quiet && now - since < LAST_WORDS_MS) return;
      clearInterval(timer);
      resolve();
    }, SILENCE_MS / 2);
  });
}

/** A program may well end without reading what it is given. */
function give(stream: Writable, data: Buffer | string): void {
  stream.on('error', () => {});
  stream.end(data);
}

function killGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // Nobody is left in the group.
  }
}
