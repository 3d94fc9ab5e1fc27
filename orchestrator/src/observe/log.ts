import { renameSync, statSync } from 'node:fs';
import { type DestinationStream, type Logger, type LoggerOptions, pino } from 'pino';

export type Log = Logger;

/**
 * JSON lines, one per event. Keys and the content of requests are never given to it; there is nothing to
 * redact. `destination`: standard output, or a file.
 */
export function createLog(
  level: string,
  destination: DestinationStream,
  hooks: LoggerOptions['hooks'] = {},
): Log {
  return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime, hooks }, destination);
}

/** Lines wait for each other until they are so many bytes, or for so long: a write for each takes longer than the line. */
const WRITTEN_TOGETHER_BYTES = 4096;
const WRITTEN_AFTER_MS = 100;
/** From this level on a line, and what waits before it, is written at once. */
const URGENT = pino.levels.values.warn ?? 0;

/**
 * A log that goes to a file descriptor. However the process ends by itself, nothing is lost; a `kill -9` takes the
 * last everyday lines along, at most `WRITTEN_AFTER_MS` of them.
 */
export function openLog(fd: number, level: string): Log {
  const destination = pino.destination({
    dest: fd,
    sync: false,
    minLength: WRITTEN_TOGETHER_BYTES,
    periodicFlush: WRITTEN_AFTER_MS,
  });
  return createLog(level, destination, {
    logMethod(this: Log, args: Parameters<pino.LogFn>, method: pino.LogFn, severity: number) {
      method.apply(this, args);
      if (severity >= URGENT) destination.flush();
    },
  });
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
