import { createRoute, z } from '@hono/zod-openapi';
import { OrchestratorError } from '../errors.ts';
import { firstDepth } from '../lifecycle/idle.ts';
import { isDeeper } from '../lifecycle/machine.ts';
import { engineById, engineOf } from '../registry/engines.ts';
import { PLATFORM_KEY } from './auth.ts';
import type { App, HttpDeps } from './context.ts';
import { accepted, IdempotencyKey, onceOf, viewOperation, Wait } from './operations.ts';
import { addressOf, answers, body, DEPTHS, EngineView, UserPath } from './schemas.ts';

const ERRORS = [
  'INVALID_PLATFORM_KEY',
  'ENGINE_NOT_FOUND',
  'ENGINE_NOT_RUNNING',
  'OPERATION_IN_PROGRESS',
  'IDEMPOTENCY_KEY_REUSED',
  'BACKEND_ERROR',
] as const;

const sleepRoute = createRoute({
  method: 'post',
  path: '/engines/{user_id}/sleep',
  summary: 'Put an engine to sleep',
  description:
    'From `running`, or from a lighter sleep to a deeper one; one that sleeps as deep already is left as it is. It need not have been idle for long, but a turn is never cut: `409 OPERATION_IN_PROGRESS` when a turn is in flight, a stream is open or background work is due.',
  security: PLATFORM_KEY,
  request: {
    headers: IdempotencyKey,
    params: UserPath,
    query: Wait,
    ...body(
      z.object({
        depth: z
          .enum(DEPTHS)
          .optional()
          .describe(
            "`label` in name only, `doze` frozen in memory, `hibernate` stopped. Where absent the first of the product's `sleep_mode`, else of ORCH_SLEEP_MODE.",
          ),
      }),
      { required: false },
    ),
  },
  responses: {
    ...accepted,
    ...answers(
      EngineView.pick({ engine_id: true }).extend({
        status: z.literal('sleeping'),
        sleep_depth: z.enum(DEPTHS),
      }),
      'The engine sleeps.',
      ...ERRORS,
    ),
  },
});

const wakeRoute = createRoute({
  method: 'post',
  path: '/engines/{user_id}/wake',
  summary: 'Wake an engine',
  description:
    'From `sleeping`; a running engine is left as it is. Milliseconds from `doze`, a boot from `hibernate`.',
  security: PLATFORM_KEY,
  request: { headers: IdempotencyKey, params: UserPath, query: Wait },
  responses: {
    ...accepted,
    ...answers(
      EngineView.pick({ engine_id: true, url: true, host_url: true }).extend({
        status: z.literal('running'),
      }),
      'The engine runs.',
      ...ERRORS,
      'PORT_EXHAUSTION',
      'BOOT_TIMEOUT',
    ),
  },
});

/** Sleep and wake by hand. Bap-engine §2.1, O5, O33. */
export function sleepRoutes(app: App, { db, lifecycle, sleep_mode }: HttpDeps): void {
  app.openapi(sleepRoute, async (c) => {
    const { product } = c.var;
    const { user_id } = c.req.valid('param');
    const asked = c.req.valid('json').depth;
    const depth = asked ?? firstDepth(product.policy.sleep_mode ?? sleep_mode);
    const once = onceOf(c, product.id, ['sleep', user_id, asked ?? null]);
    const found = await engineOf(db, product.id, user_id);
    if (found === null) throw notFound();
    const { engine } = found;
    let operation = once === null ? null : await lifecycle.earlier(once);
    if (operation === null) {
      if (engine.status === 'sleeping' && found.operation === null && !isDeeper(depth, engine.sleep_depth)) {
        return c.json(asleep(engine.id, engine.sleep_depth ?? depth), 200);
      }
      operation = await lifecycle.sleep(engine.id, { depth, quiet_s: 0 }, product.slug, once);
    }
    if (c.req.valid('query').wait === 'false') return c.json(viewOperation(operation), 202);
    await lifecycle.outcome(operation.id);
    // Woken again by now, it still has slept.
    return c.json(asleep(engine.id, (await engineById(db, engine.id))?.sleep_depth ?? depth), 200);
  });

  app.openapi(wakeRoute, async (c) => {
    const { product } = c.var;
    const { user_id } = c.req.valid('param');
    const once = onceOf(c, product.id, ['wake', user_id]);
    const found = await engineOf(db, product.id, user_id);
    if (found === null) throw notFound();
    const { engine } = found;
    let operation = once === null ? null : await lifecycle.earlier(once);
    if (operation === null) {
      if (engine.status === 'running' && found.operation === null) {
        return c.json({ status: 'running' as const, engine_id: engine.id, ...addressOf(engine) }, 200);
      }
      operation = await lifecycle.change('wake', engine.id, product.slug, once);
    }
    if (c.req.valid('query').wait === 'false') return c.json(viewOperation(operation), 202);
    await lifecycle.outcome(operation.id);
    const woken = (await engineById(db, engine.id)) ?? engine;
    return c.json({ status: 'running' as const, engine_id: engine.id, ...addressOf(woken) }, 200);
  });
}

const asleep = (engine_id: string, sleep_depth: (typeof DEPTHS)[number]) => ({
  status: 'sleeping' as const,
  engine_id,
  sleep_depth,
});

const notFound = () => new OrchestratorError('ENGINE_NOT_FOUND', 'The user has no engine.');
