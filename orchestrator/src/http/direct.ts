/**
 * The short way of an admit.
 *
 * It is asked before every request of every user, so its price is the orchestrator's price; and what the router does
 * for it (a Request, a Response, their headers, seven handlers around the one that answers) takes longer than the
 * answer (docs/performance.md). So a plain admit is answered on Node.js's own request and response, by the same
 * function, errors and log line as the router's. Plain: a JSON body of known length that fits its schema, and a user
 * id that needs no encoding. Everything else, and every mistake in a request, is left to the router, which stays the
 * only place that knows what to say about it.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { hashKey } from '../keys/formats.ts';
import { ADMIT_ROUTE, AdmitBody, answerAdmit } from './admit.ts';
import type { HttpDeps } from './context.ts';
import { errorAnswer } from './errors.ts';
import { logRequest, newRequestId } from './request_log.ts';
import { UserId } from './schemas.ts';

/** Two flags take less than a tenth of it, bytes. */
const MAX_BODY_BYTES = 1024;
/** The path of a user whose id is written as it is. */
const PLAIN_ADMIT = /^\/engines\/([A-Za-z0-9._~-]+)\/admit$/;

const JSON_BODY = /^application\/json(?:;|$)/;

/** Answers a request, or leaves it to `next`, unread or with what was read of it as `rawBody`. */
export type Direct = (request: IncomingMessage, response: ServerResponse, next: () => void) => void;

export function admitDirectly(deps: HttpDeps): Direct {
  return (request, response, next) => {
    const asked = plainAdmit(request);
    if (asked === null) return next();
    const began = performance.now();
    const parts: Buffer[] = [];
    request.on('data', (part) => parts.push(part));
    request.once('end', () => {
      const raw = parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts);
      const flags = parse(raw);
      if (flags !== null) {
        answer(deps, { ...asked, flags, began }, response).catch((error) => {
          deps.log.error({ err: error }, 'an admit could not be answered');
          response.destroy();
        });
        return;
      }
      // The router's own way to a body that somebody else has read.
      Object.assign(request, { rawBody: raw });
      next();
    });
  };
}

/** The user and the key; null where this is anything but a plain admit. */
function plainAdmit({ method, url, headers }: IncomingMessage): { user_id: string; key: string } | null {
  if (method !== 'POST' || !JSON_BODY.test(headers['content-type'] ?? '')) return null;
  const user = UserId.safeParse(PLAIN_ADMIT.exec(url ?? '')?.[1]);
  const key = headers['x-platform-key'];
  const length = Number(headers['content-length']);
  if (!user.success || typeof key !== 'string' || !(length > 0 && length <= MAX_BODY_BYTES)) return null;
  return { user_id: user.data, key };
}

function parse(raw: Buffer): { auto_provision: boolean; auto_wake: boolean } | null {
  try {
    return AdmitBody.safeParse(JSON.parse(raw.toString('utf8'))).data ?? null;
  } catch {
    return null;
  }
}

type PlainAdmit = {
  user_id: string;
  key: string;
  flags: { auto_provision: boolean; auto_wake: boolean };
  began: number;
};

async function answer(deps: HttpDeps, admit: PlainAdmit, response: ServerResponse): Promise<void> {
  const { user_id, key, flags, began } = admit;
  const request_id = newRequestId();
  let product: string | undefined;
  const { status, retry_after_s, body } = await answerAdmit(
    deps,
    hashKey(key),
    user_id,
    flags,
    ({ slug }) => {
      product = slug;
    },
  ).then(
    (body) => ({ status: 200, retry_after_s: undefined, body }),
    (error) => errorAnswer(deps.log, request_id, error),
  );
  const text = JSON.stringify(body);
  response
    .writeHead(status, {
      'Content-Type': 'application/json',
      'Content-Length': Buffer.byteLength(text),
      'X-Request-Id': request_id,
      ...(retry_after_s !== undefined && { 'Retry-After': String(retry_after_s) }),
    })
    .end(text);
  logRequest(deps.log, { request_id, method: 'POST', route: ADMIT_ROUTE, status, began, product });
}
