import { frame } from '../brain/channel_state.ts';
import type { EventLog } from '../brain/event_log.ts';

/**
 * Server-sent events out of the event log. Source: engine-api, "SSE events".
 *
 * A stream is a cursor: it reads a batch after the last event it sent, hands it over, and reads again only
 * when the socket has taken it. So a slow client holds one batch in memory and nothing else, and the turn
 * never waits for it. One that takes nothing at all for too long is cut; it has lost nothing, as it can come
 * back with `Last-Event-ID`. What is no longer kept by then is told as a `gap`, never left out in silence.
 */
export type StreamOptions = {
  events: EventLog;
  /** Id of the last event the client has. */
  cursor: number;
  /** What is no longer kept up to this id the client has not asked for. */
  gap_known: number;
  /** Undefined: of all tasks. */
  task_id: string | undefined;
  turn_id: string | undefined;
  /** Id of the last event to send; null while it is not known because more may come. */
  end: () => number | null;
  /** Silence after which a heartbeat goes out, milliseconds. */
  heartbeat_ms: number;
  /** How long a client may take nothing, milliseconds. */
  stalled_ms: number;
  now: () => number;
  /** Ends the connection at once. */
  cut: () => void;
  /** Called once, however the stream ends. */
  onClose: () => void;
  onError: (error: unknown) => void;
};

export const SSE_HEADERS = {
  'Content-Type': 'text/event-stream; charset=utf-8',
  'Cache-Control': 'no-cache',
  // Proxies that buffer would hold back the first word until the last.
  'X-Accel-Buffering': 'no',
} as const;

export function eventStream(options: StreamOptions): Response {
  const { events, task_id } = options;
  const encoder = new TextEncoder();
  const gone = new AbortController();
  let { cursor, gap_known } = options;
  let stall: NodeJS.Timeout | undefined;

  const close = () => {
    clearTimeout(stall);
    if (gone.signal.aborted) return;
    gone.abort();
    options.onClose();
  };

  /** The next thing to send: a batch of events, a heartbeat after silence, or undefined at the end. */
  const next = async (): Promise<Uint8Array | undefined> => {
    while (!gone.signal.aborted) {
      const end = options.end();
      const pruned = events.pruned(task_id).id;
      if (pruned > Math.max(cursor, gap_known)) {
        gap_known = pruned;
        return gap(cursor + 1, pruned);
      }
      const stretch = events.read(cursor, end ?? Number.MAX_SAFE_INTEGER, task_id);
      if (stretch !== undefined) {
        cursor = stretch.last_id;
        return stretch.frames;
      }
      if (end !== null) return undefined;
      const woken = await events.changed(task_id, options.heartbeat_ms, gone.signal);
      if (!woken && !gone.signal.aborted) return aside('heartbeat');
    }
    return undefined;
  };

  /** An event of the stream and not of the turn: it has no id of its own and is not kept. */
  const aside = (type: string, fields: object = {}) =>
    encoder.encode(
      frame(
        cursor,
        type,
        JSON.stringify({
          type,
          task_id: task_id ?? null,
          turn_id: options.turn_id ?? null,
          timestamp: new Date(options.now()).toISOString(),
          ...fields,
        }),
      ),
    );

  const gap = (from: number, to: number) =>
    aside('gap', {
      from,
      to,
      pointer: task_id === undefined ? 'GET /tasks' : `GET /tasks/${encodeURIComponent(task_id)}`,
    });

  const body = new ReadableStream<Uint8Array>(
    {
      // Called when the socket has taken all before, and only then.
      async pull(controller) {
        clearTimeout(stall);
        try {
          const bytes = await next();
          // The client left meanwhile: there is nobody to tell, and nothing to close.
          if (gone.signal.aborted) return;
          if (bytes === undefined) {
            close();
            controller.close();
            return;
          }
          controller.enqueue(bytes);
          stall = setTimeout(options.cut, options.stalled_ms).unref();
        } catch (error) {
          options.onError(error);
          close();
          options.cut();
        }
      },
      cancel: close,
    },
    { highWaterMark: 0 },
  );
  return new Response(body, { headers: SSE_HEADERS });
}
