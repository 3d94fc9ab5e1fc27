import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll } from 'vitest';

export type Site = { url: string; port: number; server: Server };

/** A web server of this test file, on the loopback; gone when the file is done. */
export async function site(answer: RequestListener, address = '127.0.0.1', port = 0): Promise<Site> {
  const server = createServer(answer);
  afterAll(() => {
    server.close().closeAllConnections();
  });
  server.listen(port, address);
  await once(server, 'listening');
  const bound = (server.address() as AddressInfo).port;
  return { url: `http://${address}:${bound}`, port: bound, server };
}
