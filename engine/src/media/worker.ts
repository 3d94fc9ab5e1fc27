/**
 * Reads one file of a stranger's in a thread of its own.
 *
 * A file can be a program: it can keep a reader busy for hours, fill the memory, or break the reader itself, and the
 * Engine has one thread, on which all turns stream. So it is read in a worker that is ended when it takes too long or
 * too much. What is wrong with the file is its sender's to know, and is no failure of ours.
 */
import { Worker } from 'node:worker_threads';

/** Its message goes on after the name of the file: "is damaged". */
export class Unreadable extends Error {
  override name = 'Unreadable';
}

export type Reading = {
  /** The module that reads; it gets `data` as `workerData`, posts one message and bounds what that holds. */
  script: URL;
  data: unknown;
  time_ms: number;
  /** What a file is that breaks its reader. */
  broken: string;
};

/** Enough for a file of some hundred pages. */
const MEMORY_LIMIT_MB = 512;

/** @returns what the worker has posted. @throws Unreadable */
export async function readInWorker<Told>({ script, data, time_ms, broken }: Reading): Promise<Told> {
  const worker = new Worker(script, {
    workerData: data,
    // Nothing of the Engine's configuration, keys least of all, is the file's business.
    env: {},
    stdout: true,
    stderr: true,
    resourceLimits: { maxOldGenerationSizeMb: MEMORY_LIMIT_MB },
  });
  // What the reader has to say about the file is of no use, and could be endless.
  worker.stdout.resume();
  worker.stderr.resume();
  const { promise: outcome, resolve, reject } = Promise.withResolvers<Told>();
  worker.once('message', resolve);
  worker.once('error', () => reject(new Unreadable(broken)));
  const timer = setTimeout(
    () => reject(new Unreadable(`takes longer than ${time_ms / 1000} s to read`)),
    time_ms,
  );
  try {
    return await outcome;
  } finally {
    clearTimeout(timer);
    await worker.terminate();
  }
}

/** Work that is done one at a time, in the order in which it came, whatever became of that before it. */
export function oneAtATime(): <Result>(work: () => Promise<Result>) => Promise<Result> {
  let last: Promise<unknown> = Promise.resolve();
  return (work) => {
    const done = last.then(work);
    last = done.catch(() => undefined);
    return done;
  };
}
