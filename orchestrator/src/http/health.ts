import { createRoute, z } from '@hono/zod-openapi';
import { openIncident } from '../registry/incidents.ts';
import { checkSchema } from '../registry/migrate.ts';
import type { App, HttpDeps } from './context.ts';
import { answers } from './schemas.ts';

const healthRoute = createRoute({
  method: 'get',
  path: '/health',
  summary: 'Is the orchestrator in order?',
  description: 'Process, PostgreSQL and migrations.',
  responses: answers(
    z.object({
      status: z
        .enum(['ok', 'degraded'])
        .describe('`degraded`: it serves, but many engines turned ill at once and restarts are held back.'),
      incident: z
        .object({ began_at: z.iso.datetime(), restarts_resume_at: z.iso.datetime() })
        .optional()
        .describe('With `degraded`.'),
    }),
    'It serves.',
  ),
});

/** Bap-engine §2.6, O11. */
export function healthRoutes(app: App, { db }: HttpDeps): void {
  app.openapi(healthRoute, async (c) => {
    await checkSchema(db);
    const incident = await openIncident(db);
    if (incident === null) return c.json({ status: 'ok' as const }, 200);
    const began_at = incident.began_at.toISOString();
    const restarts_resume_at = incident.resumes_at.toISOString();
    return c.json({ status: 'degraded' as const, incident: { began_at, restarts_resume_at } }, 200);
  });
}
