import { createRoute, z } from '@hono/zod-openapi';
import { appendAudit } from '../audit/append.ts';
import { OrchestratorError } from '../errors.ts';
import { hashKey, newPlatformKey } from '../keys/formats.ts';
import type { Sql } from '../registry/db.ts';
import { keepOnce, type OnceRequest, takeOnce } from '../registry/idempotency.ts';
import { Policy } from '../registry/policy.ts';
import { insertProduct, replacePolicy } from '../registry/products.ts';
import { ADMIN_KEY } from './auth.ts';
import type { App, HttpDeps } from './context.ts';
import { IdempotencyKey, onceOf } from './operations.ts';
import { answers, body, Text } from './schemas.ts';

const Registered = z.object({ product_id: z.uuid(), slug: z.string(), platform_api_key: z.string() });
const PolicyAnswer = z.object({ policy: Policy });

const register = createRoute({
  method: 'post',
  path: '/products/register',
  summary: 'Register a product',
  description: 'The platform key is shown once; only its SHA-256 is kept.',
  security: ADMIN_KEY,
  request: {
    headers: IdempotencyKey,
    ...body(
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
  },
  responses: answers(
    Registered,
    'The product and its key.',
    'INVALID_ADMIN_KEY',
    'PRODUCT_SLUG_EXISTS',
    'IDEMPOTENCY_KEY_REUSED',
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
    headers: IdempotencyKey,
    params: z.object({ product_id: z.string().openapi({ param: { name: 'product_id', in: 'path' } }) }),
    ...body(z.object({ policy: Policy }), { required: true }),
  },
  responses: answers(
    PolicyAnswer,
    'The policy now in force.',
    'INVALID_ADMIN_KEY',
    'PRODUCT_NOT_FOUND',
    'IDEMPOTENCY_KEY_REUSED',
  ),
});

const Uuid = z.uuid();

/** The operators' endpoints. Bap-engine §2.5. */
export function productRoutes(app: App, { db, master_keys }: HttpDeps): void {
  /** Answers by `work`, in one transaction; a repeated request gets the answer of the first. */
  async function answerOnce<T>(
    once: OnceRequest | null,
    schema: z.ZodType<T>,
    work: (sql: Sql) => Promise<T>,
  ) {
    return await db.tx(async (sql) => {
      const earlier = once === null ? null : await takeOnce(sql, once);
      if (earlier?.answer_enc) return schema.parse(JSON.parse(master_keys.open(earlier.answer_enc)));
      const answer = await work(sql);
      // Sealed: it may hold a key, which is kept nowhere else.
      if (once !== null) await keepOnce(sql, once, { answer_enc: master_keys.seal(JSON.stringify(answer)) });
      return answer;
    });
  }

  app.openapi(register, async (c) => {
    const { slug, display_name, policy } = c.req.valid('json');
    const once = onceOf(c, 'admin', ['register', slug, display_name, policy]);
    const answer = await answerOnce(once, Registered, async (sql) => {
      const platform_api_key = newPlatformKey();
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
      return { product_id: row.id, slug, platform_api_key };
    });
    return c.json(answer, 200);
  });

  app.openapi(putPolicy, async (c) => {
    const { product_id } = c.req.valid('param');
    const { policy } = c.req.valid('json');
    const once = onceOf(c, 'admin', ['policy', product_id, policy]);
    const answer = await answerOnce(once, PolicyAnswer, async (sql) => {
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
      return { policy };
    });
    return c.json(answer, 200);
  });
}
