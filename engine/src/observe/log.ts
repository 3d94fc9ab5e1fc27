import pino from 'pino';
import type { Scrubber } from '../secrets/scrubber.ts';

/**
 * One JSON line per record on stdout. Source: operations, "Logs, metrics, events, traces".
 *
 * A record carries what its caller names and nothing else: no request body, no header, no key; and what its caller did
 * not know to be a secret, in the message of an error for one, is taken out of it. Where an
 * orchestrator reads the other end of stdout and dies, writing goes on into nothing (pino drops EPIPE) and
 * the Engine lives.
 */
export type Log = {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** The same log under the name of another component, e.g. `engine_core.coordinator`. */
  named(logger: string): Log;
};

/** `extra` holds the fields by kind of record. */
export type LogFields = { request_id?: string; task_id?: string; extra?: Record<string, unknown> };

export const LOG_LEVELS = ['DEBUG', 'INFO', 'WARNING', 'ERROR'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

const PINO_LEVELS = { DEBUG: 'debug', INFO: 'info', WARNING: 'warn', ERROR: 'error' } as const;
const OUR_LEVELS: Record<string, LogLevel> = {
  debug: 'DEBUG',
  info: 'INFO',
  warn: 'WARNING',
  error: 'ERROR',
};

export function createLog(level: LogLevel, secrets: Pick<Scrubber, 'text' | 'value'>): Log {
  const root = pino({
    level: PINO_LEVELS[level],
    base: null,
    messageKey: 'message',
    timestamp: () => `,"timestamp":"${new Date().toISOString()}"`,
    formatters: { level: (label) => ({ level: OUR_LEVELS[label] ?? label }) },
  });
  const named = (logger: string): Log => {
    const write =
      (at: 'debug' | 'info' | 'warn' | 'error') =>
      (message: string, fields: LogFields = {}) => {
        if (root.isLevelEnabled(at)) root[at]({ logger, ...secrets.value(fields) }, secrets.text(message));
      };
    return { debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error'), named };
  };
  return named('engine');
}

/** An error as log fields. The stack is for the operator's log only; it never reaches a caller. */
export function errorFields(error: unknown): Record<string, unknown> {
  return error instanceof Error
    ? {
        error: error.message,
        stack: error.stack,
        cause: error.cause === undefined ? undefined : String(error.cause),
      }
    : { error: String(error) };
}
