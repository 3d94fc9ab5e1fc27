import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { onTestFinished } from 'vitest';

/** A wire to PostgreSQL that can be cut and mended; `url` goes through it. */
export async function wireTo(database_url: string) {
  const target = new URL(database_url);
  const [host, port] = [target.hostname, Number(target.port)];
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    const upstream = connect(port, host);
    for (const end of [socket, upstream]) {
      sockets.add(end);
      end.on('error', () => {});
      end.on('close', () => [socket, upstream].map((both) => both.destroy()));
    }
    socket.pipe(upstream).pipe(socket);
  });
  const listen = (port: number) => once(server.listen(port, '127.0.0.1'), 'listening');
  await listen(0);
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  target.hostname = '127.0.0.1';
  target.port = String(address.port);
  const cut = async () => {
    const closed = once(server, 'close');
    server.close();
    for (const socket of sockets) socket.destroy();
    await closed;
  };
  onTestFinished(() => cut().catch(() => {}));
  return { url: target.href, cut, mend: () => listen(address.port) };
}
