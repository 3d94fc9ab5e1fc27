import { Silence } from './failure.ts';

/**
 * Telling a provider that thinks from one that hangs.
 *
 * Watched are the bytes of the connection, not the events made of them: pings and comments are signs of life
 * that never become events. Only our own waiting counts; a reader that is slow to ask does not.
 */

/** How long a provider may be silent, milliseconds. */
export type Patience = { first_byte_ms: number; between_chunks_ms: number };

/**
 * Reasoning models without pings stay silent for minutes, and a local model loads first. Below the 300 s at
 * which fetch itself gives up, with an error that looks like a broken connection.
 */
export const DEFAULT_PATIENCE: Patience = { first_byte_ms: 240_000, between_chunks_ms: 240_000 };

/** `fetch` that aborts `call` with `Silence` when the other side says nothing for too long. */
export function watchedFetch(
  fetch: typeof globalThis.fetch,
  call: AbortController,
  patience: Patience,
): typeof fetch {
  return async (input, init) => {
    const response = await within(patience.first_byte_ms, call, () => fetch(input, init));
    if (!response.body) return response;
    const reader = response.body.getReader();
    const body = new ReadableStream<Uint8Array>({
      async pull(controller) {
        const { done, value } = await within(patience.between_chunks_ms, call, () => reader.read());
        if (done) controller.close();
        else controller.enqueue(value);
      },
      cancel: (reason) => reader.cancel(reason),
    });
    const { status, statusText, headers } = response;
    return new Response(body, { status, statusText, headers });
  };
}

async function within<T>(limit_ms: number, call: AbortController, work: () => Promise<T>): Promise<T> {
  const timer = setTimeout(() => call.abort(new Silence(limit_ms)), limit_ms);
  try {
    return await work();
  } finally {
    clearTimeout(timer);
  }
}
