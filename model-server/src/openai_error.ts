import type { Failure, Wire } from './wire.ts';

const KINDS: Record<number, { type: string; code: string | null }> = {
  400: { type: 'invalid_request_error', code: null },
  401: { type: 'invalid_request_error', code: 'invalid_api_key' },
  404: { type: 'invalid_request_error', code: 'model_not_found' },
  429: { type: 'requests', code: 'rate_limit_exceeded' },
};

/** HTTP errors of both OpenAI APIs: https://platform.openai.com/docs/guides/error-codes */
export function openaiError(failure: Failure): ReturnType<Wire['error']> {
  if ('context_overflow' in failure) {
    const message =
      "This model's maximum context length is 128000 tokens. However, your messages resulted in 130000 tokens.";
    const body = {
      error: { message, type: 'invalid_request_error', param: 'messages', code: 'context_length_exceeded' },
    };
    return { status: 400, headers: {}, body };
  }
  // OpenAI says overloaded with 503; 529 is Anthropic's own.
  const status = failure.status === 529 ? 503 : failure.status;
  const { type, code } = KINDS[status] ?? { type: 'server_error', code: null };
  return {
    status,
    headers: failure.retry_after_s === undefined ? {} : { 'retry-after': String(failure.retry_after_s) },
    body: { error: { message: failure.message ?? `Scripted error ${status}.`, type, param: null, code } },
  };
}
