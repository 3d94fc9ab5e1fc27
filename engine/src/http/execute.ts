import { createRoute, type OpenAPIHono } from '@hono/zod-openapi';
import type { Context } from 'hono';
import { z } from 'zod';
import type { Brain } from '../brain/brain.ts';
import { EngineError } from '../errors.ts';
import type { TakeMedia } from '../media/blocks.ts';
import { errorFields, type Log } from '../observe/log.ts';
import type { Coordinator, TurnSpan } from '../turn/coordinator.ts';
import { StreamedEvent } from '../turn/events.ts';
import { ExecuteRequest, TaskId } from '../turn/request.ts';
import { compileSchema } from '../turn/structured_output.ts';
import type { Presence } from './activity.ts';
import type { Bindings } from './bindings.ts';
import { errorAnswers } from './errors.ts';
import { KEY } from './security.ts';
import { eventStream } from './sse.ts';

/**
 * `/execute` and `/execute/replay`: start a turn, or find one again. Both answer with the same stream out of
 * the event log; they differ only in where it begins and ends. Source: engine-api, "/execute".
 */
export type ExecuteParts = {
  brain: Brain;
  coordinator: Coordinator;
  presence: Presence;
  takeMedia: TakeMedia;
  now: () => number;
  log: Log;
  heartbeat_ms: number;
  stalled_ms: number;
};

/** Where a stream begins: the last event the client has, and up to which id it need not be told what is gone. */
type From = { cursor: number; gap_known?: number };

const LastEventId = z
  .string()
  .regex(/^\d{1,15}$/, 'must be the id of an event')
  .transform(Number)
  .optional()
  .meta({ description: 'Id of the last event the client has.' });

const stream = {
  description: 'Server-sent events; `data` of each is one of these, `id` counts over the life of the brain.',
  content: { 'text/event-stream': { schema: StreamedEvent } },
};

const execute = createRoute({
  method: 'post',
  path: '/execute',
  summary: 'Send a message, get the answer as a stream of events',
  description:
    'The turn goes on when the client leaves. With `Last-Event-ID` nothing is started: the stream of the task goes on after that event. With the `Idempotency-Key` of a turn that runs, or ended not long ago, that turn is streamed again.',
  security: KEY,
  request: {
    body: { required: true, content: { 'application/json': { schema: ExecuteRequest } } },
    headers: z.object({
      'last-event-id': LastEventId,
      'idempotency-key': z.string().min(1).max(256).optional(),
    }),
  },
  responses: { 200: stream, ...errorAnswers(400, 401, 404, 409, 422, 503) },
});

const replay = createRoute({
  method: 'get',
  path: '/execute/replay',
  summary: 'Stream events again, as they were',
  description:
    '`after` or the header `Last-Event-ID` is required; the header wins. Where events later than that are no longer kept, a `gap` comes first; `after=0` asks for what there is.',
  security: KEY,
  request: {
    query: z.object({
      after: z
        .string()
        .regex(/^\d{1,15}$/, 'must be Unix milliseconds')
        .transform(Number)
        .optional()
        .meta({ description: 'Only events later than this, Unix milliseconds; 0 = all there are.' }),
      task_id: TaskId.optional(),
      follow: z.enum(['true', 'false']).default('false').meta({
        description: 'Stay attached until the turn ends; without task_id, until no turn is in flight.',
      }),
    }),
    headers: z.object({ 'last-event-id': LastEventId }),
  },
  responses: { 200: stream, ...errorAnswers(400, 401, 404) },
});

export function executeRoutes(app: OpenAPIHono<Bindings>, parts: ExecuteParts): void {
  const { brain, coordinator, presence } = parts;

  const open = (
    c: Context<Bindings>,
    range: From & { end: () => number | null; task_id?: string; turn_id?: string },
  ) => {
    presence.open_streams++;
    return eventStream({
      gap_known: 0,
      task_id: undefined,
      turn_id: undefined,
      ...range,
      events: brain.events,
      heartbeat_ms: parts.heartbeat_ms,
      stalled_ms: parts.stalled_ms,
      now: parts.now,
      cut: () => c.env.outgoing.destroy(),
      onClose: () => {
        presence.open_streams--;
        presence.last_activity_at = parts.now();
      },
      onError: (error) =>
        parts.log.error('A stream broke', { request_id: c.get('request_id'), extra: errorFields(error) }),
    });
  };

  const openTurn = (c: Context<Bindings>, turn: TurnSpan) =>
    open(c, {
      cursor: turn.first_event_id - 1,
      end: () => turn.last_event_id,
      task_id: turn.task_id,
      turn_id: turn.turn_id,
    });

  /** Where a stream begins that is asked for by time. Who asks for what there is, 0, misses nothing. */
  const since = (after: number, task_id: string | undefined): From => {
    const pruned = brain.events.pruned(task_id);
    if (after === 0) return { cursor: 0, gap_known: pruned.id };
    const cursor = brain.events.cursorAfter(after);
    // Nothing that is kept lies between the two, so this adds the gap and no event.
    return { cursor: pruned.until > after ? Math.min(cursor, pruned.id - 1) : cursor };
  };

  /** Everything of a task from there on, to the end of the turn that is in flight now, or to what there is. */
  const openTask = (c: Context<Bindings>, task_id: string, from: From, follow: boolean) => {
    if (!brain.conversations.exists(task_id))
      throw new EngineError('TASK_NOT_FOUND', 'There is no such task.');
    const turn = follow ? coordinator.inFlight(task_id) : undefined;
    const newest = brain.events.lastId();
    return open(c, {
      ...from,
      end: turn === undefined ? () => newest : () => turn.last_event_id,
      task_id,
      turn_id: turn?.turn_id,
    });
  };

  app.openapi(execute, async (c) => {
    const asked = c.req.valid('json');
    const headers = c.req.valid('header');
    const last_event_id = headers['last-event-id'];
    if (last_event_id !== undefined) return openTask(c, asked.task_id, { cursor: last_event_id }, true);

    if (asked.output_schema !== null) await compileSchema(asked.output_schema);
    const media = await parts.takeMedia(asked.media, asked.agent ?? undefined, 'media');
    const request = { ...asked, media };
    const key = headers['idempotency-key'];
    const known = key === undefined ? undefined : coordinator.withKey(request, key);
    return openTurn(c, known ?? coordinator.start(request, key));
  });

  app.openapi(replay, (c) => {
    const { after, task_id, follow } = c.req.valid('query');
    const last_event_id = c.req.valid('header')['last-event-id'];
    if (last_event_id === undefined && after === undefined) {
      throw new EngineError('INVALID_REQUEST', 'query.after: required, unless Last-Event-ID is sent', {
        issues: [{ path: 'query.after', message: 'required, unless Last-Event-ID is sent' }],
      });
    }
    const from = last_event_id === undefined ? since(after ?? 0, task_id) : { cursor: last_event_id };
    if (task_id !== undefined) return openTask(c, task_id, from, follow === 'true');
    const newest = brain.events.lastId();
    const all = () => (coordinator.count() > 0 ? null : brain.events.lastId());
    return open(c, { ...from, end: follow === 'true' ? all : () => newest });
  });
}
