import { createRoute, z } from '@hono/zod-openapi';
import type { Context } from 'hono';
import { admit, provision } from '../admission/admit.ts';
import { OrchestratorError } from '../errors.ts';
import type { Change } from '../lifecycle/machine.ts';
import { type EngineRow, engineById, engineOf } from '../registry/engines.ts';
import type { ProductRow } from '../registry/products.ts';
import { PLATFORM_KEY } from './auth.ts';
import type { App, Env, HttpDeps } from './context.ts';
import { accepted, IdempotencyKey, onceOf, viewOperation, Wait } from './operations.ts';
import { answers, body, EngineView, summarize, Text, UserId, UserPath } from './schemas.ts';

const BOOT_ERRORS = [
  'INVALID_PLATFORM_KEY',
  'POLICY_DENIED',
  'QUOTA_EXCEEDED',
  'BACKEND_ERROR',
  'PORT_EXHAUSTION',
  'BOOT_TIMEOUT',
] as const;

const CHANGE_ERRORS = [
  'INVALID_PLATFORM_KEY',
  'ENGINE_NOT_FOUND',
  'OPERATION_IN_PROGRESS',
  'IDEMPOTENCY_KEY_REUSED',
  'BACKEND_ERROR',
] as const;

const provisionRoute = createRoute({
  method: 'post',
  path: '/engines/provision',
  summary: 'Create an engine for a user',
  description: 'Answers once the engine is healthy.',
  security: PLATFORM_KEY,
  request: {
    headers: IdempotencyKey,
    query: Wait,
    ...body(
      z.object({
        user_id: UserId,
        engine_version: Text.min(1)
          .max(256)
          .optional()
          .describe('Image of the engine; ORCH_ENGINE_IMAGE where absent.'),
      }),
      { required: true },
    ),
  },
  responses: {
    ...accepted,
    ...answers(
      EngineView.pick({ engine_id: true, user_id: true, status: true, url: true, api_key: true }),
      'The engine.',
      ...BOOT_ERRORS,
      'ENGINE_ALREADY_EXISTS',
      'IDEMPOTENCY_KEY_REUSED',
    ),
  },
});

const getRoute = createRoute({
  method: 'get',
  path: '/engines/{user_id}',
  summary: "A user's engine",
  description: 'Reads only, never provisions. `url` may be set while the engine is down: look at `status`.',
  security: PLATFORM_KEY,
  request: { params: UserPath },
  responses: answers(EngineView, 'The engine.', 'INVALID_PLATFORM_KEY', 'ENGINE_NOT_FOUND'),
});

const admitRoute = createRoute({
  method: 'post',
  path: '/engines/{user_id}/admit',
  summary: "Where is the user's engine?",
  description: 'The entry for every request of a user; idempotent. Meant to be called with both flags true.',
  security: PLATFORM_KEY,
  request: {
    params: UserPath,
    ...body(
      z.object({
        auto_provision: z.boolean().default(false).describe('Provision where there is no engine.'),
        auto_wake: z.boolean().default(false).describe('Wake a sleeping engine, restart a failed one.'),
      }),
      { required: false },
    ),
  },
  responses: answers(
    z.union([
      z.object({ admitted: z.literal(true), engine: EngineView }),
      z.object({
        admitted: z.literal(false),
        engine: z.null(),
        reason: z.enum([
          'engine_not_found',
          'engine_sleeping',
          'engine_stopped',
          'engine_unhealthy',
          'engine_destroying',
        ]),
      }),
    ]),
    'Admitted, with a running engine, or not, with the reason.',
    ...BOOT_ERRORS,
    'RATE_LIMITED',
  ),
});

const startRoute = createRoute({
  method: 'post',
  path: '/engines/{user_id}/start',
  summary: 'Start an engine',
  description: 'From `stopped`, `sleeping` or `failed`. Answers once the engine is healthy.',
  security: PLATFORM_KEY,
  request: { headers: IdempotencyKey, params: UserPath, query: Wait },
  responses: {
    ...accepted,
    ...answers(
      EngineView.pick({ url: true }).extend({ status: z.literal('running') }),
      'The engine runs.',
      ...CHANGE_ERRORS,
      'ENGINE_ALREADY_RUNNING',
      'PORT_EXHAUSTION',
      'BOOT_TIMEOUT',
    ),
  },
});

const stopRoute = createRoute({
  method: 'post',
  path: '/engines/{user_id}/stop',
  summary: 'Stop an engine',
  description:
    'From `running`, `sleeping` or `failed`. Turns in flight may end, for up to 30 s. The brain is kept.',
  security: PLATFORM_KEY,
  request: { headers: IdempotencyKey, params: UserPath, query: Wait },
  responses: {
    ...accepted,
    ...answers(
      z.object({ status: z.literal('stopped'), engine_id: z.uuid() }),
      'The engine is stopped.',
      ...CHANGE_ERRORS,
      'ENGINE_NOT_RUNNING',
    ),
  },
});

