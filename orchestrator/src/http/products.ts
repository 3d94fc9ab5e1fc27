import { createRoute, z } from '@hono/zod-openapi';
import { appendAudit } from '../audit/append.ts';
import { OrchestratorError } from '../errors.ts';
import { hashKey, newPlatformKey } from '../keys/formats.ts';
import { Policy } from '../registry/policy.ts';
import { insertProduct, replacePolicy } from '../registry/products.ts';
import { ADMIN_KEY } from './auth.ts';
import type { App, HttpDeps } from './context.ts';
import { answers, body, Text } from './schemas.ts';

const register = createRoute({
  method: 'post',
  path: '/products/register',
  summary: 'Register a product',
  description: 'The platform key is shown once; only its SHA-256 is kept.',
  security: ADMIN_KEY,
  request: body(
    z.object({
      slug: z
        .string()
        .regex(
          /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/,
          'must be 1 to 63 letters, digits, dots, dashes or underscores',
        )
        .openapi({ example: 'demo' }),
      display_name: Text.min(1).max(256),
      policy: Policy.default({}),
    }),
    { required: true },
  ),
  responses: answers(
    z.object({ product_id: z.uuid(), slug: z.string(), platform_api_key: z.string() }),
    'The product and its key.',
    'INVALID_ADMIN_KEY',
    'PRODUCT_SLUG_EXISTS',
  ),
});

const putPolicy = createRoute({
  method: 'put',
  path: '/products/{product_id}/policy',
  summary: 'Replace the policy',
  description:
    'Replaces, never merges; effective with the next request. A lower `max_engines` destroys nothing.',
  security: ADMIN_KEY,
  request: {
    params: z.object({ product_id: z.string().openapi({ param: { name: 'product_id', in: 'path' } }) }),
    ...body(z.object({ policy: Policy }), { required: true }),
  },
  responses: answers(
    z.object({ policy: Policy }),
    'The policy now in force.',
    'INVALID_ADMIN_KEY',
    'PRODUCT_NOT_FOUND',
  ),
});

const Uuid = z.uuid();

/** The operators' endpoints. Bap-engine §2.5. */
export function productRoutes(app: App, { db }: HttpDeps): void {
  app.openapi(register, async (c) => {
    const { slug, display_name, policy } = c.req.valid('json');
    const platform_api_key = newPlatformKey();
    const product = await db.tx(async (sql) => {
      const api_key_hash = hashKey(platform_api_key);
      const row = await insertProduct(sql, { slug, display_name, api_key_hash, policy });
      await appendAudit(sql, {
        product_id: row.id,
        user_id: null,
        engine_id: null,
        action: 'policy_register',
        actor: 'admin',
        metadata: { slug, policy },
      });
      return row;
    });
    return c.json({ product_id: product.id, slug, platform_api_key }, 200);
  });

  app.openapi(putPolicy, async (c) => {
    const { product_id } = c.req.valid('param');
    const { policy } = c.req.valid('json');
    await db.tx(async (sql) => {
      const product = Uuid.safeParse(product_id).success
        ? await replacePolicy(sql, product_id, policy)
        : null;
      if (product === null) throw new OrchestratorError('PRODUCT_NOT_FOUND', 'No product has this id.');
      await appendAudit(sql, {
        product_id: product.id,
        user_id: null,
        engine_id: null,
        action: 'policy_update',
        actor: 'admin',
        metadata: { policy },
      });
    });
    return c.json({ policy }, 200);
  });
}
