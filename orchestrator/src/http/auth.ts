/**
 * Who calls: an operator with the admin key, a product with its platform key, or anybody on the open paths.
 * Checked before a body is read and before it is known whether the path exists, so that a caller without a
 * key learns nothing. Source: bap-engine §2.1, §4, O1.
 */
import type { MiddlewareHandler } from 'hono';
import { OrchestratorError } from '../errors.ts';
import { hashKey, sameHash } from '../keys/formats.ts';
import type { Db } from '../registry/db.ts';
import { productByKeyHash } from '../registry/products.ts';
import type { Env } from './context.ts';

/** No key, and no data of anybody. */
const OPEN_PATHS = ['/health', '/docs', '/openapi.json'];
/** Everything below is the operators'. */
const ADMIN_PATH = '/products';
/** A product sees its own slice, an operator all (O20). */
const SLICED_PATHS = ['/operations'];

/** How the OpenAPI document names the two keys. */
export const PLATFORM_KEY = [{ platformKey: [] }];
export const ADMIN_KEY = [{ adminKey: [] }];
export const PLATFORM_OR_ADMIN_KEY: Record<string, string[]>[] = [...PLATFORM_KEY, ...ADMIN_KEY];
export const KEY_SCHEMES = {
  platformKey: { type: 'apiKey', in: 'header', name: 'X-Platform-Key' },
  adminKey: { type: 'apiKey', in: 'header', name: 'X-Admin-Key' },
} as const;

export function requireKey(deps: { db: Db; admin_key: string }): MiddlewareHandler<Env> {
  const adminHash = hashKey(deps.admin_key);
  return async (c, next) => {
    const { path } = c.req;
    if (OPEN_PATHS.includes(path)) return await next();
    const sliced = SLICED_PATHS.some((prefix) => isBelow(path, prefix));
    if (isBelow(path, ADMIN_PATH) || (sliced && c.req.header('X-Admin-Key') !== undefined)) {
      if (!sameHash(hashKey(c.req.header('X-Admin-Key') ?? ''), adminHash)) {
        throw new OrchestratorError('INVALID_ADMIN_KEY', 'X-Admin-Key is missing or wrong.');
      }
      c.set('slice', null);
      return await next();
    }
    const key = c.req.header('X-Platform-Key');
    const hash = key === undefined ? null : hashKey(key);
    const product = hash === null ? null : await productByKeyHash(deps.db, hash);
    if (hash === null || product === null || !sameHash(product.api_key_hash, hash)) {
      throw new OrchestratorError('INVALID_PLATFORM_KEY', 'X-Platform-Key is missing or unknown.');
    }
    c.set('product', product);
    c.set('slice', product.id);
    await next();
  };
}

const isBelow = (path: string, prefix: string) => path === prefix || path.startsWith(`${prefix}/`);
