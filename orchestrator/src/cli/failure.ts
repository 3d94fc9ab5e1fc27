/**
 * How a command fails: a code that scripts can act on, a sentence, what to do, and the exit code of the
 * process. The orchestrator's own codes pass through unchanged; these are the ones that arise on this side.
 */
import { ConfigError } from '../config.ts';
import { ERRORS, isErrorCode, OrchestratorError } from '../errors.ts';
import { EmbeddedPostgresError } from '../registry/embedded_postgres.ts';
import { MissingMasterKey } from '../registry/master_keys.ts';

/** Exit codes of `bap-engine`. */
export const EXIT_CODES = {
  ok: { exit: 0, meaning: 'done, and nothing was found wrong' },
  failed: { exit: 1, meaning: 'refused, failed, or something was found wrong (doctor, audit verify)' },
  usage: { exit: 2, meaning: 'the command line cannot be understood, or --yes is missing' },
  unreachable: { exit: 3, meaning: 'the orchestrator or the database cannot be reached' },
  configuration: { exit: 4, meaning: 'the configuration cannot be used, or the admin key is missing' },
} as const;

export type Ending = keyof typeof EXIT_CODES;

/** What the command line itself can answer with; any other code is the orchestrator's (docs/reference/errors.md). */
const FAILURES = {
  USAGE: 'usage',
  UNREACHABLE: 'unreachable',
  CONFIGURATION: 'configuration',
  UNEXPECTED_ANSWER: 'failed',
  MISSING_MASTER_KEY: 'failed',
  INTERNAL_ERROR: 'failed',
} as const satisfies Record<string, Ending>;

/** A command that did not do what was asked. `message` and `advice` are for people: no secret, no stack. */
export class CommandFailure extends Error {
  override name = 'CommandFailure';
  readonly code: string;
  readonly ending: Ending;
  readonly advice: string | undefined;
  readonly details: Record<string, unknown> | undefined;

  constructor(
    code: keyof typeof FAILURES | (string & {}),
    message: string,
    options: { advice?: string; details?: Record<string, unknown>; cause?: unknown } = {},
  ) {
    super(message, { cause: options.cause });
    this.code = code;
    this.ending = isOurs(code) ? FAILURES[code] : 'failed';
    this.advice = options.advice;
    this.details = options.details;
  }
}

const isOurs = (code: string): code is keyof typeof FAILURES => Object.hasOwn(FAILURES, code);

/** Anything thrown, as a failure. What nobody foresaw keeps its message out of the answer: it may hold a value. */
export function asFailure(error: unknown): CommandFailure {
  if (error instanceof CommandFailure) return error;
  if (error instanceof ConfigError) {
    return new CommandFailure('CONFIGURATION', error.message, { details: { problems: error.problems } });
  }
  if (error instanceof MissingMasterKey) {
    const { engines, engine_ids, answers } = error;
    return new CommandFailure('MISSING_MASTER_KEY', error.message, {
      details: { engines, engine_ids, answers },
      advice: 'Add the key they were sealed with to ORCH_MASTER_KEY, behind the first, and run this again.',
    });
  }
  if (error instanceof EmbeddedPostgresError) return new CommandFailure('UNREACHABLE', error.message);
  if (error instanceof OrchestratorError) {
    if (error.code === 'NOT_READY') {
      return new CommandFailure('UNREACHABLE', error.message, {
        advice: 'Is PostgreSQL up, and is ORCH_DATABASE_URL right? `bap-engine doctor` looks closer.',
      });
    }
    return new CommandFailure(error.code, error.message, {
      details: error.details,
      advice: isErrorCode(error.code) ? ERRORS[error.code].advice : undefined,
    });
  }
  const what = error instanceof Error && 'code' in error ? `${error.name} ${error.code}` : 'an unknown fault';
  return new CommandFailure('INTERNAL_ERROR', `The command failed: ${what}.`, {
    advice: '`bap-engine doctor` looks at everything it needs.',
    cause: error,
  });
}
