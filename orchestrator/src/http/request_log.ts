import { randomUUID } from 'node:crypto';
import type { MiddlewareHandler } from 'hono';
import { matchedRoutes } from 'hono/route';
import type { Log } from '../observe/log.ts';
import type { Env } from './context.ts';

/** Of random bytes Node.js keeps some in stock for these, as for nothing else. */
export const newRequestId = () => `req-${randomUUID()}`;

export type RequestLine = {
  request_id: string;
  method: string;
  /** Not the path: user ids are the product's data. Null: there is none. */
  route: string | null;
  status: number;
  /** When it came, by `performance.now()`. */
  began: number;
  /** Its slug, where a product called. */
  product: string | undefined;
};

/** The one line that every request leaves in the log, when it is done. */
export function logRequest(log: Log, { began, ...rest }: RequestLine): void {
  const line = { ...rest, duration_ms: Math.round((performance.now() - began) * 10) / 10 };
  // Probes come every few seconds for ever.
  if (rest.route === '/health' && rest.status === 200) log.debug(line, 'request');
  else log.info(line, 'request');
}

/** Gives every request an id, answered as `X-Request-Id`, and its line in the log. */
export function requestLog(log: Log): MiddlewareHandler<Env> {
  return async (c, next) => {
    const began = performance.now();
    const request_id = newRequestId();
    c.set('request_id', request_id);
    c.header('X-Request-Id', request_id);
    await next();
    logRequest(log, {
      request_id,
      method: c.req.method,
      route: matchedRoutes(c).findLast(({ path }) => path !== '/*')?.path ?? null,
      status: c.res.status,
      began,
      product: c.get('product')?.slug,
    });
  };
}
