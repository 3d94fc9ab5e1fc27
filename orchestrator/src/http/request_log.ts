import { randomBytes } from 'node:crypto';
import type { MiddlewareHandler } from 'hono';
import { matchedRoutes } from 'hono/route';
import type { Log } from '../observe/log.ts';
import type { Env } from './context.ts';

/**
 * Gives every request an id, answered as `X-Request-Id`, and one line in the log when it is done. The line
 * names the route, not the path: user ids are the product's data.
 */
export function requestLog(log: Log): MiddlewareHandler<Env> {
  return async (c, next) => {
    const began = performance.now();
    const request_id = `req-${randomBytes(9).toString('base64url')}`;
    c.set('request_id', request_id);
    c.header('X-Request-Id', request_id);
    await next();
    const route = matchedRoutes(c).findLast(({ path }) => path !== '/*')?.path ?? null;
    const line = {
      request_id,
      method: c.req.method,
      route,
      status: c.res.status,
      duration_ms: Math.round((performance.now() - began) * 10) / 10,
      product: c.get('product')?.slug,
    };
    // Probes come every few seconds for ever.
    if (route === '/health' && c.res.status === 200) log.debug(line, 'request');
    else log.info(line, 'request');
  };
}
