import { createRoute, type OpenAPIHono } from '@hono/zod-openapi';
import { z } from 'zod';
import type { Brain } from '../brain/brain.ts';
import { EngineError } from '../errors.ts';
import type { Coordinator } from '../turn/coordinator.ts';
import { TaskId } from '../turn/request.ts';
import type { Bindings } from './bindings.ts';
import { errorAnswers } from './errors.ts';
import { KEY } from './security.ts';

/** `/tasks` (E10). Source: engine-api, "/tasks". */
const cancel = createRoute({
  method: 'post',
  path: '/tasks/{task_id}/cancel',
  summary: 'End the turn of a task',
  description:
    'Running tools are stopped, a waiting question is withdrawn; the turn ends `errored` with `TURN_CANCELLED`. What was done before stays in the task.',
  security: KEY,
  request: { params: z.object({ task_id: TaskId }) },
  responses: {
    200: {
      description: 'The turn ends',
      content: {
        'application/json': {
          schema: z.object({ status: z.literal('cancelled'), turn_id: z.string() }).meta({ id: 'Cancelled' }),
        },
      },
    },
    ...errorAnswers(400, 401, 404),
  },
});

export function cancelRoute(
  app: OpenAPIHono<Bindings>,
  { brain, coordinator }: { brain: Brain; coordinator: Coordinator },
): void {
  app.openapi(cancel, (c) => {
    const { task_id } = c.req.valid('param');
    if (!brain.conversations.exists(task_id)) {
      throw new EngineError('TASK_NOT_FOUND', 'There is no such task.');
    }
    return c.json({ status: 'cancelled' as const, turn_id: coordinator.cancel(task_id) }, 200);
  });
}
