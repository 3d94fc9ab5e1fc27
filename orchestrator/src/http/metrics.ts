import { createRoute, z } from '@hono/zod-openapi';
import { wholeFleet } from '../fleet/prometheus.ts';
import { EXPOSITION_TYPE, expose } from '../observe/exposition.ts';
import { fleetMetrics } from '../registry/metrics.ts';
import { ADMIN_KEY, OfProduct, PLATFORM_OR_ADMIN_KEY } from './auth.ts';
import type { App, HttpDeps } from './context.ts';
import { errorResponses } from './errors.ts';
import { answers } from './schemas.ts';

const metricsRoute = createRoute({
  method: 'get',
  path: '/metrics',
  summary: 'Figures of the last hour',
  description: 'Of the product; with the admin key the sums over all products.',
  security: PLATFORM_OR_ADMIN_KEY,
  request: { query: OfProduct },
  responses: answers(
    z.object({
      provisions_1h: z.int().describe('Engines created, whether or not their first boot succeeded.'),
      crashes_1h: z.int().describe('Transitions to `failed`.'),
      restarts_1h: z.int().describe('Restarts begun by themselves or by an admit.'),
      avg_boot_ms: z
        .int()
        .nullable()
        .describe(
          'How long callers waited for the last 100 provisions that succeeded, on average; null before the first.',
        ),
      total_provisions: z.int().describe('Of all times, whatever the audit log has kept.'),
      total_destroys: z.int().describe('Of all times; engines that can be restored count as destroyed.'),
    }),
    'The figures.',
    'INVALID_PLATFORM_KEY',
    'INVALID_ADMIN_KEY',
    'PRODUCT_NOT_FOUND',
  ),
});

const prometheusRoute = createRoute({
  method: 'get',
  path: '/metrics/prometheus',
  summary: 'The whole fleet, for Prometheus',
  description:
    'What the registry knows is the same at every replica; what a process has counted (`_total`, `_seconds`) is to be summed over them. While the database is away the rest is told, with `orch_database_up 0`.',
  security: ADMIN_KEY,
  responses: {
    200: {
      description: 'Text format, version 0.0.4.',
      content: { 'text/plain': { schema: z.string() } },
    },
    ...errorResponses(['INVALID_ADMIN_KEY']),
  },
});

/** Bap-engine §13, O28. */
export function metricsRoutes(app: App, deps: HttpDeps): void {
  app.openapi(metricsRoute, async (c) => c.json(await fleetMetrics(deps.db, c.var.slice), 200));

  app.openapi(prometheusRoute, async (c) =>
    c.text(expose(await wholeFleet(deps)), 200, { 'Content-Type': EXPOSITION_TYPE }),
  );
}
