import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { getRequestListener } from '@hono/node-server';
import { ERRORS, OrchestratorError } from '../errors.ts';
import type { App } from './context.ts';
import type { Direct } from './direct.ts';

/** How long a client may take to send a request; ours are small. Milliseconds. */
const REQUEST_TIMEOUT_MS = 30_000;
/**
 * Connections that may wait to be accepted. With Node's 511 a thousand callers in one moment, who all want to be
 * answered (O7), overflow the kernel's queue, and some of them find their connection reset.
 */
const BACKLOG = 4096;
/** How long `close` lets requests in flight come to their end, milliseconds. */
const DRAIN_MS = 1_000;

export type Server = { url: string; close(): Promise<void> };

/** Listens, and answers with `direct` what it takes, all else with `app`. Rejects with the system's error when the port cannot be had. */
export async function listen(
  { app, direct }: { app: App; direct: Direct },
  host: string,
  port: number,
): Promise<Server> {
  const listener = getRequestListener((request, env) => app.fetch(request, env), {
    // What the router never sees: a request line or a Host header that makes no URL.
    errorHandler: () => {
      const { code, message } = new OrchestratorError('INVALID_REQUEST', 'The request line makes no URL.');
      return Response.json({ error: { code, message } }, { status: ERRORS[code].status });
    },
  });
  const unanswered = new Set<ServerResponse>();
  const server = createServer({ requestTimeout: REQUEST_TIMEOUT_MS }, (request, response) => {
    unanswered.add(response);
    response.once('close', () => unanswered.delete(response));
    direct(request, response, () => void listener(request, response));
  });
  server.listen({ port, host, backlog: BACKLOG });
  await once(server, 'listening');
  const address = server.address();
  const actual = address !== null && typeof address === 'object' ? address.port : port;
  const shown = host.includes(':') ? `[${host}]` : host;
  return {
    url: `http://${shown}:${actual}`,
    async close() {
      const closed = once(server, 'close');
      server.close();
      // Else a client keeps its connection after the answer, and we would wait for nothing.
      for (const response of unanswered) if (!response.headersSent) response.setHeader('Connection', 'close');
      const limit = new AbortController();
      await Promise.race([closed, delay(DRAIN_MS, undefined, { signal: limit.signal })]);
      limit.abort();
      server.closeAllConnections();
      await closed;
    },
  };
}
