import {
  APICallError,
  InvalidResponseDataError,
  JSONParseError,
  TypeValidationError,
} from '@ai-sdk/provider';
import type { HeraldErrorCode } from './contract.ts';

/**
 * What went wrong with one model call, in our codes.
 *
 * Three things are decided here: the code, whether trying again can help, and what people are told. Providers
 * put the same news into different places (an HTTP body, an event in the stream, a finish reason), so the
 * evidence is gathered first and judged once. The text for people never has the key in it.
 */
export type Failure = {
  code: HeraldErrorCode;
  message: string;
  /** Whether another try may work. */
  retryable: boolean;
  /** What the provider asked for, seconds. */
  retry_after?: number;
  status?: number;
  /** For the log, when the error is none of the provider's and may be ours. */
  cause?: unknown;
};

/** The stream broke its own rules; `message` continues "<provider> …". */
export class BrokenStream extends Error {
  override name = 'BrokenStream';
  readonly retryable: boolean;

  constructor(message: string, { retryable }: { retryable: boolean }) {
    super(message);
    this.retryable = retryable;
  }
}

/** The provider sent nothing for `seconds`. */
export class Silence extends Error {
  override name = 'Silence';
  readonly seconds: number;

  constructor(seconds: number) {
    super(`sent nothing for ${seconds} s`);
    this.seconds = seconds;
  }
}

/** How much of a provider's own explanation people are shown; some echo the whole request. */
const EXPLANATION_LENGTH = 300;

/** Judges what one call threw. `api_key` is only used to keep it out of the message. */
export function explain(error: unknown, provider: string, api_key: string): Failure {
  const failed = (message: string, rest: Partial<Failure> = {}): Failure => ({
    code: 'LLM_PROVIDER_ERROR',
    message: `${provider} ${message}.`,
    retryable: false,
    ...rest,
  });

  if (error instanceof Silence) return failed(error.message, { code: 'LLM_TIMEOUT', retryable: true });
  if (error instanceof BrokenStream) return failed(error.message, { retryable: error.retryable });
  if (
    JSONParseError.isInstance(error) ||
    TypeValidationError.isInstance(error) ||
    InvalidResponseDataError.isInstance(error)
  ) {
    return failed('sent something that cannot be read', { retryable: true });
  }

  const said = evidence(error);
  if (said === undefined) return failed('could not be called', { cause: error });
  const { status, type, code } = said;
  if (status === undefined)
    return failed('could not be reached, or broke the connection', { retryable: true });

  const name = [status, code ?? type].filter((word) => word !== undefined).join(' ');
  // An answer to a wrong key may quote it, in part even; the status says enough.
  const why =
    said.message === '' || status === 401 || status === 403 ? '' : `: ${tidy(said.message, api_key)}`;
  if (isOverflow(said))
    return failed(`cannot fit the conversation into the model's context (${name})`, {
      code: 'CONTEXT_OVERFLOW',
      status,
    });
  if (status === 429) {
    // A used-up quota is not a matter of waiting.
    const retryable = code !== 'insufficient_quota';
    return failed(`limits the rate of calls (${name})${why}`, {
      code: 'LLM_RATE_LIMITED',
      retryable,
      status,
      retry_after: said.retry_after,
    });
  }
  return failed(`answered ${name}${why}`, {
    retryable: said.retryable,
    status,
    retry_after: said.retry_after,
  });
}

type Evidence = {
  status?: number;
  type?: string;
  code?: string;
  message: string;
  retryable: boolean;
  retry_after?: number;
};

/** What the provider said, wherever it said it; `undefined` for an error that is not the provider's. */
function evidence(error: unknown): Evidence | undefined {
  if (APICallError.isInstance(error)) {
    // A body that broke off comes with the status it began with, which says nothing about the break.
    const status = error.statusCode !== undefined && error.statusCode >= 400 ? error.statusCode : undefined;
    const body = error.data ?? parseJson(error.responseBody);
    const said = errorObject(body);
    return {
      status,
      type: word(said.type) ?? word(said.status),
      code: word(said.code),
      message: word(said.message) ?? '',
      retryable: error.isRetryable,
      retry_after: retryAfter(error.responseHeaders, said),
    };
  }
  // The SDK's own form of an error event in the stream: { message, type, code, statusCode, isRetryable, data }.
  if (isObject(error) && 'data' in error && typeof error.message === 'string') {
    return {
      status: typeof error.statusCode === 'number' ? error.statusCode : 500,
      type: word(error.type),
      code: word(error.code),
      message: error.message,
      retryable: error.isRetryable === true,
    };
  }
  return undefined;
}

/**
 * Only OpenAI has a code for this. Anthropic and Gemini use their general code for bad requests, and tell it
 * from others by the text alone, so the text it is; both are long-standing and quoted in their documentation.
 */
function isOverflow({ type, code, message }: Evidence): boolean {
  return (
    code === 'context_length_exceeded' ||
    type === 'request_too_large' ||
    (type === 'invalid_request_error' && message.startsWith('prompt is too long')) ||
    (type === 'INVALID_ARGUMENT' && /input token count.*exceeds the maximum/.test(message))
  );
}

/**
 * Seconds the provider asks us to wait: `Retry-After` in seconds or as a date (measured from the answer's own
 * `Date`, so that no two clocks are compared), or Gemini's RetryInfo in the body.
 */
function retryAfter(
  headers: Record<string, string> | undefined,
  said: Record<string, unknown>,
): number | undefined {
  const value = headers?.['retry-after'];
  if (value !== undefined) {
    const seconds = /^\d+(\.\d+)?$/.test(value)
      ? Number(value)
      : (Date.parse(value) - Date.parse(headers?.date ?? '')) / 1000;
    return Number.isFinite(seconds) ? Math.max(0, seconds) : undefined;
  }
  const details: unknown[] = Array.isArray(said.details) ? said.details : [];
  const delays = details.map((detail) =>
    isObject(detail) ? parseFloat(String(detail.retryDelay)) : Number.NaN,
  );
  return delays.find(Number.isFinite);
}

/** The `{message, type, code}` of an error body, which providers wrap once, twice or not. */
function errorObject(body: unknown): Record<string, unknown> {
  if (!isObject(body)) return {};
  if (isObject(body.error)) return body.error;
  if (isObject(body.response)) return errorObject(body.response);
  return body;
}

/** One line, no key, not too long. */
function tidy(message: string, api_key: string): string {
  const hidden = api_key === '' ? message : message.replaceAll(api_key, '[key]');
  return hidden.replace(/\s+/g, ' ').trim().slice(0, EXPLANATION_LENGTH).replace(/\.$/, '');
}

function parseJson(text: string | undefined): unknown {
  try {
    return JSON.parse(text ?? '');
  } catch {
    return undefined;
  }
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null;
const word = (value: unknown) => (typeof value === 'string' && value !== '' ? value : undefined);
