import { Worker } from 'node:worker_threads';

/**
 * The text of a PDF, for models that cannot read one.
 *
 * A PDF is a program of a stranger's: it can keep a reader busy for hours or fill the memory, and the Engine
 * has one thread, on which all turns stream. So it is read in a worker that is ended when it takes too long or
 * too much, one at a time. What is wrong with the file is the sender's to know, and is no failure of ours.
 */
export class UnreadablePdf extends Error {
  override name = 'UnreadablePdf';
}

export type PdfReader = {
  /** Text with the number of each page before it. @throws UnreadablePdf; its message says why. */
  text(data: Uint8Array): Promise<string>;
};

/** A page takes about 10 ms; this is for hundreds, on a busy machine. */
const TIME_LIMIT_MS = 30_000;
const MEMORY_LIMIT_MB = 512;

export function createPdfReader(limits = { time_ms: TIME_LIMIT_MS }): PdfReader {
  let last: Promise<unknown> = Promise.resolve();
  return {
    text(data) {
      const reading = last.then(() => read(data, limits.time_ms));
      last = reading.catch(() => undefined);
      return reading;
    },
  };
}

async function read(data: Uint8Array, time_ms: number): Promise<string> {
  const worker = new Worker(new URL('./pdf_worker.ts', import.meta.url), {
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
  const { promise: outcome, resolve, reject } = Promise.withResolvers<string>();
  worker.once('message', resolve);
  worker.once('error', () => reject(new UnreadablePdf('cannot be read: it is damaged, locked, or no PDF')));
  const timer = setTimeout(
    () => reject(new UnreadablePdf(`takes longer than ${time_ms / 1000} s to read`)),
    time_ms,
  );
  try {
    const text = await outcome;
    if (text === '') throw new UnreadablePdf('has no text in it; send its pages as images');
    return text;
  } finally {
    clearTimeout(timer);
    await worker.terminate();
  }
}
