import type { MiddlewareHandler } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import type { Env } from './context.ts';
import { invalid } from './errors.ts';

/** The largest body that means anything, a policy with a long list of versions, fits many times over. */
const MAX_BODY_BYTES = 256 * 1024;

const tooLarge = () => invalid([{ path: 'body', message: `is larger than ${MAX_BODY_BYTES} bytes` }]);

/** Counts as it reads, and for that makes a stream of the body. */
const limitUnknownLength = bodyLimit({
  maxSize: MAX_BODY_BYTES,
  onError: () => {
    throw tooLarge();
  },
});

/** Refuses larger bodies, unread where the caller says how long they are. */
export const limitBody: MiddlewareHandler<Env> = async (c, next) => {
  const length = c.req.header('content-length');
  if (length === undefined) return await limitUnknownLength(c, next);
  if (Number(length) > MAX_BODY_BYTES) throw tooLarge();
  await next();
};

/**
 * Lets a missing body stand for `{}`, whatever its declared type: a call whose fields all have defaults needs
 * none, and where fields are required the answer then names them.
 */
export const emptyBodyMeansDefaults: MiddlewareHandler<Env> = async (c, next) => {
  const { method, raw } = c.req;
  if ((method === 'POST' || method === 'PUT') && (await c.req.text()).trim() === '') {
    const headers = new Headers(raw.headers);
    headers.set('content-type', 'application/json');
    headers.delete('content-length');
    c.req.raw = new Request(raw.url, { method, headers, body: '{}' });
    c.req.bodyCache = {};
  }
  await next();
};
