import { InvalidResponseDataError, JSONParseError, TypeValidationError } from '@ai-sdk/provider';
import type { HeraldErrorCode } from './contract.ts';
import { type Evidence, gatherEvidence } from './evidence.ts';

/**
 * What went wrong with one model call, in our codes: which code it is, whether trying again can help, and what
 * people are told. The text for people never has the key in it.
 */
export type Failure = {
  code: HeraldErrorCode;
  message: string;
  retryable: boolean;
  /** Seconds. */
  retry_after?: number;
  /** HTTP status of the provider. */
  status?: number;
  /** For the log, when the error is not the provider's and may be ours. */
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

/** The provider was silent for too long. */
export class Silence extends Error {
  override name = 'Silence';

  constructor(limit_ms: number) {
    super(`sent nothing for ${limit_ms / 1000} s`);
  }
}

/** How much of a provider's own explanation people are shown, characters; some echo the whole request. */
const EXPLANATION_LENGTH = 300;

/** Judges what one call threw. `api_key` is there to be kept out of the message. */
export function explain(error: unknown, provider: string, api_key: string): Failure {
  const failure = judge(error, api_key);
  return { ...failure, message: `${provider} ${failure.message}.` };
}

/** The failure, its message still without the provider's name. */
function judge(error: unknown, api_key: string): Failure {
  if (error instanceof Silence) return { code: 'LLM_TIMEOUT', message: error.message, retryable: true };
  if (error instanceof BrokenStream) {
    return { code: 'LLM_PROVIDER_ERROR', message: error.message, retryable: error.retryable };
  }
  if (isUnreadable(error)) {
    return { code: 'LLM_PROVIDER_ERROR', message: 'sent something that cannot be read', retryable: true };
  }
  const evidence = gatherEvidence(error);
  if (evidence === undefined) {
    return { code: 'LLM_PROVIDER_ERROR', message: 'could not be called', retryable: false, cause: error };
  }
  return judgeEvidence(evidence, api_key);
}

function judgeEvidence(evidence: Evidence, api_key: string): Failure {
  const { status, type, code, message, retry_after } = evidence;
  if (status === undefined) {
    const message = 'could not be reached, or broke the connection';
    return { code: 'LLM_PROVIDER_ERROR', message, retryable: true };
  }
  const kind = `${status} ${code ?? type ?? ''}`.trimEnd();
  if (isOverflow(evidence)) {
    const message = `cannot fit the conversation into the model's context (${kind})`;
    return { code: 'CONTEXT_OVERFLOW', message, retryable: false, status };
  }
  // An answer to a wrong key may quote it, even in part; the status says enough.
  const isAboutKey = status === 401 || status === 403;
  const why = isAboutKey || message === '' ? '' : `: ${tidy(message, api_key)}`;
  if (status === 429) {
    // A used-up quota is not a matter of waiting.
    const retryable = code !== 'insufficient_quota';
    return {
      code: 'LLM_RATE_LIMITED',
      message: `limits our calls (${kind})${why}`,
      retryable,
      retry_after,
      status,
    };
  }
  const { retryable } = evidence;
  return { code: 'LLM_PROVIDER_ERROR', message: `answered ${kind}${why}`, retryable, retry_after, status };
}

/**
 * Only OpenAI has a code for this. Anthropic and Gemini use their general code for bad requests and tell this
 * one from the others by its text alone, so the text it is, as their documentation quotes it.
 */
function isOverflow({ type, code, message }: Evidence): boolean {
  return (
    code === 'context_length_exceeded' ||
    type === 'request_too_large' ||
    (type === 'invalid_request_error' && message.startsWith('prompt is too long')) ||
    (type === 'INVALID_ARGUMENT' && /input token count.*exceeds the maximum/.test(message))
  );
}

function isUnreadable(error: unknown): boolean {
  return (
    JSONParseError.isInstance(error) ||
    TypeValidationError.isInstance(error) ||
    InvalidResponseDataError.isInstance(error)
  );
}

/** One line, without the key, not too long, without its full stop. */
function tidy(message: string, api_key: string): string {
  const hidden = api_key === '' ? message : message.replaceAll(api_key, '[key]');
  return hidden.replace(/\s+/g, ' ').trim().slice(0, EXPLANATION_LENGTH).replace(/\.$/, '');
}
