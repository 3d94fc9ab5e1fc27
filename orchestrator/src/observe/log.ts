import { renameSync, statSync } from 'node:fs';
import { type DestinationStream, type Logger, pino } from 'pino';

export type Log = Logger;

/**
 * JSON lines, one per event. Keys and the content of requests are never given to it; there is nothing to
 * redact. `destination`: standard output, or a file.
 */
export function createLog(level: string, destination: DestinationStream): Log {
  return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime }, destination);
}

/** Above this the log of earlier runs is put aside when a new one opens it, bytes. */
const MAX_LOG_BYTES = 10 * 2 ** 20;

/**
 * A log that appends to `file`, mode 0600. One that has grown large goes to `{file}.1` first, in place of
 * the one before. Written synchronously: the last lines before a crash are the ones wanted.
 */
export function openLogFile(file: string, level: string): Log {
  const size = statSync(file, { throwIfNoEntry: false })?.size ?? 0;
  if (size > MAX_LOG_BYTES) renameSync(file, `${file}.1`);
  return createLog(level, pino.destination({ dest: file, append: true, mode: 0o600, sync: true }));
}
