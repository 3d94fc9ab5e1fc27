import { APICallError } from '@ai-sdk/provider';

/**
 * What a provider said when it refused or broke off a call.
 *
 * The same news comes in many forms: as an HTTP error with the provider's own body, as an error event in a
 * stream that began well, or as a connection that died. Here it is read, once, into one form; failure.ts judges.
 */
export type Evidence = {
  /** HTTP status, or the one that stands for an error event; absent when the connection failed. */
  status?: number;
  /** The provider's own words for the kind of error: `rate_limit_error`, `RESOURCE_EXHAUSTED` … */
  type?: string;
  code?: string;
  message: string;
  retryable: boolean;
  /** How long the provider wants us to wait, seconds. */
  retry_after?: number;
};

/** `undefined` for an error that is not the provider's. */
export function gatherEvidence(error: unknown): Evidence | undefined {
  if (APICallError.isInstance(error)) {
    const said = errorObject(error.data ?? parseJson(error.responseBody));
    return {
      // A body that broke off has the status it began with, which says nothing about the break.
      status: error.statusCode !== undefined && error.statusCode >= 400 ? error.statusCode : undefined,
      ...kindOf(said),
      retryable: error.isRetryable,
      retry_after: headerRetryAfter(error.responseHeaders ?? {}) ?? bodyRetryAfter(said),
    };
  }
  // An error event: the SDK's summary of it ({ message, type, code, statusCode, isRetryable, … }), or as it came.
  if (isObject(error) && !(error instanceof Error)) {
    const status = typeof error.statusCode === 'number' ? error.statusCode : 500;
    return { status, ...kindOf(errorObject(error)), retryable: error.isRetryable !== false };
  }
  return undefined;
}

function kindOf(said: Record<string, unknown>): Pick<Evidence, 'type' | 'code' | 'message'> {
  return {
    type: word(said.type) ?? word(said.status),
    code: word(said.code),
    message: word(said.message) ?? '',
  };
}

/** The `{message, type, code}` of an error body, which providers wrap once, twice or not. */
function errorObject(body: unknown): Record<string, unknown> {
  if (!isObject(body)) return {};
  if (isObject(body.error)) return body.error;
  if (isObject(body.response)) return errorObject(body.response);
  return body;
}

/** `Retry-After` in seconds, or as a date; that is measured from the answer's own `Date`: one clock, not two. */
function headerRetryAfter(headers: Record<string, string>): number | undefined {
  const value = headers['retry-after'];
  if (value === undefined) return undefined;
  const seconds = /^\d+(\.\d+)?$/.test(value)
    ? Number(value)
    : (Date.parse(value) - Date.parse(headers.date ?? '')) / 1000;
  return Number.isFinite(seconds) ? Math.max(0, seconds) : undefined;
}

/** Gemini's way: a `google.rpc.RetryInfo` among the error's details, `{"retryDelay": "34s"}`. */
function bodyRetryAfter(said: Record<string, unknown>): number | undefined {
  const details: unknown[] = Array.isArray(said.details) ? said.details : [];
  return details
    .filter(isObject)
    .map((detail) => Number.parseFloat(String(detail.retryDelay)))
    .find(Number.isFinite);
}

function parseJson(text: string | undefined): unknown {
  try {
    return JSON.parse(text ?? '');
  } catch {
    return undefined;
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

function word(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}
