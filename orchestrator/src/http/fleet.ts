import { createRoute, z } from '@hono/zod-openapi';
import { fleetStatus } from '../fleet/status.ts';
import type { LiveEngine } from '../registry/engines.ts';
import { countEngines, listEngines } from '../registry/fleet.ts';
import { OfProduct, PLATFORM_OR_ADMIN_KEY } from './auth.ts';
import type { App, HttpDeps } from './context.ts';
import { answers, DEPTHS, EngineSummary, PAGE, STATUSES, summarize, Text, UserId } from './schemas.ts';

const HEALTH = ['ok', 'reduced', 'ill'] as const;

const ListedEngine = EngineSummary.extend({
  product_id: z.uuid().optional().describe('With the admin key only: whose it is.'),
  health: z
    .enum(HEALTH)
    .nullable()
    .describe('Word of the last probe; `reduced`: it serves without its model provider or its assets.'),
}).openapi('ListedEngine');

const listRoute = createRoute({
  method: 'get',
  path: '/engines',
  summary: 'Engines',
  description:
    'Oldest first, without keys; with the admin key those of all products, one product after the other. Conditions that are given must all be met.',
  security: PLATFORM_OR_ADMIN_KEY,
  request: {
    query: OfProduct.extend({
      status: z.enum(STATUSES).optional(),
      sleep_depth: z.enum(DEPTHS).optional(),
      health: z.enum(HEALTH).optional(),
      engine_version: Text.min(1).max(256).optional(),
      user_id_prefix: UserId.optional().openapi({ description: 'What the user id begins with.' }),
      ...PAGE,
    }),
  },
  responses: answers(
    z.object({ engines: z.array(ListedEngine), total: z.int().describe('Over all pages.') }),
    'One page.',
    'INVALID_PLATFORM_KEY',
    'INVALID_ADMIN_KEY',
    'PRODUCT_NOT_FOUND',
  ),
});

const statusRoute = createRoute({
  method: 'get',
  path: '/status',
  summary: 'The fleet at a glance',
  security: PLATFORM_OR_ADMIN_KEY,
  request: { query: OfProduct },
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
    'INVALID_ADMIN_KEY',
    'PRODUCT_NOT_FOUND',
  ),
});

/** What a product sees of its slice, and an operator of all. Bap-engine §2.4, §13. */
export function fleetRoutes(app: App, { db }: HttpDeps): void {
  app.openapi(listRoute, async (c) => {
    const { limit, offset, ...filter } = c.req.valid('query');
    const { engines, total } = await listEngines(db, c.var.slice, filter, { limit, offset });
    const view = (engine: LiveEngine) => ({
      ...summarize(engine),
      ...(c.var.operator && { product_id: engine.product_id }),
      health: engine.health,
    });
    return c.json({ engines: engines.map(view), total }, 200);
  });

  app.openapi(statusRoute, async (c) => c.json(fleetStatus(await countEngines(db, c.var.slice)), 200));
}
