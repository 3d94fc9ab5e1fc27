/**
 * The path as the client sent it.
 *
 * A user id is any text, percent-encoded into one segment of the path: `a%2Fb` is one user, `%2e%2e` is not
 * a way up. The router's own reading decodes the path before it takes it apart and the segments after it,
 * and the URL parser before both resolves dot segments; each step would change some user ids into others.
 * So routes are matched on the raw path and each segment is decoded once, after it was checked.
 */
import { IncomingMessage } from 'node:http';
import type { MiddlewareHandler } from 'hono';
import type { Env } from './context.ts';
import { invalid } from './errors.ts';

export function rawPath(request: Request, options?: { env?: object }): string {
  const { env } = options ?? {};
  const incoming = env !== undefined && 'incoming' in env ? env.incoming : undefined;
  const target = incoming instanceof IncomingMessage ? (incoming.url ?? '') : '';
  const path = target.startsWith('/') ? target : new URL(request.url).pathname;
  return path.split('?', 1)[0] ?? '/';
}

/** Refuses what is not percent-encoded UTF-8; the router would pass it on half decoded. */
export const checkEncoding: MiddlewareHandler<Env> = async (c, next) => {
  try {
    decodeURIComponent(c.req.path);
  } catch {
    throw invalid([{ path: 'path', message: 'is not percent-encoded UTF-8' }]);
  }
  await next();
};
