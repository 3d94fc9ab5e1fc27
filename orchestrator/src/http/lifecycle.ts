import { createRoute, z } from '@hono/zod-openapi';
import type { Context } from 'hono';
import { provision } from '../admission/admit.ts';
import { retention } from '../admission/policy.ts';
import { restore } from '../admission/restore.ts';
import { OrchestratorError } from '../errors.ts';
import { engineById, engineOf, isLive, type LiveEngine } from '../registry/engines.ts';
import type { OnceRequest } from '../registry/idempotency.ts';
import type { OperationRow } from '../registry/operations.ts';
import type { ProductRow } from '../registry/products.ts';
import { OfUsersProduct, PLATFORM_KEY, PLATFORM_OR_ADMIN_KEY, productOfUser } from './auth.ts';
import type { App, Env, HttpDeps } from './context.ts';
import { accepted, IdempotencyKey, onceOf, viewOperation, Wait } from './operations.ts';
import {
  addressOf,
  answers,
  BOOT_ERRORS,
  body,
  EngineSummary,
  EngineView,
  summarize,
  Text,
  UserId,
  UserPath,
  viewEngine,
} from './schemas.ts';

const CHANGE_ERRORS = [
  'INVALID_PLATFORM_KEY',
  'ENGINE_NOT_FOUND',
  'OPERATION_IN_PROGRESS',
  'IDEMPOTENCY_KEY_REUSED',
  'BACKEND_ERROR',
] as const;

