import type { MiddlewareHandler } from 'hono';
import { EngineError } from '../errors.ts';
import type { Bindings } from './bindings.ts';

/** Room for the largest message with a picture in it. */
const MAX_BODY_BYTES = 8 * 1024 * 1024;

/** What is too large is still taken off the wire up to here, then the connection is given up. */
const MAX_DISCARDED_BYTES = 64 * 1024 * 1024;

/**
 * Refuses bodies that are too large, in a way the client can read: one that is answered and cut off while it
 * still sends sees a broken connection instead of the answer, and the next request on that connection fails
 * with it. So the rest is taken and thrown away, without ever holding it. Works by what comes, as a length
 * may not be declared.
 */
export const limitBody: MiddlewareHandler<Bindings> = async (c, next) => {
  const declared = c.req.header('content-length');
  const chunked = c.req.header('transfer-encoding') !== undefined;
  // Node lets no more through than was declared.
  if (!chunked && Number(declared ?? 0) <= MAX_BODY_BYTES) return next();

  const kept: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of c.req.raw.body ?? []) {
    size += chunk.byteLength;
    if (size <= MAX_BODY_BYTES) kept.push(chunk);
    else kept.length = 0;
    if (size > MAX_DISCARDED_BYTES) {
      c.header('Connection', 'close');
      break;
    }
  }
  if (size > MAX_BODY_BYTES) {
    throw new EngineError('INVALID_REQUEST', `The body is larger than ${MAX_BODY_BYTES} bytes.`);
  }
  c.req.raw = new Request(c.req.raw, { body: Buffer.concat(kept) });
  return next();
};
