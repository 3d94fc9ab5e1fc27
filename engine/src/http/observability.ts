/** What happened in this Engine, for operators (E26). Source: engine-api, "GET /observability/events". */
import { createRoute, type OpenAPIHono } from '@hono/zod-openapi';
import { z } from 'zod';
import type { Brain } from '../brain/brain.ts';
import { OBSERVED_KINDS } from '../brain/observability.ts';
import type { Bindings } from './bindings.ts';
import { errorAnswers } from './errors.ts';
import { KEY } from './security.ts';

const DEFAULT_PAGE = 100;
const MAX_PAGE = 1_000;

const time = z.coerce.number('must be a number').int().nonnegative().optional();

const Page = z
  .object({
    events: z.array(
      z.object({
        id: z.int(),
        kind: z.string(),
        task_id: z.string().nullable(),
        turn_id: z.string().nullable(),
        timestamp: z.iso.datetime(),
        data: z.record(z.string(), z.unknown()),
      }),
    ),
    next_cursor: z.string().nullable().meta({ description: 'Null at the end.' }),
  })
  .meta({ id: 'ObservabilityEvents' });

const read = createRoute({
  method: 'get',
  path: '/observability/events',
  summary: 'What happened, oldest first; kept for 30 days',
  security: KEY,
  request: {
    query: z.object({
      kind: z
        .string()
        .optional()
        .meta({ description: `One of: ${OBSERVED_KINDS.join(', ')}.` }),
      task_id: z.string().optional(),
      since: time.meta({ description: 'Unix milliseconds.' }),
      until: time.meta({ description: 'Unix milliseconds.' }),
      limit: z.coerce.number('must be a number').int().min(1).max(MAX_PAGE).default(DEFAULT_PAGE),
      cursor: z
        .string()
        .regex(/^\d{1,15}$/u, 'must be the `next_cursor` of an answer')
        .optional()
        .meta({ description: 'The `next_cursor` of the page before.' }),
    }),
  },
  responses: {
    200: { description: 'A page', content: { 'application/json': { schema: Page } } },
    ...errorAnswers(400, 401),
  },
});

export function observabilityRoutes(app: OpenAPIHono<Bindings>, { brain }: { brain: Brain }): void {
  app.openapi(read, (c) => {
    const { cursor, limit, ...query } = c.req.valid('query');
    const found = brain.observability.query({ ...query, after: Number(cursor ?? 0), limit: limit + 1 });
    const events = found.slice(0, limit);
    const next_cursor = found.length > limit ? String(events.at(-1)?.id) : null;
    return c.json(
      {
        events: events.map((event) => ({ ...event, timestamp: new Date(event.timestamp).toISOString() })),
        next_cursor,
      },
      200,
    );
  });
}
