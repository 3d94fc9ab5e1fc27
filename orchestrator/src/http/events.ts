/**
 * Transitions as server-sent events. Source: O33.
 *
 * The body is pulled: an item is taken from the feed when the socket has taken the one before, and only then. What a
 * slow client does not take waits in the feed, which has a limit. A sign of life carries the id of where the stream
 * stands, without an event: a client whose own engines are quiet for days still comes back to a place that is known.
 */
import { createRoute, z } from '@hono/zod-openapi';
import type { FeedItem, FeedStream } from '../fleet/feed.ts';
import type { Log } from '../observe/log.ts';
import type { TransitionRow } from '../registry/transitions.ts';
import { OfProduct, PLATFORM_OR_ADMIN_KEY } from './auth.ts';
import type { App, HttpDeps } from './context.ts';
import { answers, DEPTHS, STATUSES } from './schemas.ts';

/** How long a client waits before it comes back, milliseconds. */
const RETRY_MS = 1_000;

const HEADERS = {
  'Content-Type': 'text/event-stream; charset=utf-8',
  'Cache-Control': 'no-cache',
  // Proxies that buffer would hold back one event until the next.
  'X-Accel-Buffering': 'no',
};

const EventId = z
  .string()
  .regex(/^\d{1,15}$/, 'must be the id of an event')
  .transform(Number)
  .optional();

const Status = z.enum([...STATUSES, 'destroyed']).nullable();

const Transition = z
  .object({
    engine_id: z.uuid(),
    user_id: z
      .string()
      .nullable()
      .describe('Null: an engine of the warm pool, seen with the admin key only.'),
    product_id: z.uuid().nullable(),
    from: Status.describe('Null: the product had no such engine before.'),
    to: Status.describe('Null: it is gone. `destroyed`: so to the product, but it can be restored.'),
    sleep_depth: z.enum(DEPTHS).nullable().describe('With `to: "sleeping"`.'),
    at: z.iso.datetime(),
    operation_id: z.uuid().optional().describe('The operation that began or ended with it, if any.'),
  })
  .openapi('Transition');

const eventsRoute = createRoute({
  method: 'get',
  path: '/events',
  summary: 'What happens to engines, as it happens',
  description:
    "Server-sent events: `transition` for each change of an engine's status or depth of sleep, each once, those of one engine in their order. Ids are opaque. `Last-Event-ID` or `?after=` (the header wins) goes on after that event, at any replica, for 24 hours; without it the stream begins now. `reset`: events may be missing, read GET /engines anew. Comments every 15 seconds; the stream ends after 10 minutes, or when its reader is too slow: come back with the last id.",
  security: PLATFORM_OR_ADMIN_KEY,
  request: {
    headers: z.object({ 'last-event-id': EventId }),
    query: OfProduct.extend({ after: EventId }),
  },
  responses: {
    ...answers(
      Transition,
      '',
      'INVALID_PLATFORM_KEY',
      'INVALID_ADMIN_KEY',
      'PRODUCT_NOT_FOUND',
      'TOO_MANY_STREAMS',
    ),
    200: {
      description: 'The stream; the data of a `transition`, as JSON in one line.',
      content: { 'text/event-stream': { schema: Transition } },
    },
  },
});

export function eventRoutes(app: App, { feed, log }: HttpDeps): void {
  app.openapi(eventsRoute, (c) => {
    const after = c.req.valid('header')['last-event-id'] ?? c.req.valid('query').after ?? null;
    const cut = () => {
      log.warn({ request_id: c.var.request_id }, 'a reader of events was too slow and is cut off');
      c.env.outgoing.destroy();
    };
    const stream = feed.open({ slice: c.var.slice, after, cut });
    return new Response(bodyOf(stream, log), { headers: HEADERS });
  });
}

function bodyOf(stream: FeedStream, log: Log): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  let begun = false;
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const item = await stream.next();
          if (item === null) return controller.close();
          controller.enqueue(encoder.encode(`${begun ? '' : `retry: ${RETRY_MS}\n`}${frame(item)}`));
          begun = true;
        } catch (error) {
          log.debug({ err: error }, 'a stream of events ended');
          stream.close();
          controller.error(error);
        }
      },
      cancel: () => stream.close(),
    },
    { highWaterMark: 0 },
  );
}

/** JSON holds no line break, so one `data:` line is enough. */
function frame(item: FeedItem): string {
  if ('position' in item) return `: still here\nid: ${item.position}\n\n`;
  if ('reset' in item) return `id: ${item.reset}\nevent: reset\ndata: {}\n\n`;
  return item.transitions
    .map((row) => `id: ${row.id}\nevent: transition\ndata: ${JSON.stringify(view(row))}\n\n`)
    .join('');
}

function view(row: TransitionRow): z.infer<typeof Transition> {
  const { engine_id, user_id, product_id, from_status, to_status, sleep_depth, operation_id } = row;
  return {
    engine_id,
    user_id,
    product_id,
    from: from_status,
    to: to_status,
    sleep_depth,
    at: row.at.toISOString(),
    ...(operation_id !== null && { operation_id }),
  };
}
