import { createRoute, type OpenAPIHono } from '@hono/zod-openapi';
import { Activity } from '@september/contract';
import type { Coordinator } from '../turn/coordinator.ts';
import type { Bindings } from './bindings.ts';
import { errorAnswers } from './errors.ts';
import { KEY } from './security.ts';

/** Who is connected to this Engine; kept by the handlers, read by the idle detector of the orchestrator (O4). */
export type Presence = { open_streams: number; last_activity_at: number };

const route = createRoute({
  method: 'get',
  path: '/activity',
  summary: 'Is anyone using this Engine? Asking is not activity.',
  security: KEY,
  responses: {
    200: { description: 'What goes on', content: { 'application/json': { schema: Activity } } },
    ...errorAnswers(401),
  },
});

export function activityRoute(
  app: OpenAPIHono<Bindings>,
  parts: { coordinator: Coordinator; presence: Presence },
): void {
  app.openapi(route, (c) =>
    c.json(
      {
        in_flight_turns: parts.coordinator.count(),
        open_streams: parts.presence.open_streams,
        pending_hitl: parts.coordinator.waiting().length,
        last_activity_at: new Date(
          Math.max(parts.presence.last_activity_at, parts.coordinator.lastTurnAt()),
        ).toISOString(),
        busy_until: null,
      },
      200,
    ),
  );
}
