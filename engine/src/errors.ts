import type { EngineErrorBody } from '@september/contract';

/**
 * Every error an Engine can answer, once. `status` is null where the code only ever comes inside a stream,
 * whose HTTP status is already 200. `retry` is the advice the documents print. Source: engine-api, "Errors".
 */
export const ERRORS = {
  INVALID_REQUEST: { status: 400, retry: 'no, fix the request' },
  INVALID_KEY: { status: 401, retry: 'no, fix the key' },
  KEY_ROTATION_PENDING: { status: 401, retry: 'yes, with the new key' },
  TASK_NOT_FOUND: { status: 404, retry: 'no' },
  NOT_FOUND: { status: 404, retry: 'no' },
  TASK_BUSY: { status: 409, retry: 'after the turn ends, or attach with Last-Event-ID' },
  HITL_REQUIRED: { status: 409, retry: 'no, call /hitl/respond first' },
  CONTEXT_OVERFLOW: { status: 422, retry: 'no, start a new task or trim' },
  VALIDATION_ERROR: { status: 422, retry: 'no' },
  LLM_RATE_LIMITED: { status: 429, retry: 'yes, exponential backoff from 1 s' },
  INTERNAL_ERROR: { status: 500, retry: 'once, then report' },
  LLM_PROVIDER_ERROR: { status: 502, retry: 'once, then surface' },
  MIGRATION_REQUIRED: { status: 503, retry: 'no, operator' },
  NOT_READY: { status: 503, retry: 'yes, after Retry-After' },
  LLM_TIMEOUT: { status: 504, retry: 'once' },
  HITL_EXPIRED: { status: null, retry: 'no, send a new message' },
  TURN_CANCELLED: { status: null, retry: 'no' },
  AGENT_ITERATION_LIMIT: { status: null, retry: 'no' },
  TURN_TIMEOUT: { status: null, retry: 'no' },
  TURN_TOKEN_LIMIT: { status: null, retry: 'no' },
  TURN_COST_LIMIT: { status: null, retry: 'no' },
  REPEATED_TOOL_CALL: { status: null, retry: 'no' },
  STRUCTURED_OUTPUT_INVALID: { status: null, retry: 'once' },
} as const;

export type ErrorCode = keyof typeof ERRORS;

/** A failure the caller is told about. The message is for people: no key, no path of the host, no stack. */
export class EngineError extends Error {
  override name = 'EngineError';
  readonly code: ErrorCode;
  readonly details: Record<string, unknown> | undefined;

  constructor(code: ErrorCode, message: string, details?: Record<string, unknown>) {
    super(message);
    this.code = code;
    this.details = details;
  }

  /** The flat body of every non-2xx answer, and of `error` events. */
  body(): EngineErrorBody & { error: ErrorCode } {
    return {
      error: this.code,
      message: this.message,
      ...(this.details === undefined ? {} : { details: this.details }),
    };
  }
}

/** The Engine cannot start. The message is its last log line and says what to do; codes: contract, `EngineExit`. */
export class StartError extends Error {
  override name = 'StartError';
  readonly exit_code: number;

  constructor(exit_code: number, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.exit_code = exit_code;
  }
}

/** The `code` a system call failed with, such as `ENOENT`; undefined for any other error. */
export function systemCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}
