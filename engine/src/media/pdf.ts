import { oneAtATime, readInWorker, Unreadable } from './worker.ts';

/**
 * The text of a PDF, for models that cannot read one. A PDF is a program of a stranger's, so it is read as worker.ts
 * has it, one at a time.
 */
export type PdfReader = {
  /** Text with the number of each page before it. @throws Unreadable; its message says why. */
  text(data: Uint8Array): Promise<string>;
};

/** A page takes about 10 ms; this is for hundreds, on a busy machine. */
const TIME_LIMIT_MS = 30_000;

export function createPdfReader(limits = { time_ms: TIME_LIMIT_MS }): PdfReader {
  const inTurn = oneAtATime();
  return {
    text: (data) =>
      inTurn(async () => {
        const text = await readInWorker<string>({
          script: new URL('./pdf_worker.ts', import.meta.url),
          data,
          time_ms: limits.time_ms,
          broken: 'cannot be read: it is damaged, locked, or no PDF',
        });
        if (text === '') throw new Unreadable('has no text in it; send its pages as images');
        return text;
      }),
  };
}
