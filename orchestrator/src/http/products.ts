import { createRoute, z } from '@hono/zod-openapi';
import { appendAudit } from '../audit/append.ts';
import { OrchestratorError } from '../errors.ts';
import { hashKey, newPlatformKey } from '../keys/formats.ts';
import type { Sql } from '../registry/db.ts';
import { keepOnce, type OnceRequest, takeOnce } from '../registry/idempotency.ts';
import { Policy } from '../registry/policy.ts';
import {
  deleteProduct,
  insertProduct,
  listProducts,
  replaceKeyHash,
  replacePolicy,
} from '../registry/products.ts';
import { ADMIN_KEY } from './auth.ts';
import type { App, HttpDeps } from './context.ts';
import { IdempotencyKey, onceOf } from './operations.ts';
import { answers, body, PAGE, Text } from './schemas.ts';

/** Longest time for which two platform keys are good, seconds: a roll-out takes days at most. */
const MAX_OVERLAP_S = 7 * 24 * 60 * 60;

const Registered = z.object({ product_id: z.uuid(), slug: z.string(), platform_api_key: z.string() });
const PolicyAnswer = z.object({ policy: Policy });
const RotatedKey = Registered.extend({
  old_key_valid_until: z.iso.datetime().describe('Until when the key before is good as well.'),
});
const Deleted = z.object({ status: z.literal('deleted'), product_id: z.uuid() });

const ProductPath = z.object({
  product_id: z.string().openapi({ param: { name: 'product_id', in: 'path' } }),
});

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
    params: ProductPath,
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

const list = createRoute({
  method: 'get',
  path: '/products',
  summary: 'All products',
  description: 'Oldest first, without keys.',
  security: ADMIN_KEY,
  request: { query: z.object(PAGE) },
  responses: answers(
    z.object({
      products: z.array(
        z.object({
          product_id: z.uuid(),
          slug: z.string(),
          display_name: z.string(),
          policy: Policy,
          engines: z.int().describe('Over all states, as they count for `max_engines`.'),
          tombstones: z.int().describe('Destroyed engines that are still kept.'),
          created_at: z.iso.datetime(),
          old_key_valid_until: z.iso
            .datetime()
            .nullable()
            .describe('Until when the platform key before is good as well; null: it is not.'),
        }),
      ),
      total: z.int().describe('Over all pages.'),
    }),
    'One page.',
    'INVALID_ADMIN_KEY',
  ),
});

const rotateKey = createRoute({
  method: 'post',
  path: '/products/{product_id}/rotate-platform-key',
  summary: 'Give a product a new platform key',
  description:
    'The new key is shown once and good at once. The old one is good for `overlap_s` more; one that was still good from a rotation before ends now.',
  security: ADMIN_KEY,
  request: {
    headers: IdempotencyKey,
    params: ProductPath,
    ...body(
      z.object({
        overlap_s: z
          .int()
          .min(0)
          .max(MAX_OVERLAP_S)
          .default(0)
          .describe('How long the old key is good as well, seconds; 0: it ends now.'),
      }),
      { required: false },
    ),
  },
  responses: answers(
    RotatedKey,
    'The new key.',
    'INVALID_ADMIN_KEY',
    'PRODUCT_NOT_FOUND',
    'IDEMPOTENCY_KEY_REUSED',
  ),
});

const remove = createRoute({
  method: 'delete',
  path: '/products/{product_id}',
  summary: 'Delete a product',
  description:
    'Refused while it has engines, or tombstones of destroyed ones. Its key is void at once; its audit rows stay.',
  security: ADMIN_KEY,
  request: { headers: IdempotencyKey, params: ProductPath },
  responses: answers(
    Deleted,
    'It is gone.',
    'INVALID_ADMIN_KEY',
    'PRODUCT_NOT_FOUND',
    'PRODUCT_HAS_ENGINES',
    'IDEMPOTENCY_KEY_REUSED',
  ),
});

const isId = (text: string) => z.uuid().safeParse(text).success;
const notFound = () => new OrchestratorError('PRODUCT_NOT_FOUND', 'No product has this id.');

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
      const product = isId(product_id) ? await replacePolicy(sql, product_id, policy) : null;
      if (product === null) throw notFound();
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

  app.openapi(list, async (c) => {
    const { products, total } = await listProducts(db, c.req.valid('query'));
    const views = products.map((product) => ({
      product_id: product.id,
      slug: product.slug,
      display_name: product.display_name,
      policy: product.policy,
      engines: product.engines,
      tombstones: product.tombstones,
      created_at: product.created_at.toISOString(),
      old_key_valid_until: product.old_key_valid_until?.toISOString() ?? null,
    }));
    return c.json({ products: views, total }, 200);
  });

  app.openapi(rotateKey, async (c) => {
    const { product_id } = c.req.valid('param');
    const { overlap_s } = c.req.valid('json');
    const once = onceOf(c, 'admin', ['rotate-platform-key', product_id, overlap_s]);
    const answer = await answerOnce(once, RotatedKey, async (sql) => {
      const platform_api_key = newPlatformKey();
      const key_hash = hashKey(platform_api_key);
      const rotated = isId(product_id) ? await replaceKeyHash(sql, product_id, key_hash, overlap_s) : null;
      if (rotated === null) throw notFound();
      const old_key_valid_until = rotated.old_key_valid_until.toISOString();
      await appendAudit(sql, {
        product_id,
        user_id: null,
        engine_id: null,
        action: 'rotate_platform_key',
        actor: 'admin',
        metadata: { overlap_s, old_key_valid_until },
      });
      return { product_id, slug: rotated.slug, platform_api_key, old_key_valid_until };
    });
    return c.json(answer, 200);
  });

  app.openapi(remove, async (c) => {
    const { product_id } = c.req.valid('param');
    const once = onceOf(c, 'admin', ['delete', product_id]);
    const answer = await answerOnce(once, Deleted, async (sql) => {
      const deleted = isId(product_id) ? await deleteProduct(sql, product_id) : null;
      if (deleted === null) throw notFound();
      if (deleted === 'has_engines') {
        throw new OrchestratorError('PRODUCT_HAS_ENGINES', 'The product has engines, or tombstones of some.');
      }
      await appendAudit(sql, {
        product_id,
        user_id: null,
        engine_id: null,
        action: 'product_delete',
        actor: 'admin',
        metadata: { slug: deleted.slug },
      });
      return { status: 'deleted' as const, product_id };
    });
    return c.json(answer, 200);
  });
}