/** What is told of an engine that a call has made, or brought back. */
const BootedEngine = EngineView.pick({
  engine_id: true,
  user_id: true,
  status: true,
  url: true,
  host_url: true,
  api_key: true,
});

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
          .describe(
            'Image of the engine, which it keeps. Where absent that of the current roll-out, ORCH_ENGINE_IMAGE as a rule, and later ones come to it.',
          ),
      }),
      { required: true },
    ),
  },
  responses: {
    ...accepted,
    ...answers(
      BootedEngine,
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
  description:
    'Reads only, never provisions. `url` may be set while the engine is down: look at `status`. With the admin key there is no `api_key` in the answer.',
  security: PLATFORM_OR_ADMIN_KEY,
  request: { params: UserPath, query: OfUsersProduct },
  responses: answers(
    z.union([EngineView, EngineSummary]),
    'The engine.',
    'INVALID_PLATFORM_KEY',
    'INVALID_ADMIN_KEY',
    'PRODUCT_NOT_FOUND',
    'ENGINE_NOT_FOUND',
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
      EngineView.pick({ url: true, host_url: true }).extend({ status: z.literal('running') }),
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
  description:
    'Removes the engine and its brain. Irreversible, unless it is retained: then it ends, and can be restored for a while.',
  security: PLATFORM_KEY,
  request: {
    headers: IdempotencyKey,
    params: UserPath,
    query: Wait.extend({
      retain: z.enum(['true', 'false']).optional().openapi({
        description:
          "`true`: can be restored for the policy's `destroy_retention_s`, or 7 days. `false`: gone at once, whatever the policy; where the user has no engine, also what is retained of earlier ones. Absent: as the policy says.",
      }),
    }),
  },
  responses: {
    ...accepted,
    ...answers(
      z.object({ status: z.literal('destroyed'), engine_id: z.uuid() }),
      'The engine is gone.',
      ...CHANGE_ERRORS,
    ),
  },
});

const restoreRoute = createRoute({
  method: 'post',
  path: '/engines/{user_id}/restore',
  summary: 'Bring a destroyed engine back',
  description:
    'The one destroyed last, if it was retained and its time is not over: the same engine id, key and brain. Takes its place in the quota again. Answers once the engine is healthy.',
  security: PLATFORM_KEY,
  request: { headers: IdempotencyKey, params: UserPath, query: Wait },
  responses: {
    ...accepted,
    ...answers(
      BootedEngine,
      'The engine.',
      ...BOOT_ERRORS,
      'ENGINE_NOT_FOUND',
      'ENGINE_ALREADY_EXISTS',
      'IDEMPOTENCY_KEY_REUSED',
    ),
  },
});

/** What a product does with the engine of one user, beside admit. Bap-engine §2.2. */
export function lifecycleRoutes(app: App, deps: HttpDeps): void {
  const { db, lifecycle, master_keys } = deps;

  async function find(product_id: string, user_id: string): Promise<LiveEngine> {
    const found = await engineOf(db, product_id, user_id);
    if (found === null) throw notFound();
    return found.engine;
  }

  const view = (engine: LiveEngine) => viewEngine(master_keys, engine);

  /** Begins or joins `kind` on a user's engine, or finds what the same request did before; waits where asked to. */
  async function change(c: Context<Env>, kind: 'start' | 'stop', user_id: string, wait: 'true' | 'false') {
    const { product } = c.var;
    const once = onceOf(c, product.id, [kind, user_id]);
    const earlier = once === null ? null : await lifecycle.earlier(once);
    const operation =
      earlier ?? (await lifecycle.change(kind, (await find(product.id, user_id)).id, product.slug, once));
    return wait === 'true' ? await lifecycle.outcome(operation.id) : operation;
  }

  /** Begins or joins what a DELETE comes to; of several operations the first is the one to tell of. */
  async function destroy(
    product: ProductRow,
    user_id: string,
    retain: boolean | undefined,
    once: OnceRequest | null,
  ): Promise<OperationRow[]> {
    // In this order: the engine is gone only after its destroy has been begun.
    const found = await engineOf(db, product.id, user_id);
    const earlier = once === null ? null : await lifecycle.earlier(once);
    if (earlier !== null) return [earlier];
    if (found !== null) {
      const { id } = found.engine;
      const retain_s = retention(product.policy, retain);
      return retain_s === null
        ? [await lifecycle.change('destroy', id, product.slug, once)]
        : [await lifecycle.retire(id, retain_s, product.slug, once)];
    }
    if (retain === false) return await lifecycle.erase(product, user_id, once);
    throw notFound();
  }

  /** The engine that `operation` brings up, when it is up. */
  async function booted(operation: OperationRow) {
    await lifecycle.outcome(operation.id);
    const engine = await engineById(db, operation.engine_id);
    // Destroyed meanwhile; another engine of the user is not what the request made.
    if (engine === null || !isLive(engine)) throw notFound();
    const { engine_id, user_id, status, api_key } = view(engine);
    return { engine_id, user_id, status, ...addressOf(engine), api_key };
  }

  app.openapi(provisionRoute, async (c) => {
    const { user_id, engine_version } = c.req.valid('json');
    const { product } = c.var;
    const once = onceOf(c, product.id, ['provision', user_id, engine_version ?? null]);
    const earlier = once === null ? null : await lifecycle.earlier(once);
    const operation = earlier ?? (await provision(deps, product, user_id, engine_version, once));
    if (c.req.valid('query').wait === 'false') return c.json(viewOperation(operation), 202);
    return c.json(await booted(operation), 200);
  });

  app.openapi(getRoute, async (c) => {
    const { user_id } = c.req.valid('param');
    const engine = await find(productOfUser(c), user_id);
    return c.json(c.var.operator ? summarize(engine) : view(engine), 200);
  });

  app.openapi(startRoute, async (c) => {
    const { user_id } = c.req.valid('param');
    const { wait } = c.req.valid('query');
    const operation = await change(c, 'start', user_id, wait);
    if (wait === 'false') return c.json(viewOperation(operation), 202);
    const engine = await engineById(db, operation.engine_id);
    if (engine === null || !isLive(engine)) throw notFound();
    return c.json({ status: 'running' as const, ...addressOf(engine) }, 200);
  });

  app.openapi(stopRoute, async (c) => {
    const { wait } = c.req.valid('query');
    const operation = await change(c, 'stop', c.req.valid('param').user_id, wait);
    if (wait === 'false') return c.json(viewOperation(operation), 202);
    return c.json({ status: 'stopped' as const, engine_id: operation.engine_id }, 200);
  });

  app.openapi(destroyRoute, async (c) => {
    const { user_id } = c.req.valid('param');
    const { wait, retain } = c.req.valid('query');
    const { product } = c.var;
    const once = onceOf(c, product.id, ['destroy', user_id, retain ?? null]);
    const wanted = retain === undefined ? undefined : retain === 'true';
    const [operation, ...others] = await destroy(product, user_id, wanted, once);
    if (operation === undefined) throw notFound();
    if (wait === 'false') return c.json(viewOperation(operation), 202);
    await Promise.all([operation, ...others].map(({ id }) => lifecycle.outcome(id)));
    return c.json({ status: 'destroyed' as const, engine_id: operation.engine_id }, 200);
  });

  app.openapi(restoreRoute, async (c) => {
    const { user_id } = c.req.valid('param');
    const { product } = c.var;
    const once = onceOf(c, product.id, ['restore', user_id]);
    const earlier = once === null ? null : await lifecycle.earlier(once);
    const operation = earlier ?? (await restore(deps, product, user_id, once));
    if (c.req.valid('query').wait === 'false') return c.json(viewOperation(operation), 202);
    return c.json(await booted(operation), 200);
  });
}

const notFound = () => new OrchestratorError('ENGINE_NOT_FOUND', 'The user has no engine.');
