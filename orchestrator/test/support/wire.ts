import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { onTestFinished } from 'vitest';

/** A statement is sent once on each connection (Parse, with its name), from then on by its name alone (Bind). */
const PARSE = /P[\s\S]{4}(s\d+)\0([^\0]*)\0/g;
const BIND = /B[\s\S]{4}\0(s\d+)\0/g;

/** A wire to PostgreSQL that can be cut and mended, and lose an answer; `url` goes through it. */
export async function wireTo(database_url: string) {
  const target = new URL(database_url);
  const [host, port] = [target.hostname, Number(target.port)];
  const sockets = new Set<Socket>();
  /** Whose answer to COMMIT is to be lost: that of the transaction with these words in it. */
  let losing: { words: string; lost(): void } | null = null;
  /** From that COMMIT on nothing else is said to the server, or it might be what is found there later. */
  let silent = false;
  const server = createServer((socket) => {
    const upstream = connect(port, host);
    let transaction = '';
    const statements = new Map<string, string>();
    let onAnswer: (() => void) | null = null;
    for (const end of [socket, upstream]) {
      sockets.add(end);
      end.on('error', () => {});
      end.on('close', () => [socket, upstream].map((both) => both.destroy()));
    }
    socket.on('data', (chunk) => {
      if (silent) return;
      const sent = chunk.toString('latin1');
      for (const [, name = '', text = ''] of sent.matchAll(PARSE)) statements.set(name, text);
      const said = sent.replace(BIND, (bind, name) => bind + statements.get(name));
      transaction = said.includes('BEGIN\0') ? said : transaction + said;
      if (said.includes('COMMIT\0') && losing !== null && transaction.includes(losing.words)) {
        onAnswer = losing.lost;
        losing = null;
        silent = true;
      }
      upstream.write(chunk);
    });
    upstream.on('data', (chunk) => void (onAnswer === null ? socket.write(chunk) : onAnswer()));
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
  return {
    url: target.href,
    cut,
    async mend() {
      silent = false;
      await listen(address.port);
    },
    /**
     * Loses the answer to the next COMMIT of a transaction with these words in it; resolves when it has. Nothing
     * more is said to the server until the wire is cut and mended.
     */
    loseCommit: (words: string) =>
      new Promise<void>((lost) => {
        losing = { words, lost };
      }),
  };
}
