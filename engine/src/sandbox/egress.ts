/**
 * The one way from the sandbox to the network: a proxy in the Engine, reached through a socket in the file system, as in
 * there is no network at all. It lets through to hosts that an operator has listed (`SANDBOX_ALLOWED_HOSTS`), or that a
 * person has opened for this one command, and connects to the addresses that the guard has checked: an allowed name
 * that leads into the Engine's own network leads nowhere. Each command has a proxy of its own, so that what was opened
 * for one is not open for another.
 *
 * What it cannot see is what goes through an encrypted connection. Source: engine-runtime, "Sandbox"; E20.
 */
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import {
  createServer,
  request as httpRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { type Guard, NoWay } from '../net/guard.ts';
import { canonicalHost, type HostList, isAllowedHost } from '../net/hosts.ts';

export type Egress = {
  /** Opens a proxy for one command; undefined where there is nobody it might reach. `hosts`: opened for this one. */
  open(hosts: string[]): Promise<Way | undefined>;
};

/** `socket`: where it is found on this machine. */
export type Way = { socket: string; close(): void };

/** Of one command at a time. A package manager opens some twenty. */
const MAX_CONNECTIONS = 64;

const CONNECT_MS = 10_000;

/** A connection over which nothing goes is closed. */
const SILENCE_MS = 120_000;

export function createEgress(guard: Pick<Guard, 'addressesOf'>, allowed: HostList): Egress {
  /** Of the sockets; there as long as there is one. */
  let folder: string | undefined;
  let count = 0;

  return {
    async open(hosts) {
      const opened = new Set(hosts.map(canonicalHost));
      const listed = allowed.names.size + allowed.suffixes.length + allowed.addresses.rules.length;
      if (listed + opened.size === 0) return undefined;
      // Not beside the brain: the name of a socket has a hundred characters at most.
      folder ??= mkdtempSync(join(tmpdir(), 'september-'));
      const socket = join(folder, randomUUID());
      count++;
      const server = createProxy(
        guard,
        (host) => isAllowedHost(host, allowed) || opened.has(canonicalHost(host)),
      );
      server.listen(socket);
      await once(server, 'listening');
      return {
        socket,
        close() {
          // What is connected ends by itself: those at its other end are gone.
          server.close();
          rmSync(socket, { force: true });
          if (--count > 0 || folder === undefined) return;
          rmSync(folder, { recursive: true, force: true });
          folder = undefined;
        },
      };
    },
  };
}

function createProxy(guard: Pick<Guard, 'addressesOf'>, isOpen: (host: string) => boolean): Server {
  /** @throws NoWay for a host that must not be reached, or cannot be. */
  async function reach({ hostname, port }: URL): Promise<Socket> {
    if (!isOpen(hostname)) {
      throw new NoWay('refused', `${hostname} is not among the hosts that may be reached from the sandbox.`);
    }
    const [first] = await guard.addressesOf(hostname);
    const upstream = connect({ host: first?.address ?? '', port: Number(port || 80) });
    upstream.setTimeout(CONNECT_MS, () => upstream.destroy());
    try {
      await once(upstream, 'connect', { signal: AbortSignal.timeout(CONNECT_MS) });
    } catch {
      upstream.destroy();
      throw new NoWay('unreachable', `${hostname} does not answer.`);
    }
    return upstream.setTimeout(SILENCE_MS);
  }

  const server = createServer({ requestTimeout: 0 });
  server.maxConnections = MAX_CONNECTIONS;
  server.on('connect', (request, client, head) => {
    client.on('error', () => client.destroy());
    tunnel(request, client, head).catch((error) => {
      const { status, message } = refusalOf(error);
      client.end(
        `HTTP/1.1 ${status} Refused\r\nConnection: close\r\nContent-Type: text/plain\r\n\r\n${message}\n`,
      );
    });
  });
  server.on('request', (request, response) => {
    forward(request, response).catch((error) => {
      const { status, message } = refusalOf(error);
      response.writeHead(status, { 'Content-Type': 'text/plain', Connection: 'close' }).end(`${message}\n`);
    });
  });

  async function tunnel({ url }: IncomingMessage, client: Duplex, head: Buffer): Promise<void> {
    const upstream = await reach(readTarget(`http://${url}`));
    if (client.destroyed) return void upstream.destroy();
    client.write('HTTP/1.1 200 Connection established\r\n\r\n');
    upstream.write(head);
    upstream.on('error', () => client.destroy());
    client.pipe(upstream);
    upstream.pipe(client).on('close', () => upstream.destroy());
    upstream.on('close', () => client.destroy());
  }

  async function forward(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = readTarget(request.url ?? '');
    const upstream = await reach(url);
    const onward = httpRequest({
      createConnection: () => upstream,
      method: request.method,
      path: url.pathname + url.search,
      headers: { ...endToEnd(request.headers), host: url.host, connection: 'close' },
    });
    response.on('close', () => upstream.destroy());
    onward.on('error', () => response.destroy());
    onward.on('response', (answer) => {
      answer.on('error', () => response.destroy());
      response.writeHead(answer.statusCode ?? 502, endToEnd(answer.headers));
      answer.pipe(response);
    });
    request.pipe(onward);
  }

  return server;
}

/** @throws NoWay for anything but an absolute http URL: a TLS connection is asked for by CONNECT. */
function readTarget(text: string): URL {
  const url = URL.parse(text);
  if (url?.protocol !== 'http:' || url.hostname === '') throw new NoWay('invalid', 'That is no address.');
  return url;
}

/** What concerns one connection only (RFC 9110, 7.6.1), and what is meant for the proxy. */
const HOP_BY_HOP = [
  'connection',
  'keep-alive',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'proxy-connection',
];

function endToEnd(headers: IncomingHttpHeaders): IncomingHttpHeaders {
  const entries = Object.entries(headers);
  return Object.fromEntries(
    entries.filter(([name]) => !HOP_BY_HOP.includes(name) && !name.startsWith('proxy-')),
  );
}

const STATUS = { refused: 403, invalid: 400, unreachable: 502 };

function refusalOf(error: unknown): { status: number; message: string } {
  if (error instanceof NoWay) return { status: STATUS[error.reason], message: error.message };
  return { status: 502, message: 'The connection failed.' };
}
