/**
 * The error catalogue: every code the orchestrator can answer with, once, with its status, its cause and
 * what the caller should do. The HTTP layer turns an `OrchestratorError` into an answer; the documentation
 * prints this table. Source: bap-engine §3, O16.
 */

type CatalogueEntry = {
  status: 400 | 401 | 403 | 404 | 409 | 429 | 500 | 502 | 503 | 504;
  cause: string;
  advice: string;
  /** Default of `Retry-After`, seconds; every 429 and 503 has one. */
  retry_after_s?: number;
};

export const ERRORS = {
  INVALID_REQUEST: {
    status: 400,
    cause: 'Malformed JSON, a missing field, a value of the wrong type or an unknown policy key.',
    advice: 'Read `details.issues`; each names the field and what is wanted.',
  },
  INVALID_PLATFORM_KEY: {
    status: 401,
    cause: '`X-Platform-Key` is missing or unknown.',
    advice: 'Send the key that POST /products/register answered.',
  },
  INVALID_ADMIN_KEY: {
    status: 401,
    cause: '`X-Admin-Key` is missing or wrong on an admin endpoint.',
    advice: 'Send the value of ORCH_ADMIN_KEY.',
  },
  POLICY_DENIED: {
    status: 403,
    cause: "The product's policy forbids the action.",
    advice: 'Check the policy with the operator.',
  },
  NOT_FOUND: {
    status: 404,
    cause: 'There is no such endpoint, or not with this method.',
    advice: 'See /docs for the endpoints.',
  },
  PRODUCT_NOT_FOUND: {
    status: 404,
    cause: 'No product has this id.',
    advice: 'Register the product, or check the id.',
  },
  ENGINE_NOT_FOUND: {
    status: 404,
    cause: 'The user has no engine.',
    advice: 'Provision one, or admit with `auto_provision: true`.',
  },
  OPERATION_NOT_FOUND: {
    status: 404,
    cause: 'No operation has this id, or it is of another product.',
    advice: 'Check the id; operations are kept.',
  },
  ENGINE_ALREADY_EXISTS: {
    status: 409,
    cause: 'Provision for a user that has an engine.',
    advice: 'Use admit.',
  },
  ENGINE_NOT_RUNNING: {
    status: 409,
    cause: 'The action needs an engine that is up.',
    advice: 'Start the engine first, or skip the action.',
  },
  ENGINE_ALREADY_RUNNING: {
    status: 409,
    cause: 'Start on a running engine.',
    advice: 'Nothing to do.',
  },
  PRODUCT_SLUG_EXISTS: {
    status: 409,
    cause: 'Another product has this slug.',
    advice: 'Choose another slug.',
  },
  PRODUCT_HAS_ENGINES: {
    status: 409,
    cause: 'The product to be deleted has engines, or tombstones of destroyed ones.',
    advice: 'Destroy them first, each with DELETE /engines/{user_id}?retain=false.',
  },
  OPERATION_IN_PROGRESS: {
    status: 409,
    cause: 'Another operation on this engine is under way and cannot be joined.',
    advice: 'Try again when it has ended; every operation has a deadline.',
  },
  ROLLOUT_HALTED: {
    status: 409,
    cause: 'The roll-out is halted: an engine failed on its image.',
    advice:
      'See GET /rollouts for the reason. `resume` goes on with it all the same; another image begins anew.',
  },
  IDEMPOTENCY_KEY_REUSED: {
    status: 409,
    cause: 'The `Idempotency-Key` belongs to another request of the last day.',
    advice: 'Use a new key for each wish, and the same one only to repeat it.',
  },
  QUOTA_EXCEEDED: {
    status: 429,
    cause: 'The product is at `max_engines`.',
    advice: 'Destroy unused engines, or have the limit raised.',
    retry_after_s: 60,
  },
  RATE_LIMITED: {
    status: 429,
    cause: 'The product is over `rate_limit_rpm`.',
    advice: 'Wait as long as `Retry-After` says.',
    retry_after_s: 1,
  },
  INTERNAL_ERROR: {
    status: 500,
    cause: 'A fault in the orchestrator.',
    advice: 'Report it with the value of `X-Request-Id`.',
  },
  BACKEND_ERROR: {
    status: 502,
    cause: 'The engine could not be brought into the wanted state.',
    advice: 'Read the message; the audit log has the history.',
  },
  NOT_READY: {
    status: 503,
    cause: 'The orchestrator is starting or stopping, or its database is away.',
    advice: 'Try again after `Retry-After`. Running engines keep serving.',
    retry_after_s: 2,
  },
  TOO_MANY_STREAMS: {
    status: 503,
    cause: 'As many streams of events are open as one product, or this orchestrator, may have.',
    advice: 'Close one, or share one among those who listen.',
    retry_after_s: 5,
  },
  PORT_EXHAUSTION: {
    status: 503,
    cause: 'No port is free between ORCH_PORT_MIN and ORCH_PORT_MAX.',
    advice: 'Destroy unused engines, or widen the range.',
    retry_after_s: 60,
  },
  BOOT_TIMEOUT: {
    status: 504,
    cause: 'The engine was not healthy within ORCH_BOOT_TIMEOUT_S.',
    advice: "Look at the engine's log; admit with `auto_wake: true` tries again.",
  },
} as const satisfies Record<string, CatalogueEntry>;

export type ErrorCode = keyof typeof ERRORS;

export const isErrorCode = (code: string): code is ErrorCode => Object.hasOwn(ERRORS, code);

/** A failure with a code of the catalogue. `message` reaches the caller: no secret, no path, no stack. */
export class OrchestratorError extends Error {
  override name = 'OrchestratorError';
  readonly code: ErrorCode;
  readonly details: Record<string, unknown> | undefined;
  /** Seconds; set for every 429 and 503. */
  readonly retry_after_s: number | undefined;

  constructor(
    code: ErrorCode,
    message: string,
    options: { details?: Record<string, unknown>; retry_after_s?: number; cause?: unknown } = {},
  ) {
    super(message, { cause: options.cause });
    this.code = code;
    this.details = options.details;
    const entry: CatalogueEntry = ERRORS[code];
    this.retry_after_s = options.retry_after_s ?? entry.retry_after_s;
  }
}
