import { createRoute, z } from '@hono/zod-openapi';
import { OrchestratorError } from '../errors.ts';
import { engineById, engineOf, isLive } from '../registry/engines.ts';
import { PLATFORM_KEY } from './auth.ts';
import type { App, HttpDeps } from './context.ts';
import { accepted, IdempotencyKey, onceOf, viewOperation, Wait } from './operations.ts';
import { answers, EngineView, UserPath } from './schemas.ts';

const Rotated = EngineView.pick({ engine_id: true, api_key: true }).extend({
  old_key_valid_until: z.iso
    .datetime()
    .describe("Until when the key before opens the Engine too; the Engine's clock."),
});

const rotateKeyRoute = createRoute({
  method: 'post',
  path: '/engines/{user_id}/rotate-key',
  summary: 'Give an engine a new key',
  description:
    'While it runs; streams in flight are not cut, and the old key stays good for ORCH_ROTATE_OVERLAP_S. Where the Engine does not confirm, the old key stays its key: `502 BACKEND_ERROR`. The new one is kept until it is known whether the Engine has it, at its next start at the latest: call again to go on with it, and take the key from GET or admit instead of storing it. With `?wait=false` the new key is there by GET when the operation has succeeded.',
  security: PLATFORM_KEY,
  request: { headers: IdempotencyKey, params: UserPath, query: Wait },
  responses: {
    ...accepted,
    ...answers(
      Rotated,
      'The new key.',
      'INVALID_PLATFORM_KEY',
      'ENGINE_NOT_FOUND',
      'ENGINE_NOT_RUNNING',
      'OPERATION_IN_PROGRESS',
      'IDEMPOTENCY_KEY_REUSED',
      'BACKEND_ERROR',
    ),
  },
});

/** Bap-engine §2.2, §5.4 "Rotate-key", O8. */
export function rotateKeyRoutes(app: App, { db, lifecycle, master_keys }: HttpDeps): void {
  app.openapi(rotateKeyRoute, async (c) => {
    const { product } = c.var;
    const { user_id } = c.req.valid('param');
    const once = onceOf(c, product.id, ['rotate-key', user_id]);
    let operation = once === null ? null : await lifecycle.earlier(once);
    if (operation === null) {
      const found = await engineOf(db, product.id, user_id);
      if (found === null) throw notFound();
      operation = await lifecycle.change('rotate-key', found.engine.id, product.slug, once);
    }
    if (c.req.valid('query').wait === 'false') return c.json(viewOperation(operation), 202);
    const { engine_id, evidence } = await lifecycle.outcome(operation.id);
    const engine = await engineById(db, engine_id);
    if (engine === null || !isLive(engine)) throw notFound();
    return c.json(
      Rotated.parse({
        engine_id,
        // Rotated again by now, the one that is good.
        api_key: master_keys.open(engine.engine_key_enc),
        old_key_valid_until: evidence.old_key_valid_until,
      }),
      200,
    );
  });
}

const notFound = () => new OrchestratorError('ENGINE_NOT_FOUND', 'The user has no engine.');
