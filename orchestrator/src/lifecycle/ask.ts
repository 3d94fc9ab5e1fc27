/** The one way in which the lifecycle reaches an Engine over the network; what an answer means is probe.ts and key_rotation.ts. */

/** A health or activity answer is a few hundred bytes; whoever sends more is not an Engine. */
const MAX_ANSWER_BYTES = 64 * 1024;

/**
 * One GET, or with `sent` one POST of it as JSON. `body` is null where it is no JSON, or too long; a string says why
 * there is no answer within `timeout_ms`. Throws the reason of `signal`.
 */
export type Ask = (
  url: string,
  headers: Record<string, string>,
  timeout_ms: number,
  signal: AbortSignal,
  sent?: object,
) => Promise<{ status: number; body: unknown } | string>;

export const askOverHttp: Ask = async (url, headers, timeout_ms, signal, sent) => {
  try {
    const response = await fetch(url, {
      ...(sent === undefined
        ? { headers }
        : {
            method: 'POST',
            headers: { ...headers, 'Content-Type': 'application/json' },
            body: JSON.stringify(sent),
          }),
      redirect: 'error',
      signal: AbortSignal.any([signal, AbortSignal.timeout(timeout_ms)]),
    });
    const text = await readAtMost(response, MAX_ANSWER_BYTES);
    return { status: response.status, body: text === null ? null : parseJson(text) };
  } catch (error) {
    signal.throwIfAborted();
    const cause = error instanceof Error ? (error.cause ?? error) : error;
    const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
    const why = typeof code === 'string' ? code : cause instanceof Error ? cause.name : 'unknown';
    return `no answer (${why})`;
  }
};

async function readAtMost(response: Response, limit: number): Promise<string | null> {
  let text = '';
  const decoder = new TextDecoder();
  for await (const chunk of response.body ?? []) {
    text += decoder.decode(chunk, { stream: true });
    if (text.length > limit) return null;
  }
  return text;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
