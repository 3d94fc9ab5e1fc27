import { createAdaptorServer, type Http2Bindings, type HttpBindings } from '@hono/node-server';
import { EngineExit } from '@september/contract';
import { StartError, systemCode } from '../errors.ts';

export type Handler = (
  request: Request,
  bindings: HttpBindings | Http2Bindings,
) => Response | Promise<Response>;

export type Server = {
  /** Where it listens, e.g. `http://127.0.0.1:8000`. */
  url: string;
  port: number;
  /** From now on requests go to `handler`. */
  serve(handler: Handler): void;
  /** No new connections; those with an answer under way may finish it, but not for ever. */
  close(): Promise<void>;
};

/** Streams have ended by then; this is for the last bytes on their way to a slow client. */
const CLOSE_MS = 2_000;

/**
 * Listens before there is anything to serve, so that a probe finds an Engine that starts rather than a closed
 * port, and a taken port is found before anything else is touched.
 * @throws StartError `PORT_TAKEN`, or `BAD_CONFIG` for an address that cannot be listened on.
 */
export async function listen(address: { host: string; port: number }, first: Handler): Promise<Server> {
  let handler = first;
  const server = createAdaptorServer({
    fetch: (request, bindings) => handler(request, bindings),
  });
  const { host, port } = address;
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => {
      const taken = systemCode(error) === 'EADDRINUSE';
      reject(
        new StartError(
          taken ? EngineExit.PORT_TAKEN : EngineExit.BAD_CONFIG,
          taken
            ? `Port ${port} on ${host} is taken. Stop what listens there, or set ENGINE_PORT to another port.`
            : `ENGINE_HOST, ENGINE_PORT: cannot listen on ${host} port ${port} (${systemCode(error)}).`,
          { cause: error },
        ),
      );
    });
    server.listen(port, host, () => resolve());
  });
  const bound = server.address();
  if (bound === null || typeof bound === 'string') throw new Error('The server has no port');
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${bound.port}`,
    port: bound.port,
    serve(next) {
      handler = next;
    },
    close: () =>
      new Promise((resolve) => {
        const late = setTimeout(
          () => 'closeAllConnections' in server && server.closeAllConnections(),
          CLOSE_MS,
        );
        server.close(() => {
          clearTimeout(late);
          resolve();
        });
      }),
  };
}
