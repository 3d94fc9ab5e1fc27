import { createRoute, z } from '@hono/zod-openapi';
import { checkSchema } from '../registry/migrate.ts';
import type { App, HttpDeps } from './context.ts';
import { answers } from './schemas.ts';

const healthRoute = createRoute({
  method: 'get',
  path: '/health',
  summary: 'Is the orchestrator in order?',
  description: 'Process, PostgreSQL and migrations.',
  responses: answers(z.object({ status: z.literal('ok') }), 'All in order.'),
});

/** Bap-engine §2.6. */
export function healthRoutes(app: App, { db }: HttpDeps): void {
  app.openapi(healthRoute, async (c) => {
    await checkSchema(db);
    return c.json({ status: 'ok' as const }, 200);
  });
}
