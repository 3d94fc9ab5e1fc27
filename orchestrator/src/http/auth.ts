/**
 * Who calls: an operator with the admin key, a product with its platform key, or anybody on the open paths.
 * Checked before a body is read and before it is known whether the path exists, so that a caller without a
 * key learns nothing. Source: bap-engine §2.1, §4, O1.
 *
 * Whatever a product may read, an operator may read as well, for everybody or for one product (O20). Whose rows
 * a request may see is settled here, once, as its `slice`: an endpoint that goes by it cannot show too much.
 */
import { z } from '@hono/zod-openapi';
import type { Context, MiddlewareHandler } from 'hono';
import { OrchestratorError } from '../errors.ts';
import { hashKey, sameHash } from '../keys/formats.ts';
import type { Db } from '../registry/db.ts';
import { type ProductRow, productById, productByKeyHash } from '../registry/products.ts';
import type { Env } from './context.ts';
import { invalid } from './errors.ts';

/** No key, and no data of anybody. */
const OPEN_PATHS = ['/health', '/docs', '/openapi.json'];
/** These, and everything below, are the operators'. */
const ADMIN_PATHS = ['/products', '/metrics/prometheus', '/rollouts'];

/** Finds its product by the key itself, together with all else it needs (registry/admit.ts). */
const ADMIT_PATH = /^\/engines\/[^/]+\/admit$/;

/** How the OpenAPI document names the two keys. */
export const PLATFORM_KEY = [{ platformKey: [] }];
export const ADMIN_KEY = [{ adminKey: [] }];
export const PLATFORM_OR_ADMIN_KEY: Record<string, string[]>[] = [...PLATFORM_KEY, ...ADMIN_KEY];
export const KEY_SCHEMES = {
  platformKey: { type: 'apiKey', in: 'header', name: 'X-Platform-Key' },
  adminKey: { type: 'apiKey', in: 'header', name: 'X-Admin-Key' },
} as const;

/** The query by which an operator asks for one product. */
export const OfProduct = z.object({
  product_id: z.uuid().optional().openapi({
    description: 'With the admin key: only what is of this product. A platform key sees its own anyway.',
  }),
});

/** The same where the path names a user, who is one only within a product. */
export const OfUsersProduct = z.object({
  product_id: z.uuid().optional().openapi({
    description: 'With the admin key, and required there: whose user is meant.',
  }),
});

export function requireKey(deps: { db: Db; admin_key: string }): MiddlewareHandler<Env> {
  const adminHash = hashKey(deps.admin_key);
  return async (c, next) => {
    const { path } = c.req;
    if (OPEN_PATHS.includes(path)) return await next();
    const adminOnly = ADMIN_PATHS.some((prefix) => isBelow(path, prefix));
    const reads = c.req.method === 'GET';
    if (adminOnly || (reads && c.req.header('X-Admin-Key') !== undefined)) {
      if (!sameHash(hashKey(c.req.header('X-Admin-Key') ?? ''), adminHash)) {
        throw new OrchestratorError('INVALID_ADMIN_KEY', 'X-Admin-Key is missing or wrong.');
      }
      c.set('operator', true);
      c.set('slice', adminOnly ? null : await sliceAskedFor(c, deps.db));
      return await next();
    }
    const hash = hashKey(c.req.header('X-Platform-Key') ?? '');
    if (c.req.method === 'POST' && ADMIT_PATH.test(path)) {
      c.set('key_hash', hash);
      await next();
      // Refused before it came to its look; whoever has no good key is told nothing else.
      if (c.res.status === 400) letIn(c, checkKey(await productByKeyHash(deps.db, hash), hash));
      return;
    }
    const product = letIn(c, checkKey(await productByKeyHash(deps.db, hash), hash));
    if (reads && c.req.queries('product_id')?.some((id) => id !== product.id)) {
      throw invalid([{ path: 'query.product_id', message: 'is not the product of this key' }]);
    }
    await next();
  };
}

/** The product, where the key with this hash is its; else throws `INVALID_PLATFORM_KEY`. */
export function checkKey(product: ProductRow | null, hash: string): ProductRow {
  if (product === null || !sameHash(product.api_key_hash, hash)) throw unknownKey();
  return product;
}

/** The caller is this product, for the rest of the request. */
export function letIn(c: Context<Env>, product: ProductRow): ProductRow {
  c.set('operator', false);
  c.set('product', product);
  c.set('slice', product.id);
  return product;
}

export const unknownKey = () =>
  new OrchestratorError('INVALID_PLATFORM_KEY', 'X-Platform-Key is missing or unknown.');

/** The product whose user the path names. */
export function productOfUser(c: Context<Env>): string {
  const { slice } = c.var;
  if (slice !== null) return slice;
  throw invalid([{ path: 'query.product_id', message: 'is required with the admin key' }]);
}

/** What an operator asks for: one product, or everybody. */
async function sliceAskedFor(c: Context<Env>, db: Db): Promise<string | null> {
  const asked = c.req.queries('product_id');
  if (asked === undefined) return null;
  const id = z.uuid().safeParse(asked.length === 1 ? asked[0] : undefined);
  if (!id.success) throw invalid([{ path: 'query.product_id', message: 'must be one UUID' }]);
  const product = await productById(db, id.data);
  if (product === null) throw new OrchestratorError('PRODUCT_NOT_FOUND', 'No product has this id.');
  return product.id;
}

const isBelow = (path: string, prefix: string) => path === prefix || path.startsWith(`${prefix}/`);