const destroyRoute = createRoute({
  method: 'delete',
  path: '/engines/{user_id}',
  summary: 'Destroy an engine',
  description: 'Removes the engine and its brain. Irreversible.',
  security: PLATFORM_KEY,
  request: { headers: IdempotencyKey, params: UserPath, query: Wait },
  responses: {
    ...accepted,
    ...answers(
      z.object({ status: z.literal('destroyed'), engine_id: z.uuid() }),
      'The engine is gone.',
      ...CHANGE_ERRORS,
    ),
  },
});

/** What a product does with the engine of one user. Bap-engine §2.2, §2.3. */
export function lifecycleRoutes(app: App, deps: HttpDeps): void {
  const { db, lifecycle, master_keys } = deps;

  async function find(product: ProductRow, user_id: string): Promise<EngineRow> {
    const found = await engineOf(db, product.id, user_id);
    if (found === null) throw notFound();
    return found.engine;
  }

  /** The engine with its key, opened for this answer only (O2). */
  const view = (engine: EngineRow) => ({
    ...summarize(engine),
    api_key: master_keys.open(engine.engine_key_enc),
  });

  /** Begins or joins `kind` on a user's engine, or finds what the same request did before; waits where asked to. */
  async function change(
    c: Context<Env>,
    kind: Exclude<Change, 'sleep'>,
    user_id: string,
    wait: 'true' | 'false',
  ) {
    const { product } = c.var;
    const once = onceOf(c, product.id, [kind, user_id]);
    // In this order: the engine is gone only after its destroy has been begun.
    const found = await engineOf(db, product.id, user_id);
    const earlier = once === null ? null : await lifecycle.earlier(once);
    let operation = earlier;
    if (operation === null) {
      if (found === null) throw notFound();
      operation = await lifecycle.change(kind, found.engine.id, product.slug, once);
    }
    return wait === 'true' ? await lifecycle.outcome(operation.id) : operation;
  }

  app.openapi(provisionRoute, async (c) => {
    const { user_id, engine_version } = c.req.valid('json');
    const { product } = c.var;
    const once = onceOf(c, product.id, ['provision', user_id, engine_version ?? null]);
    const earlier = once === null ? null : await lifecycle.earlier(once);
    const operation = earlier ?? (await provision(deps, product, user_id, engine_version, once));
    if (c.req.valid('query').wait === 'false') return c.json(viewOperation(operation), 202);
    await lifecycle.outcome(operation.id);
    const engine = await engineById(db, operation.engine_id);
    // Destroyed meanwhile; another engine of the user is not what this request made.
    if (engine === null) throw notFound();
    const { engine_id, status, url, api_key } = view(engine);
    return c.json({ engine_id, user_id, status, url, api_key }, 200);
  });

  app.openapi(getRoute, async (c) => {
    const { user_id } = c.req.valid('param');
    return c.json(view(await find(c.var.product, user_id)), 200);
  });

  app.openapi(admitRoute, async (c) => {
    const { user_id } = c.req.valid('param');
    const admission = await admit(deps, c.var.product, user_id, c.req.valid('json'));
    return admission.admitted
      ? c.json({ admitted: true as const, engine: view(admission.engine) }, 200)
      : c.json({ admitted: false as const, engine: null, reason: admission.reason }, 200);
  });

  app.openapi(startRoute, async (c) => {
    const { user_id } = c.req.valid('param');
    const { wait } = c.req.valid('query');
    const operation = await change(c, 'start', user_id, wait);
    if (wait === 'false') return c.json(viewOperation(operation), 202);
    const engine = await engineById(db, operation.engine_id);
    if (engine === null) throw notFound();
    return c.json({ status: 'running' as const, url: engine.url }, 200);
  });

  app.openapi(stopRoute, async (c) => {
    const { wait } = c.req.valid('query');
    const operation = await change(c, 'stop', c.req.valid('param').user_id, wait);
    if (wait === 'false') return c.json(viewOperation(operation), 202);
    return c.json({ status: 'stopped' as const, engine_id: operation.engine_id }, 200);
  });

  app.openapi(destroyRoute, async (c) => {
    const { wait } = c.req.valid('query');
    const operation = await change(c, 'destroy', c.req.valid('param').user_id, wait);
    if (wait === 'false') return c.json(viewOperation(operation), 202);
    return c.json({ status: 'destroyed' as const, engine_id: operation.engine_id }, 200);
  });
}

const notFound = () => new OrchestratorError('ENGINE_NOT_FOUND', 'The user has no engine.');
