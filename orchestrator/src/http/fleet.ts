import { createRoute, z } from '@hono/zod-openapi';
import { fleetStatus } from '../fleet/status.ts';
import { countEngines, listEngines } from '../registry/engines.ts';
import { PLATFORM_KEY } from './auth.ts';
import type { App, HttpDeps } from './context.ts';
import { answers, EngineSummary, STATUSES, summarize } from './schemas.ts';

/** Largest page of `GET /engines`. */
const MAX_LIMIT = 1000;
const MAX_OFFSET = 2_147_483_647;

/** A whole number in a query. */
function queryInteger(min: number, max: number, byDefault: number) {
  const message = `must be a whole number from ${min} to ${max}`;
  return z
    .string()
    .regex(/^\d{1,10}$/, message)
    .transform(Number)
    .refine((value) => value >= min && value <= max, message)
    .default(byDefault)
    .openapi({ type: 'integer', minimum: min, maximum: max, default: byDefault });
}

const listRoute = createRoute({
  method: 'get',
  path: '/engines',
  summary: "The product's engines",
  description: 'Oldest first, without keys.',
  security: PLATFORM_KEY,
  request: {
    query: z.object({
      status: z.enum(STATUSES).optional(),
      limit: queryInteger(1, MAX_LIMIT, 100),
      offset: queryInteger(0, MAX_OFFSET, 0),
    }),
  },
  responses: answers(
    z.object({ engines: z.array(EngineSummary), total: z.int().describe('Over all pages.') }),
    'One page.',
    'INVALID_PLATFORM_KEY',
  ),
});

const statusRoute = createRoute({
  method: 'get',
  path: '/status',
  summary: 'The fleet at a glance',
  security: PLATFORM_KEY,
  responses: answers(
    z.object({
      total: z.int(),
      by_status: z.partialRecord(z.enum(STATUSES), z.int()),
      health: z
        .enum(['ok', 'degraded', 'critical'])
        .describe('`ok`: none failed; `critical`: at least 3, and 20 % of all; else `degraded`.'),
      unhealthy_count: z.int(),
    }),
    'Engines by state.',
    'INVALID_PLATFORM_KEY',
  ),
});

/** What a product sees of its slice. Bap-engine §2.4, §13. */
export function fleetRoutes(app: App, { db }: HttpDeps): void {
  app.openapi(listRoute, async (c) => {
    const { status, limit, offset } = c.req.valid('query');
    const page = await listEngines(db, c.var.product.id, { status: status ?? null, limit, offset });
    return c.json({ engines: page.engines.map(summarize), total: page.total }, 200);
  });

  app.openapi(statusRoute, async (c) => c.json(fleetStatus(await countEngines(db, c.var.product.id)), 200));
}
