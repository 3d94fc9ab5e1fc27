import type { MiddlewareHandler } from 'hono';
import type { EngineKeys } from '../brain/engine_keys.ts';
import { EngineError } from '../errors.ts';
import type { Bindings } from './bindings.ts';

/**
 * The key check. Stands before everything else, also before the body is read and before an unknown route is
 * told apart from a known one: without the key an Engine tells nothing. Source: engine-api, "Authentication
 * and key rotation".
 */
export function requireKey(keys: EngineKeys): MiddlewareHandler<Bindings> {
  return async (c, next) => {
    const verdict = keys.check(c.req.header('x-engine-key') ?? '');
    if (verdict === 'rotation_pending') {
      throw new EngineError('KEY_ROTATION_PENDING', 'This key has been replaced. Use the new one.');
    }
    if (verdict === 'invalid')
      throw new EngineError('INVALID_KEY', 'The X-Engine-Key header is missing or wrong.');
    await next();
  };
}
